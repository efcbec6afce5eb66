"""How an institution leaves: everything that it has open ends here, in this order, and no point is lost.

1. Its tasks, as initiator, coordinator or member. One that is finished is settled; any other is abandoned: the uses
   whose providers had begun are paid, the others go back.
2. Its active grants, given and held, are revoked: uses that no task took go back to the holder.
3. Its requests are withdrawn, and what others ask of it is denied: the escrows go back to who asked.
   Its demands and offers are withdrawn. What settled tasks of it still hold is paid or refunded when the window or the
   dispute is over, as to anyone; as an arbiter it is silent from now on.
4. Its datasets are withdrawn, its open proposals too, with the deposits given back.
5. Its invitations are void, its users and nodes revoked, the organisation expelled, its quota and weight forgotten.
6. Its validator leaves the set two heights on.
7. Its points stay on its account, which no key moves any more, or go to the consortium's fund.

It finds what is open by indices, and reads all datasets, users, nodes and open tasks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from fondaco.core.messages import altered
from fondaco.errors import ContractError
from fondaco.ledger.contracts import due
from fondaco.ledger.contracts.catalog import keys as catalog_keys
from fondaco.ledger.contracts.catalog.messages import Dataset
from fondaco.ledger.contracts.governance import keys, parameters
from fondaco.ledger.contracts.governance import messages as m
from fondaco.ledger.contracts.governance.errors import Unknown, WrongStatus
from fondaco.ledger.contracts.grants import handlers as grants
from fondaco.ledger.contracts.identity import authority
from fondaco.ledger.contracts.identity import keys as identity_keys
from fondaco.ledger.contracts.identity.messages import Invitation, Node, Organisation, User
from fondaco.ledger.contracts.kit import Context, ValidatorUpdate, load, records, save, validators
from fondaco.ledger.contracts.market import handlers as market
from fondaco.ledger.contracts.points import accounts
from fondaco.ledger.contracts.points.keys import FUND
from fondaco.ledger.contracts.tasks import handlers as tasks
from fondaco.ledger.contracts.tasks import keys as task_keys
from fondaco.ledger.contracts.tasks.messages import Settle
from fondaco.ledger.state import Overlay

CONTRACT = "governance"
REASON = "expelled"


def check_weight(ctx: Context) -> None:
    """Raise WrongStatus unless an active organisation's vote has weight: else nothing could ever be voted again."""
    known = records(ctx.store, Organisation, identity_keys.ORGANISATIONS)
    if not any(o.status == authority.ACTIVE and parameters.weight(ctx.store, o.name) for o in known):
        raise WrongStatus("no vote would have weight")


def expel(ctx: Context, body: m.Expel) -> None:
    """End what an institution has open, and its membership."""
    found = authority.organisation(ctx.store, body.organisation)
    if found is None:
        raise Unknown(f"{body.organisation} is not an active organisation")
    for end in ENDINGS:
        end(ctx, body.organisation)
    save(ctx.store, identity_keys.organisation(found.name), altered(found, status=REASON))
    check_weight(ctx)
    if body.forfeit:
        accounts.move(ctx, found.name, FUND, accounts.balance(ctx.store, found.name))
    ctx.emit(CONTRACT, REASON, organisation=found.name, forfeit=int(body.forfeit))


def _settled(ctx: Context, task_id: bytes) -> bool:
    """Whether a finished task could be settled as anyone could have asked for."""
    branch = Overlay(ctx.store)
    own = dataclasses.replace(ctx, store=branch, events=[])
    try:
        tasks.settle(own, Settle(task=task_id))
    except ContractError:  # something holds it up, which then decides it
        return False
    branch.merge_into(ctx.store)
    ctx.events.extend(own.events)
    return True


def _end_tasks(ctx: Context, name: str) -> None:
    for task_id in [key[-32:] for key, _value in ctx.store.items(task_keys.OPEN)]:
        record = tasks.task(ctx.store, task_id)
        if name in (record.initiator, *record.parties):
            if record.status == "finished":
                _settled(ctx, task_id)
            else:
                tasks.end(ctx, record, "abandoned")


def _end_grants(ctx: Context, name: str) -> None:
    grants.end_all(ctx, name, REASON)


def _withdraw_datasets(ctx: Context, name: str) -> None:
    for found in list(records(ctx.store, Dataset, catalog_keys.DATASETS)):
        if found.owner == name and found.status == "published":
            save(
                ctx.store,
                catalog_keys.dataset(found.path, found.version),
                altered(found, status="withdrawn"),
            )
            ctx.emit("catalog", "withdrawn", path=found.path, version=found.version, owner=name)


def _withdraw_proposals(ctx: Context, name: str) -> None:
    mine = [key[len(keys.OPEN) :] for key, by in ctx.store.items(keys.OPEN) if by == name.encode()]
    for proposal_id in mine:
        found = load(ctx.store, m.Proposal, keys.proposal(proposal_id))
        if found is not None:
            withdraw_open(ctx, found)


def withdraw_open(ctx: Context, found: m.Proposal) -> None:
    """End an open proposal without a decision; its deposit goes back."""
    for height in (found.closes, ctx.height):  # at the end of this block, if its outcome was certain
        due.not_at_height(ctx.store, height, CONTRACT, found.id)
    close(ctx, altered(found, status="withdrawn", decided=ctx.height), found.by)


def close(ctx: Context, record: m.Proposal, deposit_to: str) -> None:
    """Write what an open proposal has become, and give its deposit to whom it is due."""
    ctx.store.delete(keys.opened(record.id))
    save(ctx.store, keys.proposal(record.id), record)
    held = accounts.held(ctx.store, record.id)
    if held:
        accounts.release(ctx, record.id, deposit_to, held)
    ctx.emit(CONTRACT, record.status, proposal=record.id)


def _void_keys(ctx: Context, name: str) -> None:
    for invitation in list(records(ctx.store, Invitation, identity_keys.INVITATIONS)):
        if invitation.by == name and invitation.status == "open":
            void = altered(invitation, status="void")
            save(ctx.store, identity_keys.invitation(invitation.key), void)
    for user in list(records(ctx.store, User, identity_keys.USERS)):
        if user.organisation == name and user.status == authority.ACTIVE:
            save(ctx.store, identity_keys.user(user.key), altered(user, status="revoked"))
    for node in list(records(ctx.store, Node, identity_keys.NODES)):
        if node.organisation == name and node.status == authority.ACTIVE:
            save(ctx.store, identity_keys.node(node.key), altered(node, status="revoked"))


def _leave_seat(ctx: Context, name: str) -> None:
    ctx.store.delete(keys.quota(name))
    ctx.store.delete(keys.weight(name))
    seat = load(ctx.store, m.Seat, keys.seat(name))
    if seat is None:
        return
    if [key for key in validators(ctx) if key != seat.key] == []:
        raise WrongStatus(f"{name} has the only validator", remedy="give another institution a seat first")
    ctx.store.delete(keys.seat(name))
    ctx.updates.append(ValidatorUpdate(seat.key, 0))
    ctx.emit(CONTRACT, "seat", organisation=name, key=seat.key, power=0)


# What an institution has open, and how it ends; a contract that opens things adds its own here.
ENDINGS: tuple[Callable[[Context, str], None], ...] = (
    _end_tasks,
    market.close_all,
    _end_grants,
    _withdraw_datasets,
    _withdraw_proposals,
    _void_keys,
    _leave_seat,
)
