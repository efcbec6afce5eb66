"""Transactions: a message for a contract, signed, with a nonce that expires by height.

The signed body holds the chain's name, so a signature is worth nothing on another chain, and the keys of all who
sign it, so that nobody who sees a transaction can take a signature away or add one and spend its nonce. Libsodium
accepts one encoding of a signature. So only a signer can make other bytes of the same transaction, and the nonce
lets one of them in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from fondaco import _kernel
from fondaco.core.codec import MAX_DEPTH, Value, check, decode
from fondaco.core.keys import KEY_BYTES, PublicKey, SecretKey, SignatureBatch
from fondaco.core.messages import from_bytes, kernel_reader, kind_of, message, to_bytes
from fondaco.errors import CodecError, LedgerError

DOMAIN = "tx"
MAX_BYTES = 64 << 10
MAX_ITEMS = 1 << 14  # of a payload
_HEAD_ITEMS = 64  # of an envelope, and of a body around its payload
MAX_AHEAD = 1000
MAX_SIGNATURES = 16
NONCE_BYTES = 16
MARK_BYTES = 16


class BadTransaction(LedgerError):
    """A transaction that no block may hold."""

    code = "ledger.bad_transaction"


@message("ledger.tx-body/1")
class Body:
    """What is signed: `signers` are raw keys, the author's first and the others in order.

    `payload` is the message's canonical bytes, which nobody reads before the signatures hold. `expires` is the last
    height at which a block may hold it.
    """

    chain: str
    kind: str
    payload: bytes
    nonce: bytes
    expires: int
    signers: tuple[bytes, ...]


_BODY = kernel_reader(Body)


@message("ledger.tx/1")
class Envelope:
    """The body's bytes and a signature of each signer, in the body's order."""

    body: bytes
    signatures: tuple[bytes, ...]


class Transaction(NamedTuple):
    """An opened transaction whose signatures are verified. No two that are executed have one mark (spent.py)."""

    hash: bytes
    body: Body
    signers: tuple[bytes, ...]
    mark: bytes

    def check_payload(self) -> None:
        """Raise as `payload` would, without building the message."""
        try:
            check(self.body.payload, limit=MAX_BYTES, items=MAX_ITEMS)
        except CodecError as fault:
            raise _no_message(fault) from fault

    def payload(self) -> Value:
        """The message, decoded.

        Raises:
            BadTransaction: it is not canonical, or has more items than a message may.
        """
        try:
            return decode(self.body.payload, limit=MAX_BYTES, items=MAX_ITEMS)
        except CodecError as fault:
            raise _no_message(fault) from fault

    def message(self, cls: type | None) -> object:
        """The message, of a class if it is one of it; else decoded, for whoever executes it to say what is wrong.

        Raises:
            BadTransaction: as `payload`.
        """
        found = None if cls is None else kernel_reader(cls).read(self.body.payload, MAX_DEPTH, MAX_ITEMS)
        return self.payload() if found is None else found


def _no_message(fault: CodecError) -> BadTransaction:
    return BadTransaction(f"not a message: {fault.cause}", remedy="build the transaction again")


def build(chain: str, msg: object, secrets: tuple[SecretKey, ...], *, nonce: bytes, expires: int) -> bytes:
    """The signed bytes of a message; the first secret is the author's."""
    author, *others = secrets
    ordered = [author, *sorted(others, key=lambda secret: secret.public.raw)]
    body = to_bytes(
        Body(
            chain=chain,
            kind=kind_of(type(msg)),
            payload=to_bytes(msg),
            nonce=nonce,
            expires=expires,
            signers=tuple(secret.public.raw for secret in ordered),
        )
    )
    return to_bytes(Envelope(body=body, signatures=tuple(secret.sign(DOMAIN, body) for secret in ordered)))


class _Parsed(NamedTuple):
    """What is signed, the signatures, the body, the hash of all, the mark."""

    signed: bytes
    signatures: tuple[bytes, ...]
    body: Body
    hash: bytes
    mark: bytes


Admit = Callable[[Body, bytes], None]


