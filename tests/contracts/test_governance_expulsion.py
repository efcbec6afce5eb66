"""An institution leaves: whatever was going on, all that it had open ends, and every point is where the rules say.

The market's machine (grants, tasks, points against a naive model) runs any course; then one of its institutions is
expelled by vote, the model ends what it had open in the documented order, and both must agree to the point.
"""

from __future__ import annotations

import dataclasses

import hypothesis.strategies as st
import pytest
from contracts_world import World, publication, terms
from hypothesis import settings
from hypothesis.stateful import initialize, invariant
from hypothesis.stateful import rule as step
from test_contracts_machine import ORGS, Market

from fondaco.ledger.contracts.governance import messages as g
from fondaco.ledger.contracts.governance.parameters import DEFAULTS
from fondaco.ledger.contracts.grants import keys
from fondaco.ledger.contracts.grants import messages as grants
from fondaco.ledger.contracts.identity import messages as identity
from fondaco.ledger.contracts.kit import ValidatorUpdate, derive


class Leaving(Market):
    @initialize(who=st.sampled_from(ORGS), forfeit=st.booleans())
    def choose(self, who: str, forfeit: bool) -> None:
        self.who, self.forfeit = who, forfeit

    @step()
    def nothing(self) -> None:
        """So that short courses come too."""

    @invariant()
    def the_indices_hold_what_is_open(self) -> None:
        if not hasattr(self, "world"):
            return
        for name in ORGS:
            active = {key[-32:] for key, _value in self.world.store.items(keys.active(name, b""))}
            assert active == {
                grant for grant, known in self.grant.items()
                if known["status"] == "active" and name in (known["holder"], known["provider"])
            }  # fmt: skip
            pending = {key[-32:] for key, _value in self.world.store.items(keys.pending(name, b""))}
            assert pending == {
                request for request, asked in self.request.items()
                if asked["answer"] == "pending" and name in (asked["asker"], asked["provider"])
            }  # fmt: skip

    def teardown(self) -> None:
        if not hasattr(self, "world") or not hasattr(self, "who"):
            return
        proposal = self.world.pass_vote(g.Expel(organisation=self.who, forfeit=self.forfeit), *ORGS)
        assert self.world.query("governance/proposal", id=proposal)["status"] == "executed"
        self.leave()
        self.points_are_conserved()
        self.no_grant_no_use()
        shown = {row["id"]: row["status"] for row in self.world.query("tasks/tasks")}
        assert shown == {task: known["status"] for task, known in self.task.items()}
        self.nothing_of_it_is_open()

    def leave(self) -> None:
        """The documented end, on the model: tasks, then grants, then requests, then its points."""
        for known in self.task.values():
            self.end_task(known)
        for grant, known in self.grant.items():
            if self.who in (known["holder"], known["provider"]) and known["status"] == "active":
                self.end_grant(grant, "revoked")
        for asked in self.request.values():
            if asked["answer"] == "pending" and self.who in (asked["asker"], asked["provider"]):
                asked["answer"] = "withdrawn" if self.who == asked["asker"] else "denied"
                self.balance[asked["asker"]] += self.escrow[asked["grant"]]
                self.escrow[asked["grant"]] = 0
        if self.forfeit:
            self.balance["@fund"] = self.balance[self.who]
            self.balance[self.who] = 0

    def end_task(self, known: dict) -> None:
        """All three institutions are in every task."""
        grant = self.grant[known["grant"]]
        if known["status"] == "finished":
            self.pay_use(known["grant"])
            known["status"] = "settled"
        elif known["status"] in ("proposed", "running", "failed"):
            known["status"] = "abandoned"
            if known["consumed"] and known["begun"]:
                self.pay_use(known["grant"])
            elif known["consumed"] and grant["status"] in ("active", "exhausted"):
                grant.update(left=grant["left"] + 1, status="active")
            elif known["consumed"]:
                self.escrow[known["grant"]] -= self.price
                self.balance[grant["holder"]] += self.price

    def nothing_of_it_is_open(self) -> None:
        assert self.world.query("tasks/open") == []
        for row in self.world.query("grants/grants"):
            assert self.who not in (row["provider"], row["holder"]) or row["status"] != "active"
        for row in self.world.query("grants/requests"):
            named = (row["organisation"], *row["providers"])
            assert self.who not in named or "pending" not in row["answers"]
        held = {row["id"]: row["amount"] for row in self.world.query("points/escrows")}
        ended = [row for row in self.world.query("grants/grants") if self.who in (row["provider"], row["holder"])]
        assert all(held[row["id"]] == 0 for row in ended)
        for part in ("nodes", "users"):
            for row in self.world.query(f"identity/{part}"):
                assert row["organisation"] != self.who or row["status"] != "active"
        for row in self.world.query("catalog/datasets"):
            assert row["owner"] != self.who or row["status"] == "withdrawn"
        gone = ValidatorUpdate(self.world.orgs[self.who].validator, 0)
        assert self.world.updates == [gone]


Leaving.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestLeaving = Leaving.TestCase


