"""A workflow: a DAG of steps, each placed at institutions, pinned on the ledger by its hash.

A step is pure description: engine, operation, parameters, the parties in rank order, what each brings and who
learns the output. It holds names, never data. Two nodes that hold the same bytes run the same program.
"""

from __future__ import annotations

import re

from fondaco.core.cid import DAG_CBOR, SHA2_256, Cid
from fondaco.core.codec import Value, encode
from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.core.models import Column
from fondaco.core.names import DatasetName
from fondaco.engines.base import HIDDEN, MEMORY_MIB, Job
from fondaco.errors import CodecError, FlowError

MAX_STEPS = 16
MAX_BYTES = 24 * 1024
ENGINE_VERSION = 1
_FIGURES = ("statistics", "pooled-statistics", *HIDDEN)
_GRANT = re.compile(r"[0-9a-f]{64}")
_REMEDY = "correct the workflow and propose it again"


@message("flow.input/1")
class Input:
    """What one party brings to a step: columns of one of its datasets, under a grant (None: its own use)."""

    party: str
    dataset: str
    columns: tuple[str, ...]
    grant: str | None


@message("flow.step/1")
class Step:
    """One computation.

    `parties` are the institutions with data, in rank order; `helper` is the institution without data that
    takes part for security's sake (None where the engine needs none); `match` names the earlier step whose
    matched keys align this one's rows; `receivers` are the parties that learn the output, and no one else.
    """

    id: str
    engine: str
    operation: str
    parameters: Value
    parties: tuple[str, ...]
    helper: str | None
    inputs: tuple[Input, ...]
    match: str | None
    receivers: tuple[str, ...]

    def input_of(self, party: str) -> Input | None:
        """What `party` brings, or None for a helper."""
        for item in self.inputs:
            if item.party == party:
                return item
        return None

    @property
    def members(self) -> tuple[str, ...]:
        """All that take part, in rank order, the helper last."""
        return self.parties if self.helper is None else (*self.parties, self.helper)

    def job(
        self,
        declared: dict[str, tuple[Column, ...]],
        *,
        party: str,
        task: str,
        attempt: int,
        seconds: int,
        rows: dict[str, int | None] | None = None,
        memory_mib: int = MEMORY_MIB,
    ) -> Job:
        """One party's share of this step, as an engine is given it.

        Args:
            declared: the published declarations of the columns that each party brings; none for a helper.
            party: whose share it is.
            task: the task's id in hex.
            attempt: which attempt of the task it is.
            seconds: how long it may take.
            rows: how many rows the ledger says that each party's dataset has; nothing is known without.
            memory_mib: what a peer's description of its data may make a hidden query take here.
        """
        members = self.members
        others = [(members.index(other), column) for other in declared if other != party for column in declared[other]]
        return Job(
            task=task,
            step=self.id,
            attempt=attempt,
            engine=self.engine,
            operation=self.operation,
            parameters=self.parameters,
            parties=members,
            rank=members.index(party),
            helper=None if self.helper is None else len(self.parties),
            receivers=tuple(members.index(receiver) for receiver in self.receivers),
            columns=declared.get(party, ()),
            peer_columns=tuple(column for _rank, column in others),
            peer_ranks=tuple(rank for rank, _column in others),
            timeout_seconds=seconds,
            rows=tuple((rows or {}).get(member) for member in members),
            memory_mib=memory_mib,
        )

    def program(self) -> bytes:
        """The 32-byte hash of what is computed: engine, operation, parameters and their version."""
        return program_hash(self.engine, self.operation, self.parameters)


def program_hash(engine: str, operation: str, parameters: Value) -> bytes:
    """SHA-256 over the canonical description of a program; what a grant may be bound to."""
    described: Value = {
        "domain": "fondaco/program",
        "engine": engine,
        "operation": operation,
        "parameters": parameters,
        "version": ENGINE_VERSION,
    }
    return Cid.of(encode(described), codec=DAG_CBOR, hash_code=SHA2_256).digest


@message("flow.workflow/1")
class Workflow:
    """The whole: who asks, for what purpose, who coordinates, and the steps in order."""

    title: str
    purpose: str
    initiator: str
    coordinator: str
    steps: tuple[Step, ...]

    def step(self, step_id: str) -> Step:
        """The step of that id.

        Raises:
            FlowError: there is none.
        """
        for step in self.steps:
            if step.id == step_id:
                return step
        raise FlowError("no such step", remedy=_REMEDY, step=step_id[:64])

    @property
    def parties(self) -> tuple[str, ...]:
        """Every institution that takes part, coordinator included, each once, in order of appearance."""
        seen: dict[str, None] = {}
        for step in self.steps:
            seen.update(dict.fromkeys(step.members))
        seen.setdefault(self.coordinator)
        return tuple(seen)

    @property
    def bytes(self) -> bytes:
        """The canonical bytes that are pinned."""
        return to_bytes(self)


