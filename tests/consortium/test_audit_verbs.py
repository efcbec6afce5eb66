"""Audit by the node's verbs: who sees what, page by page, and bundles that the others' nodes have cosigned."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from test_market_verbs import (
    PURPOSE,
    THEIRS,
    House,
    give_weight,
    join,
    new_folder,
    publish,
    refused,
    trade,
    until,
    vote,
)

from fondaco.ledger.audit.answer import verify as verify_answer
from fondaco.ledger.audit.dimensions import Viewer
from fondaco.ledger.audit.verify import verify
from fondaco.node import setup
from fondaco.node.verbs.audit import parse_selection


async def kinds(house: House, **asked: Any) -> set[str]:
    return {row["kind"] for row in (await house.ask("audit-query", limit=100, **asked))["events"]}


async def look(port: House, mill: House, bank: House, watch: House) -> None:
    """The parties and the regulator see the deal, the bank what is public; filters narrow it."""
    await until(watch.ask, "audit-query", lambda a: a["events"], kind="market.dealt")
    deal = {"market.dealt", "grants.requested", "grants.granted", "points.escrowed"}
    for house in (port, mill, watch):
        assert deal <= await kinds(house, institution="mill")
    seen = await kinds(bank, institution="mill")
    assert not deal & seen
    assert {"identity.joined", "market.demanded"} <= seen
    assert (await watch.ask("audit-query"))["seen_as"] == "regulator"
    assert (await bank.ask("audit-query"))["seen_as"] == "member bank"
    about = await kinds(
        watch, dataset=f"{THEIRS}@1", purpose=PURPOSE, did=mill.node.folder.user_key("analyst").public.did
    )
    assert "grants.granted" in about
    assert "identity.joined" not in about
    assert await kinds(watch, until="2020-01-01T00:00:00") == set()
    assert await kinds(watch, since="2020-01-01", until="0") == await kinds(watch, until="0")
    await refused(watch.ask("audit-query", since="yesterday"), "neither a height nor a time")
    await refused(watch.ask("audit-query", task="not hex"), "not an id")
    await refused(watch.ask("audit-query", did="did:key:z6Mknothing"), "did:key")


async def page(watch: House, folder: Path) -> None:
    """All pages are all events; the file of a page verifies on its own."""
    numbers: list[int] = []
    after = -1
    while True:
        answer = await watch.ask("audit-query", after=after, limit=9, file=str(folder / "page"))
        numbers += [row["number"] for row in answer["events"]]
        if answer["next"] is None:
            break
        after = answer["next"]
    assert numbers == list(range(len(numbers)))
    found = verify_answer(
        (folder / "page").read_bytes(),
        trust_root=answer["trust_root"],
        selection=parse_selection({}),
        viewer=Viewer("watch", regulator=True),
    )
    assert [shown.event.number for shown in found.events] == [row["number"] for row in answer["events"]]


async def command(house: House, *arguments: str) -> Any:
    """What `fondaco audit …` answers."""
    line = [
        sys.executable,
        "-m",
        "fondaco.cli.main",
        "audit",
        *arguments,
        "--dir",
        str(house.node.folder.path),
        "--json",
    ]
    done = await asyncio.to_thread(
        subprocess.run, line, capture_output=True, timeout=60, check=True, env=dict(os.environ)
    )
    return json.loads(done.stdout)


async def type_it(watch: House, folder: Path) -> None:
    """The same by the command, with every filter."""
    filters = ["--institution", "mill", "--dataset", THEIRS, "--purpose", PURPOSE, "--kind", "grants.granted"]
    filters += ["--since", "1", "--until", "2999-01-01"]
    found = await command(watch, "query", *filters, "--proof", str(folder / "proof"))
    assert [row["kind"] for row in found["events"]] == ["grants.granted"]
    assert (folder / "proof").stat().st_size == found["proof_bytes"]
    written = await command(watch, "export", str(folder / "typed"), "--select", *filters)
    assert len(verify((folder / "typed").read_bytes(), trust_root=written["trust_root"]).grants) == 1


async def export(watch: House, folder: Path) -> None:
    """A selection's bundle, cosigned by the other institutions once they have told of the newest height."""
    file = folder / "selection"
    for _attempt in range(60):
        written = await watch.ask("audit", file=str(file), select=True, institution="mill", kind="grants")
        found = verify(file.read_bytes(), trust_root=written["trust_root"])
        if len(found.cosigned) == 4:
            break
        await asyncio.sleep(0.5)
    assert found.cosigned == ("bank", "mill", "port", "watch")
    assert not found.complete
    assert len(found.grants) == 1


def test_who_sees_what_and_what_is_cosigned(tmp_path: Path) -> None:
    setup.found(setup.Folder(new_folder(tmp_path / "port", "port")), chain="four")

    async def run() -> None:
        houses = [House(tmp_path / "port")]
        port = houses[0]
        try:
            houses.append(mill := await join(port, tmp_path, "mill"))
            await give_weight(port, "mill")
            await vote(port, mill, "mint", {"amounts": {"mill": 100}})
            houses.append(bank := await join(port, tmp_path, "bank"))
            houses.append(watch := await join(port, tmp_path, "watch", kind="regulator"))
            await publish(port, tmp_path, THEIRS, ["aurora"], price=60)
            await trade(port, mill)
            await look(port, mill, bank, watch)
            await page(watch, tmp_path)
            await export(watch, tmp_path)
            await type_it(watch, tmp_path)
        finally:
            for house in reversed(houses):
                await house.end()

    asyncio.run(run())
