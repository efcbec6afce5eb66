"""Verbs about data: import, name, publish, change terms, prepare, withdraw, search."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from fondaco.cli.base import HERE, AsJson, Dir, ask, group
from fondaco.errors import NodeError

app = group()
_PERMISSIONS = (
    'write [[rules]] with organisations = ["*"], operations = […], purposes = […], and perhaps keys, columns, '
    "uses, days (90: it covers requests that end before it does)"
)


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="A file, or postgresql://user:password@host/database.")],
    dir_: Dir = HERE,
    name: Annotated[str, typer.Option(help="/org/topic/name to give it.")] = "",
    schema: Annotated[Path | None, typer.Option(help="TOML file that declares types, units and ranges.")] = None,
    format_: Annotated[str, typer.Option("--format", help="Where the file's ending does not tell.")] = "",
    table: Annotated[str | None, typer.Option(help="Table of a database.")] = None,
    query: Annotated[str | None, typer.Option(help="One SELECT on a database.")] = None,
    as_json: AsJson = False,
) -> None:
    """Import data into the vault: all of it or nothing."""
    path = source if "://" in source else str(Path(source).resolve())
    arguments = {
        "source": path,
        "name": name,
        "schema": None if schema is None else str(schema.resolve()),
        "format": format_,
        "table": table,
        "query": query,
    }
    ask(dir_, "import", arguments, as_json=as_json, deadline=24 * 3600.0)


@app.command("name")
def name_(
    cid: Annotated[str, typer.Argument(help="What `fondaco import` printed.")],
    name: Annotated[str, typer.Argument(help="/org/topic/name")],
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Name what was imported; the next version of the name."""
    ask(dir_, "name", {"cid": cid, "name": name}, as_json=as_json)


def _permissions(path: Path | None) -> list[dict[str, Any]]:
    """The default permissions of a TOML file: a list `rules`, each with organisations, operations and purposes."""
    if path is None:
        return []
    try:
        rules = tomllib.loads(path.read_text()).get("rules")
    except (OSError, ValueError) as fault:
        raise NodeError(f"the permissions cannot be read: {fault}", remedy=_PERMISSIONS, file=str(path)) from fault
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise NodeError("the file has no list of rules", remedy=_PERMISSIONS, file=str(path))
    return rules


@app.command()
def publish(
    name: Annotated[str, typer.Argument(help="/org/topic/name")],
    title: Annotated[str, typer.Option(help="One line.")],
    operation: Annotated[list[str], typer.Option(help="Operation allowed, e.g. psi.intersection; repeat.")],
    purpose: Annotated[list[str], typer.Option(help="Purpose allowed; repeat.")],
    dir_: Dir = HERE,
    description: Annotated[str, typer.Option(help="A few lines.")] = "",
    price: Annotated[int, typer.Option(help="Points for one use.")] = 0,
    minimum_rows: Annotated[int, typer.Option(help="Fewest rows that may be computed on.")] = 0,
    minimum_count: Annotated[int, typer.Option(help="Fewest rows that a figure may be about.")] = 0,
    hide_rows: Annotated[bool, typer.Option("--hide-rows", help="Do not tell the number of rows.")] = False,
    permissions: Annotated[Path | None, typer.Option(help="TOML file of who is granted what at once.")] = None,
    as_json: AsJson = False,
) -> None:
    """Publish a named dataset: its schema, terms and a keyed commitment, never a row."""
    arguments = {
        "name": name,
        "title": title,
        "description": description,
        "operations": operation,
        "purposes": purpose,
        "price": price,
        "minimum_rows": minimum_rows,
        "minimum_count": minimum_count,
        "show_rows": not hide_rows,
        "rules": _permissions(permissions),
    }
    ask(dir_, "publish", arguments, as_json=as_json)


@app.command()
def terms(
    name: Annotated[str, typer.Argument(help="/org/topic/name or /org/topic/name@version; none: the newest.")],
    dir_: Dir = HERE,
    title: Annotated[str | None, typer.Option(help="One line.")] = None,
    description: Annotated[str | None, typer.Option(help="A few lines.")] = None,
    operation: Annotated[list[str] | None, typer.Option(help="Operations allowed, in place of all; repeat.")] = None,
    purpose: Annotated[list[str] | None, typer.Option(help="Purposes allowed, in place of all; repeat.")] = None,
    price: Annotated[int | None, typer.Option(help="Points for one use.")] = None,
    minimum_rows: Annotated[int | None, typer.Option(help="Fewest rows that may be computed on.")] = None,
    minimum_count: Annotated[int | None, typer.Option(help="Fewest rows that a figure may be about.")] = None,
    permissions: Annotated[Path | None, typer.Option(help="TOML file of who is granted what at once.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the terms of a published version, or change those that are given; grants stay as they were given."""
    arguments = {
        "name": name,
        "title": title,
        "description": description,
        "operations": operation or None,
        "purposes": purpose or None,
        "price": price,
        "minimum_rows": minimum_rows,
        "minimum_count": minimum_count,
        "rules": None if permissions is None else _permissions(permissions),
    }
    ask(dir_, "terms", arguments, as_json=as_json)


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="/org/topic/name, published.")],
    key: Annotated[list[str], typer.Option(help="Column to ask by; repeat.")],
    dir_: Dir = HERE,
    operation: Annotated[str, typer.Option(help="pir.lookup (a hidden query) or psi.unbalanced.")] = "pir.lookup",
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="Column that steps name, in their order, keys among them; repeat. None: all; of a set its keys."
        ),
    ] = None,
    most_keys: Annotated[int | None, typer.Option(help="For how many keys the lookups are; none: 1.")] = None,
    seconds: Annotated[int, typer.Option(help="Give up after so long.")] = 3600,
    as_json: AsJson = False,
) -> None:
    """Prepare for hidden queries or unbalanced intersections now, so that the first need not wait; for each version."""
    arguments = {
        "name": name,
        "operation": operation,
        "keys": key,
        "columns": column,
        "most_keys": most_keys,
        "seconds": seconds,
    }
    ask(dir_, "prepare", arguments, as_json=as_json, deadline=seconds + 600.0)


@app.command()
def withdraw(
    name: Annotated[str, typer.Argument(help="/org/topic/name@version")],
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Take a published version back: no new grant, no new task; what was settled stays."""
    ask(dir_, "withdraw", {"name": name}, as_json=as_json)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="Words to look for; none lists all.")] = "",
    dir_: Dir = HERE,
    limit: Annotated[int, typer.Option(help="At most so many hits.", min=1)] = 20,
    as_json: AsJson = False,
) -> None:
    """Find published datasets; each hit is proven."""
    ask(dir_, "search", {"text": text, "limit": limit}, as_json=as_json)
