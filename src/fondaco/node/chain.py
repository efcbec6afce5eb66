"""The flow's view of the ledger, and the node's own transactions for it: fills in flow.chain.Chain."""

from __future__ import annotations

import logging

from fondaco.core.codec import Value
from fondaco.core.keys import SecretKey
from fondaco.core.messages import from_value
from fondaco.core.models import Column
from fondaco.core.names import DatasetName
from fondaco.errors import FondacoError, LedgerError
from fondaco.flow.chain import TaskView
from fondaco.flow.model import parse_workflow
from fondaco.ledger.contracts.catalog.messages import Dataset
from fondaco.ledger.contracts.identity.messages import User
from fondaco.ledger.contracts.settlement.messages import Formula, Measure
from fondaco.ledger.contracts.tasks import messages as m
from fondaco.ledger.contracts.tasks.handlers import result_hash
from fondaco.node.directory import LedgerDirectory
from fondaco.node.ledgers import LedgerService

_log = logging.getLogger(__name__)


def one_line(text: str, limit: int) -> str:
    """Text that a contract takes as one short line."""
    cleaned = "".join(max(c, " ") for c in text)
    return cleaned.encode("utf-8")[:limit].decode("utf-8", "ignore")


class NodeChain:
    """Reads tasks from the node's ledger and signs with the node's key."""

    def __init__(self, service: LedgerService, directory: LedgerDirectory, node_key: SecretKey) -> None:
        self._service = service
        self._ledger = service.ledger
        self._directory = directory
        self._key = node_key

    # -- reading ----------------------------------------------------------------------------------------------

    def _outcomes(self, record: m.Task) -> tuple[m.Outcome, ...]:
        rows = self._ledger.query("tasks/outcomes", {"id": record.id, "attempt": record.attempt})
        return tuple(from_value(m.Outcome, row) for row in rows) if isinstance(rows, list) else ()

    def record(self, task: str) -> m.Task:
        """The ledger's own record of a task.

        Raises:
            LedgerError: there is none.
        """
        found = self._ledger.query("tasks/task", {"id": _task_id(task)})
        if found is None:
            raise LedgerError("there is no such task on the ledger", remedy="see `fondaco tasks`", task=task[:80])
        return from_value(m.Task, found)

    def outcome(self, task: str, attempt: int, step: str, org: str) -> bytes | None:
        """What an institution committed to for a step of an attempt, or None."""
        rows = self._ledger.query("tasks/outcomes", {"id": _task_id(task), "attempt": attempt})
        found = [from_value(m.Outcome, row) for row in rows] if isinstance(rows, list) else []
        return next((o.outcome for o in found if (o.step, o.organisation) == (step, org)), None)

    def task(self, task: str) -> TaskView:
        """The task as of now."""
        return self._view(self.record(task))

    def _view(self, record: m.Task) -> TaskView:
        failure = record.failure
        return TaskView(
            id=record.id.hex(),
            status=record.status,
            attempt=record.attempt,
            workflow=parse_workflow(record.workflow),
            initiator_key=record.initiator_key,
            accepted=record.accepted,
            reported=tuple((outcome.step, outcome.organisation) for outcome in self._outcomes(record)),
            deadline=record.deadline,
            failure=None if failure is None else (failure.party, failure.step, failure.cause),
            height=self._ledger.height,
        )

    def open_tasks(self) -> tuple[TaskView, ...]:
        """Tasks that have not ended; one whose workflow cannot be read is left to its deadline."""
        rows = self._ledger.query("tasks/open")
        views: list[TaskView] = []
        for row in rows if isinstance(rows, list) else []:
            record = from_value(m.Task, row)
            try:
                views.append(self._view(record))
            except FondacoError as fault:
                _log.warning("task %s has no sound workflow: %s", record.id.hex(), fault.cause)
        return tuple(views)

    def node_of(self, org: str) -> str:
        """The did of an institution's node."""
        return self._directory.node_of(org)

    def org_of(self, did: str) -> str:
        """The institution of a node."""
        return self._directory.org_of(did)

    def dataset(self, dataset: str) -> Dataset:
        """The published record of `/org/topic/name@version`."""
        name = DatasetName.parse(dataset)
        data: dict[str, Value] = {"path": name.path, "version": name.version or 0}
        return from_value(Dataset, self._ledger.query("catalog/dataset", data))

    def columns(self, dataset: str, names: tuple[str, ...]) -> tuple[Column, ...]:
        """Published declarations of columns."""
        schema = self.dataset(dataset).schema
        return tuple(schema.column(name) for name in names)

    def rows(self, dataset: str) -> int | None:
        """How many rows a dataset has by its published record, if that says."""
        return self.dataset(dataset).rows

    def seal_key_of(self, key: bytes) -> bytes:
        """The sealing key of a user."""
        found = self._ledger.query("identity/user", {"id": key})
        if found is None:
            raise LedgerError("there is no such user on the ledger", remedy="see the ledger")
        return from_value(User, found).seal_key

    async def wait_height(self, height: int, deadline: float) -> None:
        """Until this node has that height."""
        await self._service.wait_height(height, deadline)

    # -- writing ----------------------------------------------------------------------------------------------

    async def accept(self, task: str) -> None:
        """Take part."""
        await self._service.submit(m.Accept(task=_task_id(task)), self._key)

    async def run(self, task: str) -> None:
        """Start an attempt."""
        attempt = self.record(task).attempt + 1
        await self._service.submit(m.Run(task=_task_id(task), attempt=attempt), self._key)

    async def begin(self, task: str, attempt: int, step: str) -> None:
        """Say that our data are used from here on."""
        await self._service.submit(m.Begin(task=_task_id(task), attempt=attempt, step=step), self._key)

    async def report(self, task: str, attempt: int, step: str, outcome: bytes) -> None:
        """Commit to an outcome."""
        msg = m.Report(task=_task_id(task), attempt=attempt, step=step, outcome=outcome)
        await self._service.submit(msg, self._key)

    def method(self) -> str:
        """What divides the providers' share."""
        return from_value(Formula, self._ledger.query("settlement/formula")).method

    def minimum_count(self, dataset: str) -> int:
        """The smallest group that the dataset's terms let a figure be about."""
        return self.dataset(dataset).terms.minimum_count

    async def measure(
        self, task: str, attempt: int, coalitions: tuple[int, ...], values: tuple[int, ...], found: tuple[int, ...]
    ) -> None:
        """Say what each dataset contributed."""
        msg = Measure(task=_task_id(task), attempt=attempt, coalitions=coalitions, values=values, contributions=found)
        await self._service.submit(msg, self._key)

    async def fail(self, task: str, attempt: int, step: str, party: str, code: str, cause: str) -> None:
        """End an attempt with a named party and cause."""
        msg = m.Fail(
            task=_task_id(task),
            attempt=attempt,
            step=step,
            party=party,
            reason=code,
            cause=one_line(cause, 400),
        )
        await self._service.submit(msg, self._key)

    async def finish(self, task: str) -> None:
        """All steps were reported."""
        record = self.record(task)
        msg = m.Finish(task=record.id, result=result_hash(record, self._outcomes(record)))
        await self._service.submit(msg, self._key)

    async def settle(self, task: str) -> None:
        """Pay what is due."""
        await self._service.submit(m.Settle(task=_task_id(task)), self._key)


def _task_id(task: str) -> bytes:
    try:
        return bytes.fromhex(task)
    except ValueError as fault:
        raise LedgerError("not the id of a task", remedy="give the id that `fondaco run` printed") from fault
