"""Balances and escrows: the only code that moves points. Other contracts call it; transactions cannot."""

from __future__ import annotations

from fondaco.core.messages import altered
from fondaco.ledger.contracts.kit import Context, is_amount, load, save
from fondaco.ledger.contracts.points import keys
from fondaco.ledger.contracts.points.errors import Conflict, Invalid, Unknown, WrongStatus
from fondaco.ledger.contracts.points.messages import Escrow
from fondaco.ledger.state import ReadStore, Store

CONTRACT = "points"


def read_number(store: ReadStore, key: bytes) -> int:
    """The number at a key; 0 when there is none."""
    data = store.get(key)
    return 0 if data is None else int.from_bytes(data, "big")


def write_number(store: Store, key: bytes, number: int) -> None:
    """Put a number at a key."""
    if not is_amount(number):
        raise Invalid("an amount is out of range")
    store.set(key, number.to_bytes(8, "big"))


def balance(store: ReadStore, organisation: str) -> int:
    """What an organisation has and may spend."""
    return read_number(store, keys.balance(organisation))


def supply(store: ReadStore) -> int:
    """All points ever minted."""
    return read_number(store, keys.SUPPLY)


def _take(ctx: Context, organisation: str, amount: int) -> None:
    held = balance(ctx.store, organisation)
    if amount > held:
        raise WrongStatus(
            f"{organisation} has {held} points, {amount} are needed", remedy="ask for fewer or buy points"
        )
    write_number(ctx.store, keys.balance(organisation), held - amount)


def _give(ctx: Context, organisation: str, amount: int) -> None:
    write_number(ctx.store, keys.balance(organisation), balance(ctx.store, organisation) + amount)


def mint(ctx: Context, organisation: str, amount: int) -> None:
    """Make points; genesis and a passed vote alone come here."""
    if not is_amount(amount):
        raise Invalid("an amount is out of range")
    write_number(ctx.store, keys.SUPPLY, supply(ctx.store) + amount)
    _give(ctx, organisation, amount)
    ctx.emit(CONTRACT, "minted", organisation=organisation, amount=amount)


def move(ctx: Context, source: str, target: str, amount: int) -> None:
    """From balance to balance."""
    _take(ctx, source, amount)
    _give(ctx, target, amount)


def lock(ctx: Context, escrow_id: bytes, owner: str, amount: int) -> None:
    """Set points aside."""
    if ctx.store.get(keys.escrow(escrow_id)) is not None:
        raise Conflict("this escrow is there already")
    _take(ctx, owner, amount)
    save(ctx.store, keys.escrow(escrow_id), Escrow(id=escrow_id, owner=owner, amount=amount))
    ctx.emit(CONTRACT, "escrowed", escrow=escrow_id, organisation=owner, amount=amount)


def _escrow(ctx: Context, escrow_id: bytes, amount: int) -> Escrow:
    found = load(ctx.store, Escrow, keys.escrow(escrow_id))
    if found is None:
        raise Unknown("no such escrow")
    if not 0 <= amount <= found.amount:
        raise WrongStatus(f"the escrow holds {found.amount} points, {amount} are needed")
    return found


def release(ctx: Context, escrow_id: bytes, target: str, amount: int) -> None:
    """Pay out of an escrow."""
    found = _escrow(ctx, escrow_id, amount)
    save(ctx.store, keys.escrow(escrow_id), altered(found, amount=found.amount - amount))
    _give(ctx, target, amount)
    ctx.emit(CONTRACT, "paid", escrow=escrow_id, source=found.owner, target=target, amount=amount)


def refund(ctx: Context, escrow_id: bytes, amount: int) -> None:
    """Give back part of an escrow to its owner."""
    found = _escrow(ctx, escrow_id, amount)
    save(ctx.store, keys.escrow(escrow_id), altered(found, amount=found.amount - amount))
    _give(ctx, found.owner, amount)
    if amount:
        ctx.emit(CONTRACT, "refunded", escrow=escrow_id, organisation=found.owner, amount=amount)


def gather(ctx: Context, source_id: bytes, target_id: bytes, amount: int) -> None:
    """Move points of one owner from one escrow into another, which is made if it is not there."""
    found = _escrow(ctx, source_id, amount)
    target = load(ctx.store, Escrow, keys.escrow(target_id)) or Escrow(id=target_id, owner=found.owner, amount=0)
    if target.owner != found.owner:
        raise Conflict("the two escrows are of different owners")
    save(ctx.store, keys.escrow(source_id), altered(found, amount=found.amount - amount))
    save(ctx.store, keys.escrow(target_id), altered(target, amount=target.amount + amount))
    ctx.emit(CONTRACT, "gathered", escrow=source_id, into=target_id, organisation=found.owner, amount=amount)


def held(store: ReadStore, escrow_id: bytes) -> int:
    """What an escrow still holds."""
    found = load(store, Escrow, keys.escrow(escrow_id))
    return 0 if found is None else found.amount
