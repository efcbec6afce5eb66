"""Disputes: who may open, judge and put evidence; the money waits; every ending is defined, silence too."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from deal_world import BUYER, COORDINATOR, EVERYONE, OTHERS, SELLERS, Deals, formula
from hypothesis import given

from fondaco.errors import ContractError
from fondaco.ledger.contracts.certificates import messages as c
from fondaco.ledger.contracts.disputes import handlers as disputes
from fondaco.ledger.contracts.disputes import messages as m
from fondaco.ledger.contracts.governance import messages as governance
from fondaco.ledger.contracts.identity import messages as i
from fondaco.ledger.contracts.tasks import messages as t

CAUSE = "the rows were of another year"


@pytest.fixture
def deals() -> Deals:
    made = Deals(rules=m.Rules(arbiters=3, blocks=20))
    made.set_formula(formula(window=10))
    return made


def opened(deals: Deals, task: bytes, by: str = BUYER) -> None:
    deals.world.send(m.Open(task=task, cause=CAUSE), deals.key(by, "analyst"))


def record(deals: Deals, task: bytes) -> dict:
    return deals.world.query("disputes/dispute", id=task)


def settlement(deals: Deals, task: bytes) -> dict:
    return deals.world.query("settlement/settlement", id=task)


def judged(deals: Deals, task: bytes, *votes: tuple[int, bool]) -> dict[str, int]:
    """Let arbiters vote so; what balances have changed by since the dispute was opened."""
    opened(deals, task)
    before = deals.balances()
    deals.blocks(1)
    for arbiter, (refund, revoke) in zip(record(deals, task)["arbiters"], votes, strict=False):
        msg = m.CastVote(by=arbiter, task=task, refund=refund, revoke=revoke)
        deals.world.send(msg, deals.key(arbiter, "governor"))
    deals.blocks(25)
    after = deals.balances()
    deals.conserved()
    return {name: after[name] - before[name] for name in before if after[name] != before[name]}


# -- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"arbiters": 0}, {"arbiters": 2}, {"arbiters": 17}, {"blocks": 0}])
def test_rules_that_cannot_decide_are_refused(deals, changes) -> None:
    ctx = deals.world._context(deals.world.store, (), [])
    with pytest.raises(ContractError):
        disputes.set_rules(ctx, m.Rules(**({"arbiters": 3, "blocks": 20} | changes)))


def test_parties_alone_dispute_and_only_what_has_finished(deals) -> None:
    task = deals.running("seller-a")
    msg = m.Open(task=task, cause=CAUSE)
    deals.world.refused(msg, deals.key(BUYER, "analyst"))
    deals.finish(task)
    for org, role in (("other-a", "analyst"), ("seller-b", "reviewer"), (BUYER, "steward"), (BUYER, "node")):
        deals.world.refused(msg, deals.key(org, role))
    for cause in ("", "x" * 501, "two\nlines"):
        deals.world.refused(m.Open(task=task, cause=cause), deals.key(BUYER, "analyst"))
    deals.world.refused(m.Open(task=bytes(32), cause=CAUSE), deals.key(BUYER, "analyst"))


def test_whose_vote_has_no_weight_is_not_drawn(deals) -> None:
    """One institution alone can invite any number of them."""
    body = governance.Weights(weights=dict.fromkeys(OTHERS, 0) | {"seller-c": 0})
    deals.world.pass_vote(body, *EVERYONE[:7])
    task = deals.finished("seller-a")
    opened(deals, task)
    deals.blocks(1)
    assert record(deals, task)["arbiters"] == [SELLERS[1]]


def test_what_was_paid_cannot_be_disputed(deals) -> None:
    deals.set_formula(formula(window=0))
    deals.world.refused(m.Open(task=deals.settled("seller-a"), cause=CAUSE), deals.key(BUYER, "analyst"))
    deals.set_formula(formula(window=2))
    late = deals.settled("seller-a")
    deals.blocks(2)
    deals.world.refused(m.Open(task=late, cause=CAUSE), deals.key(BUYER, "analyst"))


def test_a_task_is_disputed_once(deals) -> None:
    task = deals.settled("seller-a")
    judged(deals, task, (0, False), (0, False), (0, False))
    deals.world.refused(m.Open(task=task, cause=CAUSE), deals.key("seller-a", "reviewer"))


def test_drawn_arbiters_alone_vote_once_and_within_bounds(deals) -> None:
    task = deals.settled("seller-a")
    opened(deals, task)
    deals.world.refused(
        m.CastVote(by="other-a", task=task, refund=0, revoke=False), deals.key("other-a", "governor")
    )  # nobody is drawn yet
    deals.blocks(1)
    arbiter, *_rest = record(deals, task)["arbiters"]
    spare = next(name for name in EVERYONE if name not in record(deals, task)["arbiters"])
    for by in (BUYER, "seller-a", spare):
        deals.world.refused(m.CastVote(by=by, task=task, refund=0, revoke=False), deals.key(by, "governor"))
    for refund in (-1, 10_001):
        msg = m.CastVote(by=arbiter, task=task, refund=refund, revoke=False)
        deals.world.refused(msg, deals.key(arbiter, "governor"))
    msg = m.CastVote(by=arbiter, task=task, refund=0, revoke=False)
    deals.world.refused(msg, deals.key(arbiter, "analyst"))
    deals.world.refused(msg, deals.key(spare, "governor"))
    deals.world.send(msg, deals.key(arbiter, "governor"))
    deals.world.refused(msg, deals.key(arbiter, "governor"))


def test_evidence_is_of_parties_bounded_and_never_doubled(deals) -> None:
    task = deals.settled("seller-a")
    msg = m.PutEvidence(task=task, evidence=b"\1" * 32)
    deals.world.refused(msg, deals.key(BUYER, "analyst"))  # nobody disputes it
    opened(deals, task)
    deals.world.refused(msg, deals.key("other-a", "analyst"))
    deals.world.refused(m.PutEvidence(task=task, evidence=b"short"), deals.key(BUYER, "analyst"))
    for number in range(disputes.MAX_EVIDENCE):
        deals.world.send(m.PutEvidence(task=task, evidence=bytes([number]) * 32), deals.key(BUYER, "analyst"))
    deals.world.refused(m.PutEvidence(task=task, evidence=b"\xff" * 32), deals.key(BUYER, "analyst"))
    deals.world.refused(msg, deals.key("seller-a", "reviewer"))
    deals.world.send(m.PutEvidence(task=task, evidence=b"\xff" * 32), deals.key("seller-a", "reviewer"))
    deals.blocks(25)
    deals.world.refused(m.PutEvidence(task=task, evidence=b"\xfe" * 32), deals.key("seller-a", "reviewer"))


# -- the money waits, and every ending ----------------------------------------------------------------------------


def test_while_a_dispute_is_open_nothing_is_paid(deals) -> None:
    task = deals.settled("seller-a")
    opened(deals, task)
    before = deals.balances()
    deals.blocks(19)  # past the window, and before the deadline
    assert settlement(deals, task)["status"] == "frozen"
    assert deals.balances() == before


def test_a_finished_task_can_be_disputed_where_there_is_no_window(deals) -> None:
    deals.set_formula(formula(window=0))
    task = deals.finished("seller-a")
    before = deals.balances()
    opened(deals, task)
    assert deals.balances() == before
    assert settlement(deals, task)["status"] == "frozen"
    deals.world.refused(t.Settle(task=task), deals.key(COORDINATOR, "node"))


@pytest.mark.parametrize(
    ("votes", "outcome", "moved", "status"),
    [
        (((0, False),) * 3, "payment", {"seller-a": 29, COORDINATOR: 1}, "valid"),
        (((10_000, True),) * 3, "refund", {BUYER: 30}, "revoked"),
        (((0, False), (5_000, False), (10_000, True)), "split", {BUYER: 15, "seller-a": 14, COORDINATOR: 1}, "valid"),
        (((10_000, True), (10_000, True), (0, False)), "refund", {BUYER: 30}, "revoked"),
        (((3_333, True), (0, True)), "payment", {"seller-a": 29, COORDINATOR: 1}, "revoked"),
        (((10_000, True),), "silence", {"seller-a": 29, COORDINATOR: 1}, "valid"),
        ((), "silence", {"seller-a": 29, COORDINATOR: 1}, "valid"),
    ],
)
def test_every_ending_is_defined(deals, votes, outcome, moved, status) -> None:
    task = deals.settled("seller-a")
    assert judged(deals, task, *votes) == moved
    found = record(deals, task)
    assert (found["status"], found["outcome"]) == ("ended", outcome)
    assert found["silent"] == found["arbiters"][len(votes) :]
    (one,) = deals.world.query("certificates/certificates")
    assert one["status"] == status
    assert settlement(deals, task)["refunded"] == moved.get(BUYER, 0)


def test_the_last_vote_ends_it_before_the_deadline(deals) -> None:
    task = deals.settled("seller-a")
    opened(deals, task)
    deals.blocks(1)
    for arbiter in record(deals, task)["arbiters"]:
        deals.world.send(m.CastVote(by=arbiter, task=task, refund=0, revoke=False), deals.key(arbiter, "governor"))
    assert record(deals, task)["status"] == "ended"
    assert record(deals, task)["deadline"] > deals.world.height


def test_a_certificate_that_the_provider_revoked_stays_so_when_arbiters_revoke(deals) -> None:
    task = deals.settled("seller-a")
    (one,) = deals.world.query("certificates/certificates")
    deals.world.send(c.RevokeCertificate(certificate=one["id"], cause="mine"), deals.key("seller-a", "reviewer"))
    judged(deals, task, *[(10_000, True)] * 3)
    (now,) = deals.world.query("certificates/certificates")
    assert (now["by"], now["cause"]) == ("seller-a", "mine")


def test_an_arbiter_whose_governor_is_revoked_is_silent(deals) -> None:
    task = deals.settled("seller-a")
    opened(deals, task)
    deals.blocks(1)
    arbiters = record(deals, task)["arbiters"]
    gone = arbiters[0]
    deals.world.send(i.Revoke(organisation=gone, key=deals.key(gone, "governor")), deals.key(gone, "admin"))
    vote = m.CastVote(by=gone, task=task, refund=0, revoke=False)
    deals.world.refused(vote, deals.key(gone, "governor"))
    deals.blocks(25)
    assert record(deals, task)["silent"] == arbiters


def test_where_nobody_is_left_to_judge_the_formula_pays_at_once() -> None:
    deals = Deals(rules=m.Rules(arbiters=3, blocks=20))
    deals.set_formula(formula(window=10))
    task = deals.settled("seller-a")
    for name in (*OTHERS, "seller-b", "seller-c"):
        found = deals.world.store.data[b"identity/org/" + name.encode()]
        deals.world.store.data[b"identity/org/" + name.encode()] = found.replace(b"factive", b"fexpels")
    opened(deals, task)
    before = deals.balances()
    deals.blocks(1)
    assert (record(deals, task)["outcome"], record(deals, task)["arbiters"]) == ("silence", [])
    assert deals.balances()["seller-a"] == before["seller-a"] + 29


# -- the draw ---------------------------------------------------------------------------------------------------


def dispute_of(parties: tuple[str, ...]) -> m.Dispute:
    return m.Dispute(
        id=b"\5" * 32, task=bytes(32), opener="a", cause="c", since=1, parties=parties, arbiters=(), deadline=0,
        evidence=(), votes=(), status="opened", outcome="", refund=0, revoke=False, silent=(),
    )  # fmt: skip


@given(st.permutations(EVERYONE), st.integers(1, 15), st.binary(min_size=32, max_size=32))
def test_no_arbiter_is_a_party_and_the_order_of_names_does_not_matter(names, count, entropy) -> None:
    parties = (BUYER, "seller-a", COORDINATOR)
    drawn = disputes.draw(dispute_of(parties), tuple(names), count, entropy)
    assert not set(drawn) & set(parties)
    assert len(set(drawn)) == len(drawn) == min(count, len(EVERYONE) - len(parties))
    assert drawn == disputes.draw(dispute_of(parties), tuple(EVERYONE), count, entropy)


def test_each_institution_is_drawn_about_as_often_as_another() -> None:
    able = [name for name in EVERYONE if name not in (BUYER, "seller-a", COORDINATOR)]
    seen = dict.fromkeys(able, 0)
    for number in range(2_000):
        parties = (BUYER, "seller-a", COORDINATOR)
        for name in disputes.draw(dispute_of(parties), EVERYONE, 3, number.to_bytes(32, "big")):
            seen[name] += 1
    expected = 2_000 * 3 / len(able)  # 1,000; a standard deviation is about 22
    assert all(abs(count - expected) < 5 * 25 for count in seen.values()), seen


@given(st.lists(st.tuples(st.integers(0, 10_000), st.booleans()), max_size=15), st.integers(1, 15))
def test_a_minority_of_arbiters_decides_nothing_and_a_majority_always_does(votes, arbiters) -> None:
    cast = tuple(m.Vote(arbiter=str(n), refund=r, revoke=v) for n, (r, v) in enumerate(votes[:arbiters]))
    outcome, refund, revoke = disputes.decide(cast, arbiters)
    if 2 * len(cast) <= arbiters:
        assert (outcome, refund, revoke) == ("silence", 0, False)
        return
    above = sum(1 for vote in cast if vote.refund > refund)
    below = sum(1 for vote in cast if vote.refund < refund)
    assert max(2 * above, 2 * below) <= len(cast)
    assert revoke == (sum(vote.revoke for vote in cast) > len(cast) - sum(vote.revoke for vote in cast))
    assert outcome == {0: "payment", 10_000: "refund"}.get(refund, "split")
