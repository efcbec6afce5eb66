"""Tunnels: an engine's unix socket on one node, spliced through a peer link to the engine's socket on another.

The sockets stand in a folder that only the node's user can enter; a folder that others can enter is refused. Bytes
pass unchanged and unread; a half-close passes too. When one side dies, the other is broken off with the cause.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

from fondaco.errors import DeadlineExceeded, FondacoError, TransportError
from fondaco.transport.peering import Stream

_READ = 1 << 20
_POLL = 0.02
_LOG_REMEDY = "look at this node's log"


@dataclasses.dataclass(slots=True)
class Traffic:
    """Bytes that went to the peer and came from it, so far."""

    sent: int = 0
    received: int = 0


async def _from_socket(reader: asyncio.StreamReader, stream: Stream, traffic: Traffic) -> None:
    while data := await reader.read(_READ):
        await stream.send(data)
        traffic.sent += len(data)
    await stream.finish()


async def _to_socket(stream: Stream, writer: asyncio.StreamWriter, traffic: Traffic) -> None:
    while data := await stream.receive():
        writer.write(data)
        await writer.drain()
        traffic.received += len(data)
    writer.write_eof()


async def splice(
    stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, traffic: Traffic | None = None
) -> tuple[int, int]:
    """Carry bytes both ways until both ends are done; (sent to the peer, received from it).

    Raises:
        TransportError: the local socket broke; the stream was broken off.
        FondacoError: what the peer aborted with, or PeerLost; the local socket was closed.
    """
    traffic = Traffic() if traffic is None else traffic
    broken: FondacoError = TransportError("the engine's tunnel was closed", remedy="start the step again")
    whole = False
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_from_socket(reader, stream, traffic))
            both.create_task(_to_socket(stream, writer, traffic))
        whole = True
    except* FondacoError as faults:
        broken = _first(faults)
    except* OSError:
        broken = TransportError("the local engine closed its link", remedy=_LOG_REMEDY)
    finally:
        if not whole:
            await stream.abort(broken)
            writer.transport.abort()
        writer.close()
    if not whole:
        raise broken
    return traffic.sent, traffic.received


def _first(faults: BaseExceptionGroup[FondacoError]) -> FondacoError:
    first = faults.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def splice_to(stream: Stream, path: Path, *, deadline: float, traffic: Traffic | None = None) -> tuple[int, int]:
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
                except OSError as fault:
                    raise _no_socket(path, fault) from fault
    except TimeoutError as late:
        raise DeadlineExceeded(
            "the local engine did not listen in time", remedy=_LOG_REMEDY, seconds=int(deadline)
        ) from late
    return await splice(stream, reader, writer, traffic)


def _no_socket(path: Path, fault: OSError) -> TransportError:
    return TransportError(
        f"the engine's socket cannot be used ({fault.strerror or fault})",
        remedy="use a shorter folder for sockets that this user owns",
        path=str(path),
    )


class Tunnel:
    """Listens on a unix socket and carries each connection through a stream of its own.

    `failure` is the first fault of any of them; `traffic` counts the bytes of all.
    """

    def __init__(self, open_stream: Callable[[], Awaitable[Stream]]) -> None:
        self._open_stream = open_stream
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.failure: FondacoError | None = None
        self.traffic = Traffic()

    @property
    def sent(self) -> int:
        """Bytes to the peer so far."""
        return self.traffic.sent

    @property
    def received(self) -> int:
        """Bytes from the peer so far."""
        return self.traffic.received

    async def listen(self, path: Path) -> None:
        """Bind the socket.

        Raises:
            TransportError: the folder is not this user's alone, or the path is taken or too long.
        """
        try:
            folder = path.parent.stat()
            if folder.st_uid != os.geteuid() or stat.S_IMODE(folder.st_mode) & 0o077:
                raise TransportError(
                    "others can enter the folder of the engine's sockets",
                    remedy="give the folder mode 0700",
                    path=str(path.parent),
                )
            self._server = await asyncio.start_unix_server(self._accept, str(path), limit=_READ)
        except OSError as fault:
            raise _no_socket(path, fault) from fault

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            stream = await self._open_stream()
            await splice(stream, reader, writer, self.traffic)
        except FondacoError as fault:
            self.failure = self.failure or fault
        finally:
            writer.close()

    async def close(self) -> None:
        """Stop listening and break off what still runs."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
