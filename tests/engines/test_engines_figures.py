"""Which figures are opened: none about fewer keys than the minimum, directly or by subtraction; and exact ones."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest
from engines_world import column, jobs, together

from fondaco.engines.base import BadJob, OutOfRange
from fondaco.engines.checks import check_job
from fondaco.engines.mpc import inputs

PARTIES = ["holder", "asker", "helper"]
PEOPLE = [f"person{i}" for i in range(40)]
MATCH = pa.table({"k": PEOPLE})
NUMBER = column("v", low=0, high=10_000)


def by_group(sizes: dict[str, int], minimum: int, *, values: int = 1, named: list[str] | None = None) -> dict:
    """Figures of the asker's values (so many rows a person) by the holder's groups; what the asker sees by group."""
    labels = [name for name, size in sizes.items() for _one in range(size)]
    people = PEOPLE[: len(labels)]
    match = pa.table({"k": people})
    rows = [(person, 100 + place) for place, person in enumerate(people) for _again in range(values)]
    holder = {"data": pa.table({"k": people, "g": labels}), "match": match}
    asker = {"data": pa.table({"k": [row[0] for row in rows], "v": [row[1] for row in rows]}), "match": match}
    parameters = {
        "keys": ["k"], "minimum_count": minimum, "groups": named or list(sizes),
        "value": {"party": "asker", "column": "v"}, "group": {"party": "holder", "column": "g"},
    }  # fmt: skip
    columns = [[column("k", "text"), column("g", "text")], [column("k", "text"), NUMBER], []]
    outcomes = together(jobs("mpc", "statistics", parameters, PARTIES, columns, (1,), helper=2), [holder, asker, {}])
    assert not isinstance(outcomes[1], BaseException), outcomes
    return {
        row["group"]: None if row["suppressed"] else row["count"] for row in outcomes[1].tables["result"].to_pylist()
    }


def test_many_rows_of_one_person_are_one_person() -> None:
    assert by_group({"ill": 1, "well": 20}, 10, values=15)["ill"] is None
    assert by_group({"ill": 10, "well": 20}, 10, values=2) == {"ill": 20, "well": 40}


def test_a_small_group_cannot_be_had_by_subtracting_the_others() -> None:
    """Who owns the values knows their total: one hidden group beside open ones would be what is left of it."""
    assert by_group({"ill": 1, "well": 20}, 10) == {"ill": None, "well": None}
    assert by_group({"ill": 1, "some": 11, "well": 20}, 10) == {"ill": None, "some": None, "well": 20}
    assert by_group({"ill": 5, "hurt": 6, "well": 20}, 10) == {"ill": None, "hurt": None, "well": 20}


def test_people_of_no_named_group_are_a_small_group_too() -> None:
    assert by_group({"ill": 3, "some": 11, "well": 20}, 10, named=["some", "well"]) == {"some": None, "well": 20}
    assert by_group({"ill": 10, "some": 11, "well": 19}, 10, named=["some", "well"]) == {"some": 11, "well": 19}
    assert by_group({"some": 11, "well": 20}, 10) == {"some": 11, "well": 20}


@pytest.mark.parametrize("operation", ["statistics", "circuit-statistics"])
@pytest.mark.parametrize("named", [["ill", "well", "well"], ["1", 1], [1, 1], ["true", True]])
def test_no_group_is_named_twice(operation, named) -> None:
    """What is hidden is reckoned from what is shown: a group that counts twice would hide that little is hidden."""
    parameters = {
        "keys": ["k"], "minimum_count": 10, "groups": named,
        "value": {"party": "asker", "column": "v"}, "group": {"party": "holder", "column": "g"},
    }  # fmt: skip
    columns = [[column("k", "text"), column("g", "text")], [column("k", "text"), NUMBER], []]
    for job in jobs("mpc", operation, parameters, PARTIES, columns, (1,), helper=2)[:2]:
        with pytest.raises(BadJob, match="a group is named twice"):
            check_job(job)


def test_a_group_that_is_named_twice_opens_nothing_that_is_left_over() -> None:
    with pytest.raises(AssertionError, match="a group is named twice"):
        by_group({"ill": 1, "well": 20}, 10, named=["ill", "well", "well"])


@pytest.mark.parametrize(("theirs", "suppressed"), [(1, True), (9, True), (10, False)])
def test_pooled_figures_want_the_minimum_of_every_party(theirs, suppressed) -> None:
    parts = [
        {"data": pa.table({"v": pa.array([7] * theirs + [None] * 50, pa.int64())})},
        {"data": pa.table({"v": [0] * 50})},
        {},
    ]
    columns = [[NUMBER], [NUMBER], []]
    parameters = {"value": "v", "minimum_count": 10}
    outcomes = together(jobs("mpc", "pooled-statistics", parameters, PARTIES, columns, (1,), helper=2), parts)
    (row,) = outcomes[1].tables["result"].to_pylist()
    assert row["suppressed"] is suppressed
    assert row["sum"] == (None if suppressed else 7.0 * theirs)


def test_arithmetic_is_between_two_parties() -> None:
    parameters = {
        "operation": "subtract", "left": {"party": "holder", "column": "x"}, "right": {"party": "holder", "column": "y"},
    }  # fmt: skip
    columns = [[column("x", low=0, high=9), column("y", low=0, high=9)], [NUMBER], []]
    with pytest.raises(BadJob, match="two parties"):
        check_job(jobs("mpc", "arithmetic", parameters, PARTIES, columns, (1,), helper=2)[0])


def test_a_column_is_that_of_the_party_it_was_named_with() -> None:
    first, second = column("x", low=0, high=1), column("x", low=0, high=10**9, scale=3)
    job = jobs("mpc", "pooled-statistics", {}, ["a", "b", "c"], [[], [first], [second]], (0,))[0]
    for party, wanted in (("b", first), ("c", second)):
        assert inputs.declared(job, inputs.reference(job, {"party": party, "column": "x"}, "value")) == wanted
    lacking = jobs("mpc", "pooled-statistics", {}, ["a", "b", "c"], [[], [first], []], (0,))[0]
    with pytest.raises(BadJob):
        inputs.declared(lacking, inputs.reference(lacking, {"party": "c", "column": "x"}, "value"))


def test_products_are_exact_beyond_what_a_float_holds() -> None:
    big = (1 << 31) - 1
    columns = [[column("a", low=0, high=big)], [column("b", low=0, high=big - 1, scale=3)], []]
    parameters = {
        "operation": "multiply", "left": {"party": "holder", "column": "a"}, "right": {"party": "asker", "column": "b"},
    }  # fmt: skip
    scaled = pa.array([Decimal(big - 1).scaleb(-3)], pa.decimal128(38, 3))
    parts = [{"data": pa.table({"a": [big]})}, {"data": pa.table({"b": scaled})}, {}]
    columns[1] = [column("b", "decimal", low=0, high=big - 1, scale=3)]
    outcomes = together(jobs("mpc", "arithmetic", parameters, PARTIES, columns, (0,), helper=2), parts)
    assert outcomes[0].tables["result"]["result"].to_pylist() == [big * Decimal(big - 1).scaleb(-3)]


@pytest.mark.parametrize(
    ("operation", "named"),
    [
        ("arithmetic", {"operation": "add", "left": {"column": "v"}, "right": {"column": "v"}}),
        ("statistics", {"value": {"column": "v"}, "group": {"column": "v"}, "groups": [1]}),
    ],
)
def test_a_step_that_names_keys_wants_their_match(operation, named) -> None:
    # No helper runs: who lacks the match says so before it is linked to anyone.
    parties = iter(PARTIES)
    placed = {name: {"party": next(parties), **at} if isinstance(at, dict) else at for name, at in named.items()}
    columns = [[column("k", "text"), NUMBER], [column("k", "text"), NUMBER], []]
    table = pa.table({"k": ["a"], "v": [1]})
    steps = jobs("mpc", operation, {"keys": ["k"], **placed}, PARTIES, columns, (0,), helper=2)
    for outcome in together(steps[:2], [{"data": table}, {"data": table}]):
        assert "match" in outcome.cause


def test_decimals_are_numbers() -> None:
    declared = column("v", "decimal", low=-1000, high=1000, scale=2)
    cells = [Decimal("1.50"), None, Decimal("-9.99"), Decimal("10.00")]
    table = pa.table(
        {"v": pa.chunked_array([pa.array(cells[:2], pa.decimal128(38, 2)), pa.array(cells[2:], pa.decimal128(38, 2))])}
    )
    assert inputs.scaled(table, declared).to_pylist() == [150, None, -999, 1000]
    assert inputs.scaled(table.slice(1, 2), declared).to_pylist() == [None, -999]


SECRET = 987_654_321


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([SECRET], pa.int64()),
        pa.array([Decimal(SECRET)], pa.decimal128(38, 0)),
        pa.array([Decimal(f"{SECRET}.125")], pa.decimal128(38, 3)),
        pa.array([Decimal(SECRET * 10**20)], pa.decimal128(38, 0)),
        pa.array([Decimal(-SECRET * 10**20)], pa.decimal128(38, 0)),
        pa.array([float(SECRET)]),
        pa.array([SECRET * 1e300]),
        pa.array([float("inf")]),
        pa.array([float("nan"), 1.0]),
        pa.array([SECRET << 32], pa.int64()),
    ],
)
@pytest.mark.parametrize("scale", [0, 2, 12])
def test_whatever_is_out_of_range_is_refused_and_not_told(cells, scale) -> None:
    kind = "decimal" if pa.types.is_decimal(cells.type) else "int64" if pa.types.is_integer(cells.type) else "float64"
    with pytest.raises(OutOfRange) as caught:
        inputs.scaled(pa.table({"v": cells}), column("v", kind, low=-1000, high=1000, scale=scale))
    assert str(SECRET)[:6] not in caught.value.diagnostics()
    assert caught.value.__cause__ is None


def test_sums_are_checked_before_they_are_made() -> None:
    """DuckDB's own overflow error would show the factors."""
    big = (1 << 40) + 1
    table = pa.table({"k": ["a"], "v": [big]})
    with pytest.raises(OutOfRange, match="overflow"):
        inputs.summed(table, pa.table({"k": ["a"]}), ["k"], column("v", low=0, high=1 << 41))
