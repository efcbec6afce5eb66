"""What follows a task: `certificates`, `certificate export|verify|revoke`, `dispute open|evidence|vote|list`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from fondaco.cli import output
from fondaco.cli.base import HERE, AsJson, Dir, ask, check_root, group
from fondaco.errors import NodeError

app = group()
certificate = group()
dispute = group()
app.add_typer(certificate, name="certificate", help="Export, verify and revoke certificates of use.")
app.add_typer(dispute, name="dispute", help="Contest a task, and judge.")


@app.command()
def certificates(dir_: Dir = HERE, as_json: AsJson = False) -> None:
    """The certificates of uses that this institution made or gave."""
    ask(dir_, "certificates", {}, as_json=as_json)


@certificate.command("export")
def export_certificate(
    certificate_id: Annotated[str, typer.Argument(help="The certificate's id.")],
    file: Annotated[Path, typer.Argument(help="Where to write it.")],
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Write a certificate with the proof of its present status."""
    arguments = {"certificate": certificate_id, "file": str(file.resolve())}
    ask(dir_, "certificate-export", arguments, as_json=as_json)


@certificate.command("verify")
def verify_certificate(
    file: Annotated[Path, typer.Argument(help="The certificate's file.")],
    trust_root: Annotated[str | None, typer.Option(help="The genesis hash that the consortium published.")] = None,
    max_age: Annotated[int | None, typer.Option(help="Most seconds since the proving header was made.")] = None,
    trusting_period: Annotated[
        int | None,
        typer.Option(
            help="Believe no validators for more seconds than this, counted from the genesis and each change."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify a certificate and its status, offline, needing nothing but the file."""
    from fondaco.ledger.audit.certificate import MAX_FILE, verify

    try:
        with file.open("rb") as source:
            data = source.read(MAX_FILE + 1)
    except OSError as fault:
        raise NodeError("the file cannot be read", remedy="check the path", file=str(file)) from fault
    root, now = check_root(trust_root), int(time.time())
    found = verify(data, trust_root=root, now=now, max_age=max_age, trusting_period=trusting_period)
    shown = found.certificate
    answer = {
        "verified": True,
        "status": shown.status,
        "at_height": found.height,
        "at_time": found.time,
        "chain": found.chain,
        "trust_root": found.trust_root,
        "pinned": found.pinned,
        "certificate": shown.id.hex(),
        "holder": shown.holder,
        "provider": shown.provider,
        "dataset": f"{shown.path}@{shown.version}",
        "commitment": shown.commitment.hex(),
        "columns": list(shown.columns),
        "operations": list(shown.operations),
        "programs": [program.hex() for program in shown.programs],
        "purpose": shown.purpose,
        "cost": shown.cost,
        "settled_height": shown.height,
        "settled_time": shown.time,
        "task": shown.task.hex(),
        "grant": shown.grant.hex(),
    }
    if not found.valid:
        answer |= {"revoked_height": shown.revoked, "revoked_by": shown.by, "cause": shown.cause}
    output.answer(answer, as_json=as_json)


@certificate.command("revoke")
def revoke_certificate(
    certificate_id: Annotated[str, typer.Argument(help="The certificate's id.")],
    cause: Annotated[str, typer.Option(help="One line.")],
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Revoke a certificate of a use of this institution's data; points do not move by it."""
    ask(dir_, "certificate-revoke", {"certificate": certificate_id, "cause": cause}, as_json=as_json)


@dispute.command("open")
def open_dispute(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    cause: Annotated[str, typer.Option(help="One line.")],
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Contest a task of this institution within its window: what it pays is frozen until arbiters have decided."""
    ask(dir_, "dispute-open", {"task": task, "cause": cause}, as_json=as_json)


@dispute.command()
def evidence(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    file: Annotated[Path, typer.Argument(help="The document.")],
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Commit to a document; keep the salt, and show both to the arbiters."""
    ask(dir_, "dispute-evidence", {"task": task, "file": str(file.resolve())}, as_json=as_json)


@dispute.command("vote")
def vote_dispute(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    refund: Annotated[int, typer.Option(help="Basis points that go back to the payer: 0 pays all, 10000 nothing.")],
    dir_: Dir = HERE,
    revoke: Annotated[bool, typer.Option(help="Revoke the task's certificates.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge, as an arbiter that was drawn."""
    ask(dir_, "dispute-vote", {"task": task, "refund": refund, "revoke": revoke}, as_json=as_json)


@dispute.command("list")
def list_disputes(dir_: Dir = HERE, as_json: AsJson = False) -> None:
    """All disputes: who judges, until when, and what came of them."""
    ask(dir_, "disputes", {}, as_json=as_json)
