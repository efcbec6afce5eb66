"""The command `fondaco`. Each verb asks the node that runs in `--dir`, except those that begin or verify something.

Answers are on stdout (JSON with `--json`), progress and errors on stderr. Exit codes: see fondaco.errors.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from fondaco.cli import audit, data, disputes, governance, grants, market, network, output, points, tasks
from fondaco.cli.base import HERE, AsJson, Dir, ask, group
from fondaco.cli.processes import free_port, launch, wait_ready
from fondaco.cli.processes import stop as stop_nodes
from fondaco.errors import FondacoError, not_allowed
from fondaco.node import control

app = group()
for part in (data.app, market.app, grants.app, tasks.app, points.app, governance.app, disputes.app):
    app.add_typer(part)
app.add_typer(network.app, name="network", help="Make and run a consortium of several validators on this machine.")
app.add_typer(audit.app, name="audit", help="Query the chain; export and verify audit bundles.")


def _version(wanted: bool) -> None:
    if wanted:
        from fondaco.ledger.application import APP_VERSION

        output.say(f"fondaco {importlib.metadata.version('fondaco')}, rules of the ledger up to version {APP_VERSION}")
        raise typer.Exit


@app.callback()
def about(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the software's version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Share the use of data that nobody shows."""


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
    from fondaco.core.collector import collect_seldom
    from fondaco.node.folder import Folder
    from fondaco.node.node import Node
    from fondaco.node.verbs import Verbs

    collect_seldom()
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


def _start_in_background(folder: Path) -> None:
    status = wait_ready(folder, launch(folder))
    output.say(f"{status['organisation']} runs on port {status['port']}, height {status['height']}")


@app.command()
def stop(dir_: Dir = HERE) -> None:
    """Stop the running node, and wait until it has ended."""
    from fondaco.node.folder import Folder

    if not Folder(dir_).held():
        control.ask(dir_, "stop", {}, deadline=10.0)  # which says that none runs, or that there is no such folder
    stop_nodes([dir_])


@app.command()
def status(dir_: Dir = HERE, as_json: AsJson = False) -> None:
    """Who this node is, how far its ledger is, what troubles it."""
    ask(dir_, "status", {}, as_json=as_json)


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
    ask(dir_, "invite", arguments, as_json=as_json)


@app.command()
def demo(
    dir_: Annotated[Path | None, typer.Option("--dir", help="Keep the nodes' folders and the bundle here.")] = None,
) -> None:
    """Four institutions on this machine, real data, from import to audit."""
    from fondaco.cli.demo.story import tell

    raise typer.Exit(tell(dir_))


def main() -> None:
    """Run a verb; errors go to stderr with their code, cause and remedy, also what this machine did not allow."""
    as_json = "--json" in sys.argv[1:]
    try:
        app()
    except FondacoError as fault:
        sys.exit(output.failed(fault, as_json=as_json))
    except OSError as fault:
        sys.exit(output.failed(not_allowed(fault), as_json=as_json))


if __name__ == "__main__":
    main()
