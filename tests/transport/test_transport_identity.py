"""A node's certificate is its key and nothing else."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from transport_world import certificate_of, secret_of

from fondaco.core.keys import SecretKey
from fondaco.errors import PeerRefused
from fondaco.transport.identity import MAX_CERTIFICATE, make_certificate, private_key, public_key_of

_DAY = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


def _certificate(key: object, signer: object, algorithm: hashes.HashAlgorithm | None, name: str = "x") -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(_DAY)
        .not_valid_after(_DAY + datetime.timedelta(days=36500))
    )
    return builder.sign(signer, algorithm).public_bytes(Encoding.DER)


@given(st.binary(min_size=32, max_size=32), st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=63))
def test_the_same_key_and_name_make_the_same_certificate_and_it_holds_that_key(seed: bytes, name: str) -> None:
    secret = SecretKey.from_seed(seed)
    certificate = make_certificate(secret, name=name)
    assert certificate == make_certificate(secret, name=name)
    assert public_key_of(certificate) == secret.public
    assert seed not in certificate


def test_a_certificate_outlives_the_consortium() -> None:
    parsed = x509.load_der_x509_certificate(certificate_of("ada"))
    assert parsed.not_valid_before_utc.year <= 2020
    assert parsed.not_valid_after_utc.year >= 2100


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\x30",
        bytes(64),
        certificate_of("ada") + b"\x00",
        certificate_of("ada")[:-1],
        certificate_of("ada") * 2,
        bytes(MAX_CERTIFICATE + 1),
    ],
    ids=["empty", "stump", "zeros", "trailing", "cut", "twice", "large"],
)
def test_what_is_not_exactly_one_certificate_is_refused(wrong: bytes) -> None:
    with pytest.raises(PeerRefused):
        public_key_of(wrong)


def test_another_kind_of_key_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(PeerRefused, match="Ed25519"):
        public_key_of(_certificate(key, key, hashes.SHA256()))


def test_a_certificate_that_another_key_signed_is_refused() -> None:
    own, other = private_key(secret_of("ada")), private_key(secret_of("bob"))
    with pytest.raises(PeerRefused, match="self-signed"):
        public_key_of(_certificate(own, other, None))


def test_a_certificate_over_the_size_limit_is_refused() -> None:
    own = private_key(secret_of("ada"))
    wide = [_certificate(own, own, None, "x" * 64)]
    assert public_key_of(wide[0]) == secret_of("ada").public
    with pytest.raises(PeerRefused, match="at most"):
        public_key_of(wide[0] + bytes(MAX_CERTIFICATE))


def test_no_single_changed_byte_passes_as_the_same_key() -> None:
    certificate = certificate_of("ada")
    for place in range(len(certificate)):
        changed = bytearray(certificate)
        changed[place] ^= 1
        try:
            found = public_key_of(bytes(changed))
        except PeerRefused:
            continue
        pytest.fail(f"byte {place} changed and {found.did} was read")


@given(st.binary(max_size=MAX_CERTIFICATE + 10))
def test_random_bytes_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(PeerRefused):
        public_key_of(data)
