"""Content identifiers: CIDv1 over BLAKE3 or SHA-256 (multiformats CID specification).

Text is multibase base32 in lower case. Two codecs are used: `raw` for chunks and `dag-cbor` for canonical
values. A CID of low-entropy data can be guessed, so it never goes on the ledger bare: the vault makes a keyed
commitment of it.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib

from blake3 import blake3

from fondaco.errors import NamingError

RAW = 0x55
DAG_CBOR = 0x71
SHA2_256 = 0x12
BLAKE3 = 0x1E
DIGEST_BYTES = 32
_RAW_BYTES = 4 + DIGEST_BYTES
_TEXT = 59
_REMEDY = "give a CIDv1 in base32 (bafk…, bafy…) over BLAKE3 or SHA-256"


def _digest(data: bytes, hash_code: int) -> bytes:
    if hash_code == BLAKE3:
        return blake3(data).digest()
    if hash_code == SHA2_256:
        return hashlib.sha256(data).digest()
    raise NamingError(f"hash function 0x{hash_code:x} is not supported", remedy=_REMEDY)


@dataclasses.dataclass(frozen=True, slots=True)
class Cid:
    """A CIDv1: what the bytes are (`codec`), how they were hashed, and the 32-byte digest."""

    codec: int
    hash_code: int
    digest: bytes

    def __post_init__(self) -> None:
        known = self.codec in (RAW, DAG_CBOR) and self.hash_code in (BLAKE3, SHA2_256)
        if not known or len(self.digest) != DIGEST_BYTES:
            raise NamingError("not a CID of a kind used here", remedy=_REMEDY)

    @classmethod
    def of(cls, data: bytes, *, codec: int = RAW, hash_code: int = BLAKE3) -> Cid:
        """The CID of `data`."""
        return cls(codec, hash_code, _digest(data, hash_code))

    @property
    def raw(self) -> bytes:
        """The 36 binary bytes: version, codec, hash function, length, digest."""
        return bytes((1, self.codec, self.hash_code, DIGEST_BYTES)) + self.digest

    @classmethod
    def from_raw(cls, raw: bytes) -> Cid:
        """The CID in 36 binary bytes.

        Raises:
            NamingError: another version, codec, hash function or length.
        """
        if len(raw) != _RAW_BYTES or raw[0] != 1 or raw[3] != DIGEST_BYTES:
            raise NamingError("not a binary CIDv1 of a 32-byte digest", remedy=_REMEDY)
        return cls(raw[1], raw[2], bytes(raw[4:]))

    @classmethod
    def parse(cls, text: str) -> Cid:
        """The CID in canonical base32 text.

        Raises:
            NamingError: another base, version, codec or hash function, or not canonical.
        """
        if len(text) != _TEXT or text[0] != "b" or not text.isascii() or text != text.lower():
            raise NamingError("not a CIDv1 in base32", remedy=_REMEDY)
        try:
            raw = base64.b32decode(text[1:].upper() + "=" * (-len(text[1:]) % 8))
        except ValueError as fault:
            raise NamingError("not a CIDv1 in base32", remedy=_REMEDY) from fault
        found = cls.from_raw(raw)
        if str(found) != text:
            raise NamingError("not the canonical text of a CID", remedy=_REMEDY)
        return found

    def __str__(self) -> str:
        return "b" + base64.b32encode(self.raw).decode().rstrip("=").lower()

    def check(self, data: bytes) -> None:
        """Raise NamingError unless `data` is what this CID names."""
        if _digest(data, self.hash_code) != self.digest:
            raise NamingError(
                "the bytes are not those that the CID names",
                remedy="fetch or restore them again",
                cid=str(self),
            )
