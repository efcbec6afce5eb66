"""The lookup at two servers: equal to a join in pandas, of one form whatever is asked, and no false answer is taken."""

from __future__ import annotations

import datetime
import unicodedata
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from engines_world import column, jobs, together
from hypothesis import given, settings
from hypothesis import strategies as st
from pir_world import at_once

from fondaco.cli.demo.data import prepare
from fondaco.engines.base import BadJob, EngineStopped, leakage
from fondaco.engines.channel import Channel
from fondaco.engines.pir import parts, records, two

KEY = column("k", "text")
COLUMNS = [KEY, column("n", "int64"), column("t", "text"), column("d", "date"), column("f", "float64")]
PARTIES = ["asker", "first", "second"]
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
ROWS = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | TEXTS | st.text("x", min_size=300, max_size=400),
    st.none() | st.dates(datetime.date(1600, 1, 1)),
    st.none() | st.floats(allow_nan=False),
)


def two_jobs(columns=(KEY, column("v")), most: int = 4, *, keys=("k",), seconds: int = 20, **changes: Any) -> list:
    named = [c for c in columns if c.name in keys]
    parameters = {"keys": list(keys), "most_keys": most}
    sides = changes.get("sides", [named, columns, columns])
    return jobs("pir", two.OPERATION, parameters, PARTIES, sides, changes.get("receivers", (0,)), seconds=seconds)


def asked_both(all_jobs, asked: pa.Table, data: pa.Table, other: pa.Table | None = None, kept=({}, {})) -> list[Any]:
    inputs = [{"data": asked}, {"data": data} | kept[0], {"data": data if other is None else other} | kept[1]]
    return at_once(two.run, all_jobs, inputs)


def found(all_jobs, asked: pa.Table, data: pa.Table, other: pa.Table | None = None) -> pa.Table:
    ends = asked_both(all_jobs, asked, data, other)
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    assert [set(end.tables) for end in ends] == [{"result"}, {"prepared"}, {"prepared"}]
    return ends[0].tables["result"]


def normal(text: str | None) -> str | None:
    return None if text is None else unicodedata.normalize("NFC", text)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.none() | TEXTS, ROWS), max_size=20, unique_by=lambda pair: normal(pair[0])),
    st.lists(st.none() | TEXTS, max_size=3),
    st.data(),
)
def test_it_is_a_left_join_by_the_different_keys_in_whatever_order_the_servers_hold_the_rows(
    rows, others, data
) -> None:
    present = [key for key, _row in rows]
    asked = [*(data.draw(st.lists(st.sampled_from(present), max_size=4)) if present else []), *others]
    shuffled = data.draw(st.permutations(rows))

    def table(rows: list) -> pa.Table:
        keys = {"k": pa.array([key for key, _row in rows], pa.string())}
        return pa.table(
            keys
            | {c.name: pa.array([r[i] for _k, r in rows], records.arrow_type(c)) for i, c in enumerate(COLUMNS[1:])}
        )

    question = pa.table({"k": pa.array(asked, pa.string())})
    result = found(two_jobs(COLUMNS, 8), question, table(rows), table(shuffled))
    left = pd.DataFrame({"k": pd.Series([normal(k) for k in asked], dtype=object)}).dropna().drop_duplicates("k")
    right = pd.DataFrame({"k": pd.Series([normal(k) for k in present], dtype=object)}).dropna()
    merged = left.astype({"k": object}).merge(right.astype({"k": object}), on="k", how="left", indicator=True)
    assert [normal(k) for k in result["k"].to_pylist()] == merged["k"].tolist()
    assert result["found"].to_pylist() == (merged["_merge"] == "both").tolist()
    by_key = {normal(key): row for key, row in rows if key is not None}
    for line in result.to_pylist():
        assert tuple(line[c.name] for c in COLUMNS[1:]) == by_key.get(normal(line["k"]), (None,) * 4)


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> dict[str, pd.DataFrame]:
    """Aircraft by their numbers; hours of weather by airport and hour, one row each."""
    sources = prepare(tmp_path_factory.mktemp("real"))
    planes = pd.read_csv(sources.planes)
    with duckdb.connect(str(sources.weather), read_only=True) as held:
        ((table,),) = held.execute("SELECT table_name FROM information_schema.tables").fetchall()
        hours = held.execute(f'SELECT * FROM "{table}"').df()
    return {
        "planes": planes.drop_duplicates("tailnum").assign(v=lambda f: range(len(f)))[["tailnum", "v"]],
        "hours": hours.drop_duplicates(["origin", "time_hour"])
        .assign(v=lambda f: range(len(f)))[["origin", "time_hour", "v"]]
        .head(5000),
    }


