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
_SECONDS = 10.0


class Handler(Protocol):
    """Who answers one connection."""

    def handle(self, requests: list[Request]) -> list[object]:
        """The responses, one each, in order.

        Raises:
            FondacoError: the application cannot go on.
        """

    def after(self) -> None:
        """The responses are written: work that nobody waits for yet.

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
        self._links: set[_Link] = set()
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
            server = await self._loop.create_unix_server(self._link, path=self._path)
            self._path.chmod(0o600)
        except OSError as fault:
            self._cause = fault
            self._ready.set()
            return
        self._ready.set()
        await self._stop.wait()
        server.close()
        ends = [link.end() for link in tuple(self._links)]
        await asyncio.gather(*ends)
        await server.wait_closed()

    def _link(self) -> _Link:
        return _Link(self._connect, self._links, self._failed)


class _Link(asyncio.Protocol):
    """One connection. A protocol and no stream: a stream costs each small message a turn of the loop more."""

    _transport: asyncio.Transport

    def __init__(
        self, connect: Callable[[], Handler], links: set[_Link], failed: Callable[[LedgerError], None]
    ) -> None:
        self._connect = connect
        self._links = links
        self._failed = failed
        self._handler: Handler | None = None
        self._buffer = bytearray()
        self._over = asyncio.get_running_loop().create_future()

    def end(self) -> asyncio.Future[None]:
        """Break off; done when the connection has ended."""
        self._transport.abort()
        return self._over

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if len(self._links) >= MAX_CONNECTIONS:
            transport.close()
            return
        self._links.add(self)
        self._handler = self._connect()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._over.set_result(None)
        self._links.discard(self)
        if self._handler is not None:
            self._handler.close()

    def pause_writing(self) -> None:
        self._transport.pause_reading()  # CometBFT asks no more before it has read what it asked for

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._handler is None or self._transport.is_closing():
            return
        sound = False
        try:
            self._answer(self._handler, data)
            sound = True
        finally:
            if not sound:  # the loop says what it was, and closes
                self._failed(LedgerError("answering CometBFT has ended by a defect", remedy="report the node's log"))

    def _answer(self, handler: Handler, data: bytes) -> None:
        self._buffer += data
        try:
            requests = [read_request(frame) for frame in frames(self._buffer, MAX_FRAME)]
            responses = handler.handle(requests) if requests else ()
            self._transport.write(b"".join(map(write_response, responses)))
            handler.after()
        except FondacoError as fault:
            _log.error("CometBFT is stopped: %s", fault.cause)
            self._transport.write(write_response(ResponseException(error=f"{fault.code}: {fault.cause}"[:1000])))
            self._transport.close()
            if not isinstance(fault, CodecError):
                self._failed(fault if isinstance(fault, LedgerError) else _wrapped(fault))


def _wrapped(fault: FondacoError) -> LedgerError:
    return LedgerError(fault.cause, remedy=fault.remedy)
