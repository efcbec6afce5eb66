"""Refusals of the certificates contract: codespace `certificates`, numbers that never change."""

from __future__ import annotations

from fondaco.ledger.contracts.kit import Refused


class CertificatesRefused(Refused):
    """Base of the refusals of this contract."""

    code = "ledger.certificates"
    codespace = "certificates"
    number = 1


class Denied(CertificatesRefused):
    """The signers may not do this."""

    code = "ledger.certificates.denied"
    number = 2


class Unknown(CertificatesRefused):
    """What the transaction names is not there."""

    code = "ledger.certificates.unknown"
    number = 3


class Conflict(CertificatesRefused):
    """What the transaction would make is there already, or out of order."""

    code = "ledger.certificates.conflict"
    number = 4


class Invalid(CertificatesRefused):
    """A field holds what it must not."""

    code = "ledger.certificates.invalid"
    number = 5


class WrongStatus(CertificatesRefused):
    """The thing is not in a state that allows this."""

    code = "ledger.certificates.status"
    number = 6
