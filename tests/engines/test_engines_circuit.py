"""Sums and figures over a match that nobody learns: beside pandas, under real shares, and never about too few."""

from __future__ import annotations

import concurrent.futures
import tempfile
import unicodedata
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from circuit_world import clear
from engines_world import column, jobs, together
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco.cli.demo.data import prepare
from fondaco.engines.base import BadJob, OutOfRange
from fondaco.engines.mpc import circuit

SOME = settings(max_examples=40, deadline=None)
PARTIES = ["air", "met", "reg"]
WORDS = ["a", "b", "c", "é", "e\u0301", "ß", "", "日本", "\U0001f600", "k" * 200]
texts = st.one_of(
    st.none(), st.sampled_from(WORDS), st.text(st.characters(blacklist_categories=["Cs", "Cn"]), max_size=2)
)
numbers = st.one_of(st.none(), st.integers(-3, 3))
values = st.one_of(st.none(), st.integers(-(10**6), 10**6))
rows = st.lists(st.tuples(texts, numbers, values), max_size=40)
HIGH = 10**6
COLUMNS = [
    [column("k", "text"), column("n"), column("v", low=-HIGH, high=HIGH)],
    [column("k", "text"), column("n"), column("w", low=-HIGH, high=HIGH)],
    [],
]
V, W = {"party": "air", "column": "v"}, {"party": "met", "column": "w"}


def table(rows: list[tuple], name: str) -> pa.Table:
    kinds = [("k", pa.string()), ("n", pa.int64()), (name, pa.int64())]
    return pa.table(
        [pa.array([row[i] for row in rows], kind) for i, (_n, kind) in enumerate(kinds)], schema=pa.schema(kinds)
    )


def frame(rows: list[tuple], name: str) -> pd.DataFrame:
    clean = [(unicodedata.normalize("NFD", k), n, v) for k, n, v in rows if k is not None and n is not None]
    return pd.DataFrame(clean, columns=["k", "n", name], dtype="object")


def summing(
    minimum: int = 1, receivers: tuple[int, ...] = (0,), values: list | None = None, members: int = 3, **more
) -> list:
    parameters = {"keys": ["k", "n"], "minimum_count": minimum, "values": [V, W] if values is None else values}
    helper = 2 if members == 3 else None
    return jobs("mpc", "intersection-sum", parameters, PARTIES[:members], (more.get("columns") or COLUMNS)[:members],
                receivers, helper=helper, seconds=more.get("seconds", 30))  # fmt: skip


def expected(ours: list[tuple], theirs: list[tuple], minimum: int) -> dict:
    """What pandas says: count, sums over all rows of the shared keys, None where there are too few keys."""
    a, b = frame(ours, "v"), frame(theirs, "w")
    shared = a[["k", "n"]].drop_duplicates().merge(b[["k", "n"]].drop_duplicates(), on=["k", "n"])
    out: dict = {"count": len(shared) if len(shared) >= minimum else None, "suppressed": len(shared) < minimum}
    for data, name, label in ((a, "v", "air.v"), (b, "w", "met.w")):
        held = data.merge(shared, on=["k", "n"]).dropna(subset=[name])
        enough = len(held[["k", "n"]].drop_duplicates()) >= minimum
        out[label] = int(held[name].sum()) if enough else None
    return out


@SOME
@given(rows, rows, st.integers(1, 4), st.sampled_from([(0,), (1,), (0, 1)]))
def test_sums_equal_those_of_pandas(ours, theirs, minimum, receivers) -> None:
    ends = clear(summing(minimum, receivers), [{"data": table(ours, "v")}, {"data": table(theirs, "w")}, {}])
    wanted = expected(ours, theirs, minimum)
    for rank, end in enumerate(ends):
        assert (end.to_pylist() == [wanted]) if rank in receivers else end is None, ends


@pytest.mark.parametrize(
    ("ours", "theirs", "shared"),
    [(0, 0, 0), (0, 5, 0), (1, 1, 1), (1, 1, 0), (1, 3000, 1), (3000, 1, 1), (500, 500, 500)],
)
def test_sets_of_every_shape_are_summed(ours, theirs, shared) -> None:
    mine = [(f"s{i}", 0, i) for i in range(shared)] + [(f"x{i}", 0, HIGH) for i in range(ours - shared)]
    other = [(f"s{i}", 0, -i) for i in range(shared)] + [(f"y{i}", 0, HIGH) for i in range(theirs - shared)]
    ends = clear(summing(), [{"data": table(mine, "v")}, {"data": table(other, "w")}, {}])
    assert ends[0].to_pylist() == [expected(mine, other, 1)]


