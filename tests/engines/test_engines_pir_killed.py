"""A hidden query whose worker is killed midway: one named cause on every side, within the deadline, nothing left."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest
from engines_world import column, jobs
from pir_world import killed_between
from test_engines_killed import left_behind

from fondaco.engines.base import EngineStopped, Outcome, WorkerDied

SECONDS = 20
COLUMNS = [column("k", "text"), column("v")]
DATA = pa.table({"k": [f"key{i}" for i in range(300)], "v": list(range(300))})
ASKED = pa.table({"k": ["key7"]})
BLINDED, QUERIES = 1, 2


def lookup_jobs() -> list:
    parameters = {"keys": ["k"], "most_keys": 2}
    return jobs("pir", "lookup", parameters, ["air", "weather"], [COLUMNS[:1], COLUMNS], (0,), seconds=SECONDS)


def two_server_jobs() -> list:
    parameters = {"keys": ["k"], "most_keys": 2}
    columns = [COLUMNS[:1], COLUMNS, COLUMNS]
    return jobs("pir", "two-server-lookup", parameters, ["air", "weather", "mirror"], columns, (0,), seconds=SECONDS)


@pytest.mark.parametrize("after", [BLINDED, QUERIES])
@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_killed_in_a_lookup_is_named_here_and_breaks_the_others_link(victim, after) -> None:
    began = time.monotonic()
    ends = killed_between(lookup_jobs(), [{"data": ASKED}, {"data": DATA}], victim, after)
    assert time.monotonic() - began < SECONDS
    assert isinstance(ends[victim], WorkerDied)
    assert (ends[victim].party, "SIGKILL" in ends[victim].cause) == (["air", "weather"][victim], True)
    assert isinstance(ends[1 - victim], EngineStopped)
    assert f"the link to {['air', 'weather'][victim]} broke" in ends[1 - victim].cause
    assert left_behind() == []


@pytest.mark.parametrize("after", [BLINDED, QUERIES])
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_killed_server_or_asker_ends_all_three_with_its_name(victim, after) -> None:
    names = ["air", "weather", "mirror"]
    began = time.monotonic()
    ends = killed_between(two_server_jobs(), [{"data": ASKED}, {"data": DATA}, {"data": DATA}], victim, after)
    assert time.monotonic() - began < SECONDS
    assert isinstance(ends[victim], WorkerDied)
    assert ends[victim].party == names[victim]
    for rank, end in enumerate(ends):
        if rank != victim and not (rank == 2 - victim // 2 and after == QUERIES and isinstance(end, Outcome)):
            # A server that has answered all that was asked of it is done, whatever becomes of the others.
            assert isinstance(end, EngineStopped)
            assert names[victim] in end.cause, (names[rank], end.cause)
    assert left_behind() == []
