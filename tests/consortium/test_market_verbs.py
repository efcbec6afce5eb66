"""From demand to dispute with the command's verbs: two institutions' nodes in this process, one real computation."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fondaco.cli.processes import free_port
from fondaco.errors import FondacoError
from fondaco.node import control, setup
from fondaco.node.node import Node
from fondaco.node.verbs import Verbs
from fondaco.node.verbs.disputes import commitment

Ask = Callable[..., Awaitable[Any]]
SCHEMA = '[[columns]]\nname = "ship"\ntype = "text"\n'
OPERATION, PURPOSE = "psi.intersection", "research"
MINE, THEIRS = "/mill/data/ships", "/port/data/ships"


class House:
    """A node that serves in this event loop."""

    def __init__(self, folder: Path) -> None:
        self.node = Node(setup.Folder(folder))
        table = Verbs(self.node).table()
        self._serving = asyncio.create_task(self.node.run(control.ControlServer(self.node.folder.control, table)))
        self._table = table

    async def ask(self, verb: str, **arguments: Any) -> Any:
        return await self._table[verb](arguments, lambda _progress: None)

    async def end(self) -> None:
        self.node.stopping.set()
        await self._serving


async def until(ask: Ask, verb: str, found: Callable[[Any], bool], **arguments: Any) -> Any:
    """Ask until the answer is what is waited for; 30 s at most."""
    end = time.monotonic() + 30
    while not found(answer := await ask(verb, **arguments)):
        assert time.monotonic() < end, answer
        await asyncio.sleep(0.05)
    return answer


def new_folder(folder: Path, org: str, kind: str = "member") -> Path:
    setup.new_folder(folder, org=org, title=org.title(), kind=kind, host="127.0.0.1", port=free_port())
    return folder


async def publish(house: House, folder: Path, name: str, ships: list[str], **terms: Any) -> None:
    source, schema = folder / f"{name.split('/')[1]}.csv", folder / "ships.toml"
    source.write_text("\n".join(["ship", *ships]) + "\n")
    schema.write_text(SCHEMA)
    await house.ask("import", source=str(source), schema=str(schema), name=name)
    await house.ask("publish", name=name, title="Ships in port", operations=[OPERATION], purposes=[PURPOSE], **terms)


def workflow() -> dict[str, Any]:
    inputs = {
        "mill": {"dataset": MINE, "columns": ["ship"]},
        "port": {"dataset": THEIRS, "columns": ["ship"]},
    }
    step = {
        "id": "match", "engine": "psi", "operation": "intersection", "parties": ["mill", "port"],
        "receivers": ["mill"], "inputs": inputs, "parameters": {"keys": ["ship"]},
    }  # fmt: skip
    return {"title": "ships", "purpose": PURPOSE, "steps": [step]}


async def refused(work: Awaitable[Any], said: str) -> None:
    with pytest.raises(FondacoError) as caught:
        await work
    assert said in caught.value.cause, caught.value.cause


async def change_minds(port: House, mill: House) -> None:
    """Terms are said anew; a request is taken back, and a grant is given back: the points are free again."""
    free = (await mill.ask("points"))["balances"]["mill"]
    before = await port.ask("terms", name=THEIRS)
    assert (before["price"], before["title"], "height" in before) == (60, "Ships in port", False)
    await refused(mill.ask("terms", name=THEIRS, price=1), "port")
    changed = await port.ask("terms", name=THEIRS, price=10, title="All ships", minimum_count=None)
    assert (changed["price"], changed["title"], changed["operations"]) == (10, "All ships", before["operations"])
    await until(mill.ask, "terms", lambda a: a["price"] == 10, name=f"{THEIRS}@1")

    async def asked() -> str:
        wanted = {"name": THEIRS, "keys": ["ship"]}
        answer = await mill.ask(
            "request",
            datasets=[wanted],
            operations=[OPERATION],
            purpose=PURPOSE,
            parties=["mill", "port"],
            uses=3,
            max_price=10,
        )
        assert answer["items"][0]["answer"] == "pending"
        await until(port.ask, "requests", lambda a: len(a["requests"]) == 1)
        return str(answer["request"])

    first = await asked()
    assert (await mill.ask("points"))["balances"]["mill"] == free - 30
    await refused(port.ask("take-back", request=first), "mill")
    assert (await mill.ask("take-back", request=first))["items"][0]["answer"] == "withdrawn"
    assert (await mill.ask("points"))["balances"]["mill"] == free
    await refused(mill.ask("take-back", request=first), "every item was answered")
    await until(port.ask, "requests", lambda a: a["requests"] == [])
    second = await asked()
    await port.ask("review", request=second, approve=True)
    found = await until(mill.ask, "grants", lambda a: len(a["grants"]) == 1)
    grant = found["grants"][0]["grant"]
    await refused(port.ask("give-back", grant=grant), "mill")
    assert (await mill.ask("give-back", grant=grant))["status"] == "returned"
    assert (await mill.ask("grants"))["grants"][0]["status"] == "returned"
    assert (await mill.ask("points"))["balances"]["mill"] == free
    await refused(mill.ask("give-back", grant=grant), "the grant is returned")
    await port.ask("terms", name=THEIRS, price=60)
    await until(mill.ask, "terms", lambda a: a["price"] == 60, name=THEIRS)


async def trade(port: House, mill: House) -> None:
    """The mill seeks, the port offers, the mill accepts."""
    sought = (await mill.ask(
        "demand", words=["ships"], columns=["ship"], operations=[OPERATION], purpose=PURPOSE, max_price=50
    ))["demand"]  # fmt: skip
    assert (await port.ask("demands"))["demands"][0]["demand"] == sought
    await refused(
        mill.ask("offer", dataset=THEIRS, keys=["ship"], operations=[OPERATION], purposes=[PURPOSE]), "belongs"
    )
    put = {"dataset": THEIRS, "keys": ["ship"], "operations": [OPERATION], "purposes": [PURPOSE]}
    spare = (await port.ask("offer", **put, price=45))["offer"]
    offer = (await port.ask("offer", **put, price=40, demand=sought))["offer"]
    found = await until(mill.ask, "matches", lambda a: len(a["matches"]) == 2, demand=sought)
    assert [row["offer"] for row in found["matches"]] == [offer, spare]
    assert "offered for this demand" in found["matches"][0]["reasons"]
    assert (await mill.ask("matches"))["matches"] == found["matches"]
    await port.ask("offer-withdraw", offer=spare)
    await until(mill.ask, "offers", lambda a: [row["offer"] for row in a["offers"]] == [offer])
    before = mill.node.ledger.status().app_hash
    for named, what in (("keys", "key"), ("columns", "column")):
        await refused(mill.ask("offer-accept", offer=offer, **{named: ["shipp"]}), f"the offer has no {what} shipp")
    assert mill.node.ledger.status().app_hash == before, "a slip of the pen comes into no block"
    deal = await mill.ask("offer-accept", offer=offer)
    assert (deal["provider"], deal["escrowed"]) == ("port", 40)
    await refused(mill.ask("demand-withdraw", demand=sought), "met")
    await refused(mill.ask("offer-accept", offer="00" * 32), "no such offer")
    for house, side in ((mill, "bought"), (port, "sold")):
        (row,) = (await house.ask("deals"))["deals"]
        assert (row["side"], row["grant"], row["held"], row["certificates"]) == (side, deal["grant"], 40, [])


async def contest(port: House, mill: House, bank: House, task: str, folder: Path) -> None:
    """The mill disputes; the bank, which is no party, is drawn and judges that half goes back."""
    await refused(port.ask("dispute-evidence", task=task, file=str(folder / "nothing")), "cannot be read")
    await mill.ask("dispute-open", task=task, cause="fewer ships than were promised")
    document = folder / "list.txt"
    document.write_text("three ships")
    answer = await mill.ask("dispute-evidence", task=task, file=str(document))
    assert commitment(bytes.fromhex(answer["salt"]), b"three ships").hex() == answer["evidence"]
    await until(bank.ask, "disputes", lambda a: a["disputes"] and a["disputes"][0]["arbiters"] == ["bank"])
    await refused(port.ask("dispute-vote", task=task, refund=0), "not drawn")
    await bank.ask("dispute-vote", task=task, refund=5_000)
    await until(port.ask, "disputes", lambda a: a["disputes"][0]["status"] == "ended")
    (row,) = (await port.ask("disputes"))["disputes"]
    assert (row["opener"], row["outcome"], row["voted"], row["silent"]) == ("mill", "split", ["bank"], [])
    assert (row["total"], row["refunded"], row["points"], row["evidence"]) == (40, 20, "paid", 1)
    await refused(bank.ask("dispute-vote", task=task, refund=0), "ended")


async def certify(port: House, mill: House, folder: Path) -> None:
    """The certificate leaves the consortium as a file, valid and then revoked."""
    (row,) = (await mill.ask("certificates"))["certificates"]
    assert (row["holder"], row["provider"], row["cost"], row["status"]) == ("mill", "port", 40, "valid")
    assert (await mill.ask("deals"))["deals"][0]["certificates"] == [row["certificate"]]
    await refused(
        mill.ask("certificate-revoke", certificate=row["certificate"], cause="it is ours"), "another provider"
    )
    for status in ("valid", "revoked"):
        file = folder / status
        written = await mill.ask("certificate-export", certificate=row["certificate"], file=str(file))
        command = [sys.executable, "-m", "fondaco.cli.main", "certificate", "verify", str(file), "--json"]
        command += ["--trust-root", written["trust_root"], "--max-age", "600"]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, timeout=60, check=True, env=dict(os.environ)
        )
        assert json.loads(done.stdout)["status"] == status
        if status == "valid":
            await port.ask("certificate-revoke", certificate=row["certificate"], cause="the agreement was broken")
            await until(mill.ask, "certificates", lambda a: a["certificates"][0]["status"] == "revoked")


async def join(port: House, folder: Path, org: str, kind: str = "member") -> House:
    """Another institution joins by invitation, and serves."""
    new_folder(folder / org, org, kind)
    invitation = folder / f"{org}.invitation"
    await port.ask("invite", organisation=org, kind=kind, file=str(invitation))

    async def guests(_verb: str) -> list[Any]:
        return [identity for identity in port.node.directory.trusted() if identity.guest]

    await until(guests, "the port has heard of its own invitation", bool)
    await asyncio.to_thread(setup.join, setup.Folder(folder / org), setup.read_invitation(invitation))
    house = House(folder / org)
    # It can be asked for something once it follows: until the port knows its node, the link is refused and tried again.
    await until(house.ask, "status", lambda answer: answer["height"] > 0)
    return house


async def give_weight(port: House, name: str) -> None:
    """The founder's vote is the one that counts; an invited institution's does from here on."""
    proposal = (await port.ask("governance-propose", kind="weights", body={"weights": {name: 1}}))["proposal"]
    voted = await port.ask("governance-vote", proposal=proposal, choice="yes")
    assert voted["status"] == "executed", voted


async def vote(port: House, mill: House, kind: str, body: dict[str, Any]) -> None:
    proposal = (await port.ask("governance-propose", kind=kind, body=body))["proposal"]
    await port.ask("governance-vote", proposal=proposal, choice="yes")
    voted = await mill.ask("governance-vote", proposal=proposal, choice="yes")
    assert voted["status"] == "executed", voted


def test_a_use_is_sought_offered_sold_computed_disputed_and_certified(tmp_path: Path) -> None:
    setup.found(setup.Folder(new_folder(tmp_path / "port", "port")), chain="three")

    async def run() -> None:
        houses = [House(tmp_path / "port")]
        port = houses[0]
        try:
            houses.append(mill := await join(port, tmp_path, "mill"))
            await give_weight(port, "mill")
            await vote(port, mill, "mint", {"amounts": {"mill": 100}})
            await vote(port, mill, "division", {"method": "shapley", "window": 600})
            houses.append(bank := await join(port, tmp_path, "bank"))
            await vote(port, mill, "weights", {"weights": {"bank": 1}})
            await publish(port, tmp_path, THEIRS, ["aurora", "bora", "calypso"], price=60)
            await publish(mill, tmp_path, MINE, ["bora", "calypso", "dora"])
            await change_minds(port, mill)
            await trade(port, mill)
            assert "all members learn" in (await mill.ask("explain", workflow=workflow()))["division"]["tells"]
            task = await mill.ask("run", workflow=workflow())
            assert task["status"] == "settled", task
            paid = port.node.ledger.query("settlement/settlement", {"id": bytes.fromhex(task["task"])})
            assert (paid["basis"], paid["uses"][0]["weight"]) == ("shapley", 2)  # two ships are in both
            result = await mill.ask("result", task=task["task"], step="match")
            assert sorted(row[0] for row in result["tables"]["match"]["rows"]) == ["bora", "calypso"]
            assert (await mill.ask("points"))["balances"].get("port", 0) == 0
            await contest(port, mill, bank, task["task"], tmp_path)
            assert (await port.ask("points"))["balances"] == {"mill": 80, "port": 20}
            await certify(port, mill, tmp_path)
        finally:
            for house in reversed(houses):
                await house.end()

    asyncio.run(run())
