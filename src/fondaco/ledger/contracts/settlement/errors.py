"""Refusals of the settlement contract: codespace `settlement`, numbers that never change."""

from __future__ import annotations

from fondaco.ledger.contracts.kit import Refused


class SettlementRefused(Refused):
    """Base of the refusals of this contract."""

    code = "ledger.settlement"
    codespace = "settlement"
    number = 1


class Denied(SettlementRefused):
    """The signers may not do this."""

    code = "ledger.settlement.denied"
    number = 2


class Unknown(SettlementRefused):
    """What the transaction names is not there."""

    code = "ledger.settlement.unknown"
    number = 3


class Conflict(SettlementRefused):
    """What the transaction would make is there already, or out of order."""

    code = "ledger.settlement.conflict"
    number = 4


class Invalid(SettlementRefused):
    """A field holds what it must not."""

    code = "ledger.settlement.invalid"
    number = 5


class WrongStatus(SettlementRefused):
    """The thing is not in a state that allows this."""

    code = "ledger.settlement.status"
    number = 6
