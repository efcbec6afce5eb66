"""What a use is, seen by who would take it twice, not pay for it, or keep another's points for ever."""

from __future__ import annotations

import dataclasses

import pytest
from contracts_world import publication, rule, terms
from deal_world import BUYER, COORDINATOR, EVERYONE, FOREVER, Deals, formula, path_of

from fondaco.errors import ContractError
from fondaco.ledger.contracts.catalog import messages as c
from fondaco.ledger.contracts.governance import messages as v
from fondaco.ledger.contracts.grants import messages as g
from fondaco.ledger.contracts.grants.handlers import MAX_SECONDS, grant_id
from fondaco.ledger.contracts.identity import messages as i
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.tasks import messages as t
from fondaco.ledger.contracts.tasks.handlers import task as task_record

SELLER = "seller-a"
PATH = path_of(SELLER)
PARTIES = (BUYER, SELLER, COORDINATOR)


@pytest.fixture
def deals() -> Deals:
    return Deals()


def asking(**changes) -> g.RequestUse:
    fields = {
        "items": (g.Item(path=PATH, version=1, columns=("k",)),),
        "operations": ("psi.intersection",),
        "purpose": "study",
        "parties": PARTIES,
        "receivers": (BUYER,),
        "uses": 1,
        "expires": FOREVER,
        "max_price": 1_000,
    }
    return g.RequestUse(**(fields | changes))


def ask(deals: Deals, by: str = BUYER, **changes) -> bytes:
    """The id of a request."""
    return derive("request", deals.world.send(asking(**changes), deals.key(by, "analyst")))


def answers(deals: Deals, request: bytes) -> tuple[str, ...]:
    return tuple(next(row for row in deals.world.query("grants/requests") if row["id"] == request)["answers"])


def found(deals: Deals, grant: bytes) -> dict:
    return next(row for row in deals.world.query("grants/grants") if row["id"] == grant)


def unruled(deals: Deals, *rules: c.Rule, **changes) -> None:
    """Give the seller's dataset these default permissions and no others."""
    offered = terms(price=30, rules=rules, **changes)
    msg = c.Update(path=PATH, version=1, title="rows", description="", terms=offered)
    deals.world.send(msg, deals.key(SELLER, "steward"))


def start(deals: Deals, task: bytes, *sellers: str, attempt: int = 1) -> None:
    if attempt == 1:
        for party in (BUYER, *sellers, COORDINATOR):
            deals.world.send(t.Accept(task=task), deals.key(party, "node"))
    deals.world.send(t.Run(task=task, attempt=attempt), deals.key(COORDINATOR, "node"))


def begin(task: bytes, seller: str = SELLER, attempt: int = 1) -> t.Begin:
    return t.Begin(task=task, attempt=attempt, step=f"with-{seller}")


def failing(task: bytes, attempt: int = 1) -> t.Fail:
    return t.Fail(task=task, attempt=attempt, step=f"with-{SELLER}", party=SELLER, reason="silent", cause="no answer")


# -- a use is spent once ------------------------------------------------------------------------------------------


def test_a_use_does_not_come_back_by_the_word_of_who_has_the_output(deals) -> None:
    """Three rounds of compute, Fail before the provider's report, Abandon: there is one, and it is paid for."""
    grant = deals.grant(SELLER)
    before = deals.balances()
    task = deals.propose({SELLER: grant})
    start(deals, task, SELLER)
    deals.world.send(begin(task), deals.key(SELLER, "node"))
    deals.world.send(failing(task), deals.key(BUYER, "node"))  # it holds the output by now
    deals.world.send(t.Abandon(task=task), deals.key(BUYER, "analyst"))
    gained = {name: deals.balances()[name] - before[name] for name in before}
    assert {name: points for name, points in gained.items() if points} == {SELLER: 29, COORDINATOR: 1}
    assert (found(deals, grant)["uses_left"], found(deals, grant)["status"]) == (0, "exhausted")
    with pytest.raises(ContractError, match="is exhausted"):
        deals.propose({SELLER: grant})
    deals.conserved()


