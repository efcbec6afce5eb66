"""What all verbs share: the options `--dir` and `--json`, and the question to the node that runs in that folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from fondaco.cli import output
from fondaco.errors import UsageError
from fondaco.node import control

Dir = Annotated[Path, typer.Option("--dir", help="The node's folder.", envvar="FONDACO_DIR")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
_ROOT = re.compile(r"[0-9a-f]{64}")
HERE = Path("fondaco-node")


def group() -> typer.Typer:
    """An empty group of verbs, in the command's ways."""
    return typer.Typer(
        no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )


def split_columns(text: str) -> dict[str, Any]:
    """`/org/topic/name=KEY,…/COLUMN,…` as a dataset's name, the columns to match on, and those to compute with."""
    name, _equals, named = text.partition("=")
    keys, _slash, columns = named.partition("/")
    return {
        "name": name,
        "keys": [part for part in keys.split(",") if part],
        "columns": [part for part in columns.split(",") if part],
    }


def check_root(text: str | None) -> str | None:
    """The same trust root if it can be one: else a slip of the pen would pass for a file of another chain.

    Raises:
        UsageError: not 64 hexadecimal digits.
    """
    if text is not None and not _ROOT.fullmatch(text):
        raise UsageError("a trust root has 64 hexadecimal digits", remedy="give it whole, as `fondaco status` shows it")
    return text


def ask(
    folder: Path, verb: str, arguments: dict[str, Any], *, as_json: bool, deadline: float = 600.0
) -> dict[str, Any]:
    """Ask the node of a folder and print its answer, which is returned too; its progress goes to stderr."""

    def progress(value: dict[str, Any]) -> None:
        output.note("  ".join(f"{name} {item}" for name, item in value.items()))

    try:
        found: dict[str, Any] = control.ask(folder, verb, arguments, deadline=deadline, on_progress=progress)
    except KeyboardInterrupt:
        output.note("interrupted: the node goes on with what it was asked for; `fondaco tasks` lists tasks")
        raise
    output.answer(found, as_json=as_json)
    return found
