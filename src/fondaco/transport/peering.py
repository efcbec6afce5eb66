"""What every transport offers: streams to peers by did, calls, and word of lost peers. TLS and memory both do."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Protocol

from fondaco.core.faults import pack_error, unpack_error
from fondaco.errors import DeadlineExceeded, FondacoError, TransportError

MAX_HEADER = 16 << 10
MAX_CALL = 16 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Deadlines in seconds. A peer that says nothing for `silence` is lost."""

    connect: float = 5.0
    handshake: float = 5.0
    heartbeat: float = 1.0
    silence: float = 5.0


class Stream(Protocol):
    """One two-way stream of bytes with a peer."""

    @property
    def peer(self) -> str:
        """The did of the node at the other end."""

    @property
    def protocol(self) -> str:
        """What the opener asked for."""

    @property
    def header(self) -> bytes:
        """What the opener said first."""

    async def send(self, data: bytes) -> None:
        """Send bytes; waits while the peer reads too slowly."""

    async def receive(self, deadline: float | None = None) -> bytes:
        """The next bytes; empty at the end. DeadlineExceeded after `deadline` seconds."""

    async def finish(self) -> None:
        """No more bytes from this side."""

    async def abort(self, fault: FondacoError) -> None:
        """End both directions; the peer's `receive` and `send` raise what `fault` says."""


StreamHandler = Callable[[Stream], Awaitable[None]]
CallHandler = Callable[[str, bytes], Awaitable[bytes]]
LostHandler = Callable[[str, str], None]


class Peering(Protocol):
    """A node's side of the network."""

    def handle(self, protocol: str, handler: StreamHandler, *, guests: bool = False) -> None:
        """Serve streams of a protocol; guests only where said."""

    def serve_calls(self, protocol: str, handler: CallHandler, *, guests: bool = False) -> None:
        """Serve calls: bytes in, bytes out, or a FondacoError that reaches the caller."""

    def on_lost(self, handler: LostHandler) -> None:
        """Call `handler(did, cause)` when a peer goes away."""

    async def open(self, peer: str, protocol: str, header: bytes = b"") -> Stream:
        """A new stream to a peer."""

    async def call(self, peer: str, protocol: str, payload: bytes, *, deadline: float) -> bytes:
        """Ask a peer; its answer within `deadline` seconds."""


async def read_all(stream: Stream, limit: int) -> bytes:
    """Everything until the end of a stream.

    Raises:
        TransportError: more than `limit` bytes.
    """
    parts: list[bytes] = []
    size = 0
    while data := await stream.receive():
        size += len(data)
        if size > limit:
            raise TransportError(f"a message of more than {limit} bytes", remedy="send less at once")
        parts.append(data)
    return b"".join(parts)


async def make_call(stream: Stream, payload: bytes) -> bytes:
    """The client side of a call on an open stream."""
    await stream.send(payload)
    await stream.finish()
    answer = await read_all(stream, MAX_CALL)
    if answer[:1] == b"\x00":
        return answer[1:]
    raise unpack_error(answer[1:])


async def answer_call(stream: Stream, handler: CallHandler) -> None:
    """The server side of a call."""
    try:
        answer = b"\x00" + await handler(stream.peer, await read_all(stream, MAX_CALL))
    except FondacoError as fault:
        answer = b"\x01" + pack_error(fault)
    await stream.send(answer)
    await stream.finish()


def too_late(peer: str, protocol: str, seconds: float) -> DeadlineExceeded:
    """A call that was not answered in time."""
    return DeadlineExceeded(
        f"the peer did not answer {protocol} in time",
        remedy="look at the peer's log",
        peer=peer,
        seconds=int(seconds),
    )
