"""What each party prepares in the clear before anything is shared: range checks, scaling, push-down, alignment."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fondaco.core.codec import Value
from fondaco.core.models import Column
from fondaco.engines.base import BadJob, Job, OutOfRange

RING_LIMIT = 1 << 62

Array = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Reference:
    """A column of a party, by rank."""

    rank: int
    column: str


def reference(job: Job, value: Value, what: str) -> Reference:
    """`{"party": NAME, "column": NAME}` as a reference.

    Raises:
        BadJob: not of this form, or no such party with data.
    """
    match value:
        case {"party": str(party), "column": str(column)} if party in job.parties:
            rank = job.parties.index(party)
            if rank != job.helper:
                return Reference(rank, column)
    raise BadJob(f"{what} must name a party of the step and a column", remedy="correct the step's parameters")


def parameters(job: Job) -> dict[str, Value]:
    """The job's parameters as a map."""
    if not isinstance(job.parameters, dict):
        raise BadJob("parameters are a map", remedy="correct the step")
    return job.parameters


def key_names(job: Job) -> list[str]:
    """The key columns that rows are aligned by."""
    names = parameters(job).get("keys")
    if not isinstance(names, list) or not names:
        raise BadJob("the step names no key columns", remedy="give parameters.keys")
    return [str(name) for name in names]


def declaration(columns: Sequence[Column], name: str) -> Column:
    """The declaration of a column.

    Raises:
        BadJob: it is not among those that the step brings.
    """
    for column in columns:
        if column.name == name:
            return column
    raise BadJob("a column is not among those that the step brings", remedy="correct the step", column=name)


def declared(job: Job, where: Reference) -> Column:
    """The declaration of a column, own or another party's."""
    if where.rank == job.rank:
        return declaration(job.columns, where.column)
    theirs = zip(job.peer_columns, job.peer_ranks, strict=False)
    return declaration([column for column, rank in theirs if rank == where.rank], where.column)


def bound(column: Column) -> int:
    """The largest absolute value, in units of 10**-scale, that is declared.

    Raises:
        OutOfRange: no range is declared; without one the ring could overflow silently.
    """
    if column.type == "bool":
        return 1
    if column.minimum is None or column.maximum is None:
        raise OutOfRange(
            "no range is declared for this column",
            remedy="publish it with minimum and maximum",
            column=column.name,
        )
    return max(abs(column.minimum), abs(column.maximum))


def scaled(table: pa.Table, column: Column) -> pa.ChunkedArray:
    """A column as int64 multiples of 10**-scale, nulls kept.

    Raises:
        BadJob: not a number. OutOfRange: a value outside the declared range; the value itself is not told.
    """
    values = table.column(column.name)
    kind = values.type
    unit = 10**column.scale
    bound(column)
    if pa.types.is_boolean(kind):
        return pc.multiply(pc.cast(values, pa.int64()), pa.scalar(unit, pa.int64()))
    if pa.types.is_integer(kind):
        _check_range(values, column, unit)
        return pc.multiply(pc.cast(values, pa.int64()), pa.scalar(unit, pa.int64()))
    if pa.types.is_decimal(kind):
        _check_range(values, column, unit)
        return _unscaled(values, column)
    if pa.types.is_floating(kind):
        if not pc.all(pc.is_finite(values)).as_py() and values.null_count < len(values):
            raise _outside(column)
        rounded = pc.round(pc.multiply(values, float(unit)))
        _check_range(rounded, column, 1)
        return pc.cast(rounded, pa.int64())
    raise BadJob(f"a column of type {kind} is not a number", remedy="choose a number", column=column.name)


def _outside(column: Column) -> OutOfRange:
    return OutOfRange(
        "a value is outside the declared range; nothing was shared",
        remedy="correct the data, or publish a version with a wider range or a larger scale",
        column=column.name,
    )


def _check_range(values: pa.ChunkedArray, column: Column, unit: int) -> None:
    """Before a value is multiplied or cast: an overflow there would be told with the value in it."""
    limits = pc.min_max(values).as_py()
    low, high = limits["min"], limits["max"]
    if low is None or column.minimum is None or column.maximum is None:
        return
    if (
        not -RING_LIMIT < column.minimum <= Fraction(low) * unit
        or not Fraction(high) * unit <= column.maximum < RING_LIMIT
    ):
        raise _outside(column)


