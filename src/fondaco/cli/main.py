"""The command `fondaco`. Each verb asks the node that runs in `--dir`, except those that begin or verify something.

Answers are on stdout (JSON with `--json`), progress and errors on stderr. Exit codes: see fondaco.errors.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fondaco.cli import output
from fondaco.errors import FondacoError, NodeError
from fondaco.node import control

app = typer.Typer(
    name="fondaco",
    help="Share the use of data that nobody shows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
audit = typer.Typer(help="Export and verify audit bundles.", no_args_is_help=True)
app.add_typer(audit, name="audit")

Dir = Annotated[Path, typer.Option("--dir", help="The node's folder.", envvar="FONDACO_DIR")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
HERE = Path("fondaco-node")
_START_SECONDS = 30.0


def _ask(folder: Path, verb: str, arguments: dict[str, Any], *, as_json: bool, deadline: float = 600.0) -> None:
    def progress(value: dict[str, Any]) -> None:
        output.note("  ".join(f"{name} {item}" for name, item in value.items()))

    output.answer(control.ask(folder, verb, arguments, deadline=deadline, on_progress=progress), as_json=as_json)


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@app.command()
def init(
    org: Annotated[str, typer.Option(help="Short name: lower-case letters, digits, hyphens.")],
    title: Annotated[str, typer.Option(help="Full name of the institution.")],
    dir_: Dir = HERE,
    kind: Annotated[str, typer.Option(help="member or regulator")] = "member",
    host: Annotated[str, typer.Option(help="Address that peers reach this node at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The one inbound port; 0 takes a free one.")] = 0,
    found: Annotated[str, typer.Option(help="Found a consortium of this name; this node makes its blocks.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a node's folder with its keys; with --found also a consortium."""
    from fondaco.node import setup

    folder = setup.new_folder(dir_, org=org, title=title, kind=kind, host=host, port=port or free_port())
    answer = {"organisation": org, "folder": str(dir_), "node": folder.node_key.public.did}
    if found:
        genesis = setup.found(folder, chain=found)
        answer |= {"chain": found, "trust_root": genesis.hash.hex()}
    output.answer(answer, as_json=as_json)


