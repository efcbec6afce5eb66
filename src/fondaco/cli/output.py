"""How answers are shown: JSON for machines, plain aligned text for people. Reads well without colour."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Sequence
from typing import Any

from fondaco.errors import FondacoError

_WIDE = 160
_TIMES = ("at", "at_time", "deadline", "expires", "settled_time", "time", "until")
_UNIX = range(1_000_000_000, 100_000_000_000)
"""Seconds since 1970; where a field of this name is a height of the chain, it is less."""
_LISTED = {
    "certificates",
    "deals",
    "demands",
    "disputes",
    "events",
    "grants",
    "hits",
    "matches",
    "missing",
    "offers",
    "proposals",
    "requests",
    "tasks",
}
"""What a person asked to see a list of: that there is nothing is said."""
_TABLE = {"columns", "count", "rows"}


def show_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def say(text: str = "") -> None:
    """A line on stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line on stderr: progress and logs never mix with answers."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _is_long(value: object) -> bool:
    """Whether a list reads better with a line for each item."""
    return isinstance(value, list) and len(_cell(value)) > _WIDE - 20


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


def _readable(name: str, value: object) -> object:
    """A time as a date, everything else as it is."""
    if name in _TIMES and isinstance(value, int) and value in _UNIX:
        return datetime.datetime.fromtimestamp(value, datetime.UTC).isoformat(timespec="seconds")
    return value


def _result(name: str, value: dict[str, Any], indent: str) -> str:
    """A table of a result, under its name and number of rows."""
    rows, count = value["rows"], value["count"]
    shown = f"{count} rows" if len(rows) == count else f"the first {len(rows)} of {count} rows"
    body = table(value["columns"], rows).splitlines() if rows else []
    return "\n".join([f"{indent}{name}: {shown}", *(f"{indent}  {line}" for line in body)])


def _records(rows: list[dict[str, Any]], indent: str) -> str:
    """Records as a table, or one below the other where a line would be too wide to read."""
    headings = list(rows[0])
    body = table(headings, [[_readable(h, row.get(h, "")) for h in headings] for row in rows]).splitlines()
    if max(map(len, body)) > _WIDE:
        return "\n\n".join(fields(row, indent=indent) for row in rows)
    return "\n".join(indent + line for line in body)


def fields(value: dict[str, Any], *, indent: str = "") -> str:
    """`name  value` lines for a flat answer; nested parts are indented."""
    lines: list[str] = []
    width = max((len(name) for name in value), default=0)
    for name, item in value.items():
        if isinstance(item, dict) and item.keys() == _TABLE:
            lines.append(_result(name, item, indent))
        elif isinstance(item, dict) and item:
            lines += [f"{indent}{name}", fields(item, indent=indent + "  ")]
        elif isinstance(item, list) and item and all(isinstance(i, dict) for i in item):
            lines += [f"{indent}{name}", _records(item, indent + "  ")]
        else:
            apart = f"\n{indent}{' ' * width}  "
            shown = apart.join(map(_cell, item)) if _is_long(item) else _cell(_readable(name, item))
            if item == [] and name in _LISTED:
                shown = "(none)"
            lines.append(f"{indent}{name.ljust(width)}  {shown}".rstrip())
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
