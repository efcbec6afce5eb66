"""Sums and figures over a match that nobody learns: planned, explained, granted, gated, computed, settled, audited."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from consortium_world import PURPOSE, expected_statistics, wait_until

from fondaco.cli.demo.cast import AIRLINE, WEATHER
from fondaco.cli.demo.story import HOURS

SUM, FIGURES = "mpc.intersection-sum", "mpc.circuit-statistics"
HIDDEN_FLIGHTS = "/airline/ops/sealed"
LEAST = 20


def hidden(operation: str, least: int = LEAST, **parameters: Any) -> dict[str, Any]:
    """One step: the weather office's slots and the airline's delays, no intersection before it."""
    brought = ["slot", "rain"] if operation == FIGURES else ["slot"]
    return {
        "purpose": PURPOSE,
        "steps": [
            {
                "id": "sealed",
                "engine": "mpc",
                "operation": operation.partition(".")[2],
                "parties": [WEATHER, AIRLINE],
                "receivers": [WEATHER],
                "parameters": {"keys": ["slot"], "minimum_count": least} | parameters,
                "inputs": {
                    WEATHER: {"dataset": HOURS, "columns": brought},
                    AIRLINE: {"dataset": HIDDEN_FLIGHTS, "columns": ["slot", "dep_delay"]},
                },
            }
        ],
    }


DELAY = {"party": AIRLINE, "column": "dep_delay"}


@pytest.fixture(scope="module")
def sealed(world):
    """The airline's flights, published for hidden matches of twenty keys and more alone, and a grant of them."""
    cast, sources = world
    path, schema, _name = sources[AIRLINE]
    cast[AIRLINE].ask("import", source=str(path), schema=str(schema), name=HIDDEN_FLIGHTS)
    rule = {
        "organisations": ["*"], "operations": ["*"], "purposes": ["*"], "keys": ["slot"], "uses": 100, "days": 60,
    }  # fmt: skip
    cast[AIRLINE].ask(
        "publish", name=HIDDEN_FLIGHTS, title="flights", operations=[SUM, FIGURES], purposes=[PURPOSE],
        minimum_rows=LEAST, rules=[rule],
    )  # fmt: skip
    wait_until(lambda: any(HIDDEN_FLIGHTS in hit["name"] for hit in cast[WEATHER].ask("search")["hits"]), "flights")
    found = cast[WEATHER].ask(
        "request",
        datasets=[{"name": HIDDEN_FLIGHTS, "keys": ["slot"], "columns": ["dep_delay"]}],
        operations=[SUM, FIGURES],
        purpose=PURPOSE,
        parties=[WEATHER, AIRLINE],
        receivers=[WEATHER],
        uses=10,
        max_price=100,
    )
    assert found["items"][0]["answer"] == "granted"
    return cast, sources


@pytest.mark.timeout(240)
def test_an_intersection_sum_goes_through_the_whole_loop(sealed) -> None:
    cast, sources = sealed
    document = hidden(SUM, values=[DELAY])
    explained = cast[WEATHER].ask("explain", workflow=document)
    assert explained["ready"]
    assert any("not which keys" in said for said in explained["steps"][0]["learns"])
    task = cast[WEATHER].ask("run", workflow=document)
    assert task["status"] == "settled", task
    table = cast[WEATHER].ask("result", task=task["task"], step="sealed")["tables"]["result"]
    with sources[AIRLINE][0].open() as file:
        delays = [int(row["dep_delay"]) for row in csv.DictReader(file) if int(row["slot"][-5:]) < 50]
    assert table["columns"] == ["count", "suppressed", f"{AIRLINE}.dep_delay"]
    assert table["rows"] == [[50, False, sum(delays)]]


@pytest.mark.timeout(240)
def test_figures_over_a_hidden_match_keep_the_terms(sealed) -> None:
    cast, sources = sealed
    document = hidden(FIGURES, value=DELAY, group={"party": WEATHER, "column": "rain"})
    task = cast[WEATHER].ask("run", workflow=document)
    assert task["status"] == "settled", task
    table = cast[WEATHER].ask("result", task=task["task"], step="sealed")["tables"]["result"]
    # 17 slots are of rain, fewer than the terms allow, and so the dry ones stay hidden with them.
    assert {row[0]: row[5] for row in table["rows"]} == {"true": True, "false": True}
    assert expected_statistics(sources)["true"][0] > LEAST, "it is keys that count, not rows"


@pytest.mark.timeout(120)
def test_a_minimum_below_the_terms_is_refused_at_the_gate(sealed) -> None:
    cast, _sources = sealed
    task = cast[WEATHER].ask("run", workflow=hidden(SUM, LEAST - 1, values=[DELAY]))
    assert (task["status"], task["failure"]["party"]) == ("failed", AIRLINE)
    assert "fewer than 20" in task["failure"]["cause"]


@pytest.mark.timeout(60)
def test_a_grant_of_hidden_matches_lets_nobody_learn_a_match(sealed) -> None:
    cast, _sources = sealed
    document = hidden(SUM)
    step = document["steps"][0]
    step |= {"engine": "psi", "operation": "intersection", "parameters": {"keys": ["slot"]}}
    step["inputs"][AIRLINE]["columns"] = ["slot"]
    explained = cast[WEATHER].ask("explain", workflow=document)
    assert not explained["ready"]
    assert [missing["operation"] for missing in explained["missing"]] == ["psi.intersection"]
