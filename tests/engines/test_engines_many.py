"""The intersection of three and more sets beside pandas, who learns what of it, and members that go away or lie."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import tempfile
import threading
import time
import unicodedata
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from engines_world import jobs
from hypothesis import given, settings
from hypothesis import strategies as st
from psi_world import attempt
from test_engines_channel import channels

from fondaco.cli.demo.data import prepare
from fondaco.core.messages import to_bytes
from fondaco.engines import base
from fondaco.engines.base import BadJob, EngineStopped
from fondaco.engines.channel import connect_all, socket_name
from fondaco.engines.psi import many, store
from fondaco.engines.psi.keys import identified
from fondaco.engines.psi.operations import run
from fondaco.engines.psi.session import Size

SOME = settings(max_examples=20, deadline=None)
# No NUL: the vault takes none, and pandas holds it for the end of a text.
WORDS = ["a", "b", "é", "e\u0301", "ß", "", " ", "日本", "\U0001f600", "a" * 200, "key"]
texts = st.one_of(
    st.none(),
    st.sampled_from(WORDS),
    st.text(st.characters(min_codepoint=1, blacklist_categories=["Cs", "Cn"]), max_size=2),
)
numbers = st.one_of(st.none(), st.integers(-1, 1), st.integers(-(1 << 63), (1 << 63) - 1))
rows = st.lists(st.tuples(texts, numbers), max_size=30)
NAMES = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def table(rows: list[tuple]) -> pa.Table:
    return pa.table({"k": pa.array([r[0] for r in rows], pa.string()), "n": pa.array([r[1] for r in rows], pa.int64())})


def frame(rows: list[tuple]) -> pd.DataFrame:
    """The different keys without nulls, text in one normal form."""
    clean = [(unicodedata.normalize("NFD", t), str(n)) for t, n in rows if t is not None and n is not None]
    return pd.DataFrame(clean, columns=["k", "n"], dtype="object").drop_duplicates()


def met(tables: list[pa.Table], receivers: tuple[int, ...], keys: tuple[str, ...] = ("k",), seconds: int = 60) -> list:
    """How each member of one intersection ends."""
    count = len(tables)
    step = jobs("psi", "intersection", {"keys": list(keys)}, NAMES[:count], [[]] * count, receivers, seconds=seconds)
    return attempt(step, tables)


def all_met(tables: list[pa.Table], receivers: tuple[int, ...], keys: tuple[str, ...] = ("k",)) -> list:
    """The outcomes of all, or the first error."""
    ends = met(tables, receivers, keys)
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    return ends


@SOME
@given(st.lists(rows, min_size=3, max_size=4), st.sets(st.integers(0, 2), min_size=1))
def test_an_intersection_of_many_equals_that_of_pandas(sides, receivers) -> None:
    outcomes = all_met([table(side) for side in sides], tuple(sorted(receivers)), ("k", "n"))
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
    for outcome in all_met(tables, (0, 1, 2)):
        assert sorted(outcome.tables["match"]["k"].to_pylist()) == list(range(min(sizes)))


@pytest.mark.parametrize("members", [3, 5, 8])
def test_members_of_any_number_meet_and_the_receivers_alone_learn(members) -> None:
    tables = [pa.table({"k": [i for i in range(300) if i % 11 == 0 or i % members != rank]}) for rank in range(members)]
    outcomes = all_met(tables, (1, members - 1))
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
    all_met([pa.table({"k": shared + other}), pa.table({"k": shared}), pa.table({"k": other})], (0,))
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
    first, _second, third = all_met(tables, (0, 2))
    assert sorted(first.tables["match"]["k"].to_pylist()) == sorted(f"k{i}" for i in range(min(sizes)))
    assert first.tables["match"].equals(third.tables["match"])


def test_aircraft_that_fly_and_are_registered_and_have_weather_meet(tmp_path) -> None:
    sources = prepare(tmp_path)
    flights, planes = (pd.read_csv(path, dtype=str) for path in (sources.flights, sources.planes))
    big = planes[planes["seats"].astype(int) > 150]
    tables = [pa.table({"k": pa.array(part["tailnum"], pa.string())}) for part in (flights, planes, big)]
    first, *_others = all_met(tables, (0,))
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
    *_others, third = all_met(tables, (2,), ("origin", "time_hour"))
    wanted = late[keys].drop_duplicates().merge(weather.drop_duplicates(), on=keys)
    found = third.tables["match"].to_pandas()
    assert sorted(map(tuple, found.to_numpy())) == sorted(map(tuple, wanted.to_numpy()))
    assert len(wanted) > 1000


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "parameters", "members"),
    [
        ("difference", {}, 3), ("union", {}, 3), ("cardinality", {}, 3), ("threshold", {"at_least": 2}, 3),
        ("intersection", {"security": "malicious"}, 3), ("intersection", {"link_mbit": 3}, 3),
        ("intersection", {}, 9), ("intersection", {}, 1), ("intersection", {"keys": []}, 3),
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


class Wire:
    """Proxies between all pairs of members: each works in a folder of its own, and every message is counted."""

    def __init__(self, root: Path, members: int) -> None:
        self.folders = [root / str(rank) for rank in range(members)]
        self.seen: dict[tuple[int, int], list[int]] = {}
        self.bytes = bytearray()
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        for folder in self.folders:
            folder.mkdir()
        for low in range(members):
            for high in range(low + 1, members):
                server = socket.socket(socket.AF_UNIX)
                server.bind(str(self.folders[low] / socket_name("psi", members, high, low)))
                server.listen(1)
                there = self.folders[high] / socket_name("psi", members, high, low)
                self._start(self._pair, server, there, low, high)

    def _start(self, work, *arguments) -> None:
        thread = threading.Thread(target=work, args=arguments)
        thread.start()
        self._threads.append(thread)

    def _pair(self, server: socket.socket, there: Path, low: int, high: int) -> None:
        with server:
            near, _address = server.accept()
        far = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 60
        while far.connect_ex(str(there)):
            assert time.monotonic() < end
            time.sleep(0.005)
        self._open += [near, far]
        self._start(self._carry, near, far, (low, high))
        self._start(self._carry, far, near, (high, low))

    def _carry(self, one: socket.socket, other: socket.socket, way: tuple[int, int]) -> None:
        sizes = self.seen.setdefault(way, [])
        while head := one.recv(8, socket.MSG_WAITALL):
            size = int.from_bytes(head, "big")
            data = one.recv(size, socket.MSG_WAITALL)
            other.sendall(head + data)
            sizes.append(size)
            self.bytes += data
        other.shutdown(socket.SHUT_WR)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        for link in self._open:
            link.close()


def transcript(tables: list[pa.Table], receivers: tuple[int, ...]) -> Wire:
    """All that three honest members say to one another."""
    count = len(tables)
    step = jobs("psi", "intersection", {"keys": ["k"]}, NAMES[:count], [[]] * count, receivers, seconds=60)
    with tempfile.TemporaryDirectory(prefix="fm-") as name:
        wire = Wire(Path(name), count)
        work = [
            threading.Thread(target=run, args=(job, {"data": one}, folder, folder))
            for job, one, folder in zip(step, tables, wire.folders, strict=True)
        ]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        wire.join()
    return wire


@pytest.mark.parametrize("receivers", [(0,), (1,), (0, 1, 2)])
def test_what_three_send_has_sizes_that_the_numbers_of_keys_alone_decide(receivers) -> None:
    def keys(*ranges: range) -> list[pa.Table]:
        return [pa.table({"k": pa.array(one, pa.int64())}) for one in ranges]

    alike = transcript(keys(range(50), range(80), range(30)), receivers).seen
    apart = transcript(keys(range(50), range(100, 180), range(500, 530)), receivers).seen
    assert alike == apart
    leader = receivers[0]
    for one, other in ((a, b) for a in range(3) for b in range(3) if leader not in (a, b) and a != b):
        assert len(alike[one, other]) == 2, "those outside greet each other and say no more"


def test_no_key_and_no_identifier_is_on_any_wire_of_three(monkeypatch) -> None:
    sessions: list[bytes] = []
    agree = many.agree

    def watch(*arguments) -> tuple[bytes, bytes]:
        made = agree(*arguments)
        sessions.append(made[0])
        return made

    monkeypatch.setattr(many, "agree", watch)
    sets = [[f"NSHARED{i:05d}" for i in range(40)] + [f"{name}{i:07d}" for i in range(60)] for name in "XYZ"]
    heard = bytes(transcript([pa.table({"k": keys}) for keys in sets], (0,)).bytes)
    assert len(heard) > 100_000, "the transcript was not kept"
    assert len(dict.fromkeys(sessions)) == 1, "all have one session key"
    for keys in sets:
        assert not any(key.encode() in heard for key in keys)
        ids = identified(pa.table({"k": keys}), sessions[0]).ids
        assert not any(bytes(one) in heard for one in ids)


# -- members that go away or lie ------------------------------------------------------------------------------------


def alone(job, place: Path) -> EngineStopped:
    with pytest.raises(EngineStopped) as caught:
        run(job, {"data": pa.table({"k": list(range(40))})}, place, place)
    return caught.value


def with_a_stranger(rank: int, behave, receivers: tuple[int, ...] = (0,), seconds: int = 20) -> list[EngineStopped]:
    """How the two others end where member `rank` of three does as it likes once it has agreed."""
    step = jobs("psi", "intersection", {"keys": ["k"]}, NAMES[:3], [[]] * 3, receivers, seconds=seconds)
    agreed = many.hashlib.sha256(many.encode([*sorted(receivers), step[0].parameters])).digest()
    ends: dict[int, EngineStopped] = {}
    with tempfile.TemporaryDirectory(prefix="fm-") as name:
        place = Path(name)

        def honest(one: int) -> None:
            ends[one] = alone(step[one], place)

        threads = [threading.Thread(target=honest, args=(one,)) for one in range(3) if one != rank]
        for thread in threads:
            thread.start()
        # The stranger has time: what ends is the others' patience.
        with connect_all(dataclasses.replace(step[rank], timeout_seconds=60), place) as channels:
            many.agree(step[rank], channels, agreed)
            with contextlib.suppress(EngineStopped):
                behave(channels)
        for thread in threads:
            thread.join()
    return [ends[one] for one in sorted(ends)]


@pytest.mark.parametrize(("rank", "name"), [(0, "one"), (1, "two"), (2, "three")])
def test_a_member_that_goes_away_is_named_by_all_within_the_deadline(rank, name) -> None:
    began = time.monotonic()
    ends = with_a_stranger(rank, lambda _channels: None)
    assert time.monotonic() - began < 20
    for end in ends:
        assert f"the link to {name} broke" in end.cause


def test_a_member_that_says_nothing_is_named_at_the_deadline() -> None:
    def listen(channels) -> None:
        while True:
            channels[0].receive(1 << 20)

    leader, other = with_a_stranger(1, listen, seconds=4)
    assert "two did not say anything" in leader.cause
    assert "two did not say anything" in other.cause or "one did not say anything" in other.cause


def _says(*told: bytes):
    def behave(channels) -> None:
        for data in told:
            channels[0].send(data)
        while True:
            channels[0].receive(1 << 24)

    return behave


@pytest.mark.parametrize(
    "told",
    [
        (b"",), (b"nonsense",), (to_bytes(Size(rows=-1)),), (to_bytes(Size(rows=(1 << 30) + 1)),),
        (to_bytes(Size(rows=5)), b"x" * 15), (to_bytes(Size(rows=5)), b"x" * 16, b"short"),
    ],
)  # fmt: skip
def test_a_member_that_sends_what_it_must_not_is_named_by_all(told) -> None:
    for end in with_a_stranger(1, _says(*told)):
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


@given(st.binary(max_size=300))
def test_a_greeting_that_is_none_is_refused(data) -> None:
    near, far = channels()
    with near, far:
        far.send(data)
        with pytest.raises((EngineStopped, BadJob)):
            many._heard(near, bytes(32))


@given(st.binary(max_size=600))
def test_a_farewell_is_one_line_of_bounded_length(data) -> None:
    near, far = channels()
    with far, near:
        far.stop(data.decode("latin-1"))
        with pytest.raises(EngineStopped) as caught:
            near.receive(10)
    assert caught.value.cause.isprintable()
    assert len(caught.value.cause) < 450
