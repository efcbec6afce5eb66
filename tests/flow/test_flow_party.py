"""A party's share of a step: bounded by its own clock, no match kept that the terms refuse, none after the task."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from fondaco.core.messages import to_bytes
from fondaco.core.models import Column
from fondaco.engines.base import Outcome, Report
from fondaco.errors import DeadlineExceeded, FlowError, GateRefused
from fondaco.flow import party as module
from fondaco.flow.chain import Opened, TaskView
from fondaco.flow.model import Input, Step, Workflow
from fondaco.flow.party import Party
from fondaco.flow.wire import ENGINE, Link, Order

KEY = Column(
    name="k", type="text", unit="", classification="internal", nullable=True, minimum=None, maximum=None, scale=0
)
STEP = Step(
    id="one", engine="psi", operation="intersection", parameters={"keys": ["k"]}, parties=("us", "them"), helper=None,
    inputs=(
        Input(party="us", dataset="/us/d/rows@1", columns=("k",), grant=None),
        Input(party="them", dataset="/them/d/rows@1", columns=("k",), grant="00" * 32),
    ),
    match=None, receivers=("us", "them"),
)  # fmt: skip
WORKFLOW = Workflow(title="", purpose="study", initiator="us", coordinator="coord", steps=(STEP,))
MATCH = pa.table({"k": ["a"]})


class World:
    """A ledger with one task, a gate and a place for results that remember what they were asked."""

    def __init__(self) -> None:
        self.view = TaskView(
            id="aa", status="running", attempt=1, workflow=WORKFLOW, initiator_key=b"", accepted=(), reported=(),
            deadline=int(time.time()) + 60, failure=None, height=1,
        )  # fmt: skip
        self.kept: list[str] = []
        self.refuses = False
        self.matched: list[int] = []
        self.blocked = threading.Event()
        self.blocked.set()

    def task(self, _task: str) -> TaskView:
        return self.view

    def node_of(self, org: str) -> str:
        return f"did:{org}"

    def columns(self, _dataset: str, _names: tuple[str, ...]) -> tuple[Column, ...]:
        return (KEY,)

    def rows(self, dataset: str) -> int | None:
        return {"/us/d/rows@1": None, "/them/d/rows@1": 7}[dataset]

    def method(self) -> str:
        return "price"

    def minimum_count(self, _dataset: str) -> int:
        return 0

    async def measure(self, *_measured: Any) -> None:
        self.kept.append("measured")

    async def begin(self, *_begun: Any) -> None:
        self.kept.append("begun")

    async def report(self, *_report: Any) -> None:
        self.kept.append("reported")

    def open(self, _view: TaskView, _step: Step, _match: Any) -> Opened:
        self.blocked.wait(20)
        return Opened(table=MATCH, columns=(KEY,))

    def org_of(self, did: str) -> str:
        return did.removeprefix("did:")

    def check_program(self, _view: TaskView, _step: Step) -> None:
        self.blocked.wait(20)

    def check_match(self, _view: TaskView, _step: Step, rows: int) -> None:
        self.matched.append(rows)
        if self.refuses:
            raise GateRefused("the terms refuse", check="terms", remedy="ask")

    def keep(self, *_kept: Any) -> bytes:
        self.kept.append("kept")
        return bytes(32)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def seconds(monkeypatch) -> list[float]:
    """What workers were allowed; they find one key at once."""
    asked: list[float] = []

    async def run_job(job, _inputs, _sockets, *, deadline, keep=None) -> Outcome:
        asked.append(deadline)
        assert job.timeout_seconds == deadline
        return Outcome({"match": MATCH}, Report(configuration="", rows_in=1, rows_out=1, link_micros=0, total_micros=0))

    monkeypatch.setattr(module, "run_job", run_job)
    return asked


def party(world: World, keeps: Any = None) -> Party:
    journal = SimpleNamespace(record=lambda *_args, **_named: None)
    return Party(
        org="us", chain=world, peering=None, gate=world, results=world, journal=journal, step_seconds=30, keeps=keeps
    )


def test_a_worker_is_told_what_the_ledger_says_of_rows_and_what_memory_a_peer_may_cost(world, monkeypatch) -> None:
    told: list[tuple[Any, int]] = []

    async def run_job(job, _inputs, _sockets, *, deadline, keep=None) -> Outcome:
        told.append((job.rows, job.memory_mib))
        return Outcome({"match": MATCH}, Report(configuration="", rows_in=1, rows_out=1, link_micros=0, total_micros=0))

    monkeypatch.setattr(module, "run_job", run_job)
    journal = SimpleNamespace(record=lambda *_args, **_named: None)
    one = Party(
        org="us", chain=world, peering=None, gate=world, results=world, journal=journal, step_seconds=30,
        asker_memory_mib=77,
    )  # fmt: skip
    execute(one, world, 10)
    assert told == [((None, 7), 77)]


def execute(one: Party, world: World, seconds: int) -> None:
    asyncio.run(one.execute(world.view, Order(task="aa", attempt=1, step="one", height=1, seconds=seconds)))


@pytest.mark.parametrize(("ordered", "left", "allowed"), [(10**6, 60, 30), (5, 60, 5), (10**6, 7, 7)])
def test_an_order_gets_no_more_time_than_this_nodes_setting_and_the_task_leave(
    world, seconds, ordered, left, allowed
) -> None:
    world.view = dataclasses.replace(world.view, deadline=int(time.time()) + left)
    execute(party(world), world, ordered)
    assert allowed - 1 <= seconds[0] <= allowed


@pytest.mark.parametrize(("ordered", "left"), [(0, 60), (-1, 60), (10, 0), (10, -5)])
def test_an_order_without_time_is_refused(world, seconds, ordered, left) -> None:
    world.view = dataclasses.replace(world.view, deadline=int(time.time()) + left)
    with pytest.raises(FlowError, match="no time"):
        execute(party(world), world, ordered)
    assert not seconds


def test_the_tasks_deadline_ends_what_is_being_worked_on(world, seconds) -> None:
    world.blocked.clear()
    world.view = dataclasses.replace(world.view, deadline=int(time.time()) + 2)
    one = party(world)

    async def run() -> None:
        threading.Timer(4, world.blocked.set).start()  # the gate's thread cannot be ended, only left
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await one.execute(world.view, Order(task="aa", attempt=1, step="one", height=1, seconds=10**6))
        assert time.monotonic() - started < 3.5

    asyncio.run(run())
    assert not seconds


def test_a_match_that_the_terms_refuse_is_neither_kept_nor_reported(world, seconds) -> None:
    world.refuses = True
    one = party(world)
    with pytest.raises(GateRefused):
        execute(one, world, 10)
    assert seconds
    assert not world.kept
    assert not one.remembers("aa")


@pytest.mark.parametrize("status", ["finished", "settled", "failed", "abandoned", "expired"])
def test_matched_keys_are_forgotten_when_the_task_ends_whoever_coordinates(world, seconds, status) -> None:
    one = party(world)
    execute(one, world, 10)
    assert seconds
    assert world.kept == ["kept", "reported"]
    one.forget_ended()
    assert one.remembers("aa"), "the task still runs"
    world.view = dataclasses.replace(world.view, status=status)
    one.forget_ended()
    assert not one.remembers("aa")


def test_matched_keys_of_an_attempt_are_forgotten_when_the_next_begins(world, seconds) -> None:
    one = party(world)
    execute(one, world, 10)
    assert seconds
    world.view = dataclasses.replace(world.view, attempt=2)
    one.forget_ended()
    assert not one.remembers("aa")


def test_a_worker_is_told_where_it_may_keep_what_outlives_it(world, monkeypatch) -> None:
    told: list[Any] = []

    async def run_job(_job, _inputs, _sockets, *, deadline, keep) -> Outcome:
        told.append((deadline, keep))
        return Outcome({"match": MATCH}, Report(configuration="", rows_in=1, rows_out=1, link_micros=0, total_micros=0))

    monkeypatch.setattr(module, "run_job", run_job)
    place = object()
    execute(
        party(world, SimpleNamespace(of=lambda view, step: place if (view.id, step) == ("aa", STEP) else None)),
        world,
        5,
    )
    assert told == [(5.0, place)]


def test_few_keys_found_in_a_prepared_set_are_a_match_that_the_terms_judge(world, seconds) -> None:
    step = dataclasses.replace(STEP, operation="unbalanced", receivers=("us",))
    world.view = dataclasses.replace(world.view, workflow=dataclasses.replace(WORKFLOW, steps=(step,)))
    world.refuses = True
    with pytest.raises(GateRefused):
        execute(party(world), world, 5)
    assert "kept" not in world.kept
    world.refuses = False
    execute(party(world), world, 5)
    assert world.kept[-2:] == ["kept", "reported"]


def test_a_difference_tells_a_match_that_the_terms_judge(world, monkeypatch) -> None:
    async def run_job(_job, _inputs, _sockets, *, deadline, keep=None) -> Outcome:
        assert deadline
        assert keep is None
        rest = pa.table({"k": ["b", "c"]})
        return Outcome({"result": rest}, Report(configuration="", rows_in=5, rows_out=2, link_micros=0, total_micros=0))

    monkeypatch.setattr(module, "run_job", run_job)
    step = dataclasses.replace(STEP, operation="difference", receivers=("us",))
    world.view = dataclasses.replace(world.view, workflow=dataclasses.replace(WORKFLOW, steps=(step,)))
    world.refuses = True
    with pytest.raises(GateRefused):
        execute(party(world), world, 5)
    assert world.matched == [3], "five of its own keys, of which the other lacks two"
    assert "kept" not in world.kept


CIRCUIT = dataclasses.replace(STEP, engine="mpc", operation="intersection-sum", helper="coord", receivers=("us",))


@pytest.mark.parametrize(
    ("peer", "sender", "lane", "allowed"),
    [
        ("them", 1, "", True),
        ("them", 1, "spu", True),
        ("coord", 2, "spu", True),
        ("coord", 2, "", False),
        ("them", 1, "other", False),
        ("coord", 1, "", False),
    ],
)
def test_a_helper_has_no_link_where_members_with_data_meet_alone(
    world, monkeypatch, peer, sender, lane, allowed
) -> None:
    # There the first to come is taken for the other member with data.
    world.blocked.clear()
    world.view = dataclasses.replace(world.view, workflow=dataclasses.replace(WORKFLOW, steps=(CIRCUIT,)))
    taken: list[str] = []

    async def splice_to(_stream, path, *, deadline) -> None:
        assert deadline
        taken.append(path.name)

    monkeypatch.setattr(module, "splice_to", splice_to)
    one, served = party(world), {}
    one._peering = SimpleNamespace(
        serve_calls=lambda *_args, **_named: None,
        handle=lambda kind, on: served.update({kind: on}),
        on_lost=lambda _on: None,
    )
    one.serve()
    header = to_bytes(Link(task="aa", attempt=1, step="one", sender=sender, receiver=0, lane=lane))

    async def story() -> None:
        work = asyncio.create_task(
            one.execute(world.view, Order(task="aa", attempt=1, step="one", height=1, seconds=20))
        )
        stream = SimpleNamespace(peer=f"did:{peer}", header=header)
        try:
            if allowed:
                await served[ENGINE](stream)
            else:
                with pytest.raises(FlowError):
                    await served[ENGINE](stream)
        finally:
            work.cancel()
            world.blocked.set()
            await asyncio.gather(work, return_exceptions=True)

    asyncio.run(story())
    assert taken == (["0.sock"] if allowed else [])
