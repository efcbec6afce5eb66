"""A hidden query through real nodes: planned, explained, granted, gated, answered; the index is made once."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from consortium_world import PURPOSE, journal, wait_until

from fondaco.cli.demo.cast import AIRLINE, AUTHORITY
from fondaco.cli.demo.story import FLIGHTS

LOOKUP = "pir.lookup"
REGISTER = "/authority/aviation/register"


def lookup(most_keys: int) -> dict[str, Any]:
    """The seats of the airline's own aircraft, from the authority's register."""
    return {
        "purpose": PURPOSE,
        "steps": [
            {
                "id": "seats",
                "engine": "pir",
                "operation": "lookup",
                "parties": [AIRLINE, AUTHORITY],
                "receivers": [AIRLINE],
                "parameters": {"keys": ["tailnum"], "most_keys": most_keys},
                "inputs": {
                    AIRLINE: {"dataset": FLIGHTS, "columns": ["tailnum"]},
                    AUTHORITY: {"dataset": REGISTER, "columns": ["tailnum", "seats"]},
                },
            }
        ],
    }


@pytest.fixture(scope="module")
def register(world):
    """The authority's register, published for hidden queries, and a grant of it."""
    cast, sources = world
    path, schema, _name = sources[AUTHORITY]
    cast[AUTHORITY].ask("import", source=str(path), schema=str(schema), name=REGISTER)
    cast[AUTHORITY].ask(
        "publish",
        name=REGISTER,
        title="register of aircraft",
        operations=[LOOKUP],
        purposes=[PURPOSE],
        rules=[
            {
                "organisations": ["*"],
                "operations": ["*"],
                "purposes": ["*"],
                "keys": ["tailnum", "seats"],
                "uses": 100,
                "days": 60,
            }
        ],
    )
    wait_until(lambda: any(REGISTER in hit["name"] for hit in cast[AIRLINE].ask("search")["hits"]), REGISTER)
    found = cast[AIRLINE].ask(
        "request",
        datasets=[{"name": REGISTER, "keys": ["tailnum", "seats"], "columns": []}],
        operations=[LOOKUP],
        purpose=PURPOSE,
        parties=[AIRLINE, AUTHORITY],
        receivers=[AIRLINE],
        uses=10,
        max_price=100,
    )
    assert found["items"][0]["answer"] == "granted"
    return cast, path


@pytest.mark.timeout(180)
def test_records_are_found_by_keys_that_the_provider_never_sees(register) -> None:
    cast, path = register
    explained = cast[AIRLINE].ask("explain", workflow=lookup(50))
    assert explained["ready"]
    assert any("nothing of the keys" in line for line in explained["steps"][0]["learns"])
    with path.open(newline="") as file:
        seats = {row["tailnum"]: int(row["seats"]) for row in csv.DictReader(file)}
    for run in range(2):
        task = cast[AIRLINE].ask("run", workflow=lookup(50))
        assert task["status"] == "settled", task
        table = cast[AIRLINE].ask("result", task=task["task"], step="seats", limit=1000)["tables"]["result"]
        assert (table["columns"], table["count"]) == (["tailnum", "found", "seats"], 40)
        assert table["rows"] == [[number, number in seats, seats.get(number)] for number, *_ in table["rows"]]
        events = [event for _step, event, _party, _cause in journal(cast[AUTHORITY], task["task"])]
        assert ("index kept" in events) == (run == 0), events


@pytest.mark.timeout(180)
def test_a_lookup_of_more_keys_than_the_provider_answers_is_refused_at_the_gate(register) -> None:
    cast, _path = register
    task = cast[AIRLINE].ask("run", workflow=lookup(101))
    assert (task["status"], task["failure"]["party"]) == ("failed", AUTHORITY)
    assert "at most 100 keys for one use" in task["failure"]["cause"]
