"""The gate lets through what is granted and refuses everything else, each by the name of its check."""

from __future__ import annotations

import dataclasses
import time

import pyarrow as pa
import pytest
from gate_world import PATHS, GateWorld

from fondaco.core.names import DatasetName
from fondaco.errors import GateRefused
from fondaco.flow.model import Input
from fondaco.ledger.contracts.catalog import messages as catalog
from fondaco.ledger.contracts.grants import messages as grants
from fondaco.ledger.contracts.identity import messages as identity
from fondaco.ledger.contracts.tasks import messages as tasks
from fondaco.vault.sources import CsvSource


@pytest.fixture
def world(tmp_path):
    made = GateWorld(tmp_path / "world")
    yield made
    made.close()


@pytest.fixture
def started(world):
    grant = world.grant()
    step = world.step(grant)
    task = world.running(world.workflow(step))
    return grant, step, task


def refused(world, task: str, step, check: str, *, match=None) -> GateRefused:
    with pytest.raises(GateRefused) as caught:
        world.gate.open(world.chain.task(task), step, match)
    assert caught.value.check == check, caught.value.diagnostics()
    assert any(entry.event == "gate refused" for entry in world.journal.of(task))
    return caught.value


def test_a_granted_use_gets_the_granted_columns_alone(world, started) -> None:
    _grant, step, task = started
    opened = world.gate.open(world.chain.task(task), step, None)
    assert opened.table.column_names == ["k"]
    assert opened.table.num_rows == 200
    assert [c.name for c in opened.columns] == ["k"]


def test_a_grant_revoked_while_the_task_runs_is_refused(world, started) -> None:
    grant, step, task = started
    world.send(grants.RevokeGrant(grant=bytes.fromhex(grant), reason=""), world.parties["holder"].users["reviewer"])
    refused(world, task, step, "status")


def test_an_expired_grant_is_refused_by_this_nodes_own_clock(world, started) -> None:
    _grant, step, task = started
    world.now = lambda: time.time() + 3601
    # The task's own deadline is nearer than the grant's, so it is what refuses first.
    refused(world, task, step, "task")


def test_an_expired_grant_is_refused(world) -> None:
    step = world.step(world.grant(expires=int(time.time()) + 100))
    task = world.running(world.workflow(step))
    world.now = lambda: time.time() + 200
    refused(world, task, step, "expiry")


def test_a_ledger_not_heard_of_is_refused(world, started) -> None:
    _grant, step, task = started
    world.heard = lambda: time.monotonic() - 31
    refused(world, task, step, "freshness")


def test_a_task_that_does_not_run_is_refused(world) -> None:
    step = world.step(world.grant())
    task = world.propose(world.workflow(step))
    refused(world, task, step, "task")


def test_another_attempt_is_refused(world, started) -> None:
    _grant, step, task = started
    view = dataclasses.replace(world.chain.task(task), attempt=2)
    with pytest.raises(GateRefused, match="this attempt"):
        world.gate.open(view, step, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": {"keys": ["w"]}},
        {"operation": "intersection", "engine": "mpc"},
        {"receivers": ("asker", "holder")},
        {"id": "two"},
        {"helper": "coord"},
    ],
)
def test_a_step_that_is_not_the_pinned_one_is_refused(world, started, changes) -> None:
    _grant, step, task = started
    refused(world, task, dataclasses.replace(step, **changes), "workflow")


def test_more_columns_than_pinned_are_refused(world, started) -> None:
    grant, step, task = started
    more = Input(party="holder", dataset=PATHS["holder"] + "@1", columns=("k", "v", "w"), grant=grant)
    refused(world, task, dataclasses.replace(step, inputs=(step.inputs[0], more)), "workflow")


@pytest.mark.parametrize(
    ("parameters", "check"),
    [
        ({"keys": ["v"], "value": {"party": "holder", "column": "v"}}, "keys"),
        ({"keys": ["k", "v"], "value": {"party": "holder", "column": "v"}}, "keys"),
        ({"keys": ["k"], "value": {"party": "holder", "column": "k"}}, "columns"),
        ({"keys": ["k"], "group": {"party": "holder", "column": "k"}}, "columns"),
        ({"keys": ["k"], "left": {"party": "holder", "column": "k"}}, "columns"),
        ({"keys": ["k"], "right": {"party": "holder", "column": "k"}}, "columns"),
        ({"value": "k"}, "columns"),
        ({}, "columns"),
    ],
)
def test_keys_are_not_computed_with_and_columns_not_matched_on(world, parameters, check) -> None:
    """The contract cannot read parameters; the gate can, and is the last to look."""
    grant = world.grant()
    more = Input(party="holder", dataset=PATHS["holder"] + "@1", columns=("k", "v"), grant=grant)
    step = world.step(grant, engine="mpc", operation="statistics", helper="coord", parameters=parameters)
    step = dataclasses.replace(step, inputs=(step.inputs[0], more))
    refused(world, world.running(world.workflow(step)), step, check)