groups = st.one_of(st.none(), st.sampled_from(["x", "y", "z"]))
grouped = st.dictionaries(st.sampled_from([*WORDS, *"defghij"]), groups, max_size=12)


@SOME
@given(rows, grouped, st.integers(1, 3), st.sampled_from([0, 1]))
def test_figures_equal_those_of_pandas_where_they_are_opened(ours, theirs, minimum, owner) -> None:
    """The values' owner is the first or the second member: either may have the table."""
    by_key = {unicodedata.normalize("NFD", key): group for key, group in theirs.items()}
    holder = pa.table({"k": pa.array(list(by_key), pa.string()), "g": pa.array(list(by_key.values()), pa.string())})
    names = ["one", "two", "reg"]
    parameters = {
        "keys": ["k"], "minimum_count": minimum, "groups": ["x", "y"],
        "value": {"party": names[owner], "column": "v"}, "group": {"party": names[1 - owner], "column": "g"},
    }  # fmt: skip
    columns = [[column("k", "text"), column("v", low=-HIGH, high=HIGH)], [column("k", "text"), column("g", "text")], []]
    tables = [{"data": table(ours, "v").drop(["n"])}, {"data": holder}, {}]
    if owner:
        columns, tables = [columns[1], columns[0], []], [tables[1], tables[0], {}]
    ends = clear(jobs("mpc", "circuit-statistics", parameters, names, columns, (0, 1), helper=2, seconds=30), tables)
    data = frame([(k, 0, v) for k, _n, v in ours], "v").dropna()
    data["g"] = data["k"].map(by_key)
    data = data[data["k"].isin(by_key)]
    for end in ends[:2]:
        for row in end.to_pylist():
            held = data[data["g"] == row["group"]]
            assert row["suppressed"] == (row["count"] == 0)
            if not row["suppressed"]:
                assert held["k"].nunique() >= minimum
                assert (row["count"], row["sum"]) == (len(held), float(held["v"].sum()))
            elif minimum == 1:
                assert held.empty
    assert ends[2] is None


def test_a_key_of_two_groups_is_refused() -> None:
    parameters = {"keys": ["k"], "groups": ["x"], "value": V, "group": {"party": "met", "column": "g"}}
    columns = [[column("k", "text"), column("v", low=0, high=9)], [column("k", "text"), column("g", "text")], []]
    members = jobs("mpc", "circuit-statistics", parameters, PARTIES, columns, (0,), helper=2, seconds=5)
    first, second = pa.table({"k": ["a"], "v": [1]}), pa.table({"k": ["a", "a"], "g": ["x", "y"]})
    ends = clear_of_two(members, first, second)
    assert isinstance(ends[1], BadJob)
    assert "more than one group" in ends[1].cause


def clear_of_two(members, first: pa.Table, second: pa.Table) -> list:
    """The two members with data alone: one of them fails, and the helper would wait for it."""
    return clear(members, [{"data": first}, {"data": second}, {}])


