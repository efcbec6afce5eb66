"""What points transactions do."""

from __future__ import annotations

from fondaco.ledger.contracts.identity import authority
from fondaco.ledger.contracts.kit import Context, is_amount, records
from fondaco.ledger.contracts.points import accounts, keys
from fondaco.ledger.contracts.points import messages as m
from fondaco.ledger.contracts.points.errors import Conflict, Invalid, Unknown, WrongStatus
from fondaco.ledger.state import ReadStore


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


HANDLERS = ((m.Transfer, transfer),)
