"""What an engine is given and gives back, what each operation tells whom, and what it costs."""

from __future__ import annotations

import dataclasses

import pyarrow as pa

from fondaco.core.codec import Value
from fondaco.core.messages import message
from fondaco.core.models import Column
from fondaco.errors import EngineError, PartyFailed

OPERATIONS: dict[str, tuple[str, ...]] = {
    "psi": ("intersection",),
    "mpc": ("statistics", "pooled-statistics", "arithmetic"),
}


class BadJob(EngineError):
    """A job that no engine can do: wrong parameters, columns or parties."""

    code = "engine.bad_job"


class OutOfRange(EngineError):
    """An input outside its declared range, found before anything was shared."""

    code = "engine.out_of_range"


class EngineStopped(EngineError):
    """The protocol broke off; this party cannot tell whose fault it was."""

    code = "engine.stopped"


class WorkerDied(PartyFailed):
    """The worker ended without a word: killed, or broken off when a peer went away."""


@message("engine.job/1")
class Job:
    """One party's share of one computation.

    `parties` are all members in rank order, the helper last if there is one; `receivers` the ranks that learn the
    output; `columns` the declarations of this party's own columns, `peer_columns` those of the others, and
    `peer_ranks` whose each of them is.
    """

    task: str
    step: str
    attempt: int
    engine: str
    operation: str
    parameters: Value
    parties: tuple[str, ...]
    rank: int
    helper: int | None
    receivers: tuple[int, ...]
    columns: tuple[Column, ...]
    peer_columns: tuple[Column, ...]
    peer_ranks: tuple[int, ...]
    timeout_seconds: int

    @property
    def learns(self) -> bool:
        """Whether this party receives the output."""
        return self.rank in self.receivers


@message("engine.report/1")
class Report:
    """How a run went: configuration, rows, microseconds of linking and of the whole."""

    configuration: str
    rows_in: int
    rows_out: int
    link_micros: int
    total_micros: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Tables by name (empty for a party that learns nothing) and the report."""

    tables: dict[str, pa.Table]
    report: Report


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a step is expected to cost one party on two cores."""

    seconds: float
    memory_mib: int
    network_mib: float


LEAKAGE: dict[tuple[str, str], tuple[str, ...]] = {
    ("psi", "intersection"): (
        "each receiver learns which of its keys the other has too, and how many keys the other has",
        "a party that does not receive learns how many keys the other has",
        "nobody learns a key that it does not have itself",
    ),
    ("mpc", "statistics"): (
        "each receiver learns count, sum, mean and variance of each group, and nothing of any row",
        "a group of fewer keys than the smallest count is not opened, nor one more where the rest would tell it",
        "all members learn the number of matched rows; the helper learns nothing else",
    ),
    ("mpc", "pooled-statistics"): (
        "each receiver learns count, sum, mean and variance over all parties together",
        "nothing is opened unless every party brings the smallest count",
        "no part is opened alone, but with two parties the receiver can subtract its own",
    ),
    ("mpc", "arithmetic"): (
        "each receiver learns the result of every row, from which it can work back the other's value with its own",
        "all members learn the number of rows; the helper learns nothing else",
    ),
}


def leakage(engine: str, operation: str) -> tuple[str, ...]:
    """Who learns what, in sentences.

    Raises:
        BadJob: no such operation.
    """
    found = LEAKAGE.get((engine, operation))
    if found is None:
        raise BadJob("no such operation", remedy="see docs/concepts/engines.md", operation=f"{engine}.{operation}")
    return found


def estimate(engine: str, operation: str, rows: int, *, members: int = 2) -> Estimate:
    """A rough linear model of what was measured on two cores over loopback, for so many members of the step.

    Secret shares between two members alone (Cheetah) cost about twelve times the time of three (ABY3).
    """
    leakage(engine, operation)
    millions = rows / 1e6
    if engine == "psi":
        return Estimate(1.5 + 7.0 * millions, 150 + int(600 * millions), 0.1 + 40.0 * millions)
    slower = 12.0 if members == 2 else 1.0
    if operation == "arithmetic":
        return Estimate(3.5 + 12.0 * slower * millions, 400 + int(1200 * millions), 0.2 + 300.0 * millions)
    return Estimate(3.5 + 2.0 * slower * millions, 400 + int(600 * millions), 0.2 + 120.0 * millions)
