"""The programs: each shares what is needed, computes on shares, and opens to the receivers alone."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fondaco.core.models import Column
from fondaco.engines import checks
from fondaco.engines.base import BadJob, Job, Outcome, OutOfRange, Report
from fondaco.engines.link import FOLDER, connect
from fondaco.engines.mpc import circuit, figures, hidden, inputs
from fondaco.engines.mpc.runtime import Ring, Session

Array = NDArray[Any]


def statistics(job: Job, tables: dict[str, pa.Table], session: Session) -> pa.Table | None:
    """Count, sum, mean, variance of one party's column by groups of another's, over the matched keys.

    Shapes: the owner of the value shares four int64 vectors of one entry a key; the owner of the groups one 0/1
    vector a group. Opened: three int64 a group, all zero where `figures.shown` hides it. A key has one row or more, so
    the minimum holds for rows too.
    """
    parameters = inputs.parameters(job)
    value = inputs.reference(job, parameters.get("value"), "value")
    group = inputs.reference(job, parameters.get("group"), "group")
    value_column = group_column = None
    if job.rank != job.helper:
        value_column, group_column = inputs.declared(job, value), inputs.declared(job, group)
    groups = figures.shared_groups(job, session, group.rank, group_column)
    keys = inputs.key_names(job)
    own: tuple[Array, ...] = ()
    flags: Array | None = None
    if job.rank == value.rank and value_column is not None:
        own = inputs.summed(tables["data"], tables["match"], keys, value_column)
    if job.rank == group.rank and group_column is not None:
        flags = inputs.indicators(tables["data"], tables["match"], keys, group.column, groups)
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
        sums = (jnp.sum(g * n, axis=1), jnp.sum(g * s, axis=1), jnp.sum(g * q, axis=1))
        return figures.shown(sums, keys, jnp.sum(p), minimum)

    opened = session.open(session.run(program, ["n", "s", "q", "p", "g"])[0], job.receivers)
    if opened is None or value_column is None:
        return None
    return figures.table_of(groups, opened, value_column.scale)


def _see_match(job: Job, tables: dict[str, pa.Table]) -> None:
    """Who brings data to a step that aligns rows by keys brings their match; seen before a member is linked.

    Raises:
        BadJob: it is not there.
    """
    if job.rank == job.helper or "match" in tables:
        return
    if job.operation == "statistics":
        raise BadJob("the step needs the match of an intersection", remedy="name it in the step's `match`")
    if job.operation == "arithmetic" and inputs.parameters(job).get("keys") is not None:
        raise BadJob("the step names keys and has no match", remedy="name an intersection in the step's `match`")


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
    return figures.rows_of(
        [{"group": "all", "suppressed": count == 0} | figures.describe(count, total, squares, column.scale)]
    )


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
_HIDDEN = {"intersection-sum": hidden.intersection_sum, "circuit-statistics": hidden.circuit_statistics}


def _spu_folder(sockets: Path) -> Path:
    """The folder of SPU's sockets where the members with data have a channel beside its link."""
    folder = sockets / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def run(job: Job, tables: dict[str, pa.Table], sockets: Path) -> Outcome:
    """Run an operation; receivers get the table `result`.

    Raises:
        BadJob, OutOfRange: before anything is shared.
    """
    started = time.monotonic()
    divides = inputs.parameters(job).get("operation") == "divide"
    apart = job.operation in _HIDDEN
    if not apart and job.operation not in _PROGRAMS:
        raise BadJob("no such operation", remedy="see docs/concepts/engines.md", operation=job.operation)
    _see_match(job, tables)
    link = connect(job, _spu_folder(sockets) if apart else sockets)
    linked = time.monotonic()
    session = Session(link, Ring.WIDE128 if divides else Ring.WIDE64)
    if apart:
        result = _HIDDEN[job.operation](job, tables, session, sockets)
    else:
        result = _PROGRAMS[job.operation](job, tables, session)
    session.close()
    now = time.monotonic()
    report = Report(
        configuration=f"{session.name}+{circuit.CONFIGURATION}" if apart else session.name,
        rows_in=tables["data"].num_rows if "data" in tables else 0,
        rows_out=0 if result is None else result.num_rows,
        link_micros=int((linked - started) * 1e6),
        total_micros=int((now - started) * 1e6),
    )
    return Outcome({} if result is None else {"result": result}, report)
