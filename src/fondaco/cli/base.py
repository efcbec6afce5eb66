"""What all verbs share: the options `--dir` and `--json`, and the question to the node that runs in that folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fondaco.cli import output
from fondaco.node import control

Dir = Annotated[Path, typer.Option("--dir", help="The node's folder.", envvar="FONDACO_DIR")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
HERE = Path("fondaco-node")


def group() -> typer.Typer:
    """An empty group of verbs, in the command's ways."""
    return typer.Typer(
        no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )


def ask(
    folder: Path, verb: str, arguments: dict[str, Any], *, as_json: bool, deadline: float = 600.0
) -> dict[str, Any]:
    """Ask the node of a folder and print its answer, which is returned too; its progress goes to stderr."""

    def progress(value: dict[str, Any]) -> None:
        output.note("  ".join(f"{name} {item}" for name, item in value.items()))

    found: dict[str, Any] = control.ask(folder, verb, arguments, deadline=deadline, on_progress=progress)
    output.answer(found, as_json=as_json)
    return found
