"""The union beside pandas on sets of every shape; what moves, who learns of it, and peers that send what is no key."""

from __future__ import annotations

import datetime
import socket
import tempfile
import threading
import time
import unicodedata
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from engines_world import jobs
from hypothesis import given, settings
from hypothesis import strategies as st
from psi_world import attempt, both

from fondaco import _kernel
from fondaco.cli.demo.data import prepare
from fondaco.engines import base
from fondaco.engines.base import BadJob, EngineStopped
from fondaco.engines.channel import connect
from fondaco.engines.psi import meeting
from fondaco.engines.psi import union as engine
from fondaco.engines.psi.moved import Form, canonical, decoded, encoded
from fondaco.engines.psi.operations import run

SOME = settings(max_examples=25, deadline=None)
# No NUL: the vault takes none, and pandas holds it for the end of a text.
WORDS = ["a", "b", "é", "e\u0301", "ß", "", " ", "日本", "\U0001f600", "a" * 60, "key"]
texts = st.one_of(
    st.none(),
    st.sampled_from(WORDS),
    st.text(st.characters(min_codepoint=1, blacklist_categories=["Cs", "Cn"]), max_size=3),
)
numbers = st.one_of(st.none(), st.integers(-3, 3), st.integers(-(1 << 63), (1 << 63) - 1))
rows = st.lists(st.tuples(texts, numbers), max_size=40)
sides = st.sampled_from([(0,), (1,), (0, 1)])


def table(rows: list[tuple]) -> pa.Table:
    return pa.table({"k": pa.array([r[0] for r in rows], pa.string()), "n": pa.array([r[1] for r in rows], pa.int64())})


def frame(rows: list[tuple]) -> pd.DataFrame:
    """The different keys without nulls, text in one normal form."""
    clean = [(unicodedata.normalize("NFD", t), str(n)) for t, n in rows if t is not None and n is not None]
    return pd.DataFrame(clean, columns=["k", "n"], dtype="object").drop_duplicates()


@SOME
@given(rows, rows, sides)
def test_a_union_equals_that_of_pandas(ours, theirs, receivers) -> None:
    outcomes = both("union", table(ours), table(theirs), {"keys": ["k", "n"], "key_bytes": 80}, receivers)
    wanted = pd.concat([frame(ours), frame(theirs)]).drop_duplicates()
    for rank, outcome in enumerate(outcomes):
        assert list(outcome.tables) == (["result"] if rank in receivers else [])
        for result in outcome.tables.values():
            found = [(unicodedata.normalize("NFD", r["k"]), str(r["n"])) for r in result.to_pylist()]
            assert sorted(found) == sorted(wanted.itertuples(index=False, name=None))
            own = frame(ours if rank == 0 else theirs)
            assert found[: len(own)] == list(own.itertuples(index=False, name=None)), "first the receiver's own"


@pytest.mark.parametrize(
    ("ours", "theirs", "shared"),
    [(0, 0, 0), (0, 5, 0), (5, 0, 0), (1, 1, 1), (1, 1, 0), (1, 900, 1), (900, 1, 1), (300, 300, 300), (300, 200, 0)],
)
def test_sets_of_every_shape_unite(ours, theirs, shared) -> None:
    mine = pa.table({"k": [f"s{i}" for i in range(shared)] + [f"x{i}" for i in range(ours - shared)]})
    other = pa.table({"k": [f"s{i}" for i in range(shared)] + [f"y{i}" for i in range(theirs - shared)]})
    mine, other = (t.cast(pa.schema([("k", pa.string())])) for t in (mine, other))
    for outcome in both("union", mine, other):
        found = outcome.tables["result"]["k"].to_pylist()
        assert sorted(found) == sorted({*mine["k"].to_pylist(), *other["k"].to_pylist()})


