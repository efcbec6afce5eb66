"""Hidden queries at the gate: as many keys as the provider says, and an index that is made once."""

from __future__ import annotations

import dataclasses
import time

import pyarrow as pa
import pytest
from gate_world import PATHS, GateWorld

from fondaco.core.messages import from_bytes
from fondaco.core.names import DatasetName
from fondaco.engines.base import PREPARED
from fondaco.engines.pir.parts import BEFORE, as_table, from_table
from fondaco.errors import GateRefused
from fondaco.exchange import gate as gate_module
from fondaco.exchange.preparations import Preparation
from fondaco.flow.model import Input, Workflow
from fondaco.ledger.contracts.grants.messages import Item, LookupLimits, SetLookupLimits
from fondaco.node import chain as chain_module
from fondaco.vault import prepared
from fondaco.vault.sources import CsvSource


@pytest.fixture
def world(tmp_path):
    made = GateWorld(tmp_path / "world", most_keys=10)
    yield made
    made.close()


def lookup(world, parameters, columns=("k", "v")):
    """A lookup that is running: which columns it gives out, a grant names as keys."""
    items = (Item(path=PATHS["holder"], version=1, keys=columns, columns=()),)
    grant = world.grant(items=items, operations=("pir.lookup",))
    asker = Input(party="asker", dataset=PATHS["asker"] + "@1", columns=("k",), grant=None)
    holder = Input(party="holder", dataset=PATHS["holder"] + "@1", columns=columns, grant=grant)
    step = world.step(grant, engine="pir", operation="lookup", parameters=parameters, inputs=(asker, holder))
    return step, world.chain.task(world.running(world.workflow(step)))


@pytest.mark.parametrize("most", [11, 0, True, "ten"])
def test_more_keys_than_the_provider_answers_are_refused(world, most) -> None:
    step, task = lookup(world, {"keys": ["k"], "most_keys": most})
    with pytest.raises(GateRefused, match="at most 10 keys for one use") as caught:
        world.gate.open(task, step, None)
    assert caught.value.check == "most-keys"


def test_a_provider_that_answers_no_key_refuses_every_lookup(tmp_path) -> None:
    world = GateWorld(tmp_path / "w", most_keys=0)
    step, task = lookup(world, {"keys": ["k"]})
    with pytest.raises(GateRefused, match="at most 0 keys"):
        world.gate.open(task, step, None)
    world.close()


def test_an_index_is_kept_once_and_then_no_row_is_read(world, monkeypatch) -> None:
    step, task = lookup(world, {"keys": ["k"], "most_keys": 10})
    opened = world.gate.open(task, step, None)
    assert (opened.table.num_rows, opened.prepared) == (200, {})
    world.gate.keep(task, step, as_table([b"head", b"data"]))
    assert any(entry.event == "index kept" for entry in world.journal.of(task.id))
    monkeypatch.setattr(gate_module, "read_table", None)
    step, task = lookup(world, {"keys": ["k"], "most_keys": 10})
    again = world.gate.open(task, step, None)
    assert again.table.num_rows == 0
    assert [c.name for c in again.columns] == ["k", "v"]
    assert from_table(again.prepared[PREPARED]) == [b"head", b"data"]


def test_an_index_is_for_its_columns_keys_and_batch_alone(world) -> None:
    step, task = lookup(world, {"keys": ["k"], "most_keys": 10})
    world.gate.keep(task, step, as_table([b"index"]))
    for parameters, columns in (
        ({"keys": ["v"], "most_keys": 10}, ("k", "v")),
        ({"keys": ["k"], "most_keys": 10}, ("k",)),
    ):
        other, view = lookup(world, parameters, columns)
        assert world.gate.open(view, other, None).prepared == {}


def test_the_index_of_an_earlier_version_is_given_to_be_renewed(world) -> None:
    step, task = lookup(world, {"keys": ["k"], "most_keys": 10})
    older = world.folder / "older.csv"
    older.write_text("k,v,w\nkey0,0,0\n")
    cid = world.vault.import_source(CsvSource(older))
    world.vault.assign(cid, DatasetName.parse("/holder/d/rows@5"))
    from fondaco.exchange.preparations import find, label

    item = step.input_of("holder")
    prepared.keep(world.vault, world.cid, label(step, item), [b"head", b"matrix"])
    newer = Input(party="holder", dataset=PATHS["holder"] + "@5", columns=item.columns, grant=item.grant)
    assert from_table(find(world.vault, cid, step, newer)[BEFORE]) == [b"head"]