def _mark(body: Body) -> bytes:
    """SHA-256 of expiry (8 bytes), nonce and author, cut to 16 bytes: what names one transaction of an author."""
    return hashlib.sha256(body.expires.to_bytes(8, "big") + body.nonce + body.signers[0]).digest()[:MARK_BYTES]


def _in_order(keys: tuple[bytes, ...]) -> bool:
    rest = list(keys[1:])
    return 1 <= len(keys) <= MAX_SIGNATURES and rest == sorted(dict.fromkeys(rest)) and keys[0] not in rest


def _parse(data: bytes, chain: str) -> _Parsed:
    """Everything but the signatures and the payload.

    Raises:
        BadTransaction: too large, not canonical, of another chain, a signer that is no key, or not a signature of each.
    """
    remedy = "build the transaction again for this chain"
    found = _kernel.read_transaction(data, _BODY) if len(data) <= MAX_BYTES else None
    if found is not None:
        signed, signatures, body, digest, mark = found
    else:  # of no such form: read it at length, to say why
        try:
            envelope = from_bytes(Envelope, data, limit=MAX_BYTES, items=_HEAD_ITEMS)
            signed, signatures = envelope.body, envelope.signatures
            body = from_bytes(Body, signed, limit=MAX_BYTES, items=_HEAD_ITEMS)
        except CodecError as fault:
            raise BadTransaction(f"not a transaction: {fault.cause}", remedy=remedy) from fault
        digest, mark = hashlib.sha256(data).digest(), b""
    if body.chain != chain:
        raise BadTransaction("the transaction is for another chain", remedy=remedy)
    if len(body.nonce) != NONCE_BYTES or body.expires < 1:
        raise BadTransaction("a nonce has 16 bytes and an expiry is a height", remedy=remedy)
    keys = body.signers
    if len(keys) != 1 and not _in_order(keys):
        raise BadTransaction("signers stand once each, the author first and the others in order", remedy=remedy)
    if len(keys[0]) != KEY_BYTES or (len(keys) > 1 and any(len(key) != KEY_BYTES for key in keys)):
        raise BadTransaction("a signer is a key of 32 bytes", remedy=remedy)
    if len(signatures) != len(keys):
        raise BadTransaction("a transaction has one signature of each signer", remedy=remedy)
    return _Parsed(signed, signatures, body, digest, mark or _mark(body))


def open_transaction(data: bytes, chain: str, admit: Admit | None = None) -> Transaction:
    """Verify everything about a transaction that does not need the state; its payload is not read yet.

    `admit` may refuse it by what it says, before its signatures cost anything.

    Raises:
        BadTransaction: too large, not canonical, of another chain, or a signature that does not hold.
        KeyMaterialError: a signature that does not verify.
    """
    signed, signatures, body, digest, mark = _parse(data, chain)
    if admit is not None:
        admit(body, mark)
    for key, signature in zip(body.signers, signatures, strict=True):
        PublicKey(key).verify(DOMAIN, signed, signature)
    return Transaction(digest, body, body.signers, mark)


def open_many(txs: list[bytes], chain: str, admit: Admit | None = None) -> list[Transaction | None]:
    """As `open_transaction` for each, their signatures verified together; None for one that it would refuse.

    Whoever names another as author pays for one signature: the others' are looked at where the author's holds.
    """
    parsed: list[_Parsed | None] = []
    authors, others = SignatureBatch(), SignatureBatch()
    for data in txs:
        try:
            one = _parse(data, chain)
            if admit is not None:
                admit(one.body, one.mark)
        except BadTransaction:
            parsed.append(None)
            continue
        parsed.append(one)
        authors.add(one.body.signers[0], DOMAIN, one.signed, one.signatures[0])
    authored = iter(authors.verify())
    sound = [read if read is not None and next(authored) else None for read in parsed]
    for read in sound:
        if read is not None and len(read.signatures) > 1:
            for key, signature in zip(read.body.signers[1:], read.signatures[1:], strict=True):
                others.add(key, DOMAIN, read.signed, signature)
    held = iter(others.verify())
    found: list[Transaction | None] = []
    for read in sound:
        if read is None:
            found.append(None)
            continue
        rest = [next(held) for _key in read.signatures[1:]]
        found.append(Transaction(read.hash, read.body, read.body.signers, read.mark) if all(rest) else None)
    return found
