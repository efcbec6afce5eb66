"""What every bench shares: rows of ours beside theirs, one table on the terminal, one file in bench/results.

A bench measures both sides in the same run on the same machine: a ratio is always `ours / theirs` in the unit of its
row, so the reader must know from the unit whether more is better. The file holds the facts of the machine, because a
figure without its machine says nothing.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = Path(__file__).parent / "results"
COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("case", "left"),
    ("ours", "right"),
    ("unit", "left"),
    ("beside", "left"),
    ("theirs", "right"),
    ("ratio", "right"),
)


@dataclass(frozen=True)
class Row:
    """One case: our figure, its unit, what stands beside it, its figure in the same unit, and ours / theirs."""

    case: str
    ours: float
    unit: str
    beside: str
    theirs: float
    ratio: float

    def __post_init__(self) -> None:
        """Refuse what JSON cannot say: a figure that is no number was not measured."""
        for name in ("ours", "theirs", "ratio"):
            if not math.isfinite(getattr(self, name)):
                message = f"{self.case}: {name} is {getattr(self, name)}"
                raise ValueError(message)


def machine() -> dict[str, str | int]:
    """Say what the figures were measured on: cores this process may use, processor family, memory, system, Python."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }


def figure(value: float) -> str:
    """Write a number as a person reads it: no digits beyond those that a measurement on a shared machine has."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def document(rows: Sequence[Row], notes: Sequence[str], date: str, facts: dict[str, str | int]) -> str:
    """Write the result file's text: rows in the order of the bench, keys in the order of the fields."""
    content = {"date": date, "machine": facts, "notes": list(notes), "rows": [asdict(row) for row in rows]}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def table(name: str, rows: Sequence[Row]) -> Table:
    """Lay the rows out: figures to the right, words to the left."""
    laid = Table(title=name, box=box.SIMPLE, title_justify="left", pad_edge=False)
    for heading, justify in COLUMNS:
        laid.add_column(heading, justify=justify)
    for row in rows:
        laid.add_row(row.case, figure(row.ours), row.unit, row.beside, figure(row.theirs), f"{row.ratio:.3g}")
    return laid


def report(
    name: str,
    rows: Sequence[Row],
    notes: Sequence[str] = (),
    *,
    date: str | None = None,
    folder: Path = RESULTS,
    part: str = "",
    parts: Sequence[str] = (),
) -> Path:
    """Print the table of `rows` and write it to `folder/NAME.json`; returns that path.

    `date` is written as given; left out, it is the day of the run (UTC). A bench without rows is refused: it
    measured nothing. A bench that is run in parts names them all in `parts` and its own in `part`, by what their rows
    and notes begin with (the main part, "", by none of these): those of the other parts stay in the file.
    Date and machine of the file are the main part's; another part says its own in a note.
    """
    if not rows:
        message = f"bench {name} measured nothing"
        raise ValueError(message)
    if any(_part(text, parts) != part for text in [*(row.case for row in rows), *notes]):
        message = f"bench {name} has rows or notes that are not of the part {part!r}"
        raise ValueError(message)
    day = date if date is not None else datetime.datetime.now(datetime.UTC).date().isoformat()
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(table(name, rows))
    for note in notes:
        console.print(f"  {note}", markup=False)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    facts = machine()
    if parts and path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        rows, notes = _joined(before, rows, notes, part, parts)
        if part:
            day, facts = before["date"], before["machine"]
    path.write_text(document(rows, notes, day, facts), encoding="utf-8")
    return path


def _part(text: str, parts: Sequence[str]) -> str:
    """The part that a row's case or a note is of."""
    return next((part for part in parts if text.startswith(part)), "")


def _joined(
    before: dict[str, Any], rows: Sequence[Row], notes: Sequence[str], part: str, parts: Sequence[str]
) -> tuple[list[Row], list[str]]:
    """These rows and notes with those of the other parts that the file has, part by part."""
    all_rows = [row for row in (Row(**row) for row in before["rows"]) if _part(row.case, parts) != part] + list(rows)
    all_notes = [note for note in before["notes"] if _part(note, parts) != part] + list(notes)
    order = ["", *parts]
    all_rows.sort(key=lambda row: order.index(_part(row.case, parts)))
    all_notes.sort(key=lambda note: order.index(_part(note, parts)))
    return all_rows, all_notes
