"""Hidden queries at the gate: as many keys as the provider says, and an index that is made once."""

from __future__ import annotations

import pyarrow as pa
import pytest
from gate_world import PATHS, GateWorld

from fondaco.core.names import DatasetName
from fondaco.engines.base import PREPARED
from fondaco.engines.pir.parts import BEFORE, as_table, from_table
from fondaco.errors import GateRefused
from fondaco.exchange import gate as gate_module
from fondaco.flow.model import Input
from fondaco.ledger.contracts.grants.messages import Item
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
    prepared.keep(world.vault, world.cid, label(step, item), [b"one"])
    newer = Input(party="holder", dataset=PATHS["holder"] + "@5", columns=item.columns, grant=item.grant)
    assert from_table(find(world.vault, cid, step, newer)[BEFORE]) == [b"one"]


def test_what_no_step_of_ours_prepares_is_not_kept(world) -> None:
    grant = world.grant()
    step = world.step(grant)
    task = world.chain.task(world.running(world.workflow(step)))
    with pytest.raises(GateRefused, match="prepares nothing of our data"):
        world.gate.keep(task, step, pa.table({"part": [b"x"]}))
