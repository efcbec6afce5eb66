"""Keys as rows of bytes of one width, as a union moves them, and back.

A row has eight little-endian bytes for each column of numbers, booleans, dates or timestamps, two bytes of length for
each column of text, then the texts one after the other, filled up with zeros to the `key_bytes` that both members
agreed on. So the width says nothing of the keys. A row has one form: whatever `encoded` would not write, `decoded`
refuses.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fondaco.engines.base import BadJob, EngineStopped
from fondaco.engines.psi.keys import Array

_ROWS = 1 << 16
_NUMBER, _LENGTH = 8, 2
_DAYS = 1 << 31


@dataclasses.dataclass(frozen=True)
class Form:
    """How rows of a schema are written: `schema` has canonical types, `key_bytes` is the room of a row's texts."""

    schema: pa.Schema
    key_bytes: int

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns of text."""
        return tuple(field.name for field in self.schema if pa.types.is_string(field.type))

    @property
    def numbers(self) -> tuple[str, ...]:
        """The other columns."""
        return tuple(field.name for field in self.schema if not pa.types.is_string(field.type))

    @property
    def lengths_at(self) -> int:
        """Where the texts' lengths begin."""
        return _NUMBER * len(self.numbers)

    @property
    def texts_at(self) -> int:
        """Where the texts begin."""
        return self.lengths_at + _LENGTH * len(self.texts)

    @property
    def width(self) -> int:
        """Bytes of a row."""
        return self.texts_at + (self.key_bytes if self.texts else 0)


def canonical(table: pa.Table) -> pa.Table:
    """Key columns in the types that a union's result has, whoever brought them.

    Raises:
        BadJob: a type that cannot be a key, or a number above 2**63 - 1.
    """
    # Not `pa.table`, which would load pandas where it is installed.
    return pa.Table.from_arrays(
        [_canonical(table.column(name), name) for name in table.column_names], names=table.column_names
    )


