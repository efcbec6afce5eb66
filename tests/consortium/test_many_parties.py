"""Three institutions' sets and a union through real nodes: planned, explained, granted, gated, run, kept, killed."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import pytest
from consortium_world import PURPOSE, journal, wait_until
from test_killed_nodes import NAMED_SECONDS, named_by, revive

from fondaco.cli.demo.cast import AIRLINE, AUTHORITY, REGULATOR, WEATHER
from fondaco.errors import FondacoError

THREE, UNION, DIFFERENCE = "psi.intersection", "psi.union", "psi.difference"
# For this purpose the airline has grants that name itself and the authority alone.
NARROW = "review"
NAMES = {
    AIRLINE: "/airline/many/flown",
    AUTHORITY: "/authority/many/registered",
    WEATHER: "/weather/many/sighted",
}
TAILS = {
    AIRLINE: [f"N{i:04d}" for i in range(90)] * 2,
    AUTHORITY: [f"N{i:04d}" for i in range(30, 120)],
    WEATHER: [f"N{i:04d}" for i in range(0, 120, 2)],
}
WANTED = [f"N{i:04d}" for i in range(30, 90, 2)]
ALONE = [f"N{i:04d}" for i in range(1, 30, 2)]
SCHEMA = '[[columns]]\nname = "tailnum"\ntype = "text"\n'


def step(operation: str, parties: list[str], receivers: list[str]) -> dict[str, Any]:
    return {
        "purpose": PURPOSE,
        "steps": [
            {
                "id": "aircraft",
                "engine": "psi",
                "operation": operation,
                "parties": parties,
                "receivers": receivers,
                "parameters": {"keys": ["tailnum"]},
                "inputs": {org: {"dataset": NAMES[org], "columns": ["tailnum"]} for org in parties},
            }
        ],
    }


ALL, APART, TOGETHER = (
    step(operation, [AIRLINE, AUTHORITY, WEATHER], [AIRLINE]) for operation in ("intersection", "difference", "union")
)


def ask_for(cast, provider: str, operation: str, parties: list[str], purpose: str = PURPOSE) -> None:
    found = cast[AIRLINE].ask(
        "request",
        datasets=[{"name": NAMES[provider], "keys": ["tailnum"], "columns": []}],
        operations=[operation],
        purpose=purpose,
        parties=parties,
        receivers=[AIRLINE],
        uses=20,
        max_price=100,
    )
    assert found["items"][0]["answer"] == "granted"


@pytest.fixture(scope="module")
def fleet(world, tmp_path_factory: pytest.TempPathFactory):
    """One column of aircraft at each of three institutions, published, and the airline's grants of the other two."""
    cast, _sources = world
    folder: Path = tmp_path_factory.mktemp("many")
    for org, tails in TAILS.items():
        path, schema = folder / f"{org}.csv", folder / f"{org}.toml"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["tailnum"], *([tail] for tail in tails)])
        schema.write_text(SCHEMA)
        cast[org].ask("import", source=str(path), schema=str(schema), name=NAMES[org])
        cast[org].ask(
            "publish",
            name=NAMES[org],
            title="aircraft",
            operations=[THREE, UNION, DIFFERENCE],
            purposes=[PURPOSE, NARROW],
            rules=[
                {
                    "organisations": ["*"],
                    "operations": ["*"],
                    "purposes": ["*"],
                    "keys": ["tailnum"],
                    "uses": 100,
                    "days": 60,
                }
            ],
        )
    for org in (AUTHORITY, WEATHER):
        name = NAMES[org]
        wait_until(lambda n=name: any(n in hit["name"] for hit in cast[AIRLINE].ask("search")["hits"]), name)
    ask_for(cast, AUTHORITY, UNION, [AIRLINE, AUTHORITY])
    ask_for(cast, AUTHORITY, THREE, [AIRLINE, AUTHORITY], NARROW)
    for org in (AUTHORITY, WEATHER):
        for operation in (THREE, UNION, DIFFERENCE):
            ask_for(cast, org, operation, [AIRLINE, AUTHORITY, WEATHER])
    return cast


@pytest.mark.timeout(180)
def test_a_party_that_a_grant_does_not_name_is_refused_before_anything_runs(fleet) -> None:
    narrow = ALL | {"purpose": NARROW}
    explained = fleet[AIRLINE].ask("explain", workflow=narrow)
    assert explained["ready"] is False
    assert {missing["provider"] for missing in explained["missing"]} == {AUTHORITY, WEATHER}
    assert all({AIRLINE, AUTHORITY, WEATHER} <= set(missing["parties"]) for missing in explained["missing"])
    with pytest.raises(FondacoError):
        fleet[AIRLINE].ask("run", workflow=narrow)


