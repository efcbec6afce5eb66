"""The intersection of three and more sets beside pandas, who learns what of it, and members that go away or lie."""

from __future__ import annotations

import tempfile
import time
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from engines_world import jobs
from hypothesis import given, settings
from hypothesis import strategies as st
from many_world import NAMES, all_met, frame, rows, saying, table, transcript, with_a_stranger
from psi_world import attempt
from test_engines_channel import channels

from fondaco.cli.demo.data import prepare
from fondaco.core.messages import to_bytes
from fondaco.engines import base
from fondaco.engines.base import BadJob, EngineStopped
from fondaco.engines.psi import gathering, many, store
from fondaco.engines.psi.keys import identified
from fondaco.engines.psi.session import Size

SOME = settings(max_examples=20, deadline=None)


@SOME
@given(st.lists(rows, min_size=3, max_size=4), st.sets(st.integers(0, 2), min_size=1))
def test_an_intersection_of_many_equals_that_of_pandas(sides, receivers) -> None:
    outcomes = all_met("intersection", [table(side) for side in sides], tuple(sorted(receivers)), keys=["k", "n"])
    wanted = frame(sides[0])
    for side in sides[1:]:
        wanted = wanted.merge(frame(side), on=["k", "n"])
    orders = []
    for rank, outcome in enumerate(outcomes):
        assert list(outcome.tables) == (["match"] if rank in receivers else [])
        assert outcome.report.rows_in == len(frame(sides[rank]))
        for match in outcome.tables.values():
            orders.append([(unicodedata.normalize("NFD", r["k"]), str(r["n"])) for r in match.to_pylist()])
            assert sorted(orders[-1]) == sorted(wanted.itertuples(index=False, name=None))
    assert all(order == orders[0] for order in orders), "all have one order"


@pytest.mark.parametrize(
    "sizes", [(0, 0, 0), (0, 5, 5), (5, 0, 5), (5, 5, 0), (1, 1, 1), (1, 900, 900), (900, 1, 1), (900, 3, 2000)]
)
def test_sets_of_every_size_meet(sizes) -> None:
    tables = [pa.table({"k": pa.array(range(size), pa.int64())}) for size in sizes]
    for outcome in all_met("intersection", tables, (0, 1, 2)):
        assert sorted(outcome.tables["match"]["k"].to_pylist()) == list(range(min(sizes)))


@pytest.mark.parametrize("members", [3, 5, 8])
def test_members_of_any_number_meet_and_the_receivers_alone_learn(members) -> None:
    tables = [pa.table({"k": [i for i in range(300) if i % 11 == 0 or i % members != rank]}) for rank in range(members)]
    outcomes = all_met("intersection", tables, (1, members - 1))
    wanted = [i for i in range(300) if i % 11 == 0]
    for rank, outcome in enumerate(outcomes):
        found = [sorted(match["k"].to_pylist()) for match in outcome.tables.values()]
        assert found == ([wanted] if rank in (1, members - 1) else [])
        assert outcome.report.configuration == many.STAR


def test_what_all_but_one_share_is_in_no_sum_that_the_leader_sees(monkeypatch) -> None:
    seen: list[np.ndarray] = []
    ask = many._ask

    def watch(store_, channel, peer_rows, sums) -> None:
        before = sums.copy()
        ask(store_, channel, peer_rows, sums)
        seen.append(before ^ sums)

    monkeypatch.setattr(many, "_ask", watch)
    shared, other = list(range(40)), list(range(40, 80))
    # Both others have the first half of the leader's keys in turn; all have none.
    all_met("intersection", [pa.table({"k": shared + other}), pa.table({"k": shared}), pa.table({"k": other})], (0,))
    assert len(seen) == 2
    for values in seen:
        words = values.reshape(-1)
        assert words.all(), "no value is zero"
        assert len(np.unique(words)) == len(words), "none stands twice"
        # Where the other has the key the value is a share, else noise: bits of both are even alike.
        for half in (values[:40], values[40:]):
            assert 0.45 < np.unpackbits(np.ascontiguousarray(half).view(np.uint8)).mean() < 0.55
    assert ((seen[0] ^ seen[1]).any(axis=1)).all()


@pytest.fixture
def tiny_parts(monkeypatch):
    """Cut sets of hundreds as if they were of hundreds of millions."""
    monkeypatch.setattr(store, "PART_ROWS", 16)
    monkeypatch.setattr(store, "_BATCH", 50)
    monkeypatch.setattr(store, "MEMORY_ROWS", 100)


