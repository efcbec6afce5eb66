"""Hidden query in both its sides: equal to a join in pandas, blind to the provider, closed to the asker, and in time."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from engines_world import column, jobs, together
from hypothesis import given, settings
from hypothesis import strategies as st
from pir_world import at_once

from fondaco.engines import channel
from fondaco.engines.base import BadJob, EngineStopped, leakage
from fondaco.engines.channel import Channel
from fondaco.engines.pir import lookup, records
from fondaco.engines.pir import parts as parts_of
from fondaco.engines.process import run_job

KEY = column("k", "text")
PARTIES = ["asker", "provider"]


def lookup_jobs(columns, most: int = 4, *, keys=("k",), seconds: int = 20, asker: int = 0):
    named = [c for c in columns if c.name in keys]
    sides = [named, columns] if asker == 0 else [columns, named]
    parameters = {"keys": list(keys), "most_keys": most}
    return jobs("pir", "lookup", parameters, PARTIES, sides, (asker,), seconds=seconds)


def both(all_jobs, inputs) -> list[Any]:
    """Both sides in threads of this process, over the real channel; outcomes or errors in rank order."""
    return at_once(lookup.run, all_jobs, inputs)


def found(asked: pa.Table, data: pa.Table, columns, **options) -> pa.Table:
    asker, provider = both(lookup_jobs(columns, **options), [{"data": asked}, {"data": data}])
    for outcome in (provider, asker):
        if isinstance(outcome, Exception):
            raise outcome
    assert set(provider.tables) == {"prepared"}
    return asker.tables["result"]


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
COLUMNS = [
    KEY,
    column("n", "int64"),
    column("t", "text"),
    column("f", "float64"),
    column("b", "bool"),
    column("y", "bytes"),
    column("d", "date"),
    column("z", "timestamp"),
    column("m", "decimal", scale=2),
]
ROWS = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | TEXTS,
    st.none() | st.floats(allow_nan=False),
    st.none() | st.booleans(),
    st.none() | st.binary(max_size=40),
    st.none() | st.dates(),
    st.none() | st.datetimes(min_value=datetime.datetime(1600, 1, 1), timezones=st.just(datetime.UTC)),
    st.none() | st.decimals(-1000, 1000, places=2),
)


def normal(text: str | None) -> str | None:
    import unicodedata

    return None if text is None else unicodedata.normalize("NFC", text)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.none() | TEXTS, ROWS), max_size=20, unique_by=lambda pair: normal(pair[0])),
    st.lists(st.none() | TEXTS, max_size=3),
    st.data(),
)
def test_a_lookup_is_a_left_join_by_the_different_keys(rows, others, data) -> None:
    present = [key for key, _row in rows]
    some = data.draw(st.lists(st.sampled_from(present), max_size=4) if present else st.just([]))
    asked = [*some, *others]
    table = pa.table(
        {"k": pa.array(present, pa.string())}
        | {c.name: pa.array([row[i] for _key, row in rows], records.arrow_type(c)) for i, c in enumerate(COLUMNS[1:])}
    )
    result = found(pa.table({"k": pa.array(asked, pa.string())}), table, COLUMNS, most=8)
    left = pd.DataFrame({"k": pd.Series([normal(k) for k in asked], dtype=object)}).dropna().drop_duplicates("k")
    right = table.to_pandas(types_mapper=pd.ArrowDtype).assign(k=[normal(k) for k in present]).dropna(subset=["k"])
    merged = left.astype({"k": object}).merge(right.astype({"k": object}), on="k", how="left", indicator=True)
    assert [normal(k) for k in result["k"].to_pylist()] == merged["k"].tolist()
    assert result["found"].to_pylist() == (merged["_merge"] == "both").tolist()
    by_key = {normal(key): row for key, row in rows if key is not None}
    for line in result.to_pylist():
        expected = by_key.get(normal(line["k"]), (None,) * len(COLUMNS[1:]))
        assert tuple(line[c.name] for c in COLUMNS[1:]) == expected


def test_composite_keys_do_not_run_together_and_types_tell_them_apart() -> None:
    columns = [column("a", "text"), column("b", "int64"), column("v", "text")]
    data = pa.table({"a": ["x", "x1", ""], "b": [11, 1, 0], "v": ["first", "second", "third"]})
    asked = pa.table({"a": ["x1", "x", "x"], "b": [1, 11, 1]})
    result = found(asked, data, columns, keys=("a", "b"))
    assert result.select(["found", "v"]).to_pydict() == {"found": [True, True, False], "v": ["second", "first", None]}


def test_wide_records_and_no_other_columns_at_all() -> None:
    data = pa.table({"k": ["a", "b"], "v": ["x" * 100_000, ""]})
    result = found(pa.table({"k": ["a", "b"]}), data, [KEY, column("v", "text")])
    assert result["v"].to_pylist() == ["x" * 100_000, ""]
    result = found(pa.table({"k": ["a", "c"]}), data.select(["k"]), [KEY])
    assert result.to_pydict() == {"k": ["a", "c"], "found": [True, False]}


def test_an_empty_dataset_and_no_keys() -> None:
    nothing = pa.table({"k": pa.array([], pa.string()), "v": pa.array([], pa.int64())})
    columns = [KEY, column("v")]
    assert found(pa.table({"k": ["a"]}), nothing, columns)["found"].to_pylist() == [False]
    assert found(nothing.select(["k"]), nothing, columns).num_rows == 0


def test_the_asker_may_be_either_rank_and_workers_do_as_threads() -> None:
    data, asked = pa.table({"k": ["a", "b"], "v": [1, 2]}), pa.table({"k": ["b"]})
    provider, asker = together(lookup_jobs([KEY, column("v")], asker=1), [{"data": data}, {"data": asked}])
    assert asker.tables["result"]["v"].to_pylist() == [2]
    assert asker.report.configuration == "ypir-inspiring-voprf"
    assert (provider.report.rows_in, provider.report.rows_out) == (2, 0)


def test_a_key_that_stands_twice_is_refused_before_anything_is_sent() -> None:
    data = pa.table({"k": ["a", "e\u0301", "\u00e9"]})
    with pytest.raises(BadJob, match="a key that stands twice") as caught:
        lookup.prepare(lookup_jobs([KEY])[1], {"data": data})
    assert "choose key columns" in caught.value.remedy


def test_more_keys_than_the_step_asks_for_are_refused() -> None:
    all_jobs = lookup_jobs([KEY], most=2)
    with pytest.raises(BadJob, match="more keys are brought than the 2 that the step asks for") as caught:
        lookup.run(all_jobs[0], {"data": pa.table({"k": ["a", "b", "c", "a", None]})}, Path("unused"))
    assert "3" not in caught.value.diagnostics(), "its cause goes to the provider, who must not learn how many they are"


@pytest.mark.parametrize("value", ["no number", "9" * 39, ""])
@pytest.mark.parametrize("declared", [column("v"), column("v", "date"), column("v", "decimal", scale=2)])
def test_a_record_that_cannot_be_read_is_absent_and_ends_no_step(value, declared) -> None:
    """If it ended the step, a provider could seal one such record and be told by the end that its key was asked."""
    data = pa.table({"k": ["a", "b"], "v": [None, value]}, schema=pa.schema([("k", pa.string()), ("v", pa.string())]))
    all_jobs = [lookup_jobs([KEY, declared])[0], lookup_jobs([KEY, column("v", "text")])[1]]
    asker, _provider = both(all_jobs, [{"data": pa.table({"k": ["a", "b", "c"]})}, {"data": data}])
    result = asker.tables["result"]
    assert result["found"].to_pylist() == [True, False, False]
    assert result["v"].to_pylist() == [None] * 3


def test_no_step_among_members_makes_an_index_alone() -> None:
    named = dataclasses.replace(lookup_jobs([KEY])[1], operation=lookup.PREPARE)
    with pytest.raises(BadJob, match="no such operation"):
        lookup.run(named, {"data": pa.table({"k": ["a"]})}, Path("unused"))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"parameters": {"keys": ["k"], "most_keys": 0}}, "most_keys is a number"),
        ({"parameters": {"keys": ["k"], "most_keys": 4097}}, "most_keys is a number"),
        ({"parameters": {"keys": ["k"], "most_keys": True}}, "most_keys is a number"),
        ({"receivers": (0, 1)}, "one asker"),
        ({"parameters": {"keys": []}}, "no key columns"),
        ({"peer_columns": (KEY, column("found", "bool"))}, "named found"),
        ({"peer_columns": (column("k", "int64"),)}, "never match"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused(changes, cause) -> None:

    job = dataclasses.replace(lookup_jobs([KEY])[0], **changes)
    with pytest.raises(BadJob, match=cause):
        lookup.run(job, {"data": pa.table({"k": ["a"]})}, Path("unused"))


# -- what shows ---------------------------------------------------------------------------------------------------


def transcript(monkeypatch, asked: list[str], most: int, index: pa.Table) -> list[tuple[str, bytes]]:
    """All messages that the provider receives and sends, in order."""
    seen: list[tuple[str, bytes]] = []
    receive, send = Channel.receive, Channel.send

    def receiving(self, limit: int) -> bytes:
        data = receive(self, limit)
        if self.peer == "asker":
            seen.append(("received", data))
        return data

    def sending(self, data: bytes) -> None:
        if self.peer == "asker":
            seen.append(("sent", data))
        send(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Channel, "receive", receiving)
        patch.setattr(Channel, "send", sending)
        outcomes = both(
            lookup_jobs([KEY, column("v")], most), [{"data": pa.table({"k": asked})}, {lookup.PREPARED: index}]
        )
    assert not any(isinstance(outcome, Exception) for outcome in outcomes)
    return seen


@pytest.fixture(scope="module")
def index() -> pa.Table:
    data = pa.table({"k": [f"key{i}" for i in range(400)], "v": list(range(400))})
    return parts_of.as_table(lookup.prepare(lookup_jobs([KEY, column("v")])[1], {"data": data}).index.parts())


@pytest.mark.parametrize("most", [1, 5])
def test_the_provider_sees_the_same_form_whatever_is_asked(monkeypatch, index, most) -> None:
    forms = [
        [(what, len(data)) for what, data in transcript(monkeypatch, asked, most, index)]
        for asked in (["key1"], ["absent"], ["key399"], ["k" * 1000])
    ]
    assert all(form == forms[0] for form in forms)


def test_the_same_question_twice_has_no_message_in_common(monkeypatch, index) -> None:
    first, second = (transcript(monkeypatch, ["key7"], 1, index) for _ in range(2))
    hello = 1  # the first message of each side names the run, which is the same here
    received = [[data for what, data in seen if what == "received"][hello:] for seen in (first, second)]
    assert received[0]
    for one, other in zip(*received, strict=True):
        same = sum(a == b for a, b in zip(one, other, strict=True))
        # Random bytes agree at one place in 256; six in the shortest message come once in 10^8 runs.
        assert same < len(one) // 20 + 6


def test_no_byte_of_a_query_leans_with_the_key(monkeypatch, index) -> None:
    # 60 questions for each of two keys: the mean of every tenth of the query is that of uniform bytes for both.
    import numpy as np

    for key in ("key0", "absent"):
        queries = [transcript(monkeypatch, [key], 1, index)[-2][1] for _ in range(8)]
        rows = np.stack([np.frombuffer(q, np.uint8) for q in queries])[:, : 7 * 2048]
        low = rows.reshape(len(queries), -1, 7)[:, :, 0]
        means = low.reshape(len(queries), 16, -1).mean(axis=(0, 2))
        # 1024 uniform bytes have a mean of 127.5 with a standard deviation of 2.3.
        assert abs(means - 127.5).max() < 6 * 74 / (8 * 128) ** 0.5


def test_what_everyone_learns_is_written_down() -> None:
    text = " ".join(leakage("pir", "lookup"))
    for word in ("most_keys", "found", "asked before", "number of records", "absent"):
        assert word in text


# -- keeping and renewing -----------------------------------------------------------------------------------------


def test_an_index_is_kept_read_and_renewed_for_what_changed() -> None:
    columns = [KEY, column("v")]
    provider = lookup_jobs(columns)[1]
    data = pa.table({"k": [f"key{i}" for i in range(50)], "v": list(range(50))})
    first = lookup.prepare(provider, {"data": data})
    kept = parts_of.as_table(first.index.parts())
    again = lookup.prepare(provider, {lookup.PREPARED: kept})
    assert (first.fresh, again.fresh, again.index.records) == (True, False, 50)
    changed = pa.table({"k": [f"key{i}" for i in range(1, 51)], "v": [100, *range(2, 51)]})
    head = parts_of.as_table(first.index.parts()[:1])
    renewed = lookup.prepare(provider, {lookup.BEFORE: head, "data": changed})
    assert (renewed.index.fresh, renewed.index.generations) == (2, 2)
    asked = pa.table({"k": ["key0", "key1", "key2", "key50"]})
    table = parts_of.as_table(renewed.index.parts())
    asker, _provider = both(lookup_jobs(columns), [{"data": asked}, {lookup.PREPARED: table}])
    assert asker.tables["result"]["v"].to_pylist() == [None, 100, 2, 50]


def alone(most: int = 4) -> Any:
    """The job of a provider that prepares, with no peer."""
    provider = lookup_jobs([KEY, column("v")], most)[1]
    return dataclasses.replace(
        provider, operation=lookup.PREPARE, parties=("provider",), rank=0, receivers=(), peer_columns=(), peer_ranks=()
    )


def test_an_index_is_prepared_by_a_worker_alone_that_tells_how_far_it_is() -> None:
    data = pa.table({"k": [f"key{i}" for i in range(3000)], "v": list(range(3000))})
    heard: list[tuple[str, int, int]] = []

    async def work(inputs) -> Any:
        with tempfile.TemporaryDirectory(prefix="fe-") as folder:
            return await run_job(
                alone(),
                inputs,
                Path(folder),
                deadline=60,
                told=lambda what, done, whole: heard.append((what, done, whole)),
            )

    first = asyncio.run(work({"data": data}))
    assert (first.report.rows_in, first.report.rows_out) == (3000, 3000)
    assert ("seal records", 3000, 3000) in heard
    assert {what for what, done, whole in heard if done == whole} >= {
        "seal records",
        "place records",
        "prepare answers",
    }
    index = first.tables["prepared"]
    asked = pa.table({"k": ["key7", "absent"]})
    asker, _provider = both(lookup_jobs([KEY, column("v")]), [{"data": asked}, {lookup.PREPARED: index}])
    assert asker.tables["result"]["v"].to_pylist() == [7, None]
    changed = data.set_column(1, "v", pa.array([-1, *range(1, 3000)]))
    renewed = asyncio.run(work({"data": changed, lookup.BEFORE: index}))
    assert (renewed.report.rows_in, renewed.report.rows_out) == (3000, 1)
    kept = asyncio.run(work({"data": pa.table({}), lookup.PREPARED: index}))
    assert (kept.report.rows_in, kept.report.rows_out, kept.tables) == (3000, 0, {})


def test_preparing_refuses_a_key_that_stands_twice_by_name() -> None:
    with pytest.raises(BadJob, match="a key that stands twice"):
        lookup.run(alone(), {"data": pa.table({"k": ["a", "a"], "v": [1, 2]})}, Path("unused"))


def test_a_damaged_index_is_refused(index) -> None:
    parts = parts_of.from_table(index)
    with pytest.raises(BadJob, match="damaged"):
        lookup.prepare(lookup_jobs([KEY])[1], {lookup.PREPARED: parts_of.as_table(parts[:-1])})
    parts[0] = parts[0][:-1]
    with pytest.raises(BadJob, match="damaged"):
        lookup.prepare(lookup_jobs([KEY])[1], {lookup.PREPARED: parts_of.as_table(parts)})
    for before in (parts[:1], []):
        with pytest.raises(BadJob, match="damaged"):
            lookup.prepare(
                lookup_jobs([KEY])[1], {lookup.BEFORE: parts_of.as_table(before), "data": pa.table({"k": []})}
            )


def test_what_a_provider_brings_is_let_go_before_its_index_is_made(index) -> None:
    provider = lookup_jobs([KEY, column("v")])[1]
    held = {"data": pa.table({"k": ["a", "b"], "v": [1, 2]})}
    left: list[set[str]] = []
    lookup.prepare(provider, held, lambda *_told: left.append(set(held)))
    assert left
    assert not any(left)
    held = {lookup.PREPARED: index}
    assert lookup.prepare(provider, held).index.records
    assert held == {}


# -- bad peers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b""])
@pytest.mark.parametrize("sender", PARTIES)
@pytest.mark.parametrize("number", [1, 2])
def test_a_message_of_the_wrong_length_ends_in_one_named_cause(monkeypatch, index, sender, number, spoil) -> None:
    send, count = Channel.send, {"asker": 0, "provider": 0}

    def sending(self, data: bytes) -> None:
        me = "provider" if self.peer == "asker" else "asker"
        count[me] += 1
        # The hello is number one; what follows is the protocol's.
        send(self, spoil(data) if me == sender and count[me] == number + 1 else data)

    monkeypatch.setattr(Channel, "send", sending)
    outcomes = both(
        lookup_jobs([KEY, column("v")], 1, seconds=10),
        [{"data": pa.table({"k": ["key1"]})}, {lookup.PREPARED: index}],
    )
    assert all(isinstance(outcome, EngineStopped) for outcome in outcomes)
    victim = outcomes[1 - PARTIES.index(sender)]
    assert sender in victim.cause, victim.diagnostics()


@pytest.mark.parametrize("gone", PARTIES)
def test_a_peer_that_breaks_off_is_named(monkeypatch, index, gone) -> None:
    class Gone(EngineStopped):
        """The test's own end of a side."""

    def driving(party, link: Channel) -> None:
        if link.peer != gone:
            raise Gone("gone", remedy="none")
        drive(party, link)

    drive = lookup.drive
    monkeypatch.setattr(lookup, "drive", driving)
    outcomes = both(
        lookup_jobs([KEY, column("v")], 1, seconds=10),
        [{"data": pa.table({"k": ["key1"]})}, {lookup.PREPARED: index}],
    )
    stayed = outcomes[1 - PARTIES.index(gone)]
    assert isinstance(stayed, EngineStopped)
    assert not isinstance(stayed, Gone)
    assert f"the link to {gone} broke" in stayed.cause


