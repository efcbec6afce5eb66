"""From what a person wrote to a workflow that can be pinned: versions, helpers and grants are filled in.

Also explains, before anything runs: which grants are missing and from whom, the price, what each party would
learn, and what it is expected to cost. Reads the public ledger alone.
"""

from __future__ import annotations

import dataclasses
import shlex
import tomllib
from pathlib import Path
from typing import Any, Protocol

from fondaco.core.codec import Value
from fondaco.core.models import Column
from fondaco.core.names import DatasetName
from fondaco.engines.base import OPERATIONS, estimate, leakage, reason
from fondaco.engines.checks import check_job
from fondaco.errors import FlowError
from fondaco.flow.heads import operation_name
from fondaco.flow.model import Input, Step, Workflow, check_workflow
from fondaco.flow.uses import Uses, column_uses
from fondaco.ledger.contracts.catalog.messages import Dataset
from fondaco.ledger.contracts.grants.messages import Grant, LookupLimits

_REMEDY = "correct the workflow; see docs/guides/run-a-task.md"
_STEP = {"id", "engine", "operation", "parties", "receivers", "match", "helper", "parameters", "inputs"}
_MAX_BYTES = 256 * 1024


_Wanted = tuple[str, str, str, tuple[str, ...], tuple[str, ...]]
"""Engine, operation, purpose, parties and receivers of a use."""


class Market(Protocol):
    """What the planner reads."""

    def newest(self, name: DatasetName) -> Dataset:
        """The dataset of a name, its newest version unless one is given."""

    def grants_of(self, key: bytes) -> list[Grant]:
        """The grants that a key holds."""

    def limits_of(self, grant: bytes) -> LookupLimits | None:
        """What a grant says of lookups, if anything."""


def read_document(path: Path) -> dict[str, Any]:
    """A workflow as people write it: TOML.

    Raises:
        FlowError: missing, too large, or not TOML.
    """
    try:
        data = path.read_bytes()
        if len(data) > _MAX_BYTES:
            raise FlowError("the workflow file is too large", remedy=_REMEDY, file=str(path))
        return tomllib.loads(data.decode("utf-8"))
    except OSError as fault:
        raise FlowError("the workflow file cannot be read", remedy=_REMEDY, file=str(path)) from fault
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise FlowError(f"the workflow file is not TOML ({fault})", remedy=_REMEDY, file=str(path)) from fault


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise FlowError(f"{what} is missing or not text", remedy=_REMEDY)
    return value


