"""Difference and union of three and more sets beside pandas, who learns what, and members that go away or lie."""

from __future__ import annotations

import contextlib
import datetime
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
from hypothesis import given, settings
from hypothesis import strategies as st
from many_world import NAMES, Wire, all_met, ended, even, frame, rows, saying, steps, table, transcript, with_a_stranger
from psi_world import attempt

from fondaco.cli.demo.data import prepare
from fondaco.core.messages import to_bytes
from fondaco.engines import base
from fondaco.engines.base import BadJob, EngineStopped
from fondaco.engines.psi import gathering, lacking, union_of_many
from fondaco.engines.psi.keys import identified
from fondaco.engines.psi.session import Size

SOME = settings(max_examples=12, deadline=None)
BOTH = pytest.mark.parametrize("operation", ["difference", "union"])


def spelled(result: pa.Table) -> list[tuple]:
    return [(unicodedata.normalize("NFD", r["k"]), str(r["n"])) for r in result.to_pylist()]


def listed(found: pd.DataFrame) -> list[tuple]:
    return list(found.itertuples(index=False, name=None))


def keys(result: pa.Table) -> list:
    return result["k"].to_pylist()


def numbers(*ranges: range) -> list[pa.Table]:
    return [pa.table({"k": pa.array(one, pa.int64())}) for one in ranges]


@SOME
@given(st.lists(rows, min_size=3, max_size=4), st.sets(st.integers(0, 2), min_size=1))
def test_a_difference_of_many_equals_that_of_pandas(sides, receivers) -> None:
    outcomes = all_met("difference", [table(side) for side in sides], tuple(sorted(receivers)), keys=["k", "n"])
    for rank, outcome in enumerate(outcomes):
        assert list(outcome.tables) == (["result"] if rank in receivers else [])
        assert outcome.report.rows_in == len(frame(sides[rank]))
        others = pd.concat([frame(side) for other, side in enumerate(sides) if other != rank]).drop_duplicates()
        wanted = frame(sides[rank]).merge(others, on=["k", "n"], how="left", indicator=True)
        for result in outcome.tables.values():
            assert spelled(result) == listed(wanted[wanted["_merge"] == "left_only"][["k", "n"]]), "in the rows' order"


@SOME
@given(st.lists(rows, min_size=3, max_size=4), st.sets(st.integers(0, 2), min_size=1))
def test_a_union_of_many_equals_that_of_pandas(sides, receivers) -> None:
    outcomes = all_met(
        "union", [table(side) for side in sides], tuple(sorted(receivers)), keys=["k", "n"], key_bytes=210
    )
    wanted = pd.concat([frame(side) for side in sides]).drop_duplicates()
    for rank, outcome in enumerate(outcomes):
        assert list(outcome.tables) == (["result"] if rank in receivers else [])
        for result in outcome.tables.values():
            found, own = spelled(result), listed(frame(sides[rank]))
            assert sorted(found) == sorted(listed(wanted))
            assert found[: len(own)] == own, "first the receiver's own"


@pytest.mark.parametrize(
    "sizes", [(0, 0, 0), (0, 5, 5), (5, 0, 5), (5, 5, 0), (0, 0, 5), (1, 1, 1), (1, 900, 900), (900, 3, 2000)]
)
def test_sets_of_every_size_meet(sizes) -> None:
    tables = numbers(*map(range, sizes))
    for rank, outcome in enumerate(all_met("difference", tables, (0, 1, 2))):
        most = max(size for other, size in enumerate(sizes) if other != rank)
        assert keys(outcome.tables["result"]) == list(range(most, sizes[rank]))
    for rank, outcome in enumerate(all_met("union", tables, (0, 1, 2))):
        found = keys(outcome.tables["result"])
        assert found[: sizes[rank]] == list(range(sizes[rank]))
        assert sorted(found) == list(range(max(sizes)))


