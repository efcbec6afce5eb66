"""The programs: each shares what is needed, computes on shares, and opens to the receivers alone."""

from __future__ import annotations

import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fondaco.core.codec import Value
from fondaco.core.models import Column
from fondaco.engines import checks
from fondaco.engines.base import BadJob, Job, Outcome, OutOfRange, Report
from fondaco.engines.link import connect
from fondaco.engines.mpc import inputs
from fondaco.engines.mpc.runtime import Ring, Session

_MANY = 1 << 40  # more than there are keys

_MEANING = ("count", "sum", "sum of squares")

Array = NDArray[Any]


def describe(count: int, total: int, squares: int, scale: int) -> dict[str, float | int | None]:
    """Count, sum, mean and sample variance from exact scaled integers; None where undefined."""
    unit = 10**scale
    mean = Fraction(total, count * unit) if count else None
    spread = Fraction(squares * count - total * total, count * (count - 1) * unit * unit) if count > 1 else None
    return {
        "count": count,
        "sum": float(Fraction(total, unit)) if count else None,
        "mean": None if mean is None else float(mean),
        "variance": None if spread is None else float(spread),
    }


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    schema = pa.schema(
        [
            ("group", pa.string()),
            ("count", pa.int64()),
            ("sum", pa.float64()),
            ("mean", pa.float64()),
            ("variance", pa.float64()),
            ("suppressed", pa.bool_()),
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def statistics(job: Job, tables: dict[str, pa.Table], session: Session) -> pa.Table | None:
    """Count, sum, mean, variance of one party's column by groups of another's, over the matched keys.

    Shapes: the owner of the value shares four int64 vectors of one entry a key; the owner of the groups one 0/1
    vector a group. Opened: three int64 a group, all zero for a group of fewer keys with a value than the minimum. A
    key has one row or more, so the minimum holds for rows too. Where all that is hidden together is of fewer keys, the
    smallest open group is hidden with it (complementary suppression; Hundepool et al., Statistical Disclosure Control,
    2012, ch. 4), for who knows the total would subtract.
    """
    parameters = inputs.parameters(job)
    value = inputs.reference(job, parameters.get("value"), "value")
    group = inputs.reference(job, parameters.get("group"), "group")
    value_column = group_column = None
    if job.rank != job.helper:
        value_column, group_column = inputs.declared(job, value), inputs.declared(job, group)
    groups = _shared_groups(job, session, group.rank, group_column)
    keys, match = inputs.key_names(job), tables.get("match")
    own: tuple[Array, ...] = ()
    flags: Array | None = None
    if job.rank == value.rank and value_column is not None:
        own = inputs.summed(tables["data"], _needed(match), keys, value_column)
    if job.rank == group.rank and group_column is not None:
        flags = inputs.indicators(tables["data"], _needed(match), keys, group.column, groups)
    rows = session.announce(value.rank, len(own[0]) if own else 0)
    if job.rank == group.rank and flags is not None and flags.shape[1] != rows:
        raise BadJob("the parties matched different numbers of keys", remedy="run the intersection again")
    vector = np.zeros(rows, dtype=np.int64)
    for index, name in enumerate("nsq"):
        session.share(value.rank, name, own[index] if own else None, vector)
    session.share(value.rank, "p", (own[0] > 0).astype(np.int64) if own else None, vector)
    session.share(group.rank, "g", flags, np.zeros((len(groups), rows), dtype=np.int64))
    minimum = checks.minimum_count(job)

    def program(n: Any, s: Any, q: Any, p: Any, g: Any) -> Any:
        import jax.numpy as jnp

        keys = jnp.sum(g * p, axis=1)
        enough = (keys >= minimum).astype(jnp.int64)
        # What stays hidden, keys of no group among it, could be had by subtraction: it too is of the minimum or none.
        hidden = jnp.sum(p) - jnp.sum(keys * enough)
        tells = ((hidden > 0) & (hidden < minimum)).astype(jnp.int64)
        smallest = jnp.min(keys * enough + (1 - enough) * _MANY)
        shown = enough * (1 - tells * (keys == smallest).astype(jnp.int64))
        figures = (jnp.sum(g * n, axis=1), jnp.sum(g * s, axis=1), jnp.sum(g * q, axis=1))
        return jnp.stack([figure * shown for figure in figures])

    opened = session.open(session.run(program, ["n", "s", "q", "p", "g"])[0], job.receivers)
    if opened is None or value_column is None:
        return None
    found = [[int(opened[part][index]) for part in range(len(_MEANING))] for index in range(len(groups))]
    return _table(
        [
            {"group": _label(name), "suppressed": count == 0} | describe(count, total, squares, value_column.scale)
            for name, (count, total, squares) in zip(groups, found, strict=True)
        ]
    )


def _label(group: Value) -> str:
    return str(group).lower() if isinstance(group, bool) else str(group)


def _needed(match: pa.Table | None) -> pa.Table:
    if match is None:
        raise BadJob("the step needs the match of an intersection", remedy="name it in the step's `match`")
    return match


def _shared_groups(job: Job, session: Session, owner: int, column: Column | None) -> list[Value]:
    """The groups; they are public, but a helper has no declarations and is told how many there are."""
    groups = checks.groups_of(job, column) if column is not None else []
    count = session.announce(owner, len(groups))
    if job.rank == job.helper:
        groups = list(range(count))
    if len(groups) != count or not 1 <= count <= checks.MAX_GROUPS:
        raise BadJob("the parties do not agree on the groups", remedy="correct the step")
    return groups


def pooled(job: Job, tables: dict[str, pa.Table], session: Session) -> pa.Table | None:
    """Count, sum, mean, variance of a column that several parties hold parts of: three secure additions."""
    owners = [rank for rank in range(len(job.parties)) if rank != job.helper]
    mine: Array | None = None
    column: Column | None = None
    if job.rank != job.helper:
        column = checks.pooled_column(job)
        whole = inputs.scaled(tables["data"], column).drop_null().to_numpy().astype(object)
        squares = int((whole * whole).sum()) if len(whole) else 0
        if squares >= inputs.RING_LIMIT // len(owners):
            raise OutOfRange(
                "the sum of squares could overflow the ring", remedy="declare a smaller scale", column=column.name
            )
        mine = np.array([len(whole), int(whole.sum()) if len(whole) else 0, squares], dtype=np.int64)
    like = np.zeros(3, dtype=np.int64)
    names = [f"p{rank}" for rank in owners]
    for rank, variable in zip(owners, names, strict=True):
        session.share(rank, variable, mine if rank == job.rank else None, like)
    minimum = checks.minimum_count(job)

    def program(*parts: Any) -> Any:
        import jax.numpy as jnp

        total = sum(parts[1:], start=parts[0])
        # With two parties the receiver can subtract its own: each part has to be of the minimum.
        for part in parts:
            total = total * (part[0] >= minimum).astype(jnp.int64)
        return total

    opened = session.open(session.run(program, names)[0], job.receivers)
    if opened is None or column is None:
        return None
    count, total, squares = (int(part) for part in opened)
    return _table([{"group": "all", "suppressed": count == 0} | describe(count, total, squares, column.scale)])


_EXACT = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
}


def arithmetic(job: Job, tables: dict[str, pa.Table], session: Session) -> pa.Table | None:
    """Add, subtract, multiply (exact) or divide (fixed point, relative error below 1e-3) two parties' columns.

    Rows are aligned by the match, or by position where there is none. Opened: one number a row, an int64, a decimal of
    the columns' scale, or a float64 for a quotient.
    """
    parameters = inputs.parameters(job)
    operation = parameters.get("operation")
    if not isinstance(operation, str) or operation not in _EXACT:
        raise BadJob(f"operation is one of {', '.join(_EXACT)}", remedy="correct the step's parameters")
    left = inputs.reference(job, parameters.get("left"), "left")
    right = inputs.reference(job, parameters.get("right"), "right")
    divides = operation == "divide"
    mine: Array | None = None
    scale = 0
    if job.rank != job.helper:
        a, b = checks.arithmetic_columns(job)
        scale = a.scale + b.scale if operation == "multiply" else a.scale
        where = left if job.rank == left.rank else right
        match = tables.get("match")
        if match is None and parameters.get("keys") is not None:
            raise BadJob("the step names keys and has no match", remedy="name an intersection in the step's `match`")
        column = a if where is left else b
        mine = inputs.single(tables["data"], match, inputs.key_names(job) if match is not None else (), column)
        if divides:
            mine = mine.astype(np.float64) / 10**column.scale
    rows = session.announce(left.rank, 0 if mine is None else len(mine))
    if mine is not None and len(mine) != rows:
        raise BadJob("the parties bring different numbers of rows", remedy="align them by an intersection first")
    like = np.zeros(rows, dtype=np.float64 if divides else np.int64)
    session.share(left.rank, "a", mine if job.rank == left.rank else None, like)
    session.share(right.rank, "b", mine if job.rank == right.rank else None, like)
    opened = session.open(session.run(_EXACT[operation], ["a", "b"])[0], job.receivers)
    if opened is None:
        return None
    if divides:
        return pa.table({"result": pa.array(np.asarray(opened, dtype=np.float64))})
    exact = [int(number) for number in opened]
    if not scale:
        return pa.table({"result": pa.array(exact, pa.int64())})
    decimals = [Decimal(number).scaleb(-scale) for number in exact]
    return pa.table({"result": pa.array(decimals, pa.decimal128(38, scale))})


_PROGRAMS = {"statistics": statistics, "pooled-statistics": pooled, "arithmetic": arithmetic}


def run(job: Job, tables: dict[str, pa.Table], sockets: Path) -> Outcome:
    """Run an operation; receivers get the table `result`.

    Raises:
        BadJob, OutOfRange: before anything is shared.
    """
    started = time.monotonic()
    program = _PROGRAMS.get(job.operation)
    if program is None:
        raise BadJob("no such operation", remedy="see docs/concepts/engines.md", operation=job.operation)
    divides = inputs.parameters(job).get("operation") == "divide"
    link = connect(job, sockets)
    linked = time.monotonic()
    session = Session(link, Ring.WIDE128 if divides else Ring.WIDE64)
    result = program(job, tables, session)
    session.close()
    now = time.monotonic()
    report = Report(
        configuration=session.name,
        rows_in=tables["data"].num_rows if "data" in tables else 0,
        rows_out=0 if result is None else result.num_rows,
        link_micros=int((linked - started) * 1e6),
        total_micros=int((now - started) * 1e6),
    )
    return Outcome({} if result is None else {"result": result}, report)
