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

from fondaco.core.cid import Cid
from fondaco.core.names import DatasetName
from fondaco.engines.base import HIDDEN, OPENING, PREPARED
from fondaco.engines.checks import MAX_KEYS
from fondaco.errors import FondacoError, GateRefused
from fondaco.exchange import preparations
from fondaco.exchange.preparations import Preparation
from fondaco.exchange.records import Progress, Register, refuse
from fondaco.flow.chain import Opened, TaskView
from fondaco.flow.heads import heads, operation_name
from fondaco.flow.journal import Journal
from fondaco.flow.model import Input, Step, Workflow
from fondaco.flow.uses import column_uses
from fondaco.ledger.contracts.catalog.messages import Dataset
from fondaco.ledger.contracts.grants.messages import Grant, LookupLimits
from fondaco.ledger.contracts.identity.messages import Organisation, User
from fondaco.ledger.contracts.tasks.messages import Task
from fondaco.ledger.reader import Ledger
from fondaco.vault.reader import read_table
from fondaco.vault.store import Vault

T = TypeVar("T")
_DAY = 86400


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

    def open_own(self, wanted: Preparation, steward: bytes) -> Opened:
        """For this institution alone, to prepare an index or a set: rows of a dataset of ours, for one of our stewards.

        Nothing is computed for anyone: a step that uses what was prepared passes the gate by itself.

        Raises:
            GateRefused: names the check that refused. VaultError: the vault does not hold the dataset.
        """
        try:
            opened = self._open_own(wanted, steward)
        except FondacoError as fault:
            self._note_own(wanted, "gate refused", fault.cause)
            raise
        self._note_own(wanted, "gate passed")
        return opened

    def _open_own(self, wanted: Preparation, steward: bytes) -> Opened:
        name = str(wanted.dataset)
        found, user = self._register.own(name, steward)
        active = user is not None and user.status == "active" and "steward" in user.roles
        if not active or user is None or user.organisation != self._org:
            raise refuse("holder", "the key is not that of an active steward of ours", "ask with a steward's key")
        dataset = self._check_published(found)
        known = [column.name for column in dataset.schema.columns]
        named = (*wanted.columns, *wanted.keys)
        if not wanted.keys or any(n not in known for n in named) or any(k not in wanted.columns for k in wanted.keys):
            raise refuse("columns", f"{name} has not all these columns, or they lack the keys", "see `fondaco search`")
        if wanted.operation not in preparations.AHEAD:
            raise refuse(
                "operation", f"nothing is prepared ahead for {wanted.operation}", "see `fondaco prepare --help`"
            )
        if wanted.operation == preparations.LOOKUP and not (self._most_keys and 1 <= wanted.most_keys <= MAX_KEYS):
            raise self._too_many_keys(MAX_KEYS if self._most_keys else 0, self._org)
        cid = self._check_vault(wanted.dataset, dataset)
        columns = tuple(dataset.schema.column(column) for column in wanted.columns)
        prepared = preparations.find_own(self._vault, cid, wanted)
        if PREPARED in prepared:
            return Opened(table=pa.table({}), columns=columns, prepared=prepared)
        table = read_table(self._vault, cid, columns=wanted.columns)
        return Opened(table=table, columns=columns, prepared=prepared)

    def keep_own(self, wanted: Preparation, prepared: pa.Table) -> None:
        """Keep the index that was made of what `open_own` gave.

        Raises:
            VaultError: the disk refused.
        """
        preparations.keep_labelled(self._vault, wanted.dataset, wanted.label, prepared)
        self._note_own(wanted, "index kept")

    def _note_own(self, wanted: Preparation, event: str, cause: str = "") -> None:
        self._journal.record("", 0, f"prepare {wanted.dataset}", event, party=self._org, cause=cause)

    def check_match(self, task: TaskView, step: Step, rows: int) -> None:
        """Before a receiver keeps a match, or what tells one: the terms of every dataset in it allow so few rows.

        A receiver whose node is not this software has learned the match all the same.

        Raises:
            GateRefused: check `terms`.
        """

        def work() -> None:
            for dataset in self._register.datasets(step):
                if dataset is None:
                    raise refuse("dataset", "a dataset of the step is not on the ledger", "report this")
                self._check_rows(task, step, dataset, rows)

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
        dataset = self._check_published(use.dataset)
        self._check_grant(record, step, item, use.grant)
        self._check_basis(step, dataset, use.grant)
        cid = self._check_vault(DatasetName.parse(item.dataset), dataset)
        rows = self._vault.describe(cid).rows if match is None else match.num_rows
        self._check_rows(task, step, dataset, rows)
        self._check_minimum_count(step, dataset)
        self._check_at_least(step, dataset)
        asked = self._check_most_keys(step, use.limits)
        self._open_once(task, step)
        self._count_keys(use.grant, asked, use.limits)
        columns = tuple(dataset.schema.column(name) for name in item.columns)
        prepared = {} if self._org in step.receivers else preparations.find(self._vault, cid, step, item)
        if PREPARED in prepared and step.operation != preparations.TWO_SERVERS:
            # All that the engine needs of the rows is in what was prepared of them. Of two servers the other may have
            # lost its part, and then both begin anew.
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

    def _check_published(self, dataset: Dataset | None) -> Dataset:
        if dataset is None or dataset.owner != self._org or dataset.status != "published":
            raise refuse("dataset", "the dataset is not one that we publish now", "publish it, or use another version")
        return dataset

    def _check_vault(self, name: DatasetName, dataset: Dataset) -> Cid:
        cid = self._vault.resolve(name)
        described = self._vault.describe(cid)
        if described.commitment != dataset.commitment or described.schema != dataset.schema:
            raise refuse("commitment", "the vault does not hold what was published", "restore the vault")
        return cid

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

    def _check_basis(self, step: Step, dataset: Dataset, grant: Grant | None) -> None:
        """A default permission opens our keys themselves to others where it or the terms name the operation that does.

        One for any operation was perhaps given before there was such an operation.
        """
        others = any(receiver != self._org for receiver in step.receivers)
        if (step.engine, step.operation) not in OPENING or not others or grant is None:
            return
        names = {operation_name(step.engine, step.operation), step.program().hex()}
        said = (dataset.terms.operations, *(rule.operations for rule in dataset.terms.rules))
        named = any(not names.isdisjoint(operations) for operations in said)
        if grant.basis.startswith("rule ") and not named:
            raise refuse(
                "operation",
                f"a default permission of {dataset.path} for any operation covers none that opens its keys",
                "ask its owner to name the operation in the terms",
            )

    def _check_at_least(self, step: Step, dataset: Dataset) -> None:
        """A threshold opens a match of as few rows as it says, so what it says is bound by the terms."""
        if (step.engine, step.operation) != ("psi", "threshold") or not dataset.terms.minimum_rows:
            return
        parameters = step.parameters if isinstance(step.parameters, dict) else {}
        said = parameters.get("at_least", 1)
        if isinstance(said, bool) or not isinstance(said, int) or said < dataset.terms.minimum_rows:
            raise refuse(
                "at-least",
                f"the terms of {dataset.path} open no match of fewer than {dataset.terms.minimum_rows} rows",
                f"set at_least to {dataset.terms.minimum_rows} or more",
            )

    def _check_most_keys(self, step: Step, limits: LookupLimits | None) -> int:
        """How many keys a lookup of our data is for: no more than its grant says, or this node where that says nothing.

        A node that answers no hidden queries answers none, whatever was granted.
        """
        if step.engine != "pir" or self._org in step.receivers:
            return 0
        parameters = step.parameters if isinstance(step.parameters, dict) else {}
        asked = parameters.get("most_keys", 1)
        allowed = limits.most_keys if limits is not None and self._most_keys else self._most_keys
        if isinstance(asked, bool) or not isinstance(asked, int) or not 1 <= asked <= allowed:
            raise self._too_many_keys(allowed, "this grant" if limits is not None else self._org)
        return asked

    def _too_many_keys(self, allowed: int, who: str) -> GateRefused:
        return refuse(
            "most-keys",
            f"{who} allows at most {allowed} keys for one use",
            f"set most_keys to {allowed} or less, or use the grant more often",
        )

    def _count_keys(self, grant: Grant | None, asked: int, limits: LookupLimits | None) -> None:
        """Each attempt counts: it lets the asker have its keys evaluated anew. By the grant's id, whatever names it."""
        if not asked or limits is None or not limits.keys_a_day or grant is None:
            return
        counted = self._journal.count_keys(
            grant.id.hex(), asked, most=limits.keys_a_day, now=int(self._now()), seconds=_DAY
        )
        if not counted:
            raise refuse(
                "keys-a-day",
                f"this grant allows {limits.keys_a_day} keys in 24 hours, and these would be more",
                "wait, or ask for fewer keys",
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
