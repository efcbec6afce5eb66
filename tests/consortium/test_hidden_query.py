"""A hidden query through real nodes: planned, explained, granted, gated, answered; the index is made once."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from consortium_world import PURPOSE, journal, wait_until

from fondaco.cli.demo.cast import AIRLINE, AUTHORITY, WEATHER
from fondaco.cli.demo.story import FLIGHTS
from fondaco.node.control import ControlError

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
    explained = cast[AIRLINE].ask("explain", workflow=lookup(70))
    assert explained["ready"]
    assert any("nothing of the keys" in line for line in explained["steps"][0]["learns"])
    with path.open(newline="") as file:
        seats = {row["tailnum"]: int(row["seats"]) for row in csv.DictReader(file)}
    for run in range(2):
        task = cast[AIRLINE].ask("run", workflow=lookup(70))
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


@pytest.mark.timeout(180)
def test_an_index_that_the_steward_prepared_serves_the_first_lookup_and_follows_the_versions(
    register, tmp_path
) -> None:
    cast, path = register
    name = "/authority/aviation/prepared"
    publish = {
        "name": name,
        "title": "register of aircraft, prepared",
        "operations": [LOOKUP],
        "purposes": [PURPOSE],
        "rules": [
            {
                "organisations": ["*"],
                "operations": ["*"],
                "purposes": ["*"],
                "keys": ["tailnum", "seats"],
                "uses": 9,
                "days": 60,
            }
        ],
    }
    prepare = {"name": name, "keys": ["tailnum"], "columns": ["tailnum", "seats"], "most_keys": 50}
    with pytest.raises(ControlError, match=r"prepared"):
        cast[AUTHORITY].ask("prepare", **prepare)
    # Other content than the register's: an index belongs to content, whatever it is named.
    lines = [line.replace("150", "151") for line in path.read_text().splitlines()]
    schema = path.with_suffix(".toml")
    for version, content in ((1, lines), (2, [*lines[:1], lines[1].replace("151", "77"), *lines[2:]])):
        source = tmp_path / f"{version}.csv"
        source.write_text("\n".join(content) + "\n")
        cast[AUTHORITY].ask("import", source=str(source), schema=str(schema), name=name)
        cast[AUTHORITY].ask("publish", **publish)
        made = cast[AUTHORITY].ask("prepare", **prepare)
        assert (made["made"], made["records"], made["dataset"]) == (True, 70, f"{name}@{version}")
        assert made["sealed"] == (70 if version == 1 else 1)
    assert cast[AUTHORITY].ask("prepare", **prepare)["made"] is False
    wait_until(lambda: any(f"{name}@2" in hit["name"] for hit in cast[AIRLINE].ask("search")["hits"]), name)
    cast[AIRLINE].ask(
        "request",
        datasets=[{"name": name, "keys": ["tailnum", "seats"], "columns": []}],
        operations=[LOOKUP],
        purpose=PURPOSE,
        parties=[AIRLINE, AUTHORITY],
        receivers=[AIRLINE],
        max_price=100,
    )
    document = lookup(50)
    document["steps"][0]["inputs"][AUTHORITY]["dataset"] = name
    task = cast[AIRLINE].ask("run", workflow=document)
    assert task["status"] == "settled", task
    rows = cast[AIRLINE].ask("result", task=task["task"], step="seats", limit=1000)["tables"]["result"]["rows"]
    first = lines[1].split(",")[0]
    with source.open(newline="") as file:
        seats = {row["tailnum"]: int(row["seats"]) for row in csv.DictReader(file)}
    assert seats[first] == 77
    assert rows == [[number, number in seats, seats.get(number)] for number, *_ in rows]
    assert "index kept" not in [event for _step, event, _party, _cause in journal(cast[AUTHORITY], task["task"])]


@pytest.mark.timeout(180)
def test_limits_are_shown_said_and_removed_only_expressly(register) -> None:
    cast, _path = register
    path = "/authority/aviation/limited"
    none = {"path": path, "limited": False, "most_keys": None, "keys_a_day": None}
    some = {"path": path, "limited": True, "most_keys": 7, "keys_a_day": 70}
    assert cast[AUTHORITY].ask("limit", name=path) == none
    assert cast[AUTHORITY].ask("limit", name=path, most_keys=7, keys_a_day=70).items() >= some.items()
    assert cast[AUTHORITY].ask("limit", name=path) == some, "asking changes nothing"
    assert cast[AUTHORITY].ask("limit", name=path) == some
    wait_until(lambda: cast[AIRLINE].ask("limit", name=path) == some, "what others see of it")
    for wrong in (
        {"most_keys": 0},
        {"most_keys": 0, "keys_a_day": 0},
        {"keys_a_day": 5},
        {"most_keys": 5, "remove": True},
    ):
        with pytest.raises(ControlError):
            cast[AUTHORITY].ask("limit", name=path, **wrong)
    with pytest.raises(ControlError, match="belongs to authority"):
        cast[AIRLINE].ask("limit", name=path, remove=True)
    assert cast[AUTHORITY].ask("limit", name=path) == some
    assert cast[AUTHORITY].ask("limit", name=path, remove=True).items() >= none.items()
    assert cast[AUTHORITY].ask("limit", name=path) == none


@pytest.mark.timeout(180)
def test_a_default_permission_covers_a_request_of_usual_length_and_a_version_is_published_once(
    register, tmp_path
) -> None:
    cast, path = register
    name = "/authority/aviation/defaults"
    source = tmp_path / "defaults.csv"
    source.write_text(path.read_text().replace("150", "153"))
    cast[AUTHORITY].ask("import", source=str(source), schema=str(path.with_suffix(".toml")), name=name)
    rule = {"organisations": ["*"], "operations": [LOOKUP], "purposes": [PURPOSE], "keys": ["tailnum", "seats"]}
    publish = {"name": name, "title": "by default", "operations": [LOOKUP], "purposes": [PURPOSE], "rules": [rule]}
    cast[AUTHORITY].ask("publish", **publish)
    with pytest.raises(ControlError, match="published already") as caught:
        cast[AUTHORITY].ask("publish", **publish)
    assert "import it again" in caught.value.remedy
    wait_until(lambda: any(name in hit["name"] for hit in cast[AIRLINE].ask("search")["hits"]), name)
    asked = {
        "datasets": [{"name": name, "keys": ["tailnum", "seats"], "columns": []}],
        "operations": [LOOKUP],
        "purpose": PURPOSE,
        "parties": [AIRLINE, AUTHORITY],
        "receivers": [AIRLINE],
        "max_price": 100,
    }
    found = cast[AIRLINE].ask("request", **asked)
    assert found["items"][0]["answer"] == "granted"
    mine = {one["request"] for one in cast[AIRLINE].ask("requests", mine=True)["requests"]}
    assert found["request"] in mine
    assert found["request"] not in {one["request"] for one in cast[AUTHORITY].ask("requests", mine=True)["requests"]}


@pytest.mark.timeout(180)
def test_a_reviewer_who_names_keys_alone_keeps_the_owners_keys_a_day(register, tmp_path) -> None:
    cast, path = register
    name = "/authority/aviation/reviewed"
    source = tmp_path / "reviewed.csv"
    source.write_text(path.read_text().replace("150", "154"))
    cast[AUTHORITY].ask("import", source=str(source), schema=str(path.with_suffix(".toml")), name=name)
    cast[AUTHORITY].ask("publish", name=name, title="by review", operations=[LOOKUP], purposes=[PURPOSE])
    cast[AUTHORITY].ask("limit", name=name, most_keys=20, keys_a_day=90)
    wait_until(lambda: any(name in hit["name"] for hit in cast[AIRLINE].ask("search")["hits"]), name)
    found = cast[AIRLINE].ask(
        "request",
        datasets=[{"name": name, "keys": ["tailnum"], "columns": []}],
        operations=[LOOKUP],
        purpose=PURPOSE,
        parties=[AIRLINE, AUTHORITY],
        receivers=[AIRLINE],
        max_price=100,
    )
    cast[AUTHORITY].ask("review", request=found["request"], approve=True, most_keys=10)
    given = [grant for grant in cast[AUTHORITY].ask("grants")["grants"] if grant["dataset"] == f"{name}@1"]
    assert [(grant["most_keys"], grant["keys_a_day"]) for grant in given] == [(10, 90)]


@pytest.mark.timeout(180)
def test_tasks_are_listed_for_those_who_have_a_part_in_them(register) -> None:
    cast, _path = register
    task = cast[AIRLINE].ask("run", workflow=lookup(40))
    for who in (AIRLINE, AUTHORITY):
        listed = {one["task"]: one for one in cast[who].ask("tasks")["tasks"]}
        assert listed[task["task"]]["steps"] == ["seats"]
        assert listed[task["task"]]["initiator"] == AIRLINE
    assert task["task"] not in {one["task"] for one in cast[WEATHER].ask("tasks")["tasks"]}