def _canonical(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    kind = column.type
    for test, target in (
        (pa.types.is_string, pa.string()),
        (pa.types.is_large_string, pa.string()),
        (pa.types.is_boolean, pa.bool_()),
        (pa.types.is_integer, pa.int64()),
        (pa.types.is_date, pa.date32()),
        (pa.types.is_timestamp, pa.timestamp("us", tz="UTC")),
    ):
        if test(kind):
            try:
                return pc.cast(column, target)
            except pa.ArrowInvalid as fault:
                raise BadJob(f"a key does not fit {target}", remedy="publish narrower keys", column=name) from fault
    raise BadJob(f"a column of type {kind} cannot be a key", remedy="use text, whole numbers, dates or timestamps")


def encoded(table: pa.Table, form: Form) -> bytes:
    """Rows of canonical types, without nulls, as bytes: `form.width` each.

    Raises:
        BadJob: a key has more bytes of text than there is room.
    """
    batches = (_encoded(table.slice(begin, _ROWS), form) for begin in range(0, table.num_rows, _ROWS))
    return b"".join(batches)


def _encoded(table: pa.Table, form: Form) -> bytes:
    rows = np.zeros((table.num_rows, form.width), np.uint8)
    for at, name in enumerate(form.numbers):
        values = _as_numbers(table.column(name)).astype("<i8")
        rows[:, _NUMBER * at : _NUMBER * (at + 1)] = values.view(np.uint8).reshape(-1, _NUMBER)
    filled = np.zeros(table.num_rows, np.int64)
    for at, name in enumerate(form.texts):
        offsets, data = _texts(table.column(name))
        sizes = np.diff(offsets)
        if (filled + sizes > form.key_bytes).any():
            raise BadJob(
                f"a key has more than {form.key_bytes} bytes of text", remedy="raise parameters.key_bytes", column=name
            )
        place = form.lengths_at + _LENGTH * at
        rows[:, place : place + _LENGTH] = sizes.astype("<u2").view(np.uint8).reshape(-1, _LENGTH)
        begins = np.arange(table.num_rows) * form.width + form.texts_at + filled
        rows.reshape(-1)[np.repeat(begins - offsets[:-1], sizes) + np.arange(len(data))] = data
        filled += sizes
    return rows.tobytes()


def _as_numbers(column: pa.ChunkedArray) -> Array:
    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    elif pa.types.is_date(column.type):
        column = pc.cast(column, pa.int32())
    whole = pa.concat_arrays(pc.cast(column, pa.int64()).chunks)
    return np.frombuffer(whole.buffers()[1], "<i8")[whole.offset : whole.offset + len(whole)]


def _texts(column: pa.ChunkedArray) -> tuple[Array, Array]:
    """Offsets from zero on, and the bytes between the first and the last."""
    whole = pa.concat_arrays(pc.cast(column, pa.large_string()).chunks)
    _validity, offsets, data = whole.buffers()
    window = np.frombuffer(offsets, "<i8")[whole.offset : whole.offset + len(whole) + 1]
    held = np.frombuffer(data if data is not None else b"", np.uint8)
    return window - window[0], held[window[0] : window[-1]]


def decoded(data: bytes, form: Form, peer: str) -> pa.Table:
    """The rows that a peer's bytes hold.

    Raises:
        EngineStopped: what `encoded` does not write; the cause names the peer.
    """
    fault = EngineStopped(f"{peer} sent keys that are none", remedy="see that both run the same version")
    if len(data) % form.width:
        raise fault
    rows = np.frombuffer(data, np.uint8).reshape(-1, form.width)
    batches = [_decoded(rows[begin : begin + _ROWS], form, fault) for begin in range(0, len(rows), _ROWS)]
    return pa.concat_tables([pa.Table.from_batches([], schema=form.schema), *batches])


def _decoded(rows: Array, form: Form, fault: EngineStopped) -> pa.Table:
    columns: dict[str, Any] = {}
    for at, name in enumerate(form.numbers):
        raw = np.ascontiguousarray(rows[:, _NUMBER * at : _NUMBER * (at + 1)]).view("<i8").reshape(-1)
        columns[name] = _from_numbers(raw, form.schema.field(name).type, fault)
    lengths = np.ascontiguousarray(rows[:, form.lengths_at : form.texts_at]).view("<u2").astype(np.int64)
    texts, place = rows[:, form.texts_at :], np.arange(form.width - form.texts_at)
    filled = np.zeros(len(rows), np.int64)
    for at, name in enumerate(form.texts):
        ends = filled + lengths[:, at]
        here = (place >= filled[:, None]) & (place < ends[:, None])
        columns[name] = _from_texts(lengths[:, at], texts[here], fault)
        filled = ends
    if (filled > len(place)).any() or texts[place >= filled[:, None]].any():
        raise fault
    return pa.Table.from_arrays([columns[name] for name in form.schema.names], schema=form.schema)


def _from_numbers(values: Array, kind: pa.DataType, fault: EngineStopped) -> pa.Array:
    numbers = pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])
    if pa.types.is_boolean(kind):
        if ((values != 0) & (values != 1)).any():
            raise fault
        return pc.not_equal(numbers, 0)
    if pa.types.is_date(kind):
        if ((values < -_DAYS) | (values >= _DAYS)).any():
            raise fault
        return pc.cast(pc.cast(numbers, pa.int32()), kind)
    return pc.cast(numbers, kind)


def _from_texts(lengths: Array, data: Array, fault: EngineStopped) -> pa.Array:
    offsets = np.zeros(len(lengths) + 1, "<i8")
    np.cumsum(lengths, out=offsets[1:])
    if offsets[-1] != len(data):
        raise fault
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    texts = pa.Array.from_buffers(pa.large_string(), len(lengths), buffers)
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        raise fault from None
    return pc.cast(texts, pa.string())
