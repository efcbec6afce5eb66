"""The division itself: pure functions on whole numbers, nothing created, nothing lost.

Largest remainder (Hamilton's method): each weight gets its exact share rounded down; the points that are left go one
each to the largest remainders, and among equal remainders to the first in the order of the weights. So a larger
weight never gets less than a smaller one.
"""

from __future__ import annotations

from fondaco.ledger.contracts.points.keys import FUND
from fondaco.ledger.contracts.settlement.messages import Formula, Payout, Settlement, Use

BASIS_POINTS = 10_000
PROVIDER, PARTICIPANT, COORDINATOR, FUND_ROLE, SERVICE = "provider", "participant", "coordinator", "fund", "service"


def apportion(total: int, weights: tuple[int, ...]) -> tuple[int, ...]:
    """Divide `total` in proportion to weights that are not negative and not all zero; the parts add up to it.

    Raises:
        ValueError: no weight above zero, a negative one, or a negative total.
    """
    whole = sum(weights)
    if total < 0 or whole <= 0 or min(weights) < 0:
        raise ValueError("a total and weights that are not negative, one of them above zero")
    parts = [total * weight // whole for weight in weights]
    order = sorted(range(len(weights)), key=lambda at: (-(total * weights[at] % whole), at))
    for at in order[: total - sum(parts)]:
        parts[at] += 1
    return tuple(parts)


def divide(
    total: int, formula: Formula, uses: tuple[Use, ...], participants: tuple[str, ...], coordinator: str
) -> tuple[Payout, ...]:
    """Who gets what of `total`: providers in the order of the uses, participants, coordinator, fund.

    The providers' share is divided by the uses' weights, the participants' equally. Where nobody takes part besides
    the payer and the coordinator, the participants' share is the providers'.
    """
    if not total:
        return ()
    count = len(participants)
    weight = sum(use.weight for use in uses)
    providers = formula.providers if count else formula.providers + formula.participants
    each = max(count, 1)
    rows = [(PROVIDER, use.provider, providers * use.weight * each) for use in uses]
    rows += [(PARTICIPANT, name, formula.participants * weight) for name in participants]
    rows.append((COORDINATOR, coordinator, formula.coordinator * weight * each))
    rows.append((FUND_ROLE, FUND, formula.fund * weight * each))
    parts = apportion(total, tuple(row[2] for row in rows))
    return tuple(
        Payout(role=role, organisation=name, amount=part) for (role, name, _w), part in zip(rows, parts, strict=True)
    )


def division(record: Settlement, refund: int) -> tuple[int, tuple[Payout, ...]]:
    """(what goes back to the payer, who gets what of the rest) when `refund` basis points go back.

    Of the uses and of the coordinator's service alike, each rounded down.
    """
    owed = record.total - record.service
    back, unserved = owed * refund // BASIS_POINTS, record.service * refund // BASIS_POINTS
    payouts = divide(owed - back, record.formula, record.uses, record.participants, record.coordinator)
    if record.service:
        served = record.service - unserved
        payouts = (*payouts, Payout(role=SERVICE, organisation=record.coordinator, amount=served))
    return back + unserved, payouts
