"""Settlement, certificates and disputes against a naive model: words, numbers and fractions.

After every step: points are conserved and equal the model's; a frozen escrow has paid nothing; a revoked certificate is
revoked for ever; no arbiter is a party; what a task paid and gave back is what its uses cost.
"""

from __future__ import annotations

from fractions import Fraction

import hypothesis.strategies as st
from deal_world import BUYER, COORDINATOR, EVERYONE, SELLERS, Deals, formula
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple
from hypothesis.stateful import rule as step

from fondaco.ledger.contracts.certificates import messages as c
from fondaco.ledger.contracts.disputes import messages as d
from fondaco.ledger.contracts.points.keys import FUND
from fondaco.ledger.contracts.tasks import messages as t

PRICES = dict(zip(SELLERS, (30, 20, 7), strict=True))
ALLOTMENT, ARBITERS, BLOCKS = 10_000, 3, 6
SHARES = st.sampled_from(
    [(9_500, 0, 500, 0), (10_000, 0, 0, 0), (7_000, 1_000, 1_000, 1_000), (0, 0, 0, 10_000), (3_333, 3_333, 3_333, 1)]
)


def naive_split(total: int, parts: list[tuple[str, Fraction]]) -> dict[str, int]:
    """Largest remainders, by counting out point by point."""
    given = [int(total * part) for _name, part in parts]
    while sum(given) < total:
        lacks = [total * part - got for (_name, part), got in zip(parts, given, strict=True)]
        at = max(range(len(parts)), key=lambda i: (lacks[i], -i))
        given[at] += 1
    found: dict[str, int] = {}
    for (name, _part), got in zip(parts, given, strict=True):
        found[name] = found.get(name, 0) + got
    return found


