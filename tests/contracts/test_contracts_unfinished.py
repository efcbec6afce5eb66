"""A task that comes to no result though data were used: from version 2 on its cost is held, and may be disputed."""

from __future__ import annotations

import pytest
from deal_world import BUYER, COORDINATOR, EVERYONE, Deals, formula

from fondaco.ledger.contracts.disputes import messages as m
from fondaco.ledger.contracts.governance import messages as v
from fondaco.ledger.contracts.tasks import messages as t
from fondaco.ledger.contracts.tasks.handlers import task as task_record

SELLER, OTHER = "seller-a", "seller-b"
OPEN = "the provider began and sent nothing"


def made(*, version: int = 2, window: int = 0) -> Deals:
    """A consortium under these rules, where a step costs its initiator 6 points."""
    deals = Deals(rules=m.Rules(arbiters=3, blocks=20))
    deals.set_formula(formula(window=window))
    deals.world.pass_vote(v.Prices(prices={"psi.intersection": 6}), *EVERYONE[:7])
    deals.world.version = version
    return deals


def begun(deals: Deals, *sellers: str, fails: bool = True) -> bytes:
    """A task whose first seller has begun, and which then failed, or stands still."""
    task = deals.running(*(sellers or (SELLER,)))
    deals.world.send(t.Begin(task=task, attempt=1, step=f"with-{SELLER}"), deals.key(SELLER, "node"))
    if fails:
        cause = t.Fail(task=task, attempt=1, step=f"with-{SELLER}", party=SELLER, reason="silent", cause="no answer")
        deals.world.send(cause, deals.key(BUYER, "node"))
    return task


def abandon(deals: Deals, task: bytes) -> None:
    deals.world.send(t.Abandon(task=task), deals.key(COORDINATOR, "node"))


def over(deals: Deals) -> None:
    """The deadline passes."""
    deals.world.time += 90_000


def gained(deals: Deals, before: dict[str, int]) -> dict[str, int]:
    after = deals.balances()
    deals.conserved()
    return {name: after[name] - before[name] for name in before if after[name] != before[name]}


def judge(deals: Deals, task: bytes, refund: int) -> None:
    """The arbiters are drawn, and decide so."""
    deals.blocks(1)
    arbiters = deals.world.query("disputes/dispute", id=task)["arbiters"]
    assert len(arbiters) == 3
    for arbiter in arbiters:
        vote = m.CastVote(by=arbiter, task=task, refund=refund, revoke=True)
        deals.world.send(vote, deals.key(arbiter, "governor"))


def status(deals: Deals, task: bytes) -> str:
    return deals.world.query("settlement/settlement", id=task)["status"]


PAID = {SELLER: 29, COORDINATOR: 1 + 6}


# -- by the first rules -------------------------------------------------------------------------------------------


def test_by_the_first_rules_it_is_paid_at_once_and_not_disputed() -> None:
    deals = made(version=1, window=10)
    before = deals.balances()
    task = begun(deals)
    dispute = m.Open(task=task, cause=OPEN)
    deals.world.refused(dispute, deals.key(BUYER, "analyst"))
    over(deals)
    deals.world.refused(dispute, deals.key(BUYER, "analyst"))
    abandon(deals, task)
    deals.world.refused(dispute, deals.key(BUYER, "analyst"))
    assert gained(deals, before) == PAID | {BUYER: -36}
    deals.world.version = 2
    deals.world.refused(dispute, deals.key(BUYER, "analyst"))
    assert deals.world.query("settlement/settlement", id=task) is None


# -- held for the window ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expires", [False, True])
def test_what_it_owes_is_held_for_the_window_and_then_paid(expires: bool) -> None:
    deals = made(window=10)
    task = begun(deals, fails=not expires)
    before = deals.balances()
    if expires:
        over(deals)
        deals.world.send(t.ExpireTask(task=task), deals.key(SELLER, "node"))
    else:
        abandon(deals, task)
    assert gained(deals, before) == {}
    assert status(deals, task) == "held"
    deals.blocks(11)
    assert gained(deals, before) == PAID
    deals.world.refused(m.Open(task=task, cause=OPEN), deals.key(BUYER, "analyst"))


def test_without_a_window_it_is_paid_at_once_as_before() -> None:
    deals = made()
    before = deals.balances()
    task = begun(deals)
    abandon(deals, task)
    assert gained(deals, before) == PAID | {BUYER: -36}
    assert status(deals, task) == "paid"
    deals.world.refused(m.Open(task=task, cause=OPEN), deals.key(BUYER, "analyst"))


def test_what_nobody_began_comes_back_and_is_in_no_settlement() -> None:
    deals = made(window=10)
    task = begun(deals, SELLER, OTHER)
    before = deals.balances()
    abandon(deals, task)
    found = deals.world.query("settlement/settlement", id=task)
    assert [(use["provider"], use["price"]) for use in found["uses"]] == [(SELLER, 30)]
    assert (found["total"], found["service"], found["participants"]) == (30 + 12, 12, [])
    left = {row["provider"]: row["uses_left"] for row in deals.world.query("grants/grants")}
    assert (left[SELLER], left[OTHER]) == (0, 1)
    deals.blocks(11)
    assert gained(deals, before) == {SELLER: 29, COORDINATOR: 1 + 12}