@pytest.mark.parametrize("sizes", [(700, 30, 300), (30, 700, 50), (400, 400, 400)])
def test_sets_that_are_cut_into_parts_meet_the_same(tiny_parts, sizes) -> None:
    tables = [pa.table({"k": [f"k{i % size}" for i in range(size + 90)]}) for size in sizes]
    first, _second, third = all_met("intersection", tables, (0, 2))
    assert sorted(first.tables["match"]["k"].to_pylist()) == sorted(f"k{i}" for i in range(min(sizes)))
    assert first.tables["match"].equals(third.tables["match"])


def test_aircraft_that_fly_and_are_registered_and_have_weather_meet(tmp_path) -> None:
    sources = prepare(tmp_path)
    flights, planes = (pd.read_csv(path, dtype=str) for path in (sources.flights, sources.planes))
    big = planes[planes["seats"].astype(int) > 150]
    tables = [pa.table({"k": pa.array(part["tailnum"], pa.string())}) for part in (flights, planes, big)]
    first, *_others = all_met("intersection", tables, (0,))
    wanted = set(flights["tailnum"].dropna()) & set(planes["tailnum"]) & set(big["tailnum"])
    found = first.tables["match"]["k"].to_pylist()
    assert (set(found), len(found)) == (wanted, len(wanted))
    assert len(wanted) > 500


def test_hours_that_two_airports_flew_and_that_have_weather_meet(tmp_path) -> None:
    sources = prepare(tmp_path)
    flights = pd.read_csv(sources.flights, dtype=str)
    with duckdb.connect(str(sources.weather)) as db:
        weather = db.execute("SELECT origin, time_hour FROM observations").df()
    keys = ["origin", "time_hour"]
    late = flights[pd.to_numeric(flights["dep_delay"]) > 60]
    tables = [pa.table({name: pa.array(part[name], pa.string()) for name in keys}) for part in (flights, weather, late)]
    *_others, third = all_met("intersection", tables, (2,), keys=keys)
    wanted = late[keys].drop_duplicates().merge(weather.drop_duplicates(), on=keys)
    found = third.tables["match"].to_pandas()
    assert sorted(map(tuple, found.to_numpy())) == sorted(map(tuple, wanted.to_numpy()))
    assert len(wanted) > 1000


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "parameters", "members"),
    [
        ("cardinality", {}, 3), ("threshold", {"at_least": 2}, 3), ("unbalanced", {}, 3),
        ("intersection", {"security": "malicious"}, 3), ("intersection", {"link_mbit": 3}, 3),
        ("intersection", {}, 9), ("intersection", {}, 1), ("intersection", {"keys": []}, 3),
        ("intersection", {"key_bytes": 9}, 3),
    ],
)  # fmt: skip
def test_what_is_not_for_many_is_refused(operation, parameters, members) -> None:
    step = jobs("psi", operation, {"keys": ["k"]} | parameters, NAMES[:members], [[]] * members, (0,))
    assert all(isinstance(end, BadJob) for end in attempt(step, [pa.table({"k": [1]})] * members))


def test_a_member_with_other_terms_is_refused() -> None:
    steps = [
        jobs("psi", "intersection", {"keys": keys}, NAMES[:3], [[]] * 3, (0,), seconds=10)[rank]
        for rank, keys in enumerate([["k"], ["k"], ["k", "k2"]])
    ]
    ends = attempt(steps, [pa.table({"k": [1], "k2": [1]})] * 3)
    assert all(isinstance(end, BadJob | EngineStopped) for end in ends)
    assert all("other parameters" in end.cause for end in ends), "who hears it from another hears the cause"


def test_explain_says_who_leads_and_what_is_told() -> None:
    assert "leads" in base.leakage("psi", "intersection", members=3)[0]
    assert "other has" in base.leakage("psi", "intersection")[0]
    assert base.reason("psi", "intersection", {"keys": ["k"]}, [5, 6, 7]).startswith("star")
    three, two = (base.estimate("psi", "intersection", 10**6, members=count) for count in (3, 2))
    assert three.seconds > two.seconds
    assert three.network_mib > two.network_mib


# -- what is sent ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("receivers", [(0,), (1,), (0, 1, 2)])
def test_what_three_send_has_sizes_that_the_numbers_of_keys_alone_decide(receivers) -> None:
    def keys(*ranges: range) -> list[pa.Table]:
        return [pa.table({"k": pa.array(one, pa.int64())}) for one in ranges]

    alike = transcript("intersection", keys(range(50), range(80), range(30)), receivers).seen
    apart = transcript("intersection", keys(range(50), range(100, 180), range(500, 530)), receivers).seen
    assert alike == apart
    leader = receivers[0]
    for one, other in ((a, b) for a in range(3) for b in range(3) if leader not in (a, b) and a != b):
        assert len(alike[one, other]) == 2, "those outside greet each other and say no more"


