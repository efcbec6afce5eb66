"""Prepared sets at the gate: kept once for a version, columns and keys, then no row is read; granted as any matching."""

from __future__ import annotations

import pyarrow as pa
import pytest
from gate_world import PATHS, GateWorld

from fondaco.core.names import DatasetName
from fondaco.engines.base import PREPARED
from fondaco.engines.pir.parts import as_table, from_table
from fondaco.errors import GateRefused
from fondaco.exchange import gate as gate_module
from fondaco.exchange.preparations import Preparation, find, find_own, label
from fondaco.flow.model import Input
from fondaco.ledger.contracts.grants.messages import Item
from fondaco.vault import prepared
from fondaco.vault.sources import CsvSource


@pytest.fixture
def world(tmp_path):
    made = GateWorld(tmp_path / "world")
    yield made
    made.close()


def unbalanced(world, operations=("psi.unbalanced",), receivers=("asker",)):
    items = (Item(path=PATHS["holder"], version=1, keys=("k",), columns=()),)
    grant = world.grant(items=items, operations=operations)
    asker = Input(party="asker", dataset=PATHS["asker"] + "@1", columns=("k",), grant=None)
    holder = Input(party="holder", dataset=PATHS["holder"] + "@1", columns=("k",), grant=grant)
    step = world.step(
        grant, operation="unbalanced", parameters={"keys": ["k"]}, inputs=(asker, holder), receivers=receivers
    )
    return step, world.chain.task(world.running(world.workflow(step)))


def test_a_set_is_prepared_once_and_then_no_row_is_read(world, monkeypatch) -> None:
    step, task = unbalanced(world)
    opened = world.gate.open(task, step, None)
    assert (opened.table.num_rows, opened.prepared) == (200, {})
    world.gate.keep(task, step, as_table([b"head", b"tags"]))
    monkeypatch.setattr(gate_module, "read_table", None)
    step, task = unbalanced(world)
    again = world.gate.open(task, step, None)
    assert again.table.num_rows == 0
    assert from_table(again.prepared[PREPARED]) == [b"head", b"tags"]


def test_another_version_is_prepared_anew(world) -> None:
    step, _task = unbalanced(world)
    item = step.input_of("holder")
    prepared.keep(world.vault, world.cid, label(step, item), [b"head", b"tags"])
    newer = world.folder / "newer.csv"
    newer.write_text("k,v,w\nkey0,0,0\n")
    cid = world.vault.import_source(CsvSource(newer))
    world.vault.assign(cid, DatasetName.parse("/holder/d/rows@5"))
    item = Input(party="holder", dataset=PATHS["holder"] + "@5", columns=("k",), grant=item.grant)
    assert find(world.vault, cid, step, item) == {}


def ahead(world, **changes) -> Preparation:
    """What the holder's steward wants prepared."""
    fields = {
        "operation": "psi.unbalanced",
        "dataset": DatasetName.parse(PATHS["holder"] + "@1"),
        "columns": ("k",),
        "keys": ("k",),
        "most_keys": 1,
    }
    return Preparation(**(fields | changes))


def test_a_steward_prepares_the_set_that_a_run_then_finds(world, monkeypatch) -> None:
    steward = world.parties["holder"].users["steward"].public.raw
    opened = world.gate.open_own(ahead(world), steward)
    assert (opened.table.num_rows, [c.name for c in opened.columns], opened.prepared) == (200, ["k"], {})
    world.gate.keep_own(ahead(world), as_table([b"head", b"tags"]))
    monkeypatch.setattr(gate_module, "read_table", None)
    step, task = unbalanced(world)
    found = world.gate.open(task, step, None)
    assert found.table.num_rows == 0
    assert from_table(found.prepared[PREPARED]) == [b"head", b"tags"]
    assert PREPARED in world.gate.open_own(ahead(world), steward).prepared


def test_a_set_is_not_renewed_from_an_earlier_version(world) -> None:
    world.gate.keep_own(ahead(world), as_table([b"head", b"tags"]))
    newer = world.folder / "newer.csv"
    newer.write_text("k,v,w\nkey0,0,0\n")
    cid = world.vault.import_source(CsvSource(newer))
    world.vault.assign(cid, DatasetName.parse("/holder/d/rows@5"))
    assert find_own(world.vault, cid, ahead(world, dataset=DatasetName.parse("/holder/d/rows@5"))) == {}


def test_a_set_and_an_index_of_the_same_columns_are_two(world) -> None:
    assert ahead(world).label != ahead(world, operation="pir.lookup").label
    assert ahead(world).label != ahead(world, columns=("k", "v")).label
    assert ahead(world).label == ahead(world, most_keys=50).label, "a set is for any number of keys"


def test_a_node_that_answers_no_lookup_prepares_sets_all_the_same(world) -> None:
    steward = world.parties["holder"].users["steward"].public.raw
    world.gate._most_keys = 0
    with pytest.raises(GateRefused, match="at most 0 keys"):
        world.gate.open_own(ahead(world, operation="pir.lookup"), steward)
    assert world.gate.open_own(ahead(world), steward).table.num_rows == 200


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"operation": "psi.intersection"}, "operation"),
        ({"operation": "pir.two-server-lookup"}, "operation"),
        ({"columns": ("k", "absent")}, "columns"),
        ({"keys": ("v",)}, "columns"),
        ({"dataset": DatasetName.parse("/asker/d/rows@1")}, "dataset"),
    ],
)
def test_what_no_run_could_use_is_not_prepared(world, changes, check) -> None:
    with pytest.raises(GateRefused) as caught:
        world.gate.open_own(ahead(world, **changes), world.parties["holder"].users["steward"].public.raw)
    assert caught.value.check == check


def test_an_intersection_prepares_nothing(world) -> None:
    step, _task = unbalanced(world)
    plain = world.step(step.input_of("holder").grant)
    assert label(step, step.input_of("holder")) is not None
    assert label(plain, step.input_of("holder")) is None


def test_a_step_without_keys_prepares_nothing(world) -> None:
    step, task = unbalanced(world)
    broken = world.step(None, operation="unbalanced", parameters={"keys": "k"}, inputs=step.inputs)
    assert label(broken, step.inputs[1]) is None
    with pytest.raises(GateRefused, match="prepares nothing of our data"):
        world.gate.keep(task, broken, pa.table({"part": [b"x"]}))
