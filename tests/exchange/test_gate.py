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
    first, second = world.matched(grant)
    task = world.running(world.workflow(first, second))
    world.report(task, "one")
    opened = world.gate.open(world.chain.task(task), second, pa.table({"k": ["key1"]}))
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


def pairs(rows: int) -> pa.Table:
    return pa.table({"k": [f"key{i}" for i in range(rows)]})


@pytest.mark.parametrize(("asked", "allowed"), [(9, False), (10, True), (None, False)])
def test_terms_about_small_groups_are_kept(tmp_path, asked, allowed) -> None:
    world = GateWorld(tmp_path / "w", minimum_count=10)
    parameters = {"keys": ["k"], "value": {"party": "holder", "column": "v"}}
    if asked is not None:
        parameters["minimum_count"] = asked
    first, second = world.matched(world.grant(), parameters=parameters)
    task = world.running(world.workflow(first, second))
    world.report(task, "one")
    if allowed:
        assert world.gate.open(world.chain.task(task), second, pairs(200)).table.num_rows == 200
    else:
        refused(world, task, second, "minimum-count", match=pairs(200))
    world.close()


def test_terms_about_small_groups_refuse_what_opens_rows(tmp_path) -> None:
    world = GateWorld(tmp_path / "w", minimum_count=10)
    parameters = {
        "keys": ["k"], "minimum_count": 10, "operation": "add", "left": {"party": "holder", "column": "v"},
        "right": {"party": "asker", "column": "v"},
    }  # fmt: skip
    first, second = world.matched(world.grant(), operation="arithmetic", parameters=parameters)
    task = world.running(world.workflow(first, second))
    world.report(task, "one")
    refused(world, task, second, "minimum-count", match=pairs(200))
    world.close()


def few(refusal: GateRefused) -> None:
    """What a party says aloud of a refusal goes to the ledger: it must not tell of the data."""
    assert "row" not in refusal.cause.replace("/holder/d/rows", "").replace("/asker/d/rows", "")
    assert not any(digit in refusal.diagnostics() for digit in ("49", "50"))


@pytest.mark.parametrize(("rows", "allowed"), [(49, False), (50, True)])
def test_a_match_of_few_rows_is_not_computed_on(tmp_path, rows, allowed) -> None:
    world = GateWorld(tmp_path / "w", minimum_rows=50)
    first, second = world.matched(world.grant())
    task = world.running(world.workflow(first, second))
    world.report(task, "one")
    if allowed:
        world.gate.open(world.chain.task(task), second, pairs(rows))
    else:
        few(refused(world, task, second, "terms", match=pairs(rows)))
        assert any("fewer than 50 rows" in entry.cause for entry in world.journal.of(task))
    world.close()


@pytest.mark.parametrize(("rows", "allowed"), [(0, False), (49, False), (50, True)])
def test_a_match_of_few_rows_is_not_kept_by_who_receives_it(tmp_path, rows, allowed) -> None:
    world = GateWorld(tmp_path / "w", minimum_rows=50)
    first, second = world.matched(world.grant())
    task = world.running(world.workflow(first, second))
    view = world.chain.task(task)
    if allowed:
        world.gate.check_match(view, first, rows)
    else:
        with pytest.raises(GateRefused) as caught:
            world.gate.check_match(view, first, rows)
        assert caught.value.check == "terms"
        few(caught.value)
        assert any("fewer than 50 rows" in entry.cause for entry in world.journal.of(task))
    world.close()


def test_data_of_few_rows_is_not_used(tmp_path) -> None:
    world = GateWorld(tmp_path / "w", rows=49, minimum_rows=50)
    step = world.step(world.grant())
    few(refused(world, world.running(world.workflow(step)), step, "terms"))
    world.close()


def test_a_step_without_the_match_that_it_names_is_refused(world) -> None:
    """The coordinator orders the second step and not the first: rows would be aligned by their place in the file."""
    first, second = world.matched(world.grant())
    task = world.running(world.workflow(first, second))
    world.report(task, "one")
    refused(world, task, second, "match")


