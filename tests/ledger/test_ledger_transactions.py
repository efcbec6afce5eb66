"""A transaction has one form; nobody but its signers can make another of it."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_world import COUNTERS, Add, adding, key

from fondaco import _kernel
from fondaco.core.codec import decode, encode
from fondaco.core.messages import from_bytes, kernel_reader, to_bytes
from fondaco.errors import CodecError, FondacoError, KeyMaterialError
from fondaco.ledger.transactions import (
    MAX_BYTES,
    MAX_SIGNATURES,
    BadTransaction,
    Body,
    Envelope,
    Transaction,
    build,
    open_many,
    open_transaction,
)

ALICE, BOB, CAROL = key("alice"), key("bob"), key("carol")
MESSAGE = Add(name="n", amount=1)
TX = build(COUNTERS, MESSAGE, (ALICE, BOB, CAROL), nonce=bytes(16), expires=5)


def _parts() -> tuple[Envelope, Body]:
    envelope = from_bytes(Envelope, TX)
    return envelope, from_bytes(Body, envelope.body)


def _refused(data: bytes) -> None:
    with pytest.raises(FondacoError):
        open_transaction(data, COUNTERS)


def test_what_is_built_opens_with_its_signers_the_author_first() -> None:
    opened = open_transaction(TX, COUNTERS)
    assert opened.signers[0] == ALICE.public.raw
    assert list(opened.signers[1:]) == sorted((BOB.public.raw, CAROL.public.raw))
    assert (opened.body.kind, opened.payload()) == ("counter.add/1", {"name": "n", "amount": 1})
    assert build(COUNTERS, MESSAGE, (ALICE, CAROL, BOB), nonce=bytes(16), expires=5) == TX


def test_a_transaction_of_another_chain_is_refused() -> None:
    with pytest.raises(BadTransaction, match="another chain"):
        open_transaction(TX, "another")


def test_nobody_can_take_a_signature_away_or_add_one() -> None:
    envelope, body = _parts()
    mallory = key("mallory")
    _refused(to_bytes(dataclasses.replace(envelope, signatures=envelope.signatures[:2])))
    _refused(to_bytes(dataclasses.replace(envelope, signatures=(*envelope.signatures, bytes(64)))))
    more = to_bytes(dataclasses.replace(body, signers=(*body.signers, mallory.public.raw)))
    _refused(to_bytes(Envelope(body=more, signatures=(*envelope.signatures, mallory.sign("tx", more)))))
    fewer = to_bytes(dataclasses.replace(body, signers=body.signers[:2]))
    _refused(to_bytes(Envelope(body=fewer, signatures=envelope.signatures[:2])))


def test_the_order_of_signers_is_fixed_and_nobody_signs_twice() -> None:
    _envelope, body = _parts()
    by_key = {s.public.raw: s for s in (ALICE, BOB, CAROL)}
    author, one, two = body.signers
    for signers in ((author, two, one), (author, one, one), (author, author, one), ()):
        changed = to_bytes(dataclasses.replace(body, signers=signers))
        _refused(to_bytes(Envelope(body=changed, signatures=tuple(by_key[k].sign("tx", changed) for k in signers))))


def test_every_changed_byte_is_refused() -> None:
    for at in range(len(TX)):
        _refused(TX[:at] + bytes((TX[at] ^ 1,)) + TX[at + 1 :])
    _refused(TX + b"\x00")
    _refused(TX[:-1])


def test_a_signature_with_a_shifted_scalar_is_refused() -> None:
    """RFC 8032 section 5.1.7: S must be below the group order; adding the order must not give a second form."""
    envelope, _body = _parts()
    order = (1 << 252) + 27742317777372353535851937790883648493
    first = envelope.signatures[0]
    shifted = int.from_bytes(first[32:], "little") + order
    forged = first[:32] + shifted.to_bytes(32, "little")
    _refused(to_bytes(dataclasses.replace(envelope, signatures=(forged, *envelope.signatures[1:]))))


def test_unknown_missing_and_ill_typed_fields_are_refused() -> None:
    tree = decode(TX)
    assert isinstance(tree, dict)
    _refused(encode(tree | {"extra": 1}))
    _refused(encode({"body": tree["body"]}))
    _refused(encode(tree | {"body": "text"}))
    _envelope, body = _parts()
    for changed in (
        dataclasses.replace(body, nonce=bytes(15)),
        dataclasses.replace(body, expires=0),
        dataclasses.replace(body, signers=(bytes(31),)),
    ):
        data = to_bytes(changed)
        _refused(to_bytes(Envelope(body=data, signatures=(ALICE.sign("tx", data),) * len(changed.signers))))


def test_64_kib_is_the_limit() -> None:
    whole = build(COUNTERS, Add(name="x" * (MAX_BYTES - 400), amount=1), (ALICE,), nonce=bytes(16), expires=5)
    assert len(whole) <= MAX_BYTES
    assert open_transaction(whole, COUNTERS).signers == (ALICE.public.raw,)
    _refused(build(COUNTERS, Add(name="x" * MAX_BYTES, amount=1), (ALICE,), nonce=bytes(16), expires=5))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused_by_name(data: bytes) -> None:
    _refused(data)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_transaction_is_refused_by_name(data: st.DataObject) -> None:
    whole = adding("n", 1, number=bytes(16))
    at, much = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.binary(min_size=1, max_size=4))
    damaged = whole[:at] + much + whole[at + len(much) :]
    if damaged != whole:
        _refused(damaged)


# -- the kernel reads what the decoder reads ----------------------------------------------------------------------------

PIECES = st.lists(st.binary(max_size=70), max_size=18).map(tuple)
BODIES = st.builds(
    Body,
    chain=st.text(max_size=30),
    kind=st.text(max_size=300),
    payload=st.binary(max_size=300),
    nonce=st.binary(max_size=20),
    expires=st.integers(-2, (1 << 63) - 1),
    signers=PIECES,
)


def _at_length(data: bytes) -> tuple[Envelope, Body] | None:
    try:
        envelope = from_bytes(Envelope, data)
        return envelope, from_bytes(Body, envelope.body)
    except CodecError:
        return None


def _compare(data: bytes) -> bool:
    """Whether bytes are read by the kernel; what is read is what the decoder reads, and what is not it does not read."""
    found, known = _kernel.read_transaction(data, kernel_reader(Body)), _at_length(data)
    if found is not None:
        signed, signatures, body, digest, mark = found
        assert isinstance(body, Body)
        assert known == (Envelope(body=signed, signatures=signatures), body)
        assert digest == hashlib.sha256(data).digest()
        named = body.expires.to_bytes(8, "big") + body.nonce + body.signers[0] if body.signers else None
        assert mark == (b"" if named is None else hashlib.sha256(named).digest()[:16])
    elif known is not None:  # of such size or time as no transaction has
        envelope, body = known
        assert body.expires < 0 or max(len(envelope.signatures), len(body.signers)) > MAX_SIGNATURES
    return found is not None


@settings(deadline=None)
@given(BODIES, PIECES)
def test_the_kernel_reads_a_transaction_as_the_decoder_does(body: Body, signatures: tuple[bytes, ...]) -> None:
    _compare(to_bytes(Envelope(body=to_bytes(body), signatures=signatures)))


@settings(deadline=None)
@given(BODIES, st.data())
def test_the_kernel_reads_no_changed_bytes_but_those_that_the_decoder_reads(body: Body, data: st.DataObject) -> None:
    inner = bytearray(to_bytes(body))
    at = data.draw(st.integers(0, len(inner) - 1))
    inner[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    outer = bytearray(to_bytes(Envelope(body=bytes(inner), signatures=(bytes(64),))))
    _compare(bytes(outer))
    at = data.draw(st.integers(0, len(outer) - 1))
    outer[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    _compare(bytes(outer))


def test_the_kernel_reads_what_is_built() -> None:
    assert _compare(TX)
    assert not _compare(TX + b"\x00")
    assert not _compare(b"\xa2dbodyA\xa6jsignatures\x80")


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2)), max_size=12))
def test_many_are_opened_as_each_alone_is(shapes: list[tuple[int, int]]) -> None:
    """Each with so many others beside its author, and perhaps one signature that does not hold."""
    txs = []
    for number, (others, broken) in enumerate(shapes):
        signers = (key("author"), *(key(f"other/{n}") for n in range(others)))
        made = from_bytes(Envelope, build(COUNTERS, Add(name="n", amount=number), signers, nonce=bytes(16), expires=9))
        signatures = list(made.signatures)
        if 0 <= broken < len(signatures):
            signatures[broken] = bytes(32) + signatures[broken][32:]
        txs.append(to_bytes(Envelope(body=made.body, signatures=tuple(signatures))))
    alone: list[Transaction | None] = []
    for tx in txs:
        try:
            alone.append(open_transaction(tx, COUNTERS))
        except KeyMaterialError:
            alone.append(None)
    assert open_many(txs, COUNTERS) == alone
    assert [one is None for one in alone] == [0 <= broken <= others for others, broken in shapes]
