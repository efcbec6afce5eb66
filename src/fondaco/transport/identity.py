"""Who a peer is: the Ed25519 key in its self-signed certificate, which the ledger holds.

There is no certificate authority. A certificate is trusted because the directory, fed by the ledger, has that very
certificate; its names and dates mean nothing.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from collections.abc import Sequence
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

from fondaco.core.keys import PublicKey, SecretKey
from fondaco.errors import PeerRefused

MAX_CERTIFICATE = 2048
ED25519 = SignatureAlgorithmOID.ED25519
_WHOLE_BITS = b"\x03\x41\x00"  # DER: a bit string of 64 bytes, no bit left over
_FROM = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_UNTIL = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class PeerIdentity:
    """A peer that may connect: did, DER certificate, host:port (None: not dialled); guests may do very little."""

    did: str
    certificate: bytes
    address: str | None
    guest: bool = False


class PeerDirectory(Protocol):
    """Who is trusted now."""

    def trusted(self) -> Sequence[PeerIdentity]:
        """All peers that may connect, guests included."""

    def version(self) -> int:
        """Changes whenever `trusted` does."""


def private_key(secret: SecretKey) -> Ed25519PrivateKey:
    """The same key for the `cryptography` package."""
    return Ed25519PrivateKey.from_private_bytes(secret.seed)


def make_certificate(secret: SecretKey, *, name: str) -> bytes:
    """The DER of a self-signed certificate of this key; the same key and name give the same bytes."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    serial = int.from_bytes(hashlib.sha256(secret.public.raw).digest()[:16], "big") >> 1 | 1
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private_key(secret).public_key())
        .serial_number(serial)
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    return builder.sign(private_key(secret), None).public_bytes(Encoding.DER)


def public_key_of(certificate: bytes) -> PublicKey:
    """The key of a certificate such as `make_certificate` makes.

    Raises:
        PeerRefused: too large, not DER, not Ed25519, not self-signed, or followed by other bytes.
    """
    remedy = "register the certificate that the node made itself"
    if not 0 < len(certificate) <= MAX_CERTIFICATE:
        raise PeerRefused(f"a certificate has at most {MAX_CERTIFICATE} bytes", remedy=remedy)
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        key = parsed.public_key()
        exact = parsed.signature_algorithm_oid == ED25519 and parsed.public_bytes(Encoding.DER) == certificate
        exact = exact and certificate.endswith(_WHOLE_BITS + parsed.signature)
        if not isinstance(key, Ed25519PublicKey) or not exact:
            raise PeerRefused("not a certificate of an Ed25519 key", remedy=remedy)
        key.verify(parsed.signature, parsed.tbs_certificate_bytes)
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm, InvalidSignature) as fault:
        raise PeerRefused("not a self-signed Ed25519 certificate", remedy=remedy) from fault
    return PublicKey(key.public_bytes_raw())