class Dealing(RuleBasedStateMachine):
    tasks = Bundle("tasks")

    @initialize()
    def begin(self) -> None:
        self.deals = Deals(prices=tuple(PRICES.values()), allotment=ALLOTMENT, rules=d.Rules(arbiters=3, blocks=BLOCKS))
        self.world = self.deals.world
        self.rule = formula()
        self.balance = dict.fromkeys(EVERYONE, ALLOTMENT)
        self.task: dict[bytes, dict] = {}
        self.revoked: dict[bytes, tuple] = {}

    def attempt(self, allowed: bool, msg, *signers: bytes) -> bool:
        if allowed:
            self.world.send(msg, *signers)
            self.after_block()
        else:
            self.world.refused(msg, *signers)
        return allowed

    def after_block(self) -> None:
        """The model's end of the block that has just been made."""
        height = self.world.height - 1
        for known in self.task.values():
            if known["status"] == "held" and height >= known["until"]:
                self.pay(known, 0)
            if known["status"] == "opened" and height > known["since"]:
                known.update(status="voting", deadline=height + BLOCKS)
            elif known["status"] == "voting" and height >= known["deadline"]:
                self.judge(known)

    def judge(self, known: dict) -> None:
        votes = list(known["votes"].values())
        if len(votes) * 2 <= ARBITERS:
            self.pay(known, 0)
            return
        refunds = sorted(refund for refund, _revoke in votes)
        middle = refunds[1] if len(refunds) == 3 else refunds[0]
        self.pay(known, middle)
        known["void"] = sum(1 for _refund, revoke in votes if revoke) * 2 > len(votes)

    def pay(self, known: dict, refund: int) -> None:
        rule, sellers = known["rule"], known["sellers"]
        total = sum(PRICES[seller] for seller in sellers)
        back = total * refund // 10_000
        parts = [(s, Fraction(rule.providers, 10_000) * Fraction(PRICES[s], total)) for s in sellers]
        parts += [(s, Fraction(rule.participants, 10_000 * len(sellers))) for s in sorted(sellers)]
        parts += [(COORDINATOR, Fraction(rule.coordinator, 10_000)), (FUND, Fraction(rule.fund, 10_000))]
        for name, points in naive_split(total - back, parts).items():
            self.balance[name] = self.balance.get(name, 0) + points
        self.balance[BUYER] += back
        known.update(status="paid", back=back, total=total)

    @step(shares=SHARES, window=st.sampled_from([0, 0, 1, 3, 8]))
    def vote_formula(self, shares, window: int) -> None:
        self.rule = formula(*shares, window=window)
        self.deals.set_formula(self.rule)

    @step(target=tasks, sellers=st.sets(st.sampled_from(SELLERS), min_size=1), settle=st.booleans())
    def run(self, sellers: set[str], settle: bool):
        names = tuple(sorted(sellers))
        if self.balance[BUYER] < sum(PRICES[name] for name in names):
            return multiple()
        before = self.world.height
        task = self.deals.finished(*names)
        for height in range(before + 1, self.world.height + 1):  # the blocks that it took
            self.catch_up(height)
        self.balance[BUYER] -= sum(PRICES[name] for name in names)
        self.task[task] = {"sellers": names, "status": "finished", "votes": {}, "void": False}
        if settle:
            self.settle(task)
        return task

    def catch_up(self, height: int) -> None:
        now, self.world.height = self.world.height, height
        self.after_block()
        self.world.height = now

    @step(task=tasks)
    def settle(self, task: bytes) -> None:
        known = self.task[task]
        allowed = known["status"] == "finished"
        if allowed:
            known.update(rule=self.rule, until=self.world.height + self.rule.window)
            known["status"] = "held"
        self.attempt(allowed, t.Settle(task=task), self.deals.key(COORDINATOR, "node"))

    @step(task=tasks, by=st.sampled_from([BUYER, *SELLERS, COORDINATOR, "other-a"]))
    def dispute(self, task: bytes, by: str) -> None:
        known = self.task[task]
        party = by in (BUYER, COORDINATOR, *known["sellers"])
        allowed = party and known["status"] in ("finished", "held")
        if allowed:
            known.setdefault("rule", self.rule)
            known.update(status="opened", since=self.world.height)
        self.attempt(allowed, d.Open(task=task, cause="it is wrong"), self.deals.key(by, "analyst"))

    @step(task=tasks, by=st.sampled_from(EVERYONE), refund=st.sampled_from([0, 1, 3_333, 10_000]), revoke=st.booleans())
    def vote(self, task: bytes, by: str, refund: int, revoke: bool) -> None:
        known = self.task[task]
        found = self.world.query("disputes/dispute", id=task)
        arbiters = [] if found is None else found["arbiters"]
        allowed = known["status"] == "voting" and by in arbiters and by not in known["votes"]
        msg = d.CastVote(by=by, task=task, refund=refund, revoke=revoke)
        if allowed:
            known["votes"][by] = (refund, revoke)
            if len(known["votes"]) == ARBITERS:
                self.judge(known)
        self.attempt(allowed, msg, self.deals.key(by, "governor"))

    @step(task=tasks, data=st.data(), refund=st.sampled_from([0, 5_000, 10_000]), revoke=st.booleans())
    def arbiter_votes(self, task: bytes, data, refund: int, revoke: bool) -> None:
        found = self.world.query("disputes/dispute", id=task)
        if found is not None and found["arbiters"]:
            self.vote(task, data.draw(st.sampled_from(found["arbiters"])), refund, revoke)

    @step(
        target=tasks,
        sellers=st.sets(st.sampled_from(SELLERS), min_size=1),
        settle=st.booleans(),
        count=st.integers(0, ARBITERS),
        votes=st.lists(st.tuples(st.sampled_from([0, 3_333, 10_000]), st.booleans()), min_size=3, max_size=3),
        wait=st.booleans(),
    )
    def quarrel(self, sellers: set[str], settle: bool, count: int, votes: list[tuple[int, bool]], wait: bool):
        """A dispute from the task to the votes, and perhaps to its deadline."""
        task = self.run(sellers, settle)
        if not isinstance(task, bytes):
            return task
        self.dispute(task, BUYER)
        self.pass_blocks(1)
        found = self.world.query("disputes/dispute", id=task)
        for arbiter, (refund, revoke) in zip(found["arbiters"] if found else (), votes[:count], strict=False):
            self.vote(task, arbiter, refund, revoke)
        if wait:
            self.pass_blocks(BLOCKS)
        return task

    @step(task=tasks, by=st.sampled_from(SELLERS))
    def revoke_certificate(self, task: bytes, by: str) -> None:
        mine = [
            row
            for row in self.world.query("certificates/certificates")
            if row["task"] == task and row["provider"] == by
        ]
        for row in mine:
            msg = c.RevokeCertificate(certificate=row["id"], cause="it was misused")
            self.attempt(row["status"] == "valid", msg, self.deals.key(by, "reviewer"))

    @step(count=st.integers(1, 4))
    def pass_blocks(self, count: int) -> None:
        for _ in range(count):
            self.world.end_block()
            self.after_block()

    @invariant()
    def points_are_conserved(self) -> None:
        if not hasattr(self, "world"):
            return
        self.deals.conserved()
        assert {name: points for name, points in self.deals.balances().items() if name != FUND or points} == {
            name: points for name, points in self.balance.items() if name != FUND or points
        }

    @invariant()
    def each_task_pays_what_its_uses_cost_and_frozen_ones_nothing(self) -> None:
        if not hasattr(self, "world"):
            return
        held = {row["id"]: row["amount"] for row in self.world.query("points/escrows")}
        for row in self.world.query("settlement/settlements"):
            known = self.task[row["task"]]
            paid = sum(payout["amount"] for payout in row["payouts"])
            assert paid + row["refunded"] == row["total"] == sum(PRICES[name] for name in known["sellers"])
            shown = {"opened": "frozen", "voting": "frozen"}.get(known["status"], known["status"])
            assert row["status"] == shown
            escrow = held[derive_escrow(row["task"])]
            assert escrow == (0 if shown == "paid" else row["total"])

    @invariant()
    def a_revoked_certificate_never_becomes_valid_again(self) -> None:
        if not hasattr(self, "world"):
            return
        rows = {row["id"]: row for row in self.world.query("certificates/certificates")}
        for made, before in self.revoked.items():
            assert (rows[made]["status"], rows[made]["revoked"], rows[made]["by"]) == before
        for made, row in rows.items():
            if row["status"] == "revoked":
                self.revoked[made] = (row["status"], row["revoked"], row["by"])
            else:
                assert not self.task[row["task"]]["void"]
        settled = sum(len(known["sellers"]) for known in self.task.values() if known["status"] != "finished")
        assert len(rows) == settled

    @invariant()
    def no_arbiter_is_a_party_and_every_dispute_ends_in_time(self) -> None:
        if not hasattr(self, "world"):
            return
        for row in self.world.query("disputes/disputes"):
            known = self.task[row["task"]]
            parties = {BUYER, COORDINATOR, *known["sellers"]}
            assert not parties & set(row["arbiters"])
            assert len(row["arbiters"]) == (0 if known["status"] == "opened" else ARBITERS)
            assert set(row["silent"]) == (
                set(row["arbiters"]) - set(known["votes"]) if row["status"] == "ended" else set()
            )
            if row["status"] == "voting":
                assert self.world.height <= row["deadline"]


def derive_escrow(task: bytes) -> bytes:
    from fondaco.ledger.contracts.kit import derive

    return derive("settlement", task)


Dealing.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestDealing = Dealing.TestCase