@pytest.mark.parametrize(("name", "keys"), [("planes", ("tailnum",)), ("hours", ("origin", "time_hour"))])
@pytest.mark.parametrize("servers", [1, 2])
def test_real_keys_by_workers_equal_a_join_in_pandas(real, name, keys, servers) -> None:
    frame = real[name].astype(dict.fromkeys(keys, str))
    absent = pd.DataFrame([["ABSENT"] * len(keys)], columns=list(keys))
    asked = pd.concat([frame[list(keys)].sample(30, random_state=7), absent, frame[list(keys)].head(2)])
    columns = [*(column(key, "text") for key in keys), column("v")]
    data = pa.Table.from_pandas(frame, preserve_index=False)
    question = pa.Table.from_pandas(asked, preserve_index=False)
    if servers == 2:
        members = two_jobs(columns, 40, keys=keys)
    else:
        parameters = {"keys": list(keys), "most_keys": 40}
        members = jobs("pir", "lookup", parameters, PARTIES[:2], [columns[:-1], columns], (0,), seconds=60)
    ends = together(members, [{"data": question}, *[{"data": data}] * servers])
    assert not any(isinstance(end, BaseException) for end in ends), ends
    expected = asked.drop_duplicates().merge(frame, on=list(keys), how="left")
    result = ends[0].tables["result"].to_pandas()
    pd.testing.assert_frame_equal(result[list(keys)], expected[list(keys)])
    assert result["found"].tolist() == expected["v"].notna().tolist()
    assert result["v"].dropna().tolist() == expected["v"].dropna().tolist()
    assert [end.report.rows_in for end in ends[1:]] == [len(frame)] * servers


def index(data: pa.Table) -> tuple[dict, dict]:
    """What both servers keep."""
    _asker, first, second = asked_both(two_jobs(), pa.table({"k": ["key1"]}), data)
    return first.tables, second.tables


DATA = pa.table({"k": [f"key{i}" for i in range(400)], "v": list(range(400))})


def test_a_kept_index_serves_again_and_one_that_was_lost_is_made_anew_by_both() -> None:
    kept = index(DATA)
    asked = pa.table({"k": ["key9", "absent"]})
    for have, fresh in ((kept, False), ((kept[0], {}), True), (({}, kept[1]), True)):
        ends = asked_both(two_jobs(), asked, DATA, kept=have)
        assert not any(isinstance(end, BaseException) for end in ends), ends
        assert ends[0].tables["result"]["v"].to_pylist() == [9, None]
        assert [bool(end.tables) for end in ends[1:]] == [fresh, fresh]


def test_servers_of_different_records_end_the_step_for_all_before_anything_is_answered() -> None:
    other = DATA.set_column(1, "v", pa.array([*range(399), -1]))
    ends = asked_both(two_jobs(), pa.table({"k": ["key9"]}), DATA, other)
    # None of them is to blame: a `BadJob` would name its own party as the one that failed.
    assert [type(end) for end in ends] == [EngineStopped] * 3
    for end in ends:
        assert "the records of the two servers differ: no one can tell which are right" in end.cause
        assert "cheat" not in end.cause
        assert "failed" not in end.cause


def test_workers_of_servers_of_different_records_blame_no_party() -> None:
    other = DATA.set_column(1, "v", pa.array([*range(399), -1]))
    ends = together(two_jobs(seconds=60), [{"data": pa.table({"k": ["key9"]})}, {"data": DATA}, {"data": other}])
    assert [type(end) for end in ends] == [EngineStopped] * 3, ends
    assert all("the records of the two servers differ" in end.cause for end in ends)


