"""The gate: before any byte of data is touched, this node checks for itself that it may be. Nothing goes round it.

It believes no peer and not even its own database: the records it decides on come with proofs that lead, through a
signed header, to the genesis that this node pinned. It checks, in this order and each by name: freshness of the
ledger, proof, task and attempt, pinned workflow, our part in it, that the steps before were reported and this one
neither reported nor opened before, its match, dataset and its commitment, and for another institution's task the
grant: holder, status, expiry, purpose, operation, keys, columns, parties, receivers, use.
Whatever is not allowed is refused. It is the one user of the vault's reader. It leaks nothing but the refusal, and a
refusal that depends on the rows says no more than that the terms refuse: what it was goes to this node's journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa

from fondaco.core.names import DatasetName
from fondaco.engines.base import HIDDEN, PREPARED
from fondaco.errors import FondacoError
from fondaco.exchange import preparations
from fondaco.exchange.records import Progress, Register, Use, refuse
from fondaco.flow.chain import Opened, TaskView
from fondaco.flow.heads import heads, operation_name
from fondaco.flow.journal import Journal
from fondaco.flow.model import Input, Step, Workflow
from fondaco.flow.uses import column_uses
from fondaco.ledger.contracts.catalog.messages import Dataset
from fondaco.ledger.contracts.grants.messages import Grant
from fondaco.ledger.contracts.identity.messages import Organisation, User
from fondaco.ledger.contracts.tasks.messages import Task
from fondaco.ledger.reader import Ledger
from fondaco.vault.reader import read_table
from fondaco.vault.store import Vault

T = TypeVar("T")


class Gate:
    """One node's gate; see flow.chain.Gate."""

    def __init__(
        self,
        *,
        org: str,
        ledger: Ledger,
        vault: Vault,
        journal: Journal,
        contact: Callable[[], float],
        stale_seconds: int,
        most_keys: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._org = org
        self._vault = vault
        self._journal = journal
        self._most_keys = most_keys
        self._now = now
        self._register = Register(org=org, ledger=ledger, contact=contact, stale_seconds=stale_seconds)

    def check_program(self, task: TaskView, step: Step) -> None:
        """A member without data still takes part only in what the ledger has running, and once.

        Raises:
            GateRefused: names the check that refused.
        """

        def work() -> None:
            progress = self._register.progress(task)
            self._check_task(task, step, progress.task)
            self._check_turn(task, step, progress)
            self._open_once(task, step)

        self._audited(task, step, work)

    def open(self, task: TaskView, step: Step, match: pa.Table | None) -> Opened:
        """Check everything, then read the granted columns and no others; once for a step of an attempt.

        Raises:
            GateRefused: names the check that refused.
        """
        return self._audited(task, step, lambda: self._open(task, step, match))

    def check_match(self, task: TaskView, step: Step, match: pa.Table) -> None:
        """Before a receiver keeps a match: the terms of every dataset in it allow one of so few rows.

        A receiver whose node is not this software has learned the match all the same.

        Raises:
            GateRefused: check `terms`.
        """

        def work() -> None:
            for dataset in self._register.datasets(step):
                if dataset is None:
                    raise refuse("dataset", "a dataset of the step is not on the ledger", "report this")
                self._check_rows(task, step, dataset, match.num_rows)

        self._audited(task, step, work)

    def _audited(self, task: TaskView, step: Step, work: Callable[[], T]) -> T:
        try:
            return work()
        except FondacoError as fault:
            self._note(task, step, "gate refused", fault.cause)
            raise

    def _note(self, task: TaskView, step: Step, event: str, cause: str) -> None:
        self._journal.record(task.id, task.attempt, step.id, event, party=self._org, cause=cause)

    def _open(self, task: TaskView, step: Step, match: pa.Table | None) -> Opened:
        item = step.input_of(self._org)
        if item is None:
            raise refuse("part", "this institution brings nothing to the step", "see the workflow")
        progress, use = self._register.use(task, item)
        record = self._check_task(task, step, progress.task)
        self._check_turn(task, step, progress)
        if (step.match is None) != (match is None):
            raise refuse("match", "the step and the match of this node are not of one another", "run the task again")
        self._check_initiator(record, use.user, use.organisation)
        dataset = self._check_dataset(use)
        self._check_grant(record, step, item, use.grant)
        cid = self._vault.resolve(DatasetName.parse(item.dataset))
        described = self._vault.describe(cid)
        if described.commitment != dataset.commitment or described.schema != dataset.schema:
            raise refuse("commitment", "the vault does not hold what was published", "restore the vault")
        self._check_rows(task, step, dataset, described.rows if match is None else match.num_rows)
        self._check_minimum_count(step, dataset)
        self._check_most_keys(step)
        self._open_once(task, step)
        columns = tuple(dataset.schema.column(name) for name in item.columns)
        prepared = {} if self._org in step.receivers else preparations.find(self._vault, cid, step, item)
        if PREPARED in prepared:
            # All that the engine needs of the rows is in what was prepared of them.
            return Opened(table=pa.table({}), columns=columns, prepared=prepared)
        table = read_table(self._vault, cid, columns=item.columns)
        return Opened(table=table, columns=columns, prepared=prepared)

    def keep(self, task: TaskView, step: Step, prepared: pa.Table) -> None:
        """Keep what an engine prepared of our dataset in the vault, under the dataset that the step names.

        Raises:
            GateRefused: the step prepares nothing of ours. VaultError: the disk refused.
        """
        item = step.input_of(self._org)
        if item is None or self._org in step.receivers or not preparations.keep(self._vault, step, item, prepared):
            raise refuse("prepared", "the step prepares nothing of our data", "report this")
        self._journal.record(task.id, task.attempt, step.id, "index kept", party=self._org)

    # -- the checks -------------------------------------------------------------------------------------------

    def _check_task(self, view: TaskView, step: Step, record: Task | None) -> Task:
        if record is None or record.status != "running" or record.attempt != view.attempt:
            raise refuse("task", "the ledger does not have this attempt of the task running", "run the task again")
        if self._now() >= record.deadline:
            raise refuse("task", "the task's deadline is over", "propose it again")
        if self._org not in record.accepted or self._org not in step.members:
            raise refuse("part", "this institution has not accepted a part in this step", "accept the task first")
        workflow: Workflow = view.workflow
        same = (
            record.workflow == workflow.bytes
            and record.steps == heads(workflow)
            and (record.purpose, record.coordinator, record.initiator)
            == (workflow.purpose, workflow.coordinator, workflow.initiator)
        )
        if not same or step not in workflow.steps:
            raise refuse("workflow", "the step is not of the workflow that is pinned on the ledger", "report this")
        return record

    def _check_turn(self, view: TaskView, step: Step, progress: Progress) -> None:
        """The steps before it that we have a part in are reported, and this one is not."""
        for earlier in view.workflow.steps[: view.workflow.steps.index(step)]:
            if self._org in earlier.members and earlier.id not in progress.reported:
                raise refuse("order", "a step before this one was not run here in this attempt", "run the task again")
        if step.id in progress.reported:
            raise refuse("once", "this institution has reported this step", "a step is run once in an attempt")

    def _open_once(self, view: TaskView, step: Step) -> None:
        """Remember for good, before anything is read, that the step was opened; the coordinator's word is no second."""
        if not self._journal.open_once(view.id, view.attempt, step.id):
            raise refuse("once", "this step was opened before in this attempt", "start another attempt of the task")

    def _check_dataset(self, use: Use) -> Dataset:
        dataset = use.dataset
        if dataset is None or dataset.owner != self._org or dataset.status != "published":
            raise refuse("dataset", "the dataset is not one that we publish now", "publish it, or use another version")
        return dataset

    def _check_rows(self, task: TaskView, step: Step, dataset: Dataset, rows: int) -> None:
        if rows < dataset.terms.minimum_rows:
            seen = f"fewer than {dataset.terms.minimum_rows} rows ({rows}), which the terms of {dataset.path} refuse"
            self._note(task, step, "too few rows", seen)
            raise refuse("terms", f"the terms of {dataset.path} refuse this step", "ask its owner for its journal")

    def _check_initiator(self, record: Task, user: User | None, organisation: Organisation | None) -> None:
        active = user is not None and user.status == "active" and "analyst" in user.roles
        there = organisation is not None and organisation.status == "active"
        if not active or not there or user is None or user.organisation != record.initiator:
            raise refuse("holder", "the key that asked is not that of an active analyst now", "ask with an active key")

    def _check_grant(self, record: Task, step: Step, item: Input, grant: Grant | None) -> None:
        if item.grant is None:
            if record.initiator != self._org:
                raise refuse("grant", "the task names no grant for the use of our data", "request one")
            return
        if grant is None:
            raise refuse("grant", "there is no such grant on the ledger", "request one")
        name = DatasetName.parse(item.dataset)
        operation = operation_name(step.engine, step.operation)
        used = column_uses(step.engine, step.parameters, self._org, item.columns)
        checks = (
            ("holder", grant.holder_key == record.initiator_key, "the grant is another holder's"),
            ("status", grant.status in ("active", "exhausted"), f"the grant is {grant.status}"),
            ("expiry", self._now() < grant.expires, "the grant has expired"),
            ("expiry", self._register.block_time() < grant.expires, "the grant has expired by the ledger's time"),
            (
                "dataset",
                (grant.provider, grant.path, grant.version) == (self._org, name.path, name.version),
                "the grant is for another dataset",
            ),
            ("purpose", grant.purpose == record.purpose, "the grant is for another purpose"),
            (
                "operation",
                operation in grant.operations or step.program().hex() in grant.operations,
                "the grant is for another operation",
            ),
            (
                "keys",
                all(key in grant.keys for key in used.keys),
                "the grant does not let rows be matched on all these columns",
            ),
            (
                "columns",
                all(column in grant.columns for column in used.columns),
                "the grant does not let all these columns be computed with",
            ),
            (
                "parties",
                all(p in grant.parties for p in (*step.members, record.coordinator)),
                "the grant is for other parties, helpers or coordinators",
            ),
            (
                "receivers",
                all(r in grant.receivers for r in step.receivers),
                "the grant names other receivers",
            ),
            ("uses", record.consumed, "no use of the grant was taken for this task"),
        )
        for check, holds, cause in checks:
            if not holds:
                raise refuse(check, f"{item.dataset}: {cause}", "request a grant that covers this use")

    def _check_most_keys(self, step: Step) -> None:
        if step.engine != "pir" or self._org in step.receivers:
            return
        parameters = step.parameters if isinstance(step.parameters, dict) else {}
        asked = parameters.get("most_keys", 1)
        if isinstance(asked, bool) or not isinstance(asked, int) or not 1 <= asked <= self._most_keys:
            raise refuse(
                "most-keys",
                f"{self._org} answers at most {self._most_keys} keys for one use of a grant",
                f"set most_keys to {self._most_keys} or less, or use the grant more often",
            )

    def _check_minimum_count(self, step: Step, dataset: Dataset) -> None:
        # Nobody counts the rows of a hidden match before figures are opened: the circuit keeps both minimums.
        hidden = dataset.terms.minimum_rows if step.operation in HIDDEN else 0
        least = max(dataset.terms.minimum_count, hidden)
        if step.engine != "mpc" or not least:
            return
        parameters = step.parameters if isinstance(step.parameters, dict) else {}
        asked = parameters.get("minimum_count", 1)
        if step.operation == "arithmetic" or not isinstance(asked, int) or asked < least:
            raise refuse(
                "minimum-count",
                f"the terms of {dataset.path} open no figure about fewer than {least} rows",
                f"set minimum_count to {least} or more",
            )
