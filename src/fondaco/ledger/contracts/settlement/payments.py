"""Holding, freezing and paying what tasks owe: the functions that the contracts of tasks and disputes call.

No transaction comes here. What a task owes moves from the escrows of its grants into one of its own, and out of that
one when the window is over or a dispute has ended.
"""

from __future__ import annotations

from collections.abc import Sequence

from fondaco.core.contribution import METHODS
from fondaco.core.messages import altered
from fondaco.ledger.contracts import due
from fondaco.ledger.contracts.grants.messages import Grant
from fondaco.ledger.contracts.kit import Context, is_amount, load, records, save
from fondaco.ledger.contracts.points import accounts
from fondaco.ledger.contracts.points.keys import FUND
from fondaco.ledger.contracts.settlement import keys
from fondaco.ledger.contracts.settlement import messages as m
from fondaco.ledger.contracts.settlement.errors import Invalid, Unknown, WrongStatus
from fondaco.ledger.contracts.settlement.formula import BASIS_POINTS, divide, division
from fondaco.ledger.contracts.tasks.messages import Task
from fondaco.ledger.state import ReadStore

CONTRACT = "settlement"
PRICE = "price"
MAX_WINDOW = 1_000_000
DEFAULT = m.Formula(providers=9_500, participants=0, coordinator=500, fund=0, method=PRICE, window=0)


def check(formula: m.Formula) -> None:
    """Raise Invalid unless shares are basis points adding up to 10,000, the method is known, the window in range."""
    shares = (formula.providers, formula.participants, formula.coordinator, formula.fund)
    if min(shares) < 0 or sum(shares) != BASIS_POINTS:
        raise Invalid(f"the four shares are basis points that add up to {BASIS_POINTS}")
    if formula.method not in (PRICE, *METHODS):
        raise Invalid(f"a method is one of {PRICE}, {', '.join(METHODS)}")
    if not 0 <= formula.window <= MAX_WINDOW:
        raise Invalid(f"a window is 0 to {MAX_WINDOW} blocks")


def set_shares(ctx: Context, formula: m.Formula) -> None:
    """Put the formula; genesis and a passed vote alone come here.

    Raises:
        Invalid: as `check`.
    """
    check(formula)
    save(ctx.store, keys.FORMULA, formula)
    ctx.emit(
        CONTRACT,
        "shares",
        providers=formula.providers,
        participants=formula.participants,
        coordinator=formula.coordinator,
        fund=formula.fund,
        method=formula.method,
        window=formula.window,
    )


def formula(store: ReadStore) -> m.Formula:
    """The formula in force."""
    return load(store, m.Formula, keys.FORMULA) or DEFAULT


def spend_fund(ctx: Context, target: str, amount: int) -> None:
    """Pay out of the consortium's fund; a passed vote alone comes here."""
    if not is_amount(amount):
        raise Invalid("an amount is out of range")
    accounts.move(ctx, FUND, target, amount)
    ctx.emit(CONTRACT, "fund-spent", target=target, amount=amount)


def settlement(store: ReadStore, task: bytes) -> m.Settlement:
    """The record of what a task pays.

    Raises:
        Unknown: there is none.
    """
    found = load(store, m.Settlement, keys.settlement(task))
    if found is None:
        raise Unknown("this task has not been settled")
    return found


def _weights(store: ReadStore, task: Task, method: str, count: int) -> tuple[str, tuple[int, ...]]:
    """What the uses weigh by measured contribution, and the basis; no weights where the price decides.

    The initiator's measurement counts: what it pays does not depend on it. Any party that measured otherwise turns
    the division back to the prices, which all sides have agreed to in the grants. A contribution below zero earns
    nothing.
    """
    found = tuple(records(store, m.Measurement, keys.measurements(task.id, task.attempt)))
    mine = next((one for one in found if one.organisation == task.initiator and one.method == method), None)
    if mine is None or len(mine.contributions) != count:
        return PRICE, ()
    if any((one.method, one.values) != (mine.method, mine.values) for one in found):
        return "contested", ()
    earned = tuple(max(value, 0) for value in mine.contributions)
    return (method, earned) if any(earned) else (PRICE, ())


def _participants(task: Task) -> tuple[str, ...]:
    """Who executed steps, other than who pays and who coordinates; in order of name."""
    members = {name: None for step in task.steps for name in step.members}
    return tuple(sorted(name for name in members if name not in (task.initiator, task.coordinator)))


