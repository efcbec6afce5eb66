"""Verbs about points: balances, transfer, mint, vote."""

from __future__ import annotations

from typing import Annotated

import typer

from fondaco.cli.base import HERE, AsJson, Dir, ask, group
from fondaco.errors import NodeError

app = group()


@app.command()
def points(dir_: Dir = HERE, as_json: AsJson = False) -> None:
    """Balances, escrows and the supply."""
    ask(dir_, "points", {}, as_json=as_json)


@app.command()
def transfer(
    target: Annotated[str, typer.Argument(help="Short name of the institution that receives.")],
    amount: Annotated[int, typer.Argument(help="Points.")],
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Pay another institution."""
    ask(dir_, "transfer", {"target": target, "amount": amount}, as_json=as_json)


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
        raise NodeError("write organisation=points", remedy="see `fondaco mint --help`")
    ask(dir_, "mint", {"amounts": amounts}, as_json=as_json)


@app.command()
def vote(
    proposal: Annotated[str, typer.Argument(help="The proposal's id.")],
    dir_: Dir = HERE,
    approve: Annotated[bool, typer.Option("--yes/--no", help="For or against.")] = True,
    as_json: AsJson = False,
) -> None:
    """Vote on a proposal to mint points."""
    ask(dir_, "vote", {"proposal": proposal, "approve": approve}, as_json=as_json)
