"""What settlement transactions do."""

from __future__ import annotations

from fondaco.core.contribution import METHODS, contributions, is_efficient
from fondaco.errors import CodecError
from fondaco.ledger.contracts.identity import authority
from fondaco.ledger.contracts.kit import Context, load, save
from fondaco.ledger.contracts.settlement import keys
from fondaco.ledger.contracts.settlement import messages as m
from fondaco.ledger.contracts.settlement.errors import Conflict, Denied, Invalid, WrongStatus
from fondaco.ledger.contracts.settlement.payments import CONTRACT, formula
from fondaco.ledger.contracts.tasks import handlers as tasks

MAX_COALITIONS = 1 << 8


def measure(ctx: Context, msg: m.Measure) -> None:
    """Put what a party measured, once all coalitions are there and the contributions follow from them."""
    record = tasks.task(ctx.store, msg.task)
    party = authority.node(ctx).organisation
    if party not in record.parties and party != record.initiator:
        raise Denied(f"{party} has no part in this task")
    if record.status not in ("running", "finished") or msg.attempt != record.attempt:
        raise WrongStatus(f"attempt {record.attempt} of the task is {record.status}")
    method = formula(ctx.store).method
    if method not in METHODS:
        raise WrongStatus("this consortium divides by price", remedy="vote for a formula that measures contributions")
    count = len(tasks.used_grants(record))
    if not 1 <= len(msg.values) <= MAX_COALITIONS or len(msg.values) != len(msg.coalitions):
        raise Invalid("each coalition has one value")
    values = dict(zip(msg.coalitions, msg.values, strict=True))
    try:
        expected = contributions(method, count, values)
    except CodecError as fault:
        raise Invalid(fault.cause, remedy=fault.remedy) from fault
    if tuple(values) != tuple(sorted(values)) or len(values) != len(msg.coalitions):
        raise Invalid("the coalitions are in ascending order, each once")
    if not is_efficient(method, count, values, msg.contributions):
        raise Invalid("the contributions do not add up to what all datasets together brought")
    if msg.contributions != expected:
        raise Invalid("the contributions do not follow from the measured values")
    where = keys.measurement(record.id, record.attempt, party)
    if load(ctx.store, m.Measurement, where) is not None:
        raise Conflict(f"{party} has measured this attempt")
    made = m.Measurement(
        task=record.id,
        attempt=record.attempt,
        organisation=party,
        method=method,
        coalitions=msg.coalitions,
        values=msg.values,
        contributions=msg.contributions,
        height=ctx.height,
    )
    save(ctx.store, where, made)
    ctx.emit(CONTRACT, "measured", task=record.id, attempt=record.attempt, party=party, method=method)


HANDLERS = ((m.Measure, measure),)
