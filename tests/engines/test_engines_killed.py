"""Workers that die, hang or lose their node: one named cause on every side, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pytest
from engines_world import column, jobs

from fondaco.engines import process
from fondaco.engines.base import EngineStopped
from fondaco.errors import DeadlineExceeded, PartyFailed

SECONDS, DEADLINE = 5, 10
KEYS = [f"K{i}" for i in range(50)]
PARTIES = ["air", "weather", "reg"]


def statistics() -> tuple[list, list[dict[str, pa.Table]]]:
    parameters = {
        "keys": ["k"], "minimum_count": 1,
        "value": {"party": "air", "column": "delay"}, "group": {"party": "weather", "column": "rain"},
    }  # fmt: skip
    columns = [[column("delay", low=0, high=100)], [column("rain", "bool")], []]
    match = pa.table({"k": KEYS})
    values = pa.table({"k": KEYS, "delay": list(range(50))})
    groups = pa.table({"k": KEYS, "rain": [i % 2 == 0 for i in range(50)]})
    all_jobs = jobs("mpc", "statistics", parameters, PARTIES, columns, (1,), helper=2, seconds=SECONDS)
    return all_jobs, [{"data": values, "match": match}, {"data": groups, "match": match}, {}]


def workers(sockets: Path) -> list[int]:
    """The processes of this machine that are workers on these sockets."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"fondaco.engines.worker" in words and os.fsencode(sockets) in words:
            found.append(int(place.name))
    return found


