"""Set operations beside pandas on sets of every shape, and who learns what of them."""

from __future__ import annotations

import math
import unicodedata

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from engines_world import jobs
from hypothesis import given, settings
from hypothesis import strategies as st
from psi_world import attempt, both

from fondaco.engines.base import BadJob
from fondaco.engines.psi import meeting, store

SOME = settings(max_examples=25, deadline=None)
WORDS = ["a", "b", "é", "e\u0301", "ß", "", " ", "日本", "\U0001f600", "a" * 200, "key"]
texts = st.one_of(
    st.none(), st.sampled_from(WORDS), st.text(st.characters(blacklist_categories=["Cs", "Cn"]), max_size=3)
)
numbers = st.one_of(st.none(), st.integers(-3, 3), st.integers(-(1 << 63), (1 << 63) - 1))
rows = st.lists(st.tuples(texts, numbers), max_size=40)
security = st.sampled_from(["semi-honest", "malicious"])


def table(rows: list[tuple]) -> pa.Table:
    return pa.table({"k": pa.array([r[0] for r in rows], pa.string()), "n": pa.array([r[1] for r in rows], pa.int64())})


def frame(rows: list[tuple]) -> pd.DataFrame:
    """The different keys without nulls, text in one normal form."""
    clean = [(unicodedata.normalize("NFD", t), str(n)) for t, n in rows if t is not None and n is not None]
    return pd.DataFrame(clean, columns=["k", "n"], dtype="object").drop_duplicates()


def found(outcome, name: str = "match") -> list[tuple]:
    """The keys of a result in its order, in one normal form."""
    return [(unicodedata.normalize("NFD", r["k"]), str(r["n"])) for r in outcome.tables[name].to_pylist()]


@SOME
@given(rows, rows, security)
def test_an_intersection_equals_that_of_pandas(ours, theirs, how) -> None:
    parameters = {"keys": ["k", "n"], "security": how}
    first, second = both("intersection", table(ours), table(theirs), parameters)
    wanted = frame(ours).merge(frame(theirs), on=["k", "n"])
    assert sorted(found(first)) == sorted(wanted.itertuples(index=False, name=None))
    assert found(first) == found(second), "both have one order"
    assert first.report.rows_in == len(frame(ours))


@pytest.mark.parametrize("how", ["semi-honest", "malicious"])
@pytest.mark.parametrize(
    ("ours", "theirs", "shared"),
    [(0, 0, 0), (0, 5, 0), (1, 1, 1), (1, 1, 0), (1, 3000, 1), (3000, 1, 1), (500, 500, 500), (500, 400, 0)],
)
def test_sets_of_every_shape_meet(ours, theirs, shared, how) -> None:
    mine = pa.table({"k": [f"s{i}" for i in range(shared)] + [f"x{i}" for i in range(ours - shared)]})
    other = pa.table({"k": [f"s{i}" for i in range(shared)] + [f"y{i}" for i in range(theirs - shared)]})
    mine, other = (t.cast(pa.schema([("k", pa.string())])) for t in (mine, other))
    for outcome in both("intersection", mine, other, {"security": how}):
        assert sorted(outcome.tables["match"]["k"].to_pylist()) == sorted(f"s{i}" for i in range(shared))


