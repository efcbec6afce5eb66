"""Joining, rotating, revoking: who may sign what, and that a key serves one thing once."""

from __future__ import annotations

import dataclasses

import hypothesis.strategies as st
import pytest
from contracts_world import DictStore, Org, World, column, publication, terms
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given

from fondaco.core.messages import to_value
from fondaco.core.models import Schema
from fondaco.core.sealed import is_seal_key
from fondaco.errors import ContractError
from fondaco.ledger.contracts import registry
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
    world.refused(invite(world), world.orgs["alpha"].admin)  # the invitation's key did not sign
    world.send(invite(world), world.orgs["alpha"].admin, GUEST)
    join = m.Join(invitation=GUEST, organisation=gamma.spec())
    world.refused(join, *gamma.registered)  # the invitation did not sign
    for unsigned in gamma.registered:  # who registers a key shows that it holds it
        world.refused(join, GUEST, *(key for key in gamma.registered if key != unsigned))
    world.refused(m.Join(invitation=GUEST, organisation=Org("delta").spec()), GUEST, *Org("delta").registered)
    world.send(join, GUEST, *gamma.registered)
    world.refused(join, GUEST, *gamma.registered)
    assert [row["name"] for row in world.query("identity/organisations")] == ["alpha", "beta", "gamma"]


def test_an_invitation_expires(world) -> None:
    gamma = Org("gamma")
    world.send(invite(world), world.orgs["alpha"].admin, GUEST)
    world.time += 61
    world.refused(m.Join(invitation=GUEST, organisation=gamma.spec()), GUEST, *gamma.registered)


def test_an_invitation_is_cancelled_by_who_sent_it_and_admits_nobody_then(world) -> None:
    gamma, cancel = Org("gamma"), m.CancelInvitation(invitation=GUEST)
    world.refused(cancel, world.orgs["alpha"].admin)
    world.send(invite(world), world.orgs["alpha"].admin, GUEST)
    for stranger in (world.orgs["beta"].admin, world.orgs["alpha"].users["governor"], GUEST):
        world.refused(cancel, stranger)
    world.send(cancel, world.orgs["alpha"].admin)
    world.refused(m.Join(invitation=GUEST, organisation=gamma.spec()), GUEST, *gamma.registered)
    world.refused(cancel, world.orgs["alpha"].admin)


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
    msg = invite(world, **changes)
    world.refused(msg, world.orgs["alpha"].admin, msg.key)


def test_a_user_invites_nobody(world) -> None:
    world.refused(invite(world), world.orgs["alpha"].users["governor"], GUEST)


def test_a_key_serves_one_thing_once(world) -> None:
    alpha, beta = world.orgs["alpha"], world.orgs["beta"]
    for key in (beta.node, beta.admin, alpha.users["analyst"], alpha.node):
        spec = m.UserSpec(key=key, roles=("analyst",), seal_key=b"\x09" * 32)
        world.refused(m.PutUser(organisation="alpha", user=spec, replaces=None), alpha.admin, key)


def test_nobody_registers_a_key_that_it_does_not_hold(world) -> None:
    """Else whoever sees a key before its holder registers it could bind it for ever to something else."""
    alpha, key = world.orgs["alpha"], b"\x0c" * 32
    user = m.PutUser(
        organisation="alpha", user=m.UserSpec(key=key, roles=("analyst",), seal_key=b"\x09" * 32), replaces=None
    )
    spec = m.NodeSpec(key=key, certificate=b"c", address="host:1", seal_key=b"\x09" * 32)
    node = m.PutNode(organisation="alpha", node=spec, replaces=alpha.node)
    for msg in (user, node):
        world.refused(msg, alpha.admin)
        world.refused(msg, key)
    world.send(node, alpha.admin, key)


def test_a_revoked_key_signs_nothing_and_never_comes_back(world) -> None:
    alpha = world.orgs["alpha"]
    steward = alpha.users["steward"]
    world.send(publication("/alpha/d/one"), steward)
    world.send(m.Revoke(organisation="alpha", key=steward), alpha.admin)
    world.refused(publication("/alpha/d/two"), steward)
    world.refused(m.Revoke(organisation="alpha", key=steward), alpha.admin)
    spec = m.UserSpec(key=steward, roles=("steward",), seal_key=b"\x09" * 32)
    world.refused(m.PutUser(organisation="alpha", user=spec, replaces=None), alpha.admin, steward)