def test_what_no_step_of_ours_prepares_is_not_kept(world) -> None:
    grant = world.grant()
    step = world.step(grant)
    task = world.chain.task(world.running(world.workflow(step)))
    with pytest.raises(GateRefused, match="prepares nothing of our data"):
        world.gate.keep(task, step, pa.table({"part": [b"x"]}))


# -- what the grant says ------------------------------------------------------------------------------------------


def limited(world, most_keys: int, keys_a_day: int = 0) -> None:
    """The holder says what grants from here on allow."""
    limits = LookupLimits(most_keys=most_keys, keys_a_day=keys_a_day)
    world.send(SetLookupLimits(path=PATHS["holder"], limits=limits), world.parties["holder"].users["steward"])


def test_a_grant_says_how_many_keys_and_the_nodes_setting_does_not(world) -> None:
    limited(world, 20)
    step, task = lookup(world, {"keys": ["k"], "most_keys": 20})
    assert world.gate.open(task, step, None).table.num_rows == 200
    step, task = lookup(world, {"keys": ["k"], "most_keys": 21})
    with pytest.raises(GateRefused, match="this grant allows at most 20 keys for one use") as caught:
        world.gate.open(task, step, None)
    assert caught.value.check == "most-keys"


def test_a_grant_keeps_what_it_said(world) -> None:
    limited(world, 3)
    step, task = lookup(world, {"keys": ["k"], "most_keys": 4})
    limited(world, 10)
    with pytest.raises(GateRefused, match="at most 3 keys"):
        world.gate.open(task, step, None)


def test_a_node_that_answers_no_hidden_query_answers_none_whatever_was_granted(tmp_path) -> None:
    world = GateWorld(tmp_path / "w", most_keys=0)
    limited(world, 20)
    step, task = lookup(world, {"keys": ["k"], "most_keys": 1})
    with pytest.raises(GateRefused, match="at most 0 keys"):
        world.gate.open(task, step, None)
    world.close()


def test_keys_in_24_hours_are_counted_over_tasks_attempts_and_restarts(world) -> None:
    limited(world, 10, 25)
    items = (Item(path=PATHS["holder"], version=1, keys=("k", "v"), columns=()),)
    grant = world.grant(items=items, operations=("pir.lookup",))

    def ask(most: int, grant: str = grant) -> None:
        asker = Input(party="asker", dataset=PATHS["asker"] + "@1", columns=("k",), grant=None)
        holder = Input(party="holder", dataset=PATHS["holder"] + "@1", columns=("k", "v"), grant=grant)
        parameters = {"keys": ["k"], "most_keys": most}
        step = world.step(grant, engine="pir", operation="lookup", parameters=parameters, inputs=(asker, holder))
        world.gate.open(world.chain.task(world.running(world.workflow(step))), step, None)

    ask(10)
    ask(10)
    world.restart()
    with pytest.raises(GateRefused, match="allows 25 keys in 24 hours") as caught:
        ask(6)
    assert caught.value.check == "keys-a-day"
    ask(5)
    with pytest.raises(GateRefused, match="allows 25 keys in 24 hours"):
        ask(1)
    ask(10, world.grant(items=items, operations=("pir.lookup",)))  # another grant has its own
    for _ in range(2):
        assert world.journal.count_keys(grant, 10, most=25, now=int(time.time()) + 86_401, seconds=86_400)


def test_a_grant_by_another_spelling_has_no_keys_of_its_own(world, monkeypatch) -> None:
    limited(world, 10, 10)
    items = (Item(path=PATHS["holder"], version=1, keys=("k", "v"), columns=()),)
    grant = world.grant(items=items, operations=("pir.lookup",))
    # As a node would that reads workflows less strictly.
    monkeypatch.setattr(chain_module, "parse_workflow", lambda data: from_bytes(Workflow, data))

    def ask(spelt: str) -> None:
        asker = Input(party="asker", dataset=PATHS["asker"] + "@1", columns=("k",), grant=None)
        holder = Input(party="holder", dataset=PATHS["holder"] + "@1", columns=("k", "v"), grant=spelt)
        parameters = {"keys": ["k"], "most_keys": 10}
        step = world.step(spelt, engine="pir", operation="lookup", parameters=parameters, inputs=(asker, holder))
        world.gate.open(world.chain.task(world.running(world.workflow(step))), step, None)

    ask(grant)
    for spelt in (grant.upper(), f" {grant}", f"{grant[:2]} {grant[2:]}"):
        with pytest.raises(GateRefused, match="allows 10 keys in 24 hours"):
            ask(spelt)