def test_a_damaged_index_is_refused() -> None:
    kept, _other = index(DATA)
    broken = parts.from_table(kept["prepared"])[:-1]
    ends = asked_both(
        two_jobs(seconds=5), pa.table({"k": ["a"]}), DATA, kept=({"prepared": parts.as_table(broken)}, {})
    )
    assert isinstance(ends[1], BadJob)
    assert "damaged" in ends[1].cause


def test_a_key_that_stands_twice_is_refused() -> None:
    data = pa.table({"k": ["a", "e\u0301", "\u00e9"], "v": [1, 2, 3]})
    _asker, first, second = asked_both(two_jobs(seconds=5), pa.table({"k": ["a"]}), data)
    assert all(isinstance(end, BadJob) and "a key that stands twice" in end.cause for end in (first, second))


@pytest.mark.parametrize("server", [1, 2])
@pytest.mark.parametrize("key", ["key7", "absent"])
def test_a_server_that_answers_falsely_is_caught(monkeypatch, server, key) -> None:
    send, said = Channel.send, {1: 0, 2: 0}
    kept = index(DATA)

    def sending(self, data: bytes) -> None:
        # A server says to the asker: hello, description, evaluations, answers.
        name = channels.get(id(self))
        if name == server:
            said[server] += 1
            if said[server] == 4:
                data = data[:5] + bytes([data[5] ^ 1]) + data[6:]
        send(self, data)

    channels: dict[int, int] = {}
    drive = two.drive

    def driving(party, channel) -> None:
        if isinstance(party, two.PirTwoServer):
            channels[id(channel)] = 1 if servers.setdefault("first", id(channel)) == id(channel) else 2
        drive(party, channel)

    servers: dict[str, int] = {}
    monkeypatch.setattr(two, "drive", driving)
    monkeypatch.setattr(Channel, "send", sending)
    said[1] = said[2] = 1  # the hello came before
    asker, _first, _second = asked_both(two_jobs(), pa.table({"k": [key]}), DATA, kept=kept)
    assert isinstance(asker, EngineStopped)
    assert "first or second: the peer failed the proof of a row check" in asker.cause


@pytest.mark.parametrize("most", [1, 20])
def test_each_server_sees_the_same_form_whatever_is_asked(monkeypatch, most) -> None:
    kept = index(DATA)
    receive = Channel.receive

    def seen(asked: list[str]) -> list[tuple[str, int]]:
        sizes: list[tuple[str, int]] = []

        def receiving(self, limit: int) -> bytes:
            data = receive(self, limit)
            sizes.append((self.peer, len(data)))
            return data

        with monkeypatch.context() as patch:
            patch.setattr(Channel, "receive", receiving)
            ends = asked_both(two_jobs(most=most), pa.table({"k": asked}), DATA, kept=kept)
        assert not any(isinstance(end, BaseException) for end in ends), ends
        return sorted(sizes)

    forms = [seen(asked) for asked in (["key1"], ["absent"], ["key399"], ["k" * 1000])]
    assert all(form == forms[0] for form in forms)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"receivers": (1,)}, "the asker first"),
        ({"receivers": (0, 1)}, "the asker first"),
        ({"sides": [[KEY], [KEY, column("v")], [KEY, column("w")]]}, "declare different columns"),
        ({"sides": [[KEY], [KEY, column("v")], [KEY, column("v", "text")]]}, "declare different columns"),
        ({"sides": [[KEY], [KEY, column("found")], [KEY, column("found")]]}, "named found"),
        ({"sides": [[KEY], [column("v")], [KEY, column("v")]]}, "not among those"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused(changes, cause, tmp_path) -> None:
    with pytest.raises(BadJob, match=cause):
        two.run(two_jobs(**changes)[1], {"data": DATA}, tmp_path)


def test_what_everyone_learns_is_written_down_with_the_bound_on_collusion() -> None:
    text = " ".join(leakage("pir", two.OPERATION))
    for word in ("must not collude", "most_keys", "found", "asked before", "caught", "number of records"):
        assert word in text


def test_servers_do_not_hear_how_many_keys_an_asker_brought_too_many() -> None:
    asked = pa.table({"k": [f"key{i}" for i in range(77)]})
    ends = asked_both(two_jobs(most=4), asked, DATA)
    assert isinstance(ends[0], BadJob)
    for end in ends:
        assert isinstance(end, BadJob | EngineStopped)
        assert "77" not in end.diagnostics()
