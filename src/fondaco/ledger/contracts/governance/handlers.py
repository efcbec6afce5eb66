"""What governance transactions do, and what falls due: the tally and the execution of proposals."""

from __future__ import annotations

import dataclasses

from fondaco.core.messages import altered
from fondaco.errors import CodecError, ContractError, KeyMaterialError, NamingError, SealError
from fondaco.ledger.contracts import due
from fondaco.ledger.contracts.governance import effects, expulsion, keys, parameters, tally
from fondaco.ledger.contracts.governance import messages as m
from fondaco.ledger.contracts.governance.errors import Conflict, Invalid, Unknown, WrongStatus
from fondaco.ledger.contracts.identity import authority
from fondaco.ledger.contracts.identity import keys as identity_keys
from fondaco.ledger.contracts.identity.messages import Organisation
from fondaco.ledger.contracts.kit import Context, derive, is_text, load, records, save
from fondaco.ledger.contracts.points import accounts
from fondaco.ledger.contracts.points.keys import FUND
from fondaco.ledger.state import Overlay, ReadStore

CONTRACT = "governance"
MAX_TITLE = 200
MAX_OPEN = 16  # proposals of one institution that are not decided


def proposal(store: ReadStore, proposal_id: bytes) -> m.Proposal:
    """The record of a proposal.

    Raises:
        Unknown: there is none.
    """
    found = load(store, m.Proposal, keys.proposal(proposal_id))
    if found is None:
        raise Unknown("no such proposal")
    return found


def weights(store: ReadStore) -> dict[str, int]:
    """The weight of each active organisation's vote, in order of name."""
    known = records(store, Organisation, identity_keys.ORGANISATIONS)
    return {o.name: parameters.weight(store, o.name) for o in known if o.status == authority.ACTIVE}


def propose(ctx: Context, msg: m.Propose) -> None:
    """Put a typed body to the vote."""
    authority.user_or_admins(ctx, msg.by, "governor")
    if not msg.title or not is_text(msg.title, MAX_TITLE):
        raise Invalid("a proposal has a title on one short line")
    effects.check(ctx, msg.kind, msg.body)
    mine = sum(1 for _key, by in ctx.store.items(keys.OPEN) if by == msg.by.encode())
    if mine >= MAX_OPEN:
        raise WrongStatus(f"{msg.by} has {mine} open proposals", remedy="withdraw one, or wait for a vote to end")
    now = parameters.parameters(ctx.store)
    opens = ctx.height + now.deliberation
    record = m.Proposal(
        id=derive("proposal", ctx.tx),
        by=msg.by,
        title=msg.title,
        kind=msg.kind,
        body=msg.body,
        deposit=now.deposit,
        rules=m.VotingRules(
            quorum=now.quorum, threshold=now.threshold, veto=now.veto, early=now.early, execution=now.execution
        ),
        since=ctx.height,
        opens=opens,
        closes=opens + now.voting - 1,
        votes={},
        status="open",
        decided=0,
        executes=0,
        cause="",
    )
    if record.deposit:
        accounts.lock(ctx, record.id, record.by, record.deposit)
    save(ctx.store, keys.proposal(record.id), record)
    ctx.store.set(keys.opened(record.id), record.by.encode())
    due.at_height(ctx.store, record.closes, CONTRACT, record.id)
    ctx.emit(
        CONTRACT, "proposed", proposal=record.id, by=record.by, body=record.kind, opens=opens, closes=record.closes
    )


