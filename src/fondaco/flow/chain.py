"""What a running workflow needs of the ledger, and nothing more of it: the seam that the node fills in."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import pyarrow as pa

from fondaco.core.models import Column
from fondaco.engines.keep import Keep
from fondaco.flow.model import Step, Workflow


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskView:
    """A task as the ledger has it at one height."""

    id: str
    status: str
    attempt: int
    workflow: Workflow
    initiator_key: bytes
    accepted: tuple[str, ...]
    reported: tuple[tuple[str, str], ...]
    """(step, party) pairs reported in this attempt."""
    deadline: int
    failure: tuple[str, str, str] | None
    """(party, step, cause) of the last failed attempt."""
    height: int
    """The height that this view was read at."""

    def missing_reports(self) -> tuple[tuple[str, str], ...]:
        """(step, party) pairs that still have to report, in order."""
        wanted = ((step.id, party) for step in self.workflow.steps for party in step.members)
        return tuple(pair for pair in wanted if pair not in self.reported)


class Chain(Protocol):
    """The ledger as a party of a task sees and uses it. Waits have deadlines and end in FondacoErrors."""

    def task(self, task: str) -> TaskView:
        """The task; LedgerError when there is none."""

    def open_tasks(self) -> tuple[TaskView, ...]:
        """The tasks that have not ended, oldest first."""

    def node_of(self, org: str) -> str:
        """The did of the active node of an institution."""

    def org_of(self, did: str) -> str:
        """The institution of an active node."""

    def columns(self, dataset: str, names: tuple[str, ...]) -> tuple[Column, ...]:
        """The published declarations of these columns of `/org/topic/name@version`."""

    def rows(self, dataset: str) -> int | None:
        """How many rows `/org/topic/name@version` has by its published record; None where that does not say."""

    def seal_key_of(self, key: bytes) -> bytes:
        """The X25519 key that results for the user with this signing key are sealed to."""

    async def wait_height(self, height: int, deadline: float) -> None:
        """Until this node has verified that height."""

    async def accept(self, task: str) -> None:
        """Say that this institution takes part."""

    async def run(self, task: str) -> None:
        """Move the task to running: the uses of its grants are consumed."""

    async def begin(self, task: str, attempt: int, step: str) -> None:
        """Say that this institution's data are used from here on, under a grant."""

    async def report(self, task: str, attempt: int, step: str, outcome: bytes) -> None:
        """Commit to this institution's outcome of a step."""

    def method(self) -> str:
        """What divides the providers' share: price, leave-one-out or shapley."""

    def minimum_count(self, dataset: str) -> int:
        """The smallest group of rows of `/org/topic/name@version` that a figure may be about."""

    async def measure(
        self, task: str, attempt: int, coalitions: tuple[int, ...], values: tuple[int, ...], found: tuple[int, ...]
    ) -> None:
        """Say what each dataset contributed (fondaco.core.contribution)."""

    async def fail(self, task: str, attempt: int, step: str, party: str, code: str, cause: str) -> None:
        """End this attempt and name the party and the cause."""

    async def finish(self, task: str) -> None:
        """All steps were reported."""

    async def settle(self, task: str) -> None:
        """Pay what is due."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened:
    """What the gate let through for one step: the rows, what was declared of their columns, what was prepared.

    `prepared` are an engine's own tables by name; an engine that has all it needs in them gets no rows.
    """

    table: pa.Table
    columns: tuple[Column, ...]
    prepared: dict[str, pa.Table] = dataclasses.field(default_factory=dict)


class Gate(Protocol):
    """The gate, as the flow sees it."""

    def check_program(self, task: TaskView, step: Step) -> None:
        """Refuse a step that takes no data of ours but that we should still not take part in."""

    def open(self, task: TaskView, step: Step, match: pa.Table | None) -> Opened:
        """Check everything and read the granted columns; GateRefused otherwise, and for a second time."""

    def check_match(self, task: TaskView, step: Step, rows: int) -> None:
        """GateRefused where the terms allow no match of so few rows; a receiver asks before it keeps it."""

    def keep(self, task: TaskView, step: Step, prepared: pa.Table) -> None:
        """Keep what an engine prepared of our dataset for the next time."""


class Keeps(Protocol):
    """Where workers may keep what outlives them."""

    def of(self, task: TaskView, step: Step) -> Keep | None:
        """The place for a step, the same at each attempt of it, or None where its operation keeps nothing."""

    def forget_ended(self) -> None:
        """Remove what was kept for tasks that can have no other attempt, and what is past its time."""


class Results(Protocol):
    """Where a receiver keeps what it learned."""

    def keep(self, task: TaskView, step: Step, tables: dict[str, pa.Table]) -> bytes:
        """Seal the tables, keep them, and give the 32-byte commitment that goes on the ledger."""

    def nothing(self, task: TaskView, step: Step) -> bytes:
        """The commitment of a party that learned nothing from the step."""