def wait(ready, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


async def until(ready) -> None:
    await asyncio.to_thread(wait, ready)


def left_behind() -> list[str]:
    return [path.name for path in process._root().glob(f"fondaco-{os.getpid()}-*")]


def linked(sockets: Path) -> bool:
    """Whether the first two workers wait for the third: their ends are there."""
    return {"0.sock", "1.sock"} <= {path.name for path in sockets.iterdir()}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_worker_is_named_here_and_ends_the_others(number) -> None:
    all_jobs, inputs = statistics()

    async def story(sockets: Path) -> list:
        # The third member comes late, so that the first two are surely waiting for it when one of them is killed.
        two = [
            asyncio.create_task(process.run_job(j, inputs[j.rank], sockets, deadline=DEADLINE)) for j in all_jobs[:2]
        ]
        await until(lambda: len(workers(sockets)) == 2 and linked(sockets))
        first = [pid for pid in workers(sockets) if f"{sockets}/0.sock" in open_sockets(pid)]
        os.kill(first[0], number)
        return await asyncio.gather(*two, return_exceptions=True)

    with tempfile.TemporaryDirectory(prefix="fe-") as folder:
        killed, other = asyncio.run(story(Path(folder)))
        assert workers(Path(folder)) == []
    assert isinstance(killed, PartyFailed)
    assert (killed.party, number.name in killed.cause) == ("air", True)
    assert isinstance(other, EngineStopped | DeadlineExceeded)
    assert left_behind() == []


def open_sockets(pid: int) -> list[str]:
    """The paths of the unix sockets that a process listens on."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return [words[7] for words in map(str.split, lines) if len(words) > 7 and words[6] in inodes]


def test_a_peer_that_never_comes_ends_in_a_named_cause_within_the_deadline() -> None:
    all_jobs, inputs = statistics()

    async def story(sockets: Path) -> None:
        await process.run_job(all_jobs[0], inputs[0], sockets, deadline=DEADLINE)

    with (
        tempfile.TemporaryDirectory(prefix="fe-") as folder,
        pytest.raises((EngineStopped, DeadlineExceeded)) as caught,
    ):
        asyncio.run(story(Path(folder)))
    assert caught.value.remedy
    assert left_behind() == []


def test_the_supervisors_own_deadline_ends_the_worker() -> None:
    all_jobs, inputs = statistics()

    async def story(sockets: Path) -> None:
        with pytest.raises(DeadlineExceeded, match="did not end in time"):
            await process.run_job(all_jobs[0], inputs[0], sockets, deadline=3)
        await until(lambda: workers(sockets) == [])

    with tempfile.TemporaryDirectory(prefix="fe-") as folder:
        asyncio.run(story(Path(folder)))
    assert left_behind() == []


def test_a_cancelled_job_ends_its_worker() -> None:
    all_jobs, inputs = statistics()

    async def story(sockets: Path) -> None:
        work = asyncio.create_task(process.run_job(all_jobs[0], inputs[0], sockets, deadline=60))
        await until(lambda: len(workers(sockets)) == 1)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await until(lambda: workers(sockets) == [])

    with tempfile.TemporaryDirectory(prefix="fe-") as folder:
        asyncio.run(story(Path(folder)))
    assert left_behind() == []


NODE = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_engines_killed import statistics
from fondaco.engines.process import run_job
jobs, inputs = statistics()
asyncio.run(run_job(jobs[0], inputs[0], Path(sys.argv[1]), deadline=60))
"""


def test_a_worker_dies_with_its_node_and_the_next_node_sweeps_up() -> None:
    with tempfile.TemporaryDirectory(prefix="fe-") as folder:
        sockets = Path(folder)
        node = subprocess.Popen([sys.executable, "-c", NODE, folder, str(Path(__file__).parent)])
        wait(lambda: len(workers(sockets)) == 1)
        scratch = list(process._root().glob(f"fondaco-{node.pid}-*"))
        assert len(scratch) == 1
        process.sweep()
        assert scratch[0].exists(), "what belongs to a living node is not swept"
        node.kill()
        node.wait(10)
        wait(lambda: workers(sockets) == [])
        process.sweep()
        assert not scratch[0].exists()


def sets() -> tuple[list, list[dict[str, pa.Table]]]:
    both = jobs("psi", "intersection", {"keys": ["k"]}, ["air", "weather"], [[], []], (0, 1), seconds=SECONDS)
    return both, [{"data": pa.table({"k": list(range(200_000))})}] * 2


def hidden() -> tuple[list, list[dict[str, pa.Table]]]:
    parameters = {"keys": ["k"], "minimum_count": 1, "values": [{"party": "air", "column": "v"}]}
    columns = [[column("k"), column("v", low=0, high=9)], [column("k")], []]
    members = jobs("mpc", "intersection-sum", parameters, PARTIES, columns, (1,), helper=2, seconds=20)
    ours = pa.table({"k": list(range(200_000)), "v": [1] * 200_000})
    return members, [{"data": ours}, {"data": ours.select(["k"])}, {}]


def test_a_worker_killed_while_a_hidden_match_is_made_ends_the_others_link_by_name() -> None:
    members, inputs = hidden()

    async def story(sockets: Path) -> list:
        # The other may wait in SPU, whose links end after the job's 20 s, and a loaded machine starts workers in ten.
        work = [asyncio.create_task(process.run_job(j, inputs[j.rank], sockets, deadline=60)) for j in members]
        # The channel's own socket is bound once SPU's link is there: then the meeting has begun.
        await until((sockets / "1.sock").exists)
        victim = next(pid for pid in workers(sockets) if f"{sockets}/spu/0.sock" in open_sockets(pid))
        os.kill(victim, signal.SIGKILL)
        ends = await asyncio.gather(*work[:2], return_exceptions=True)
        work[2].cancel()
        await asyncio.gather(work[2], return_exceptions=True)
        return ends

    with tempfile.TemporaryDirectory(prefix="fe-") as folder:
        killed, other = asyncio.run(story(Path(folder)))
        assert workers(Path(folder)) == []
    assert isinstance(killed, PartyFailed)
    assert (killed.party, "SIGKILL" in killed.cause) == ("air", True)
    assert isinstance(other, EngineStopped)
    assert "air" in other.cause
    assert left_behind() == []


@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_killed_while_sets_meet_is_named_here_and_breaks_the_others_link(victim) -> None:
    both, inputs = sets()

    async def story(sockets: Path) -> list:
        # The one that listens is there first and waits for the other, so it is surely in the middle of its work.
        work = [asyncio.create_task(process.run_job(both[1], inputs[1], sockets, deadline=DEADLINE))]
        await until((sockets / "1.sock").exists)
        before = set(workers(sockets))
        work.insert(0, asyncio.create_task(process.run_job(both[0], inputs[0], sockets, deadline=DEADLINE)))
        await until(lambda: len(workers(sockets)) == 2)
        os.kill((before if victim == 1 else set(workers(sockets)) - before).pop(), signal.SIGKILL)
        return await asyncio.gather(*work, return_exceptions=True)

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fe-") as folder:
        ends = asyncio.run(story(Path(folder)))
        assert workers(Path(folder)) == []
    assert time.monotonic() - began < 2 * DEADLINE
    assert isinstance(ends[victim], PartyFailed)
    assert (ends[victim].party, "SIGKILL" in ends[victim].cause) == (both[victim].parties[victim], True)
    other = ends[1 - victim]
    assert isinstance(other, EngineStopped)
    assert both[victim].parties[victim] in other.cause


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_worker_killed_while_three_sets_meet_is_named_by_all_within_the_deadline(victim) -> None:
    three = jobs("psi", "intersection", {"keys": ["k"]}, PARTIES, [[], [], []], (0,), seconds=SECONDS)
    data = {"data": pa.table({"k": list(range(300_000))})}

    async def story(sockets: Path) -> list:
        # The victim starts last but for one, so that the other two surely have begun and one link is still to come.
        order = [rank for rank in (2, 1, 0) if rank != victim]
        work = {order[0]: asyncio.create_task(process.run_job(three[order[0]], data, sockets, deadline=DEADLINE))}
        await until(lambda: len(workers(sockets)) == 1)
        before = set(workers(sockets))
        work[victim] = asyncio.create_task(process.run_job(three[victim], data, sockets, deadline=DEADLINE))
        await until(lambda: len(workers(sockets)) == 2)
        (number,) = set(workers(sockets)) - before
        work[order[1]] = asyncio.create_task(process.run_job(three[order[1]], data, sockets, deadline=DEADLINE))
        await until(lambda: len(workers(sockets)) == 3)
        os.kill(number, signal.SIGKILL)
        return await asyncio.gather(*(work[rank] for rank in range(3)), return_exceptions=True)

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fe-") as folder:
        ends = asyncio.run(story(Path(folder)))
        assert workers(Path(folder)) == []
    assert time.monotonic() - began < 2 * DEADLINE
    assert isinstance(ends[victim], PartyFailed)
    assert (ends[victim].party, "SIGKILL" in ends[victim].cause) == (PARTIES[victim], True)
    for rank, end in enumerate(ends):
        if rank != victim:
            assert isinstance(end, EngineStopped)
            assert PARTIES[victim] in end.cause
    assert left_behind() == []


def test_a_silent_peer_of_a_meeting_is_named_within_the_deadline() -> None:
    both, inputs = sets()

    async def story(sockets: Path) -> None:
        listening = asyncio.Event()

        async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await listening.wait()
            writer.close()

        server = await asyncio.start_unix_server(silent, str(sockets / "1.sock"))
        with pytest.raises(EngineStopped, match="weather did not say anything"):
            await process.run_job(both[0], inputs[0], sockets, deadline=DEADLINE)
        listening.set()
        server.close()

    with tempfile.TemporaryDirectory(prefix="fe-") as folder:
        asyncio.run(story(Path(folder)))
    assert left_behind() == []