def test_a_rotated_key_hands_over(world) -> None:
    alpha = world.orgs["alpha"]
    fresh = m.UserSpec(key=b"\x09" * 32, roles=("steward",), seal_key=b"\x09" * 32)
    world.refused(
        m.PutUser(organisation="alpha", user=fresh, replaces=world.orgs["beta"].users["steward"]),
        alpha.admin,
        fresh.key,
    )
    world.refused(m.PutUser(organisation="alpha", user=fresh, replaces=alpha.node), alpha.admin, fresh.key)
    world.send(m.PutUser(organisation="alpha", user=fresh, replaces=alpha.users["steward"]), alpha.admin, fresh.key)
    world.refused(publication("/alpha/d/one"), alpha.users["steward"])
    world.send(publication("/alpha/d/one"), fresh.key)


def test_administrators_change_with_the_consent_of_old_and_new(world) -> None:
    alpha = world.orgs["alpha"]
    one, two = b"\x0a" * 32, b"\x0b" * 32
    msg = m.RotateAdmins(organisation="alpha", admins=(one, two), threshold=2)
    world.refused(msg, alpha.admin, one)
    world.refused(msg, one, two)
    world.send(msg, alpha.admin, one, two)
    world.refused(invite(world), alpha.admin, GUEST)
    world.refused(invite(world), one, GUEST)
    world.send(invite(world), one, two, GUEST)


# u-coordinates whose point, on the curve or its twist, has an order of 1, 2, 4 or 8; and the same plus p.
P = 2**255 - 19
LOW_ORDER = (
    0, 1, P - 1, P, P + 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)  # fmt: skip


@pytest.mark.parametrize("point", LOW_ORDER)
@pytest.mark.parametrize("high", [0, 1 << 255])
def test_nobody_registers_a_key_that_everyone_can_open_what_is_sealed_to(world, point, high) -> None:
    alpha, key = world.orgs["alpha"], b"\x0c" * 32
    seal = (point | high).to_bytes(32, "little")
    with pytest.raises(ValueError, match="shared key"):
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(seal))
    user = m.UserSpec(key=key, roles=("analyst",), seal_key=seal)
    world.refused(m.PutUser(organisation="alpha", user=user, replaces=None), alpha.admin, key)
    node = m.NodeSpec(key=key, certificate=b"c", address="host:1", seal_key=seal)
    world.refused(m.PutNode(organisation="alpha", node=node, replaces=None), alpha.admin, key)


@given(st.binary(min_size=32, max_size=32))
def test_a_seal_key_is_one_that_the_key_exchange_takes(key: bytes) -> None:
    try:
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(key))
    except ValueError:
        assert not is_seal_key(key)
    else:
        assert is_seal_key(key)


@pytest.mark.parametrize(
    "mark", ["\x00", "\x1b", "\n", "\x7f", "\x85", "\x9b", "\u200b", "\u202e", "\u2066", "\u2028", "\ufeff"]
)
def test_words_hold_nothing_that_a_reader_does_not_see(world, mark) -> None:
    steward = world.orgs["alpha"].users["steward"]
    text = f"rows{mark}of rain"
    world.refused(publication("/alpha/d/one", title=text), steward)
    world.refused(publication("/alpha/d/one", description=text), steward)
    for changes in ({"name": text}, {"unit": text}):
        bad = Schema(columns=(dataclasses.replace(column("k"), **changes),), key=())
        world.refused(publication("/alpha/d/one", schema=bad), steward)


def test_a_unit_is_short_and_words_of_any_language_are_words(world) -> None:
    steward = world.orgs["alpha"].users["steward"]
    long = Schema(columns=(dataclasses.replace(column("k"), unit="m" * 65),), key=())
    world.refused(publication("/alpha/d/one", schema=long), steward)
    fine = Schema(columns=(dataclasses.replace(column("Höhe über See"), unit="m·s⁻¹"),), key=())
    world.send(publication("/alpha/d/one", title="هواشناسی می‌شود 天気 🌧", schema=fine), steward)


def test_a_genesis_allots_points_to_its_founders_alone() -> None:
    founder = World("alpha")
    document = registry.GenesisState(organisations=(Org("beta").spec(),), allotments={"beta": 1, "betta": 1})
    with pytest.raises(ContractError, match="betta"):
        registry.init_genesis(founder._context(DictStore(), (), []), to_value(document))


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
