"""Few keys against a large prepared set through real nodes: granted, gated, prepared once, its table sent once."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from consortium_world import PURPOSE, journal, wait_until

from fondaco.cli.demo.cast import AIRLINE, AUTHORITY
from fondaco.cli.demo.story import FLIGHTS
from fondaco.node.control import ControlError

UNBALANCED = "psi.unbalanced"
FLEET = "/authority/aviation/fleet"


def workflow(receivers: list[str]) -> dict[str, Any]:
    """Which of the airline's aircraft the authority knows."""
    return {
        "purpose": PURPOSE,
        "steps": [
            {
                "id": "known",
                "engine": "psi",
                "operation": "unbalanced",
                "parties": [AIRLINE, AUTHORITY],
                "receivers": receivers,
                "parameters": {"keys": ["tailnum"]},
                "inputs": {
                    AIRLINE: {"dataset": FLIGHTS, "columns": ["tailnum"]},
                    AUTHORITY: {"dataset": FLEET, "columns": ["tailnum"]},
                },
            }
        ],
    }


@pytest.fixture(scope="module")
def fleet(world):
    """The authority's fleet, published for it, and a grant."""
    cast, sources = world
    path, schema, _name = sources[AUTHORITY]
    cast[AUTHORITY].ask("import", source=str(path), schema=str(schema), name=FLEET)
    rule = {
        "organisations": ["*"], "operations": ["*"], "purposes": ["*"], "keys": ["tailnum"], "uses": 100, "days": 60,
    }  # fmt: skip
    cast[AUTHORITY].ask(
        "publish", name=FLEET, title="all aircraft", operations=[UNBALANCED], purposes=[PURPOSE], rules=[rule]
    )
    wait_until(lambda: any(FLEET in hit["name"] for hit in cast[AIRLINE].ask("search")["hits"]), FLEET)
    found = cast[AIRLINE].ask(
        "request",
        datasets=[{"name": FLEET, "keys": ["tailnum"], "columns": []}],
        operations=[UNBALANCED],
        purpose=PURPOSE,
        parties=[AIRLINE, AUTHORITY],
        receivers=[AIRLINE],
        uses=10,
        max_price=100,
    )
    assert found["items"][0]["answer"] == "granted"
    return cast, sources


@pytest.mark.timeout(180)
def test_a_large_set_is_prepared_once_and_answers_again(fleet) -> None:
    cast, sources = fleet
    explained = cast[AIRLINE].ask("explain", workflow=workflow([AIRLINE]))
    assert explained["ready"]
    assert explained["steps"][0]["reason"].startswith("VOPRF, prepared")
    with sources[AUTHORITY][0].open(newline="") as file:
        known = {row["tailnum"] for row in csv.DictReader(file)}
    with sources[AIRLINE][0].open(newline="") as file:
        wanted = sorted({row["tailnum"] for row in csv.DictReader(file)} & known)
    others, tables = set((cast[AIRLINE].folder / "kept").glob("table-*/table")), []
    for run in range(2):
        task = cast[AIRLINE].ask("run", workflow=workflow([AIRLINE]))
        assert task["status"] == "settled", task
        table = cast[AIRLINE].ask("result", task=task["task"], step="known", limit=1000)["tables"]["match"]
        assert sorted(row[0] for row in table["rows"]) == wanted
        events = [event for _step, event, _party, _cause in journal(cast[AUTHORITY], task["task"])]
        assert ("index kept" in events) == (run == 0), events
        kept = set((cast[AIRLINE].folder / "kept").glob("table-*/table")) - others
        tables.append([path.stat().st_mtime_ns for path in kept])
    assert len(tables[0]) == 1
    assert tables[0] == tables[1], "the table came once"
    assert not list((cast[AUTHORITY].folder / "kept").glob("*")), "the provider keeps none"


@pytest.mark.timeout(180)
def test_who_the_grant_does_not_name_learns_nothing_of_a_prepared_set(fleet) -> None:
    cast, _sources = fleet
    assert not cast[AIRLINE].ask("explain", workflow=workflow([AUTHORITY]))["ready"]


@pytest.mark.timeout(180)
def test_a_set_that_the_steward_prepared_serves_the_first_run(fleet, tmp_path) -> None:
    cast, sources = fleet
    name, (path, schema, _name) = "/authority/aviation/ahead", sources[AUTHORITY]
    source = tmp_path / "ahead.csv"
    # Other content: what was prepared belongs to content, whatever it is named.
    source.write_text("\n".join(line.replace("150", "152") for line in path.read_text().splitlines()) + "\n")
    cast[AUTHORITY].ask("import", source=str(source), schema=str(schema), name=name)
    prepare = {"name": name, "operation": UNBALANCED, "keys": ["tailnum"]}
    with pytest.raises(ControlError, match="ahead"):
        cast[AUTHORITY].ask("prepare", **prepare)
    rule = {
        "organisations": ["*"], "operations": ["*"], "purposes": ["*"], "keys": ["tailnum"], "uses": 9, "days": 60,
    }  # fmt: skip
    cast[AUTHORITY].ask(
        "publish", name=name, title="aircraft, prepared", operations=[UNBALANCED], purposes=[PURPOSE], rules=[rule]
    )
    made = cast[AUTHORITY].ask("prepare", **prepare)
    assert (made["made"], made["records"], made["columns"]) == (True, 70, ["tailnum"])
    assert cast[AUTHORITY].ask("prepare", **prepare)["made"] is False
    wait_until(lambda: any(name in hit["name"] for hit in cast[AIRLINE].ask("search")["hits"]), name)
    cast[AIRLINE].ask(
        "request",
        datasets=[{"name": name, "keys": ["tailnum"], "columns": []}],
        operations=[UNBALANCED],
        purpose=PURPOSE,
        parties=[AIRLINE, AUTHORITY],
        receivers=[AIRLINE],
        max_price=100,
    )
    document = workflow([AIRLINE])
    document["steps"][0]["inputs"][AUTHORITY]["dataset"] = name
    task = cast[AIRLINE].ask("run", workflow=document)
    assert task["status"] == "settled", task
    assert "index kept" not in [event for _step, event, _party, _cause in journal(cast[AUTHORITY], task["task"])]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"operation": "psi.intersection"}, "nothing is prepared ahead for psi.intersection"),
        ({"most_keys": 5}, "answers any number of keys"),
        ({"keys": ["absent"]}, "has not all these columns"),
        ({"seconds": 0}, "within a day"),
    ],
)
def test_what_cannot_be_prepared_is_refused_with_a_remedy(fleet, changes, cause) -> None:
    cast, _sources = fleet
    asked = {"name": FLEET, "operation": UNBALANCED, "keys": ["tailnum"]} | changes
    with pytest.raises(ControlError, match=cause) as caught:
        cast[AUTHORITY].ask("prepare", **asked)
    assert caught.value.remedy
