"""Verbs about what the institutions vote on: `governance propose|vote|list|show|withdraw`, and `mint` and `vote`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fondaco.cli.base import HERE, AsJson, Dir, ask, group
from fondaco.errors import UsageError

app = group()
governance = group()
app.add_typer(governance, name="governance", help="Propose, vote, and see what is in force.")


@app.command()
def mint(
    amount: Annotated[list[str], typer.Argument(help="organisation=points …")],
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Propose to mint points; the institutions vote."""
    pairs = (text.partition("=") for text in amount)
    amounts = {name: int(number) for name, _equals, number in pairs if number.isascii() and number.isdigit()}
    if len(amounts) != len(amount):
        raise UsageError("write organisation=points", remedy="see `fondaco mint --help`")
    ask(dir_, "mint", {"amounts": amounts}, as_json=as_json)


@app.command()
def vote(
    proposal: Annotated[str, typer.Argument(help="The proposal's id.")],
    dir_: Dir = HERE,
    approve: Annotated[bool, typer.Option("--yes/--no", help="For or against.")] = True,
    as_json: AsJson = False,
) -> None:
    """Vote yes or no on a proposal; `governance vote` also knows abstain and veto."""
    ask(dir_, "vote", {"proposal": proposal, "approve": approve}, as_json=as_json)


def _field(text: str) -> tuple[str, Any]:
    """`name=value`; the value is JSON where it can be read as JSON, else text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError("write field=value", remedy="see `fondaco governance propose --help`")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


@governance.command()
def propose(
    kind: Annotated[str, typer.Argument(help="What: mint, admit, expel, seat, shares, quota, prices, program, …")],
    field: Annotated[
        list[str] | None, typer.Argument(help="field=value of the body; JSON for lists and maps, hex:… for bytes.")
    ] = None,
    dir_: Dir = HERE,
    title: Annotated[str, typer.Option(help="What people read.")] = "",
    as_json: AsJson = False,
) -> None:
    """Put something to the vote; to admit an institution, `file=` says where its invitation is written."""
    body = dict(_field(text) for text in field or [])
    if isinstance(body.get("file"), str):
        body["file"] = str(Path(body["file"]).resolve())
    ask(dir_, "governance-propose", {"kind": kind, "body": body, "title": title}, as_json=as_json)


@governance.command("vote")
def cast(
    proposal: Annotated[str, typer.Argument(help="The proposal's id.")],
    choice: Annotated[str, typer.Argument(help="yes, no, abstain or veto")],
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Vote on a proposal."""
    ask(dir_, "governance-vote", {"proposal": proposal, "choice": choice}, as_json=as_json)


@governance.command()
def withdraw(
    proposal: Annotated[str, typer.Argument(help="The proposal's id.")],
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Take a proposal of this institution back before anyone has voted."""
    ask(dir_, "governance-withdraw", {"proposal": proposal}, as_json=as_json)


@governance.command("list")
def list_(dir_: Dir = HERE, as_json: AsJson = False) -> None:
    """All proposals and what became of them."""
    ask(dir_, "governance-list", {}, as_json=as_json)


@governance.command()
def show(
    proposal: Annotated[str, typer.Argument(help="The proposal's id; none: what is in force.")] = "",
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """One proposal with its votes, or the parameters, shares, prices, seats and upgrades in force."""
    ask(dir_, "governance-show", {"proposal": proposal}, as_json=as_json)