@pytest.mark.parametrize(
    ("shares", "lacking_", "united"),
    [("all", 0, 60), ("none", 60, 240), ("one other", 0, 180)],
)
def test_what_all_none_or_one_other_has(shares, lacking_, united) -> None:
    begins = {"all": (0, 0, 0, 0), "none": (0, 60, 120, 180), "one other": (0, 60, 0, 120)}[shares]
    tables = numbers(*(range(begin, begin + 60) for begin in begins))
    assert all_met("difference", tables, (0,))[0].tables["result"].num_rows == lacking_
    assert all_met("union", tables, (0,))[0].tables["result"].num_rows == united


@pytest.mark.parametrize("count", [3, 5, 8])
def test_members_of_any_number_meet_and_the_receivers_alone_learn(count) -> None:
    # Every key is at the members that its number names in binary; none is at no member.
    sets = [[i for i in range(1, 1 << count) if i >> rank & 1] for rank in range(count)]
    tables = [pa.table({"k": one}) for one in sets]
    receivers = (1, count - 1)
    for rank, outcome in enumerate(all_met("difference", tables, receivers)):
        assert [keys(one) for one in outcome.tables.values()] == ([[1 << rank]] if rank in receivers else [])
        assert outcome.report.configuration == lacking.LACKING
    for rank, outcome in enumerate(all_met("union", tables, receivers)):
        found = [sorted(keys(one)) for one in outcome.tables.values()]
        assert found == ([list(range(1, 1 << count))] if rank in receivers else [])
        assert outcome.report.configuration == union_of_many.UNITING_MANY


def test_doubled_rows_nulls_and_other_spellings_are_one_key_or_none() -> None:
    one = pa.table({"k": ["\u00e9", "x", "x", None, "mine"]})
    two = pa.table({"k": ["e\u0301", "y", "y", None]})
    three = pa.table({"k": ["\u00e9", "z", None, "y"]})
    difference, *_others = all_met("difference", [one, two, three], (0,))
    assert keys(difference.tables["result"]) == ["x", "mine"]
    united, *_others = all_met("union", [one, two, three], (0,))
    assert keys(united.tables["result"])[:3] == ["\u00e9", "x", "mine"]
    assert sorted(keys(united.tables["result"])[3:]) == ["y", "z"]


def test_keys_with_as_much_text_as_may_be_arrive() -> None:
    tables = [pa.table({"k": [str(rank) * 4096, "x"]}) for rank in range(3)]
    first, *_others = all_met("union", tables, (0,), key_bytes=4096)
    assert sorted(keys(first.tables["result"])) == sorted([*(str(rank) * 4096 for rank in range(3)), "x"])


def test_keys_of_every_type_arrive_as_they_were() -> None:
    day, now = datetime.date(2026, 11, 25), datetime.datetime(1969, 1, 1, 0, 0, 0, 1, datetime.UTC)
    schema = pa.schema([
        ("t", pa.string()), ("b", pa.bool_()), ("d", pa.date32()), ("u", pa.large_string()),
        ("z", pa.timestamp("us", tz="UTC")), ("n", pa.int64()),
    ])  # fmt: skip
    lines = [("Ж", True, day, "", now, -1), ("", False, datetime.date(1, 1, 1), "日本", now, (1 << 63) - 1)]
    theirs = pa.table([list(column) for column in zip(*lines, strict=True)], schema=schema)
    sets = [theirs.slice(0, 0), theirs.slice(0, 1), theirs]
    first, *_others = all_met("union", sets, (0,), keys=schema.names)
    assert sorted(map(str, first.tables["result"].to_pylist())) == sorted(map(str, theirs.to_pylist()))


