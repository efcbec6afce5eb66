"""A small consortium of real node processes with made-up data whose every value can be looked for in bytes."""

from __future__ import annotations

import csv
import sqlite3
import time
from pathlib import Path
from typing import Any

import duckdb

from fondaco.cli.demo.cast import AIRLINE, AUTHORITY, MEMBERS, REGULATOR, WEATHER, Actor, Cast
from fondaco.cli.demo.story import FLIGHTS, HOURS, INTERSECTION, PLANES, STATISTICS

PURPOSE = "research"
USES = 60
PRICE_FLIGHTS, PRICE_PLANES, ALLOTMENT = 40, 25, 100_000

FLIGHTS_TOML = """
[[columns]]
name = "tailnum"
type = "text"
classification = "confidential"

[[columns]]
name = "slot"
type = "text"

[[columns]]
name = "dep_delay"
type = "int64"
unit = "min"
nullable = true
minimum = -10000000
maximum = 10000000
"""
PLANES_TOML = """
key = ["tailnum"]

[[columns]]
name = "tailnum"
type = "text"

[[columns]]
name = "seats"
type = "int64"
"""
HOURS_TOML = """
key = ["slot"]

[[columns]]
name = "slot"
type = "text"

[[columns]]
name = "rain"
type = "bool"
"""


def delays(index: int) -> int:
    """Values with no short or common encoding."""
    return 7_000_000 + 76_543 * (index % 17) + index


def write_sources(folder: Path) -> dict[str, tuple[Path, Path, str]]:
    """Each owner's file, schema and dataset name."""
    folder.mkdir(parents=True)
    tables: dict[str, tuple[list[str], list[list[Any]], str, str]] = {
        AIRLINE: (
            ["tailnum", "slot", "dep_delay"],
            [
                [f"NSHARED{i % 40:04d}" if i % 2 else f"NAIRONLY{i % 40:04d}", f"SLOT-{i % 60:05d}", delays(i)]
                for i in range(600)
            ],
            FLIGHTS_TOML,
            FLIGHTS,
        ),
        AUTHORITY: (
            ["tailnum", "seats"],
            [[f"NSHARED{i:04d}", 150] for i in range(40)] + [[f"NAUTHONLY{i:04d}", 150] for i in range(30)],
            PLANES_TOML,
            PLANES,
        ),
        WEATHER: (
            ["slot", "rain"],
            [[f"SLOT-{i:05d}", "true" if i % 3 == 0 else "false"] for i in range(50)]
            + [[f"WXONLY-{i:05d}", "true"] for i in range(20)],
            HOURS_TOML,
            HOURS,
        ),
    }
    made = {}
    for org, (header, rows, schema, name) in tables.items():
        path, toml = folder / f"{org}.csv", folder / f"{org}.toml"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        toml.write_text(schema)
        made[org] = (path, toml, name)
    return made


def expected_statistics(sources: dict[str, tuple[Path, Path, str]]) -> dict[str, tuple[int, float, float]]:
    """What DuckDB says in the clear: group -> count, mean, sample variance."""
    rows = duckdb.sql(
        f"SELECT w.rain, count(f.dep_delay), avg(f.dep_delay), var_samp(f.dep_delay) "
        f"FROM read_csv('{sources[AIRLINE][0]}') f JOIN read_csv('{sources[WEATHER][0]}') w USING (slot) GROUP BY 1"
    ).fetchall()
    return {str(rain).lower(): (count, mean, variance) for rain, count, mean, variance in rows}