def _texts(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise FlowError(f"{what} is not a list of names", remedy=_REMEDY)
    return tuple(value)


def _plain(value: Any) -> Value:
    """Parameters may hold what the canonical codec knows; a float is refused by name."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, bool | int | str):
        return value
    raise FlowError(f"a {type(value).__name__} cannot be a parameter", remedy="write whole numbers or text")


def _check(step: Step, declared: dict[str, tuple[Column, ...]]) -> None:
    """Refuse now what the engine would refuse once it runs.

    Raises:
        FlowError: a receiver that is no party, a helper that is one. EngineError: what the engine says.
    """
    strangers = [receiver for receiver in step.receivers if receiver not in step.parties]
    if strangers:
        raise FlowError(f"{strangers[0]} receives but is no party with data", remedy=_REMEDY, step=step.id)
    if step.helper in step.parties:
        raise FlowError(
            f"{step.helper} brings data to this step and cannot help with it too",
            remedy='name another coordinator (coordinator = "…" above the steps), or write helper = "none" in the step',
            step=step.id,
        )
    for party in step.parties:
        check_job(step.job(declared, party=party, task="", attempt=0, seconds=0))


@dataclasses.dataclass(frozen=True)
class Missing:
    """A use that no grant covers.

    `other` is another version of the dataset that a grant of ours covers, if any; `most_keys` for how many keys a grant
    of ours that would else do lets a lookup be.
    """

    step: str
    provider: str
    dataset: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    operation: str
    parties: tuple[str, ...]
    receivers: tuple[str, ...]
    other: str
    most_keys: int

    def request(self, purpose: str, coordinator: str, price: int) -> str:
        """The verb that asks for it, at the dataset's price."""
        columns = f"/{','.join(self.columns)}" if self.columns else ""
        words = ["fondaco", "request", f"{self.dataset}={','.join(self.keys)}{columns}"]
        words += ["--operation", self.operation, "--purpose", purpose]
        for party in self.parties:
            words += ["--party", party]
        for receiver in self.receivers:
            words += ["--receiver", receiver]
        return shlex.join([*words, "--coordinator", coordinator, "--max-price", str(price)])


@dataclasses.dataclass(frozen=True)
class Plan:
    """A workflow, what it lacks, and the datasets that it uses."""

    workflow: Workflow
    missing: tuple[Missing, ...]
    datasets: dict[str, Dataset]
    grants: tuple[Grant, ...]
    limits: dict[str, LookupLimits] = dataclasses.field(default_factory=dict)
    """What grants (by id in hex) say of lookups."""


class Planner:
    """Plans for one user of one institution."""

    def __init__(self, *, org: str, key: bytes, coordinator: str, market: Market, now: int) -> None:
        self._org = org
        self._key = key
        self._coordinator = coordinator
        self._market = market
        self._now = now

    def plan(self, document: dict[str, Any]) -> Plan:
        """The plan of a document.

        Raises:
            FlowError: the document is not a workflow. ContractError: a dataset is not published.
        """
        unknown = sorted(set(document) - {"title", "purpose", "coordinator", "steps"})
        if unknown:
            raise FlowError(f"unknown field {unknown[0]}", remedy=_REMEDY)
        purpose = _text(document.get("purpose"), "purpose")
        coordinator = document.get("coordinator", self._coordinator)
        entries = document.get("steps")
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise FlowError("steps is a list of tables", remedy=_REMEDY)
        missing: list[Missing] = []
        used: dict[bytes, Grant] = {}
        datasets: dict[str, Dataset] = {}
        steps = tuple(self._step(e, purpose, coordinator, missing, used, datasets) for e in entries)
        workflow = Workflow(
            title=str(document.get("title", "")),
            purpose=purpose,
            initiator=self._org,
            coordinator=coordinator,
            steps=steps,
        )
        check_workflow(_as_if_granted(workflow))
        said = {grant.id.hex(): self._market.limits_of(grant.id) for grant in used.values()}
        limits = {grant: one for grant, one in said.items() if one is not None}
        return Plan(workflow, tuple(missing), datasets, tuple(used.values()), limits)

    def _step(
        self,
        entry: dict[str, Any],
        purpose: str,
        coordinator: str,
        missing: list[Missing],
        relied: dict[bytes, Grant],
        datasets: dict[str, Dataset],
    ) -> Step:
        unknown = sorted(set(entry) - _STEP)
        if unknown:
            raise FlowError(f"unknown field {unknown[0]} in a step", remedy=_REMEDY)
        engine, operation = _text(entry.get("engine"), "engine"), _text(entry.get("operation"), "operation")
        if operation not in OPERATIONS.get(engine, ()):
            raise FlowError(f"no engine does {engine}.{operation}", remedy="see docs/concepts/engines.md")
        step_id = _text(entry.get("id"), "a step's id")
        parties, receivers = (
            _texts(entry.get("parties"), "parties"),
            _texts(entry.get("receivers"), "receivers"),
        )
        helper = entry.get("helper", coordinator if engine == "mpc" else None)
        helpers = () if helper in (None, "none") else (str(helper),)
        inputs: list[Input] = []
        written = entry.get("inputs")
        for party in parties:
            item = written.get(party) if isinstance(written, dict) else None
            if not isinstance(item, dict):
                raise FlowError(f"the step has no input of {party}", remedy=_REMEDY, step=step_id)
            dataset = self._market.newest(DatasetName.parse(_text(item.get("dataset"), "dataset")))
            name = f"{dataset.path}@{dataset.version}"
            columns = _texts(item.get("columns"), "columns")
            datasets[name] = dataset
            pinned = None if item.get("grant") is None else _text(item["grant"], "grant")
            made = Input(party=party, dataset=name, columns=columns, grant=pinned)
            if party != self._org and pinned is None:
                everyone = tuple(dict.fromkeys((*parties, *helpers, coordinator)))
                used = column_uses(engine, entry.get("parameters", {}), party, columns)
                asked = _asked_keys(engine, entry.get("parameters", {}))
                grant = self._covering(dataset, (engine, operation, purpose, everyone, receivers), used, asked)
                if grant is None:
                    missing.append(
                        Missing(
                            step=step_id,
                            provider=dataset.owner,
                            dataset=name,
                            keys=used.keys,
                            columns=used.columns,
                            operation=operation_name(engine, operation),
                            parties=everyone,
                            receivers=receivers,
                            other=self._other(dataset, (engine, operation, purpose, everyone, receivers), used, asked),
                            most_keys=self._limited(
                                dataset, (engine, operation, purpose, everyone, receivers), used, asked
                            ),
                        )
                    )
                else:
                    relied[grant.id] = grant
                    made = dataclasses.replace(made, grant=grant.id.hex())
            inputs.append(made)
        step = Step(
            id=step_id,
            engine=engine,
            operation=operation,
            parameters=_plain(entry.get("parameters", {})),
            parties=parties,
            helper=helpers[0] if helpers else None,
            inputs=tuple(inputs),
            match=entry.get("match"),
            receivers=receivers,
        )
        _check(step, {i.party: tuple(map(datasets[i.dataset].schema.column, i.columns)) for i in inputs})
        return step

    def _other(self, dataset: Dataset, wanted: _Wanted, used: Uses, asked: int) -> str:
        """Another version of a dataset that a grant of ours covers; the newest such, or nothing."""
        versions = {grant.version for grant in self._market.grants_of(self._key) if grant.path == dataset.path}
        for version in sorted(versions - {dataset.version}, reverse=True):
            if self._covering(dataclasses.replace(dataset, version=version), wanted, used, asked) is not None:
                return f"{dataset.path}@{version}"
        return ""

    def _limited(self, dataset: Dataset, wanted: _Wanted, used: Uses, asked: int) -> int:
        """For how many keys a grant allows a lookup that is for more and that it would else cover; 0: there is none."""
        found = self._covering(dataset, wanted, used, 0) if asked else None
        limits = None if found is None else self._market.limits_of(found.id)
        return 0 if limits is None else limits.most_keys

    def _covering(self, dataset: Dataset, wanted: _Wanted, used: Uses, asked: int) -> Grant | None:
        """An active grant that covers a use, of so many keys if it is a lookup; the one that ends first."""
        engine, operation, purpose, parties, receivers = wanted
        name = operation_name(engine, operation)
        found = [
            grant
            for grant in self._market.grants_of(self._key)
            if (grant.path, grant.version) == (dataset.path, dataset.version)
            and grant.status == "active"
            and grant.uses_left > 0
            and self._now < grant.expires
            and grant.purpose == purpose
            and name in grant.operations
            and used.covered(grant.keys, grant.columns)
            and all(p in grant.parties for p in parties)
            and all(r in grant.receivers for r in receivers)
            and self._allows(grant, asked)
        ]
        return min(found, key=lambda grant: grant.expires, default=None)

    def _allows(self, grant: Grant, asked: int) -> bool:
        """Whether a grant lets one lookup be for so many keys; one that does not say leaves it to its provider."""
        limits = self._market.limits_of(grant.id) if asked else None
        return limits is None or asked <= limits.most_keys


def _as_if_granted(workflow: Workflow) -> Workflow:
    """The workflow as it will be once what is missing is granted: to refuse the rest of it before anyone is asked."""
    steps = []
    for step in workflow.steps:
        inputs = tuple(
            dataclasses.replace(item, grant="0" * 64)
            if item.grant is None and item.party != workflow.initiator
            else item
            for item in step.inputs
        )
        steps.append(dataclasses.replace(step, inputs=inputs))
    return dataclasses.replace(workflow, steps=tuple(steps))


def _asked_keys(engine: str, parameters: Any) -> int:
    """For how many keys a lookup is; 0 for what is none."""
    asked = parameters.get("most_keys", 1) if engine == "pir" and isinstance(parameters, dict) else 0
    return asked if isinstance(asked, int) else 0


def _allowed(plan: Plan, step: Step) -> list[str]:
    """What the grants that a lookup relies on say of its keys."""
    allowed = []
    for item in step.inputs:
        limits = plan.limits.get(item.grant or "")
        if limits is not None:
            a_day = f", and {limits.keys_a_day} in 24 hours" if limits.keys_a_day else ""
            allowed.append(f"{item.party} lets one lookup be for {limits.most_keys} keys{a_day}")
    return allowed


def explain(plan: Plan) -> dict[str, Any]:
    """The plan in words and numbers, ready for JSON."""
    steps: list[dict[str, Any]] = []
    for step in plan.workflow.steps:
        each = [plan.datasets[item.dataset].rows or 0 for item in step.inputs]
        rows = max(each, default=0)
        cost = estimate(step.engine, step.operation, rows, members=len(step.members), receivers=len(step.receivers))
        steps.append(
            {
                "step": step.id,
                "operation": operation_name(step.engine, step.operation),
                "program": step.program().hex(),
                "parties": list(step.parties),
                "helper": step.helper or "",
                "receivers": list(step.receivers),
                "seconds": round(cost.seconds, 1),
                "memory_mib": cost.memory_mib,
                "network_mib": round(cost.network_mib, 1),
                "learns": list(leakage(step.engine, step.operation, members=len(step.members))),
                "allows": _allowed(plan, step),
                "reason": reason(step.engine, step.operation, step.parameters, each),
            }
        )
    return {
        "purpose": plan.workflow.purpose,
        "initiator": plan.workflow.initiator,
        "coordinator": plan.workflow.coordinator,
        "ready": not plan.missing,
        "missing": [
            {
                "step": m.step,
                "provider": m.provider,
                "dataset": m.dataset,
                "keys": list(m.keys),
                "columns": list(m.columns),
                "operation": m.operation,
                "parties": list(m.parties),
                "receivers": list(m.receivers),
                "granted_version": m.other,
                "granted_keys": m.most_keys or None,
                "ask": m.request(
                    plan.workflow.purpose, plan.workflow.coordinator, plan.datasets[m.dataset].terms.price
                ),
            }
            for m in plan.missing
        ],
        "price": sum(grant.price for grant in plan.grants)
        + sum(plan.datasets[name].terms.price for name in dict.fromkeys(m.dataset for m in plan.missing)),
        "steps": steps,
    }
