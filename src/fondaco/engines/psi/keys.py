"""One encoding of a composite key for all parties, and identifiers of it under a session key.

Text is normalised to Unicode NFC; numbers, booleans, dates and timestamps (UTC, microseconds) are written in
decimal. Each part is a type letter, its length in bytes, a colon and the bytes, so no two keys run together. A key
with a null in it matches nothing and is left out; doubled keys count once.
"""

from __future__ import annotations

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


def distinct_keys(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The different keys without nulls, as a table of the key columns, in no stated order."""
    for name in names:
        if name not in table.column_names:
            raise BadJob("a key column is not in the input", remedy="name columns that the step brings", column=name)
    keys = table.select(list(names)).drop_null()
    return keys.group_by(list(names)).aggregate([])


def _as_text(column: pa.ChunkedArray) -> tuple[str, pa.ChunkedArray]:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "t", pc.utf8_normalize(column, form="NFC")
    if pa.types.is_boolean(kind):
        return "b", pc.cast(pc.cast(column, pa.int8()), pa.string())
    if pa.types.is_integer(kind):
        return "i", pc.cast(column, pa.string())
    if pa.types.is_date(kind):
        return "d", pc.cast(pc.cast(pc.cast(column, pa.date32()), pa.int32()), pa.string())
    if pa.types.is_timestamp(kind):
        return "z", pc.cast(pc.cast(pc.cast(column, pa.timestamp("us", tz="UTC")), pa.int64()), pa.string())
    raise BadJob(f"a column of type {kind} cannot be a key", remedy="use text, whole numbers, dates or timestamps")


def encode_keys(keys: pa.Table) -> pa.LargeBinaryArray:
    """The canonical encoding of each row of key columns."""
    parts: list[object] = []
    for column in keys.columns:
        letter, text = _as_text(column)
        width = pc.cast(pc.binary_length(pc.cast(text, pa.binary())), pa.string())
        parts += [pa.scalar(letter), width, pa.scalar(":"), text]
    joined = pc.binary_join_element_wise(*parts, pa.scalar(""))
    return pc.cast(joined, pa.large_binary()).combine_chunks()


def identifiers(keys: pa.Table, session_key: bytes) -> Array:
    """The 16-byte identifier of each row, as an array of shape (rows, 16), dtype uint8."""
    if keys.num_rows == 0:
        return np.zeros((0, ID_BYTES), dtype=np.uint8)
    encoded = encode_keys(keys)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = pa.concat_arrays(encoded.chunks)
    _validity, offsets, data = encoded.buffers()
    first = encoded.offset * 8
    window = memoryview(offsets)[first : first + 8 * (len(encoded) + 1)]
    raw = _kernel.keyed_ids(session_key, bytes(memoryview(data)) if data is not None else b"", bytes(window))
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, ID_BYTES)