def test_a_use_that_its_provider_did_not_begin_comes_back(deals) -> None:
    grant = deals.grant(SELLER)
    for _round in range(3):
        task = deals.propose({SELLER: grant})
        start(deals, task, SELLER)
        deals.world.send(failing(task), deals.key(BUYER, "node"))
        deals.world.refused(begin(task), deals.key(SELLER, "node"))  # so its engine does not start
        deals.world.send(t.Abandon(task=task), deals.key(BUYER, "analyst"))
        assert found(deals, grant)["uses_left"] == 1
    deals.conserved()


def test_a_use_begun_in_an_earlier_attempt_stays_spent(deals) -> None:
    task = deals.propose({SELLER: deals.grant(SELLER)})
    start(deals, task, SELLER)
    deals.world.send(begin(task), deals.key(SELLER, "node"))
    deals.world.send(failing(task), deals.key(BUYER, "node"))
    start(deals, task, SELLER, attempt=2)
    deals.world.send(begin(task, attempt=2), deals.key(SELLER, "node"))
    assert task_record(deals.world.store, task).begun == (SELLER,)
    deals.world.time += 90_000
    deals.world.send(t.ExpireTask(task=task), deals.key(BUYER, "node"))
    assert deals.balances()[SELLER] == 10_000 + 29


def test_only_who_brings_data_under_a_grant_begins_and_only_while_its_attempt_runs(deals) -> None:
    task = deals.propose({SELLER: deals.grant(SELLER)})
    deals.world.refused(begin(task), deals.key(SELLER, "node"))
    start(deals, task, SELLER)
    for org, role in ((BUYER, "node"), (COORDINATOR, "node"), ("seller-b", "node"), (SELLER, "analyst")):
        deals.world.refused(begin(task), deals.key(org, role))
    deals.world.refused(begin(task, attempt=2), deals.key(SELLER, "node"))
    deals.world.refused(dataclasses.replace(begin(task), step="other"), deals.key(SELLER, "node"))
    deals.finish(task)
    deals.world.refused(begin(task), deals.key(SELLER, "node"))


def test_nobody_fails_an_attempt_that_all_have_reported(deals) -> None:
    task = deals.running(SELLER)
    for party in (BUYER, SELLER):
        msg = t.Report(task=task, attempt=1, step=f"with-{SELLER}", outcome=bytes(32))
        deals.world.send(msg, deals.key(party, "node"))
    for party in PARTIES:
        deals.world.refused(failing(task), deals.key(party, "node"))


def test_each_provider_is_paid_for_its_own_data_and_the_coordinator_for_its_service(deals) -> None:
    deals.world.pass_vote(v.Prices(prices={"psi.intersection": 6}), *EVERYONE[:7])
    before = deals.balances()
    task = deals.running("seller-a", "seller-b")
    report = t.Report(task=task, attempt=1, step="with-seller-b", outcome=bytes(32))
    deals.world.send(report, deals.key(BUYER, "node"))  # the buyer's word pays nobody
    deals.world.send(begin(task, "seller-b"), deals.key("seller-b", "node"))
    deals.world.send(failing(task), deals.key(COORDINATOR, "node"))
    deals.world.send(t.Abandon(task=task), deals.key(COORDINATOR, "node"))
    after = deals.balances()
    gained = {name: after[name] - before[name] for name in before if after[name] != before[name]}
    # The first grant's use is back in it, its 30 points in escrow; of seller-b's 20 one is the coordinator's share.
    assert gained == {BUYER: -30 - 20 - 12, "seller-b": 19, COORDINATOR: 1 + 12}
    deals.conserved()


