"""Encryption at rest: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) by libsodium.

Every dataset has its own key, wrapped by the vault's master key. Nonces are random (192 bits). The associated data
names the place of a box, so a chunk that was swapped, repeated or taken from another dataset does not open. What a
thief of the disk learns: the number of chunks, their lengths and dates, and the names that the steward gave.
"""

from __future__ import annotations

import os

import nacl.exceptions
from blake3 import blake3
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
)

from fondaco.core.codec import Value, encode
from fondaco.errors import VaultError

KEY_BYTES = 32
NONCE_BYTES: int = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES


class Damaged(VaultError):
    """Stored bytes that do not open: another key, or changed on the disk."""

    code = "vault.damaged"


def new_key() -> bytes:
    """A key from the operating system's randomness."""
    return os.urandom(KEY_BYTES)


def derive(key: bytes, purpose: str) -> bytes:
    """A key for one purpose out of another (BLAKE3 keyed mode)."""
    return blake3(b"fondaco/vault\x00" + purpose.encode(), key=key).digest()


def lock(key: bytes, place: list[Value], plaintext: bytes) -> bytes:
    """Encrypt, bound to a place: nonce and box."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + bytes(crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, encode(place), nonce, key))


def unlock(key: bytes, place: list[Value], box: bytes) -> bytes:
    """Decrypt what was locked for this place.

    Raises:
        Damaged: another key or place, or changed bytes.
    """
    nonce, body = box[:NONCE_BYTES], box[NONCE_BYTES:]
    try:
        return bytes(crypto_aead_xchacha20poly1305_ietf_decrypt(body, encode(place), nonce, key))
    except (nacl.exceptions.CryptoError, ValueError, TypeError) as fault:
        raise Damaged(
            "stored data does not open", remedy="restore the vault folder and vault.key from one backup"
        ) from fault
