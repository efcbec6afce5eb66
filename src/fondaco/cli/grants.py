"""Verbs about grants: request, take back, review, limit lookups, list, revoke, give back."""

from __future__ import annotations

from typing import Annotated

import typer

from fondaco.cli.base import HERE, AsJson, Dir, ask, group, split_columns
from fondaco.errors import UsageError

app = group()


@app.command()
def request(
    dataset: Annotated[list[str], typer.Argument(help="/org/topic/name=KEY,…/COLUMN,… (match on / compute with).")],
    operation: Annotated[list[str], typer.Option(help="Operation wanted; repeat.")],
    purpose: Annotated[str, typer.Option(help="What for.")],
    party: Annotated[list[str], typer.Option(help="Who takes part; repeat.")],
    dir_: Dir = HERE,
    coordinator: Annotated[str, typer.Option(help="Who coordinates and helps; none: who makes the blocks.")] = "",
    receiver: Annotated[list[str] | None, typer.Option(help="Who learns the result; repeat.")] = None,
    uses: Annotated[int, typer.Option(help="How often.")] = 1,
    days: Annotated[int, typer.Option(help="For how long.")] = 30,
    max_price: Annotated[int, typer.Option(help="Most points for one use of one dataset.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Ask for the use of datasets; the price is set aside at once.

    Rows may be matched on the columns before the slash, and be computed with those after it.
    """
    arguments = {
        "datasets": [split_columns(text) for text in dataset],
        "operations": operation,
        "purpose": purpose,
        "parties": party,
        "coordinator": coordinator,
        "receivers": receiver,
        "uses": uses,
        "days": days,
        "max_price": max_price,
    }
    ask(dir_, "request", arguments, as_json=as_json)


@app.command()
def requests(dir_: Dir = HERE, as_json: AsJson = False) -> None:
    """List what this institution asked for, and what was answered."""
    ask(dir_, "requests", {"mine": True}, as_json=as_json)


@app.command("take-back")
def take_back(
    request_id: Annotated[str, typer.Argument(help="The request.")],
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Take back what is not answered yet of a request of this institution; its points are free again."""
    ask(dir_, "take-back", {"request": request_id}, as_json=as_json)


@app.command()
def review(
    request_id: Annotated[str, typer.Argument(help="The request; none lists those that wait.")] = "",
    dir_: Dir = HERE,
    approve: Annotated[bool | None, typer.Option("--approve/--deny", help="The answer.")] = None,
    reason: Annotated[str, typer.Option(help="One line.")] = "",
    uses: Annotated[int, typer.Option(help="Grant fewer uses than asked for; 0: as asked.")] = 0,
    most_keys: Annotated[int, typer.Option(help="Most keys of one hidden query; 0: as the dataset's owner says.")] = 0,
    keys_a_day: Annotated[int | None, typer.Option(help="Most keys in 24 hours; none: as its owner says.")] = None,
    as_json: AsJson = False,
) -> None:
    """See and answer what others ask of this institution's data."""
    if not request_id:
        if approve is not None:
            raise UsageError("say which request is answered", remedy="`fondaco review` lists those that wait")
        ask(dir_, "requests", {}, as_json=as_json)
        return
    if approve is None:
        raise UsageError("say --approve or --deny", remedy="see `fondaco review --help`")
    arguments = {
        "request": request_id,
        "approve": approve,
        "reason": reason,
        "uses": uses,
        "most_keys": most_keys,
        "keys_a_day": keys_a_day,
    }
    ask(dir_, "review", arguments, as_json=as_json)


@app.command()
def limit(
    name: Annotated[str, typer.Argument(help="/org/topic/name, published or not yet.")],
    dir_: Dir = HERE,
    most_keys: Annotated[int | None, typer.Option(help="Most keys of one hidden query.")] = None,
    keys_a_day: Annotated[int | None, typer.Option(help="Most keys in 24 hours; none or 0: no such bound.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Remove the limits: grants to come will not say.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show, or say, how many keys hidden queries may ask under grants to come; grants that were given keep theirs."""
    arguments = {"name": name, "most_keys": most_keys, "keys_a_day": keys_a_day, "remove": none}
    ask(dir_, "limit", arguments, as_json=as_json)


@app.command()
def grants(dir_: Dir = HERE, as_json: AsJson = False) -> None:
    """List the grants that this institution holds or gave."""
    ask(dir_, "grants", {}, as_json=as_json)


@app.command()
def revoke(
    grant: Annotated[str, typer.Argument(help="The grant's id.")],
    dir_: Dir = HERE,
    reason: Annotated[str, typer.Option(help="One line.")] = "",
    as_json: AsJson = False,
) -> None:
    """Void a grant that this institution gave."""
    ask(dir_, "revoke", {"grant": grant, "reason": reason}, as_json=as_json)


@app.command("give-back")
def give_back(
    grant: Annotated[str, typer.Argument(help="The grant's id.")],
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """End a grant that this institution holds; the points of the uses that are left are free again."""
    ask(dir_, "give-back", {"grant": grant}, as_json=as_json)
