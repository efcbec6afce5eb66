"""A node in a process of its own, for tests that stop or kill it. Prints its port; runs until its input ends."""

from __future__ import annotations

import asyncio
import sys

from transport_world import HOST, QUICK, Directory, certificate_of, drain, echo, identity_of, secret_of

from fondaco.transport.endpoint import Endpoint


async def main(name: str, other: str) -> None:
    node = Endpoint(
        secret=secret_of(name),
        certificate=certificate_of(name),
        host=HOST,
        port=0,
        directory=Directory([identity_of(other)]),
        timings=QUICK,
    )
    node.handle("echo/1", echo)

    async def sink(stream: object) -> None:
        await drain(stream)  # type: ignore[arg-type]

    node.handle("sink/1", sink)
    await node.start()
    sys.stdout.write(f"{node.port}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await node.stop()


asyncio.run(main(*sys.argv[1:]))
