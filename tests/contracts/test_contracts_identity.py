"""Joining, rotating, revoking: who may sign what, and that a key serves one thing once."""

from __future__ import annotations

import pytest
from contracts_world import Org, World, publication, terms

from fondaco.ledger.contracts.catalog import messages as c
from fondaco.ledger.contracts.identity import messages as m

GUEST = b"\x07" * 32


def invite(world: World, name: str = "gamma", **changes) -> m.Invite:
    fields = {
        "by": "alpha",
        "key": GUEST,
        "certificate": b"c",
        "organisation": name,
        "kind": "member",
        "expires": world.time + 60,
    }
    return m.Invite(**(fields | changes))


@pytest.fixture
def world() -> World:
    return World("alpha", "beta")


def test_an_invited_organisation_joins_once(world) -> None:
    gamma = Org("gamma")
    world.send(invite(world), world.orgs["alpha"].admin)
    join = m.Join(invitation=GUEST, organisation=gamma.spec())
    world.refused(join, gamma.admin)  # the invitation did not sign
    world.refused(join, GUEST)  # the new administrator did not sign
    world.refused(m.Join(invitation=GUEST, organisation=Org("delta").spec()), GUEST, Org("delta").admin)
    world.send(join, GUEST, gamma.admin)
    world.refused(join, GUEST, gamma.admin)
    assert [row["name"] for row in world.query("identity/organisations")] == ["alpha", "beta", "gamma"]


def test_an_invitation_expires(world) -> None:
    gamma = Org("gamma")
    world.send(invite(world), world.orgs["alpha"].admin)
    world.time += 61
    world.refused(m.Join(invitation=GUEST, organisation=gamma.spec()), GUEST, gamma.admin)


@pytest.mark.parametrize(
    "changes",
    [
        {"by": "beta"},
        {"organisation": "beta"},
        {"organisation": "No"},
        {"kind": "king"},
        {"expires": 0},
        {"certificate": b"x" * 3000},
        {"key": b"short"},
    ],
)
def test_bad_invitations_are_refused(world, changes) -> None:
    world.refused(invite(world, **changes), world.orgs["alpha"].admin)


def test_a_user_invites_nobody(world) -> None:
    world.refused(invite(world), world.orgs["alpha"].users["governor"])


def test_a_key_serves_one_thing_once(world) -> None:
    alpha, beta = world.orgs["alpha"], world.orgs["beta"]
    for key in (beta.node, beta.admin, alpha.users["analyst"], alpha.node):
        spec = m.UserSpec(key=key, roles=("analyst",), seal_key=bytes(32))
        world.refused(m.PutUser(organisation="alpha", user=spec, replaces=None), alpha.admin)


def test_a_revoked_key_signs_nothing_and_never_comes_back(world) -> None:
    alpha = world.orgs["alpha"]
    steward = alpha.users["steward"]
    world.send(publication("/alpha/d/one"), steward)
    world.send(m.Revoke(organisation="alpha", key=steward), alpha.admin)
    world.refused(publication("/alpha/d/two"), steward)
    world.refused(m.Revoke(organisation="alpha", key=steward), alpha.admin)
    spec = m.UserSpec(key=steward, roles=("steward",), seal_key=bytes(32))
    world.refused(m.PutUser(organisation="alpha", user=spec, replaces=None), alpha.admin)


def test_a_rotated_key_hands_over(world) -> None:
    alpha = world.orgs["alpha"]
    fresh = m.UserSpec(key=b"\x09" * 32, roles=("steward",), seal_key=bytes(32))
    world.refused(
        m.PutUser(organisation="alpha", user=fresh, replaces=world.orgs["beta"].users["steward"]), alpha.admin
    )
    world.refused(m.PutUser(organisation="alpha", user=fresh, replaces=alpha.node), alpha.admin)
    world.send(m.PutUser(organisation="alpha", user=fresh, replaces=alpha.users["steward"]), alpha.admin)
    world.refused(publication("/alpha/d/one"), alpha.users["steward"])
    world.send(publication("/alpha/d/one"), fresh.key)


def test_administrators_change_with_the_consent_of_old_and_new(world) -> None:
    alpha = world.orgs["alpha"]
    one, two = b"\x0a" * 32, b"\x0b" * 32
    msg = m.RotateAdmins(organisation="alpha", admins=(one, two), threshold=2)
    world.refused(msg, alpha.admin, one)
    world.refused(msg, one, two)
    world.send(msg, alpha.admin, one, two)
    world.refused(invite(world), alpha.admin)
    world.refused(invite(world), one)
    world.send(invite(world), one, two)


def test_a_node_moves_itself_alone(world) -> None:
    alpha = world.orgs["alpha"]
    world.refused(m.Move(address="host:2"), alpha.admin)
    for bad in ("host", "host:0", "host:70000", ":1", "host:x"):
        world.refused(m.Move(address=bad), alpha.node)
    world.send(m.Move(address="host:2"), alpha.node)


def test_versions_follow_and_never_change(world) -> None:
    steward = world.orgs["alpha"].users["steward"]
    world.refused(publication("/alpha/d/one", version=2), steward)
    world.refused(publication("/beta/d/one"), steward)
    world.refused(publication("/alpha/d/one@1"), steward)
    world.refused(publication("/alpha/d/one", commitment=b"short"), steward)
    world.refused(publication("/alpha/d/one", title="x" * 201), steward)
    world.refused(publication("/alpha/d/one", description="two\nlines"), steward)
    world.refused(publication("/alpha/d/one", terms=terms(operations=())), steward)
    world.refused(publication("/alpha/d/one", terms=terms(price=-1)), steward)
    world.refused(publication("/alpha/d/one"), world.orgs["alpha"].users["analyst"])
    world.send(publication("/alpha/d/one"), steward)
    world.refused(publication("/alpha/d/one"), steward)
    update = c.Update(path="/alpha/d/one", version=1, title="new", description="", terms=terms(price=3))
    world.refused(update, world.orgs["beta"].users["steward"])
    world.send(update, steward)
    assert world.query("catalog/dataset", path="/alpha/d/one", version=1)["commitment"] == bytes(32)
    world.send(c.Withdraw(path="/alpha/d/one", version=1), steward)
    world.refused(c.Withdraw(path="/alpha/d/one", version=1), steward)
    world.refused(update, steward)
    world.send(publication("/alpha/d/one", version=2), steward)


def test_a_dataset_is_handed_over_by_both(world) -> None:
    alpha, beta = world.orgs["alpha"], world.orgs["beta"]
    world.send(publication("/alpha/d/one"), alpha.users["steward"])
    msg = c.HandOver(path="/alpha/d/one", target="beta")
    world.refused(msg, alpha.admin)
    world.refused(msg, beta.admin)
    world.send(msg, alpha.admin, beta.admin)
    world.refused(publication("/alpha/d/one", version=2), alpha.users["steward"])
    world.send(publication("/alpha/d/one", version=2), beta.users["steward"])
