"""Verbs about points: balances, transfer."""

from __future__ import annotations

from typing import Annotated

import typer

from fondaco.cli.base import HERE, AsJson, Dir, ask, group

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