def workflow() -> dict[str, Any]:
    """Two steps: match the slots, then delay by rain."""
    return {
        "title": "delay by rain",
        "purpose": PURPOSE,
        "steps": [
            {
                "id": "match",
                "engine": "psi",
                "operation": "intersection",
                "parties": [WEATHER, AIRLINE],
                "receivers": [WEATHER, AIRLINE],
                "parameters": {"keys": ["slot"]},
                "inputs": {
                    WEATHER: {"dataset": HOURS, "columns": ["slot"]},
                    AIRLINE: {"dataset": FLIGHTS, "columns": ["slot"]},
                },
            },
            {
                "id": "statistics",
                "engine": "mpc",
                "operation": "statistics",
                "parties": [WEATHER, AIRLINE],
                "receivers": [WEATHER],
                "match": "match",
                "parameters": {
                    "keys": ["slot"],
                    "value": {"party": AIRLINE, "column": "dep_delay"},
                    "group": {"party": WEATHER, "column": "rain"},
                },
                "inputs": {
                    WEATHER: {"dataset": HOURS, "columns": ["slot", "rain"]},
                    AIRLINE: {"dataset": FLIGHTS, "columns": ["slot", "dep_delay"]},
                },
            },
        ],
    }


def fleet() -> dict[str, Any]:
    """One step: aircraft that airline and authority both know, told to the airline alone."""
    return {
        "purpose": PURPOSE,
        "steps": [
            {
                "id": "aircraft",
                "engine": "psi",
                "operation": "intersection",
                "parties": [AIRLINE, AUTHORITY],
                "receivers": [AIRLINE],
                "parameters": {"keys": ["tailnum"]},
                "inputs": {
                    AIRLINE: {"dataset": FLIGHTS, "columns": ["tailnum"]},
                    AUTHORITY: {"dataset": PLANES, "columns": ["tailnum"]},
                },
            }
        ],
    }


def provision(cast: Cast, sources: dict[str, tuple[Path, Path, str]]) -> None:
    """Points, data, publications and grants for many uses."""
    equal = {"weights": dict.fromkeys(MEMBERS, 1)}
    admitted = cast[REGULATOR].ask("governance-propose", kind="weights", body=equal)["proposal"]
    cast[REGULATOR].ask("vote", proposal=admitted)
    proposal = cast[REGULATOR].ask("mint", amounts=dict.fromkeys(MEMBERS, ALLOTMENT))["proposal"]
    for org in (REGULATOR, AIRLINE, AUTHORITY):
        wait_until(lambda org=org: cast[org].ask("points")["balances"] is not None, "the ledger")
        cast[org].ask("vote", proposal=proposal)
    for org, (path, schema, name) in sources.items():
        cast[org].ask("import", source=str(path), schema=str(schema), name=name)
        price = {AIRLINE: PRICE_FLIGHTS, AUTHORITY: PRICE_PLANES, WEATHER: 1}[org]
        cast[org].ask(
            "publish",
            name=name,
            title=f"data of {org}",
            operations=[INTERSECTION, STATISTICS],
            purposes=[PURPOSE],
            price=price,
            rules=[
                {
                    "organisations": ["*"],
                    "operations": ["*"],
                    "purposes": ["*"],
                    "keys": ["tailnum"] if org == AUTHORITY else ["slot"],
                    "uses": USES,
                    "days": 60,
                }
            ],
        )
    for asker, dataset, keys, columns, provider in (
        (WEATHER, FLIGHTS, ["slot"], ["dep_delay"], AIRLINE),
        (AIRLINE, PLANES, ["tailnum"], [], AUTHORITY),
    ):
        wait_until(lambda a=asker, d=dataset: any(d in h["name"] for h in cast[a].ask("search")["hits"]), dataset)
        found = cast[asker].ask(
            "request",
            datasets=[{"name": dataset, "keys": keys, "columns": columns}],
            operations=[INTERSECTION, STATISTICS],
            purpose=PURPOSE,
            parties=[asker, provider],
            receivers=[asker, provider],
            uses=USES,
            max_price=100,
        )
        assert found["items"][0]["answer"] == "granted"


def wait_until(holds: Any, what: str, seconds: float = 20.0) -> None:
    """Poll until `holds()`; a named failure after the deadline."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def journal(actor: Actor, task: str) -> list[tuple[str, str, str, str]]:
    """(step, event, party, cause) of a node's own journal, read from its file: the node may be dead."""
    path = actor.folder / "journal.sqlite"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        rows = db.execute(
            "SELECT step, event, party, cause FROM journal WHERE task = ? ORDER BY id", (task,)
        ).fetchall()
    db.close()
    return rows