def test_a_peer_that_never_comes_is_named_within_the_steps_time(index) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="fe-") as folder,
        pytest.raises(EngineStopped, match="asker did not come within"),
    ):
        lookup.run(lookup_jobs([KEY, column("v")], seconds=1)[1], {lookup.PREPARED: index}, Path(folder))


# -- payloads -----------------------------------------------------------------------------------------------------


@given(st.lists(ROWS, max_size=6))
def test_payloads_are_read_as_they_were_written(rows) -> None:
    columns = COLUMNS[1:]
    table = pa.table({c.name: pa.array([r[i] for r in rows], records.arrow_type(c)) for i, c in enumerate(columns)})
    read = [records.read_payload(p.as_py(), columns) for p in records.payload_bytes(table, columns)]
    again = records.columns_of(read, columns)
    assert pa.table(again, names=table.column_names).equals(table.combine_chunks())


@given(st.binary(max_size=60) | st.text("0123456789:-tinf.", max_size=40).map(str.encode))
def test_no_bytes_break_the_reader_of_payloads(data) -> None:
    try:
        values = records.read_payload(data, COLUMNS[1:4])
    except EngineStopped as refused:
        assert "not of the columns" in refused.cause
    else:
        assert len(values) == 3


@pytest.mark.parametrize(
    "text", ["1E-999999999", "1E+999999999", "1E-100", "NaN", "sNaN", "Infinity", "1_0", " 1", "+1", ".5", "\u0661"]
)
@pytest.mark.parametrize("kind", ["decimal", "float64"])
def test_numbers_have_the_one_form_that_arrow_writes(kind, text) -> None:
    """Arrow crashes where a decimal of a huge negative exponent is put into an array: none may come so far."""
    one, raw = [column("v", kind, scale=2 if kind == "decimal" else 0)], text.encode()
    with pytest.raises(EngineStopped, match="not of the columns"):
        records.read_payload(str(len(raw)).encode() + b":" + raw, one)