def settle(ctx: Context, task: Task, grants: Sequence[Grant], *, disputed: bool = False, finished: bool = True) -> None:
    """Gather what a task owes and divide it; paid at once where there is no window and no dispute.

    One that did not finish owes the uses that were begun, by their prices, and nothing to participants.
    """
    rule = formula(ctx.store)
    basis, weights = _weights(ctx.store, task, rule.method, len(grants)) if finished else (PRICE, ())
    found = zip(grants, weights or (grant.price for grant in grants), strict=True)
    uses = tuple(m.Use(grant=g.id, provider=g.provider, price=g.price, weight=weight) for g, weight in found)
    for grant in grants:
        accounts.gather(ctx, grant.id, keys.escrow(task.id), grant.price)
    service = accounts.held(ctx.store, task.id)
    if service:
        accounts.gather(ctx, task.id, keys.escrow(task.id), service)
    record = m.Settlement(
        task=task.id,
        payer=task.initiator,
        total=service + sum(grant.price for grant in grants),
        service=service,
        formula=rule,
        basis=basis,
        uses=uses,
        participants=_participants(task) if finished else (),
        coordinator=task.coordinator,
        payouts=(),
        refund=0,
        refunded=0,
        until=ctx.height + rule.window,
        status="frozen" if disputed else "held",
        since=ctx.height,
    )
    record = altered(record, payouts=division(record, 0)[1])
    save(ctx.store, keys.settlement(task.id), record)
    ctx.emit(
        CONTRACT,
        record.status,
        task=task.id,
        payer=record.payer,
        total=record.total,
        basis=basis,
        until=record.until,
    )
    if disputed:
        return
    if rule.window:
        due.at_height(ctx.store, record.until, CONTRACT, task.id)
    else:
        _pay(ctx, record, 0)


def pay_begun(ctx: Context, task: Task, grant: Grant) -> None:
    """Pay one use of a task that comes to no settlement, though its provider's data were used: by the first rules.

    Divided by the formula in force as a settlement of this use alone, so that nobody gains by what ends the task.
    """
    use = m.Use(grant=grant.id, provider=grant.provider, price=grant.price, weight=1)
    for payout in divide(grant.price, formula(ctx.store), (use,), (), task.coordinator):
        if payout.amount:
            accounts.release(ctx, grant.id, payout.organisation, payout.amount)


def _pay(ctx: Context, record: m.Settlement, refund: int) -> None:
    refunded, payouts = division(record, refund)
    where = keys.escrow(record.task)
    if refunded:
        accounts.refund(ctx, where, refunded)
    for payout in payouts:
        if payout.amount:
            accounts.release(ctx, where, payout.organisation, payout.amount)
    save(
        ctx.store,
        keys.settlement(record.task),
        altered(record, payouts=payouts, refund=refund, refunded=refunded, status="paid"),
    )
    ctx.emit(CONTRACT, "paid", task=record.task, total=record.total - refunded, refunded=refunded)


def pay_due(ctx: Context, task: bytes) -> None:
    """The window is over: pay what is held. What a dispute has frozen waits for its end."""
    found = settlement(ctx.store, task)
    if found.status == "held":
        _pay(ctx, found, 0)


def freeze(ctx: Context, task: bytes) -> None:
    """Keep what is held until a dispute has ended.

    Raises:
        WrongStatus: it has been paid, or is frozen already.
    """
    found = settlement(ctx.store, task)
    if found.status != "held":
        remedy = "a task is disputed within its window, which a vote on `division` sets; there is none unless one did"
        raise WrongStatus(f"what this task pays is {found.status}", remedy=remedy)
    due.not_at_height(ctx.store, found.until, CONTRACT, task)
    save(ctx.store, keys.settlement(task), altered(found, status="frozen"))
    ctx.emit(CONTRACT, "frozen", task=task, payer=found.payer, total=found.total, basis=found.basis, until=found.until)


def resolve(ctx: Context, task: bytes, refund: int) -> None:
    """End a freeze: `refund` basis points go back, rounded down, and the rest is paid by the formula.

    Raises:
        WrongStatus: nothing is frozen.
    """
    found = settlement(ctx.store, task)
    if found.status != "frozen":
        raise WrongStatus(f"what this task pays is {found.status}")
    if not 0 <= refund <= BASIS_POINTS:
        raise Invalid("a refund is 0 to 10,000 basis points")
    _pay(ctx, found, refund)
