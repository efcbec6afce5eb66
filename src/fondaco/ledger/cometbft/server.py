"""The ABCI server: CometBFT's four connections on a unix socket, each answered strictly in its own order.

CometBFT opens one connection each for consensus, mempool, queries and snapshots. All are worked on by this one thread:
Python executes one thing at a time anyhow, and each hand-over between threads would cost a turn of the scheduler, which
on a busy machine is more than the work. Requests that came together are handled together: a burst of checks is one
batch. Nothing is read while a batch is worked on, so a sender that is too fast fills its own socket and no memory of
ours.

Bytes that are no request, and a fault that the application cannot go on from, are answered with ABCI's exception,
which stops CometBFT, and the connection ends. The socket's folder keeps other users out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from fondaco.errors import CodecError, DeadlineExceeded, FondacoError, LedgerError
from fondaco.ledger.cometbft.abci import MAX_FRAME, Request, ResponseException, read_request, write_response
from fondaco.ledger.cometbft.protobuf import frames

_log = logging.getLogger(__name__)
MAX_CONNECTIONS = 16
_READ = 1 << 20
_SECONDS = 10.0


class Handler(Protocol):
    """Who answers one connection."""

    def handle(self, requests: list[Request]) -> list[object]:
        """The responses, one each, in order.

        Raises:
            FondacoError: the application cannot go on.
        """

    def close(self) -> None:
        """The connection has ended."""


class AbciServer:
    """Serves until stopped, in a thread and an event loop of its own."""

    def __init__(self, path: Path, connect: Callable[[], Handler], failed: Callable[[LedgerError], None]) -> None:
        self._path = path
        self._connect = connect
        self._failed = failed
        self._open: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._cause: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="abci", daemon=True)

    def start(self) -> None:
        """Listen.

        Raises:
            LedgerError: the socket cannot be made.
        """
        self._thread.start()
        if not self._ready.wait(_SECONDS):
            raise DeadlineExceeded("the ABCI server did not start", remedy="start again", seconds=int(_SECONDS))
        if self._cause is not None:
            raise LedgerError(
                f"the ABCI socket cannot be made ({self._cause})", remedy="check the ledger's folder"
            ) from self._cause

    def stop(self) -> None:
        """End every connection and stop listening."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_SECONDS)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            server = await asyncio.start_unix_server(self._accept, path=self._path)
            self._path.chmod(0o600)
        except OSError as fault:
            self._cause = fault
            self._ready.set()
            return
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= MAX_CONNECTIONS:
            writer.close()
            return
        self._open.add(task)
        handler, sound = self._connect(), False
        try:
            await self._answer(reader, writer, handler)
            sound = True
        except asyncio.CancelledError:
            sound = True  # stop() ended it; nothing above waits for this task
        finally:
            self._open.discard(task)
            handler.close()
            writer.close()
            if not sound:
                self._failed(LedgerError("answering CometBFT has ended by a defect", remedy="report the node's log"))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
        buffer = bytearray()
        while data := await _read(reader):
            buffer += data
            try:
                requests = [read_request(frame) for frame in frames(buffer, MAX_FRAME)]
                if not requests:
                    continue
                responses = handler.handle(requests)
            except FondacoError as fault:
                _log.error("CometBFT is stopped: %s", fault.cause)
                writer.write(write_response(ResponseException(error=f"{fault.code}: {fault.cause}"[:1000])))
                await _drain(writer)
                if not isinstance(fault, CodecError):
                    self._failed(fault if isinstance(fault, LedgerError) else _wrapped(fault))
                return
            writer.write(b"".join(map(write_response, responses)))
            await _drain(writer)


def _wrapped(fault: FondacoError) -> LedgerError:
    return LedgerError(fault.cause, remedy=fault.remedy)


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(_READ)
    except OSError:
        return b""


async def _drain(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        await writer.drain()
