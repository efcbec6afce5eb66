"""Answers as a person reads them."""

from __future__ import annotations

from fondaco.cli.output import fields


def test_lists_and_missing_values_read_as_text() -> None:
    shown = fields({"columns": ["email", "income"], "helper": None, "failure": {}, "by": [{"x": 1}]})
    assert shown.splitlines() == ["columns  email, income", "helper", "failure", "by", "  x", "  -", "  1"]


def test_a_result_is_read_row_by_row() -> None:
    tables = {"match": {"columns": ["imo", "cargo"], "count": 3, "rows": [[9305623, "ore"], [94, None]]}}
    assert fields({"task": "x", "tables": tables}).splitlines() == [
        "task    x",
        "tables",
        "  match: the first 2 of 3 rows",
        "        imo  cargo",
        "    -------  -----",
        "    9305623  ore",
        "         94",
    ]
    assert fields({"none": {"columns": ["k"], "count": 0, "rows": []}}) == "none: 0 rows"


def test_times_are_dates_and_heights_are_numbers() -> None:
    shown = fields({"expires": 1798558467, "deadline": 10166, "uses": 1798558467, "grants": [{"until": 1798558467}]})
    assert shown.splitlines() == [
        "expires   2026-12-29T15:34:27+00:00",
        "deadline  10166",
        "uses      1798558467",
        "grants",
        "  until",
        "  -------------------------",
        "  2026-12-29T15:34:27+00:00",
    ]


def test_records_too_wide_for_a_line_stand_one_below_the_other() -> None:
    sentences = [f"the receiver learns fact number {i} and nothing else of any row at all" for i in range(3)]
    shown = fields({"steps": [{"step": "one", "learns": sentences}, {"step": "two", "learns": []}]}).splitlines()
    assert shown[0] == "steps"
    assert shown[1] == "  step    one"
    assert [line.strip().removeprefix("learns").strip() for line in shown[2:5]] == sentences
    assert shown[5:] == ["", "  step    two", "  learns"]
    assert max(map(len, shown)) <= 160
