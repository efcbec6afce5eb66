"""Declared types and Arrow's: what each column becomes, and the checks that every batch passes."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from fondaco.core.models import Column, Schema
from fondaco.errors import ImportRefused

_PRECISION = 38


def arrow_type(column: Column) -> pa.DataType:
    """The Arrow type of a declared column; timestamps are UTC microseconds."""
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


def declared_type(kind: pa.DataType) -> tuple[str, int] | None:
    """(type, scale) of an Arrow type, or None where there is none for it."""
    if pa.types.is_boolean(kind):
        return "bool", 0
    if pa.types.is_integer(kind):
        return "int64", 0
    if pa.types.is_floating(kind):
        return "float64", 0
    if pa.types.is_decimal(kind):
        return ("decimal", kind.scale) if 0 <= kind.scale <= 15 else None
    if pa.types.is_date(kind):
        return "date", 0
    if pa.types.is_timestamp(kind):
        return "timestamp", 0
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return "text", 0
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "bytes", 0
    return None


def arrow_schema(schema: Schema) -> pa.Schema:
    """The Arrow schema of a declared one."""
    return pa.schema([pa.field(c.name, arrow_type(c), nullable=c.nullable) for c in schema.columns])


def plain_column(name: str, kind: str, scale: int = 0) -> Column:
    """A column that nobody declared anything of but its type."""
    return Column(
        name=name,
        type=kind,
        unit="",
        classification="internal",
        nullable=True,
        minimum=None,
        maximum=None,
        scale=scale,
    )


def cast_batch(batch: pa.RecordBatch, schema: Schema, file: str, first_row: int) -> pa.RecordBatch:
    """The batch in the declared types, all values kept exactly.

    Raises:
        ImportRefused: a value that does not fit its type, named by row and column.
    """
    arrays: list[pa.Array] = []
    for column in schema.columns:
        values, target = batch.column(column.name), arrow_type(column)
        try:
            arrays.append(values if values.type == target else pc.cast(values, target, safe=True))
        except pa.ArrowInvalid as fault:
            row = _first_bad(values, target)
            raise ImportRefused(
                f"a value is not of type {column.type}",
                remedy="correct the value, or declare another type for the column",
                file=file,
                row=first_row + row,
                column=column.name,
            ) from fault
        except pa.ArrowNotImplementedError as fault:
            raise ImportRefused(
                f"a column of type {values.type} cannot become {column.type}",
                remedy="declare another type for the column",
                file=file,
                column=column.name,
            ) from fault
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(schema))


def _first_bad(values: pa.Array, target: pa.DataType) -> int:
    """The position of the first value that cannot be converted, by halving."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            pc.cast(values.slice(low, middle - low), target, safe=True)
        except pa.ArrowInvalid:
            high = middle
        else:
            low = middle
    return low


def _first_true(flags: pa.Array) -> int | None:
    found = pc.index(flags, pa.scalar(value=True)).as_py()
    return None if found < 0 else int(found)


def check_batch(batch: pa.RecordBatch, schema: Schema, file: str, first_row: int) -> None:
    """Nulls only where declared, values only within declared ranges, no NUL in text.

    Raises:
        ImportRefused: names row and column; the value itself is not told.
    """
    for column in schema.columns:
        values = batch.column(column.name)
        if values.null_count and not column.nullable:
            row = _first_true(pc.is_null(values))
            raise ImportRefused(
                "a value is missing in a column that must have one",
                remedy="fill it in, or declare the column nullable",
                file=file,
                row=first_row + (row or 0),
                column=column.name,
            )
        if column.type == "text" and len(values):
            row = _first_true(pc.fill_null(pc.match_substring(values, "\x00"), fill_value=False))
            if row is not None:
                raise ImportRefused(
                    "text holds a NUL character",
                    remedy="remove it",
                    file=file,
                    row=first_row + row,
                    column=column.name,
                )
        _check_range(values, column, file, first_row)


def _range(column: Column) -> str:
    """A declared range in words, in the units that a schema file uses."""
    ends = [
        f"{word} {limit}" for word, limit in (("from", column.minimum), ("to", column.maximum)) if limit is not None
    ]
    return " ".join(ends) + (f" in units of 10**-{column.scale}" if column.scale else "")


def _check_range(values: pa.Array, column: Column, file: str, first_row: int) -> None:
    if column.type not in ("int64", "decimal", "float64"):
        return
    if column.type == "float64" and (column.minimum, column.maximum) != (None, None):
        # NaN is neither below nor above a limit, and infinity passes where only one is declared.
        row = _first_true(pc.fill_null(pc.invert(pc.is_finite(values)), fill_value=False))
        if row is not None:
            raise ImportRefused(
                "a value of a column with a declared range is not a finite number",
                remedy="correct the value, or leave it empty",
                file=file,
                row=first_row + row,
                column=column.name,
            )
    unit = 10**column.scale
    for limit, compare in ((column.minimum, pc.less), (column.maximum, pc.greater)):
        if limit is None:
            continue
        edge = pa.scalar(limit / unit, pa.float64()) if column.type != "int64" else pa.scalar(limit // unit, pa.int64())
        subject = pc.cast(values, pa.float64()) if column.type == "decimal" else values
        row = _first_true(pc.fill_null(compare(subject, edge), fill_value=False))
        if row is not None:
            raise ImportRefused(
                f"a value is outside the declared range, {_range(column)}",
                remedy="correct the value, or declare a wider range",
                file=file,
                row=first_row + row,
                column=column.name,
            )
