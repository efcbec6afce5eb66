"""Figures by groups: which are opened, and the table that is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from fondaco.core.codec import Value
from fondaco.core.models import Column
from fondaco.engines import checks
from fondaco.engines.base import BadJob, Job
from fondaco.engines.mpc import inputs
from fondaco.engines.mpc.runtime import Session

MEANING = ("count", "sum", "sum of squares")
WORDS = (*MEANING, "whether there is a value")
"""What the owner of values brings for a key."""
_MANY = 1 << 40  # more than there are keys

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


def rows_of(rows: list[dict[str, Any]]) -> pa.Table:
    """A table of figures."""
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


def shown(figures: Sequence[Any], keys: Any, total: Any, minimum: int) -> Any:
    """In a program: figures of shape (groups,) each, zero for a group of fewer keys with a value than the minimum.

    `keys` are the groups' numbers of such keys, `total` that of all. Where all that is hidden together is of fewer
    keys, the smallest open group is hidden with it (complementary suppression; Hundepool et al., Statistical
    Disclosure Control, 2012, ch. 4), for who knows the total would subtract.
    """
    import jax.numpy as jnp

    enough = (keys >= minimum).astype(jnp.int64)
    # What stays hidden, keys of no group among it, could be had by subtraction: it too is of the minimum or none.
    hidden = total - jnp.sum(keys * enough)
    tells = ((hidden > 0) & (hidden < minimum)).astype(jnp.int64)
    smallest = jnp.min(keys * enough + (1 - enough) * _MANY)
    opened = enough * (1 - tells * (keys == smallest).astype(jnp.int64))
    return jnp.stack([figure * opened for figure in figures])


def table_of(groups: Sequence[Value], opened: Array, scale: int) -> pa.Table:
    """The table of opened figures, of shape (3, groups): `MEANING` by groups."""
    found = [[int(opened[part][index]) for part in range(len(MEANING))] for index in range(len(groups))]
    return rows_of(
        [
            {"group": inputs.label(name), "suppressed": count == 0} | describe(count, total, squares, scale)
            for name, (count, total, squares) in zip(groups, found, strict=True)
        ]
    )


def shared_groups(job: Job, session: Session, owner: int, column: Column | None) -> list[Value]:
    """The groups; they are public, but a helper has no declarations and is told how many there are."""
    groups = checks.groups_of(job, column) if column is not None else []
    count = session.announce(owner, len(groups))
    if job.rank == job.helper:
        groups = list(range(count))
    if len(groups) != count or not 1 <= count <= checks.MAX_GROUPS:
        raise BadJob("the parties do not agree on the groups", remedy="correct the step")
    return groups
