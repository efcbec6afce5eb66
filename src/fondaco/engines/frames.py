"""How a node and its worker talk over pipes: a length, a letter, the bytes. Both ends are this software.

A table may be gigabytes, so it is written in pieces, which lie where its columns lie, and is read where it was put.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from fondaco.core.codec import decode, encode
from fondaco.errors import EngineError

JOB, TABLE, KEEP, START = b"j", b"t", b"k", b"s"
OUTCOME, FAILURE, PROGRESS = b"o", b"f", b"p"
HEAD = 9
MAX_FRAME = 1 << 34
_ALIGNED = 16


def frame(kind: bytes, data: bytes) -> bytes:
    """One frame."""
    return kind + len(data).to_bytes(8, "big") + data


def head(data: bytes) -> tuple[bytes, int]:
    """(letter, length) of a frame's nine first bytes.

    Raises:
        EngineError: no frame.
    """
    size = int.from_bytes(data[1:], "big")
    if len(data) != HEAD or size > MAX_FRAME:
        raise EngineError("the worker said something that is no frame", remedy="look at the node's log")
    return data[:1], size


class _Pieces:
    """A file for Arrow to write to, which keeps what it is given until somebody takes it."""

    closed = False

    def __init__(self) -> None:
        self._held: list[memoryview] = []

    def write(self, data: bytes | pa.Buffer) -> int:
        """Keep bytes, or a buffer of Arrow's."""
        piece = memoryview(data).cast("B")
        self._held.append(piece)
        return len(piece)

    def flush(self) -> None:
        """There is nothing behind it."""

    def taken(self) -> list[memoryview]:
        """What was written since this was last asked."""
        held, self._held = self._held, []
        return held


def table_frame(name: str, table: pa.Table) -> Iterator[bytes | memoryview]:
    """A named table as one frame, in pieces: the name's length, the name, zeros, an Arrow IPC stream."""
    counted = pa.MockOutputStream()
    with pa.ipc.new_stream(counted, table.schema) as writer:
        for batch in table.to_batches():
            writer.write_batch(batch)
    label = encode(name)
    before = len(label).to_bytes(2, "big") + label
    before += bytes(-len(before) % _ALIGNED)
    yield TABLE + (len(before) + counted.size()).to_bytes(8, "big") + before
    pieces = _Pieces()
    with pa.ipc.new_stream(pa.PythonFile(pieces, mode="w"), table.schema) as writer:
        for batch in table.to_batches():
            writer.write_batch(batch)
            yield from pieces.taken()
    yield from pieces.taken()


def unpack_table(data: bytes | bytearray) -> tuple[str, pa.Table]:
    """The name and table of a frame; the table lies in its bytes.

    Raises:
        EngineError: no name.
    """
    size = int.from_bytes(data[:2], "big")
    name = decode(bytes(data[2 : 2 + size]))
    if not isinstance(name, str):
        raise EngineError("the worker sent a table without a name", remedy="look at the node's log")
    start = 2 + size + -(2 + size) % _ALIGNED
    return name, pa.ipc.open_stream(pa.py_buffer(data).slice(start)).read_all()


def pack_progress(what: str, done: int, whole: int) -> bytes:
    """How far a piece of work is, as one frame's data."""
    return encode([what, done, whole])


def unpack_progress(data: bytes) -> tuple[str, int, int]:
    """What is done, how much of it, and how much there is.

    Raises:
        EngineError: not that.
    """
    match decode(data):
        case [str(what), int(done), int(whole)]:
            return what, done, whole
        case _:
            raise EngineError("the worker told a progress that is none", remedy="look at the node's log")
