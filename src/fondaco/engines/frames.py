"""How a node and its worker talk over pipes: a length, a letter, the bytes. Both ends are this software."""

from __future__ import annotations

import pyarrow as pa

from fondaco.core.codec import decode, encode
from fondaco.errors import EngineError

JOB, TABLE, KEEP, START = b"j", b"t", b"k", b"s"
OUTCOME, FAILURE, PROGRESS = b"o", b"f", b"p"
HEAD = 9
MAX_FRAME = 1 << 34


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


def pack_table(name: str, table: pa.Table) -> bytes:
    """A named table as one frame's data: the name's length, the name, an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    label = encode(name)
    return len(label).to_bytes(2, "big") + label + bytes(sink.getvalue())


def unpack_table(data: bytes) -> tuple[str, pa.Table]:
    """The name and table of a frame."""
    size = int.from_bytes(data[:2], "big")
    name = decode(data[2 : 2 + size])
    if not isinstance(name, str):
        raise EngineError("the worker sent a table without a name", remedy="look at the node's log")
    return name, pa.ipc.open_stream(data[2 + size :]).read_all()


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
