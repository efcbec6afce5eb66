"""The steps of `fondaco network add-validator`, each of which finds what an earlier call that broke off has done.

Nothing is kept of how far a call came: each step looks at the folder, at network.json or at the ledger, does what is
not done, and says on stderr what was. Trusts the nodes of the network, whose folders are on this machine.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from fondaco.cli import output
from fondaco.cli.processes import free_port
from fondaco.errors import DeadlineExceeded, NodeError, PeerRefused
from fondaco.node import control, network, setup
from fondaco.node.network import Network

_SEAT = "governance.seat/1"
_SECONDS = 60.0


def joined(found: Network, name: str) -> Network:
    """The network with an institution that has joined its consortium.

    Raises:
        NodeError: a folder or a file of this name is another's, or no node of the network runs.
        PeerRefused: the invitation was no longer good; the next call makes a new one.
    """
    if name in found.organisations:
        output.note(f"{name} is in network.json already")
        return found
    file = found.path / f"{name}.invitation"
    if network.has_joined(found, name):
        output.note(f"{name} has joined the consortium already")
    elif _invited(file, name):
        output.note(f"{name} was invited already: {file.name} is there")
    else:
        _ask(found, "invite", {"organisation": name, "kind": "member", "file": str(file.resolve())})
    try:
        grown = network.add(found, name, file, free_port=free_port)
    except PeerRefused:
        file.unlink(missing_ok=True)
        raise
    file.unlink(missing_ok=True)
    return grown


def _invited(file: Path, name: str) -> bool:
    """Whether an earlier call has left a whole invitation; what is none is removed."""
    if not file.exists():
        return False
    try:
        read = setup.read_invitation(file)
    except NodeError:
        output.note(f"{file.name} is no whole invitation, and is made anew")
        file.unlink()
        return False
    if read.organisation != name:
        raise NodeError(
            f"the invitation is for {read.organisation}", remedy="move the file away, or choose another name"
        )
    return True


def seated(grown: Network, name: str) -> str:
    """Vote an institution's validator in, by every institution of the network; the proposal's id.

    Raises:
        NodeError: all have voted, and it is not decided.
        DeadlineExceeded: the first node does not come to the height of the others.
    """
    _level(grown)
    key = grown.folder(name).validator_key.public.raw.hex()
    body = {"organisation": name, "key": key, "power": setup.POWER}
    proposal = _proposal(grown, body)
    if body in _ask(grown, "governance-show", {})["seats"]:
        output.note(f"{name} has been given its seat already")
        return proposal
    if proposal:
        output.note(f"the seat of {name} was proposed already")
    else:
        asked = {"kind": "seat", "body": body | {"key": f"hex:{key}"}, "title": f"a validator of {name}"}
        proposal = str(_ask(grown, "governance-propose", asked)["proposal"])
    _vote(grown, proposal)
    return proposal


def _level(grown: Network) -> None:
    """Until the first node, which is asked what is done, has every block that any other has."""
    highest = max(
        control.ask(grown.path / name, "status", {}, deadline=_SECONDS)["height"] for name in grown.organisations
    )
    deadline = time.monotonic() + _SECONDS
    while (height := _ask(grown, "status", {})["height"]) < highest:
        if time.monotonic() > deadline:
            raise DeadlineExceeded(
                f"the node of {grown.organisations[0]} stands at height {height}, and another at {highest}",
                remedy="see `fondaco network status`",
                seconds=int(_SECONDS),
            )
        time.sleep(0.1)


def _proposal(grown: Network, body: dict[str, Any]) -> str:
    """The newest proposal of a seat that is open, has passed or is executed; empty: none."""
    for row in reversed(_ask(grown, "governance-list", {})["proposals"]):
        if row["kind"] == _SEAT and row["status"] in ("open", "passed", "executed"):
            found = _ask(grown, "governance-show", {"proposal": row["id"]})["proposal"]
            if found["body"] == body:
                return str(row["id"])
    return ""


def _vote(grown: Network, proposal: str) -> None:
    """Every institution that has not voted says yes, until it is decided."""
    found = _ask(grown, "governance-show", {"proposal": proposal})["proposal"]
    if found["status"] != "open":
        return
    if found["votes"]:
        output.note(f"{', '.join(found['votes'])} voted already")
    for name in grown.organisations:
        if name not in found["votes"]:
            asked = {"proposal": proposal, "choice": "yes"}
            said = control.ask(grown.path / name, "governance-vote", asked, deadline=_SECONDS)
            if said["status"] != "open":
                return
    raise NodeError("the vote is not decided", remedy="see `fondaco governance list`", proposal=proposal)


def _ask(found: Network, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Ask the network's first node, whom invitations name."""
    return dict(control.ask(found.path / found.organisations[0], verb, arguments, deadline=_SECONDS))