# -- disputed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refund", "paid"),
    [(10_000, {BUYER: 36}), (0, PAID), (5_000, {BUYER: 15 + 3, SELLER: 14, COORDINATOR: 1 + 3})],
)
@pytest.mark.parametrize("by", [BUYER, SELLER, COORDINATOR])
def test_within_the_window_any_party_disputes_it_and_arbiters_decide(
    refund: int, paid: dict[str, int], by: str
) -> None:
    """That they would revoke certificates means nothing: an unfinished task has none."""
    deals = made(window=10)
    task = begun(deals)
    abandon(deals, task)
    before = deals.balances()
    deals.world.send(m.Open(task=task, cause=OPEN), deals.key(by, "analyst"))
    deals.blocks(11)
    assert (status(deals, task), gained(deals, before)) == ("frozen", {})
    deals.world.refused(m.Open(task=task, cause=OPEN), deals.key(BUYER, "analyst"))
    judge(deals, task, refund)
    assert gained(deals, before) == paid
    assert (status(deals, task), deals.world.query("disputes/dispute", id=task)["status"]) == ("paid", "ended")


def test_silent_arbiters_leave_it_paid() -> None:
    """Who received has the output before the provider can report: who wants it back must convince someone."""
    deals = made()
    task = begun(deals)
    before = deals.balances()
    deals.world.send(m.Open(task=task, cause=OPEN), deals.key(BUYER, "analyst"))
    deals.blocks(25)
    assert gained(deals, before) == PAID
    assert deals.world.query("disputes/dispute", id=task)["outcome"] == "silence"


def test_a_failed_task_is_disputed_in_place_of_abandoning_it_by_who_proposed_it() -> None:
    deals = made()
    task = begun(deals)
    before = deals.balances()
    dispute = m.Open(task=task, cause=OPEN)
    for other in (SELLER, COORDINATOR):  # another attempt may still come to a result
        told = deals.world.refused(dispute, deals.key(other, "analyst"))
        assert f"until its deadline {BUYER}, who proposed it, may try again or dispute it" in told.cause
        assert told.remedy == "dispute it once its deadline is over, or once it was abandoned"
    deals.world.send(dispute, deals.key(BUYER, "analyst"))
    assert task_record(deals.world.store, task).status == "abandoned"
    deals.world.refused(t.Run(task=task, attempt=2), deals.key(COORDINATOR, "node"))
    deals.world.refused(t.Abandon(task=task), deals.key(COORDINATOR, "node"))
    deals.world.refused(t.Settle(task=task), deals.key(BUYER, "node"))
    judge(deals, task, 10_000)
    assert gained(deals, before) == {BUYER: 36}


@pytest.mark.parametrize("by", [BUYER, SELLER, COORDINATOR])
@pytest.mark.parametrize("fails", [False, True])
def test_after_its_deadline_any_party_disputes_what_stands_still(fails: bool, by: str) -> None:
    deals = made()
    task = begun(deals, fails=fails)
    dispute = m.Open(task=task, cause=OPEN)
    if not fails:
        told = deals.world.refused(dispute, deals.key(by, "analyst"))
        assert told.cause == "tasks: the task is running"
        assert ("failed" in told.remedy) is (by == BUYER), "who did not propose it cannot dispute it when it has failed"
    over(deals)
    deals.world.refused(dispute, deals.key("other-a", "analyst"))
    before = deals.balances()
    deals.world.send(dispute, deals.key(by, "analyst"))
    assert task_record(deals.world.store, task).status == "expired"
    named = [event.attributes["party"] for event in deals.world.events if event.kind == "missing"]
    assert named == ([] if fails else [BUYER, SELLER])
    assert gained(deals, before) == {}
    judge(deals, task, 10_000)
    assert gained(deals, before) == {BUYER: 36}


def test_what_nobody_began_is_not_disputed() -> None:
    deals = made(window=10)
    proposed = deals.propose({SELLER: deals.grant(SELLER)})
    running = deals.running(OTHER)
    over(deals)
    told = deals.world.refused(m.Open(task=running, cause=OPEN), deals.key(OTHER, "analyst"))
    assert (told.cause, told.remedy) == (
        "tasks: no provider has begun: this task costs nothing",
        "leave it: it ends without you",
    )
    for task in (proposed, running):
        deals.world.refused(m.Open(task=task, cause=OPEN), deals.key(BUYER, "analyst"))
        deals.world.send(t.ExpireTask(task=task), deals.key(BUYER, "node"))
        deals.world.refused(m.Open(task=task, cause=OPEN), deals.key(BUYER, "analyst"))
    deals.conserved()


def test_an_expulsion_ends_tasks_so_too() -> None:
    deals = made(window=10)
    task = begun(deals, fails=False)
    deals.world.pass_vote(v.Expel(organisation=SELLER, forfeit=False), BUYER, OTHER, *EVERYONE[4:])
    assert status(deals, task) == "held"
    deals.world.send(m.Open(task=task, cause=OPEN), deals.key(BUYER, "analyst"))
    before = deals.balances()
    judge(deals, task, 10_000)
    assert gained(deals, before) == {BUYER: 36}
