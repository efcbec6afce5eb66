"""What each body does when its proposal has passed, and what is checked when it is proposed.

`check` refuses what could never be executed; `apply` checks again against the state of its own time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from fondaco.core.codec import Value
from fondaco.core.messages import altered, from_value, kind_of
from fondaco.errors import CodecError
from fondaco.ledger.contracts.disputes import handlers as disputes
from fondaco.ledger.contracts.disputes.messages import Rules
from fondaco.ledger.contracts.governance import expulsion, keys, parameters
from fondaco.ledger.contracts.governance import messages as m
from fondaco.ledger.contracts.governance.errors import Conflict, Invalid, Unknown, WrongStatus
from fondaco.ledger.contracts.identity import authority
from fondaco.ledger.contracts.identity import handlers as identity
from fondaco.ledger.contracts.identity.messages import Invite
from fondaco.ledger.contracts.kit import (
    Context,
    ValidatorUpdate,
    is_amount,
    is_text,
    is_word,
    load,
    save,
    validators,
)
from fondaco.ledger.contracts.points import accounts
from fondaco.ledger.contracts.settlement import payments
from fondaco.ledger.contracts.settlement.messages import Formula

CONTRACT = "governance"
MAX_NAMED = 64
MAX_PERIOD = 10_000_000  # blocks
MAX_QUOTA = 1_000_000
MAX_POWER = (1 << 60) // 256  # CometBFT's MaxTotalVotingPower is 2^60 - 1 over at most 256 validators
MAX_VALIDATORS = 256
MAX_WEIGHT = 1_000_000
MAX_VERSION = 1 << 31


def _known(ctx: Context, name: str) -> None:
    if authority.organisation(ctx.store, name) is None:
        raise Unknown(f"{name} is not an active organisation")


def _named(numbers: dict[str, int], most: int, what: str) -> None:
    if not 1 <= len(numbers) <= MAX_NAMED or not all(0 <= number <= most for number in numbers.values()):
        raise Invalid(f"{what} are named for 1 to {MAX_NAMED}, each 0 to {most}")


def _put(ctx: Context, key: bytes, number: int) -> None:
    """A voted number; 0 goes back to what holds without a vote."""
    if number:
        ctx.store.set(key, number.to_bytes(8, "big"))
    else:
        ctx.store.delete(key)


def _invitation(body: m.Admit, by: str) -> Invite:
    return Invite(
        by=by,
        key=body.key,
        certificate=body.certificate,
        organisation=body.organisation,
        kind=body.kind,
        expires=body.expires,
    )


def _check_admit(ctx: Context, body: m.Admit) -> None:
    identity.check_invitation(ctx, _invitation(body, ""))


def _admit(ctx: Context, body: m.Admit, by: str) -> None:
    identity.open_invitation(ctx, _invitation(body, by), voted=True)


def _check_expel(ctx: Context, body: m.Expel) -> None:
    _known(ctx, body.organisation)


def _expel(ctx: Context, body: m.Expel, _by: str) -> None:
    expulsion.expel(ctx, body)


def _check_seat(ctx: Context, body: m.Seat) -> None:
    if len(body.key) != 32 or not 0 <= body.power <= MAX_POWER:
        raise Invalid(f"a validator has a key of 32 bytes and a power of 0 to {MAX_POWER}")
    _known(ctx, body.organisation)


def _seat(ctx: Context, body: m.Seat, _by: str) -> None:
    old = load(ctx.store, m.Seat, keys.seat(body.organisation))
    if body.power == 0:
        if old is None or old.key != body.key:
            raise Unknown(f"{body.organisation} has no validator of this key")
        ctx.store.delete(keys.seat(body.organisation))
    else:
        if old is None or old.key != body.key:
            identity.bind(ctx, body.key, "validator", body.organisation)
            if old is not None:
                ctx.updates.append(ValidatorUpdate(old.key, 0))
        save(ctx.store, keys.seat(body.organisation), body)
    ctx.updates.append(ValidatorUpdate(body.key, body.power))
    most, count = parameters.parameters(ctx.store).most_validators, len(validators(ctx))
    if not 1 <= count <= most:
        raise WrongStatus(f"the consortium has 1 to {most} validators, this would make {count}")
    ctx.emit(CONTRACT, "seat", organisation=body.organisation, key=body.key, power=body.power)


def found_seat(ctx: Context, seat: m.Seat) -> None:
    """Say whose a founding validator is; genesis alone comes here."""
    _check_seat(ctx, seat)
    if validators(ctx).get(seat.key) != seat.power or not seat.power:
        raise Unknown("a founding seat is not one of the genesis' validators")
    identity.bind(ctx, seat.key, "validator", seat.organisation)
    save(ctx.store, keys.seat(seat.organisation), seat)


def _shared(ctx: Context, body: m.Shares | m.Division) -> Formula:
    """The formula in force, with what a body changes of it."""
    return altered(payments.formula(ctx.store), **dataclasses.asdict(body))


def _check_formula(ctx: Context, body: m.Shares | m.Division) -> None:
    payments.check(_shared(ctx, body))


def _formula(ctx: Context, body: m.Shares | m.Division, _by: str) -> None:
    payments.set_shares(ctx, _shared(ctx, body))


def _check_rules(_ctx: Context, body: Rules) -> None:
    disputes.check(body)


def _rules(ctx: Context, body: Rules, _by: str) -> None:
    disputes.set_rules(ctx, body)


def _check_quota(ctx: Context, body: m.Quota) -> None:
    _known(ctx, body.organisation)
    if not 0 <= body.limit <= MAX_QUOTA:
        raise Invalid(f"a quota is up to {MAX_QUOTA} transactions in a block")


def _quota(ctx: Context, body: m.Quota, _by: str) -> None:
    _put(ctx, keys.quota(body.organisation), body.limit)
    ctx.emit(CONTRACT, "quota", organisation=body.organisation, limit=body.limit)


def _check_prices(_ctx: Context, body: m.Prices) -> None:
    _named(body.prices, 1 << 40, "prices")
    if not all(is_word(operation) for operation in body.prices):
        raise Invalid("a price is for an operation")


def _prices(ctx: Context, body: m.Prices, _by: str) -> None:
    for operation, price in sorted(body.prices.items()):
        _put(ctx, keys.price(operation), price)
        ctx.emit(CONTRACT, "price", operation=operation, points=price)


def _check_mint(ctx: Context, body: m.Mint) -> None:
    if not 1 <= len(body.amounts) <= MAX_NAMED or not all(a > 0 and is_amount(a) for a in body.amounts.values()):
        raise Invalid(f"a mint gives one or more points to 1 to {MAX_NAMED} organisations")
    for name in sorted(body.amounts):
        _known(ctx, name)


def _mint(ctx: Context, body: m.Mint, _by: str) -> None:
    for name, amount in sorted(body.amounts.items()):
        accounts.mint(ctx, name, amount)


def _check_spend(ctx: Context, body: m.Spend) -> None:
    _known(ctx, body.target)
    if body.amount < 1 or not is_amount(body.amount):
        raise Invalid("the fund pays one or more points")


def _spend(ctx: Context, body: m.Spend, _by: str) -> None:
    payments.spend_fund(ctx, body.target, body.amount)


def _check_program(_ctx: Context, body: m.Program) -> None:
    if len(body.program) != 32 or not is_word(body.operation) or not is_text(body.title, 200):
        raise Invalid("a program has a hash of 32 bytes, an operation and a short title")


def _program(ctx: Context, body: m.Program, _by: str) -> None:
    if not body.admitted and parameters.program(ctx.store, body.program) is None:
        raise Unknown("the program is not on the list")
    save(ctx.store, keys.program(body.program), body)
    ctx.emit(CONTRACT, "program", program=body.program, operation=body.operation, admitted=int(body.admitted))


def _check_upgrade(ctx: Context, body: m.Upgrade) -> None:
    if len(body.package) != 32 or not 1 < body.version < MAX_VERSION or not is_amount(body.height):
        raise Invalid("an upgrade has a height, a version after the first and the SHA-256 of a package")
    if body.height <= ctx.height:
        raise WrongStatus(f"block {body.height} is not ahead")


def begin_with(ctx: Context, version: int) -> None:
    """The version of the rules that a chain is founded with.

    Raises:
        Invalid: there is no such version.
    """
    if not 1 <= version < MAX_VERSION:
        raise Invalid("rules have a version from 1 on")
    if version > parameters.FIRST.version:
        first = m.Upgrade(height=parameters.FIRST.height, version=version, package=parameters.FIRST.package)
        save(ctx.store, keys.UPGRADES, m.Upgrades(steps=(first,)))


def _upgrade(ctx: Context, body: m.Upgrade, _by: str) -> None:
    steps = parameters.upgrades(ctx.store)
    last = steps[-1] if steps else parameters.FIRST
    if last.height > ctx.height:
        raise Conflict(f"an upgrade is due at block {last.height}", remedy="cancel it by a vote first")
    if body.version <= last.version:
        raise WrongStatus(f"version {last.version} is in force; an upgrade leads to a later one")
    save(ctx.store, keys.UPGRADES, m.Upgrades(steps=(*steps, body)))
    ctx.emit(CONTRACT, "upgrade", height=body.height, version=body.version, package=body.package)


def _check_cancel(_ctx: Context, body: m.CancelUpgrade) -> None:
    if not is_amount(body.height):
        raise Invalid("an upgrade is at a height")


def _cancel(ctx: Context, body: m.CancelUpgrade, _by: str) -> None:
    steps = parameters.upgrades(ctx.store)
    # The next block is made by the rules that this one leaves, so what it cancels is later than that or not at all.
    if not steps or steps[-1].height != body.height or body.height <= ctx.height:
        raise WrongStatus(f"no upgrade is ahead at block {body.height}")
    save(ctx.store, keys.UPGRADES, m.Upgrades(steps=steps[:-1]))
    ctx.emit(CONTRACT, "upgrade-cancelled", height=body.height, version=steps[-1].version)


def _check_weights(ctx: Context, body: m.Weights) -> None:
    _named(body.weights, MAX_WEIGHT, "weights")
    for name in sorted(body.weights):
        _known(ctx, name)


def _weights(ctx: Context, body: m.Weights, _by: str) -> None:
    for name, weight in sorted(body.weights.items()):
        keys.put_weight(ctx.store, name, weight)
        ctx.emit(CONTRACT, "weight", organisation=name, weight=weight)
    expulsion.check_weight(ctx)


def _check_parameters(_ctx: Context, body: m.Parameters) -> None:
    most = parameters.BASIS_POINTS
    periods = (body.deliberation, body.execution, body.voting - 1)
    if not all(0 <= blocks <= MAX_PERIOD for blocks in periods):
        raise Invalid(f"periods are 0 to {MAX_PERIOD} blocks, the vote lasts one or more")
    # A threshold of half or more, so that no proposal and its contrary pass at once; below all, so that one can pass.
    if not 1 <= body.quorum <= most or not most // 2 <= body.threshold < most or not 1 <= body.veto <= most:
        raise Invalid("quorum and veto are 1 to 10,000 basis points, the threshold is 5,000 to 9,999")
    if not is_amount(body.deposit) or not 1 <= body.quota <= MAX_QUOTA:
        raise Invalid(f"a deposit is not negative, and a quota is 1 to {MAX_QUOTA} transactions in a block")
    if not 1 <= body.most_validators <= MAX_VALIDATORS:
        raise Invalid(f"there are 1 to {MAX_VALIDATORS} validators at most")


def put_parameters(ctx: Context, body: m.Parameters) -> None:
    """Check and write the parameters."""
    _check_parameters(ctx, body)
    save(ctx.store, keys.PARAMETERS, body)


def _parameters(ctx: Context, body: m.Parameters, _by: str) -> None:
    put_parameters(ctx, body)
    ctx.emit(CONTRACT, "parameters", **{name: int(value) for name, value in dataclasses.asdict(body).items()})


Check = Callable[[Context, Any], None]
Effect = Callable[[Context, Any, str], None]
_ALL: tuple[tuple[type, Check, Effect], ...] = (
    (m.Admit, _check_admit, _admit),
    (m.Expel, _check_expel, _expel),
    (m.Seat, _check_seat, _seat),
    (m.Shares, _check_formula, _formula),
    (m.Division, _check_formula, _formula),
    (Rules, _check_rules, _rules),
    (m.Quota, _check_quota, _quota),
    (m.Prices, _check_prices, _prices),
    (m.Mint, _check_mint, _mint),
    (m.Spend, _check_spend, _spend),
    (m.Program, _check_program, _program),
    (m.Upgrade, _check_upgrade, _upgrade),
    (m.CancelUpgrade, _check_cancel, _cancel),
    (m.Weights, _check_weights, _weights),
    (m.Parameters, _check_parameters, _parameters),
)
BODIES: dict[str, tuple[type, Check, Effect]] = {kind_of(cls): (cls, check, effect) for cls, check, effect in _ALL}


def _body(kind: str, body: Value) -> tuple[Any, Check, Effect]:
    found = BODIES.get(kind)
    if found is None:
        raise Unknown(f"nothing of the kind {kind[:64]} can be proposed")
    cls, check, effect = found
    try:
        return from_value(cls, body), check, effect
    except CodecError as fault:
        raise Invalid(fault.cause) from fault


def check(ctx: Context, kind: str, body: Value) -> None:
    """Raise unless a body is sound and could be executed now."""
    read, checked, _effect = _body(kind, body)
    checked(ctx, read)


def apply(ctx: Context, found: m.Proposal) -> None:
    """Do what a passed proposal says.

    Raises:
        ContractError: it can no longer be done; the caller drops all changes.
    """
    read, checked, effect = _body(found.kind, found.body)
    checked(ctx, read)
    effect(ctx, read, found.by)
