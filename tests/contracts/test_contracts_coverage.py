"""Each thing that a grant says is checked, one by one: where a task differs in it alone, it is refused."""

from __future__ import annotations

import dataclasses

import pytest
from contracts_world import publication, terms
from deal_world import BUYER, COORDINATOR, FOREVER, Deals, path_of

from fondaco.ledger.contracts.catalog import messages as c
from fondaco.ledger.contracts.grants import messages as g
from fondaco.ledger.contracts.grants.handlers import grant_id
from fondaco.ledger.contracts.identity import messages as i
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.tasks import messages as t
from fondaco.ledger.contracts.tasks.handlers import outcomes, result_hash
from fondaco.ledger.contracts.tasks.handlers import task as task_record

SELLER, OTHER = "seller-a", "seller-b"
PATH = path_of(SELLER)
PARTIES = (BUYER, SELLER, OTHER, COORDINATOR)


@pytest.fixture
def deals() -> Deals:
    made = Deals()
    open_terms = terms(price=1, purposes=("*",), operations=("*",))
    for owner in (SELLER, OTHER):
        msg = c.Update(path=path_of(owner), version=1, title="rows", description="", terms=open_terms)
        made.world.send(msg, made.key(owner, "steward"))
    made.world.send(publication(path_of(SELLER) + "-more"), made.key(SELLER, "steward"))
    return made


def granted(deals: Deals, owner: str = SELLER, **changes) -> bytes:
    """A grant that says what `proposal` needs, with changes; asked for and reviewed."""
    fields = {
        "items": (g.Item(path=path_of(owner), version=1, columns=("k",)),),
        "operations": ("psi.intersection",),
        "purpose": "study",
        "parties": PARTIES,
        "receivers": (BUYER,),
        "uses": 1,
        "expires": FOREVER,
        "max_price": 1_000,
    }
    msg = g.RequestUse(**(fields | changes))
    request = derive("request", deals.world.send(msg, deals.key(BUYER, "analyst")))
    review = g.Review(request=request, item=0, approve=True, reason="", uses=1, expires=msg.expires)
    deals.world.send(review, deals.key(owner, "reviewer"))
    return grant_id(request, 0)


def own_head() -> t.InputHead:
    return t.InputHead(organisation=BUYER, path=path_of(BUYER), version=1, columns=("k",), grant=None)


def proposal(deals: Deals, grant: bytes | None, *, step=None, head=None, **changes) -> t.Propose:
    """A task of the buyer with the seller's rows; `step`, `head` and the rest say what is otherwise."""
    fields = {"organisation": SELLER, "path": PATH, "version": 1, "columns": ("k",), "grant": grant}
    made = t.StepHead(
        id="one",
        program=bytes(32),
        operation="psi.intersection",
        members=(BUYER, SELLER),
        receivers=(BUYER,),
        inputs=(own_head(), t.InputHead(**(fields | (head or {})))),
    )
    made = dataclasses.replace(made, **(step or {}))
    task = {
        "workflow": b"a workflow",
        "coordinator": COORDINATOR,
        "parties": tuple(dict.fromkeys((*made.members, changes.get("coordinator", COORDINATOR)))),
        "steps": (made,),
        "purpose": "study",
        "deadline": deals.world.time + 86_400,
    }
    return t.Propose(**(task | changes))


def refused(deals: Deals, msg: t.Propose) -> None:
    deals.world.refused(msg, deals.key(BUYER, "analyst"))


def test_what_a_grant_covers_runs(deals) -> None:
    deals.world.send(proposal(deals, granted(deals)), deals.key(BUYER, "analyst"))


def test_anothers_data_need_a_grant(deals) -> None:
    refused(deals, proposal(deals, None))


def test_a_grant_is_for_one_purpose(deals) -> None:
    refused(deals, proposal(deals, granted(deals), purpose="sale"))


def test_a_grant_is_for_its_operations(deals) -> None:
    refused(deals, proposal(deals, granted(deals), step={"operation": "mpc.statistics"}))
    program = b"\x09" * 32
    grant = granted(deals, operations=(program.hex(),))
    refused(deals, proposal(deals, grant))
    deals.world.send(proposal(deals, grant, step={"program": program}), deals.key(BUYER, "analyst"))


def test_a_grant_is_for_its_columns(deals) -> None:
    refused(deals, proposal(deals, granted(deals), head={"columns": ("k", "v")}))


def test_a_grant_is_for_its_dataset(deals) -> None:
    refused(deals, proposal(deals, granted(deals), head={"path": PATH + "-more"}))


@pytest.mark.parametrize("receivers", [(SELLER,), (BUYER, SELLER)])
def test_a_grant_is_for_its_receivers(deals, receivers) -> None:
    refused(deals, proposal(deals, granted(deals), step={"receivers": receivers}))


def test_a_grant_is_for_its_parties(deals) -> None:
    """A third that brings data: both providers must have agreed to each other."""
    alone = granted(deals, parties=(BUYER, SELLER, COORDINATOR))
    third = t.InputHead(organisation=OTHER, path=path_of(OTHER), version=1, columns=("k",), grant=granted(deals, OTHER))
    head = t.InputHead(organisation=SELLER, path=PATH, version=1, columns=("k",), grant=alone)
    wide = {"members": (BUYER, SELLER, OTHER), "inputs": (own_head(), head, third)}
    refused(deals, proposal(deals, alone, step=wide))
    wide["inputs"] = (own_head(), dataclasses.replace(head, grant=granted(deals)), third)
    deals.world.send(proposal(deals, alone, step=wide), deals.key(BUYER, "analyst"))