def test_aircraft_that_only_one_has_and_all_together(tmp_path) -> None:
    sources = prepare(tmp_path)
    flights, planes = (pd.read_csv(path, dtype=str) for path in (sources.flights, sources.planes))
    big = planes[planes["seats"].astype(int) > 150]
    late = flights[pd.to_numeric(flights["dep_delay"]) > 120]
    sets = [set(part["tailnum"].dropna()) for part in (flights, big, late)]
    tables = [pa.table({"k": pa.array(part["tailnum"], pa.string())}) for part in (flights, big, late)]
    first, *_others = all_met("difference", tables, (0,))
    found = keys(first.tables["result"])
    assert (set(found), len(found)) == (sets[0] - sets[1] - sets[2], len(set(found)))
    assert len(found) > 500
    *_others, third = all_met("union", tables, (2,))
    found = keys(third.tables["result"])
    assert (set(found), len(found)) == (sets[0] | sets[1] | sets[2], len(set(found)))


def test_hours_with_weather_and_late_or_early_flights(tmp_path) -> None:
    sources = prepare(tmp_path)
    flights = pd.read_csv(sources.flights, dtype=str)
    with duckdb.connect(str(sources.weather)) as db:
        weather = db.execute("SELECT origin, time_hour FROM observations").df()
    names = ["origin", "time_hour"]
    delay = pd.to_numeric(flights["dep_delay"])
    parts = [weather[names], flights[delay > 60][names], flights[delay < -5][names]]
    tables = [pa.table({name: pa.array(part[name], pa.string()) for name in names}) for part in parts]
    sets = [set(map(tuple, part.dropna().to_numpy())) for part in parts]
    first, *_others = all_met("difference", tables, (0,), keys=names)
    found = list(map(tuple, first.tables["result"].to_pandas().to_numpy()))
    assert (set(found), len(found)) == (sets[0] - sets[1] - sets[2], len(set(found)))
    assert len(found) > 1000
    _first, second, _third = all_met("union", tables, (1,), keys=names)
    found = list(map(tuple, second.tables["result"].to_pandas().to_numpy()))
    assert (set(found), len(found)) == (sets[0] | sets[1] | sets[2], len(set(found)))


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "parameters", "members"),
    [
        ("difference", {"security": "malicious"}, 3), ("difference", {"link_mbit": 3}, 3),
        ("difference", {"key_bytes": 9}, 3), ("difference", {}, 9), ("difference", {"keys": []}, 3),
        ("union", {"security": "malicious"}, 3), ("union", {"security": "semi-honest"}, 3),
        ("union", {"link_mbit": 3}, 3), ("union", {"key_bytes": 0}, 3), ("union", {}, 9),
    ],
)  # fmt: skip
def test_parameters_that_make_no_sense_are_refused(operation, parameters, members) -> None:
    step = steps(operation, members, (0,), **parameters)
    assert all(isinstance(end, BadJob) for end in attempt(step, [pa.table({"k": [1]})] * members))


@BOTH
@pytest.mark.parametrize("large", [0, 1, 2])
def test_who_brings_too_many_keys_is_named_by_those_that_meet_it(monkeypatch, operation, large) -> None:
    monkeypatch.setattr(lacking, "MOST_KEYS", 5)
    tables = [pa.table({"k": [str(i) for i in range(6 if rank == large else 3)]}) for rank in range(3)]
    ends = attempt(steps(operation, 3, (0,), seconds=30), tables)
    for rank, end in enumerate(ends):
        if rank == large:
            assert isinstance(end, BadJob)
            assert "at most 5 keys" in end.cause
        else:
            assert isinstance(end, EngineStopped)
            assert NAMES[large] in end.cause


def test_more_bytes_of_keys_than_a_union_moves_are_refused_before_they_are_made(monkeypatch) -> None:
    monkeypatch.setattr(union_of_many, "MOST_BYTES", 200 * 4012)
    monkeypatch.setattr(union_of_many, "encoded", None)
    tables = [pa.table({"k": [f"{rank}{i}" for i in range(60)]}) for rank in range(3)]
    for end in attempt(steps("union", 3, (0,), key_bytes=4000), tables):
        assert isinstance(end, BadJob)
        assert "lower key_bytes" in end.remedy