@pytest.mark.parametrize("members", [3, 2])
def test_under_shares_the_sums_are_those_of_numpy(members) -> None:
    """Real workers, ABY3 and Cheetah: decimals, negative sums, doubled keys, a suppressed value."""
    drawn = np.random.default_rng(5)
    ours = pa.table({
        "k": [f"K{i % 300}" for i in range(400)],
        "v": pa.array(drawn.integers(-(10**12), 10**12, 400)),
    })  # fmt: skip
    cents = [Decimal(int(c)).scaleb(-2) for c in drawn.integers(-500, 500, 200)]
    theirs = pa.table({
        "k": [f"K{i}" for i in range(200, 400)],
        "w": pa.array(cents, pa.decimal128(38, 2)),
        "few": pa.array([7] * 4 + [None] * 196, pa.int64()),
    })  # fmt: skip
    columns = [
        [column("k", "text"), column("v", low=-(10**12), high=10**12)],
        [column("k", "text"), column("w", "decimal", low=-500, high=500, scale=2), column("few", low=0, high=9)],
        [],
    ]
    parameters = {"keys": ["k"], "minimum_count": 5, "values": [V, W, {"party": "met", "column": "few"}]}
    helper = 2 if members == 3 else None
    all_jobs = jobs("mpc", "intersection-sum", parameters, PARTIES[:members], columns[:members], (1,), helper=helper)
    ends = together(all_jobs, [{"data": ours}, {"data": theirs}, {}][:members])
    v = [number for key, number in zip(*(ours[c].to_pylist() for c in ("k", "v")), strict=True) if int(key[1:]) >= 200]
    assert ends[1].tables["result"].to_pylist() == [
        {"count": 100, "suppressed": False, "air.v": sum(v), "met.w": sum(cents[:100]), "met.few": None}
    ]
    assert ends[0].tables == {}
    assert ends[1].report.configuration == f"{'aby3' if members == 3 else 'cheetah'}-fm64+rr22-circuit"


def test_under_shares_the_figures_are_those_of_the_clear_run_and_the_plain_operation() -> None:
    drawn = np.random.default_rng(6)
    ours = pa.table({"k": [f"K{i % 150}" for i in range(600)], "v": drawn.integers(-50, 900, 600)})
    theirs = pa.table({"k": [f"K{i}" for i in range(50, 250)], "g": [i % 3 == 0 for i in range(200)]})
    columns = [[column("k", "text"), column("v", low=-50, high=900)], [column("k", "text"), column("g", "bool")], []]
    parameters = {"keys": ["k"], "minimum_count": 5, "value": V, "group": {"party": "met", "column": "g"}}
    match = pa.table({"k": [f"K{i}" for i in range(50, 150)]})
    hidden = jobs("mpc", "circuit-statistics", parameters, PARTIES, columns, (0, 1), helper=2)
    plain = jobs("mpc", "statistics", parameters, PARTIES, columns, (0, 1), helper=2)
    tables = [{"data": ours}, {"data": theirs}, {}]
    ends = together(hidden, tables)
    told = together(plain, [t | {"match": match} if t else t for t in tables])
    wanted = told[0].tables["result"].to_pylist()
    assert ends[0].tables["result"].to_pylist() == ends[1].tables["result"].to_pylist() == wanted
    assert clear(hidden, tables)[0].to_pylist() == wanted
    assert ends[2].tables == {}


def test_what_is_about_too_few_is_not_opened() -> None:
    ours, theirs = ([(f"s{i}", 0, 1) for i in range(count)] for count in (9, 20))
    tables = [{"data": table(ours, "v")}, {"data": table(theirs, "w")}, {}]
    few = clear(summing(10), tables)[0].to_pylist()
    assert few == [{"count": None, "suppressed": True, "air.v": None, "met.w": None}]
    enough = clear(summing(9), tables)[0].to_pylist()
    assert enough == [{"count": 9, "suppressed": False, "air.v": 9, "met.w": 9}]


def test_sums_that_the_ring_cannot_hold_are_refused_before_anything_is_shared() -> None:
    wide = [[column("k", "text"), column("n"), column("v", low=0, high=1 << 61)], COLUMNS[1], []]
    data = [("a", 0, 1 << 61), ("b", 0, 1)]
    ends = clear(
        summing(columns=wide, values=[V], members=2, seconds=3), [{"data": table(data, "v")}, {"data": table([], "w")}]
    )
    assert isinstance(ends[0], OutOfRange)
    assert "nothing was shared" in ends[0].cause
    within = clear(summing(columns=wide, values=[V]), [{"data": table([("a", 0, (1 << 61) - 1)], "v")},
                                                       {"data": table([("a", 0, 0)], "w")}, {}])  # fmt: skip
    assert within[0]["air.v"].to_pylist() == [(1 << 61) - 1]


keys = st.integers(1, 1 << 21)
widths = st.integers(0, 70)


@given(keys, keys, widths, widths)
def test_which_member_has_the_table_does_not_hang_on_their_order(first, second, mine, theirs) -> None:
    found, turned = circuit.places((first, second), (mine, theirs)), circuit.places((second, first), (theirs, mine))
    assert {found, turned} == {0, 1} or found == turned == 0, "a tie goes to the first"


