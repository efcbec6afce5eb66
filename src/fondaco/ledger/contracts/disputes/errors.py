"""Refusals of the disputes contract: codespace `disputes`, numbers that never change."""

from __future__ import annotations

from fondaco.ledger.contracts.kit import Refused


class DisputesRefused(Refused):
    """Base of the refusals of this contract."""

    code = "ledger.disputes"
    codespace = "disputes"
    number = 1


class Denied(DisputesRefused):
    """The signers may not do this."""

    code = "ledger.disputes.denied"
    number = 2


class Unknown(DisputesRefused):
    """What the transaction names is not there."""

    code = "ledger.disputes.unknown"
    number = 3


class Conflict(DisputesRefused):
    """What the transaction would make is there already, or out of order."""

    code = "ledger.disputes.conflict"
    number = 4


class Invalid(DisputesRefused):
    """A field holds what it must not."""

    code = "ledger.disputes.invalid"
    number = 5


class WrongStatus(DisputesRefused):
    """The thing is not in a state that allows this."""

    code = "ledger.disputes.status"
    number = 6