def test_a_begun_use_is_divided_as_the_formula_says_whoever_ends_the_task(deals) -> None:
    deals.set_formula(formula(providers=8_000, coordinator=1_000, fund=1_000))
    task = deals.running(SELLER)
    deals.world.send(begin(task), deals.key(SELLER, "node"))
    deals.world.send(failing(task), deals.key(BUYER, "node"))
    deals.world.send(t.Abandon(task=task), deals.key(BUYER, "analyst"))
    balances = deals.balances()
    assert (balances[SELLER], balances[COORDINATOR], balances["@fund"]) == (10_024, 10_003, 3)


# -- nothing stays in escrow for ever ------------------------------------------------------------------------------


def test_what_nobody_answers_goes_back_when_its_time_is_over(deals) -> None:
    unruled(deals)
    request = ask(deals, expires=deals.world.time + 100)
    assert deals.balances()[BUYER] == 10_000 - 30
    deals.world.time += 99
    deals.world.end_block()
    assert answers(deals, request) == ("pending",)
    deals.world.time += 1
    deals.world.end_block()
    assert answers(deals, request) == ("expired",)
    assert deals.balances()[BUYER] == 10_000
    late = g.Review(request=request, item=0, approve=True, reason="", uses=1, expires=FOREVER)
    deals.world.refused(late, deals.key(SELLER, "reviewer"))


def test_a_request_is_for_five_years_at_most(deals) -> None:
    analyst, now = deals.key(BUYER, "analyst"), deals.world.time
    for expires in (2**63 - 1, now + MAX_SECONDS + 1, now, 0, -1):
        deals.world.refused(asking(expires=expires), analyst)
    deals.world.send(asking(expires=now + MAX_SECONDS), analyst)


def test_a_request_is_withdrawn_without_the_very_key_that_asked(deals) -> None:
    unruled(deals)
    first, second = ask(deals), ask(deals)
    for org, role in ((SELLER, "analyst"), (SELLER, "admin"), (BUYER, "steward"), (BUYER, "node")):
        deals.world.refused(g.WithdrawRequest(request=first), deals.key(org, role))
    deals.world.send(i.Revoke(organisation=BUYER, key=deals.key(BUYER, "analyst")), deals.key(BUYER, "admin"))
    deals.world.send(g.WithdrawRequest(request=first), deals.key(BUYER, "admin"))
    other = b"\x0d" * 32
    spec = i.UserSpec(key=other, roles=("analyst",), seal_key=b"\x09" * 32)
    deals.world.send(i.PutUser(organisation=BUYER, user=spec, replaces=None), deals.key(BUYER, "admin"), other)
    deals.world.send(g.WithdrawRequest(request=second), other)
    deals.world.refused(g.WithdrawRequest(request=second), other)
    assert deals.balances()[BUYER] == 10_000


def test_a_holder_gives_back_what_it_can_no_longer_use(deals) -> None:
    grant = deals.grant(SELLER, uses=3)
    deals.world.send(c.Withdraw(path=PATH, version=1), deals.key(SELLER, "steward"))
    assert deals.balances()[BUYER] == 10_000 - 90
    for org, role in ((SELLER, "analyst"), (SELLER, "reviewer"), (BUYER, "steward")):
        deals.world.refused(g.GiveBack(grant=grant), deals.key(org, role))
    deals.world.send(g.GiveBack(grant=grant), deals.key(BUYER, "analyst"))
    deals.world.refused(g.GiveBack(grant=grant), deals.key(BUYER, "analyst"))
    assert deals.balances()[BUYER] == 10_000
    assert found(deals, grant)["status"] == "returned"


# -- default permissions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"parties": (*PARTIES, "other-a")},
        {"parties": (*PARTIES, "other-a"), "receivers": ("other-a",)},
        {"parties": (BUYER, SELLER)},
        {"parties": PARTIES},
    ],
)
def test_a_default_permission_binds_all_who_take_part_help_or_learn(deals, changes) -> None:
    unruled(deals, rule(organisations=(BUYER, COORDINATOR), until=FOREVER))
    covered = all(name in PARTIES for name in changes["parties"])
    assert answers(deals, ask(deals, **changes)) == ("granted" if covered else "pending",)


