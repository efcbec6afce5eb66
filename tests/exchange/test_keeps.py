"""What workers may keep: one place for a step at each of its attempts, another for anything else, and not for ever."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from fondaco.errors import LedgerError
from fondaco.flow.chain import TaskView
from fondaco.flow.model import Input, Step, Workflow
from fondaco.node.keeps import TABLE_SECONDS, KeepStore

NOW = 1_000_000.0
STEP = Step(
    id="one", engine="psi", operation="intersection", parameters={"keys": ["k"]}, parties=("us", "them"), helper=None,
    inputs=(
        Input(party="us", dataset="/us/d/rows@1", columns=("k",), grant=None),
        Input(party="them", dataset="/them/d/rows@1", columns=("k",), grant="00" * 32),
    ),
    match=None, receivers=("us",),
)  # fmt: skip
UNBALANCED = dataclasses.replace(STEP, operation="unbalanced")


class Chain:
    """A ledger with one task."""

    def __init__(self) -> None:
        self.view: TaskView | None = view(STEP)
        self.nodes = {"us": "did:us", "them": "did:them"}

    def task(self, task: str) -> TaskView:
        if self.view is None or task != self.view.id:
            raise LedgerError("there is no such task on the ledger", remedy="see")
        return self.view

    def node_of(self, org: str) -> str:
        return self.nodes[org]


def view(step: Step, **changes) -> TaskView:
    workflow = Workflow(title="", purpose="study", initiator="us", coordinator="coord", steps=(step,))
    made = TaskView(
        id="aa", status="running", attempt=1, workflow=workflow, initiator_key=b"", accepted=(), reported=(),
        deadline=int(NOW) + 60, failure=None, height=1,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


@pytest.fixture
def chain() -> Chain:
    return Chain()


def store(folder: Path, chain: Chain, org: str = "us", master: bytes = bytes(32), now: float = NOW) -> KeepStore:
    return KeepStore(folder, master=master, org=org, chain=chain, now=lambda: now)


def test_each_attempt_of_a_step_has_the_same_place_and_nothing_else_has(tmp_path, chain) -> None:
    keeps = store(tmp_path, chain)
    first = keeps.of(view(STEP), STEP)
    assert first is not None
    assert keeps.of(view(STEP, attempt=2, status="failed"), STEP) == first
    newer = tuple(dataclasses.replace(item, dataset=item.dataset.replace("@1", "@2")) for item in STEP.inputs)
    others = [
        keeps.of(view(STEP, id="ab"), STEP),
        *(
            keeps.of(view(changed), changed)
            for changed in (
                dataclasses.replace(STEP, id="two"),
                dataclasses.replace(STEP, parameters={"keys": ["k"], "security": "malicious"}),
                dataclasses.replace(STEP, receivers=("us", "them")),
                dataclasses.replace(STEP, inputs=(newer[0], STEP.inputs[1])),
                dataclasses.replace(STEP, inputs=(STEP.inputs[0], newer[1])),
            )
        ),
        store(tmp_path, chain, org="them").of(view(STEP), STEP),
    ]
    chain.nodes["them"] = "did:another"
    others.append(keeps.of(view(STEP), STEP))
    assert all(other is not None for other in others)
    for what in ("folder", "key", "bound"):
        seen = [getattr(one, what) for one in (first, *others)]
        assert len(seen) == len(set(seen)), what
    other_master = store(tmp_path, Chain(), master=b"\1" * 32).of(view(STEP), STEP)
    assert (other_master.bound, other_master.key != first.key) == (first.bound, True)


def test_what_cannot_be_resumed_keeps_nothing(tmp_path, chain) -> None:
    keeps = store(tmp_path, chain)
    for step in (
        dataclasses.replace(STEP, operation="cardinality"),
        dataclasses.replace(STEP, engine="mpc", operation="statistics"),
        dataclasses.replace(UNBALANCED, receivers=("them",)),
    ):
        assert keeps.of(view(step), step) is None


def test_a_table_has_one_place_for_every_task_until_its_dataset_changes(tmp_path, chain) -> None:
    keeps = store(tmp_path, chain)
    first = keeps.of(view(UNBALANCED), UNBALANCED)
    own = dataclasses.replace(UNBALANCED.inputs[0], dataset="/us/d/other@7")
    other_own = dataclasses.replace(UNBALANCED, inputs=(own, UNBALANCED.inputs[1]))
    assert keeps.of(view(other_own, id="ab"), other_own) == first
    newer = dataclasses.replace(UNBALANCED.inputs[1], dataset="/them/d/rows@2")
    changed = dataclasses.replace(UNBALANCED, inputs=(UNBALANCED.inputs[0], newer))
    assert keeps.of(view(changed), changed) != first


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({}, False),
        ({"status": "failed"}, False),
        ({"status": "accepted"}, False),
        ({"status": "finished"}, True),
        ({"status": "settled"}, True),
        ({"status": "failed", "deadline": int(NOW)}, True),
        (None, True),
    ],
)
def test_a_steps_files_are_forgotten_with_its_task(tmp_path, chain, changes, gone) -> None:
    keeps = store(tmp_path / "kept", chain)
    keeps.forget_ended()
    keep = keeps.of(view(STEP), STEP)
    keep.write("part-000", b"places")
    chain.view = None if changes is None else view(STEP, **changes)
    keeps.forget_ended()
    assert Path(keep.folder).exists() is not gone
    assert keep.read("part-000") == (None if gone else b"places")


def test_a_table_that_is_not_used_for_a_month_is_forgotten(tmp_path, chain) -> None:
    keeps = store(tmp_path, chain)
    keep = keeps.of(view(UNBALANCED), UNBALANCED)
    keep.write("table", b"tags")
    os.utime(keep.folder, (NOW, NOW))
    store(tmp_path, chain, now=NOW + TABLE_SECONDS).forget_ended()
    assert keep.read("table") == b"tags"
    os.utime(keep.folder, (0, 0))
    keeps.of(view(UNBALANCED), UNBALANCED)
    assert Path(keep.folder).stat().st_mtime > TABLE_SECONDS, "a use makes it young again"
    os.utime(keep.folder, (NOW, NOW))
    store(tmp_path, chain, now=NOW + TABLE_SECONDS + 1).forget_ended()
    assert keep.read("table") is None
