"""SIGKILL of a node in the middle of a large meeting: the next attempt passes the gate and does what was not done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consortium_world import PURPOSE, journal, wait_until
from test_killed_nodes import finish, revive

from fondaco.cli.demo.cast import AIRLINE, WEATHER

INTERSECTION = "psi.intersection"
ROWS = (1 << 20) + 5_000
SHARED = 1_000
NAMES = {AIRLINE: "/airline/large/left", WEATHER: "/weather/large/right"}
KEY = '[[columns]]\nname = "id"\ntype = "int64"\n'


def workflow() -> dict[str, Any]:
    return {
        "purpose": PURPOSE,
        "steps": [
            {
                "id": "large",
                "engine": "psi",
                "operation": "intersection",
                "parties": [AIRLINE, WEATHER],
                "receivers": [AIRLINE],
                "parameters": {"keys": ["id"]},
                "inputs": {org: {"dataset": name, "columns": ["id"]} for org, name in NAMES.items()},
            }
        ],
    }


@pytest.fixture(scope="module")
def large(world, tmp_path_factory):
    """Two sets above the size that is met in one part."""
    cast, _sources = world
    folder = tmp_path_factory.mktemp("large")
    (folder / "key.toml").write_text(KEY)
    for org, first in ((AIRLINE, 0), (WEATHER, ROWS - SHARED)):
        path = folder / f"{org}.parquet"
        pq.write_table(pa.table({"id": np.arange(first, first + ROWS)}), path)
        cast[org].ask("import", source=str(path), schema=str(folder / "key.toml"), name=NAMES[org])
    rule = {"organisations": ["*"], "operations": ["*"], "purposes": ["*"], "keys": ["id"], "uses": 100, "days": 60}
    for org, name in NAMES.items():
        cast[org].ask("publish", name=name, title=name, operations=[INTERSECTION], purposes=[PURPOSE], rules=[rule])
    name = NAMES[WEATHER]
    wait_until(lambda: any(name in hit["name"] for hit in cast[AIRLINE].ask("search")["hits"]), name)
    found = cast[AIRLINE].ask(
        "request",
        datasets=[{"name": name, "keys": ["id"], "columns": []}],
        operations=[INTERSECTION],
        purpose=PURPOSE,
        parties=[AIRLINE, WEATHER],
        receivers=[AIRLINE],
        uses=10,
        max_price=100,
    )
    assert found["items"][0]["answer"] == "granted"
    return cast


def first_parts(actor) -> dict[Path, int]:
    """When each first part of a meeting was kept at a node."""
    return {path: path.stat().st_mtime_ns for path in (actor.folder / "kept").glob("*/part-000")}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", [AIRLINE, WEATHER])
def test_a_node_killed_after_the_first_part_does_the_second_alone(large, victim) -> None:
    cast = large
    task = cast[AIRLINE].ask("run", workflow=workflow(), wait=False)["task"]
    wait_until(lambda: all(first_parts(cast[org]) for org in NAMES), "the first part at both", 120)
    cast[victim].kill()
    kept = {org: first_parts(cast[org]) for org in NAMES}
    revive(cast, victim)
    finish(cast, task)
    for org in NAMES:
        gates = [event for _step, event, _party, _cause in journal(cast[org], task) if event == "gate passed"]
        assert len(gates) == 2, "each attempt passes the gate"
    table = cast[AIRLINE].ask("result", task=task, step="large", limit=2000)["tables"]["match"]
    assert sorted(row[0] for row in table["rows"]) == list(range(ROWS - SHARED, ROWS))
    assert all(len(times) == 1 for times in kept.values())
    wait_until(lambda: not any(first_parts(cast[org]) for org in NAMES), "all is forgotten with the task")
