"""What every transport offers: streams to peers by did, calls, and word of lost peers. TLS and memory both do."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Protocol

from fondaco.core.faults import MAX_ERROR, pack_error, unpack_error
from fondaco.errors import CodecError, DeadlineExceeded, FondacoError, RemoteError, TransportError

MAX_PROTOCOL = 64
MAX_HEADER = 16 << 10
MAX_CALL = 16 << 20
_TEXT = 400
_OK, _FAILED = b"\x00", b"\x01"


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
        """Ask a peer; its answer within `deadline` seconds.

        Raises:
            DeadlineExceeded: no answer in time.
            RemoteError: what the peer's handler raised, with its code, cause and remedy.
            PeerLost, PeerRefused: the peer is away, or is not the one that was meant, or refused us.
        """

    async def probe(self, peer: str, *, deadline: float) -> float:
        """The round trip to a peer in seconds; raises as `call` does."""


def check_opening(protocol: str, header: bytes) -> None:
    """Refuse a stream whose protocol or header is out of bounds.

    Raises:
        TransportError: not 1 to 64 printable characters of ASCII, or a header over 16 KiB.
    """
    named = 0 < len(protocol) <= MAX_PROTOCOL and protocol.isascii() and protocol.isprintable() and " " not in protocol
    if not named or len(header) > MAX_HEADER:
        raise TransportError(
            f"a protocol has 1 to {MAX_PROTOCOL} characters and a header at most {MAX_HEADER} bytes",
            remedy="send large things in the stream",
        )


def pack_fault(fault: FondacoError) -> bytes:
    """An error for a peer, never over the limit that the peer reads."""
    try:
        packed = pack_error(fault)
    except CodecError:
        packed = b""
    if 0 < len(packed) <= MAX_ERROR:
        return packed
    # Too long, or text and numbers that the codec does not have: the gist of it, without details.
    code = str(fault.to_dict()["code"])
    return pack_error(RemoteError(_plain(fault.cause), remedy=_plain(fault.remedy), remote_code=_plain(code)))


def _plain(text: str) -> str:
    return text[:_TEXT].encode("ascii", "replace").decode()


def unpack_fault(data: bytes, *, peer: str) -> RemoteError:
    """The error that a peer sent. Its details are the peer's word; who gave it stands in `told_by`."""
    found = unpack_error(data)
    found.details["told_by"] = peer
    return found


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
            raise _too_large(limit)
        parts.append(data)
    return b"".join(parts)


def _too_large(limit: int) -> TransportError:
    return TransportError(f"a message of more than {limit} bytes", remedy="send less at once")


async def make_call(stream: Stream, payload: bytes) -> bytes:
    """The client side of a call on an open stream, which it always ends.

    Raises:
        TransportError: `payload` or the answer is over 16 MiB.
        RemoteError: what the handler raised.
    """
    done = False
    try:
        if len(payload) > MAX_CALL:
            raise _too_large(MAX_CALL)
        await stream.send(payload)
        await stream.finish()
        answer = await read_all(stream, MAX_CALL + 1)
        done = True
    finally:
        if not done:
            await stream.abort(TransportError("the caller waits no longer", remedy="answer sooner"))
    if answer[:1] == _OK:
        return answer[1:]
    raise unpack_fault(answer[1:], peer=stream.peer)


async def answer_call(stream: Stream, handler: CallHandler) -> None:
    """The server side of a call. An error that comes before the whole payload was read breaks the stream off."""
    payload = await read_all(stream, MAX_CALL)
    try:
        answer = await handler(stream.peer, payload)
        if len(answer) > MAX_CALL:
            raise _too_large(MAX_CALL)
        await stream.send(_OK + answer)
    except FondacoError as fault:
        await stream.send(_FAILED + pack_fault(fault))
    await stream.finish()


def too_late(peer: str, protocol: str, seconds: float) -> DeadlineExceeded:
    """A call that was not answered in time."""
    return DeadlineExceeded(
        f"the peer did not answer {protocol} in time",
        remedy="look at the peer's log",
        peer=peer,
        seconds=int(seconds),
    )