def test_a_default_permission_gives_an_organisation_its_uses_once_over_all_requests(deals) -> None:
    unruled(deals, rule(uses=3, until=FOREVER))
    given = [answers(deals, ask(deals, uses=uses)) for uses in (2, 2, 1, 1)]
    assert given == [("granted",), ("pending",), ("granted",), ("pending",)]
    other = ask(deals, "other-a", parties=("other-a", SELLER), receivers=("other-a",), uses=3)
    assert answers(deals, other) == ("granted",)  # each organisation has its own


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"until": FOREVER}, {"expires": FOREVER + 1}),  # the grant would outlive the permission
        ({"until": 1_800_000_050}, {"expires": 1_800_000_200}),
        ({"columns": ("v",), "until": FOREVER}, {}),
        ({"operations": ("mpc.statistics",), "until": FOREVER}, {}),
        ({"purposes": ("other",), "until": FOREVER}, {}),
    ],
)
def test_beyond_a_default_permission_a_reviewer_decides(deals, changes, asked) -> None:
    unruled(deals, rule(**changes))
    assert answers(deals, ask(deals, **asked)) == ("pending",)


def test_a_default_permission_that_is_over_grants_nothing(deals) -> None:
    now = deals.world.time
    unruled(deals, rule(until=now + 50))
    assert answers(deals, ask(deals, expires=now + 50)) == ("granted",)
    deals.world.time += 50
    assert answers(deals, ask(deals, expires=now + 51)) == ("pending",)


# -- hand-over -----------------------------------------------------------------------------------------------------


def hand_over(deals: Deals, target: str = "other-a") -> None:
    msg = c.HandOver(path=PATH, target=target)
    deals.world.send(msg, deals.key(SELLER, "admin"), deals.key(target, "admin"))


def test_a_task_does_not_run_on_data_that_were_handed_over_since(deals) -> None:
    grant = deals.grant(SELLER)
    task = deals.propose({SELLER: grant})
    for party in PARTIES:
        deals.world.send(t.Accept(task=task), deals.key(party, "node"))
    hand_over(deals)
    refusal = deals.world.refused(t.Run(task=task, attempt=1), deals.key(COORDINATOR, "node"))
    assert "other-a's now" in refusal.cause
    deals.world.send(g.GiveBack(grant=grant), deals.key(BUYER, "analyst"))
    assert deals.balances()[BUYER] == 10_000


@pytest.mark.parametrize(("by", "allowed"), [("other-a", True), (SELLER, True), ("other-b", False), (BUYER, False)])
def test_the_new_owner_ends_grants_of_the_old_one(deals, by, allowed) -> None:
    grant = deals.grant(SELLER)
    hand_over(deals)
    msg = g.RevokeGrant(grant=grant, reason="ours now")
    if allowed:
        deals.world.send(msg, deals.key(by, "reviewer"))
        assert deals.balances()[BUYER] == 10_000
    else:
        deals.world.refused(msg, deals.key(by, "reviewer"))


def test_what_was_asked_before_a_hand_over_can_be_taken_back(deals) -> None:
    unruled(deals)
    request = ask(deals)
    hand_over(deals)
    review = g.Review(request=request, item=0, approve=True, reason="", uses=1, expires=FOREVER)
    for owner in (SELLER, "other-a"):
        deals.world.refused(review, deals.key(owner, "reviewer"))
    deals.world.send(g.WithdrawRequest(request=request), deals.key(BUYER, "analyst"))
    assert deals.balances()[BUYER] == 10_000


def test_data_that_were_handed_over_are_asked_of_and_granted_by_the_new_owner(deals) -> None:
    hand_over(deals)
    parties = (BUYER, "other-a", COORDINATOR)
    request = ask(deals, parties=parties)
    assert found(deals, grant_id(request, 0))["provider"] == "other-a"
    deals.world.send(publication(PATH, version=2), deals.key("other-a", "steward"))