@given(
    st.decimals(min_value=-(10**18), max_value=10**18, places=12) | st.sampled_from([decimal.Decimal("1E-12")]),
    st.floats(),
)
def test_every_number_that_arrow_holds_is_read(exact, rough) -> None:
    columns = [column("m", "decimal", scale=12), column("f", "float64")]
    table = pa.table(
        {c.name: pa.array([v], records.arrow_type(c)) for c, v in zip(columns, (exact, rough), strict=True)}
    )
    (payload,) = records.payload_bytes(table, columns)
    read = records.columns_of([records.read_payload(payload.as_py(), columns)], columns)
    assert read[0].to_pylist() == [exact]
    assert repr(read[1].to_pylist()) == repr(table["f"].to_pylist())


def test_values_out_of_range_are_refused_by_name() -> None:
    for kind, value in (("int64", b"20:99999999999999999999"), ("date", b"10:9999999999"), ("int64", b"2:1a")):
        one = [column("v", kind)]
        with pytest.raises(EngineStopped, match="not of the columns"):
            records.columns_of([records.read_payload(value, one)], one)
    many = [column("v", "decimal", scale=2)]
    with pytest.raises(EngineStopped, match="not of the columns"):
        records.columns_of([[decimal.Decimal("1.23456")]], many)
    assert channel.VERSION == 1