def test_a_key_with_more_text_than_was_agreed_ends_the_step_at_its_owner() -> None:
    tables = [pa.table({"k": ["long enough"]}), pa.table({"k": ["abc", "\u00e9\u00e9"]}), pa.table({"k": ["x"]})]
    first, owner, third = attempt(steps("union", 3, (0,), key_bytes=3), tables)
    assert isinstance(owner, BadJob)
    assert "more than 3 bytes" in owner.cause
    assert "\u00e9" not in owner.diagnostics()
    for other in (first, third):
        assert isinstance(other, EngineStopped)
        assert "two stopped: a key has more than 3 bytes" in other.cause


def test_explain_says_what_is_told() -> None:
    assert "nobody else has" in base.leakage("psi", "difference", members=3)[0]
    assert "neither who has it" in base.leakage("psi", "union", members=3)[0]
    assert "not which those are" in base.leakage("psi", "union")[0]
    for operation in ("difference", "union"):
        assert base.reason("psi", operation, {"keys": ["k"]}, [5, 6, 7]).startswith("tests on shares")
        eight, three, two = (base.estimate("psi", operation, 10**6, members=count) for count in (8, 3, 2))
        assert eight.seconds > three.seconds
        assert eight.network_mib > three.network_mib > two.network_mib


# -- what the receiver sees -----------------------------------------------------------------------------------------


def test_a_receiver_of_a_difference_sees_noise_for_each_key_that_somebody_has(monkeypatch) -> None:
    seen: list[np.ndarray] = []
    received = lacking.received_rows

    def watch(channel, count, width):
        for begin, some in received(channel, count, width):
            seen.append(some.copy())
            yield begin, some

    monkeypatch.setattr(lacking, "received_rows", watch)
    first, *_others = all_met("difference", numbers(range(200), range(100), range(50, 150)), (0,))
    assert keys(first.tables["result"]) == list(range(150, 200))
    assert len(seen) == 2, "one message of each other"
    for values in seen:
        assert values.any(axis=1).all(), "no share is zero"
        assert len(np.unique(values, axis=0)) == len(values), "none stands twice"
        assert even(values)
    assert (seen[0] ^ seen[1]).any(axis=1).all(), "nor is what both send together"


@pytest.fixture
def sums(monkeypatch) -> list[np.ndarray]:
    """The sums of slots that a receiver of a union sees."""
    seen: list[np.ndarray] = []
    opened = union_of_many.opened

    def watch(values, width) -> bytes:
        seen.append(values.copy())
        return opened(values, width)

    monkeypatch.setattr(union_of_many, "opened", watch)
    return seen


def test_a_receiver_of_a_union_sees_rows_and_noise_alone(sums) -> None:
    # The second shares with the receiver, the third with both and with each, and each has keys of its own.
    tables = numbers(range(300), range(200, 500), range(100, 700))
    first, *_others = all_met("union", tables, (0,))
    assert sorted(keys(first.tables["result"])) == list(range(700))
    (seen,) = sums
    found = ~seen[:, 8:].any(axis=1)
    assert sorted(seen[found, :8].copy().view("<i8").reshape(-1)) == list(range(300, 700)), "each once"
    noise = seen[~found]
    assert len(noise) > 400
    assert even(noise)
    assert len(np.unique(noise, axis=0)) == len(noise)


def test_where_rows_stand_says_nothing_of_who_gave_them(sums) -> None:
    count = 3000
    all_met("union", numbers(range(10), range(10, 10 + count), range(10 + count, 10 + 2 * count)), (0,))
    (seen,) = sums
    found = np.flatnonzero(~seen[:, 8:].any(axis=1))
    owners = seen[found, :8].copy().view("<i8").reshape(-1) >= 10 + count
    assert owners.sum() == count
    # Mean rank of one owner's among all: deviation of a random order by Mann and Whitney.
    ranks = np.flatnonzero(owners)
    deviation = np.sqrt(count * count * (2 * count + 1) / 12) / count
    assert abs(ranks.mean() - (2 * count - 1) / 2) < 6 * deviation
    # And how often neighbours have one owner.
    alike = (owners[1:] == owners[:-1]).mean()
    assert abs(alike - 0.5) < 6 * 0.5 / np.sqrt(2 * count)


