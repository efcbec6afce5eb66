"""What points transactions do."""

from __future__ import annotations

import dataclasses

from fondaco.ledger.contracts.identity import authority
from fondaco.ledger.contracts.identity import keys as identity_keys
from fondaco.ledger.contracts.identity.messages import Organisation
from fondaco.ledger.contracts.kit import Context, derive, is_amount, load, records, save
from fondaco.ledger.contracts.points import accounts, keys
from fondaco.ledger.contracts.points import messages as m
from fondaco.ledger.contracts.points.errors import Conflict, Invalid, Unknown, WrongStatus
from fondaco.ledger.state import ReadStore

MAX_MINTED = 64
MAX_MINT_SECONDS = 30 * 86400


def _next(ctx: Context, key: bytes, sequence: int) -> None:
    expected = accounts.read_number(ctx.store, key) + 1
    if sequence != expected:
        raise Conflict(f"sequence {sequence}, but {expected} is next", remedy="read the account and sign again")
    accounts.write_number(ctx.store, key, expected)


def transfer(ctx: Context, msg: m.Transfer) -> None:
    """Pay another organisation."""
    authority.user_or_admins(ctx, msg.source, "governor")
    if authority.organisation(ctx.store, msg.target) is None:
        raise Unknown(f"{msg.target} is not an active organisation")
    if not is_amount(msg.amount) or msg.amount == 0 or msg.source == msg.target:
        raise Invalid("a transfer moves one or more points to another organisation")
    _next(ctx, keys.transfers(msg.source), msg.sequence)
    accounts.move(ctx, msg.source, msg.target, msg.amount)
    ctx.emit(accounts.CONTRACT, "transferred", source=msg.source, target=msg.target, amount=msg.amount)


def propose_mint(ctx: Context, msg: m.ProposeMint) -> None:
    """Put a minting of points to the vote."""
    authority.user_or_admins(ctx, msg.by, "governor")
    if not 1 <= len(msg.amounts) <= MAX_MINTED or not all(a > 0 and is_amount(a) for a in msg.amounts.values()):
        raise Invalid("a mint gives one or more points to 1 to 64 organisations")
    for name in msg.amounts:
        if authority.organisation(ctx.store, name) is None:
            raise Unknown(f"{name} is not an active organisation")
    if not ctx.time < msg.expires <= ctx.time + MAX_MINT_SECONDS:
        raise Invalid("a vote ends within 30 days")
    proposal_id = derive("mint", ctx.tx)
    record = m.MintProposal(
        id=proposal_id, by=msg.by, amounts=msg.amounts, expires=msg.expires, status="open", votes={}
    )
    save(ctx.store, keys.proposal(proposal_id), record)
    ctx.emit(accounts.CONTRACT, "mint-proposed", proposal=proposal_id, by=msg.by)


def vote_mint(ctx: Context, msg: m.VoteMint) -> None:
    """Vote; the proposal passes above two thirds of the active organisations, and fails when it no longer can."""
    authority.user_or_admins(ctx, msg.by, "governor")
    found = load(ctx.store, m.MintProposal, keys.proposal(msg.proposal))
    if found is None:
        raise Unknown("no such proposal")
    if found.status != "open" or ctx.time >= found.expires:
        raise WrongStatus("the vote is over")
    if msg.by in found.votes:
        raise Conflict(f"{msg.by} has voted")
    _next(ctx, keys.votes(msg.by), msg.sequence)
    votes = found.votes | {msg.by: msg.approve}
    active = [o.name for o in records(ctx.store, Organisation, identity_keys.ORGANISATIONS) if o.status == "active"]
    yes = sum(1 for name in active if votes.get(name) is True)
    no = sum(1 for name in active if votes.get(name) is False)
    status = "open"
    if 3 * yes > 2 * len(active):
        status = "passed"
    elif 3 * (len(active) - no) <= 2 * len(active):
        status = "rejected"
    save(ctx.store, keys.proposal(found.id), dataclasses.replace(found, votes=votes, status=status))
    ctx.emit(accounts.CONTRACT, "mint-vote", proposal=found.id, by=msg.by, approve=int(msg.approve))
    if status == "passed":
        for name, amount in sorted(found.amounts.items()):
            accounts.mint(ctx, name, amount)


def check_conservation(store: ReadStore) -> tuple[int, int, int]:
    """(balances, escrows, supply); the first two add up to the third.

    Raises:
        WrongStatus: they do not; the ledger is damaged.
    """
    balances = sum(int.from_bytes(value, "big") for _key, value in store.items(keys.BALANCES))
    escrows = sum(escrow.amount for escrow in records(store, m.Escrow, keys.ESCROWS))
    total = accounts.supply(store)
    if balances + escrows != total:
        raise WrongStatus(f"balances {balances} and escrows {escrows} are not the supply {total}")
    return balances, escrows, total


HANDLERS = ((m.Transfer, transfer), (m.ProposeMint, propose_mint), (m.VoteMint, vote_mint))
