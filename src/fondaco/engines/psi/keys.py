"""One encoding of a composite key for all parties, and identifiers of it under a session key.

Text is compared by canonical equivalence: it is decomposed (Unicode NFD, of the Unicode version of the Arrow library
that all parties have pinned; Arrow's NFC does not compose). Numbers, booleans, dates and timestamps (UTC,
microseconds) are written in decimal. Each part is a type letter, its length in bytes, a colon and the bytes, so no two
keys run together (`crates/kernel/src/keys.rs`). A key with a null in it matches nothing and is left out; doubled keys
count once, and keys are compared after normalisation: two spellings of one key are one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fondaco import _kernel
from fondaco.engines.base import BadJob

ID_BYTES = 16

Array = NDArray[Any]
_Part = tuple[str, memoryview, memoryview | None]


@dataclasses.dataclass(frozen=True)
class Keys:
    """The different keys of a table.

    `ids` has shape (n, 16), dtype uint8; `places` shape (n,), dtype uint32: the row of `table` where each key first
    stands; `table` has the key columns of the rows without nulls, as they were given.
    """

    ids: Array
    places: Array
    table: pa.Table

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, which: Array) -> pa.Table:
        """The key columns of some keys, by their numbers, in the order of the numbers."""
        return rows_at(self.table, self.places[which])


def rows_at(table: pa.Table, places: Array) -> pa.Table:
    """Rows by their numbers, an array of uint32, in that order."""
    # Not `pa.array`, which would load pandas where it is installed.
    numbers = np.ascontiguousarray(places, dtype=np.uint32)
    return table.take(pa.Array.from_buffers(pa.uint32(), len(numbers), [None, pa.py_buffer(numbers)]))


def _text(letter: str, column: pa.ChunkedArray) -> _Part:
    whole = pa.concat_arrays(pc.cast(column, pa.large_string()).chunks or [pa.array([], pa.large_string())])
    _validity, offsets, data = whole.buffers()
    window = _bytes(offsets)[8 * whole.offset : 8 * (whole.offset + len(whole) + 1)]
    return letter, _bytes(data), window if len(whole) else memoryview(bytes(8))


def _numbers(letter: str, column: pa.ChunkedArray) -> _Part:
    whole = pa.concat_arrays(pc.cast(column, pa.int64()).chunks or [pa.array([], pa.int64())])
    return letter, _bytes(whole.buffers()[1])[8 * whole.offset : 8 * (whole.offset + len(whole))], None


def _bytes(buffer: pa.Buffer | None) -> memoryview:
    return memoryview(buffer if buffer is not None else b"").cast("B")


def _part(column: pa.ChunkedArray) -> _Part:
    """A key column without nulls, as the kernel takes it."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        ascii_alone = pc.all(pc.string_is_ascii(column)).as_py()
        return _text("t", column if ascii_alone else pc.utf8_normalize(column, form="NFD"))
    if pa.types.is_boolean(kind):
        return _numbers("b", pc.cast(column, pa.int8()))
    if pa.types.is_uint64(kind):
        return _text("i", pc.cast(column, pa.string()))
    if pa.types.is_integer(kind):
        return _numbers("i", column)
    if pa.types.is_date(kind):
        return _numbers("d", pc.cast(pc.cast(column, pa.date32()), pa.int32()))
    if pa.types.is_timestamp(kind):
        return _numbers("z", pc.cast(column, pa.timestamp("us", tz="UTC")))
    raise BadJob(f"a column of type {kind} cannot be a key", remedy="use text, whole numbers, dates or timestamps")


def key_columns(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The key columns of the rows that have no null in them.

    Raises:
        BadJob: a name is not that of a column, or comes twice.
    """
    for name in names:
        if name not in table.column_names:
            raise BadJob("a key column is not in the input", remedy="name columns that the step brings", column=name)
    if len(dict.fromkeys(names)) != len(names):
        raise BadJob("a key column is named twice", remedy="name each once")
    chosen = table.select(list(names))
    return chosen.drop_null() if any(column.null_count for column in chosen.columns) else chosen


def numbered(table: pa.Table, session_key: bytes) -> tuple[Array, Array]:
    """Identifiers of the different keys of a table of key columns without nulls, and for each row which of them it has.

    Shapes (n, 16) uint8 and (rows,) uint32.
    """
    ids, numbers = _kernel.identify_rows(session_key, [_part(column) for column in table.columns])
    return np.frombuffer(ids, np.uint8).reshape(-1, ID_BYTES), np.frombuffer(numbers, "<u4")


def records(table: pa.Table, session_key: bytes, first: int) -> tuple[bytes, Array]:
    """Identifiers and row numbers, counted from `first`, of all rows of a table of key columns without nulls.

    Records of 20 bytes, by the identifier's first byte; and how many records each first byte has, shape (256,) uint32.
    """
    raw, counts = _kernel.identify_records(session_key, [_part(column) for column in table.columns], first)
    return raw, np.frombuffer(counts, "<u4")


def identified(table: pa.Table, session_key: bytes) -> Keys:
    """The different keys of a table of key columns without nulls, under a session key of 32 bytes."""
    ids, places = _kernel.identify(session_key, [_part(column) for column in table.columns])
    shape = (-1, ID_BYTES)
    return Keys(np.frombuffer(ids, np.uint8).reshape(shape), np.frombuffer(places, "<u4"), table)