def parse_workflow(data: bytes) -> Workflow:
    """A sound workflow from bytes.

    Raises:
        CodecError: not canonical or not of this shape.
        FlowError: of this shape, but it makes no sense.
    """
    if len(data) > MAX_BYTES:
        raise CodecError(f"a workflow has at most {MAX_BYTES} bytes", remedy="split it into tasks")
    return check_workflow(from_bytes(Workflow, data))


def _refuse(cause: str, step: str) -> FlowError:
    return FlowError(cause, remedy=_REMEDY, step=step[:64])


def _parameter(step: Step, name: str) -> Value:
    return step.parameters.get(name) if isinstance(step.parameters, dict) else None


def _check_step(step: Step, before: dict[str, Step], workflow: Workflow) -> None:
    members = step.members
    if len(step.parties) < 2 or len(dict.fromkeys(members)) != len(members):
        raise _refuse("a step has two or more different parties", step.id)
    if not isinstance(step.parameters, dict):
        raise _refuse("parameters are a map", step.id)
    if step.helper is not None and step.helper != workflow.coordinator:
        raise _refuse("the helper of a step is the workflow's coordinator", step.id)
    if not step.receivers or any(r not in step.parties for r in step.receivers):
        raise _refuse("the receivers of a step are one or more of its parties with data", step.id)
    bringing = [item.party for item in step.inputs]
    if bringing != list(step.parties):
        raise _refuse("each party brings one input, in the order of the parties", step.id)
    for item in step.inputs:
        # Whose it is the ledger says: a dataset that was handed over keeps its path.
        if DatasetName.parse(item.dataset).version is None:
            raise _refuse("an input names a dataset with a version", step.id)
        if not item.columns or len(dict.fromkeys(item.columns)) != len(item.columns):
            raise _refuse("an input names its columns, each once", step.id)
        # One spelling alone, for what is counted by a grant's name.
        if item.grant is not None and not _GRANT.fullmatch(item.grant):
            raise _refuse("an input names its grant by 64 hexadecimal digits in lower case", step.id)
        if item.grant is None and item.party != workflow.initiator:
            raise _refuse(f"the use of {item.party}'s data needs a grant", step.id)
    if step.match is not None:
        _check_match(step, before)


def _check_match(step: Step, before: dict[str, Step]) -> None:
    if step.engine != "mpc" or step.operation in HIDDEN:
        raise _refuse("this step aligns no rows and takes no match", step.id)
    earlier = before.get(step.match or "")
    if earlier is None or earlier.operation != "intersection":
        raise _refuse("match names an earlier intersection", step.id)
    if any(p not in earlier.receivers for p in step.parties):
        raise _refuse("every party of the step must have received the intersection it aligns by", step.id)
    if any(earlier.input_of(i.party).dataset != i.dataset for i in step.inputs):  # type: ignore[union-attr]
        raise _refuse("the step and the intersection it aligns by must use the same datasets", step.id)
    if _parameter(step, "keys") is None or _parameter(step, "keys") != _parameter(earlier, "keys"):
        raise _refuse("the step and the intersection it aligns by must name the same keys", step.id)


def _check_figures(step: Step, before: dict[str, Step]) -> None:
    """Two sets of figures about one institution's data differ by their value alone: else one could be had of another.

    By other groups, keys, matches or minimums, what one hides the difference of both would open. Figures of other tasks
    are not seen here: each costs a use of the grant, and the provider counts them.
    """
    if step.operation not in _FIGURES:
        return
    granted = {item.dataset for item in step.inputs if item.grant is not None}
    for earlier in before.values():
        if earlier.operation not in _FIGURES or granted.isdisjoint(item.dataset for item in earlier.inputs):
            continue
        same = [
            _parameter(step, name) == _parameter(earlier, name) for name in ("keys", "group", "groups", "minimum_count")
        ]
        # The rows of a hidden match follow from what is brought: other rows of the asker's would be another match.
        brought = [item.dataset for item in step.inputs] == [item.dataset for item in earlier.inputs]
        alike = (step.operation, step.match) == (earlier.operation, earlier.match) and all(same) and brought
        if not alike or all(_parameter(step, name) == _parameter(earlier, name) for name in ("value", "values")):
            raise _refuse(f"figures of this step could be subtracted from those of {earlier.id}", step.id)


def check_workflow(workflow: Workflow) -> Workflow:
    """The same workflow if it is sound.

    Raises:
        FlowError: no steps or too many, doubled ids, a party without its input, an output for a party that
            takes no part, data of another institution without a grant, a match that is not earlier, figures that
            could be subtracted from one another.
    """
    if not 1 <= len(workflow.steps) <= MAX_STEPS:
        raise FlowError(f"a workflow has 1 to {MAX_STEPS} steps", remedy=_REMEDY)
    before: dict[str, Step] = {}
    for step in workflow.steps:
        if step.id in before or not 1 <= len(step.id) <= 64:
            raise _refuse("step ids are 1 to 64 letters and each is used once", step.id)
        _check_step(step, before, workflow)
        _check_figures(step, before)
        before[step.id] = step
    return workflow