@pytest.mark.parametrize("operation", ["difference", "union"])
def test_whoever_sees_sums_never_gives_the_strings(monkeypatch, operation) -> None:
    roles: list[tuple[str, bool]] = []
    lock = threading.Lock()
    for name, played in {name: getattr(lacking, name) for name in ("hold", "examine")}.items():
        for module in (lacking, union_of_many):

            def watch(channel, *arguments, gives, played=played):
                with lock:
                    roles.append((channel.peer, gives))
                return played(channel, *arguments, gives=gives)

            monkeypatch.setattr(module, name, watch)
    all_met(operation, numbers(range(9), range(5, 14), range(8, 20)), (0,))
    with_the_receiver = [gives for peer, gives in roles if peer == "one"]
    assert with_the_receiver == [True, True], "the other of each test with the receiver gives"
    assert sum(gives for _peer, gives in roles) * 2 == len(roles), "one of two gives"


# -- what is sent ---------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("receivers", [(0,), (1,), (0, 1, 2)])
def test_what_is_sent_has_sizes_that_the_numbers_of_keys_alone_decide(operation, receivers) -> None:
    alike = transcript(operation, numbers(range(50), range(80), range(30)), receivers).seen
    apart = transcript(operation, numbers(range(50), range(100, 180), range(500, 530)), receivers).seen
    assert alike == apart
    if operation == "difference" and len(receivers) == 1:
        for one, other in ((a, b) for a in range(3) for b in range(3) if receivers[0] not in (a, b) and a != b):
            assert len(alike[one, other]) == 2, "those that do not receive greet each other and say no more"


def test_the_sizes_of_a_union_say_nothing_of_texts() -> None:
    few, much = ([pa.table({"k": [f"{rank}{i}" * times for i in range(20)]}) for rank in range(3)] for times in (1, 9))
    assert transcript("union", few, (0,)).seen == transcript("union", much, (0,)).seen


@BOTH
def test_no_key_and_no_identifier_is_on_any_wire_of_three(monkeypatch, operation) -> None:
    sessions: list[bytes] = []
    agree = gathering.agree

    def watch(*arguments):
        made = agree(*arguments)
        sessions.append(made[0])
        return made

    monkeypatch.setattr(gathering, "agree", watch)
    sets = [[f"NSHARED{i:05d}" for i in range(40)] + [f"{name}{i:07d}" for i in range(60)] for name in "XYZ"]
    heard = bytes(transcript(operation, [pa.table({"k": one}) for one in sets], (0, 2)).bytes)
    assert len(heard) > 100_000, "the transcript was not kept"
    assert len(dict.fromkeys(sessions)) == 1, "all have one session key"
    for one in sets:
        assert not any(key.encode() in heard for key in one)
        ids = identified(pa.table({"k": one}), sessions[0]).ids
        assert not any(bytes(identifier) in heard for identifier in ids)


# -- members that go away or lie ------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(("rank", "name"), [(0, "one"), (1, "two"), (2, "three")])
def test_a_member_that_goes_away_is_named_by_all_within_the_deadline(operation, rank, name) -> None:
    began = time.monotonic()
    ends = with_a_stranger(operation, rank, lambda _channels: None)
    assert time.monotonic() - began < 20
    for end in ends:
        assert f"the link to {name} broke" in end.cause


@BOTH
def test_a_member_that_says_nothing_is_named_at_the_deadline(operation) -> None:
    def listen(channels) -> None:
        # Until both others have gone, so that neither sees a link break.
        for channel in channels.values():
            with contextlib.suppress(EngineStopped):
                while True:
                    channel.receive(1 << 20)

    receiver, other = with_a_stranger(operation, 1, listen, seconds=4)
    assert "two did not say anything" in receiver.cause
    assert "did not say anything" in other.cause
    assert "two" in other.cause or "one" in other.cause


