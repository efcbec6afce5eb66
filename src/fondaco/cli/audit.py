"""`audit query`, `audit export`, `audit verify`: what happened on the chain, with the proofs of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fondaco.cli import output
from fondaco.cli.base import HERE, AsJson, Dir, ask, check_root, group
from fondaco.errors import NodeError, UsageError

app = group()
Institution = Annotated[str, typer.Option(help="Events that this institution is a party of.")]
Dataset = Annotated[str, typer.Option(help="Events about a dataset: a path, or path@version.")]
Did = Annotated[str, typer.Option(help="Events of a person: its did:key, or its key in hex.")]
Task = Annotated[str, typer.Option(help="Events about a task, its grants and its payments: the task's id.")]
Purpose = Annotated[str, typer.Option(help="Events for this purpose.")]
Since = Annotated[str, typer.Option(help="From this height, or this time (ISO 8601, UTC), on.")]
Until = Annotated[str, typer.Option(help="Up to this height, or this time (ISO 8601, UTC).")]
Kind = Annotated[str, typer.Option(help="Events of a kind, as grants.used, or of a contract, as grants.")]


@app.command("query")
def query(
    dir_: Dir = HERE,
    institution: Institution = "",
    dataset: Dataset = "",
    did: Did = "",
    task: Task = "",
    purpose: Purpose = "",
    since: Since = "",
    until: Until = "",
    kind: Kind = "",
    limit: Annotated[int, typer.Option(help="Events on a page, 1 to 100.")] = 50,
    after: Annotated[int, typer.Option(help="Go on after the event of this number: the answer's `next`.")] = -1,
    proof: Annotated[Path | None, typer.Option(help="Write the page's proofs to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find events by any combination of what they are about; each is proven before it is shown."""
    arguments = {
        "institution": institution,
        "dataset": dataset,
        "did": did,
        "task": task,
        "purpose": purpose,
        "since": since,
        "until": until,
        "kind": kind,
        "limit": limit,
        "after": after,
        "file": "" if proof is None else str(proof.resolve()),
    }
    ask(dir_, "audit-query", arguments, as_json=as_json)


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="Where to write the bundle.")],
    dir_: Dir = HERE,
    select: Annotated[bool, typer.Option("--select", help="Only what the filters find, and its receipts.")] = False,
    institution: Institution = "",
    dataset: Dataset = "",
    did: Did = "",
    task: Task = "",
    purpose: Purpose = "",
    since: Since = "",
    until: Until = "",
    kind: Kind = "",
    as_json: AsJson = False,
) -> None:
    """Write an audit bundle of everything, of one task (--task alone), or of what --select and its filters find."""
    filters = {
        "institution": institution,
        "dataset": dataset,
        "did": did,
        "purpose": purpose,
        "since": since,
        "until": until,
        "kind": kind,
    }
    if any(filters.values()) and not select:
        raise UsageError("filters select nothing without --select", remedy="add --select")
    arguments = {"file": str(file.resolve()), "task": task, "select": select, **filters}
    ask(dir_, "audit", arguments, as_json=as_json)


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="The bundle.")],
    trust_root: Annotated[str | None, typer.Option(help="The genesis hash that the consortium published.")] = None,
    as_json: AsJson = False,
) -> None:
    """Verify an audit bundle, offline, needing nothing but the file."""
    from fondaco.ledger.audit.__main__ import describe, to_text
    from fondaco.ledger.audit.verify import verify as check

    try:
        bundle = file.read_bytes()
    except OSError as fault:
        raise NodeError("the file cannot be read", remedy="check the path", file=str(file)) from fault
    report = check(bundle, trust_root=check_root(trust_root))
    if as_json:
        output.show_json(describe(report))
    else:
        output.say(to_text(report))
