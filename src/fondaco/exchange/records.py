"""The records that the gate decides on, each proven up to the genesis that this node pinned, present or absent.

Trusts the pinned genesis and this node's clock; neither a peer nor this node's own database. Leaks nothing.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from fondaco.core.messages import from_bytes
from fondaco.core.names import DatasetName
from fondaco.errors import GateRefused
from fondaco.flow.chain import TaskView
from fondaco.flow.model import Input, Step
from fondaco.ledger.contracts.catalog import keys as catalog_keys
from fondaco.ledger.contracts.catalog.messages import Dataset
from fondaco.ledger.contracts.grants import keys as grant_keys
from fondaco.ledger.contracts.grants.messages import Grant, LookupLimits
from fondaco.ledger.contracts.identity import keys as identity_keys
from fondaco.ledger.contracts.identity.messages import Organisation, User
from fondaco.ledger.contracts.tasks import keys as task_keys
from fondaco.ledger.contracts.tasks.messages import Outcome, Task
from fondaco.ledger.light import trust_genesis, verify_proof
from fondaco.ledger.reader import Ledger

T = TypeVar("T")
_PROOF_SECONDS = 5.0


def refuse(check: str, cause: str, remedy: str) -> GateRefused:
    """A refusal by the name of its check."""
    return GateRefused(cause, check=check, remedy=remedy)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """The task, and which of its steps this institution has reported in the attempt."""

    task: Task | None
    reported: frozenset[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Use:
    """What a use of this institution's data stands on."""

    grant: Grant | None
    limits: LookupLimits | None
    dataset: Dataset | None
    user: User | None
    organisation: Organisation | None


def _dataset_key(dataset: str) -> bytes:
    name = DatasetName.parse(dataset)
    return catalog_keys.dataset(name.path, name.version or 0)


class Register:
    """Proven records for one institution's gate."""

    def __init__(self, *, org: str, ledger: Ledger, contact: Callable[[], float], stale_seconds: int) -> None:
        self._org = org
        self._ledger = ledger
        self._contact = contact
        self._stale = stale_seconds
        self._trust = trust_genesis(ledger.genesis)

    def progress(self, view: TaskView) -> Progress:
        """The task as it stands."""
        task, *outcomes = self._prove([task_keys.task(bytes.fromhex(view.id)), *self._outcome_keys(view)])
        return self._progress(view, task, outcomes)

    def use(self, view: TaskView, item: Input) -> tuple[Progress, Use]:
        """The task, and what its use of our `item` stands on, all proven at one height."""
        task_id = bytes.fromhex(view.id)
        initiator = self._ledger.query("tasks/task", {"id": task_id})
        holder = initiator["initiator_key"] if isinstance(initiator, dict) else b""
        asking = initiator["initiator"] if isinstance(initiator, dict) else ""
        grant_id = bytes.fromhex(item.grant) if item.grant else b""
        wanted = [
            task_keys.task(task_id),
            grant_keys.grant(grant_id),
            grant_keys.limits(grant_id),
            _dataset_key(item.dataset),
            identity_keys.user(holder if isinstance(holder, bytes) else b""),
            identity_keys.organisation(asking if isinstance(asking, str) else ""),
        ]
        task, grant, limits, dataset, user, organisation, *outcomes = self._prove([*wanted, *self._outcome_keys(view)])
        use = Use(
            grant=_read(Grant, grant),
            limits=_read(LookupLimits, limits),
            dataset=_read(Dataset, dataset),
            user=_read(User, user),
            organisation=_read(Organisation, organisation),
        )
        return self._progress(view, task, outcomes), use

    def own(self, dataset: str, key: bytes) -> tuple[Dataset | None, User | None]:
        """A dataset and the user with this key, both proven at one height."""
        found, user = self._prove([_dataset_key(dataset), identity_keys.user(key)])
        return _read(Dataset, found), _read(User, user)

    def datasets(self, step: Step) -> tuple[Dataset | None, ...]:
        """The datasets that a step uses, in the order of its inputs."""
        return tuple(_read(Dataset, value) for value in self._prove([_dataset_key(i.dataset) for i in step.inputs]))

    def block_time(self) -> int:
        """The time of the newest block, in seconds."""
        return self._ledger.status().time // 1_000_000_000

    def _outcome_keys(self, view: TaskView) -> list[bytes]:
        task_id = bytes.fromhex(view.id)
        return [task_keys.outcome(task_id, view.attempt, step.id, self._org) for step in view.workflow.steps]

    def _progress(self, view: TaskView, task: bytes | None, outcomes: Sequence[bytes | None]) -> Progress:
        pairs = zip(view.workflow.steps, outcomes, strict=True)
        reported = frozenset(step.id for step, value in pairs if _read(Outcome, value) is not None)
        return Progress(task=_read(Task, task), reported=reported)

    def _prove(self, wanted: list[bytes]) -> list[bytes | None]:
        """The values of these keys (None: proven to be absent), as the newest header has them."""
        silent = time.monotonic() - self._contact()
        if silent > self._stale:
            raise refuse(
                "freshness",
                f"this node has not heard of the ledger for {silent:.0f} s, and a revocation could be unknown to it",
                "restore the link to the validator",
            )
        self._ledger.wait_provable(_PROOF_SECONDS)
        proof = self._ledger.prove(wanted)
        verify_proof(self._trust, proof)
        if [state.key for state in proof.states] != wanted:
            raise refuse("proof", "the proof is for other records", "report this")
        return [state.value for state in proof.states]


def _read(kind: type[T], value: bytes | None) -> T | None:
    return None if value is None else from_bytes(kind, value)
