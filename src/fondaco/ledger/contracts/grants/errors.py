"""Refusals of the grants contract: codespace `grants`, numbers that never change."""

from __future__ import annotations

from fondaco.ledger.contracts.kit import Refused


class GrantsRefused(Refused):
    """Base of the refusals of this contract."""

    code = "ledger.grants"
    codespace = "grants"
    number = 1


class Denied(GrantsRefused):
    """The signers may not do this."""

    code = "ledger.grants.denied"
    number = 2


class Unknown(GrantsRefused):
    """What the transaction names is not there."""

    code = "ledger.grants.unknown"
    number = 3


class Conflict(GrantsRefused):
    """What the transaction would make is there already, or out of order."""

    code = "ledger.grants.conflict"
    number = 4


class Invalid(GrantsRefused):
    """A field holds what it must not."""

    code = "ledger.grants.invalid"
    number = 5


class WrongStatus(GrantsRefused):
    """The thing is not in a state that allows this."""

    code = "ledger.grants.status"
    number = 6