@pytest.fixture
def world() -> World:
    """Four institutions, so that three can expel one."""
    return World("alpha", "beta", "gamma", "delta")


def expel(world: World, who: str, *, forfeit: bool = False) -> dict:
    voters = [name for name in world.orgs if name != who]
    return world.query("governance/proposal", id=world.pass_vote(g.Expel(organisation=who, forfeit=forfeit), *voters))


def test_no_key_of_an_expelled_institution_signs_anything(world) -> None:
    delta = world.orgs["delta"]
    invite = identity.Invite(
        by="delta", key=b"\x01" * 32, certificate=b"c", organisation="omega", kind="member", expires=world.time + 60
    )
    world.send(invite, delta.admin, invite.key)
    assert expel(world, "delta")["status"] == "executed"
    world.refused(publication("/delta/d/one"), delta.users["steward"])
    world.refused(identity.Move(address="host:2"), delta.node)
    world.refused(
        g.Propose(by="delta", title="x", kind="governance.mint/1", body={"amounts": {"delta": 1}}), delta.admin
    )
    world.refused(dataclasses.replace(invite, key=b"\x02" * 32), delta.admin, b"\x02" * 32)
    world.refused(grants.RequestUse(
        items=(grants.Item(path="/alpha/d/one", version=1, keys=("v",), columns=()),), operations=("psi.intersection",),
        purpose="study", parties=("delta",), receivers=("delta",), uses=1, expires=world.time + 60, max_price=5,
    ), delta.users["analyst"])  # fmt: skip
    join = identity.Join(invitation=b"\x01" * 32, organisation=world.orgs["delta"].spec(name="omega"))
    world.refused(join, b"\x01" * 32, *delta.registered)
    assert world.query("governance/weights").keys() == {"alpha", "beta", "gamma"}
    assert world.query("points/balances")["delta"] == 1000


def test_forfeited_points_go_to_the_consortiums_fund(world) -> None:
    assert expel(world, "gamma", forfeit=True)["status"] == "executed"
    balances = world.query("points/balances")
    assert (balances["gamma"], balances["@fund"]) == (0, 1000)
    assert world.query("points/supply")["supply"] == 4000


def test_its_proposals_are_withdrawn_and_its_votes_no_longer_count() -> None:
    world = World("alpha", "beta", "gamma", "delta", voting=dataclasses.replace(DEFAULTS, deposit=10))
    mint = g.Propose(by="delta", title="x", kind="governance.mint/1", body={"amounts": {"delta": 1}})
    own = derive("proposal", world.send(mint, world.orgs["delta"].users["governor"]))
    other = derive("proposal", world.send(dataclasses.replace(mint, by="alpha"), world.orgs["alpha"].users["governor"]))
    world.vote(other, "delta", "no")
    world.vote(other, "alpha")
    world.vote(other, "beta")
    assert expel(world, "delta")["status"] == "executed"
    assert world.query("governance/proposal", id=own)["status"] == "withdrawn"
    assert world.query("points/balances")["delta"] == 1000
    world.vote(other, "gamma")
    assert world.query("governance/proposal", id=other)["status"] == "failed"  # it would mint for who has left


def test_the_only_validator_and_the_last_weight_cannot_be_expelled(world) -> None:
    for name in ("beta", "gamma", "delta"):
        key = world.orgs[name].validator
        world.pass_vote(g.Seat(organisation=name, key=key, power=0), "alpha", "beta", "gamma")
    shown = expel(world, "alpha")
    assert (shown["status"], "only validator" in shown["cause"]) == ("failed", True)
    world.pass_vote(g.Weights(weights={"alpha": 0, "gamma": 0, "delta": 0}), "alpha", "beta", "gamma")
    msg = g.Propose(by="beta", title="x", kind="governance.expel/1", body={"forfeit": True, "organisation": "beta"})
    own = derive("proposal", world.send(msg, world.orgs["beta"].users["governor"]))
    world.vote(own, "beta")
    shown = world.query("governance/proposal", id=own)
    assert (shown["status"], "weight" in shown["cause"]) == ("failed", True)
    assert world.query("points/balances")["beta"] == 1000


def test_requests_of_others_to_it_are_denied_with_their_escrow_back(world) -> None:
    world.send(publication("/delta/d/one", terms=terms()), world.orgs["delta"].users["steward"])
    world.send(publication("/beta/d/one", terms=terms()), world.orgs["beta"].users["steward"])
    items = tuple(grants.Item(path=f"/{name}/d/one", version=1, keys=("v",), columns=()) for name in ("delta", "beta"))
    msg = grants.RequestUse(
        items=items, operations=("psi.intersection",), purpose="study", parties=("alpha", "beta", "delta", "gamma"),
        receivers=("alpha",), uses=2, expires=world.time + 3600, max_price=10,
    )  # fmt: skip
    request = derive("request", world.send(msg, world.orgs["alpha"].users["analyst"]))
    assert world.query("points/balances")["alpha"] == 960
    expel(world, "delta")
    assert world.query("points/balances")["alpha"] == 980
    assert world.query("grants/request", id=request)["answers"] == ["denied", "pending"]
