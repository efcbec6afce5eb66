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

from fondaco.engines import base
from fondaco.engines.base import BadJob
from fondaco.engines.psi import choice, meeting, store

SOME = settings(max_examples=25, deadline=None)
# No NUL: the vault takes none, and pandas holds it for the end of a text.
WORDS = ["a", "b", "é", "e\u0301", "ß", "", " ", "日本", "\U0001f600", "a" * 200, "key"]
texts = st.one_of(
    st.none(),
    st.sampled_from(WORDS),
    st.text(st.characters(min_codepoint=1, blacklist_categories=["Cs", "Cn"]), max_size=3),
)
numbers = st.one_of(st.none(), st.integers(-3, 3), st.integers(-(1 << 63), (1 << 63) - 1))
rows = st.lists(st.tuples(texts, numbers), max_size=40)
ways = st.sampled_from([("semi-honest", "rr22"), ("semi-honest", "ecdh"), ("malicious", "rr22")])


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
@given(rows, rows, ways)
def test_an_intersection_equals_that_of_pandas(ours, theirs, way) -> None:
    parameters = {"keys": ["k", "n"], "security": way[0]}
    first, second = both("intersection", table(ours), table(theirs), parameters, protocol=way[1])
    wanted = frame(ours).merge(frame(theirs), on=["k", "n"])
    assert sorted(found(first)) == sorted(wanted.itertuples(index=False, name=None))
    assert found(first) == found(second), "both have one order"
    assert first.report.rows_in == len(frame(ours))


@pytest.mark.parametrize("way", [("semi-honest", "rr22"), ("semi-honest", "ecdh"), ("malicious", "rr22")])
@pytest.mark.parametrize(
    ("ours", "theirs", "shared"),
    [(0, 0, 0), (0, 5, 0), (1, 1, 1), (1, 1, 0), (1, 3000, 1), (3000, 1, 1), (500, 500, 500), (500, 400, 0)],
)
def test_sets_of_every_shape_meet(ours, theirs, shared, way) -> None:
    mine = pa.table({"k": [f"s{i}" for i in range(shared)] + [f"x{i}" for i in range(ours - shared)]})
    other = pa.table({"k": [f"s{i}" for i in range(shared)] + [f"y{i}" for i in range(theirs - shared)]})
    mine, other = (t.cast(pa.schema([("k", pa.string())])) for t in (mine, other))
    for outcome in both("intersection", mine, other, {"security": way[0]}, protocol=way[1]):
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
@given(ours=rows, theirs=rows, way=ways)
def test_a_difference_equals_that_of_pandas(receivers, ours, theirs, way) -> None:
    parameters = {"keys": ["k", "n"], "security": way[0]}
    outcomes = both("difference", table(ours), table(theirs), parameters, receivers, protocol=way[1])
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
    pair = jobs("psi", "symmetric-difference", {"keys": ["k"]}, ["x", "y"], [[], []], (0,))
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
    first, second = both("intersection", mine, other, protocol="rr22")
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
    ordered = [bytes(one) for one in ids[meeting.one_order(ids)]]
    assert ordered == sorted(bytes(one) for one in ids)


@pytest.mark.parametrize("receivers", [(0,), (1,), (0, 1)])
@SOME
@given(ours=rows, theirs=rows)
def test_a_cardinality_equals_that_of_pandas_and_nothing_else_is_told(receivers, ours, theirs) -> None:
    outcomes = both("cardinality", table(ours), table(theirs), {"keys": ["k", "n"]}, receivers)
    wanted = len(frame(ours).merge(frame(theirs), on=["k", "n"]))
    for rank, outcome in enumerate(outcomes):
        told = {name: t.to_pylist() for name, t in outcome.tables.items()}
        assert told == ({"result": [{"count": wanted}]} if rank in receivers else {})


@pytest.mark.parametrize("receivers", [(0,), (1,), (0, 1)])
@SOME
@given(ours=rows, theirs=rows, at_least=st.integers(1, 12), protocol=st.sampled_from(["rr22", "ecdh"]))
def test_a_threshold_opens_the_keys_only_if_there_are_enough(receivers, ours, theirs, at_least, protocol) -> None:
    parameters = {"keys": ["k", "n"], "at_least": at_least}
    outcomes = both("threshold", table(ours), table(theirs), parameters, receivers, protocol=protocol)
    shared = sorted(frame(ours).merge(frame(theirs), on=["k", "n"]).itertuples(index=False, name=None))
    for rank, outcome in enumerate(outcomes):
        if rank not in receivers:
            assert outcome.tables == {}
            continue
        assert outcome.tables["result"].to_pylist() == [{"count": len(shared)}]
        assert sorted(found(outcome)) == (shared if len(shared) >= at_least else [])
        assert ("+" in outcome.report.configuration) == (len(shared) >= at_least)


@pytest.mark.parametrize("parameters", [{"at_least": 0}, {"at_least": True}, {"at_least": "5"}, {"link_mbit": 0}])
def test_numbers_out_of_bounds_are_refused(parameters) -> None:
    pair = jobs("psi", "threshold", {"keys": ["k"]} | parameters, ["x", "y"], [[], []], (0,))
    assert all(isinstance(end, BadJob) for end in attempt(pair, [pa.table({"k": [1]})] * 2))


@pytest.mark.parametrize("operation", ["cardinality", "threshold"])
def test_what_is_semi_honest_alone_does_not_pretend_to_be_more(operation) -> None:
    parameters = {"keys": ["k"], "security": "malicious"}
    pair = jobs("psi", operation, parameters, ["x", "y"], [[], []], (0,))
    assert all(isinstance(end, BadJob) for end in attempt(pair, [pa.table({"k": [1]})] * 2))


@given(st.integers(1, 1 << 28), st.integers(1, 1 << 28), st.integers(1, 1_000_000))
def test_the_faster_protocol_is_chosen_and_the_reason_says_so(comparing, sending, link_mbit) -> None:
    found = choice.choose(comparing, sending, malicious=False, link_mbit=link_mbit)
    costs = {"rr22": choice.rr22_cost(comparing, sending), "ecdh": choice.ecdh_cost(comparing, sending)}
    assert costs[found.protocol].micros_over(link_mbit) == min(c.micros_over(link_mbit) for c in costs.values())
    assert found.reason.startswith(found.protocol.upper())
    assert f"{link_mbit} Mbit/s" in found.reason
    assert choice.choose(comparing, sending, malicious=True, link_mbit=link_mbit).protocol == "rr22"


def test_small_sets_and_narrow_links_take_diffie_hellman() -> None:
    def protocol(rows: int, link_mbit: int) -> str:
        return choice.choose(rows, rows, malicious=False, link_mbit=link_mbit).protocol

    assert [protocol(n, 1000) for n in (100, 2000, 10**6)] == ["ecdh", "rr22", "rr22"]
    assert [protocol(n, 2) for n in (100, 2000, 10**6)] == ["ecdh", "ecdh", "rr22"]


def test_explain_gives_the_reason() -> None:
    assert base.reason("psi", "intersection", {"keys": ["k"]}, [50, 60]).startswith("ECDH")
    assert base.reason("psi", "intersection", {"keys": ["k"], "security": "malicious"}, [5, 6]).startswith("RR22")
    assert base.reason("psi", "cardinality", {"keys": ["k"]}, [50, 60]).startswith("ECDH")
    assert base.reason("mpc", "statistics", {}, [50, 60]) == ""
