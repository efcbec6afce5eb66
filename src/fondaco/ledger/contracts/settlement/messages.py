"""Messages and records of the settlement contract."""

from __future__ import annotations

from fondaco.core.messages import message


@message("settlement.formula/1")
class Formula:
    """Record of the voted formula: four shares in basis points (10,000 together), a method, a window.

    `method` divides the providers' share: `price`, by the prices of their grants; `leave-one-out` or `shapley`, by what
    each dataset was measured to contribute. `window`: for so many blocks what a task pays is held back, and may be
    disputed; 0 pays at once.
    """

    providers: int
    participants: int
    coordinator: int
    fund: int
    method: str
    window: int


@message("settlement.measure/1")
class Measure:
    """Signed by the node of a party: what coalitions of the task's granted datasets were worth in an attempt.

    `coalitions` are bit masks in ascending order (bit i: the i-th grant of the task), `values` what was measured with
    each, `contributions` the numerators that follow from them (over n! for Shapley). See fondaco.core.contribution.
    """

    task: bytes
    attempt: int
    coalitions: tuple[int, ...]
    values: tuple[int, ...]
    contributions: tuple[int, ...]


@message("settlement.measurement/1")
class Measurement:
    """Record of what one party measured, checked by rule."""

    task: bytes
    attempt: int
    organisation: str
    method: str
    coalitions: tuple[int, ...]
    values: tuple[int, ...]
    contributions: tuple[int, ...]
    height: int


@message("settlement.use/1")
class Use:
    """One use that is paid for: its grant, provider and price, and its weight in the providers' share."""

    grant: bytes
    provider: str
    price: int
    weight: int


@message("settlement.payout/1")
class Payout:
    """What an organisation gets in a role: provider, participant, coordinator, fund or service."""

    role: str
    organisation: str
    amount: int


@message("settlement.settlement/1")
class Settlement:
    """Record of what a task pays; status held, frozen or paid.

    `total`: the prices of the uses and, of it, `service`: what the coordinator's work on the steps costs. `basis`:
    price, leave-one-out, shapley, or contested (measured differently, so divided by price). `until`: the height at
    which what is held is paid. `refund`: basis points that went back to the payer, `refunded` as points. `payouts`:
    what is paid, as planned while held.
    """

    task: bytes
    payer: str
    total: int
    service: int
    formula: Formula
    basis: str
    uses: tuple[Use, ...]
    participants: tuple[str, ...]
    coordinator: str
    payouts: tuple[Payout, ...]
    refund: int
    refunded: int
    until: int
    status: str
    since: int
