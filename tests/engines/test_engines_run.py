"""Engines in real worker processes, beside DuckDB and numpy; inputs that must be refused before anything is shared."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from engines_world import column, jobs, together

from fondaco.engines.process import run_job
from fondaco.errors import EngineError

RNG = np.random.default_rng(7)
KEYS = [f"H{i}" for i in range(300)]
PARTIES = ["air", "weather", "reg"]


def test_an_intersection_is_told_to_its_receivers_alone() -> None:
    ours = pa.table({"k": ["a", "b", "c", "c", None, "é", "only-ours"], "n": [1, 2, 3, 3, 4, 5, 6]})
    theirs = pa.table({"k": ["b", "c", "e\u0301", "only-theirs", None], "n": [2, 3, 5, 9, 4]})
    both = jobs("psi", "intersection", {"keys": ["k"]}, ["x", "y"], [[], []], (0, 1))
    first, second = together(both, [{"data": ours}, {"data": theirs}])
    assert sorted(first.tables["match"]["k"].to_pylist()) == sorted(["b", "c", "é"])
    assert [k.replace("e\u0301", "é") for k in second.tables["match"]["k"].to_pylist()] == first.tables["match"][
        "k"
    ].to_pylist()
    one = jobs("psi", "intersection", {"keys": ["k", "n"]}, ["x", "y"], [[], []], (1,))
    first, second = together(one, [{"data": ours}, {"data": theirs}])
    assert first.tables == {}
    assert second.tables["match"].num_rows == 3


def test_an_empty_side_matches_nothing() -> None:
    empty = pa.table({"k": pa.array([], pa.string())})
    some = pa.table({"k": ["a"]})
    outcomes = together(
        jobs("psi", "intersection", {"keys": ["k"]}, ["x", "y"], [[], []], (0, 1)), [{"data": empty}, {"data": some}]
    )
    assert [o.tables["match"].num_rows for o in outcomes] == [0, 0]


def flights(rows: int) -> pa.Table:
    delays = [None if RNG.random() < 0.1 else int(RNG.integers(-40, 1300)) for _ in range(rows)]
    return pa.table({"k": RNG.choice([*KEYS, "unmatched"], rows), "delay": pa.array(delays, pa.int64())})


def test_statistics_by_group_equal_duckdb_exactly() -> None:
    values, groups, match = (
        flights(4000),
        pa.table({"k": KEYS, "rain": [i % 9 == 0 for i in range(300)]}),
        pa.table({"k": KEYS}),
    )
    parameters = {
        "keys": ["k"], "minimum_count": 5,
        "value": {"party": "air", "column": "delay"}, "group": {"party": "weather", "column": "rain"},
    }  # fmt: skip
    columns = [
        [column("k", "text"), column("delay", low=-120, high=2880)],
        [column("k", "text"), column("rain", "bool")],
        [],
    ]
    all_jobs = jobs("mpc", "statistics", parameters, PARTIES, columns, (1,), helper=2)
    air, weather, helper = together(all_jobs, [{"data": values, "match": match}, {"data": groups, "match": match}, {}])
    assert air.tables == helper.tables == {}
    assert weather.report.configuration == "aby3-fm64"
    expected = duckdb.sql(
        "SELECT rain, count(delay), sum(delay), avg(delay), var_samp(delay) FROM values JOIN groups USING (k) GROUP BY 1 ORDER BY 1 DESC"
    ).fetchall()
    for row, (_rain, count, total, mean, variance) in zip(weather.tables["result"].to_pylist(), expected, strict=True):
        assert (row["count"], row["sum"]) == (count, total)
        assert row["mean"] == pytest.approx(mean, rel=1e-12)
        assert row["variance"] == pytest.approx(variance, rel=1e-12)


def test_a_group_below_the_minimum_is_not_opened() -> None:
    values = pa.table({"k": ["H0", "H1", "H2", "H3"], "delay": [5, 6, 7, 8]})
    groups = pa.table({"k": KEYS[:4], "rain": [True, False, False, False]})
    parameters = {
        "keys": ["k"],
        "minimum_count": 2,
        "value": {"party": "air", "column": "delay"},
        "group": {"party": "weather", "column": "rain"},
    }
    columns = [[column("delay", low=0, high=10)], [column("rain", "bool")], []]
    match = pa.table({"k": KEYS[:4]})
    outcomes = together(
        jobs("mpc", "statistics", parameters, PARTIES, columns, (0,), helper=2),
        [{"data": values, "match": match}, {"data": groups, "match": match}, {}],
    )
    rain, dry = outcomes[0].tables["result"].to_pylist()
    assert (rain["suppressed"], rain["count"], rain["mean"]) == (True, 0, None)
    assert (dry["suppressed"], dry["count"], dry["sum"]) == (True, 0, None), "rain is what is left of the total"


@pytest.mark.parametrize(("operation", "members"), [("add", 2), ("subtract", 3), ("multiply", 3), ("divide", 3)])
def test_arithmetic_equals_numpy(operation, members) -> None:
    a, b = RNG.integers(-100_000, 100_000, 300), RNG.integers(1, 5_000, 300)
    left, right = pa.table({"k": KEYS, "a": a}), pa.table({"k": KEYS[::-1], "b": b[::-1]})
    parameters = {
        "keys": ["k"],
        "operation": operation,
        "left": {"party": "air", "column": "a"},
        "right": {"party": "weather", "column": "b"},
    }
    columns = [[column("a", low=-100_000, high=100_000)], [column("b", low=1, high=5_000)], []]
    match = pa.table({"k": KEYS})
    all_jobs = jobs(
        "mpc", "arithmetic", parameters, PARTIES[:members], columns[:members], (0,), helper=2 if members == 3 else None
    )
    outcomes = together(all_jobs, [{"data": left, "match": match}, {"data": right, "match": match}, {}][:members])
    found = outcomes[0].tables["result"]["result"].to_numpy()
    expected = {"add": a + b, "subtract": a - b, "multiply": a * b, "divide": a / b}[operation]
    if operation == "divide":
        assert np.allclose(found, expected, rtol=1e-3, atol=1e-4)
    else:
        assert np.array_equal(found, expected.astype(float))
    assert all(outcome.tables == {} for outcome in outcomes[1:])


def test_pooled_statistics_equal_numpy() -> None:
    a, b = RNG.integers(-500, 500, 200), RNG.integers(-500, 500, 90)
    columns = [[column("v", low=-500, high=500)], [column("v", low=-500, high=500)], []]
    all_jobs = jobs("mpc", "pooled-statistics", {"value": "v"}, PARTIES, columns, (0, 1), helper=2)
    outcomes = together(all_jobs, [{"data": pa.table({"v": a})}, {"data": pa.table({"v": b})}, {}])
    whole = np.concatenate([a, b])
    for outcome in outcomes[:2]:
        (row,) = outcome.tables["result"].to_pylist()
        assert row["count"] == 290
        assert row["mean"] == pytest.approx(whole.mean(), rel=1e-12)
        assert row["variance"] == pytest.approx(whole.var(ddof=1), rel=1e-12)


def alone(job, inputs) -> EngineError:
    """Run one member alone: what is refused at once needs no peer."""

    async def run() -> None:
        with tempfile.TemporaryDirectory(prefix="fe-") as folder:
            await run_job(job, inputs, Path(folder), deadline=20.0)

    with pytest.raises(EngineError) as caught:
        asyncio.run(run())
    return caught.value


@pytest.mark.parametrize(
    ("engine", "operation", "parameters"),
    [
        ("psi", "symmetric-difference", {}),
        ("sql", "select", {}),
        ("psi", "intersection", {}),
        ("psi", "intersection", {"keys": ["nope"]}),
        ("mpc", "sort", {}),
    ],
)
def test_jobs_that_no_engine_can_do_are_refused(engine, operation, parameters) -> None:
    job = jobs(engine, operation, parameters, ["x", "y"], [[], []], (0,))[0]
    assert alone(job, {"data": pa.table({"k": ["a"]})}).cause