def test_counts_are_forgotten_when_they_count_no_more_and_no_clock_could_mind(world) -> None:
    day, month, now = 86_400, 30 * 86_400, 1_800_000_000
    count = world.journal.count_keys
    assert count("aa", 25, most=25, now=now, seconds=day)
    assert count("bb", 1, most=25, now=now + day + month - 1, seconds=day)
    assert not count("aa", 1, most=25, now=now + 1, seconds=day), "a clock that was ahead for a month loses no count"
    assert count("bb", 1, most=25, now=now + day + month, seconds=day)
    kept = world.journal._db.execute("SELECT holding, keys FROM asked ORDER BY id").fetchall()
    assert kept == [("bb", 1), ("bb", 1)]


# -- prepared ahead -----------------------------------------------------------------------------------------------


def wanted(**changes):
    fields = {
        "operation": "pir.lookup",
        "dataset": DatasetName.parse(PATHS["holder"] + "@1"),
        "columns": ("k", "v"),
        "keys": ("k",),
        "most_keys": 10,
    }
    return Preparation(**(fields | changes))


def test_a_steward_prepares_what_a_lookup_then_finds(world) -> None:
    steward = world.parties["holder"].users["steward"].public.raw
    opened = world.gate.open_own(wanted(), steward)
    assert (opened.table.num_rows, [c.name for c in opened.columns], opened.prepared) == (200, ["k", "v"], {})
    world.gate.keep_own(wanted(), as_table([b"index"]))
    step, task = lookup(world, {"keys": ["k"], "most_keys": 10})
    assert from_table(world.gate.open(task, step, None).prepared[PREPARED]) == [b"index"]
    again = world.gate.open_own(wanted(), steward)
    assert (again.table.num_rows, PREPARED in again.prepared) == (0, True)
    events = [entry.event for entry in world.journal.of("")]
    assert events == ["gate passed", "index kept", "gate passed"]


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"columns": ("k", "absent")}, "columns"),
        ({"keys": ("w",)}, "columns"),
        ({"keys": ()}, "columns"),
        ({"most_keys": 4097}, "most-keys"),
        ({"most_keys": 0}, "most-keys"),
        ({"dataset": DatasetName.parse("/holder/d/rows@9")}, "dataset"),
        ({"dataset": DatasetName.parse("/asker/d/rows@1")}, "dataset"),
    ],
)
def test_what_no_lookup_could_use_is_not_prepared(world, changes, check) -> None:
    with pytest.raises(GateRefused) as caught:
        world.gate.open_own(wanted(**changes), world.parties["holder"].users["steward"].public.raw)
    assert caught.value.check == check
    assert world.journal.of("")[-1].event == "gate refused"


@pytest.mark.parametrize(("org", "role"), [("holder", "analyst"), ("asker", "steward")])
def test_only_a_steward_of_ours_prepares(world, org, role) -> None:
    with pytest.raises(GateRefused, match="not that of an active steward of ours") as caught:
        world.gate.open_own(wanted(), world.parties[org].users[role].public.raw)
    assert caught.value.check == "holder"


def test_a_vault_that_does_not_hold_what_was_published_prepares_nothing(world) -> None:
    from fondaco.ledger.contracts.catalog import keys as catalog_keys

    where = catalog_keys.dataset(PATHS["holder"], 1)
    step, _task = lookup(world, {"keys": ["k"], "most_keys": 10})
    (record,) = world.gate._register.datasets(dataclasses.replace(step, inputs=step.inputs[1:]))
    world.forge(where, record, commitment=bytes(32))
    with pytest.raises(GateRefused, match="does not hold what was published"):
        world.gate.open_own(wanted(), world.parties["holder"].users["steward"].public.raw)
