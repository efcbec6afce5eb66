"""Governance against a model that was written without looking: lists, words, and every vote that could still come.

After every block: statuses, votes, heights, weights, seats, parameters and balances are the model's, points are
conserved, the queue of due work holds what the model waits for, and the validator updates are the changes of the seats.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools

import hypothesis.strategies as st
from contracts_world import Org, World
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant
from hypothesis.stateful import rule as step
from test_contracts_governance import naive_outcome

from fondaco.core.messages import kind_of, to_value
from fondaco.ledger.contracts import due
from fondaco.ledger.contracts.governance import messages as g
from fondaco.ledger.contracts.governance.parameters import DEFAULTS
from fondaco.ledger.contracts.kit import VALIDATORS, derive

NAMES = ("alpha", "beta", "gamma", "delta")
ALLOTMENT = 300
PARAMETERS = st.builds(
    dataclasses.replace,
    st.just(DEFAULTS),
    deliberation=st.integers(0, 2),
    voting=st.sampled_from([1, 5, 8, 12]),
    execution=st.integers(0, 2),
    quorum=st.sampled_from([1, 5_000, 6_667, 6_667, 10_000]),
    threshold=st.sampled_from([5_000, 5_000, 6_667, 9_999]),
    veto=st.sampled_from([1, 3_333, 3_333, 3_333, 10_000]),
    early=st.booleans(),
    deposit=st.sampled_from([0, 0, 70]),
    most_validators=st.integers(2, 5),
)
BODIES = st.one_of(
    st.builds(g.Mint, amounts=st.dictionaries(st.sampled_from(NAMES), st.integers(1, 90), min_size=1)),
    st.builds(g.Weights, weights=st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3), min_size=1)),
    st.builds(
        g.Seat, organisation=st.sampled_from(NAMES), power=st.integers(0, 9),
        key=st.sampled_from([b"\x01" * 32, b"\x02" * 32, *(Org(name).validator for name in NAMES)]),
    ),
    st.builds(g.Expel, organisation=st.sampled_from(NAMES), forfeit=st.booleans()),
    PARAMETERS,
)  # fmt: skip


CAMPAIGN = st.sampled_from(["yes"] * 8 + ["no", "abstain", "veto"])


class Votes(RuleBasedStateMachine):
    proposals = Bundle("proposals")

    @initialize(rules=PARAMETERS)
    def begin(self, rules: g.Parameters) -> None:
        self.world = World(*NAMES, allotment=ALLOTMENT, voting=rules)
        self.rules = rules
        self.active = dict.fromkeys(NAMES, True)
        self.weight = dict.fromkeys(NAMES, 1)
        self.seat = {name: (self.world.orgs[name].validator, 10) for name in NAMES}
        self.bound = {key for key, _power in self.seat.values()}
        self.balance = dict.fromkeys(NAMES, ALLOTMENT) | {"@fund": 0}
        self.supply = ALLOTMENT * len(NAMES)
        self.sequence = dict.fromkeys(NAMES, 0)
        self.known: dict[bytes, dict] = {}

    # -- what people do ------------------------------------------------------------------------------------

    @step(target=proposals, by=st.sampled_from(NAMES), body=BODIES)
    def propose(self, by: str, body: object):
        now = self.rules
        msg = g.Propose(by=by, title="t", kind=kind_of(type(body)), body=to_value(body))
        open_ones = sum(1 for one in self.known.values() if one["by"] == by and one["status"] == "open")
        allowed = (
            self.active[by] and self.sound(body) and open_ones < 16 and self.balance[by] >= now.deposit
        )  # fmt: skip
        governor, height = self.world.orgs[by].users["governor"], self.world.height
        if not allowed:
            self.world.refused(msg, governor)
            return b""
        opens = height + now.deliberation
        closes = opens + now.voting - 1
        # The block ends with the call: the model first, under the id that the transaction will have.
        made = {
            "by": by, "body": body, "rules": now, "opens": opens, "closes": closes, "due": closes, "votes": {},
            "status": "open", "deposit": now.deposit,
        }  # fmt: skip
        self.balance[by] -= now.deposit
        proposal = derive("proposal", self.next_tx())
        self.known[proposal] = made
        assert derive("proposal", self.world.send(msg, governor)) == proposal
        self.end(height)
        return proposal

    def next_tx(self) -> bytes:
        """The hash that the world gives to its next transaction."""
        return hashlib.sha256((self.world.count + 1).to_bytes(8, "big")).digest()

    def sound(self, body: object) -> bool:
        """Whether every institution that a body names is a member."""
        match body:
            case g.Mint(amounts=named) | g.Weights(weights=named):
                return all(self.active[name] for name in named)
            case g.Seat(organisation=name) | g.Expel(organisation=name):
                return self.active[name]
        return True

    @step(
        proposal=proposals, by=st.sampled_from(NAMES), choice=st.sampled_from(["yes", "yes", "yes", *g.CHOICES]),
        skew=st.sampled_from([0, 0, 0, 0, 1]),
    )  # fmt: skip
    def vote(self, proposal: bytes, by: str, choice: str, skew: int) -> None:
        one, height = self.known.get(proposal), self.world.height
        msg = g.Vote(by=by, proposal=proposal, choice=choice, sequence=self.sequence[by] + 1 + skew)
        allowed = (
            one is not None and self.active[by] and one["status"] == "open" and one["opens"] <= height <= one["closes"]
            and by not in one["votes"] and not skew
        )  # fmt: skip
        governor = self.world.orgs[by].users["governor"]
        if not allowed:
            self.world.refused(msg, governor)
            return
        one["votes"][by] = choice
        self.sequence[by] += 1
        if one["rules"].early and len(self.ends(one)) == 1:
            one["due"] = height
        self.world.send(msg, governor)
        self.end(height)

    def ends(self, one: dict) -> set[str]:
        """What could still come of a proposal, trying every vote of everyone who has not voted."""
        weights = {name: self.weight[name] for name in NAMES if self.active[name]}
        silent = [name for name in weights if name not in one["votes"] and weights[name]]
        return {
            naive_outcome(
                one["votes"] | {n: c for n, c in zip(silent, cast, strict=True) if c is not None}, weights, one["rules"]
            )
            for cast in itertools.product((None, *g.CHOICES), repeat=len(silent))
        }

    @step(proposal=proposals, by=st.sampled_from(NAMES))
    def withdraw(self, proposal: bytes, by: str) -> None:
        one, height = self.known.get(proposal), self.world.height
        allowed = (
            one is not None and one["by"] == by and self.active[by] and one["status"] == "open" and not one["votes"]
        )
        msg, governor = g.Withdraw(proposal=proposal), self.world.orgs[by].users["governor"]
        if not allowed:
            self.world.refused(msg, governor)
            return
        self.close(one, "withdrawn", by)
        self.world.send(msg, governor)
        self.end(height)

    @step(pick=st.integers(0, 7), order=st.permutations(NAMES), choices=st.lists(CAMPAIGN, min_size=4, max_size=4))
    def campaign(self, pick: int, order: list[str], choices: list[str]) -> None:
        """All vote on an open proposal, as soon as they may."""
        if not (open_ones := sorted(p for p, one in self.known.items() if one["status"] == "open")):
            return
        proposal = open_ones[pick % len(open_ones)]
        self.wait(max(0, self.known[proposal]["opens"] - self.world.height))
        for name, choice in zip(order, choices, strict=True):
            self.vote(proposal, name, choice, 0)

    @step(blocks=st.integers(1, 2))
    def wait(self, blocks: int) -> None:
        for _ in range(blocks):
            height = self.world.height
            self.world.end_block()
            self.end(height)

    # -- what falls due, once more -----------------------------------------------------------------------------

    def close(self, one: dict, status: str, deposit_to: str) -> None:
        one.update(status=status, due=None)
        self.balance[deposit_to] += one["deposit"]
        one["deposit"] = 0

    def end(self, height: int) -> None:
        """The end of a block, in the order of ids."""
        for _proposal, one in sorted((p, o) for p, o in self.known.items() if o["due"] == height):
            if one["due"] is None:
                continue  # ended by an expulsion in this same block
            if one["status"] == "open":
                weights = {name: self.weight[name] for name in NAMES if self.active[name]}
                status = naive_outcome(one["votes"], weights, one["rules"])
                self.close(one, status, "@fund" if status == "vetoed" else one["by"])
                if status == "passed":
                    one["due"] = height + one["rules"].execution
            if one["status"] == "passed" and one["due"] == height:
                one.update(status="executed" if self.execute(one["body"]) else "failed", due=None)

    def execute(self, body: object) -> bool:
        if not self.sound(body):
            return False
        match body:
            case g.Mint(amounts=amounts):
                for name, amount in amounts.items():
                    self.balance[name] += amount
                    self.supply += amount
            case g.Weights(weights=weights):
                after = self.weight | weights
                if not any(after[name] for name in NAMES if self.active[name]):
                    return False
                self.weight = after
            case g.Parameters():
                self.rules = body
            case g.Seat():
                return self.execute_seat(body)
            case g.Expel(organisation=name, forfeit=forfeit):
                return self.execute_expel(name, forfeit)
        return True

    def execute_seat(self, body: g.Seat) -> bool:
        name, after = body.organisation, dict(self.seat)
        mine = after.pop(name, None)
        if body.power:
            if (mine is None or mine[0] != body.key) and body.key in self.bound:
                return False
            after[name] = (body.key, body.power)
        elif mine is None or mine[0] != body.key:
            return False
        if not 1 <= len(after) <= self.rules.most_validators:
            return False
        self.seat = after
        self.bound.add(body.key)
        return True

    def execute_expel(self, name: str, forfeit: bool) -> bool:
        left = [other for other in NAMES if self.active[other] and other != name]
        if not any(self.weight[other] for other in left) or not [n for n in self.seat if n != name]:
            return False
        for one in self.known.values():
            if one["by"] == name and one["status"] == "open":
                self.close(one, "withdrawn", name)
        self.active[name] = False
        self.seat.pop(name, None)
        if forfeit:
            self.balance["@fund"] += self.balance[name]
            self.balance[name] = 0
        return True

    # -- what must hold ----------------------------------------------------------------------------------------

    @invariant()
    def proposals_are_the_models(self) -> None:
        if not hasattr(self, "world"):
            return
        shown = {row["id"]: row for row in self.world.query("governance/proposals")}
        assert {p: (row["status"], row["votes"]) for p, row in shown.items()} == {
            p: (one["status"], one["votes"]) for p, one in self.known.items()
        }
        queue = [key for key, _value in self.world.store.items(due.HEIGHTS)]
        waiting = {(int.from_bytes(key[len(due.HEIGHTS) :][:8], "big"), key[-32:]) for key in queue}
        assert waiting == {(one["due"], p) for p, one in self.known.items() if one["due"] is not None}

    @invariant()
    def points_are_conserved_under_votes(self) -> None:
        if not hasattr(self, "world"):
            return
        found = self.world.query("points/supply")
        assert found["balances"] + found["escrows"] == found["supply"] == self.supply
        balances = self.world.query("points/balances")
        assert balances | {"@fund": balances.get("@fund", 0)} == self.balance

    @invariant()
    def the_rules_are_the_models(self) -> None:
        if not hasattr(self, "world"):
            return
        assert self.world.query("governance/parameters") == to_value(self.rules)
        assert self.world.query("governance/weights") == {n: self.weight[n] for n in sorted(NAMES) if self.active[n]}
        assert {name: self.world.query("governance/votes", organisation=name) for name in NAMES} == self.sequence

    @invariant()
    def validators_are_the_seats_and_never_none(self) -> None:
        if not hasattr(self, "world"):
            return
        seats = {row["organisation"]: (row["key"], row["power"]) for row in self.world.query("governance/seats")}
        assert seats == self.seat
        validating = {
            key[len(VALIDATORS) :]: int.from_bytes(power, "big") for key, power in self.world.store.items(VALIDATORS)
        }
        assert validating == dict(self.seat.values())
        assert validating


Votes.TestCase.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
TestVotes = Votes.TestCase
