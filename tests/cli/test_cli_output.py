"""Answers as a person reads them."""

from __future__ import annotations

from fondaco.cli.output import fields


def test_lists_and_missing_values_read_as_text() -> None:
    shown = fields({"columns": ["email", "income"], "helper": None, "failure": {}, "by": [{"x": 1}]})
    assert shown.splitlines() == ["columns  email, income", "helper", "failure", "by", "  x", "  -", "  1"]


def test_records_too_wide_for_a_line_stand_one_below_the_other() -> None:
    sentences = [f"the receiver learns fact number {i} and nothing else of any row at all" for i in range(3)]
    shown = fields({"steps": [{"step": "one", "learns": sentences}, {"step": "two", "learns": []}]}).splitlines()
    assert shown[0] == "steps"
    assert shown[1] == "  step    one"
    assert [line.strip().removeprefix("learns").strip() for line in shown[2:5]] == sentences
    assert shown[5:] == ["", "  step    two", "  learns"]
    assert max(map(len, shown)) <= 160
