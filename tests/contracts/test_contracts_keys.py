"""What a grant lets rows be matched on is no more than what its keys name; what is computed with, no key."""

from __future__ import annotations

import dataclasses

import pytest
from contracts_world import World, publication, rule, terms

from fondaco.ledger.contracts.grants import messages as g
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.tasks import messages as t

ASKER, OWNER, HELPER = "asker", "owner", "helper"
MINE, THEIRS = "/asker/data/one", "/owner/data/one"
OPERATIONS = ("psi.intersection", "pir.lookup", "mpc.statistics")
FOREVER = 1_850_000_000


@pytest.fixture
def world() -> World:
    made = World(ASKER, OWNER, HELPER)
    for org, path in ((ASKER, MINE), (OWNER, THEIRS)):
        free = terms(operations=("*",), rules=(rule(keys=("k",), columns=("v",)),))
        made.send(publication(path, terms=free), made.orgs[org].users["steward"])
    return made


def asked(**changes) -> g.RequestUse:
    item = g.Item(path=THEIRS, version=1, keys=("k",), columns=("v",))
    return g.RequestUse(
        items=(dataclasses.replace(item, **changes),), operations=OPERATIONS, purpose="study",
        parties=(ASKER, OWNER, HELPER), receivers=(ASKER, OWNER), uses=2, expires=FOREVER, max_price=100,
    )  # fmt: skip


def answer(world: World, request: g.RequestUse) -> str:
    made = derive("request", world.send(request, world.orgs[ASKER].users["analyst"]))
    found = [one for one in world.query("grants/requests") if one["id"] == made]
    return found[0]["answers"][0]


def proposal(world: World, grant: bytes, operation: str, columns: tuple[str, ...]) -> t.Propose:
    head = t.StepHead(
        id="one", program=bytes(32), operation=operation, members=(ASKER, OWNER), receivers=(ASKER,),
        inputs=(
            t.InputHead(organisation=ASKER, path=MINE, version=1, columns=("k", "v"), grant=None),
            t.InputHead(organisation=OWNER, path=THEIRS, version=1, columns=columns, grant=grant),
        ),
    )  # fmt: skip
    return t.Propose(
        workflow=b"w", coordinator=HELPER, parties=(ASKER, OWNER, HELPER), steps=(head,), purpose="study",
        deadline=world.time + 3600,
    )  # fmt: skip


@pytest.mark.parametrize("operation", ["psi.intersection", "pir.lookup"])
@pytest.mark.parametrize("columns", [("k", "v"), ("v",)])
def test_a_grant_to_compute_with_a_column_lets_nobody_match_on_it(world, operation, columns) -> None:
    tx = world.send(asked(), world.orgs[ASKER].users["analyst"])
    grant = derive("grant", derive("request", tx), (0).to_bytes(4, "big"))
    refused = world.refused(proposal(world, grant, operation, columns), world.orgs[ASKER].users["analyst"])
    assert "does not cover" in refused.cause
    world.send(proposal(world, grant, operation, ("k",)), world.orgs[ASKER].users["analyst"])
    world.send(proposal(world, grant, "mpc.statistics", ("k", "v")), world.orgs[ASKER].users["analyst"])


def test_a_default_permission_gives_no_key_that_it_does_not_name(world) -> None:
    assert answer(world, asked()) == "granted"
    assert answer(world, asked(keys=("v",), columns=())) == "pending"
    assert answer(world, asked(keys=("k", "v"), columns=())) == "pending"
    assert answer(world, asked(keys=(), columns=("k",))) == "pending"


@pytest.mark.parametrize("changes", [{"keys": ("v",)}, {"keys": (), "columns": ()}, {"keys": ("nothing",)}])
def test_a_column_is_asked_for_once_as_a_key_or_to_compute_with(world, changes) -> None:
    assert world.refused(asked(**changes), world.orgs[ASKER].users["analyst"]).codespace == "grants"


def test_a_default_permission_names_columns_once(world) -> None:
    for bad in (rule(keys=("k",), columns=("k",)), rule(keys=("nothing",))):
        msg = publication("/owner/data/two", terms=terms(rules=(bad,)))
        assert world.refused(msg, world.orgs[OWNER].users["steward"]).codespace == "catalog"
