"""Each check of the gate where nothing else could refuse: the ledger itself holds what no contract would let in."""

from __future__ import annotations

import dataclasses
import time

import pytest
from gate_world import GateWorld

from fondaco.core.messages import from_bytes
from fondaco.errors import FondacoError, GateRefused, ProofError
from fondaco.ledger.contracts.catalog import keys as catalog_keys
from fondaco.ledger.contracts.catalog.messages import Dataset
from fondaco.ledger.contracts.grants import keys as grant_keys
from fondaco.ledger.contracts.grants.messages import Grant
from fondaco.ledger.contracts.identity import keys as identity_keys
from fondaco.ledger.contracts.identity.messages import Organisation, User
from fondaco.ledger.contracts.tasks import keys as task_keys
from fondaco.ledger.contracts.tasks.messages import Task


@pytest.fixture
def world(tmp_path):
    made = GateWorld(tmp_path / "world")
    yield made
    made.close()


@pytest.fixture
def started(world):
    grant = world.grant()
    step = world.step(grant)
    return grant, step, world.running(world.workflow(step))


def places(world, grant: str, task: str) -> dict[type, bytes]:
    return {
        Task: task_keys.task(bytes.fromhex(task)),
        Grant: grant_keys.grant(bytes.fromhex(grant)),
        Dataset: catalog_keys.dataset("/holder/d/rows", 1),
        User: identity_keys.user(world.parties["asker"].users["analyst"].public.raw),
        Organisation: identity_keys.organisation("asker"),
    }


def proven(world, kind: type, key: bytes):
    world.ledger.wait_provable(5.0)
    return from_bytes(kind, world.ledger.prove([key]).states[0].value)


def forge(world, started, kind: type, **changes) -> None:
    grant, _step, task = started
    key = places(world, grant, task)[kind]
    world.forge(key, proven(world, kind, key), **changes)


@pytest.mark.parametrize(
    ("kind", "changes", "check"),
    [
        (Grant, {"holder_key": bytes(32)}, "holder"),
        (Grant, {"status": "revoked"}, "status"),
        (Grant, {"status": "expired"}, "status"),
        (Grant, {"path": "/holder/d/other"}, "dataset"),
        (Grant, {"provider": "asker"}, "dataset"),
        (Grant, {"version": 2}, "dataset"),
        (Grant, {"purpose": "other"}, "purpose"),
        (Grant, {"operations": ("mpc.statistics",)}, "operation"),
        (Grant, {"keys": (), "columns": ("k", "v")}, "keys"),
        (Grant, {"parties": ("asker", "holder")}, "parties"),
        (Grant, {"parties": ("holder", "coord")}, "parties"),
        (Grant, {"receivers": ("holder",)}, "receivers"),
        (Task, {"consumed": False}, "uses"),
        (Task, {"accepted": ("asker", "coord")}, "part"),
        (Task, {"status": "failed"}, "task"),
        (Task, {"attempt": 2}, "task"),
        (Task, {"workflow": b"another"}, "workflow"),
        (Task, {"steps": ()}, "workflow"),
        (Task, {"purpose": "other"}, "workflow"),
        (User, {"roles": ("reviewer",)}, "holder"),
        (User, {"organisation": "coord"}, "holder"),
        (User, {"status": "revoked"}, "holder"),
        (Organisation, {"status": "expelled"}, "holder"),
        (Dataset, {"owner": "asker"}, "dataset"),
        (Dataset, {"status": "withdrawn"}, "dataset"),
        (Dataset, {"commitment": bytes(32)}, "commitment"),
    ],
)
def test_each_record_is_looked_at_by_the_gate_itself(world, started, kind, changes, check) -> None:
    _grant, step, task = started
    view = world.chain.task(task)
    forge(world, started, kind, **changes)
    with pytest.raises(GateRefused) as caught:
        world.gate.open(view, step, None)
    assert caught.value.check == check, caught.value.diagnostics()


def test_the_same_records_unchanged_are_let_through(world, started) -> None:
    _grant, step, task = started
    view = world.chain.task(task)
    for kind in (Task, Grant, Dataset, User, Organisation):
        forge(world, started, kind)
    assert world.gate.open(view, step, None).table.num_rows == 200


def test_a_published_schema_that_is_not_the_vaults_is_refused(world, started) -> None:
    _grant, step, task = started
    key = catalog_keys.dataset("/holder/d/rows", 1)
    record = proven(world, Dataset, key)
    wider = dataclasses.replace(record.schema.columns[1], maximum=10**9)
    columns = (record.schema.columns[0], wider, *record.schema.columns[2:])
    world.forge(key, record, schema=dataclasses.replace(record.schema, columns=columns))
    with pytest.raises(GateRefused) as caught:
        world.gate.open(world.chain.task(task), step, None)
    assert caught.value.check == "commitment"


def test_the_blocks_time_ends_a_grant_when_this_nodes_clock_is_slow(world) -> None:
    step = world.step(world.grant(expires=int(time.time()) + 2))
    task = world.running(world.workflow(step))
    world.now = lambda: time.time() - 3600
    while time.time() < world.ledger.status().time // 10**9 + 3:
        time.sleep(0.1)
        if time.time() > world.ledger.status().time // 10**9 + 2:
            world.report(task, "one", by="asker")  # a block later
            break
    with pytest.raises(GateRefused) as caught:
        world.gate.open(world.chain.task(task), step, None)
    assert caught.value.check == "expiry"


def test_no_grant_at_all_is_for_the_initiators_own_data_alone(world, started) -> None:
    _grant, step, task = started
    view = world.chain.task(task)
    for grant, check in ((None, "workflow"), ("00" * 32, "workflow")):
        other = dataclasses.replace(step.inputs[1], grant=grant)
        with pytest.raises(GateRefused) as caught:
            world.gate.open(view, dataclasses.replace(step, inputs=(step.inputs[0], other)), None)
        assert caught.value.check == check


def test_records_without_their_proof_are_not_believed(world, started, monkeypatch) -> None:
    _grant, step, task = started
    view, prove = world.chain.task(task), world.ledger.prove
    changed = {
        "a value": lambda proof: dataclasses.replace(
            proof, states=(dataclasses.replace(proof.states[0], value=proof.states[0].value + b"\0"), *proof.states[1:])
        ),
        "an absence": lambda proof: dataclasses.replace(
            proof, states=(*proof.states[:-1], dataclasses.replace(proof.states[0], key=proof.states[-1].key))
        ),
        "another order": lambda proof: dataclasses.replace(proof, states=proof.states[::-1]),
        "fewer": lambda proof: dataclasses.replace(proof, states=proof.states[:-1]),
        "another header": lambda proof: dataclasses.replace(
            proof,
            anchor=dataclasses.replace(
                proof.anchor, header=dataclasses.replace(proof.anchor.header, app_hash=bytes(32))
            ),
        ),
    }
    for what, change in changed.items():
        monkeypatch.setattr(world.ledger, "prove", lambda keys, change=change: change(prove(keys)))
        with pytest.raises(FondacoError) as caught:
            world.gate.open(view, step, None)
        assert isinstance(caught.value, ProofError) or getattr(caught.value, "check", "") == "proof", what