def test_members_that_ask_other_things_refuse_each_other() -> None:
    pair = [summing(minimum, members=2)[rank] for rank, minimum in enumerate([5, 6])]
    ends = clear(pair, [{"data": table([("a", 0, 1)], "v")}, {"data": table([("a", 0, 1)], "w")}])
    assert all(isinstance(end, BadJob) and "other parameters" in end.cause for end in ends)


def carried(ours: pa.Table, theirs: pa.Table, words: tuple[int, int]) -> list[tuple[int, int]]:
    """Bytes that each of both members sent and received while their words were made."""
    pair = jobs("mpc", "intersection-sum", {"keys": ["k"]}, PARTIES, COLUMNS, (0,), helper=2, seconds=20)[:2]

    def one(job, data: pa.Table, folder: Path) -> tuple[int, int]:
        with circuit.meet(job, data, ["k"], folder) as meeting:
            bins = circuit.bins_of(meeting, np.zeros((words[job.rank], meeting.keys), dtype=np.int64), words)
            assert bins is not None
            return meeting.channel.sent, meeting.channel.received

    with tempfile.TemporaryDirectory(prefix="fc-") as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        work = [pool.submit(one, job, data, Path(folder)) for job, data in zip(pair, (ours, theirs), strict=True)]
        return [each.result() for each in work]


@pytest.mark.parametrize("words", [(0, 0), (1, 0), (0, 2), (3, 5)])
def test_what_is_carried_depends_on_the_numbers_of_keys_and_words_alone(words) -> None:
    ours, same, other = (pa.table({"k": list(range(at, at + 700))}) for at in (0, 0, 5000))
    assert carried(ours, same, words) == carried(ours, other, words)
    longer = pa.table({"k": [f"{i}" * 50 for i in range(700)]})
    assert carried(longer, longer, words) == carried(ours, other, words)


def test_delays_in_rain_over_the_real_hours_equal_those_of_pandas(tmp_path) -> None:
    """All flights of 2013 from New York and the weather there, by airport and hour; many rows a key."""
    sources = prepare(tmp_path)
    with duckdb.connect() as db:
        flights = db.sql(
            f"SELECT origin, time_hour, CAST(nullif(dep_delay, 'NA') AS BIGINT) AS delay, "
            f"CAST(distance AS BIGINT) AS miles FROM read_csv('{sources.flights}', all_varchar = true)"
        ).to_arrow_table()
    with duckdb.connect(str(sources.weather), read_only=True) as db:
        hours = db.sql("SELECT origin, time_hour, precip > 0 AS rain FROM observations").to_arrow_table()
    key = [column("origin", "text"), column("time_hour", "text")]
    columns = [
        [*key, column("delay", low=-120, high=2880), column("miles", low=0, high=6000)],
        [*key, column("rain", "bool")],
        [],
    ]
    asked = {"keys": ["origin", "time_hour"], "minimum_count": 100}
    tables = [{"data": flights}, {"data": hours}, {}]
    delay, rain = {"party": "air", "column": "delay"}, {"party": "met", "column": "rain"}
    values = {"values": [delay, {"party": "air", "column": "miles"}]}
    sums = clear(jobs("mpc", "intersection-sum", asked | values, PARTIES, columns, (1,), helper=2), tables)
    one = {"value": delay, "group": rain}
    told = clear(jobs("mpc", "circuit-statistics", asked | one, PARTIES, columns, (1,), helper=2), tables)
    keys = asked["keys"]
    ours = flights.to_pandas().merge(hours.to_pandas().drop_duplicates(keys), on=keys)
    assert sums[1].to_pylist() == [{
        "count": len(ours[keys].drop_duplicates()), "suppressed": False,
        "air.delay": int(ours["delay"].sum()), "air.miles": int(ours["miles"].sum()),
    }]  # fmt: skip
    for row in told[1].to_pylist():
        held = ours[ours["rain"] == (row["group"] == "true")]["delay"].dropna()
        assert (row["count"], row["sum"]) == (len(held), held.sum())
        assert row["variance"] == pytest.approx(held.var(), rel=1e-9)