def test_aircraft_that_fly_or_are_registered_unite(tmp_path) -> None:
    sources = prepare(tmp_path)
    flights, planes = (pd.read_csv(path, dtype=str)["tailnum"] for path in (sources.flights, sources.planes))
    first, _none = both(
        "union", *(pa.table({"k": pa.array(part, pa.string())}) for part in (flights, planes)), receivers=(0,)
    )
    found = first.tables["result"]["k"].to_pylist()
    wanted = set(flights.dropna()) | set(planes)
    assert (set(found), len(found)) == (wanted, len(wanted))


def test_keys_of_every_type_arrive_as_they_were() -> None:
    day, now = datetime.date(2026, 11, 25), datetime.datetime(1969, 1, 1, 0, 0, 0, 1, datetime.UTC)
    schema = pa.schema([
        ("t", pa.string()), ("b", pa.bool_()), ("d", pa.date32()), ("u", pa.large_string()),
        ("z", pa.timestamp("us", tz="UTC")), ("n", pa.int64()),
    ])  # fmt: skip
    lines = [("Ж", True, day, "", now, -1), ("", False, datetime.date(1, 1, 1), "日本", now, (1 << 63) - 1)]
    theirs = pa.table([list(column) for column in zip(*lines, strict=True)], schema=schema)
    first, _none = both("union", theirs.slice(0, 0), theirs, {"keys": schema.names}, (0,))
    assert sorted(map(str, first.tables["result"].to_pylist())) == sorted(map(str, theirs.to_pylist()))


def test_what_one_has_in_another_spelling_is_not_lacking() -> None:
    first, second = both("union", pa.table({"k": ["\u00e9", "x"]}), pa.table({"k": ["e\u0301", "y"]}))
    assert first.tables["result"]["k"].to_pylist() == ["\u00e9", "x", "y"]
    assert second.tables["result"]["k"].to_pylist() == ["e\u0301", "y", "x"]


def test_a_key_with_more_text_than_was_agreed_ends_the_step_at_its_owner() -> None:
    pair = jobs("psi", "union", {"keys": ["k"], "key_bytes": 3}, ["x", "y"], [[], []], (0,), seconds=30)
    receiver, sender = attempt(pair, [pa.table({"k": ["long enough"]}), pa.table({"k": ["abc", "\u00e9\u00e9"]})])
    assert isinstance(sender, BadJob)
    assert "more than 3 bytes" in sender.cause
    assert "\u00e9" not in sender.diagnostics()
    assert isinstance(receiver, EngineStopped)


@pytest.mark.parametrize(
    "parameters",
    [{"security": "malicious"}, {"link_mbit": 5}, {"key_bytes": 0}, {"key_bytes": 4097}, {"key_bytes": "9"}],
)
def test_parameters_that_make_no_sense_are_refused(parameters) -> None:
    pair = jobs("psi", "union", {"keys": ["k"]} | parameters, ["x", "y"], [[], []], (0,))
    assert all(isinstance(end, BadJob) for end in attempt(pair, [pa.table({"k": [1]})] * 2))


def test_explain_says_what_is_told() -> None:
    assert "every key" in base.leakage("psi", "union")[0]
    assert base.reason("psi", "union", {"keys": ["k"]}, [50, 60]).startswith("ECDH")


# -- what moves ---------------------------------------------------------------------------------------------------

SCHEMA = pa.schema([("t", pa.string()), ("n", pa.int64()), ("u", pa.string()), ("b", pa.bool_()), ("d", pa.date32())])
FORM = Form(SCHEMA, 12)
short = st.text(st.characters(blacklist_categories=["Cs"]), max_size=1)
cells = st.tuples(
    short, st.integers(-(1 << 63), (1 << 63) - 1), short, st.booleans(), st.integers(-(1 << 31), (1 << 31) - 1)
)


@given(st.lists(cells, max_size=30), st.integers(0, 5))
def test_rows_come_back_as_they_were(lines, begin) -> None:
    columns = [list(column) for column in zip(*lines, strict=True)] or [[]] * 5
    whole = pa.table(
        [pa.array(column, pa.int32() if at == 4 else SCHEMA.types[at]) for at, column in enumerate(columns)],
        names=SCHEMA.names,
    ).cast(SCHEMA)
    some = whole.slice(begin)
    data = encoded(some, FORM)
    assert len(data) == FORM.width * some.num_rows
    assert decoded(data, FORM, "y").equals(some.combine_chunks())