def vote(ctx: Context, msg: m.Vote) -> None:
    """Vote, once; the outcome is counted at the end of a block."""
    authority.user_or_admins(ctx, msg.by, "governor")
    found = proposal(ctx.store, msg.proposal)
    if msg.choice not in m.CHOICES:
        raise Invalid(f"a vote is one of {', '.join(m.CHOICES)}")
    if found.status != "open" or ctx.height > found.closes:
        raise WrongStatus(f"the vote is over: the proposal is {found.status}")
    if ctx.height < found.opens:
        raise WrongStatus(
            f"the institutions deliberate until block {found.opens}", remedy=f"vote from block {found.opens} on"
        )
    if msg.by in found.votes:
        raise Conflict(f"{msg.by} has voted")
    expected = parameters.number(ctx.store, keys.votes(msg.by), 0) + 1
    if msg.sequence != expected:
        raise Conflict(f"sequence {msg.sequence}, but {expected} is next", remedy="read the account and vote again")
    ctx.store.set(keys.votes(msg.by), expected.to_bytes(8, "big"))
    changed = altered(found, votes=found.votes | {msg.by: msg.choice})
    save(ctx.store, keys.proposal(found.id), changed)
    ctx.emit(CONTRACT, "voted", proposal=found.id, by=msg.by, choice=msg.choice)
    if found.rules.early and tally.decided(tally.count(changed.votes, weights(ctx.store)), found.rules) is not None:
        due.not_at_height(ctx.store, found.closes, CONTRACT, found.id)
        due.at_height(ctx.store, ctx.height, CONTRACT, found.id)


def withdraw(ctx: Context, msg: m.Withdraw) -> None:
    """Take a proposal back before anyone has voted."""
    found = proposal(ctx.store, msg.proposal)
    authority.user_or_admins(ctx, found.by, "governor")
    if found.status != "open" or found.votes:
        raise WrongStatus("the proposal is decided, or an institution has voted on it")
    expulsion.withdraw_open(ctx, found)


def on_due(ctx: Context, proposal_id: bytes) -> None:
    """The vote on a proposal ends, or what has passed is executed."""
    found = proposal(ctx.store, proposal_id)
    if found.status == "open":
        _decide(ctx, found)
    elif found.status == "passed":
        _execute(ctx, found)


def _decide(ctx: Context, found: m.Proposal) -> None:
    counted = tally.count(found.votes, weights(ctx.store))
    if ctx.height < found.closes and tally.decided(counted, found.rules) is None:
        # It was certain when the last vote came; in this same block, who belongs or what a vote weighs has changed.
        due.at_height(ctx.store, found.closes, CONTRACT, found.id)
        return
    status = tally.outcome(counted, found.rules)
    executes = ctx.height + found.rules.execution if status == tally.PASSED else 0
    record = altered(found, status=status, decided=ctx.height, executes=executes)
    expulsion.close(ctx, record, FUND if status == tally.VETOED else found.by)
    if status == tally.PASSED:
        if record.rules.execution:
            due.at_height(ctx.store, executes, CONTRACT, record.id)
        else:
            _execute(ctx, record)


def _execute(ctx: Context, found: m.Proposal) -> None:
    """Do what a passed proposal says, wholly or not at all."""
    branch = Overlay(ctx.store)
    own = dataclasses.replace(ctx, store=branch, events=[], updates=list(ctx.updates))
    try:
        effects.apply(own, found)
    except (ContractError, CodecError, NamingError, KeyMaterialError, SealError) as refusal:
        save(ctx.store, keys.proposal(found.id), altered(found, status="failed", cause=refusal.cause))
        ctx.emit(CONTRACT, "failed", proposal=found.id, error=refusal.code)
        return
    branch.merge_into(ctx.store)
    ctx.events.extend(own.events)
    ctx.updates[:] = own.updates
    save(ctx.store, keys.proposal(found.id), altered(found, status="executed"))
    ctx.emit(CONTRACT, "executed", proposal=found.id, body=found.kind)


def init_genesis(ctx: Context, rules: m.Parameters, seats: tuple[m.Seat, ...], version: int) -> None:
    """The first parameters, the institutions whose keys validate, and the version of the rules to begin with.

    Raises:
        Invalid: there is no such version.
    """
    effects.begin_with(ctx, version)
    effects.put_parameters(ctx, rules)
    for seat in seats:
        effects.found_seat(ctx, seat)


HANDLERS = ((m.Propose, propose), (m.Vote, vote), (m.Withdraw, withdraw))
