"""The bench harness: a bench that is run in parts replaces its own rows and leaves the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import Row, report

LARGE = "large: "


def row(case: str, ours: float) -> Row:
    return Row(case, ours, "s", "limit", 1.0, ours)


def cases(path: Path) -> list[tuple[str, float]]:
    return [(one["case"], one["ours"]) for one in json.loads(path.read_text("utf-8"))["rows"]]


def test_a_part_keeps_the_rows_and_notes_of_the_others_in_either_order(tmp_path) -> None:
    run = {"folder": tmp_path, "parts": [LARGE]}
    report("b", [row(LARGE + "x", 1.0)], [LARGE + "note"], part=LARGE, **run)
    report("b", [row("x", 2.0), row("y", 3.0)], ["plain"], **run)
    path = report("b", [row(LARGE + "x", 4.0), row(LARGE + "z", 5.0)], [LARGE + "other"], part=LARGE, **run)
    assert cases(path) == [("x", 2.0), ("y", 3.0), (LARGE + "x", 4.0), (LARGE + "z", 5.0)]
    assert json.loads(path.read_text("utf-8"))["notes"] == ["plain", LARGE + "other"]
    assert cases(report("b", [row("x", 6.0)], **run)) == [("x", 6.0), (LARGE + "x", 4.0), (LARGE + "z", 5.0)]


def test_the_date_of_the_file_is_the_main_parts(tmp_path) -> None:
    run = {"folder": tmp_path, "parts": [LARGE]}
    report("b", [row("x", 1.0)], date="2026-01-01", **run)
    path = report("b", [row(LARGE + "x", 2.0)], date="2026-02-02", part=LARGE, **run)
    assert json.loads(path.read_text("utf-8"))["date"] == "2026-01-01"
    report("b", [row("x", 3.0)], date="2026-03-03", **run)
    assert json.loads(path.read_text("utf-8"))["date"] == "2026-03-03"


def test_a_bench_that_is_not_run_in_parts_replaces_all(tmp_path) -> None:
    report("b", [row("x", 1.0)], folder=tmp_path)
    assert cases(report("b", [row("y", 2.0)], folder=tmp_path)) == [("y", 2.0)]


@pytest.mark.parametrize(("part", "case"), [("", LARGE + "x"), (LARGE, "x")])
def test_a_row_of_another_part_is_refused(tmp_path, part, case) -> None:
    with pytest.raises(ValueError, match="not of the part"):
        report("b", [row(case, 1.0)], part=part, parts=[LARGE], folder=tmp_path)
    assert not list(tmp_path.iterdir())