@given(st.binary(max_size=3 * FORM.width))
def test_bytes_are_refused_or_are_the_ones_that_would_be_written(data) -> None:
    data = data[: len(data) - len(data) % FORM.width] if len(data) > FORM.width else data
    try:
        found = decoded(data, FORM, "y")
    except EngineStopped as fault:
        assert "y sent keys that are none" in fault.cause
    else:
        assert encoded(found, FORM) == data


@given(st.integers(0, FORM.width - 1), st.integers(1, 255))
def test_no_row_has_two_forms(place, change) -> None:
    line = pa.table([["ab"], [5], ["c"], [True], pa.array([7], pa.int32())], names=SCHEMA.names).cast(SCHEMA)
    data = bytearray(encoded(line, FORM))
    data[place] ^= change
    try:
        found = decoded(bytes(data), FORM, "y")
    except EngineStopped:
        return
    assert encoded(found, FORM) == data
    assert not found.equals(line)


def test_what_does_not_fit_a_canonical_type_is_refused() -> None:
    with pytest.raises(BadJob, match="does not fit"):
        canonical(pa.table({"k": pa.array([(1 << 64) - 1], pa.uint64())}))
    with pytest.raises(BadJob, match="cannot be a key"):
        canonical(pa.table({"k": [1.5]}))


# -- peers --------------------------------------------------------------------------------------------------------


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
def test_payloads_that_are_no_lacking_keys_are_refused(payload, cause, monkeypatch) -> None:
    # Our own key, one key twice, no text, too long a text, bytes behind the text.
    def give(meeting, form) -> None:
        part = meeting.store.all()
        payloads = payload.ljust(form.width, b"\0") * len(part.ids)
        party = _kernel.UnionSender(part.ids.tobytes(), payloads, peer_keys=meeting.peer_rows, width=form.width)
        engine.drive(party, meeting.channel, limit=1 << 20)

    monkeypatch.setattr(engine, "_give", give)
    pair = jobs("psi", "union", {"keys": ["k"]}, ["x", "y"], [[], []], (0,), seconds=30)
    receiver, _sender = attempt(pair, [pa.table({"k": ["own"]}), pa.table({"k": ["p", "q"]})])
    assert isinstance(receiver, EngineStopped)
    assert receiver.cause.startswith("y sent keys that are")
    assert cause in receiver.cause


def messages(ours: list[str], theirs: list[str], receivers: tuple[int, ...]) -> list[tuple[int, bytes]]:
    """Who sent what, message by message, between two honest members with a proxy between them."""
    pair = jobs("psi", "union", {"keys": ["k"]}, ["x", "y"], [[], []], receivers, seconds=60)
    seen: list[tuple[int, bytes]] = []
    with tempfile.TemporaryDirectory(prefix="fu-") as name:
        places = [Path(name) / side for side in ("a", "b")]
        for place in places:
            place.mkdir()
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(places[0] / "1.sock"))
        server.listen(1)

        def carry() -> None:
            near, _address = server.accept()
            with near, socket.socket(socket.AF_UNIX) as far:
                end = time.monotonic() + 60
                while far.connect_ex(str(places[1] / "1.sock")):
                    assert time.monotonic() < end
                    time.sleep(0.005)
                pipes = [
                    threading.Thread(target=_carry, args=(side, one, other, seen))
                    for side, (one, other) in enumerate([(near, far), (far, near)])
                ]
                for pipe in pipes:
                    pipe.start()
                for pipe in pipes:
                    pipe.join()

        thread = threading.Thread(target=carry)
        work = [
            threading.Thread(
                target=run, args=(job, {"data": pa.table({"k": keys})}, places[job.rank], places[job.rank])
            )
            for job, keys in zip(pair, (ours, theirs), strict=True)
        ]
        for one in (work[1], thread, work[0]):
            one.start()
        for one in (*work, thread):
            one.join()
        server.close()
    return sorted(seen, key=lambda message: message[0])


