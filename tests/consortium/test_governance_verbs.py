"""What an institution does about governance with the command's verbs, on one node in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fondaco.cli.processes import free_port
from fondaco.errors import FondacoError
from fondaco.ledger.application import APP_VERSION, UpgradeNeeded
from fondaco.node import control, setup
from fondaco.node.node import Node
from fondaco.node.verbs import Verbs

Ask = Callable[..., Awaitable[Any]]


def alone(folder: Path, work: Callable[[Ask], Awaitable[None]]) -> None:
    """Found a consortium of one, and work with its node."""
    setup.new_folder(folder, org="port", title="The Port", kind="member", host="127.0.0.1", port=free_port())
    setup.found(setup.Folder(folder), chain="harbour")

    async def run() -> None:
        node = Node(setup.Folder(folder))
        serving = asyncio.create_task(node.run(control.ControlServer(node.folder.control, Verbs(node).table())))

        async def ask(verb: str, **arguments: Any) -> Any:
            return await Verbs(node).table()[verb](arguments, lambda _progress: None)

        try:
            await work(ask)
        finally:
            node.stopping.set()
            await serving

    asyncio.run(run())


def test_points_are_minted_through_a_proposal_and_a_vote(tmp_path: Path) -> None:
    async def work(ask: Ask) -> None:
        proposal = (await ask("mint", amounts={"port": 70}))["proposal"]
        assert (await ask("points"))["balances"] == {}
        assert (await ask("vote", proposal=proposal))["status"] == "executed"
        assert (await ask("points"))["balances"] == {"port": 70}
        (row,) = (await ask("governance-list"))["proposals"]
        assert (row["id"], row["kind"], row["status"]) == (proposal, "governance.mint/1", "executed")
        shown = (await ask("governance-show", proposal=proposal))["proposal"]
        assert shown["votes"] == {"port": "yes"}

    alone(tmp_path / "port", work)


def test_any_body_can_be_proposed_by_the_names_of_its_fields(tmp_path: Path) -> None:
    async def work(ask: Ask) -> None:
        for kind, body in (
            ("prices", {"prices": {"mpc.statistics": 4}}),
            ("parameters", {"deposit": 2, "most_validators": 1}),
            ("program", {"program": "hex:" + "07" * 32, "operation": "wasm.mean", "title": "mean", "admitted": True}),
            ("disputes.rules", {"arbiters": 1, "blocks": 30}),
        ):
            proposal = (await ask("governance-propose", kind=kind, body=body))["proposal"]
            voted = await ask("governance-vote", proposal=proposal, choice="yes")
            assert voted["status"] == "executed", (kind, voted)
            if kind == "prices":
                await ask("vote", proposal=(await ask("mint", amounts={"port": 9}))["proposal"])
        found = await ask("governance-show")
        assert found["prices"] == {"mpc.statistics": 4}
        assert (found["parameters"]["deposit"], found["parameters"]["voting"]) == (2, 600)
        assert found["programs"][0]["program"] == "07" * 32
        assert [seat["organisation"] for seat in found["seats"]] == ["port"]

    alone(tmp_path / "port", work)


def test_an_admission_by_vote_writes_the_invitation_that_the_vote_opens(tmp_path: Path) -> None:
    async def work(ask: Ask) -> None:
        file = tmp_path / "invitation"
        body = {"organisation": "mill", "file": str(file)}
        proposal = (await ask("governance-propose", kind="admit", body=body))["proposal"]
        assert setup.read_invitation(file).organisation == "mill"
        assert (await ask("governance-vote", proposal=proposal, choice="yes"))["status"] == "executed"

    alone(tmp_path / "port", work)


@pytest.mark.parametrize(
    ("verb", "arguments", "said"),
    [
        ("governance-propose", {"kind": "coup", "body": {}}, "can be proposed"),
        ("governance-propose", {"kind": "mint", "body": {"amounts": {"port": 1.5}}}, "whole numbers"),
        ("governance-propose", {"kind": "mint", "body": []}, "object"),
        ("governance-propose", {"kind": "mint", "body": {"amount": 1}}, "unknown fields"),
        ("governance-propose", {"kind": "program", "body": {"program": "hex:zz"}}, "not an id"),
        ("governance-vote", {"proposal": "00" * 32, "choice": "yes"}, "no such proposal"),
        ("governance-show", {"proposal": "00" * 32}, "no such proposal"),
        ("governance-withdraw", {"proposal": "00" * 32}, "no such proposal"),
    ],
)
def test_what_is_wrong_is_said_in_words(tmp_path: Path, verb: str, arguments: dict[str, Any], said: str) -> None:
    async def work(ask: Ask) -> None:
        with pytest.raises(FondacoError) as caught:
            await ask(verb, **arguments)
        assert said in caught.value.cause

    alone(tmp_path / "port", work)


def test_a_node_without_the_voted_version_stops_and_says_what_to_install(tmp_path: Path) -> None:
    async def work(ask: Ask) -> None:
        height = (await ask("status"))["height"] + 12
        body = {"height": height, "version": APP_VERSION + 1, "package": "hex:" + "0b" * 32}
        proposal = (await ask("governance-propose", kind="upgrade", body=body))["proposal"]
        assert (await ask("governance-vote", proposal=proposal, choice="yes"))["status"] == "executed"

        async def go_on() -> None:
            for _ in range(12):
                await ask("mint", amounts={"port": 1})

        with pytest.raises(UpgradeNeeded) as caught:
            await go_on()
        assert f"from block {height} on the rules are version {APP_VERSION + 1}" in caught.value.cause
        status = await ask("status")
        assert (status["height"], status["trouble"]) == (height - 1, caught.value.cause)

    alone(tmp_path / "port", work)
