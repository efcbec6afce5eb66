"""Sealed boxes: HPKE base mode (RFC 9180) with DHKEM(X25519), HKDF-SHA256 and ChaCha20-Poly1305.

Anyone who knows the public key can seal; only the holder of the secret opens. `info` binds the box to its
place (chain, task, step), so that it opens nowhere else. It hides the plaintext and not its length. HPKE base
mode does not say who sealed: results are signed on the ledger by the node that sealed them.
"""

from __future__ import annotations

from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from fondaco.errors import SealError

SEAL_KEY_BYTES = 32
_ENC_BYTES = 32
_TAG_BYTES = 16
_P, _A = (1 << 255) - 19, 486_662
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_REMEDY = "open it with the key it was sealed to, in the place it was sealed for"


class SealSecret:
    """The secret half of a sealing key; shows itself in no repr and no pickle."""

    __slots__ = ("_key", "public")

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key
        self.public: bytes = key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> SealSecret:
        """A new key from the operating system's randomness."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, raw: bytes) -> SealSecret:
        """The key of 32 secret bytes."""
        if len(raw) != SEAL_KEY_BYTES:
            raise SealError("a sealing key is 32 bytes", remedy="restore the key file from its backup")
        return cls(X25519PrivateKey.from_private_bytes(raw))

    @property
    def raw(self) -> bytes:
        """The 32 secret bytes, for a key file alone."""
        return self._key.private_bytes_raw()

    def __repr__(self) -> str:
        return f"SealSecret(of {self.public.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret key is not pickled")


def is_seal_key(key: bytes) -> bool:
    """Whether 32 bytes can be sealed to: a shared secret with a point of low order would be zero for everyone.

    Doubles the point three times by its u-coordinate on curve25519 (RFC 7748, section 4.1: v² = u³ + 486662u² + u);
    what is then at infinity has an order of 1, 2, 4 or 8 on the curve or its twist (section 6.1).
    """
    if len(key) != SEAL_KEY_BYTES:
        return False
    u, z = int.from_bytes(key, "little") & ((1 << 255) - 1), 1
    for _ in range(3):
        square, product = (u * u - z * z) % _P, u * z % _P
        u, z = square * square % _P, 4 * product * (u * u + _A * product + z * z) % _P
    return z != 0


def seal(public: bytes, info: bytes, plaintext: bytes) -> bytes:
    """Seal `plaintext` to a 32-byte X25519 public key, bound to `info`. 48 bytes longer than the plaintext.

    Raises:
        SealError: not a usable public key.
    """
    try:
        return _SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(public), info=info)
    except ValueError as fault:
        raise SealError("not a usable X25519 public key", remedy="take the key from the ledger") from fault


def unseal(secret: SealSecret, info: bytes, sealed: bytes) -> bytes:
    """Open what `seal` made.

    Raises:
        SealError: another key, another info, or changed bytes.
    """
    if len(sealed) < _ENC_BYTES + _TAG_BYTES:
        raise SealError("too short to be a sealed box", remedy=_REMEDY)
    try:
        return _SUITE.decrypt(sealed, secret._key, info=info)  # noqa: SLF001 - the key stays in this module
    except (InvalidTag, ValueError) as fault:
        raise SealError("the sealed box does not open", remedy=_REMEDY) from fault
