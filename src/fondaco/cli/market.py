"""Verbs about the market: `demand put|list|withdraw`, `offer put|list|withdraw|accept`, `matches`, `deals`."""

from __future__ import annotations

from typing import Annotated

import typer

from fondaco.cli.base import HERE, AsJson, Dir, ask, group, split_columns

app = group()
demand = group()
offer = group()
app.add_typer(demand, name="demand", help="Say what data is sought.")
app.add_typer(offer, name="offer", help="Offer published data at a price.")


@demand.command("put")
def put_demand(
    operation: Annotated[list[str], typer.Option(help="Operation wanted; repeat.")],
    purpose: Annotated[str, typer.Option(help="What for.")],
    dir_: Dir = HERE,
    word: Annotated[list[str] | None, typer.Option(help="A word that describes the data; repeat.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="A column that is sought; repeat.")] = None,
    max_price: Annotated[int, typer.Option(help="Most points for one use.")] = 0,
    days: Annotated[int, typer.Option(help="For how long it is sought.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Say what is sought, for all institutions to read."""
    arguments = {
        "words": word or [],
        "columns": column or [],
        "operations": operation,
        "purpose": purpose,
        "max_price": max_price,
        "days": days,
    }
    ask(dir_, "demand", arguments, as_json=as_json)


@demand.command("list")
def list_demands(dir_: Dir = HERE, as_json: AsJson = False) -> None:
    """All open demands."""
    ask(dir_, "demands", {}, as_json=as_json)


@demand.command("withdraw")
def withdraw_demand(
    demand_id: Annotated[str, typer.Argument(help="The demand's id.")], dir_: Dir = HERE, as_json: AsJson = False
) -> None:
    """Seek it no longer."""
    ask(dir_, "demand-withdraw", {"demand": demand_id}, as_json=as_json)


@offer.command("put")
def put_offer(
    dataset: Annotated[str, typer.Argument(help="/org/topic/name=KEY,…/COLUMN,… (match on / compute with).")],
    operation: Annotated[list[str], typer.Option(help="Operation allowed; repeat.")],
    purpose: Annotated[list[str], typer.Option(help="Purpose allowed; repeat.")],
    price: Annotated[int, typer.Option(help="Points for one use.")],
    dir_: Dir = HERE,
    uses: Annotated[int, typer.Option(help="Most uses of one grant.")] = 1,
    days: Annotated[int, typer.Option(help="For how long it can be accepted.")] = 30,
    grant_days: Annotated[int, typer.Option(help="For how long grants of it last, from now.")] = 60,
    demand_id: Annotated[str, typer.Option("--demand", help="Only for this demand.")] = "",
    as_json: AsJson = False,
) -> None:
    """Offer a published dataset; who accepts has the grant at once."""
    wanted = split_columns(dataset)
    arguments = {
        "dataset": wanted["name"],
        "keys": wanted["keys"],
        "columns": wanted["columns"],
        "operations": operation,
        "purposes": purpose,
        "price": price,
        "uses": uses,
        "days": days,
        "grant_days": grant_days,
        "demand": demand_id,
    }
    ask(dir_, "offer", arguments, as_json=as_json)


@offer.command("list")
def list_offers(dir_: Dir = HERE, as_json: AsJson = False) -> None:
    """All open offers."""
    ask(dir_, "offers", {}, as_json=as_json)


@offer.command("withdraw")
def withdraw_offer(
    offer_id: Annotated[str, typer.Argument(help="The offer's id.")], dir_: Dir = HERE, as_json: AsJson = False
) -> None:
    """Offer it no longer; grants that came of it stay."""
    ask(dir_, "offer-withdraw", {"offer": offer_id}, as_json=as_json)


@offer.command("accept")
def accept_offer(
    offer_id: Annotated[str, typer.Argument(help="The offer's id.")],
    dir_: Dir = HERE,
    demand_id: Annotated[str, typer.Option("--demand", help="The demand of this institution that it meets.")] = "",
    key: Annotated[list[str] | None, typer.Option(help="Fewer columns to match on than offered; repeat.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="Fewer columns to compute with; repeat.")] = None,
    purpose: Annotated[str, typer.Option(help="What for; the first that is offered if left out.")] = "",
    party: Annotated[list[str] | None, typer.Option(help="Who takes part; repeat.")] = None,
    uses: Annotated[int, typer.Option(help="How often.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Take an offer: the price is set aside, and the grant is there."""
    arguments = {
        "offer": offer_id,
        "demand": demand_id,
        "keys": key,
        "columns": column,
        "purpose": purpose,
        "parties": party,
        "uses": uses,
    }
    ask(dir_, "offer-accept", arguments, as_json=as_json)


@app.command()
def matches(
    demand_id: Annotated[str, typer.Argument(help="The demand; none: all open ones.")] = "",
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """The offers that fit a demand, best first, each with its reasons."""
    ask(dir_, "matches", {"demand": demand_id}, as_json=as_json)


@app.command()
def deals(dir_: Dir = HERE, as_json: AsJson = False) -> None:
    """What this institution bought and sold: points, grants, certificates of use."""
    ask(dir_, "deals", {}, as_json=as_json)
