"""Writes docs/reference from the code: every transaction with its fields, every refusal's number, every verb.

Run by `make docs`; `tests/project` fails when a page is not what this would write. Trusts the code; leaks nothing.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import typer.main

import fondaco
from fondaco.cli.main import app
from fondaco.core.messages import is_message, kind_of
from fondaco.core.models import Column, Schema
from fondaco.errors import FondacoError
from fondaco.ledger import contracts
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.kit import Refused

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
PLACE = ROOT / "docs" / "reference"
NOTICE = "Written by `make docs` from the code; do not edit.\n"


def _said(thing: object) -> str:
    return " ".join((inspect.getdoc(thing) or "").split())


def descendants(cls: type[T]) -> Iterator[type[T]]:
    """All subclasses, at any depth."""
    for child in cls.__subclasses__():
        yield child
        yield from descendants(child)


def _row(cls: type) -> str:
    fields = ", ".join(f"`{field.name}`: {field.type}" for field in dataclasses.fields(cls)).replace(
        " | None", " or none"
    )
    return f"| `{kind_of(cls)}` | {fields} | {_said(cls)} |"


def contracts_page() -> str:
    """Transactions, records and refusals of each contract."""
    for module in pkgutil.walk_packages(contracts.__path__, contracts.__name__ + "."):
        importlib.import_module(module.name)
    lines = ["# Contracts: transactions, records, refusals", "", NOTICE]
    lines += [
        "A refusal is given as a codespace and a number, which never change; the cause and the remedy are text.",
        "",
    ]
    names = sorted({kind.partition(".")[0] for kind in registry.kinds()})
    general = sorted(
        (c for c in descendants(Refused) if c.__dict__.get("codespace") == "ledger"), key=lambda c: c.number
    )
    lines += ["## Any transaction", "", "| codespace | number | code | when |", "| --- | --- | --- | --- |"]
    lines += [f"| {c.codespace} | {c.number} | `{c.code}` | {_said(c)} |" for c in general]
    for name in names:
        lines += ["", f"## {name}", "", "| transaction | fields | what it does |", "| --- | --- | --- |"]
        for kind in registry.kinds():
            if kind.partition(".")[0] == name:
                lines.append(_row(registry.HANDLERS[kind][0]))
        messages = importlib.import_module(f"{contracts.__name__}.{name}.messages")
        own = [c for c in vars(messages).values() if is_message(c) and c.__module__ == messages.__name__]
        records = [c for c in own if kind_of(c) not in registry.HANDLERS]
        lines += ["", "| record or part | fields | what it is |", "| --- | --- | --- |"]
        lines += [_row(cls) for cls in sorted(records, key=kind_of)]
        errors = [c for c in descendants(Refused) if getattr(c, "codespace", "") == name and c.number > 1]
        lines += ["", "| codespace | number | code | when |", "| --- | --- | --- | --- |"]
        lines += [f"| {name} | {c.number} | `{c.code}` | {_said(c)} |" for c in sorted(errors, key=lambda c: c.number)]
    lines += ["", "## schema", "", "| part | fields | what it is |", "| --- | --- | --- |", _row(Column), _row(Schema)]
    return "\n".join(lines) + "\n"


def _verbs(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name in sorted(command.commands):
            yield from _verbs(command.commands[name], f"{path} {name}")
    else:
        yield path, command


def verbs() -> tuple[str, ...]:
    """The verbs of the command, as one types them."""
    return tuple(path for path, _command in _verbs(typer.main.get_command(app), "fondaco"))


def _default(parameter: Any) -> str:
    """What an option is where it is left out, if that is more than nothing."""
    value = parameter.default
    named = isinstance(value, str | int | Path) and not isinstance(value, bool) and str(value) not in ("", "-1")
    env = f"`${parameter.envvar}`, else " if getattr(parameter, "envvar", None) else ""
    return f"{env}`{value}`" if named else ""


def cli_page() -> str:
    """Every verb with its arguments and options."""
    lines = ["# The command line", "", NOTICE]
    for path, command in _verbs(typer.main.get_command(app), "fondaco"):
        lines += [f"## {path}", "", " ".join((command.help or "").split()), ""]
        rows = []
        for parameter in command.params:
            required = "required" if parameter.required else _default(parameter)
            if parameter.param_type_name == "option":
                shown = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
                rows.append(f"| {shown} | {parameter.help or ''} | {required} |")
            else:
                rows.append(f"| `{parameter.name.upper()}` | {parameter.help or ''} | {required} |")
        if rows:
            lines += ["| argument | meaning | if left out |", "| --- | --- | --- |", *rows, ""]
    return "\n".join(lines)


def errors_page() -> str:
    """Every error that a person may see, with its code and the exit code of the command."""
    for module in pkgutil.walk_packages(fondaco.__path__, "fondaco."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    rows = {
        c.code: f"| `{c.code}` | {c.exit_code} | {_said(c).split('. ')[0].rstrip('.')} |"
        for c in descendants(FondacoError)
        if c.__module__.startswith("fondaco.") and "code" in c.__dict__ and not _said(c).startswith("Base")
    }
    table = "\n".join(rows[code] for code in sorted(rows))
    return f"# Errors\n\n{NOTICE}\n| code | exit code | when |\n| --- | --- | --- |\n{table}\n"


PAGES = {"contracts.md": contracts_page, "cli.md": cli_page, "errors.md": errors_page}


def main() -> None:
    """Write all pages."""
    PLACE.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (PLACE / name).write_text(page())


if __name__ == "__main__":
    main()
