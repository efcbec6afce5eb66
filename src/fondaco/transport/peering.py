"""What every transport offers: streams to peers by did, calls, and word of lost peers. TLS and memory both do.

A call in the making costs its caller nothing and this node memory, so each has a deadline to arrive and one for its
answer to be taken, and all of a link share a budget of bytes. What is over is refused, never queued.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Protocol

from fondaco.core.faults import MAX_ERROR, pack_error, unpack_error
from fondaco.errors import CodecError, DeadlineExceeded, FondacoError, RemoteError, TransportError

MAX_PROTOCOL = 64
MAX_HEADER = 16 << 10
MAX_CALL = 16 << 20
MAX_GUEST_CALL = 64 << 10  # a transaction, or a question for blocks
CALL_BUDGET = 4 * MAX_CALL
GUEST_BUDGET = MAX_CALL + 4 * MAX_GUEST_CALL  # one answer of the largest, and a payload on each stream
_TEXT = 400
_OK, _FAILED = b"\x00", b"\x01"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Deadlines in seconds. A peer that says nothing for `silence` is lost.

    A call arrives whole within `reading`, and its answer is taken within `sending`, however alive its peer is.
    """

    connect: float = 5.0
    handshake: float = 5.0
    heartbeat: float = 1.0
    silence: float = 5.0
    reading: float = 30.0
    sending: float = 30.0


class Budget:
    """The bytes that unfinished calls of one link may hold here: payloads until handled, answers until sent."""

    def __init__(self, *, guest: bool) -> None:
        self.largest = MAX_GUEST_CALL if guest else MAX_CALL
        self._free = GUEST_BUDGET if guest else CALL_BUDGET

    @contextlib.contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Something that takes so many bytes more; all are given back at the end.

        Raises:
            TransportError: from what it yields, when the calls of this link hold too much already.
        """
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if size > self._free:
                raise TransportError("your unfinished calls hold too much here", remedy="wait for some to end")
            self._free -= size
            taken += size

        try:
            yield take
        finally:
            self._free += taken


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

    @property
    def budget(self) -> Budget:
        """What the unfinished calls of this peer may hold on this node."""

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

    def serve_calls(
        self, protocol: str, handler: CallHandler, *, guests: bool = False, largest: int = MAX_CALL
    ) -> None:
        """Serve calls: bytes in, bytes out, or a FondacoError that reaches the caller.

        A payload has at most `largest` bytes, a guest's at most 64 KiB too.
        """

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


async def read_all(stream: Stream, limit: int, take: Callable[[int], None] | None = None) -> bytes:
    """Everything until the end of a stream; `take` is told of each part before it is kept.

    Raises:
        TransportError: more than `limit` bytes, or what `take` raised.
    """
    found = bytearray()  # a list of the parts would cost many times their bytes where a peer sends them one by one
    while data := await stream.receive():
        if len(found) + len(data) > limit:
            raise _too_large(limit)
        if take is not None:
            take(len(data))
        found += data
    return bytes(found)


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


async def answer_call(stream: Stream, handler: CallHandler, *, largest: int, timings: Timings) -> None:
    """The server side of a call. An error that comes before the whole payload was read breaks the stream off.

    Raises:
        DeadlineExceeded: the call did not arrive, or its answer was not taken, in time.
        TransportError: a payload over `largest` or over what a guest may send, or the link's budget is used up.
    """
    budget = stream.budget
    with budget.share() as take:
        async with _within(timings.reading, stream, "the call did not arrive in time", "send it faster, or less"):
            payload = await read_all(stream, min(largest, budget.largest), take)
        try:
            answer = _OK + await handler(stream.peer, payload)
            if len(answer) > MAX_CALL + 1:
                raise _too_large(MAX_CALL)
        except FondacoError as fault:
            answer = _FAILED + pack_fault(fault)
        del payload
    with budget.share() as take:
        take(len(answer) - 1)
        async with _within(timings.sending, stream, "the answer was not taken in time", "read it faster, or ask less"):
            await stream.send(answer)
            await stream.finish()


@contextlib.asynccontextmanager
async def _within(seconds: float, stream: Stream, cause: str, remedy: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as late:
        raise DeadlineExceeded(
            cause, remedy=remedy, peer=stream.peer, protocol=stream.protocol, seconds=int(seconds)
        ) from late


def too_late(peer: str, protocol: str, seconds: float) -> DeadlineExceeded:
    """A call that was not answered in time."""
    return DeadlineExceeded(
        f"the peer did not answer {protocol} in time",
        remedy="look at the peer's log",
        peer=peer,
        seconds=int(seconds),
    )