def test_a_match_that_the_step_does_not_name_is_refused(world, started) -> None:
    _grant, step, task = started
    refused(world, task, step, "match", match=pairs(200))


def test_a_step_whose_earlier_step_this_node_has_not_reported_is_refused(world) -> None:
    first, second = world.matched(world.grant())
    task = world.running(world.workflow(first, second))
    world.report(task, "one", by="asker")
    refused(world, task, second, "order", match=pairs(200))


def test_a_helper_helps_once_and_in_order(world) -> None:
    first, second = world.matched(world.grant())
    late = dataclasses.replace(second, id="three", operation="arithmetic")
    task = world.running(world.workflow(first, second, late))
    gate = world.gate_of("coord")
    with pytest.raises(GateRefused) as caught:
        gate.check_program(world.chain.task(task), late)
    assert caught.value.check == "order"
    gate.check_program(world.chain.task(task), second)
    with pytest.raises(GateRefused) as caught:
        gate.check_program(world.chain.task(task), second)
    assert caught.value.check == "once"


def test_a_step_is_opened_once(world, started) -> None:
    _grant, step, task = started
    world.gate.open(world.chain.task(task), step, None)
    for _again in range(2):
        refused(world, task, step, "once")


def test_a_step_that_was_opened_stays_so_when_the_node_starts_again(world, started) -> None:
    _grant, step, task = started
    world.gate.open(world.chain.task(task), step, None)
    world.restart()
    refused(world, task, step, "once")


def test_a_refused_step_is_not_counted_as_opened(world, started) -> None:
    _grant, step, task = started
    world.heard = lambda: time.monotonic() - 31
    refused(world, task, step, "freshness")
    world.heard = time.monotonic
    assert world.gate.open(world.chain.task(task), step, None).table.num_rows == 200


def test_a_step_that_this_node_has_reported_is_refused(world, started) -> None:
    _grant, step, task = started
    world.report(task, "one")
    refused(world, task, step, "once")


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


@pytest.mark.parametrize(
    "terms", [{"minimum_count": 10}, {"minimum_rows": 10}, {"minimum_count": 10, "minimum_rows": 3}]
)
@pytest.mark.parametrize(("asked", "allowed"), [(9, False), (10, True), (None, False)])
def test_a_hidden_match_keeps_both_minimums_in_its_circuit(tmp_path, terms, asked, allowed) -> None:
    """Nobody sees how many rows match, so the terms' least number of rows is the circuit's too."""
    world = GateWorld(tmp_path / "w", **terms)
    parameters = {"keys": ["k"], "values": [{"party": "holder", "column": "v"}]}
    if asked is not None:
        parameters["minimum_count"] = asked
    step = world.hidden(world.grant(), parameters=parameters)
    task = world.running(world.workflow(step))
    if allowed:
        opened = world.gate.open(world.chain.task(task), step, None)
        assert opened.table.column_names == ["k", "v"]
    else:
        refused(world, task, step, "minimum-count")
    world.close()


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"parameters": {"keys": ["k", "w"], "values": []}}, "keys"),
        ({"parameters": {"keys": ["k", "v"], "values": []}}, "keys"),
        ({"parameters": {"keys": ["k"], "values": [{"party": "holder", "column": "w"}]}}, "columns"),
        ({"parameters": {"keys": ["k"], "values": [{"party": "holder", "column": "k"}]}}, "columns"),
        ({"parameters": {"keys": ["k"]}, "operation": "pooled-statistics"}, "operation"),
    ],
)
def test_a_hidden_match_uses_granted_keys_and_values_alone(world, changes, check) -> None:
    """The contract knows the columns that are brought; what is done with them the gate reads in the parameters."""
    step = world.hidden(world.grant(), **changes)
    if check == "operation":
        with pytest.raises(AssertionError, match="grant"):
            world.running(world.workflow(step))
        return
    refused(world, world.running(world.workflow(step)), step, check)
