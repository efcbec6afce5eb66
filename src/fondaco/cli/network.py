"""Verbs about a consortium of several validators that runs on this machine: `network init|start|status|add-validator`.

Each institution is a node of its own with a folder of its own, and every other verb works on it with `--dir`.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fondaco.cli import output
from fondaco.cli.base import AsJson, group
from fondaco.cli.processes import free_port, launch, wait_ready
from fondaco.cli.processes import stop as stop_nodes
from fondaco.errors import DeadlineExceeded, NodeError, UsageError

app = group()
Place = Annotated[Path, typer.Option("--dir", help="The network's folder.", envvar="FONDACO_NETWORK")]
HERE = Path("fondaco-network")
_ENOUGH = 4
"""From so many validators on one may be dead, cut off or lying."""
_BLOCK_SECONDS = 60.0
_VOTE_SECONDS = 60.0
_POLL_SECONDS = 0.1


@app.command()
def init(
    dir_: Place = HERE,
    validators: Annotated[
        int | None, typer.Option(help="How many institutions, each with a validator; 4, or as many as are named.")
    ] = None,
    chain: Annotated[str, typer.Option(help="The chain's name.")] = "consortium",
    name: Annotated[list[str] | None, typer.Option(help="An institution's short name; org-1, org-2, … else.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make the folders of a consortium of several validators."""
    from fondaco.node import network

    if name and validators not in (None, len(name)):
        raise UsageError(f"{len(name)} are named and {validators} validators wanted", remedy="name each, or none")
    wanted = _ENOUGH if validators is None else validators
    names = tuple(name) if name else tuple(f"org-{number}" for number in range(1, wanted + 1))
    genesis = network.init(dir_, chain=chain, names=names, free_port=free_port)
    if len(names) < _ENOUGH:
        output.note(
            f"with {len(names)} validators every one must run for blocks to go on: from {_ENOUGH} on one may fail"
        )
    answer = {"chain": chain, "folder": str(dir_), "validators": list(names), "trust_root": genesis.hash.hex()}
    output.answer(answer, as_json=as_json)


@app.command()
def start(dir_: Place = HERE) -> None:
    """Start every node that does not run, and wait until all answer; of a new network until its first block."""
    from fondaco.ledger.cometbft.process import find_program
    from fondaco.node import network

    found = network.load(dir_)
    find_program()
    started = [(name, launch(found.path / name)) for name in found.organisations if _status(found.path / name) is None]
    for name, process in started:
        wait_ready(found.path / name, process)
    height = _wait_height(found.path, found.organisations, 1)
    output.say(f"{len(started)} nodes started; {len(found.organisations)} run, at height {height}")


@app.command()
def stop(dir_: Place = HERE) -> None:
    """Stop every node that runs, and wait until all have ended."""
    from fondaco.node import network

    found = network.load(dir_)
    running = [found.path / name for name in found.organisations if found.folder(name).held()]
    stop_nodes(running)
    output.say(f"{len(running)} nodes stopped")


@app.command()
def status(dir_: Place = HERE, as_json: AsJson = False) -> None:
    """Where every node of the network is."""
    from fondaco.node import network

    found = network.load(dir_)
    rows = []
    for name in found.organisations:
        said = _status(found.path / name)
        rows.append(
            {
                "organisation": name,
                "runs": said is not None,
                "height": said["height"] if said else 0,
                "app_hash": said["app_hash"][:16] if said else "",
                "validators": said["validators"] if said else 0,
                "trouble": said["trouble"] if said else "",
            }
        )
    output.answer({"chain": found.chain, "nodes": rows}, as_json=as_json)


@app.command("add-validator")
def add_validator(
    name: Annotated[str, typer.Argument(help="The new institution's short name.")],
    dir_: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Invite an institution, let its node catch up, and vote its validator in: every node of the network must run.

    If it breaks off, give it again: it goes on from what it finds done, and says so.
    """
    from fondaco.cli import growing
    from fondaco.node import control, network

    grown = growing.joined(network.load(dir_), name)
    folder = grown.folder(name)
    if _status(folder.path) is not None:
        output.note(f"the node of {name} runs already")
    else:
        wait_ready(folder.path, launch(folder.path))
    first = grown.path / grown.organisations[0]
    _wait_height(grown.path, (name,), control.ask(first, "status", {}, deadline=10.0)["height"])
    proposal = growing.seated(grown, name)
    deadline = time.monotonic() + _VOTE_SECONDS
    while not (said := control.ask(folder.path, "status", {}, deadline=10.0))["signs"]:
        if time.monotonic() > deadline:
            raise DeadlineExceeded(
                "the vote has passed, and the validator does not sign yet",
                remedy="see `fondaco network status`",
                seconds=int(_VOTE_SECONDS),
            )
        time.sleep(_POLL_SECONDS)
    answer = {"organisation": name, "folder": str(folder.path), "validators": said["validators"], "proposal": proposal}
    output.answer(answer, as_json=as_json)


def _status(folder: Path) -> dict[str, Any] | None:
    from fondaco.node import control

    with contextlib.suppress(NodeError):
        return dict(control.ask(folder, "status", {}, deadline=5.0))
    return None


def _wait_height(path: Path, names: tuple[str, ...], height: int) -> int:
    deadline = time.monotonic() + _BLOCK_SECONDS
    while True:
        said = {name: _status(path / name) for name in names}
        heights = [one["height"] for one in said.values() if one is not None]
        if len(heights) == len(names) and min(heights) >= height:
            return int(min(heights))
        if time.monotonic() > deadline:
            troubles = "; ".join(f"{name}: {one['trouble'] if one else 'does not run'}" for name, one in said.items())
            raise DeadlineExceeded(
                f"the network did not reach height {height} in time ({troubles})",
                remedy="look at node.log and cometbft/cometbft.log of each node",
                seconds=int(_BLOCK_SECONDS),
            )
        time.sleep(_POLL_SECONDS)
