"""State keys of the certificates contract."""

from __future__ import annotations

from fondaco.ledger.contracts.kit import derive

CERTIFICATES = b"certificates/certificate/"


def certificate_id(task: bytes, grant: bytes) -> bytes:
    """The id of the certificate of one use: a task's of a grant."""
    return derive("certificate", task, grant)


def certificate(certificate: bytes) -> bytes:
    """Where a certificate is."""
    return CERTIFICATES + certificate


def uses(grant: bytes) -> bytes:
    """The prefix under which the certificates of a grant are named."""
    return b"certificates/grant/" + grant


def use(grant: bytes, certificate: bytes) -> bytes:
    """Where it stands that a grant has this certificate."""
    return uses(grant) + certificate
