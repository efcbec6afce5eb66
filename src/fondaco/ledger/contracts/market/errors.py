"""Refusals of the market contract: codespace `market`, numbers that never change."""

from __future__ import annotations

from fondaco.ledger.contracts.kit import Refused


class MarketRefused(Refused):
    """Base of the refusals of this contract."""

    code = "ledger.market"
    codespace = "market"
    number = 1


class Denied(MarketRefused):
    """The signers may not do this."""

    code = "ledger.market.denied"
    number = 2


class Unknown(MarketRefused):
    """What the transaction names is not there."""

    code = "ledger.market.unknown"
    number = 3


class Conflict(MarketRefused):
    """What the transaction would make is there already, or out of order."""

    code = "ledger.market.conflict"
    number = 4


class Invalid(MarketRefused):
    """A field holds what it must not."""

    code = "ledger.market.invalid"
    number = 5


class WrongStatus(MarketRefused):
    """The thing is not in a state that allows this."""

    code = "ledger.market.status"
    number = 6
