"""The operations over a hidden match: nobody learns which keys both have; only what the operation opens is opened.

Each member computes for each of its different keys what it can alone (sums over the key's rows, a group), in the
clear; the circuit weighs that by a secret 0 or 1 and adds up. Who learns what: `base.LEAKAGE`; how: `circuit`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fondaco.core.codec import Value
from fondaco.core.models import Column
from fondaco.engines import checks
from fondaco.engines.base import BadJob, Job, OutOfRange
from fondaco.engines.mpc import circuit, figures, inputs
from fondaco.engines.mpc.runtime import Session

Array = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class _Cells:
    """A column's rows as whole numbers, 0 for nulls, and which are there."""

    values: Array
    there: Array


def _cells(rows: pa.Table, column: Column, *, squares: bool) -> _Cells:
    """The cells of a column, checked before anything is shared.

    Raises:
        BadJob: a null in a column that is published as having none.
        OutOfRange: a value outside its range, or sums that the ring could not hold.
    """
    whole = inputs.scaled(rows, column)
    largest = inputs.bound(column) ** (2 if squares else 1)
    if len(whole) * largest >= inputs.RING_LIMIT:
        raise OutOfRange(
            "the sum could overflow the ring; nothing was shared",
            remedy="declare a narrower range or a smaller scale",
            column=column.name,
        )
    if whole.null_count and not column.nullable:
        raise BadJob("a column has nulls that is published without", remedy="publish it anew", column=column.name)
    there = np.asarray(pc.is_valid(whole).to_numpy(), dtype=np.int64)
    values = pc.fill_null(whole, 0).to_numpy().astype(np.int64)
    return _Cells(values, there)


def _rows(job: Job, tables: dict[str, pa.Table]) -> pa.Table | None:
    """The rows of a member with data that can match."""
    if job.rank == job.helper:
        return None
    return circuit.keyed_rows(tables["data"], inputs.key_names(job))


def intersection_sum(job: Job, tables: dict[str, pa.Table], session: Session, sockets: Path) -> pa.Table | None:
    """How many keys both have, and the sum of each of `values` over all rows of those keys; exact.

    Private intersection-sum with cardinality (Ion et al., eprint 2019/723, define it), by circuit PSI. Opened: the
    number of keys if it is the minimum at least, and each sum if that many of the keys have a value of it; else that
    it is not. Receivers get one row: `count`, `suppressed`, and for each value a column `party.column`; null is what
    was suppressed.
    """
    rows = _rows(job, tables)
    values = checks.value_references(job)
    columns = [] if rows is None else [inputs.declared(job, value) for value in values]
    mine = [column for value, column in zip(values, columns, strict=False) if value.rank == job.rank]
    cells = [] if rows is None else [_cells(rows, column, squares=False) for column in mine]
    # A value that can be missing brings one more word: whether the key has one.
    widths = [1 + column.nullable for column in columns]
    words = (_width(values, widths, 0), _width(values, widths, 1))
    hidden: circuit.Hidden | None
    if rows is None:
        hidden = circuit.share(session, None, None, (0, 0))
    else:
        with circuit.meet(job, rows, inputs.key_names(job), sockets) as meeting:
            own = _sum_words(meeting, cells, mine)
            bins = circuit.bins_of(meeting, own, words)
        hidden = circuit.share(session, meeting, bins, words)
    nullable = [bool(session.announce(0, width - 1)) for width in (widths or [1] * len(values))]
    opened = _open_sums(job, session, hidden, [value.rank for value in values], nullable)
    if job.rank not in job.receivers or rows is None:
        return None
    return _sum_table(job, values, columns, opened)


def _width(values: Sequence[inputs.Reference], widths: Sequence[int], rank: int) -> int:
    return sum(width for value, width in zip(values, widths, strict=False) if value.rank == rank)


def _sum_words(meeting: circuit.Meeting, cells: Sequence[_Cells], columns: Sequence[Column]) -> Array:
    """For each of this member's columns the sums of the keys, then, if it can be missing, whether a key has one."""
    words: list[Array] = []
    for cell, column in zip(cells, columns, strict=True):
        words.append(meeting.summed(cell.values))
        if column.nullable:
            words.append((meeting.summed(cell.there) > 0).astype(np.int64))
    return np.stack(words) if words else np.zeros((0, meeting.keys), dtype=np.int64)


def _open_sums(
    job: Job, session: Session, hidden: circuit.Hidden | None, owners: Sequence[int], nullable: Sequence[bool]
) -> list[int] | None:
    """Count, for each value whether it is shown, and its sum; None for no receiver, all zero without keys."""
    if hidden is None:
        return [0] * (1 + 2 * len(owners))
    minimum = checks.minimum_count(job)

    def program(*arguments: Any) -> Any:
        import jax.numpy as jnp

        match, words = hidden.read(arguments)
        count = jnp.sum(match)
        totals = [None if part is None else part @ match for part in words]
        at, shown, sums = [0, 0], [], []
        for owner, can_miss in zip(owners, nullable, strict=True):
            found: Any = totals[owner]
            keys = found[at[owner] + 1] if can_miss else count
            enough = (keys >= minimum).astype(jnp.int64)
            shown.append(enough)
            sums.append(found[at[owner]] * enough)
            at[owner] += 1 + can_miss
        return jnp.stack([count * (count >= minimum).astype(jnp.int64), *shown, *sums])

    opened = session.open(session.run(program, hidden.names)[0], job.receivers)
    return None if opened is None else [int(number) for number in opened]