def _carry(side: int, one: socket.socket, other: socket.socket, seen: list[tuple[int, bytes]]) -> None:
    while head := one.recv(8, socket.MSG_WAITALL):
        size = int.from_bytes(head, "big")
        data = one.recv(size, socket.MSG_WAITALL)
        other.sendall(head + data)
        seen.append((side, data))
    other.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("receivers", [(0,), (1,), (0, 1)])
def test_what_is_sent_has_sizes_that_the_numbers_of_keys_alone_decide(receivers) -> None:
    first = messages([f"a{i}" for i in range(30)], [f"a{i}" for i in range(50)], receivers)
    second = messages([f"b{i}" * 9 for i in range(30)], [f"c{i}" for i in range(50)], receivers)
    assert [(side, len(data)) for side, data in first] == [(side, len(data)) for side, data in second]
    assert len(first) == 2 * 3 + 5 * len(receivers)


def test_no_key_is_on_the_wire_not_even_one_that_is_given() -> None:
    sets = [[f"NSHARED{i:05d}" for i in range(40)] + [f"{name}{i:07d}" for i in range(60)] for name in "XY"]
    heard = b"".join(data for _side, data in messages(*sets, (0, 1)))
    assert len(heard) > 20_000, "the transcript was not kept"
    assert not any(key.encode() in heard for keys in sets for key in keys)


def test_a_peer_that_goes_away_midway_is_named() -> None:
    pair = jobs("psi", "union", {"keys": ["k"]}, ["x", "y"], [[], []], (0,), seconds=30)
    with tempfile.TemporaryDirectory(prefix="fu-") as name:
        place = Path(name)

        def leave() -> None:
            with connect(pair[1], place) as channel:
                channel.receive(1024)

        thread = threading.Thread(target=leave)
        thread.start()
        with pytest.raises(EngineStopped, match="the link to y broke"):
            run(pair[0], {"data": pa.table({"k": ["a"]})}, place, place)
        thread.join()


def test_more_bytes_of_keys_than_a_union_moves_are_refused_before_they_are_made(monkeypatch) -> None:
    monkeypatch.setattr(engine, "MOST_BYTES", 50 * (2 + 4000))
    monkeypatch.setattr(engine, "encoded", None)
    few, many = (pa.table({"k": [str(i) for i in range(count)]}) for count in (3, 51))
    for large, sets in enumerate([[many, few], [few, many]]):
        pair = jobs("psi", "union", {"keys": ["k"], "key_bytes": 4000}, ["x", "y"], [[], []], (0,), seconds=30)
        ends = attempt(pair, sets)
        assert isinstance(ends[large], BadJob)
        assert "lower key_bytes" in ends[large].remedy
        assert isinstance(ends[1 - large], EngineStopped)
        assert ends[1 - large].cause.startswith(f"{'xy'[large]} brings more bytes")


@pytest.mark.parametrize("operation", ["union", "cardinality", "threshold"])
@pytest.mark.parametrize("large", [0, 1])
def test_who_brings_too_many_keys_for_a_whole_meeting_is_named_by_both(monkeypatch, operation, large) -> None:
    monkeypatch.setattr(meeting, "MOST_WHOLE", 5)
    sets = [pa.table({"k": [str(i) for i in range(3)]})] * 2
    sets[large] = pa.table({"k": [str(i) for i in range(6)]})
    ends = attempt(jobs("psi", operation, {"keys": ["k"]}, ["x", "y"], [[], []], (0,), seconds=30), sets)
    assert isinstance(ends[large], BadJob)
    assert "at most 5 keys" in ends[large].cause
    assert isinstance(ends[1 - large], EngineStopped)
    assert ends[1 - large].cause.startswith(f"{'xy'[large]} brings more keys than")
