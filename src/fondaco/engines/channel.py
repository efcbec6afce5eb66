"""Channels to the other members of a step: framed messages over unix sockets, bounded and in time.

The lower rank connects to the higher one's socket, where a node's tunnel listens in the peer's place; among more than
two members each pair has a socket of its own, so that the node decides who is at the other end. A message is
its length in eight bytes, then its bytes. The first message of each side says which run it belongs to and who speaks.
A member that stops for another's sake may say why before it goes: a length that no message has, then a short text.
Every wait ends at the job's deadline. Trusts the node for who is at the other end, and nothing that comes from there:
a length above what the reader allows is refused before memory is taken. Leaks lengths and times to the node's user.

Both sides may send without having read, as long as what is under way fits the sockets' buffers; the kernel's
protocols send large messages one way at a time, and anything else ends at the deadline.
"""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.engines.base import BadJob, EngineStopped, Job
from fondaco.errors import CodecError, EngineError

VERSION = 1
_HEAD = 8
_HELLO_LIMIT = 1024
_POLL_SECONDS = 0.02
_CHUNK = 1 << 20
_AGAIN = "look for the party that failed; start the task again"
_FAREWELL = (1 << 64) - 1
_FAREWELL_BYTES = 400
_LAST_WORD_SECONDS = 1.0
# Whose workers keep a channel to each other member; SPU links the members of the other engine itself.
_CHANNELLED = ("psi", "pir")


@message("engine.hello/1")
class Hello:
    """The first message of each side: protocol version, digest of the run, rank of who speaks."""

    version: int
    run: bytes
    rank: int


def run_digest(job: Job) -> bytes:
    """SHA-256 over what both members know of a run: 32 bytes."""
    known = (job.task, job.step, str(job.attempt), job.engine, job.operation, *job.parties)
    return hashlib.sha256(b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in known)).digest()


class Channel:
    """Messages to and from one peer until a point in time.

    Args:
        link: a connected stream socket; the channel closes it.
        peer: the peer's name, for causes.
        end: when `time.monotonic()` must not be passed.
    """

    def __init__(self, link: socket.socket, *, peer: str, end: float) -> None:
        self._link = link
        self._end = end
        self.peer = peer
        self.sent = 0
        self.received = 0

    def send(self, data: bytes) -> None:
        """Send one message.

        Raises:
            EngineStopped: the link broke, or the time was over.
        """
        with self._in_time("take a message"):
            self._link.sendall(len(data).to_bytes(_HEAD, "big"))
            view = memoryview(data)
            for at in range(0, len(data), _CHUNK):
                self._link.settimeout(self._left())
                self._link.sendall(view[at : at + _CHUNK])
        self.sent += _HEAD + len(data)

    def receive(self, limit: int) -> bytes:
        """The next message, of at most `limit` bytes.

        Raises:
            EngineStopped: the link broke, the time was over, or the message is too long.
        """
        with self._in_time("say anything"):
            size = int.from_bytes(self._exactly(_HEAD), "big")
            if size == _FAREWELL:
                raise EngineStopped(f"{self.peer} stopped: {self._farewell()}", remedy=_AGAIN)
            if size > limit:
                raise EngineStopped(
                    f"{self.peer} announced a message of {size} bytes where at most {limit} are due", remedy=_AGAIN
                )
            data = self._exactly(size)
        self.received += _HEAD + size
        return data

    def stop(self, cause: str) -> None:
        """Tell the peer why this member goes, if it can still be told; the link is of no more use.

        A peer that is in the middle of something else hears it at its next `receive`.
        """
        text = cause.encode()[:_FAREWELL_BYTES]
        with contextlib.suppress(OSError):
            # It fits the socket's buffer or is not said: the time may be over already.
            self._link.settimeout(0)
            self._link.sendall(_FAREWELL.to_bytes(_HEAD, "big") + bytes([len(text) >> 8, len(text) & 0xFF]) + text)

    def _last_word(self) -> EngineStopped | None:
        """The peer's farewell, where it went before it took what we had to say; what it said before is passed over."""
        try:
            # Its end comes through two nodes, and may come after ours was refused.
            self._link.settimeout(_LAST_WORD_SECONDS)
            while len(head := self._link.recv(_HEAD)) == _HEAD:
                size = int.from_bytes(head, "big")
                if size == _FAREWELL:
                    return EngineStopped(f"{self.peer} stopped: {self._farewell()}", remedy=_AGAIN)
                while size and (part := self._link.recv(min(_CHUNK, size))):
                    size -= len(part)
        except OSError:
            return None
        return None

    def _farewell(self) -> str:
        size = int.from_bytes(self._exactly(2), "big")
        if size > _FAREWELL_BYTES:
            return "it does not say why"
        text = self._exactly(size).decode("utf-8", "replace")
        # A peer's words go to this node's people: one line, nothing that a terminal would obey.
        return "".join(letter if letter.isprintable() else "?" for letter in text)

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _exactly(self, size: int) -> bytes:
        # Memory is taken as bytes come, not as they are announced.
        data = bytearray()
        while len(data) < size:
            self._link.settimeout(self._left())
            part = self._link.recv(min(_CHUNK, size - len(data)))
            if not part:
                raise ConnectionResetError
            data += part
        return bytes(data)

    @contextlib.contextmanager
    def _in_time(self, what: str) -> Iterator[None]:
        try:
            self._link.settimeout(self._left())
            yield
        except TimeoutError as late:
            raise EngineStopped(f"{self.peer} did not {what} within the step's time", remedy=_AGAIN) from late
        except OSError as fault:
            broke = EngineStopped(f"the link to {self.peer} broke", remedy=_AGAIN)
            raise self._last_word() or broke from fault

    def close(self) -> None:
        """Close the link."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def socket_name(engine: str, members: int, listener: int, dialler: int) -> str:
    """The name of the socket at which the member of rank `listener` is reached by that of rank `dialler`.

    The node's tunnels and its side of arriving links use it too.
    """
    if engine in _CHANNELLED and members > 2:
        return f"{listener}-{dialler}.sock"
    return f"{listener}.sock"


def _bound(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.bind(str(path))
        server.listen(1)
    except BaseException:
        server.close()
        raise
    return server


def _dialled(path: Path, end: float, undo: contextlib.ExitStack) -> socket.socket | None:
    """A link to a socket, which `undo` closes, or None where nobody listens yet."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.settimeout(max(end - time.monotonic(), 0.001))
        link.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        link.close()
        return None
    except BaseException:
        link.close()
        raise
    return undo.enter_context(link)


