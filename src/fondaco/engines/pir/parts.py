"""The parts of an index as a table of one column: the form in which they pass between node and worker."""

from __future__ import annotations

import pyarrow as pa

BEFORE = "before"
"""The input that holds the index of an earlier version of the dataset."""


def as_table(parts: list[bytes]) -> pa.Table:
    """A table of the parts, one a row."""
    return pa.table({"part": pa.array(parts, pa.large_binary())})


def from_table(table: pa.Table) -> list[bytes]:
    """The parts out of such a table."""
    return [part.as_py() for part in table.column("part")]
