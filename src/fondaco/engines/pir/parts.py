"""The parts of an index as a table of one column: the form in which they pass between node and worker.

An index is large, so nothing here copies it but `from_table`, for who needs its bytes as such.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pyarrow as pa

BEFORE = "before"
"""The input that holds the head of the index of an earlier version of the dataset."""


def as_table(parts: Sequence[bytes | bytearray | memoryview]) -> pa.Table:
    """A table of the parts, one a row, that lies where they lie."""
    kind = pa.large_binary()
    chunks = []
    for part in parts:
        offsets = pa.py_buffer(bytes(8) + len(part).to_bytes(8, "little"))
        chunks.append(pa.LargeBinaryArray.from_buffers(kind, 1, [None, offsets, pa.py_buffer(part)]))
    return pa.table({"part": pa.chunked_array(chunks, kind)})


def views(table: pa.Table) -> list[memoryview]:
    """The parts out of such a table, where they lie in it."""
    found: list[memoryview] = []
    for chunk in table.column("part").chunks:
        _validity, offsets, data = chunk.cast(pa.large_binary()).buffers()
        if not len(chunk):
            continue
        # A value of the chunk by itself would be a copy.
        ends = memoryview(offsets)[8 * chunk.offset : 8 * (chunk.offset + len(chunk) + 1)].cast("q")
        whole = memoryview(b"" if data is None else data).cast("B")
        found += [whole[start:end] for start, end in itertools.pairwise(ends)]
    return found


def from_table(table: pa.Table) -> list[bytes]:
    """The parts out of such a table."""
    return [bytes(part) for part in views(table)]
