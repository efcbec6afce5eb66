"""Messages and records of the tasks contract."""

from __future__ import annotations

from fondaco.core.messages import message


@message("tasks.input/1")
class InputHead:
    """What one organisation brings: columns of a dataset, under a grant (None: the proposer's own)."""

    organisation: str
    path: str
    version: int
    columns: tuple[str, ...]
    grant: bytes | None


@message("tasks.step/1")
class StepHead:
    """What the ledger checks of a step: program hash, operation, who takes part, what they bring, who learns."""

    id: str
    program: bytes
    operation: str
    members: tuple[str, ...]
    receivers: tuple[str, ...]
    inputs: tuple[InputHead, ...]


@message("tasks.propose/1")
class Propose:
    """Signed by an analyst. `workflow` is opaque here; nodes check that the heads are those of its bytes."""

    workflow: bytes
    coordinator: str
    parties: tuple[str, ...]
    steps: tuple[StepHead, ...]
    purpose: str
    deadline: int


@message("tasks.accept/1")
class Accept:
    """Signed by the node of a party."""

    task: bytes


@message("tasks.run/1")
class Run:
    """Signed by the coordinator's node: start, or start again after a failed attempt."""

    task: bytes
    attempt: int


@message("tasks.begin/1")
class Begin:
    """Signed by the node of who brings data under a grant: its gate lets them be used, and the engine starts next."""

    task: bytes
    attempt: int
    step: str


@message("tasks.report/1")
class Report:
    """Signed by a member's node: commitment to its outcome of a step."""

    task: bytes
    attempt: int
    step: str
    outcome: bytes


@message("tasks.fail/1")
class Fail:
    """Signed by a party's node: this attempt is over; which party failed, and why."""

    task: bytes
    attempt: int
    step: str
    party: str
    reason: str
    cause: str


@message("tasks.finish/1")
class Finish:
    """Signed by the coordinator's node when all have reported."""

    task: bytes
    result: bytes


@message("tasks.settle/1")
class Settle:
    """Signed by anyone: pay what a finished task owes."""

    task: bytes


@message("tasks.abandon/1")
class Abandon:
    """Signed by the analyst who proposed, or the coordinator's node."""

    task: bytes


@message("tasks.expire/1")
class ExpireTask:
    """Signed by anyone after the deadline: end it and name who was missing."""

    task: bytes


@message("tasks.failure/1")
class Failure:
    """Why an attempt ended."""

    attempt: int
    step: str
    party: str
    reason: str
    cause: str


@message("tasks.task/1")
class Task:
    """Record of a task; `begun` are those whose data were let be used in any attempt."""

    id: bytes
    workflow: bytes
    workflow_hash: bytes
    initiator: str
    initiator_key: bytes
    coordinator: str
    parties: tuple[str, ...]
    steps: tuple[StepHead, ...]
    purpose: str
    deadline: int
    status: str
    attempt: int
    accepted: tuple[str, ...]
    consumed: bool
    begun: tuple[str, ...]
    failure: Failure | None
    result: bytes | None
    since: int


@message("tasks.outcome/1")
class Outcome:
    """Record of a report."""

    task: bytes
    attempt: int
    step: str
    organisation: str
    node: bytes
    outcome: bytes
    height: int
