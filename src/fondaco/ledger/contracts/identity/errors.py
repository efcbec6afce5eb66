"""Refusals of the identity contract: codespace `identity`, numbers that never change."""

from __future__ import annotations

from fondaco.ledger.contracts.kit import Refused


class IdentityRefused(Refused):
    """Base of the refusals of this contract."""

    code = "ledger.identity"
    codespace = "identity"
    number = 1


class Denied(IdentityRefused):
    """The signers may not do this."""

    code = "ledger.identity.denied"
    number = 2


class Unknown(IdentityRefused):
    """What the transaction names is not there."""

    code = "ledger.identity.unknown"
    number = 3


class Conflict(IdentityRefused):
    """What the transaction would make is there already, or out of order."""

    code = "ledger.identity.conflict"
    number = 4


class Invalid(IdentityRefused):
    """A field holds what it must not."""

    code = "ledger.identity.invalid"
    number = 5


class WrongStatus(IdentityRefused):
    """The thing is not in a state that allows this."""

    code = "ledger.identity.status"
    number = 6