def test_no_key_and_no_identifier_is_on_any_wire_of_three(monkeypatch) -> None:
    sessions: list[bytes] = []
    agree = gathering.agree

    def watch(*arguments) -> tuple[bytes, bytes]:
        made = agree(*arguments)
        sessions.append(made[0])
        return made

    monkeypatch.setattr(gathering, "agree", watch)
    sets = [[f"NSHARED{i:05d}" for i in range(40)] + [f"{name}{i:07d}" for i in range(60)] for name in "XYZ"]
    heard = bytes(transcript("intersection", [pa.table({"k": keys}) for keys in sets], (0,)).bytes)
    assert len(heard) > 100_000, "the transcript was not kept"
    assert len(dict.fromkeys(sessions)) == 1, "all have one session key"
    for keys in sets:
        assert not any(key.encode() in heard for key in keys)
        ids = identified(pa.table({"k": keys}), sessions[0]).ids
        assert not any(bytes(one) in heard for one in ids)


# -- members that go away or lie ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rank", "name"), [(0, "one"), (1, "two"), (2, "three")])
def test_a_member_that_goes_away_is_named_by_all_within_the_deadline(rank, name) -> None:
    began = time.monotonic()
    ends = with_a_stranger("intersection", rank, lambda _channels: None)
    assert time.monotonic() - began < 20
    for end in ends:
        assert f"the link to {name} broke" in end.cause


def test_a_member_that_says_nothing_is_named_at_the_deadline() -> None:
    def listen(channels) -> None:
        while True:
            channels[0].receive(1 << 20)

    leader, other = with_a_stranger("intersection", 1, listen, seconds=4)
    assert "two did not say anything" in leader.cause
    assert "two did not say anything" in other.cause or "one did not say anything" in other.cause


@pytest.mark.parametrize(
    "told",
    [
        (b"",), (b"nonsense",), (to_bytes(Size(rows=-1)),), (to_bytes(Size(rows=(1 << 30) + 1)),),
        (to_bytes(Size(rows=5)), b"x" * 15), (to_bytes(Size(rows=5)), b"x" * 16, b"short"),
    ],
)  # fmt: skip
def test_a_member_that_sends_what_it_must_not_is_named_by_all(told) -> None:
    for end in with_a_stranger("intersection", 1, saying(*told)):
        assert "two" in end.cause


def test_a_leader_that_tells_no_result_is_refused() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="fm-") as name,
        store.Store(pa.table({"k": [1, 2]}), bytes(32), scratch=Path(name)) as mine,
    ):
        own = mine.all().ids
        assert many._told(mine, own[1:].tobytes() + bytes(16), "one").tolist() == [1]
        with pytest.raises(EngineStopped, match="names a key twice"):
            many._told(mine, bytes(32), "one")


@given(st.lists(st.sampled_from([bytes(16), *(bytes([i]) * 16 for i in range(1, 9))]), max_size=9), st.binary())
def test_a_result_of_any_identifiers_is_read_or_refused(told, noise) -> None:
    ids = np.frombuffer(b"".join(bytes([i]) * 16 for i in range(1, 9)), np.uint8).reshape(-1, 16)
    places = np.arange(8, dtype=np.uint32)
    mine = SimpleNamespace(rows=8, part=lambda _index, _parts: store.Part(ids, places))
    whole = b"".join(told) + noise[: len(noise) // 16 * 16]
    named = [whole[at : at + 16] for at in range(0, len(whole), 16)]
    if len(set(named)) < len(named):
        with pytest.raises(EngineStopped, match="names a key twice"):
            many._told(mine, whole, "one")
    else:
        found = many._told(mine, whole, "one").tolist()
        assert sorted(found) == sorted(one[0] - 1 for one in named if one in {bytes([i]) * 16 for i in range(1, 9)})


@given(st.binary(max_size=300))
def test_a_greeting_that_is_none_is_refused(data) -> None:
    near, far = channels()
    with near, far:
        far.send(data)
        with pytest.raises((EngineStopped, BadJob)):
            gathering.heard(near, bytes(32))


@given(st.binary(max_size=600))
def test_a_farewell_is_one_line_of_bounded_length(data) -> None:
    near, far = channels()
    with far, near:
        far.stop(data.decode("latin-1"))
        with pytest.raises(EngineStopped) as caught:
            near.receive(10)
    assert caught.value.cause.isprintable()
    assert len(caught.value.cause) < 450