def _unscaled(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """Decimals that are in range, as whole multiples of 10**-scale: the low half of Arrow's 128-bit integers."""
    rounded = pc.round(values, ndigits=column.scale)
    if not pc.all(pc.equal(rounded, values)).as_py() and values.null_count < len(values):
        raise _outside(column)  # more digits than the scale declares
    whole: list[pa.Array] = []
    for chunk in pc.cast(rounded, pa.decimal128(38, column.scale)).chunks:
        pairs = np.frombuffer(chunk.buffers()[1], dtype=np.int64).reshape(-1, 2)
        low = pairs[chunk.offset : chunk.offset + len(chunk), 0]
        mask = np.asarray(chunk.is_null().to_numpy(zero_copy_only=False))
        whole.append(pa.array(np.where(mask, 0, low), pa.int64(), mask=mask))
    return pa.chunked_array(whole, pa.int64())


def database() -> duckdb.DuckDBPyConnection:
    """A database in memory alone: what does not fit there fails, and no clear row is spilled to a disk."""
    db = duckdb.connect(config={"temp_directory": ""})
    db.execute("SET enable_external_access = false")
    return db


def _aligned(match: pa.Table, data: pa.Table, keys: Sequence[str], selected: str) -> pa.Table:
    with database() as db:
        numbered = match.select(list(keys)).append_column("__row", pa.array(range(match.num_rows), pa.int64()))
        db.register("m", numbered)
        db.register("d", data)
        on = " AND ".join(f'm."{key}" = d."{key}"' for key in (key.replace('"', '""') for key in keys))
        query = f"SELECT {selected} FROM m LEFT JOIN d ON {on} GROUP BY m.__row ORDER BY m.__row"
        return db.sql(query).to_arrow_table()


def _int64(column: pa.ChunkedArray) -> Array:
    return np.asarray(pc.cast(column, pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)


def summed(table: pa.Table, match: pa.Table, keys: Sequence[str], column: Column) -> tuple[Array, Array, Array]:
    """(n, sum, sum of squares) of a column for each matched key, in scaled integers; nulls are not counted.

    Raises:
        OutOfRange: the sums of squares of all rows together would not fit the ring.
    """
    whole = scaled(table, column)
    # Before the query: each value is within its bound now, so no sum of squares can overflow in it, and show factors.
    if len(whole) * bound(column) ** 2 >= RING_LIMIT:
        raise OutOfRange(
            "the sum of squares could overflow the ring; nothing was shared",
            remedy="declare a narrower range or a smaller scale",
            column=column.name,
        )
    data = table.select(list(keys)).append_column("__v", whole)
    parts = _aligned(
        match,
        data,
        keys,
        "count(d.__v) AS n, coalesce(sum(d.__v), 0) AS s, coalesce(sum(d.__v * d.__v), 0) AS q",
    )
    return _int64(parts.column("n")), _int64(parts.column("s")), _int64(parts.column("q"))


def indicators(table: pa.Table, match: pa.Table, keys: Sequence[str], column: str, groups: Sequence[Value]) -> Array:
    """For each matched key and group 1 where the key's row is of the group; shape (groups, keys), int64.

    Raises:
        BadJob: a key has rows of different groups.
    """
    data = table.select(list(keys)).append_column("__g", pc.cast(table.column(column), pa.string()))
    parts = _aligned(match, data, keys, "min(d.__g) AS low, max(d.__g) AS high")
    if pc.any(pc.not_equal(parts.column("low"), parts.column("high"))).as_py():
        raise BadJob(
            "a key has rows of more than one group",
            remedy="group by a column that the key decides",
            column=column,
        )
    low = parts.column("low")
    rows = [_int64(pc.fill_null(pc.equal(low, pa.scalar(label(group))), fill_value=False)) for group in groups]
    return np.stack(rows)


def label(group: Value) -> str:
    """A group as text, as a column's cells are compared with it."""
    return str(group).lower() if isinstance(group, bool) else str(group)


def single(table: pa.Table, match: pa.Table | None, keys: Sequence[str], column: Column) -> Array:
    """A column's one value for each matched key (or each row where nothing was matched), scaled.

    Raises:
        BadJob: a key with no value or several, or a null.
    """
    whole = scaled(table, column)
    if match is not None:
        data = table.select(list(keys)).append_column("__v", whole)
        parts = _aligned(match, data, keys, "count(d.__v) AS n, min(d.__v) AS v")
        if pc.any(pc.not_equal(parts.column("n"), 1)).as_py():
            raise BadJob(
                "arithmetic needs one value for each matched key",
                remedy="choose a key that is unique",
                column=column.name,
            )
        whole = parts.column("v")
    if whole.null_count:
        raise BadJob("arithmetic has no rule for missing values", remedy="publish without nulls", column=column.name)
    return _int64(whole)
