"""The gate: before any byte of data is touched, this node checks for itself that it may be. Nothing goes round it.

It believes no peer and not even its own database: the records it decides on come with proofs that lead, through a
signed header, to the genesis that this node pinned. It checks, in this order and each by name: freshness of the
ledger, proof, task and attempt, pinned workflow, our part in it, program, dataset and its commitment, and for
another institution's task the grant: holder, status, expiry, purpose, operation, columns, parties, receivers, use.
Whatever is not allowed is refused. It is the one user of the vault's reader. It leaks nothing but the refusal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa

from fondaco.core.messages import from_bytes
from fondaco.core.names import DatasetName
from fondaco.engines.base import PREPARED
from fondaco.errors import FondacoError, GateRefused
from fondaco.exchange import preparations
from fondaco.flow.chain import Opened, TaskView
from fondaco.flow.heads import heads, operation_name
from fondaco.flow.journal import Journal
from fondaco.flow.model import Input, Step, Workflow
from fondaco.ledger.contracts.catalog import keys as catalog_keys
from fondaco.ledger.contracts.catalog.messages import Dataset
from fondaco.ledger.contracts.grants import keys as grant_keys
from fondaco.ledger.contracts.grants.messages import Grant
from fondaco.ledger.contracts.identity import keys as identity_keys
from fondaco.ledger.contracts.identity.messages import Organisation, User
from fondaco.ledger.contracts.tasks import keys as task_keys
from fondaco.ledger.contracts.tasks.messages import Task
from fondaco.ledger.light import trust_genesis, verify_proof
from fondaco.ledger.reader import Ledger
from fondaco.vault.reader import read_table
from fondaco.vault.store import Vault

T = TypeVar("T")
_PROOF_SECONDS = 5.0
_NANOS = 1_000_000_000


def _refuse(check: str, cause: str, remedy: str) -> GateRefused:
    return GateRefused(cause, check=check, remedy=remedy)


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
        self._ledger = ledger
        self._vault = vault
        self._journal = journal
        self._contact = contact
        self._stale = stale_seconds
        self._most_keys = most_keys
        self._now = now
        self._trust = trust_genesis(ledger.genesis)

    def check_program(self, task: TaskView, step: Step) -> None:
        """A member without data still takes part only in what the ledger has running."""
        self._audited(task, step, lambda: self._check_task(task, step, self._records(task.id)[0]))

    def open(self, task: TaskView, step: Step, match: pa.Table | None) -> Opened:
        """Check everything, then read the granted columns and no others.

        Raises:
            GateRefused: names the check that refused.
        """
        return self._audited(task, step, lambda: self._open(task, step, match))

    def _audited(self, task: TaskView, step: Step, work: Callable[[], T]) -> T:
        try:
            return work()
        except FondacoError as fault:
            self._journal.record(task.id, task.attempt, step.id, "gate refused", party=self._org, cause=fault.cause)
            raise

    def _open(self, task: TaskView, step: Step, match: pa.Table | None) -> Opened:
        item = step.input_of(self._org)
        if item is None:
            raise _refuse("part", "this institution brings nothing to the step", "see the workflow")
        record, grant, dataset, user, organisation = self._records(task.id, item)
        self._check_task(task, step, record)
        assert record is not None
        self._check_initiator(record, user, organisation)
        if dataset is None or dataset.owner != self._org or dataset.status != "published":
            raise _refuse("dataset", "the dataset is not one that we publish now", "publish it, or use another version")
        self._check_grant(record, step, item, grant)
        cid = self._vault.resolve(DatasetName.parse(item.dataset))
        described = self._vault.describe(cid)
        if described.commitment != dataset.commitment or described.schema != dataset.schema:
            raise _refuse("commitment", "the vault does not hold what was published", "restore the vault")
        if described.rows < dataset.terms.minimum_rows:
            raise _refuse("minimum-rows", "the dataset has too few rows for its own terms", "change the terms")
        if match is not None and match.num_rows < dataset.terms.minimum_rows:
            raise _refuse(
                "minimum-rows",
                f"fewer than {dataset.terms.minimum_rows} rows matched, which the terms of {dataset.path} refuse",
                "use a larger set",
            )
        self._check_minimum_count(step, dataset)
        self._check_most_keys(step)
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
            raise _refuse("prepared", "the step prepares nothing of our data", "report this")
        self._journal.record(task.id, task.attempt, step.id, "index kept", party=self._org)

    # -- the records, proven ----------------------------------------------------------------------------------

    def _records(
        self, task: str, item: Input | None = None
    ) -> tuple[Task | None, Grant | None, Dataset | None, User | None, Organisation | None]:
        silent = time.monotonic() - self._contact()
        if silent > self._stale:
            raise _refuse(
                "freshness",
                f"this node has not heard of the ledger for {silent:.0f} s, and a revocation could be unknown to it",
                "restore the link to the validator",
            )
        task_id = bytes.fromhex(task)
        wanted = [task_keys.task(task_id)]
        if item is not None:
            name = DatasetName.parse(item.dataset)
            initiator = self._ledger.query("tasks/task", {"id": task_id})
            holder = initiator["initiator_key"] if isinstance(initiator, dict) else b""
            asking = initiator["initiator"] if isinstance(initiator, dict) else ""
            wanted.append(grant_keys.grant(bytes.fromhex(item.grant) if item.grant else b""))
            wanted.append(catalog_keys.dataset(name.path, name.version or 0))
            wanted.append(identity_keys.user(holder if isinstance(holder, bytes) else b""))
            wanted.append(identity_keys.organisation(asking if isinstance(asking, str) else ""))
        self._ledger.wait_provable(_PROOF_SECONDS)
        proof = self._ledger.prove(wanted)
        verify_proof(self._trust, proof)
        if [state.key for state in proof.states] != wanted:
            raise _refuse("proof", "the proof is for other records", "report this")
        values = [state.value for state in proof.states] + [None] * (5 - len(wanted))
        kinds = (Task, Grant, Dataset, User, Organisation)
        found = [None if v is None else from_bytes(kind, v) for kind, v in zip(kinds, values, strict=True)]
        return tuple(found)  # type: ignore[return-value]

    # -- the checks -------------------------------------------------------------------------------------------

    def _check_task(self, view: TaskView, step: Step, record: Task | None) -> None:
        if record is None or record.status != "running" or record.attempt != view.attempt:
            raise _refuse("task", "the ledger does not have this attempt of the task running", "run the task again")
        if self._now() >= record.deadline:
            raise _refuse("task", "the task's deadline is over", "propose it again")
        if self._org not in record.accepted or self._org not in step.members:
            raise _refuse("part", "this institution has not accepted a part in this step", "accept the task first")
        workflow: Workflow = view.workflow
        same = (
            record.workflow == workflow.bytes
            and record.steps == heads(workflow)
            and (record.purpose, record.coordinator, record.initiator)
            == (workflow.purpose, workflow.coordinator, workflow.initiator)
        )
        if not same or step not in workflow.steps:
            raise _refuse("workflow", "the step is not of the workflow that is pinned on the ledger", "report this")

    def _check_initiator(self, record: Task, user: User | None, organisation: Organisation | None) -> None:
        active = user is not None and user.status == "active" and "analyst" in user.roles
        there = organisation is not None and organisation.status == "active"
        if not active or not there or user is None or user.organisation != record.initiator:
            raise _refuse("holder", "the key that asked is not that of an active analyst now", "ask with an active key")

    def _check_grant(self, record: Task, step: Step, item: Input, grant: Grant | None) -> None:
        if item.grant is None:
            if record.initiator != self._org:
                raise _refuse("grant", "the task names no grant for the use of our data", "request one")
            return
        if grant is None:
            raise _refuse("grant", "there is no such grant on the ledger", "request one")
        name = DatasetName.parse(item.dataset)
        operation = operation_name(step.engine, step.operation)
        checks = (
            ("holder", grant.holder_key == record.initiator_key, "the grant is another holder's"),
            ("status", grant.status in ("active", "exhausted"), f"the grant is {grant.status}"),
            ("expiry", self._now() < grant.expires, "the grant has expired"),
            ("expiry", self._block_time() < grant.expires, "the grant has expired by the ledger's time"),
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
                "columns",
                all(c in grant.columns for c in item.columns),
                "the grant does not cover all the columns",
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
                raise _refuse(check, f"{item.dataset}: {cause}", "request a grant that covers this use")

    def _block_time(self) -> int:
        return self._ledger.status().time // _NANOS

    def _check_most_keys(self, step: Step) -> None:
        if step.engine != "pir" or self._org in step.receivers:
            return
        parameters = step.parameters if isinstance(step.parameters, dict) else {}
        asked = parameters.get("most_keys", 1)
        if isinstance(asked, bool) or not isinstance(asked, int) or not 1 <= asked <= self._most_keys:
            raise _refuse(
                "most-keys",
                f"{self._org} answers at most {self._most_keys} keys for one use of a grant",
                f"set most_keys to {self._most_keys} or less, or use the grant more often",
            )

    def _check_minimum_count(self, step: Step, dataset: Dataset) -> None:
        if step.engine != "mpc" or not dataset.terms.minimum_count:
            return
        parameters = step.parameters if isinstance(step.parameters, dict) else {}
        asked = parameters.get("minimum_count", 1)
        if step.operation == "arithmetic" or not isinstance(asked, int) or asked < dataset.terms.minimum_count:
            raise _refuse(
                "minimum-count",
                f"the terms of {dataset.path} open no figure about fewer than {dataset.terms.minimum_count} rows",
                f"set minimum_count to {dataset.terms.minimum_count} or more",
            )