@app.command()
def join(
    invitation: Annotated[Path, typer.Argument(help="The invitation file.")],
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Join a consortium by invitation."""
    from fondaco.node import setup
    from fondaco.node.folder import Folder

    folder = Folder(dir_)
    read = setup.read_invitation(invitation)
    height = setup.join(folder, read)
    settings = folder.settings()
    output.answer(
        {
            "organisation": settings.org,
            "chain": settings.chain,
            "height": height,
            "trust_root": settings.genesis_hash,
        },
        as_json=as_json,
    )


@app.command()
def start(
    dir_: Dir = HERE,
    background: Annotated[bool, typer.Option("--background", help="Return once the node answers.")] = False,
) -> None:
    """Run the node of a folder until it is stopped."""
    if background:
        _start_in_background(dir_)
        return
    from fondaco.node.folder import Folder
    from fondaco.node.node import Node
    from fondaco.node.verbs import Verbs

    folder = Folder(dir_.resolve())
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        force=True,
    )
    folder.settings()
    held = folder.lock()

    async def serve() -> None:
        node = Node(folder)
        await node.run(control.ControlServer(folder.control, Verbs(node).table()))

    try:
        asyncio.run(serve())
    finally:
        held.close()


def launch(folder: Path) -> subprocess.Popen[bytes]:
    """Start a node as a process of its own, its log in its folder; does not wait."""
    with (folder / "node.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "fondaco.cli.main", "start", "--dir", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def wait_ready(folder: Path, process: subprocess.Popen[bytes], seconds: float = _START_SECONDS) -> dict[str, Any]:
    """Until a launched node answers; its status.

    Raises:
        NodeError: it ended, or did not answer in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return dict(control.ask(folder, "status", {}, deadline=5.0))
        except NodeError as fault:
            if process.poll() is not None:
                raise NodeError(
                    f"the node ended at once (exit code {process.returncode})",
                    remedy=f"look at {folder}/node.log",
                ) from fault
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _start_in_background(folder: Path) -> None:
    status = wait_ready(folder, launch(folder))
    output.say(f"{status['organisation']} runs on port {status['port']}, height {status['height']}")


@app.command()
def stop(dir_: Dir = HERE) -> None:
    """Stop the running node."""
    control.ask(dir_, "stop", {}, deadline=10.0)


@app.command()
def status(dir_: Dir = HERE, as_json: AsJson = False) -> None:
    """Who this node is, how far its ledger is, what troubles it."""
    _ask(dir_, "status", {}, as_json=as_json)


@app.command()
def invite(
    organisation: Annotated[str, typer.Argument(help="Short name of whom to invite.")],
    file: Annotated[Path, typer.Option(help="Where to write the invitation.")],
    dir_: Dir = HERE,
    kind: Annotated[str, typer.Option(help="member or regulator")] = "member",
    as_json: AsJson = False,
) -> None:
    """Invite an institution; give it the file by a way that only it can read."""
    arguments = {"organisation": organisation, "kind": kind, "file": str(file.resolve())}
    _ask(dir_, "invite", arguments, as_json=as_json)


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
    _ask(dir_, "import", arguments, as_json=as_json, deadline=24 * 3600.0)


@app.command("name")
def name_(
    cid: Annotated[str, typer.Argument(help="What `fondaco import` printed.")],
    name: Annotated[str, typer.Argument(help="/org/topic/name")],
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Name what was imported; the next version of the name."""
    _ask(dir_, "name", {"cid": cid, "name": name}, as_json=as_json)


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
    }
    _ask(dir_, "publish", arguments, as_json=as_json)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="Words to look for; none lists all.")] = "",
    dir_: Dir = HERE,
    limit: Annotated[int, typer.Option(help="At most so many hits.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Find published datasets; each hit is proven."""
    _ask(dir_, "search", {"text": text, "limit": limit}, as_json=as_json)


@app.command()
def request(
    dataset: Annotated[list[str], typer.Argument(help="/org/topic/name=column,column …")],
    operation: Annotated[list[str], typer.Option(help="Operation wanted; repeat.")],
    purpose: Annotated[str, typer.Option(help="What for.")],
    party: Annotated[list[str], typer.Option(help="Who takes part; repeat.")],
    dir_: Dir = HERE,
    receiver: Annotated[list[str] | None, typer.Option(help="Who learns the result; repeat.")] = None,
    uses: Annotated[int, typer.Option(help="How often.")] = 1,
    days: Annotated[int, typer.Option(help="For how long.")] = 30,
    max_price: Annotated[int, typer.Option(help="Most points for one use of one dataset.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Ask for the use of datasets; the price is set aside at once."""
    wanted: list[dict[str, Any]] = []
    for text in dataset:
        name, _equals, columns = text.partition("=")
        wanted.append({"name": name, "columns": [c for c in columns.split(",") if c]})
    arguments = {
        "datasets": wanted,
        "operations": operation,
        "purpose": purpose,
        "parties": party,
        "receivers": receiver,
        "uses": uses,
        "days": days,
        "max_price": max_price,
    }
    _ask(dir_, "request", arguments, as_json=as_json)


@app.command()
def review(
    request_id: Annotated[str, typer.Argument(help="The request; none lists those that wait.")] = "",
    dir_: Dir = HERE,
    approve: Annotated[bool | None, typer.Option("--approve/--deny", help="The answer.")] = None,
    reason: Annotated[str, typer.Option(help="One line.")] = "",
    uses: Annotated[int, typer.Option(help="Grant fewer uses than asked for; 0: as asked.")] = 0,
    as_json: AsJson = False,
) -> None:
    """See and answer what others ask of this institution's data."""
    if not request_id:
        _ask(dir_, "requests", {}, as_json=as_json)
        return
    if approve is None:
        raise NodeError("say --approve or --deny", remedy="see `fondaco review --help`")
    arguments = {"request": request_id, "approve": approve, "reason": reason, "uses": uses}
    _ask(dir_, "review", arguments, as_json=as_json)


@app.command()
def grants(dir_: Dir = HERE, as_json: AsJson = False) -> None:
    """List the grants that this institution holds or gave."""
    _ask(dir_, "grants", {}, as_json=as_json)


@app.command()
def revoke(
    grant: Annotated[str, typer.Argument(help="The grant's id.")],
    dir_: Dir = HERE,
    reason: Annotated[str, typer.Option(help="One line.")] = "",
    as_json: AsJson = False,
) -> None:
    """Void a grant that this institution gave."""
    _ask(dir_, "revoke", {"grant": grant, "reason": reason}, as_json=as_json)


def _workflow(path: Path) -> dict[str, Any]:
    from fondaco.flow.planner import read_document

    return read_document(path)


@app.command()
def explain(
    workflow: Annotated[Path, typer.Argument(help="TOML file of the workflow.")],
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Before anything runs: missing grants, price, who learns what, time and memory."""
    _ask(dir_, "explain", {"workflow": _workflow(workflow)}, as_json=as_json)


@app.command()
def run(
    workflow: Annotated[Path | None, typer.Argument(help="TOML file of the workflow.")] = None,
    dir_: Dir = HERE,
    again: Annotated[str, typer.Option(help="Start this failed task again (on its coordinator's node).")] = "",
    seconds: Annotated[int, typer.Option(help="The task's deadline from now.")] = 3600,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end.")] = True,
    as_json: AsJson = False,
) -> None:
    """Run a workflow with those who granted it."""
    if again:
        _ask(dir_, "again", {"task": again}, as_json=as_json, deadline=3600.0)
        return
    if workflow is None:
        raise NodeError("name a workflow or --again TASK", remedy="see `fondaco run --help`")
    arguments = {"workflow": _workflow(workflow), "seconds": seconds, "wait": wait}
    _ask(dir_, "run", arguments, as_json=as_json, deadline=3600.0)


@app.command()
def result(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    step: Annotated[str, typer.Argument(help="The step; none shows how far the task is.")] = "",
    dir_: Dir = HERE,
    limit: Annotated[int, typer.Option(help="At most so many rows.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Show how far a task is, or open what this institution received of a step."""
    if not step:
        _ask(dir_, "task", {"task": task}, as_json=as_json)
        return
    _ask(dir_, "result", {"task": task, "step": step, "limit": limit}, as_json=as_json)


@app.command()
def points(dir_: Dir = HERE, as_json: AsJson = False) -> None:
    """Balances, escrows and the supply."""
    _ask(dir_, "points", {}, as_json=as_json)


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
    _ask(dir_, "mint", {"amounts": amounts}, as_json=as_json)


@app.command()
def vote(
    proposal: Annotated[str, typer.Argument(help="The proposal's id.")],
    dir_: Dir = HERE,
    approve: Annotated[bool, typer.Option("--yes/--no", help="For or against.")] = True,
    as_json: AsJson = False,
) -> None:
    """Vote on a proposal to mint points."""
    _ask(dir_, "vote", {"proposal": proposal, "approve": approve}, as_json=as_json)


@audit.command("export")
def audit_export(
    file: Annotated[Path, typer.Argument(help="Where to write the bundle.")],
    dir_: Dir = HERE,
    task: Annotated[str, typer.Option(help="Only what concerns this settled task.")] = "",
    as_json: AsJson = False,
) -> None:
    """Write an audit bundle: what happened, with the proofs of it."""
    _ask(dir_, "audit", {"file": str(file.resolve()), "task": task}, as_json=as_json)


@audit.command("verify")
def audit_verify(
    file: Annotated[Path, typer.Argument(help="The bundle.")],
    trust_root: Annotated[str | None, typer.Option(help="The genesis hash that the consortium published.")] = None,
    as_json: AsJson = False,
) -> None:
    """Verify an audit bundle, offline, needing nothing but the file."""
    from fondaco.ledger.audit.__main__ import describe
    from fondaco.ledger.audit.verify import verify

    try:
        data = file.read_bytes()
    except OSError as fault:
        raise NodeError("the file cannot be read", remedy="check the path", file=str(file)) from fault
    output.answer(describe(verify(data, trust_root=trust_root)), as_json=as_json)


@app.command()
def demo(
    dir_: Annotated[Path | None, typer.Option("--dir", help="Keep the nodes' folders and the bundle here.")] = None,
) -> None:
    """Four institutions on this machine, real data, from import to audit."""
    from fondaco.cli.demo.story import tell

    raise typer.Exit(tell(dir_))


def main() -> None:
    """Run a verb; errors go to stderr with their code, cause and remedy."""
    as_json = "--json" in sys.argv[1:]
    try:
        app()
    except FondacoError as fault:
        sys.exit(output.failed(fault, as_json=as_json))


if __name__ == "__main__":
    main()