def test_a_helper_that_brings_nothing_is_one_of_the_parties(deals) -> None:
    """It holds shares: with one other member it opens them all."""
    helped = {"members": (BUYER, SELLER, "other-a")}
    refused(deals, proposal(deals, granted(deals), step=helped))
    grant = granted(deals, parties=(*PARTIES, "other-a"))
    deals.world.send(proposal(deals, grant, step=helped), deals.key(BUYER, "analyst"))


def test_the_coordinator_is_one_of_the_parties(deals) -> None:
    refused(deals, proposal(deals, granted(deals), coordinator="other-a"))
    refused(deals, proposal(deals, granted(deals, parties=(BUYER, SELLER))))


def test_data_that_were_withdrawn_are_not_used(deals) -> None:
    grant = granted(deals)
    task = derive("task", deals.world.send(proposal(deals, grant), deals.key(BUYER, "analyst")))
    for party in (BUYER, SELLER, COORDINATOR):
        deals.world.send(t.Accept(task=task), deals.key(party, "node"))
    deals.world.send(c.Withdraw(path=PATH, version=1), deals.key(SELLER, "steward"))
    refused(deals, proposal(deals, grant))
    deals.world.refused(t.Run(task=task, attempt=1), deals.key(COORDINATOR, "node"))


@pytest.mark.parametrize("change", ["revoked", "rotated"])
def test_a_task_runs_only_while_who_proposed_it_is_an_active_analyst(deals, change) -> None:
    analyst, admin = deals.key(BUYER, "analyst"), deals.key(BUYER, "admin")
    task = derive("task", deals.world.send(proposal(deals, granted(deals)), analyst))
    for party in (BUYER, SELLER, COORDINATOR):
        deals.world.send(t.Accept(task=task), deals.key(party, "node"))
    if change == "revoked":
        deals.world.send(i.Revoke(organisation=BUYER, key=analyst), admin)
    else:
        spec = i.UserSpec(key=b"\x0e" * 32, roles=("analyst",), seal_key=b"\x09" * 32)
        deals.world.send(i.PutUser(organisation=BUYER, user=spec, replaces=analyst), admin, spec.key)
    deals.world.refused(t.Run(task=task, attempt=1), deals.key(COORDINATOR, "node"))


def test_a_grant_is_its_holders_key_alone(deals) -> None:
    grant = granted(deals)
    spec = i.UserSpec(key=b"\x0f" * 32, roles=("analyst",), seal_key=b"\x09" * 32)
    msg = i.PutUser(organisation=BUYER, user=spec, replaces=None)
    deals.world.send(msg, deals.key(BUYER, "admin"), spec.key)
    deals.world.refused(proposal(deals, grant), spec.key)


def test_only_members_report_a_step(deals) -> None:
    """The coordinator takes part in the task, and not in its step."""
    task = derive("task", deals.world.send(proposal(deals, granted(deals)), deals.key(BUYER, "analyst")))
    for party in (BUYER, SELLER, COORDINATOR):
        deals.world.send(t.Accept(task=task), deals.key(party, "node"))
    deals.world.send(t.Run(task=task, attempt=1), deals.key(COORDINATOR, "node"))
    msg = t.Report(task=task, attempt=1, step="one", outcome=bytes(32))
    for stranger in (COORDINATOR, OTHER):
        deals.world.refused(msg, deals.key(stranger, "node"))
    deals.world.send(msg, deals.key(SELLER, "node"))
    deals.world.refused(msg, deals.key(SELLER, "node"))


def test_an_initiator_that_coordinates_pays_itself_the_coordinators_share_and_nobody_else_less(deals) -> None:
    """The documented choice: what the provider gets does not depend on who coordinates."""
    open_terms = terms(price=100, purposes=("*",), operations=("*",))
    msg = c.Update(path=PATH, version=1, title="rows", description="", terms=open_terms)
    deals.world.send(msg, deals.key(SELLER, "steward"))
    gained = []
    for coordinator in (COORDINATOR, BUYER):
        before = deals.balances()
        made = proposal(deals, granted(deals), coordinator=coordinator)
        task = derive("task", deals.world.send(made, deals.key(BUYER, "analyst")))
        for party in made.parties:
            deals.world.send(t.Accept(task=task), deals.key(party, "node"))
        deals.world.send(t.Run(task=task, attempt=1), deals.key(coordinator, "node"))
        for party in (BUYER, SELLER):
            outcome = t.Report(task=task, attempt=1, step="one", outcome=bytes(32))
            deals.world.send(outcome, deals.key(party, "node"))
        record = task_record(deals.world.store, task)
        result = result_hash(record, outcomes(deals.world.store, record))
        deals.world.send(t.Finish(task=task, result=result), deals.key(coordinator, "node"))
        deals.world.send(t.Settle(task=task), deals.key(SELLER, "node"))
        after = deals.balances()
        gained.append({name: after[name] - before[name] for name in (BUYER, SELLER, COORDINATOR)})
    assert gained == [{BUYER: -100, SELLER: 95, COORDINATOR: 5}, {BUYER: -95, SELLER: 95, COORDINATOR: 0}]
