"""What `explain` says a step costs is near what the bench recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fondaco.engines.base import estimate

RECORDED = Path(__file__).parents[2] / "bench" / "results" / "psi.json"
ROWS = 1 << 20
SLACK = 1.25
"""A machine's next run of the same is that much slower at most."""
LOADING = {"psi": 1.0, "mpc": 3.5}
"""Seconds of launching a worker and loading its engine, before the bench's clock starts."""


def recorded(case: str, unit: str) -> float:
    rows = json.loads(RECORDED.read_text())["rows"]
    (found,) = [row["ours"] for row in rows if row["case"].split(": ")[-1] == case and row["unit"] == unit]
    return float(found)


CASES = [
    ("psi", "intersection", 2, "2^20 x 2^20, files"),
    ("psi", "intersection", 3, "intersection of three, 2^20 each"),
    ("psi", "difference", 3, "difference of three, 2^20 each"),
    ("psi", "union", 3, "union of three, 2^20 each"),
    ("psi", "cardinality", 2, "cardinality, 2^20 x 2^20"),
    ("psi", "threshold", 2, "threshold, 2^20 x 2^20"),
    ("psi", "union", 2, "union for one of two, 2^20 each"),
    ("psi", "unbalanced", 2, "unbalanced, preparing 2^20 and its table"),
    ("mpc", "intersection-sum", 3, "intersection-sum, 2^20 x 2^20"),
    ("mpc", "circuit-statistics", 3, "circuit-statistics, 2^20 x 2^20"),
]


def slow() -> bool:
    """Whether the record is of the processors that `estimate` is for; with AVX-512 all is faster than it tells."""
    notes = json.loads(RECORDED.read_text())["notes"]
    return not any("with AVX-512" in note for note in notes)


@pytest.mark.parametrize(("engine", "operation", "members", "case"), CASES)
def test_the_time_that_is_told_is_near_what_was_measured(engine, operation, members, case) -> None:
    told = estimate(engine, operation, ROWS, members=members).seconds
    measured = recorded(case, "s")
    assert measured <= SLACK * told, (told, measured)
    if slow():
        assert told <= 1.5 * measured + LOADING[engine], (told, measured)


@pytest.mark.parametrize("operation", ["intersection-sum", "circuit-statistics"])
def test_the_memory_and_bytes_of_a_hidden_match_are_near_what_was_measured(operation) -> None:
    told = estimate("mpc", operation, ROWS, members=3)
    assert told.memory_mib == pytest.approx(recorded(f"{operation}, 2^20 x 2^20", "MiB of one"), rel=0.1)
    # The bench counts what all three send, of which each sees two thirds.
    assert told.network_mib * 1.048576 == pytest.approx(recorded(f"{operation}, 2^20 x 2^20", "MB") * 2 / 3, rel=0.1)


@pytest.mark.parametrize(
    ("operation", "case"),
    [
        ("cardinality", "cardinality, 2^20 x 2^20"),
        ("threshold", "threshold, 2^20 x 2^20"),
        ("union", "union for one of two, 2^20 each"),
    ],
)
def test_the_bytes_of_an_operation_of_two_are_near_what_was_measured(operation, case) -> None:
    told = estimate("psi", operation, ROWS).network_mib * 1.048576
    assert told == pytest.approx(recorded(case, "MB"), rel=0.1)


def test_a_union_for_both_is_told_to_cost_two_runs() -> None:
    one, both = (estimate("psi", "union", ROWS, receivers=count) for count in (1, 2))
    assert both.seconds == pytest.approx(2 * one.seconds, rel=0.05)
    assert both.network_mib == pytest.approx(2 * one.network_mib, rel=0.05)
