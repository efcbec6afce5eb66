"""Ed25519 keys (RFC 8032) by libsodium, and their names as `did:key`.

A signature covers a domain, so that what was signed for one use never verifies for another:
`"fondaco" 0x00 domain 0x00 message`. libsodium's verification rules are consensus here: it refuses
non-canonical S, small-order keys and non-canonical points, and ledgers rely on every node doing the same.
A secret key shows itself in no repr, no log and no pickle. Source: "The did:key Method v0.7", W3C CCG.
"""

from __future__ import annotations

import array
import itertools
import sys
from typing import NoReturn

import nacl.bindings
import nacl.exceptions
import nacl.signing

from fondaco import _kernel
from fondaco.core.base58 import base58_decode, base58_encode
from fondaco.errors import KeyMaterialError

KEY_BYTES = 32
SIGNATURE_BYTES = 64
_PREFIX = b"\xed\x01"  # multicodec ed25519-pub, as a varint
_DID = "did:key:z"
_MAX_DID = 80


def _framed(domain: str, message: bytes) -> bytes:
    return b"fondaco\x00" + domain.encode("ascii") + b"\x00" + message


class PublicKey:
    """A public key; equal and hashable by its 32 raw bytes."""

    __slots__ = ("raw",)
    raw: bytes

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_BYTES:
            raise KeyMaterialError(
                f"an Ed25519 public key is 32 bytes, not {len(raw)}", remedy="give the raw public key"
            )
        object.__setattr__(self, "raw", bytes(raw))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"PublicKey({self.did})"

    @property
    def did(self) -> str:
        """This key as `did:key:z6Mk…`."""
        return _DID + base58_encode(_PREFIX + self.raw)

    @classmethod
    def from_did(cls, text: str) -> PublicKey:
        """The key in a `did:key`.

        Raises:
            KeyMaterialError: another method, another kind of key, or not the canonical text.
        """
        remedy = "give a did:key of an Ed25519 key (did:key:z6Mk…)"
        if not text.startswith(_DID) or len(text) > _MAX_DID:
            raise KeyMaterialError("not a did:key", remedy=remedy)
        raw = base58_decode(text[len(_DID) :])
        if not raw.startswith(_PREFIX) or len(raw) != len(_PREFIX) + KEY_BYTES:
            raise KeyMaterialError("the did:key holds no Ed25519 key", remedy=remedy)
        key = cls(raw[len(_PREFIX) :])
        if key.did != text:
            raise KeyMaterialError("the did:key is not in its canonical form", remedy=remedy)
        return key

    def verify(self, domain: str, message: bytes, signature: bytes) -> None:
        """Raise KeyMaterialError unless `signature` is this key's over (domain, message)."""
        self.verify_raw(_framed(domain, message), signature)

    def verify_raw(self, message: bytes, signature: bytes) -> None:
        """As `verify`, over the bare message: for formats that others fixed (X.509)."""
        remedy = "the signed bytes or the key were changed: ask the signer for the original"
        if len(signature) != SIGNATURE_BYTES:
            raise KeyMaterialError("a signature is 64 bytes", remedy=remedy)
        try:
            nacl.bindings.crypto_sign_open(signature + message, self.raw)
        except nacl.exceptions.BadSignatureError as fault:
            raise KeyMaterialError("signature does not verify", remedy=remedy, key=self.did) from fault


def vote_holds(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a vote's signature counts, exactly as CometBFT judges it: by ZIP 215, which takes more than `verify`.

    What CometBFT has decided must hold for whoever looks at it afterwards; nothing else may be judged so.
    """
    return _kernel.ed25519_vote_holds(key, signature, message)


class SignatureBatch:
    """Many signatures, verified at once in the kernel, each exactly as `PublicKey.verify` would judge it."""

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._signatures: list[bytes] = []
        self._messages: list[bytes] = []
        self._shaped: list[bool] = []

    def add(self, key: bytes, domain: str, message: bytes, signature: bytes) -> None:
        """One more; a key or a signature of another length never holds."""
        shaped = len(key) == KEY_BYTES and len(signature) == SIGNATURE_BYTES
        self._shaped.append(shaped)
        if shaped:
            self._keys.append(key)
            self._signatures.append(signature)
            self._messages.append(_framed(domain, message))

    def verify(self) -> list[bool]:
        """Whether each holds, in the order that they were added."""
        ends = array.array("q", itertools.accumulate(map(len, self._messages), initial=0))
        if sys.byteorder != "little":
            ends.byteswap()
        judged = _kernel.ed25519_verify_many(
            b"".join(self._keys), b"".join(self._signatures), b"".join(self._messages), ends.tobytes()
        )
        found = iter(judged)
        return [shaped and bool(next(found)) for shaped in self._shaped]


class SecretKey:
    """A secret key. `seed` is the only way to its bytes."""

    __slots__ = ("_key", "public")

    def __init__(self, key: nacl.signing.SigningKey) -> None:
        self._key = key
        self.public = PublicKey(bytes(key.verify_key))

    @classmethod
    def generate(cls) -> SecretKey:
        """A new key from the operating system's randomness."""
        return cls(nacl.signing.SigningKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> SecretKey:
        """The key of a 32-byte seed (RFC 8032 section 5.1.5)."""
        if len(seed) != KEY_BYTES:
            raise KeyMaterialError("a seed is 32 bytes", remedy="restore the key file from its backup")
        return cls(nacl.signing.SigningKey(seed))

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes, for a key file alone."""
        return bytes(self._key)

    def sign(self, domain: str, message: bytes) -> bytes:
        """The 64-byte signature over (domain, message)."""
        return self.sign_raw(_framed(domain, message))

    def sign_raw(self, message: bytes) -> bytes:
        """The signature over the bare message: for formats that others fixed."""
        return bytes(self._key.sign(message).signature)

    def __repr__(self) -> str:
        return f"SecretKey(of {self.public.did})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret key is not pickled")
