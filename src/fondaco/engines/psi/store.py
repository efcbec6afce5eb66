"""The identifiers of one member's keys, by hash prefix: in memory, or in a file that has no name once sets are large.

Identifiers are as good as random under the session key, so a prefix of them cuts a set into parts of nearly one size,
and both members cut alike: what two parts of one prefix share is all that the sets share there. How large a part is
depends on the keys, so each part is filled up to a size that follows from the number of keys alone; a part overflows
that size with probability at most 2**-40 for all parts together (Bernstein's inequality, whole numbers throughout so
that both members find the same). The file holds identifiers and row numbers, never a key; the session key is
on the disk where a cut meeting shall go on (`progress`), sealed, and nowhere else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa

from fondaco import _kernel
from fondaco.engines.base import BadJob
from fondaco.engines.psi.keys import ID_BYTES, Array, identified, records

# A part has at most about so many keys of either member: 0.4 GiB of memory in the kernel.
PART_ROWS = 1 << 20
MEMORY_ROWS = 1 << 22
PREFIXES = 256
MAX_ROWS = PREFIXES << 21
_BATCH = 1 << 20
_RECORD = np.dtype([("id", np.uint8, (ID_BYTES,)), ("place", "<u4")])


@dataclasses.dataclass(frozen=True)
class Part:
    """Keys of one part: `ids` of shape (n, 16) uint8, each once, and their rows `places` (n,) uint32."""

    ids: Array
    places: Array


def parts_for(rows: int, peer_rows: int) -> int:
    """Into how many parts both members cut: a power of two from 1 to 256."""
    parts = 1
    while parts < PREFIXES and max(rows, peer_rows) > PART_ROWS * parts:
        parts *= 2
    return parts


def part_size(rows: int, parts: int) -> int:
    """To how many identifiers a part is filled up, of a set of so many keys."""
    if parts == 1:
        return rows
    # ln(2^(41 + log2(parts))), rounded up: half of 2^-40, spread over the parts.
    bits = 41 + parts.bit_length()
    surprise = bits * 7 // 10 + 1
    mean = -(-rows // parts)
    return mean + surprise // 3 + 1 + math.isqrt(2 * surprise * mean + surprise * surprise) + 1


def padded(part: Part, size: int) -> bytes:
    """The identifiers of a part, filled up with random ones, which match nothing but with probability 2**-80.

    Raises:
        BadJob: the part is larger than its bound, which has probability 2**-40.
    """
    if len(part.ids) > size:
        raise BadJob("a part of the set is larger than its bound", remedy="start the task again")
    return part.ids.tobytes() + os.urandom(ID_BYTES * (size - len(part.ids)))


class Store:
    """All identifiers of a table of key columns without nulls, each once, under a session key.

    A context: leaving it removes what was written. `rows` is the number of different keys.
    """

    def __init__(self, table: pa.Table, session_key: bytes, *, scratch: Path) -> None:
        if table.num_rows > MAX_ROWS:
            raise BadJob(f"a set has at most {MAX_ROWS} rows", remedy="split the set by a key column")
        self.table = table
        self._file: IO[bytes] | None = None
        self._chunks: list[list[tuple[int, int]]] = [[] for _ in range(PREFIXES)]
        if table.num_rows <= MEMORY_ROWS:
            keys = identified(table, session_key)
            self._whole: Part | None = Part(keys.ids, keys.places)
            self.rows = len(keys)
            return
        self._whole = None
        with contextlib.ExitStack() as undo:
            self._file = undo.enter_context(tempfile.TemporaryFile(dir=scratch))
            self._spill(table, session_key)
            self.rows = self._deduplicate()
            undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def all(self) -> Part:
        """All keys as one part; in memory, so for protocols that cannot work in parts."""
        return self.part(0, 1)

    def part(self, index: int, parts: int) -> Part:
        """The keys whose identifiers begin with the prefixes of part `index` of `parts`."""
        width = PREFIXES // parts
        low, high = index * width, (index + 1) * width
        if self._whole is not None:
            if parts == 1:
                return self._whole
            first = self._whole.ids[:, 0]
            chosen = np.flatnonzero((first >= low) & (first < high))
            return Part(self._whole.ids[chosen], self._whole.places[chosen])
        found = np.concatenate([self._read(prefix) for prefix in range(low, high)])
        return Part(np.ascontiguousarray(found["id"]), found["place"].copy())

    def places(self) -> Array:
        """The row of each different key, in ascending order."""
        if self._whole is not None:
            return np.sort(self._whole.places)
        return np.sort(np.concatenate([self._read(prefix)["place"] for prefix in range(PREFIXES)]))

    def _spill(self, table: pa.Table, session_key: bytes) -> None:
        for begin, batch in _batches(table):
            self._write(*records(batch, session_key, begin))

    def _write(self, raw: bytes, counts: Array) -> None:
        assert self._file is not None
        at = self._file.tell()
        self._file.write(raw)
        for prefix, count in enumerate(counts.tolist()):
            if count:
                self._chunks[prefix].append((at, count))
            at += count * _RECORD.itemsize

    def _raw(self, prefix: int) -> Iterator[bytes]:
        assert self._file is not None
        for at, count in self._chunks[prefix]:
            self._file.seek(at)
            yield self._file.read(count * _RECORD.itemsize)

    def _read(self, prefix: int) -> Any:
        return np.frombuffer(b"".join(self._raw(prefix)), _RECORD)

    def _deduplicate(self) -> int:
        """Rewrite the prefixes that hold a key twice; equal keys have one prefix."""
        assert self._file is not None
        total = 0
        for prefix in range(PREFIXES):
            raw = b"".join(self._raw(prefix))
            kept = _kernel.distinct_records(raw)
            total += len(raw if kept is None else kept) // _RECORD.itemsize
            if kept is not None:
                at = self._file.seek(0, os.SEEK_END)
                self._file.write(kept)
                self._chunks[prefix] = [(at, len(kept) // _RECORD.itemsize)]
        return total


def _batches(table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    for begin in range(0, table.num_rows, _BATCH):
        yield begin, table.slice(begin, _BATCH)
