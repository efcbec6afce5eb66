"""How answers are shown: JSON for machines, plain aligned text for people. Reads well without colour."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from fondaco.errors import FondacoError


def show_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def say(text: str = "") -> None:
    """A line on stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line on stderr: progress and logs never mix with answers."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _cell(value: object) -> str:
    """One value on one line: lists by commas, maps as name=value, nothing for none."""
    if isinstance(value, list):
        apart = "; " if any(isinstance(item, dict) for item in value) else ", "
        return apart.join(map(_cell, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={_cell(item)}" for name, item in value.items())
    return "" if value is None else str(value)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns; numbers to the right."""
    cells = [[_cell(cell) for cell in row] for row in rows]
    if not cells:
        return "(none)"
    right = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(headings))]
    widths = [max(len(headings[i]), *(len(row[i]) for row in cells)) for i in range(len(headings))]

    def line(row: Sequence[str]) -> str:
        padded = (row[i].rjust(widths[i]) if right[i] else row[i].ljust(widths[i]) for i in range(len(row)))
        return "  ".join(padded).rstrip()

    return "\n".join([line(list(headings)), line(["-" * w for w in widths]), *(line(row) for row in cells)])


def fields(value: dict[str, Any], *, indent: str = "") -> str:
    """`name  value` lines for a flat answer; nested parts are indented."""
    lines: list[str] = []
    width = max((len(name) for name in value), default=0)
    for name, item in value.items():
        if isinstance(item, dict):
            lines += [f"{indent}{name}", fields(item, indent=indent + "  ")]
        elif isinstance(item, list) and item and all(isinstance(i, dict) for i in item):
            lines.append(f"{indent}{name}")
            headings = list(item[0])
            body = table(headings, [[row.get(h, "") for h in headings] for row in item])
            lines += [f"{indent}  {text}" for text in body.splitlines()]
        else:
            lines.append(f"{indent}{name.ljust(width)}  {_cell(item)}".rstrip())
    return "\n".join(lines)


def answer(value: dict[str, Any], *, as_json: bool) -> None:
    """Show an answer the way that was asked for."""
    if as_json:
        show_json(value)
    else:
        say(fields(value))


def failed(fault: FondacoError, *, as_json: bool) -> int:
    """Show an error on stderr; the exit code."""
    if as_json:
        sys.stderr.write(json.dumps(fault.to_dict(), indent=2, sort_keys=True) + "\n")
    else:
        note(fault.diagnostics())
    code = getattr(fault, "answer_exit_code", None)
    return code if isinstance(code, int) else fault.exit_code