# Messages between two of three that agree, count, test and send shares; the last cut is in the midst of the shares.
CUTS = {
    "difference": [((1, 0), 3), ((1, 0), 6), ((0, 2), 5), ((2, 0), -1)],
    "union": [((1, 0), 3), ((0, 1), -1), ((1, 2), 5), ((2, 1), -1), ((2, 0), -1)],
}


@pytest.mark.parametrize(("operation", "way", "after"), [(name, *cut) for name, cuts in CUTS.items() for cut in cuts])
def test_a_link_that_is_cut_anywhere_is_named_by_all_within_the_deadline(operation, way, after) -> None:
    tables = numbers(range(60), range(30, 90), range(50, 110))
    whole = transcript(operation, tables, (0,)).seen
    after = after % len(whole[way])
    began, ends = time.monotonic(), {}
    with tempfile.TemporaryDirectory(prefix="fm-") as name:
        wire = Wire(Path(name), 3, cut=way, after=after)

        def member(job, one, folder) -> None:
            ends[job.rank] = ended(job, one, folder)

        work = [
            threading.Thread(target=member, args=(job, one, folder))
            for job, one, folder in zip(steps(operation, 3, (0,), 20), tables, wire.folders, strict=True)
        ]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        wire.join()
    assert time.monotonic() - began < 20
    stopped = [end.cause for end in ends.values() if isinstance(end, EngineStopped)]
    assert isinstance(ends[0], EngineStopped), "no result comes of it"
    assert isinstance(ends[way[1]], EngineStopped)
    # Later one that receives nothing may have done its part and ended well.
    assert len(stopped) == 3 or after > 3
    for cause in stopped:
        assert any(f"the link to {NAMES[rank]} broke" in cause for rank in way), cause


@pytest.mark.parametrize(
    "told",
    [
        (b"",), (b"nonsense",), (to_bytes(Size(rows=-1)),), (to_bytes(Size(rows=(1 << 30) + 1)),),
        (to_bytes(Size(rows=(1 << 21) + 1)),), (to_bytes(Size(rows=5)), b"x" * 15),
        (to_bytes(Size(rows=5)), b"x" * 16, b"short"),
    ],
)  # fmt: skip
@BOTH
def test_a_member_that_sends_what_it_must_not_is_named_by_all(operation, told) -> None:
    def behave(channels) -> None:
        if operation == "union":
            channels[2].send(told[0])
        saying(*told)(channels)

    for end in with_a_stranger(operation, 1, behave):
        assert "two" in end.cause


def test_a_member_that_sends_shares_of_a_wrong_length_is_named_by_the_receiver() -> None:
    # The third has done its part by then.
    receiver, _other = with_a_stranger("difference", 1, saying(to_bytes(Size(rows=0)), b"x" * 9))
    assert receiver.cause == "two sent shares of a wrong length"


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        ((3).to_bytes(2, "little") + b"own", "not lacking"),
        ((3).to_bytes(2, "little") + b"new", "not lacking"),
        ((3).to_bytes(2, "little") + b"\xff\xfe\xfd", "keys that are none"),
        ((90).to_bytes(2, "little") + b"x", "keys that are none"),
        (b"\0\0stray", "keys that are none"),
    ],
)
def test_rows_that_are_no_lacking_keys_are_refused(payload, cause, monkeypatch) -> None:
    # Our own key, one key twice, no text, too long a text, bytes behind the text.
    def encoded(some, form) -> bytes:
        return payload.ljust(form.width, b"\0") * some.num_rows

    monkeypatch.setattr(union_of_many, "encoded", encoded)
    tables = [pa.table({"k": ["own"]}), pa.table({"k": ["p", "q"]}), pa.table({"k": ["r"]})]
    receiver, *_others = attempt(steps("union", 3, (0,), seconds=30), tables)
    assert isinstance(receiver, EngineStopped)
    assert receiver.cause.startswith("one of two, three sent keys that are")
    assert cause in receiver.cause