def test_keys_align_and_columns_are_computed_with(world) -> None:
    grant = world.grant()
    more = Input(party="holder", dataset=PATHS["holder"] + "@1", columns=("k", "v"), grant=grant)
    step = world.step(
        grant, engine="mpc", operation="statistics", helper="coord",
        parameters={"keys": ["k"], "value": {"party": "holder", "column": "v"}},
    )  # fmt: skip
    step = dataclasses.replace(step, inputs=(step.inputs[0], more))
    opened = world.gate.open(world.chain.task(world.running(world.workflow(step))), step, None)
    assert opened.table.column_names == ["k", "v"]


def test_a_workflow_other_than_the_pinned_one_is_refused(world, started) -> None:
    _grant, step, task = started
    view = world.chain.task(task)
    other = dataclasses.replace(view, workflow=dataclasses.replace(view.workflow, title="another"))
    with pytest.raises(GateRefused, match="pinned"):
        world.gate.open(other, step, None)


def test_heads_that_hide_what_the_workflow_does_are_refused(world) -> None:
    """The proposer tells the ledger of a harmless step and pins the bytes of another."""
    grant = world.grant()
    harmless, real = world.step(grant), world.step(grant, receivers=("asker", "holder"), parameters={"keys": ["v"]})
    from fondaco.flow.heads import heads
    from fondaco.ledger.contracts.kit import derive

    workflow = world.workflow(real)
    msg = tasks.Propose(
        workflow=workflow.bytes, coordinator="coord", parties=workflow.parties, steps=heads(world.workflow(harmless)),
        purpose=workflow.purpose, deadline=int(time.time()) + 3000,
    )  # fmt: skip
    task = derive("task", world.send(msg, world.parties["asker"].users["analyst"]).tx).hex()
    for name in workflow.parties:
        world.send(tasks.Accept(task=bytes.fromhex(task)), world.parties[name].node)
    world.send(tasks.Run(task=bytes.fromhex(task), attempt=1), world.parties["coord"].node)
    refused(world, task, real, "workflow")


def test_an_analyst_whose_key_was_revoked_is_refused(world, started) -> None:
    _grant, step, task = started
    asker = world.parties["asker"]
    world.send(identity.Revoke(organisation="asker", key=asker.users["analyst"].public.raw), asker.admin)
    refused(world, task, step, "holder")


def test_a_withdrawn_dataset_is_refused(world, started) -> None:
    _grant, step, task = started
    world.send(catalog.Withdraw(path=PATHS["holder"], version=1), world.parties["holder"].users["steward"])
    refused(world, task, step, "dataset")


def test_a_vault_that_holds_something_else_is_refused(world, started) -> None:
    _grant, step, task = started
    other = world.folder / "other.csv"
    other.write_text("k,v,w\nx,1,1\n")
    cid = world.vault.import_source(CsvSource(other))
    world.vault._db.execute("UPDATE name SET id = ?", (world.vault._id(cid),))
    assert world.vault.resolve(DatasetName.parse(PATHS["holder"])) == cid
    refused(world, task, step, "commitment")


def test_terms_about_few_rows_are_kept(tmp_path) -> None:
    world = GateWorld(tmp_path / "w", minimum_rows=50, minimum_count=10)
    grant = world.grant()
    step = world.step(grant)
    task = world.running(world.workflow(step))
    world.gate.open(world.chain.task(task), step, None)
    refused(world, task, step, "minimum-rows", match=pa.table({"k": ["a"] * 49}))
    numbers = world.step(grant, engine="mpc", operation="statistics", helper="coord", parameters={"keys": ["k"], "minimum_count": 9})
    task = world.running(world.workflow(numbers))
    refused(world, task, numbers, "minimum-count")
    enough = world.step(grant, engine="mpc", operation="statistics", helper="coord", parameters={"keys": ["k"], "minimum_count": 10})
    task = world.running(world.workflow(enough))
    assert world.gate.open(world.chain.task(task), enough, None).table.num_rows == 200
    rows = world.step(grant, engine="mpc", operation="arithmetic", helper="coord", parameters={"keys": ["k"], "minimum_count": 10})
    task = world.running(world.workflow(rows))
    refused(world, task, rows, "minimum-count")
    world.close()


def test_a_helper_takes_part_only_in_what_is_pinned(world, started) -> None:
    _grant, step, task = started
    world.gate.check_program(world.chain.task(task), step)
    with pytest.raises(GateRefused):
        world.gate.check_program(world.chain.task(task), dataclasses.replace(step, id="two"))


def test_nobody_else_reads_the_vault() -> None:
    from pathlib import Path

    import fondaco

    root = Path(fondaco.__file__).parent
    users = [p for p in root.rglob("*.py") if "vault.reader" in p.read_text() or "vault import reader" in p.read_text()]
    assert [p.relative_to(root).as_posix() for p in users] == ["exchange/gate.py"]
