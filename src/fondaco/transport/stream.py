"""One stream of a link: a queue of received bytes, a half-close each way, and at most one fault.

What a peer has sent before it finished is always readable, whatever happens afterwards; what it sent before it
aborted is dropped, for a broken transfer is worth nothing. Every dropped byte is credited to the link's window, so
a broken stream never narrows the link.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from fondaco.errors import DeadlineExceeded, FondacoError, TransportError

if TYPE_CHECKING:
    from fondaco.transport.link import Link
    from fondaco.transport.peering import Budget


class LinkStream:
    """One stream; see peering.Stream. One task reads, one task sends."""

    def __init__(self, link: Link, number: int, protocol: str, header: bytes) -> None:
        self._link = link
        self.number = number
        self.protocol = protocol
        self.header = header
        self._parts: deque[tuple[bytes, int]] = deque()
        self._news = asyncio.Event()
        self.ended = False
        self.finished = False
        self.fault: FondacoError | None = None

    @property
    def peer(self) -> str:
        """The did of the node at the other end."""
        return self._link.peer

    @property
    def link(self) -> Link:
        """The link that carries this stream."""
        return self._link

    @property
    def budget(self) -> Budget:
        """What the unfinished calls of this stream's link may hold here."""
        return self._link.budget

    async def send(self, data: bytes) -> None:
        """Send bytes; waits while the peer reads too slowly.

        Raises:
            FondacoError: what the peer aborted with, or PeerLost, or TransportError after `finish`.
        """
        view = memoryview(data)
        while view:
            room = await self._link.room(self)
            self._link.send_data(self, data if room >= len(data) == len(view) else bytes(view[:room]))
            view = view[room:]

    async def receive(self, deadline: float | None = None) -> bytes:
        """The next bytes; empty at the end.

        Raises:
            DeadlineExceeded: nothing came within `deadline` seconds.
            FondacoError: what the peer aborted with, or PeerLost.
        """
        try:
            async with asyncio.timeout(deadline):
                while not self._parts and not self.ended and self.fault is None:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError as late:
            raise DeadlineExceeded(
                "the peer sent nothing in time", remedy="look at the peer's log", peer=self.peer
            ) from late
        if self._parts:
            data, credit = self._parts.popleft()
            self._link.acknowledge(self, credit)
            return data
        if self.ended:
            return b""
        raise self.fault or TransportError("the stream has no end", remedy="report this", peer=self.peer)

    async def finish(self) -> None:
        """No more bytes from this side."""
        if not self.finished and self.fault is None:
            self.finished = True
            self._link.end(self)

    async def abort(self, fault: FondacoError) -> None:
        """End both directions; the peer hears `fault`, even when this side has finished."""
        if self.fault is None:
            self._link.abort(self, fault)
            self.fail(fault)

    # -- called by the link -----------------------------------------------------------------------------------

    def feed(self, data: bytes, credit: int) -> None:
        """Bytes came, worth `credit` of the window (padding counts)."""
        if self.fault is not None or not data:
            self._link.acknowledge(self, credit)
            return
        self._parts.append((data, credit))
        self._news.set()

    def end(self) -> None:
        """The peer finished."""
        self.ended = self.ended or self.fault is None
        self._news.set()

    def fail(self, fault: FondacoError) -> None:
        """The stream is over, with a cause."""
        if self.fault is None:
            self.fault = fault
            if not self.ended:
                self.drop()
            self._news.set()
            self._link.wake()

    def drop(self) -> None:
        """Nobody will read what has come."""
        credit = sum(worth for _data, worth in self._parts)
        self._parts.clear()
        self._link.acknowledge(self, credit)