def connect(job: Job, sockets: Path) -> Channel:
    """Link up with the other of a step's two members with data; a helper has no link here.

    Raises:
        BadJob: not two members with data, or the peer runs another version or step.
        EngineStopped: the peer did not come in time, or the link broke.
    """
    if len(_others(job)) != 1 or job.rank == job.helper:
        raise BadJob("this engine has two members with data", remedy="name two parties")
    with contextlib.ExitStack() as undo:
        channels = dict(_links(job, sockets, undo))
        _greet(job, channels)
        undo.pop_all()
        (channel,) = channels.values()
        return channel


@contextlib.contextmanager
def connect_all(job: Job, sockets: Path) -> Iterator[dict[int, Channel]]:
    """Link up with every other member, by rank; leaving the context closes all links.

    Where it is left by an error of the engine, the others are told its cause before.

    Raises:
        BadJob: a peer runs another version or another step.
        EngineStopped: a peer did not come in time, or its link broke.
    """
    channels: dict[int, Channel] = {}
    with contextlib.ExitStack() as undo:
        try:
            # One by one, so that those who came hear of it if another does not.
            channels.update(_links(job, sockets, undo))
            _greet(job, channels)
            yield dict(sorted(channels.items()))
        except EngineError as fault:
            for channel in channels.values():
                channel.stop(fault.cause)
            raise


def _others(job: Job) -> list[int]:
    """The other members with data; a helper has links of SPU's alone."""
    return [rank for rank in range(len(job.parties)) if rank not in (job.rank, job.helper)]


def _links(job: Job, sockets: Path, undo: contextlib.ExitStack) -> Iterator[tuple[int, Channel]]:
    """The channels to all others as they come; whatever is open is closed by `undo`."""
    end, members = time.monotonic() + job.timeout_seconds, len(job.parties)
    # Every socket is there before anybody is waited for, and who does not come keeps nobody else from coming.
    bound: dict[int, socket.socket] = {}
    for rank in (rank for rank in _others(job) if rank < job.rank):
        with _named(job.parties[rank]):
            path = sockets / socket_name(job.engine, members, job.rank, rank)
            bound[rank] = undo.enter_context(_bound(path))
    away = [rank for rank in _others(job) if rank > job.rank]
    while away or bound:
        missing = [*away, *bound]
        with _named(", ".join(job.parties[rank] for rank in sorted(missing))):
            links: dict[int, socket.socket | None] = {}
            for rank in away:
                links[rank] = _dialled(sockets / socket_name(job.engine, members, rank, job.rank), end, undo)
            links |= _arrived(bound, end, _POLL_SECONDS if None in links.values() else None)
        for rank, link in links.items():
            if link is not None:
                yield rank, undo.enter_context(Channel(link, peer=job.parties[rank], end=end))
        away = [rank for rank in away if links[rank] is None]


def _arrived(bound: dict[int, socket.socket], end: float, patience: float | None) -> dict[int, socket.socket | None]:
    """Links that came to our sockets within `patience` seconds (None: until the end); their sockets are closed."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    waits = left if patience is None else min(patience, left)
    if not bound:
        if patience is not None:
            # A peer binds its socket when it has started; there is nothing to wait on but the file.
            time.sleep(waits)
        return {}
    ready, _writable, _broken = select.select(list(bound.values()), [], [], waits)
    links: dict[int, socket.socket | None] = {}
    for rank in [rank for rank, server in bound.items() if server in ready]:
        with bound.pop(rank) as server:
            links[rank], _address = server.accept()
    return links


def _greet(job: Job, channels: dict[int, Channel]) -> None:
    hello = to_bytes(Hello(version=VERSION, run=run_digest(job), rank=job.rank))
    for channel in channels.values():
        channel.send(hello)
    for rank, channel in channels.items():
        _greeted(channel, job, rank)


@contextlib.contextmanager
def _named(peer: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as late:
        raise EngineStopped(f"{peer} did not come within the step's time", remedy=_AGAIN) from late
    except OSError as fault:
        raise EngineStopped(f"the link to {peer} cannot be made ({fault.strerror})", remedy=_AGAIN) from fault


def _greeted(channel: Channel, job: Job, other: int) -> None:
    try:
        hello = from_bytes(Hello, channel.receive(_HELLO_LIMIT), limit=_HELLO_LIMIT)
    except CodecError as fault:
        raise EngineStopped(f"{channel.peer} does not speak as an engine does", remedy=_AGAIN) from fault
    if (hello.version, hello.run, hello.rank) != (VERSION, run_digest(job), other):
        raise BadJob(
            f"{channel.peer} runs another version or another step",
            remedy="see that both run the same version of this software",
        )