@pytest.mark.timeout(180)
def test_three_institutions_find_what_all_have_and_one_of_them_learns_it(fleet) -> None:
    cast = fleet
    explained = cast[AIRLINE].ask("explain", workflow=ALL)
    assert explained["ready"]
    (told,) = explained["steps"]
    assert "leads" in told["learns"][0]
    assert told["reason"].startswith("star")
    task = cast[AIRLINE].ask("run", workflow=ALL)
    assert task["status"] == "settled", task
    found = cast[AIRLINE].ask("result", task=task["task"], step="aircraft", limit=1000)["tables"]["match"]
    assert sorted(row[0] for row in found["rows"]) == WANTED
    for org in (AUTHORITY, WEATHER):
        with pytest.raises(FondacoError):
            cast[org].ask("result", task=task["task"], step="aircraft")


@pytest.mark.timeout(180)
def test_a_receiver_that_the_grants_do_not_name_is_refused(fleet) -> None:
    wider = step("intersection", [AIRLINE, AUTHORITY, WEATHER], [AIRLINE, WEATHER])
    assert fleet[AIRLINE].ask("explain", workflow=wider)["ready"] is False


@pytest.mark.timeout(180)
def test_two_institutions_unite_their_sets_for_one_of_them(fleet) -> None:
    cast, union = fleet, step("union", [AIRLINE, AUTHORITY], [AIRLINE])
    (told,) = cast[AIRLINE].ask("explain", workflow=union)["steps"]
    assert "not which those are" in told["learns"][0]
    task = cast[AIRLINE].ask("run", workflow=union)
    assert task["status"] == "settled", task
    found = cast[AIRLINE].ask("result", task=task["task"], step="aircraft", limit=1000)["tables"]["result"]
    rows = [row[0] for row in found["rows"]]
    assert rows[:90] == TAILS[AIRLINE][:90], "first the receiver's own, in their order"
    assert sorted(rows) == sorted({*TAILS[AIRLINE], *TAILS[AUTHORITY]})


@pytest.mark.timeout(180)
def test_one_of_three_institutions_learns_what_it_alone_has(fleet) -> None:
    cast = fleet
    (told,) = cast[AIRLINE].ask("explain", workflow=APART)["steps"]
    assert "nobody else has" in told["learns"][0]
    assert told["reason"].startswith("tests on shares")
    task = cast[AIRLINE].ask("run", workflow=APART)
    assert task["status"] == "settled", task
    found = cast[AIRLINE].ask("result", task=task["task"], step="aircraft", limit=1000)["tables"]["result"]
    assert [row[0] for row in found["rows"]] == ALONE, "in the order of its rows"
    for org in (AUTHORITY, WEATHER):
        with pytest.raises(FondacoError):
            cast[org].ask("result", task=task["task"], step="aircraft")


@pytest.mark.timeout(180)
def test_three_institutions_unite_their_sets_for_one_of_them(fleet) -> None:
    cast = fleet
    (told,) = cast[AIRLINE].ask("explain", workflow=TOGETHER)["steps"]
    assert "neither who has it" in told["learns"][0]
    task = cast[AIRLINE].ask("run", workflow=TOGETHER)
    assert task["status"] == "settled", task
    found = cast[AIRLINE].ask("result", task=task["task"], step="aircraft", limit=1000)["tables"]["result"]
    rows = [row[0] for row in found["rows"]]
    assert rows[:90] == TAILS[AIRLINE][:90], "first the receiver's own, in their order"
    assert sorted(rows) == sorted({tail for tails in TAILS.values() for tail in tails})
    for org in (AUTHORITY, WEATHER):
        with pytest.raises(FondacoError):
            cast[org].ask("result", task=task["task"], step="aircraft")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("workflow", "victim"),
    [(ALL, AIRLINE), (ALL, WEATHER), (APART, WEATHER), (TOGETHER, AUTHORITY)],
    ids=["intersection, receiver", "intersection", "difference", "union"],
)
def test_a_node_killed_while_three_meet_is_named_by_the_others(fleet, workflow, victim) -> None:
    cast = fleet
    task = cast[AIRLINE].ask("run", workflow=workflow, wait=False)["task"]
    wait_until(
        lambda: any(row[:2] == ("aircraft", "started") for row in journal(cast[victim], task)), "it has begun", 60
    )
    cast[victim].kill()
    killed = time.monotonic()
    for org in (AIRLINE, AUTHORITY, WEATHER, REGULATOR):
        if org != victim:
            wait_until(lambda org=org: named_by(cast[org], task, victim), f"{org} names {victim}", NAMED_SECONDS)
    assert time.monotonic() - killed < NAMED_SECONDS
    revive(cast, victim)
    wait_until(lambda: cast[REGULATOR].ask("task", task=task)["status"] in ("failed", "settled"), "an end", 60)
    if cast[REGULATOR].ask("task", task=task)["status"] == "failed":
        ended = cast[REGULATOR].ask("again", task=task)
        assert ended["status"] == "settled", ended["failure"]
    wait_until(lambda: cast[AIRLINE].ask("task", task=task)["status"] == "settled", "the task settles")
    (found,) = cast[AIRLINE].ask("result", task=task, step="aircraft", limit=1000)["tables"].values()
    united = sorted({tail for tails in TAILS.values() for tail in tails})
    wanted = {"intersection": WANTED, "difference": ALONE, "union": united}[workflow["steps"][0]["operation"]]
    assert sorted(row[0] for row in found["rows"]) == wanted
