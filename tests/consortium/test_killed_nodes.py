"""SIGKILL of any node at any step of a task: it is named in time, no points are lost, it comes back, the task is run."""

from __future__ import annotations

import time

import pytest
from consortium_world import PRICE_FLIGHTS, expected_statistics, journal, wait_until, workflow

from fondaco.cli.demo.cast import AIRLINE, REGULATOR, WEATHER
from fondaco.errors import FondacoError

NAMED_SECONDS = 30.0
PARTIES = (WEATHER, AIRLINE, REGULATOR)
# (what the victim's own journal shows when it is killed, step, event)
MOMENTS = (
    ("ordered to match", "match", "started"),
    ("through the gate of match", "match", "gate passed"),
    ("matched and reported", "match", "reported"),
    ("ordered to compute", "statistics", "started"),
    ("through the gate of statistics", "statistics", "gate passed"),
)
CASES = [
    (victim, name, step, event)
    for victim in PARTIES
    for name, step, event in MOMENTS
    if not (victim == REGULATOR and step == "match")  # the coordinator has no share in the first step
]


def named_by(actor, task: str, victim: str) -> bool:
    """Whether a node says, on the ledger it follows or in its own journal, that the victim failed."""
    if any(party == victim for _step, _event, party, _cause in journal(actor, task)):
        return True
    try:
        return actor.ask("task", task=task)["failure"].get("party") == victim
    except FondacoError:
        return False


def run_until(cast, victim: str, step: str, event: str) -> str:
    task = cast[WEATHER].ask("run", workflow=workflow(), wait=False)["task"]
    wait_until(
        lambda: any(row[:2] == (step, event) for row in journal(cast[victim], task)), f"{victim} {event} {step}", 60
    )
    return task


def conserved(cast) -> dict:
    points = cast[REGULATOR].ask("points")
    assert points["conservation"]["balances"] + points["conservation"]["escrows"] == points["conservation"]["supply"]
    return {REGULATOR: 0} | points["balances"]


def finish(cast, task: str) -> None:
    """Run the task again at its coordinator until it is settled, unless it has been settled."""
    wait_until(lambda: cast[REGULATOR].ask("task", task=task)["status"] in ("failed", "settled"), "an end", 60)
    if cast[REGULATOR].ask("task", task=task)["status"] == "failed":
        ended = cast[REGULATOR].ask("again", task=task)
        assert ended["status"] == "settled", ended["failure"]


def revive(cast, victim: str) -> None:
    cast[victim].start()
    cast[victim].ready()
    wait_until(
        lambda: (
            len({cast[org].ask("status")["height"] for org in cast.actors}) == 1
            and len({cast[org].ask("status")["app_hash"] for org in cast.actors}) == 1
        ),
        "the killed node catches up",
        40,
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("victim", "moment", "step", "event"), CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES])
def test_a_killed_node_is_named_and_the_task_is_run_again(world, victim, moment, step, event) -> None:
    cast, sources = world
    before = conserved(cast)
    task = run_until(cast, victim, step, event)
    cast[victim].kill()
    killed = time.monotonic()
    survivors = [org for org in PARTIES if org != victim]
    for org in survivors:
        wait_until(lambda org=org: named_by(cast[org], task, victim), f"{org} names {victim}", NAMED_SECONDS)
    assert time.monotonic() - killed < NAMED_SECONDS
    revive(cast, victim)
    finish(cast, task)
    settled_once(cast, sources, task, before)


def settled_once(cast, sources, task: str, before: dict) -> None:
    """The task is settled, paid once whatever the number of attempts, and its figures are those of the clear."""
    wait_until(lambda: cast[WEATHER].ask("task", task=task)["status"] == "settled", "the task settles")
    after = conserved(cast)
    # 40 points, of which 5 % go to the coordinator.
    assert after[AIRLINE] - before[AIRLINE] == PRICE_FLIGHTS - 2
    assert after[REGULATOR] - before[REGULATOR] == 2
    assert after[WEATHER] == before[WEATHER]
    table = cast[WEATHER].ask("result", task=task, step="statistics")["tables"]["result"]
    rows = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]}
    for group, (count, mean, variance) in expected_statistics(sources).items():
        assert rows[group]["count"] == count
        assert rows[group]["mean"] == pytest.approx(mean, rel=1e-9)
        assert rows[group]["variance"] == pytest.approx(variance, rel=1e-9)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", PARTIES)
def test_a_node_killed_once_it_has_reported_the_last_step_costs_nobody_anything(world, victim) -> None:
    """From here on the others may finish without it, or fail and name it: both end in one payment."""
    cast, sources = world
    before = conserved(cast)
    task = run_until(cast, victim, "statistics", "reported")
    cast[victim].kill()
    revive(cast, victim)
    finish(cast, task)
    settled_once(cast, sources, task, before)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", [WEATHER, AIRLINE])
def test_a_node_killed_before_it_accepts_is_named(world, victim) -> None:
    cast, _sources = world
    if victim == WEATHER:  # the proposer: it dies as soon as its proposal is on the ledger
        task = cast[WEATHER].ask("run", workflow=workflow(), wait=False)["task"]
        cast[WEATHER].kill()
    else:
        cast[AIRLINE].kill()
        task = cast[WEATHER].ask("run", workflow=workflow(), wait=False)["task"]
    wait_until(lambda: named_by(cast[REGULATOR], task, victim), f"the coordinator names {victim}", NAMED_SECONDS)
    revive(cast, victim)
    wait_until(lambda: victim in cast[REGULATOR].ask("task", task=task)["accepted"], "the node accepts late", 40)
    finish(cast, task)
    conserved(cast)
