"""A meeting that was cut goes on where both were; nothing old or foreign is taken for it."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from engines_world import jobs
from hypothesis import given, settings
from hypothesis import strategies as st
from psi_world import forced

from fondaco.core.messages import from_bytes, to_bytes
from fondaco.engines.base import EngineStopped, Job, Outcome
from fondaco.engines.keep import Keep
from fondaco.engines.psi import meeting, progress, store, unbalanced
from fondaco.engines.psi.operations import run

TINY = {"PART_ROWS": 16, "_BATCH": 50, "MEMORY_ROWS": 100}
PARTS = 8
OURS = pa.table({"k": [f"k{i % 110}" for i in range(130)]})
THEIRS = pa.table({"k": [f"k{i}" for i in range(20, 125)]})
SHARED = sorted(f"k{i}" for i in range(20, 110))


@pytest.fixture(autouse=True)
def tiny_parts(monkeypatch):
    """Cut sets of a hundred as if they were of millions, some of them in a file."""
    for name, value in TINY.items():
        monkeypatch.setattr(store, name, value)


@pytest.fixture
def met(monkeypatch) -> list[tuple[int, int, int]]:
    """(attempt, rank, first identifier's part) of every part that was really met."""
    seen: list[tuple[int, int, int]] = []
    really = meeting._meet_part

    def watched(one: meeting.Meeting, part: store.Part, parts: int):
        found = really(one, part, parts)
        seen.append((one.job.attempt, one.job.rank, int(part.ids[0, 0]) * parts // 256))
        return found

    monkeypatch.setattr(meeting, "_meet_part", watched)
    return seen


def kept(folder: Path, rank: int, bound: bytes = bytes(32)) -> Keep:
    return Keep(folder=str(folder / f"kept{rank}"), key=bytes([rank]) * 32, bound=bound)


def pair(attempt: int, operation: str = "intersection", receivers: tuple[int, ...] = (0, 1), **more) -> list[Job]:
    made = jobs("psi", operation, {"keys": ["k"]} | more, ["x", "y"], [[], []], receivers, seconds=20)
    return [dataclasses.replace(job, attempt=attempt) for job in made]


def attempt(both: list[Job], tables: list[pa.Table], keeps: list[Keep | None]) -> list[Outcome | BaseException]:
    with (
        tempfile.TemporaryDirectory(prefix="fr-") as folder,
        concurrent.futures.ThreadPoolExecutor(2) as pool,
        forced("rr22"),
    ):
        work = [
            pool.submit(run, job, {"data": table}, Path(folder), Path(folder), keep)
            for job, table, keep in zip(both, tables, keeps, strict=True)
        ]
        return [one.exception() or one.result() for one in work]


def cut(monkeypatch, victim: int, at: int) -> None:
    """The link of a member breaks when it comes to its part number `at`."""
    really, came = meeting._meet_part, [0]

    def cutting(one: meeting.Meeting, part: store.Part, parts: int):
        if one.job.rank == victim and one.job.attempt == 1:
            came[0] += 1
            if came[0] > at:
                one.channel.close()
                raise EngineStopped("the link broke", remedy="start the task again")
        return really(one, part, parts)

    monkeypatch.setattr(meeting, "_meet_part", cutting)


def matched(outcome: Outcome | BaseException) -> list[str]:
    assert isinstance(outcome, Outcome), outcome
    return outcome.tables["match"]["k"].to_pylist()


@pytest.mark.parametrize("security", ["semi-honest", "malicious"])
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("at", [0, 3, PARTS - 1])
def test_a_cut_link_costs_the_parts_that_were_not_finished_and_no_other(
    tmp_path, met, monkeypatch, victim, at, security
) -> None:
    cut(monkeypatch, victim, at)
    keeps = [kept(tmp_path, rank) for rank in (0, 1)]
    ends = attempt(pair(1, security=security), [OURS, THEIRS], keeps)
    assert all(isinstance(end, EngineStopped) for end in ends)
    first, second = attempt(pair(2, security=security), [OURS, THEIRS], keeps)
    assert sorted(matched(first)) == SHARED
    assert matched(first) == matched(second), "both have one order"
    for rank in (0, 1):
        assert [part for number, who, part in met if (number, who) == (2, rank)] == list(range(at, PARTS))


@pytest.mark.parametrize("operation", ["difference", "threshold"])
def test_other_operations_in_parts_go_on_too(tmp_path, met, monkeypatch, operation) -> None:
    cut(monkeypatch, 1, 5)
    keeps = [kept(tmp_path, rank) for rank in (0, 1)]
    attempt(pair(1, operation, (0,)), [OURS, THEIRS], keeps)
    first, _second = attempt(pair(2, operation, (0,)), [OURS, THEIRS], keeps)
    assert isinstance(first, Outcome), first
    name = "result" if operation == "difference" else "match"
    wanted = sorted({f"k{i}" for i in range(110)} - set(SHARED)) if operation == "difference" else SHARED
    assert sorted(first.tables[name]["k"].to_pylist()) == wanted
    assert [part for number, who, part in met if (number, who) == (2, 0)] == list(range(5, PARTS))


def test_a_meeting_that_ended_is_not_met_again_where_only_the_report_was_lost(tmp_path, met) -> None:
    keeps = [kept(tmp_path, rank) for rank in (0, 1)]
    for number in (1, 2):
        first, second = attempt(pair(number), [OURS, THEIRS], keeps)
        assert sorted(matched(first)) == SHARED
        assert matched(first) == matched(second)
    assert {number for number, _rank, _part in met} == {1}


VICTIM = """
import json, os, signal, sys
from pathlib import Path
asked = json.loads(sys.argv[1])
sys.path.insert(0, asked["tests"])
import test_engines_resume as world
from fondaco.engines.psi import meeting, store
for name, value in world.TINY.items():
    setattr(store, name, value)
really, came = meeting._meet_part, [0]
def dying(one, part, parts):
    came[0] += 1
    if came[0] > asked["at"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return really(one, part, parts)
meeting._meet_part = dying
rank, folder = asked["rank"], Path(asked["folder"])
with world.forced("rr22"):
    world.run(world.pair(1)[rank], {"data": [world.OURS, world.THEIRS][rank]}, Path(asked["sockets"]),
              Path(asked["sockets"]), world.kept(folder, rank))
"""


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("at", [1, 6])
def test_a_member_that_is_killed_goes_on_from_its_disk(tmp_path, met, victim, at) -> None:
    keeps = [kept(tmp_path, rank) for rank in (0, 1)]
    with tempfile.TemporaryDirectory(prefix="fr-") as sockets, forced("rr22"):
        asked = {"tests": str(Path(__file__).parent), "at": at, "rank": victim, "folder": str(tmp_path)}
        process = subprocess.Popen([sys.executable, "-c", VICTIM, json.dumps(asked | {"sockets": sockets})])
        other = 1 - victim
        with pytest.raises(EngineStopped, match="broke"):
            run(pair(1)[other], {"data": [OURS, THEIRS][other]}, Path(sockets), Path(sockets), keeps[other])
        assert process.wait(30) == -signal.SIGKILL
    first, second = attempt(pair(2), [OURS, THEIRS], keeps)
    assert sorted(matched(first)) == SHARED
    assert matched(first) == matched(second)
    for rank in (0, 1):
        assert [part for number, who, part in met if (number, who) == (2, rank)] == list(range(at, PARTS))


@pytest.mark.parametrize(
    "change",
    ["other rows", "one row more", "another place of a row", "other terms", "nothing kept at one"],
)
def test_whatever_changed_starts_anew(tmp_path, met, monkeypatch, change) -> None:
    cut(monkeypatch, 0, 4)
    keeps: list[Keep | None] = [kept(tmp_path, rank) for rank in (0, 1)]
    attempt(pair(1), [OURS, THEIRS], keeps)
    ours, wanted = OURS, SHARED
    if change == "other rows":
        ours = pa.table({"k": [f"q{i % 110}" if i % 110 >= 100 else f"k{i % 110}" for i in range(130)]})
        wanted = sorted(f"k{i}" for i in range(20, 100))
    elif change == "one row more":
        ours = pa.table({"k": [*OURS["k"].to_pylist(), "k119"]})
        wanted = sorted([*SHARED, "k119"])
    elif change == "another place of a row":
        ours = pa.table({"k": OURS["k"].to_pylist()[::-1]})
    elif change == "other terms":
        keeps = [kept(tmp_path, rank, b"\1" * 32) for rank in (0, 1)]
    else:
        keeps[1] = None
    first, second = attempt(pair(2), [ours, THEIRS], keeps)
    assert sorted(matched(first)) == wanted
    assert matched(first) == matched(second)
    again = {part for number, who, part in met if (number, who) == (2, 0)}
    # Rows that stand elsewhere leave no part as it was; of other rows some parts may be untouched, and are not run.
    assert again == set(range(PARTS)) or change == "other rows"


def test_a_peer_that_calls_parts_unfinished_has_them_run_again(tmp_path, met) -> None:
    keeps = [kept(tmp_path, rank) for rank in (0, 1)]
    attempt(pair(1), [OURS, THEIRS], keeps)
    for name in ("part-002", "part-005"):
        keeps[1].forget(name)
    first, second = attempt(pair(2), [OURS, THEIRS], keeps)
    assert sorted(matched(first)) == SHARED
    assert matched(first) == matched(second)
    assert [part for number, who, part in met if (number, who) == (2, 0)] == [2, 5]


class Peer:
    """A channel whose other end says what the test says."""

    peer = "y"

    def __init__(self, said: bytes) -> None:
        self.said = said

    def receive(self, limit: int) -> bytes:
        return self.said[:limit]


@settings(max_examples=200)
@given(st.binary(max_size=60), st.binary(max_size=40), st.integers(1, 8).map(lambda log: 1 << log))
def test_any_word_of_what_is_finished_is_taken_or_refused(raw, bits, parts) -> None:
    for said in (raw, to_bytes(progress.Finished(parts=bits))):
        try:
            found = progress._parts_of(Peer(said), parts)
        except EngineStopped as fault:
            assert "y" in fault.cause
        else:
            assert all(0 <= index < parts for index in found)
            assert len(from_bytes(progress.Finished, said).parts) == -(-parts // 8)


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 400))
@settings(max_examples=60)
def test_a_kept_file_opens_whole_and_in_its_place_alone(data, at, length) -> None:
    with tempfile.TemporaryDirectory() as folder:
        keep = kept(Path(folder), 0)
        keep.write("part-001", data)
        assert keep.read("part-001") == data
        assert keep.names() == ["part-001"]
        path = Path(keep.folder) / "part-001"
        box = path.read_bytes()
        assert not data or len(data) < 16 or data not in box
        for other in (kept(Path(folder), 0, b"\1" * 32), dataclasses.replace(keep, key=b"\7" * 32)):
            assert other.read("part-001") is None
        path.with_name("part-002").write_bytes(box)
        assert keep.read("part-002") is None
        path.write_bytes(box[: min(length, len(box) - 1)])
        assert keep.read("part-001") is None
        at %= len(box)
        path.write_bytes(box[:at] + bytes([box[at] ^ 1]) + box[at + 1 :])
        assert keep.read("part-001") is None
        keep.forget("part-001")
        keep.forget("part-001")
        assert keep.read("part-001") is None


def test_two_workers_that_keep_one_file_at_once_both_go_on(tmp_path, monkeypatch) -> None:
    """Two tasks keep the table of one provider: what is written by one must not be moved away by the other."""
    keep, fsync = kept(tmp_path, 0), os.fsync

    def meanwhile(number: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        keep.write("table", b"the other's, which is longer")
        assert keep.read("table") == b"the other's, which is longer"
        fsync(number)

    monkeypatch.setattr(os, "fsync", meanwhile)
    keep.write("table", b"one's")
    assert keep.read("table") == b"one's"
    assert keep.names() == ["table"]
    assert len(list(Path(keep.folder).iterdir())) == 1


def test_a_key_of_what_is_kept_is_not_shown() -> None:
    keep = Keep(folder="somewhere", key=b"\7" * 32, bound=bytes(32))
    assert "key" not in repr(keep)
    assert "secret" not in repr(unbalanced.Head(keys=1, secret=b"\7" * 32))
    assert "session" not in repr(progress.Head(session=b"\7" * 32, rows=1, peer_rows=1, parts=1))
