"""Rows to bytes and back: the canonical form of keys that both sides must agree on, and the form of payloads.

A key is, for each column, a type letter, the length in bytes, a colon and the value as text: Unicode NFC, decimal
numbers, days and microseconds since 1970. A payload is the same without letters, and `-` alone for a null. Reading a
payload trusts nothing of its bytes: what is not exactly of the declared columns is refused.
"""

from __future__ import annotations

import decimal
import math
import re
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from fondaco.core.models import Column
from fondaco.engines.base import BadJob, EngineStopped

_MAX_DIGITS = 8
_PRECISION = 38
_NULL = b"-"
# What Arrow writes: few digits, and an exponent where the number is small or large.
_DECIMAL = re.compile(r"-?[0-9]{1,39}(?:\.[0-9]{1,38})?(?:E[+-][0-9]{1,2})?")
_FLOAT = re.compile(r"-?(?:inf|nan|[0-9]{1,40}(?:\.[0-9]{0,40})?(?:e[+-]?[0-9]{1,3})?)")
Buffers = tuple[bytes, bytes]


def _text(column: pa.ChunkedArray) -> tuple[str, pa.ChunkedArray]:
    """The type letter of a column and its values as text or bytes."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "t", column
    if pa.types.is_boolean(kind):
        return "b", pc.cast(pc.cast(column, pa.int8()), pa.string())
    if pa.types.is_integer(kind):
        return "i", pc.cast(column, pa.string())
    if pa.types.is_floating(kind):
        return "f", pc.cast(pc.cast(column, pa.float64()), pa.string())
    if pa.types.is_decimal(kind):
        return "n", pc.cast(column, pa.string())
    if pa.types.is_date(kind):
        return "d", pc.cast(pc.cast(pc.cast(column, pa.date32()), pa.int32()), pa.string())
    if pa.types.is_timestamp(kind):
        return "z", pc.cast(pc.cast(pc.cast(column, pa.timestamp("us", tz="UTC")), pa.int64()), pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "y", column
    raise BadJob(f"a column of type {kind} cannot be asked for", remedy="leave it out of the step")


def _joined(rows: int, parts: Sequence[object]) -> pa.LargeBinaryArray:
    if not parts:
        return pa.array([b""] * rows, pa.large_binary())
    joined = pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary()))
    if not isinstance(joined, pa.ChunkedArray):
        return joined
    return pa.concat_arrays(joined.chunks) if joined.num_chunks else pa.array([], pa.large_binary())


def _sized(values: pa.ChunkedArray) -> list[object]:
    """The length of each value in decimal, a colon, and the value."""
    data = pc.cast(values, pa.large_binary())
    width = pc.cast(pc.cast(pc.binary_length(data), pa.string()), pa.large_binary())
    return [width, pa.scalar(b":", pa.large_binary()), data]


def key_bytes(table: pa.Table, names: Sequence[str]) -> pa.LargeBinaryArray:
    """The canonical key of each row; no key column has a null."""
    parts: list[object] = []
    for name in names:
        letter, text = _text(table.column(name))
        text = pc.utf8_normalize(text, form="NFC") if letter == "t" else text
        parts += [pa.scalar(letter.encode(), pa.large_binary()), *_sized(text)]
    return _joined(table.num_rows, parts)


def payload_bytes(table: pa.Table, columns: Sequence[Column]) -> pa.LargeBinaryArray:
    """The payload of each row: the columns in their order, nulls told from empty values."""
    parts: list[object] = []
    for column in columns:
        _letter, text = _text(table.column(column.name))
        parts.append(pc.coalesce(_joined(table.num_rows, _sized(text)), pa.scalar(_NULL, pa.large_binary())))
    return _joined(table.num_rows, parts)


def buffers(values: pa.LargeBinaryArray) -> Buffers:
    """Data and n + 1 offsets, as the kernel takes them."""
    _validity, offsets, data = values.buffers()
    if offsets is None:
        return b"", bytes(8)
    first = values.offset * 8
    window = memoryview(offsets)[first : first + 8 * (len(values) + 1)]
    return bytes(memoryview(data)) if data is not None else b"", bytes(window)


# -- reading ------------------------------------------------------------------------------------------------------


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS + 12 or not text.removeprefix("-").isascii() or not text.removeprefix("-").isdigit():
        raise ValueError(text)
    return int(text)


def _flag(text: str) -> bool:
    return {"0": False, "1": True}[text]


def _float(text: str) -> float:
    if not _FLOAT.fullmatch(text):
        raise ValueError(text)
    value = float(text)
    if math.isinf(value) and "inf" not in text:
        raise ValueError(text)
    return value


def _decimal(text: str) -> decimal.Decimal:
    # Arrow crashes on a huge negative exponent, and takes forms that it does not write.
    if not _DECIMAL.fullmatch(text):
        raise ValueError(text)
    return decimal.Decimal(text)


def arrow_type(column: Column) -> pa.DataType:
    """The Arrow type of a declared column."""
    kinds: dict[str, pa.DataType] = {
        "bool": pa.bool_(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "text": pa.string(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "bytes": pa.binary(),
    }
    return pa.decimal128(_PRECISION, column.scale) if column.type == "decimal" else kinds[column.type]


_READ: dict[str, Callable[[str], object]] = {
    "bool": _flag,
    "int64": _whole,
    "float64": _float,
    "date": _whole,
    "timestamp": _whole,
    "decimal": _decimal,
    "text": str,
}


def _value(data: bytes, kind: str) -> object:
    return data if kind == "bytes" else _READ[kind](data.decode("utf-8"))


def _take(data: bytes, at: int) -> tuple[bytes | None, int]:
    """The sized value at a place, and the place after it."""
    if data[at : at + 1] == _NULL:
        return None, at + 1
    colon = data.index(b":", at, at + _MAX_DIGITS + 1)
    width = data[at:colon]
    if not width.isdigit() or (width.startswith(b"0") and width != b"0") or colon + 1 + int(width) > len(data):
        raise ValueError(width)
    end = colon + 1 + int(width)
    return data[colon + 1 : end], end


def read_payload(data: bytes, columns: Sequence[Column]) -> list[object]:
    """The values of a payload, in the order of the columns.

    Raises:
        EngineStopped: the bytes are not a payload of these columns.
    """
    values: list[object] = []
    at = 0
    try:
        for column in columns:
            part, at = _take(data, at)
            values.append(None if part is None else _value(part, column.type))
    except (ValueError, KeyError, decimal.InvalidOperation) as fault:
        raise _refused() from fault
    if at != len(data):
        raise _refused()
    return values


def _refused() -> EngineStopped:
    return EngineStopped(
        "a record is not of the columns that the provider declares", remedy="ask the provider for its log"
    )


def columns_of(rows: Sequence[Sequence[object] | None], columns: Sequence[Column]) -> list[pa.Array]:
    """One array for each column out of rows of values; a row that is None is null in all.

    Raises:
        EngineStopped: a value that its declared type cannot hold.
    """
    made: list[pa.Array] = []
    for index, column in enumerate(columns):
        values = [None if row is None else row[index] for row in rows]
        kind = arrow_type(column)
        try:
            if column.type in ("date", "timestamp"):
                whole = pa.int32() if column.type == "date" else pa.int64()
                made.append(pa.array(values, whole).cast(kind))
            else:
                made.append(pa.array(values, kind))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as fault:
            raise _refused() from fault
    return made