@pytest.mark.parametrize("receivers", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("sizes", [(40, 60), (60, 40)])
def test_the_result_goes_to_the_receivers_alone(receivers, sizes) -> None:
    ours, theirs = (pa.table({"k": list(range(size))}) for size in sizes)
    outcomes = both("intersection", ours, theirs, receivers=receivers)
    for rank, outcome in enumerate(outcomes):
        assert ("match" in outcome.tables) == (rank in receivers)
        assert outcome.report.rows_out == (40 if rank in receivers else 0)


def test_a_key_in_two_normal_forms_is_one_key() -> None:
    ours, theirs = pa.table({"k": ["\u00e9", "e\u0301", "z"]}), pa.table({"k": ["e\u0301"]})
    first, _second = both("intersection", ours, theirs)
    assert first.tables["match"].num_rows == 1
    assert first.report.rows_in == 2


@pytest.mark.parametrize(
    "parameters", [{"security": "none"}, {"security": 1}, {"keys": []}, {"keys": "k"}, {"what": 1}, {"keys": ["no"]}]
)
def test_parameters_that_make_no_sense_are_refused(parameters) -> None:
    pair = jobs("psi", "intersection", {"keys": ["k"]} | parameters, ["x", "y"], [[], []], (0,))
    ends = attempt(pair, [pa.table({"k": [1]})] * 2)
    assert all(isinstance(end, BadJob) for end in ends)


def test_members_that_work_with_other_securities_refuse_each_other() -> None:
    pair = [
        jobs("psi", "intersection", {"keys": ["k"], "security": how}, ["x", "y"], [[], []], (0, 1), seconds=10)[rank]
        for rank, how in enumerate(["semi-honest", "malicious"])
    ]
    ends = attempt(pair, [pa.table({"k": [1]})] * 2)
    assert all(isinstance(end, BadJob) and "other parameters" in end.cause for end in ends)


@pytest.mark.parametrize("receivers", [(0,), (1,), (0, 1)])
@SOME
@given(ours=rows, theirs=rows, how=security)
def test_a_difference_equals_that_of_pandas(receivers, ours, theirs, how) -> None:
    outcomes = both("difference", table(ours), table(theirs), {"keys": ["k", "n"], "security": how}, receivers)
    frames = [frame(ours), frame(theirs)]
    for rank, outcome in enumerate(outcomes):
        if rank not in receivers:
            assert outcome.tables == {}
            continue
        mine, other = frames[rank], frames[1 - rank]
        merged = mine.merge(other, on=["k", "n"], how="left", indicator=True)
        wanted = merged[merged["_merge"] == "left_only"][["k", "n"]].itertuples(index=False, name=None)
        assert sorted(found(outcome, "result")) == sorted(wanted)


def test_an_operation_that_is_none_is_refused() -> None:
    pair = jobs("psi", "union", {"keys": ["k"]}, ["x", "y"], [[], []], (0,))
    assert all(isinstance(end, BadJob) for end in attempt(pair, [pa.table({"k": [1]})] * 2))


@pytest.fixture
def tiny_parts(monkeypatch):
    """Cut sets of hundreds as if they were of hundreds of millions."""
    monkeypatch.setattr(store, "PART_ROWS", 16)
    monkeypatch.setattr(store, "_BATCH", 50)
    monkeypatch.setattr(store, "MEMORY_ROWS", 100)


@pytest.mark.parametrize(("ours", "theirs"), [(700, 30), (30, 700), (700, 700), (5, 20)])
def test_sets_that_are_cut_into_parts_meet_the_same(tiny_parts, ours, theirs) -> None:
    mine = pa.table({"k": [f"k{i % ours}" for i in range(ours + 90)]})
    other = pa.table({"k": [f"k{i}" for i in range(20, 20 + theirs)]})
    wanted = sorted({f"k{i}" for i in range(ours)} & {f"k{i}" for i in range(20, 20 + theirs)})
    first, second = both("intersection", mine, other)
    assert first.report.rows_in == ours
    assert sorted(first.tables["match"]["k"].to_pylist()) == wanted
    assert first.tables["match"].to_pylist() == second.tables["match"].to_pylist()
    rest, _none = both("difference", mine, other, receivers=(0,))
    assert sorted(rest.tables["result"]["k"].to_pylist()) == sorted({f"k{i}" for i in range(ours)} - set(wanted))


@given(st.integers(1, 1 << 28), st.integers(1, 1 << 28))
def test_parts_depend_on_sizes_alone_and_are_the_same_for_both(rows, peer_rows) -> None:
    parts = store.parts_for(rows, peer_rows)
    assert parts == store.parts_for(peer_rows, rows)
    assert 1 <= parts <= 256
    size = store.part_size(rows, parts)
    assert size * parts >= rows
    mean = rows / parts
    # Bernstein: P(load - mean >= t) <= exp(-t^2 / (2 (mean + t / 3))), for all parts together below 2^-40.
    over = size - mean
    assert parts == 1 or over * over / (2 * (mean + over / 3)) >= math.log(2) * 40 + math.log(parts)


def test_a_part_larger_than_its_bound_is_refused() -> None:
    part = store.Part(np.zeros((3, 16), np.uint8), np.zeros(3, np.uint32))
    with pytest.raises(BadJob, match="larger than its bound"):
        store.padded(part, 2)
    assert len(store.padded(part, 5)) == 80


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, (1 << 64) - 1)), max_size=50))
def test_the_one_order_is_that_of_the_identifiers(halves) -> None:
    ids = np.array([high.to_bytes(8, "big") + low.to_bytes(8, "big") for high, low in halves], dtype="V16")
    ids = ids.view(np.uint8).reshape(-1, 16)
    ordered = [bytes(one) for one in ids[meeting._one_order(ids)]]
    assert ordered == sorted(bytes(one) for one in ids)
