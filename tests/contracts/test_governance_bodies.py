"""Whatever a body holds, it is refused by name when proposed, or it is decided and executed, or fails and says why."""

from __future__ import annotations

import dataclasses
import typing

import hypothesis.strategies as st
from contracts_world import Org, World
from hypothesis import given, settings

from fondaco.core.codec import encode
from fondaco.errors import ContractError
from fondaco.ledger.contracts.governance import messages as g
from fondaco.ledger.contracts.governance.effects import BODIES
from fondaco.ledger.contracts.kit import derive

NUMBERS = st.one_of(
    st.integers(-3, 12),
    st.sampled_from([5_000, 9_999, 10_000, 1 << 31, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, -(1 << 63)]),
)
TEXTS = st.one_of(
    st.sampled_from(["alpha", "beta", "member", "price", "shapley", "mpc.statistics", ""]), st.text(max_size=9)
)
RAW = st.one_of(
    st.sampled_from([bytes(32), b"\x05" * 32, Org("alpha").validator, Org("beta").node, b""]), st.binary(max_size=40)
)
LEAVES = st.one_of(NUMBERS, TEXTS, RAW, st.booleans(), st.none())
ANYTHING = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


def typed(annotation: object) -> st.SearchStrategy:
    """Values of a field's type, sound or not."""
    if annotation is int:
        return NUMBERS
    if annotation is bool:
        return st.booleans()
    if annotation is bytes:
        return RAW
    if annotation is str:
        return TEXTS
    assert annotation == dict[str, int]
    return st.dictionaries(TEXTS, NUMBERS, max_size=3)


def bodies() -> st.SearchStrategy:
    """A kind with a body that has its fields, or with anything."""
    ways = []
    for kind, (cls, _check, _effect) in sorted(BODIES.items()):
        hints = typing.get_type_hints(cls)
        fields = {field.name: typed(hints[field.name]) for field in dataclasses.fields(cls)}
        ways.append(st.tuples(st.just(kind), st.fixed_dictionaries(fields)))
    return st.one_of(st.one_of(ways), st.tuples(st.sampled_from(sorted(BODIES)), ANYTHING))


@settings(max_examples=600, deadline=None)
@given(st.lists(bodies(), min_size=1, max_size=4))
def test_any_body_is_refused_or_executed_or_fails_by_name(proposed) -> None:
    world = World("alpha", "beta")
    for kind, body in proposed:
        governor = world.orgs["alpha"].users["governor"]
        msg = g.Propose(by="alpha", title="x", kind=kind, body=body)
        supply = world.query("points/supply")["supply"]
        try:
            proposal = derive("proposal", world.send(msg, governor))
        except ContractError:
            continue
        for name in ("alpha", "beta"):
            try:
                world.vote(proposal, name)
            except ContractError:  # decided already, expelled before, or the vote is not open yet
                continue
        for _ in range(20):
            world.end_block()
        shown = world.query("governance/proposal", id=proposal)
        assert shown["status"] in {"open", "passed", "rejected", "withdrawn", "executed", "failed"}
        assert bool(shown["cause"]) == (shown["status"] == "failed")
        found = world.query("points/supply")
        assert found["balances"] + found["escrows"] == found["supply"]
        assert found["supply"] == supply or kind == "governance.mint/1"
        assert not [event for event in world.events if event.kind == "due-refused"]
        for event in world.events:
            encode(dict(event.attributes))