def _sum_table(
    job: Job, values: Sequence[inputs.Reference], columns: Sequence[Column], opened: list[int] | None
) -> pa.Table:
    if opened is None:
        raise BadJob("this member receives nothing", remedy="report this")
    count, shown, sums = opened[0], opened[1 : 1 + len(values)], opened[1 + len(values) :]
    table = {
        "count": pa.array([count or None], pa.int64()),
        "suppressed": pa.array([count == 0], pa.bool_()),
    }
    for value, column, is_shown, total in zip(values, columns, shown, sums, strict=True):
        name, kind = f"{job.parties[value.rank]}.{column.name}", pa.int64()
        number: int | Decimal | None = total
        if column.scale:
            kind, number = pa.decimal128(38, column.scale), Decimal(total).scaleb(-column.scale)
        table[name] = pa.array([number if is_shown else None], kind)
    return pa.table(table)


def circuit_statistics(job: Job, tables: dict[str, pa.Table], session: Session, sockets: Path) -> pa.Table | None:
    """Count, sum, mean, variance of one party's column by groups of another's, over a hidden match.

    As `operations.statistics`, with the same minimum and suppression and the same result, but the match is not told to
    anybody, nor its size.
    """
    rows = _rows(job, tables)
    parameters = inputs.parameters(job)
    value = inputs.reference(job, parameters.get("value"), "value")
    group = inputs.reference(job, parameters.get("group"), "group")
    value_column = group_column = None
    if rows is not None:
        value_column, group_column = inputs.declared(job, value), inputs.declared(job, group)
    groups = figures.shared_groups(job, session, group.rank, group_column)
    words = tuple(
        (len(figures.WORDS) if rank == value.rank else 0) + (len(groups) if rank == group.rank else 0)
        for rank in (0, 1)
    )
    hidden: circuit.Hidden | None
    if rows is None or value_column is None or group_column is None:
        hidden = circuit.share(session, None, None, (0, 0))
    else:
        cells = _cells(rows, value_column, squares=True) if job.rank == value.rank else None
        with circuit.meet(job, rows, inputs.key_names(job), sockets) as meeting:
            own = _figure_words(meeting, cells)
            if job.rank == group.rank:
                own = np.concatenate([own, _group_words(meeting, rows, group.column, groups)])
            bins = circuit.bins_of(meeting, own, (words[0], words[1]))
        hidden = circuit.share(session, meeting, bins, (words[0], words[1]))
    opened = _open_groups(job, session, hidden, value.rank, group.rank, len(groups))
    if opened is None or value_column is None or job.rank not in job.receivers:
        return None
    return figures.table_of(groups, opened, value_column.scale)


def _figure_words(meeting: circuit.Meeting, cells: _Cells | None) -> Array:
    """(n, sum, sum of squares, whether there is a value) of each key, in the order of `figures.WORDS`."""
    if cells is None:
        return np.zeros((0, meeting.keys), dtype=np.int64)
    n = meeting.summed(cells.there)
    parts = (n, meeting.summed(cells.values), meeting.summed(cells.values**2), (n > 0).astype(np.int64))
    return np.stack(parts)


def _group_words(meeting: circuit.Meeting, rows: pa.Table, column: str, groups: Sequence[Value]) -> Array:
    """For each group and key 1 where the key is of the group; shape (groups, keys), int64."""
    text = pc.cast(rows.column(column), pa.string()).combine_chunks()
    coded = pc.dictionary_encode(text)
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    labels = pc.fill_null(coded.indices, -1).to_numpy().astype(np.int64)
    label = meeting.labelled(labels, column)
    known = {name: at for at, name in enumerate(coded.dictionary.to_pylist())}
    return np.stack([(label == known.get(inputs.label(name), -2)).astype(np.int64) for name in groups])


def _open_groups(
    job: Job, session: Session, hidden: circuit.Hidden | None, value: int, group: int, groups: int
) -> Array | None:
    if hidden is None:
        return np.zeros((len(figures.MEANING), groups), dtype=np.int64)
    minimum = checks.minimum_count(job)
    before = len(figures.WORDS) if value == group else 0

    def program(*arguments: Any) -> Any:
        match, words = hidden.read(arguments)
        values, flags = words[value][: len(figures.WORDS)], words[group][before:]
        # On shares a product of matrices costs next to nothing, one of elements bytes for each: the fewer are taken.
        fewer = groups < len(figures.WORDS)
        n, s, q, keys = values @ (flags * match).T if fewer else (values * match) @ flags.T
        return figures.shown((n, s, q), keys, values[3] @ match, minimum)

    return session.open(session.run(program, hidden.names)[0], job.receivers)
