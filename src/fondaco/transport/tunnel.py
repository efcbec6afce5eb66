"""Tunnels: an engine's unix socket on one node, spliced through a peer link to the engine's socket on another.

The sockets stand in a folder that only the node's user can enter. Bytes pass unchanged and unread; when one side
dies, the other is broken off with the cause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from fondaco.errors import DeadlineExceeded, FondacoError, TransportError
from fondaco.transport.peering import Stream

_READ = 1 << 20
_POLL = 0.02


async def _from_socket(reader: asyncio.StreamReader, stream: Stream) -> int:
    count = 0
    while data := await reader.read(_READ):
        count += len(data)
        await stream.send(data)
    await stream.finish()
    return count


async def _to_socket(stream: Stream, writer: asyncio.StreamWriter) -> int:
    count = 0
    while data := await stream.receive():
        count += len(data)
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    return count


async def splice(stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, int]:
    """Carry bytes both ways until both ends are done; (sent to the peer, received from it).

    Raises:
        TransportError: the local socket or the link broke; the other one was broken off.
    """
    out = asyncio.create_task(_from_socket(reader, stream))
    into = asyncio.create_task(_to_socket(stream, writer))
    try:
        done, _pending = await asyncio.wait({out, into}, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        return await out, await into
    except ConnectionError as fault:
        broken = TransportError("the local engine closed its link", remedy="look at this node's log")
        await stream.abort(broken)
        raise broken from fault
    except FondacoError as fault:
        await stream.abort(fault)
        raise
    finally:
        for task in (out, into):
            task.cancel()
        await asyncio.gather(out, into, return_exceptions=True)
        writer.close()


async def splice_to(stream: Stream, path: Path, *, deadline: float) -> tuple[int, int]:
    """Carry a peer's stream to the engine that listens (or soon will) on `path`.

    Raises:
        DeadlineExceeded: no engine listened within `deadline` seconds.
        TransportError: broken in the middle.
    """
    try:
        async with asyncio.timeout(deadline):
            while True:
                try:
                    reader, writer = await asyncio.open_unix_connection(str(path), limit=_READ)
                    break
                except (FileNotFoundError, ConnectionRefusedError):
                    # The engine binds its socket when it has started; there is nothing to wait on but the file.
                    await asyncio.sleep(_POLL)
    except TimeoutError as late:
        raise DeadlineExceeded(
            "the local engine did not listen in time", remedy="look at this node's log", seconds=int(deadline)
        ) from late
    return await splice(stream, reader, writer)


class Tunnel:
    """Listens on a unix socket and carries each connection through a stream of its own."""

    def __init__(self, open_stream: Callable[[], Awaitable[Stream]]) -> None:
        self._open_stream = open_stream
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.failure: FondacoError | None = None
        self.sent = 0
        self.received = 0

    async def listen(self, path: Path) -> None:
        """Bind the socket."""
        self._server = await asyncio.start_unix_server(self._accept, str(path), limit=_READ)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            stream = await self._open_stream()
            sent, received = await splice(stream, reader, writer)
            self.sent += sent
            self.received += received
        except FondacoError as fault:
            self.failure = self.failure or fault
        except asyncio.CancelledError:
            # This task is the connection's own; `close` cancelled it, and asyncio would log it as an error.
            self.failure = self.failure or TransportError("the tunnel was closed", remedy="start the step again")
        finally:
            self._tasks.discard(task)
            writer.close()

    async def close(self) -> None:
        """Stop listening and break off what still runs."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
