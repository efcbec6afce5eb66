"""A channel between the two members with data of a step: framed messages over a unix socket, bounded and in time.

The lower rank connects to the higher one's socket, where a node's tunnel listens in the peer's place. A message is
its length in eight bytes, then its bytes. The first message of each side says which run it belongs to and who speaks.
Every wait ends at the job's deadline. Trusts the node for who is at the other end, and nothing that comes from there:
a length above what the reader allows is refused before memory is taken. Leaks lengths and times to the node's user.

Both sides may send without having read, as long as what is under way fits the sockets' buffers; the kernel's
protocols send large messages one way at a time, and anything else ends at the deadline.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.engines.base import BadJob, EngineStopped, Job
from fondaco.errors import CodecError

VERSION = 1
_HEAD = 8
_HELLO_LIMIT = 1024
_POLL_SECONDS = 0.02
_CHUNK = 1 << 20
_AGAIN = "look for the party that failed; start the task again"


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
            if size > limit:
                raise EngineStopped(
                    f"{self.peer} announced a message of {size} bytes where at most {limit} are due", remedy=_AGAIN
                )
            data = self._exactly(size)
        self.received += _HEAD + size
        return data

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
            raise EngineStopped(f"the link to {self.peer} broke", remedy=_AGAIN) from fault

    def close(self) -> None:
        """Close the link."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _listen(path: Path, end: float) -> socket.socket:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen(1)
        server.settimeout(max(end - time.monotonic(), 0.001))
        link, _address = server.accept()
        return link


def _dial(path: Path, end: float) -> socket.socket:
    while True:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.settimeout(max(end - time.monotonic(), 0.001))
            link.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            # The peer binds its socket when it has started; there is nothing to wait on but the file.
            link.close()
            if time.monotonic() + _POLL_SECONDS > end:
                raise TimeoutError from None
            time.sleep(_POLL_SECONDS)
        except BaseException:
            link.close()
            raise
        else:
            return link


def connect(job: Job, sockets: Path) -> Channel:
    """Link up with the other of a step's two members with data; a helper has no link here.

    Raises:
        BadJob: not two members with data, or the peer runs another version or step.
        EngineStopped: the peer did not come in time, or the link broke.
    """
    if len(job.parties) - (job.helper is not None) != 2 or job.rank == job.helper:
        raise BadJob("this engine has two members with data", remedy="name two parties")
    other = 1 - job.rank
    peer, end = job.parties[other], time.monotonic() + job.timeout_seconds
    try:
        link = _dial(sockets / f"{other}.sock", end) if job.rank < other else _listen(sockets / f"{job.rank}.sock", end)
    except TimeoutError as late:
        raise EngineStopped(f"{peer} did not come within the step's time", remedy=_AGAIN) from late
    except OSError as fault:
        raise EngineStopped(f"the link to {peer} cannot be made ({fault.strerror})", remedy=_AGAIN) from fault
    channel = Channel(link, peer=peer, end=end)
    try:
        _greet(channel, job, other)
    except BaseException:
        channel.close()
        raise
    return channel


def _greet(channel: Channel, job: Job, other: int) -> None:
    channel.send(to_bytes(Hello(version=VERSION, run=run_digest(job), rank=job.rank)))
    try:
        hello = from_bytes(Hello, channel.receive(_HELLO_LIMIT), limit=_HELLO_LIMIT)
    except CodecError as fault:
        raise EngineStopped(f"{channel.peer} does not speak as an engine does", remedy=_AGAIN) from fault
    if (hello.version, hello.run, hello.rank) != (VERSION, run_digest(job), other):
        raise BadJob(
            f"{channel.peer} runs another version or another step",
            remedy="see that both run the same version of this software",
        )
