"""The parts of the intersection worked out in Python by themselves, beside the kernel's known answers; two parties."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco import _kernel

VECTORS = json.loads((Path(__file__).parents[2] / "crates/kernel/vectors/psi.json").read_text())
SETS = st.lists(st.integers(0, 60), min_size=1, max_size=40, unique=True)


def number(text: str) -> int:
    return int.from_bytes(bytes.fromhex(text), "little")


def raw(value: int) -> bytes:
    return value.to_bytes(16, "little")


def permuted(key: int, value: int) -> int:
    """AES(x) + x."""
    encryptor = Cipher(AES(raw(key)), ECB()).encryptor()
    return int.from_bytes(encryptor.update(raw(value)), "little") ^ value


def product(a: int, b: int) -> int:
    """In GF(2^128) modulo x^128 + x^7 + x^2 + x + 1."""
    out = 0
    for bit in range(128):
        if b >> bit & 1:
            out ^= a << bit
    for bit in range(254, 127, -1):
        if out >> bit & 1:
            out ^= ((1 << 128) | 0x87) << (bit - 128)
    return out


def decoded(store: dict, key: int) -> int:
    """A key's value in a store, by the definition of its row."""
    point = permuted(number(store["seed"]), key)
    sparse, dense, bins = store["sparse"], store["dense"], store["bins"]
    words = [point >> (32 * at) & 0xFFFFFFFF for at in range(4)]
    first = words[0] * sparse >> 32
    second = words[1] * (sparse - 1) >> 32
    second += second >= first
    third = words[2] * (sparse - 2) >> 32
    for other in sorted((first, second)):
        third += third >= other
    vector = [number(v) for v in store["vector"]][(words[3] * bins >> 32) * (sparse + dense) :]
    value, power = vector[first] ^ vector[second] ^ vector[third], 1
    for column in vector[sparse : sparse + dense]:
        power = product(power, point)
        value ^= product(column, power)
    return value


def test_a_store_decodes_to_its_values_by_definition() -> None:
    store = VECTORS["store"]
    assert [decoded(store, number(key)) for key in store["keys"]] == [number(v) for v in store["values"]]


def test_the_semi_honest_function_is_aes() -> None:
    known = VECTORS["semi-honest"]
    fixed = int.from_bytes(b"fondaco/oprf/aes", "little")
    assert [raw(permuted(number(known["salt"]), number(k))).hex() for k in known["keys"]] == known["hashes"]
    assert [raw(permuted(fixed, number(d))).hex() for d in known["decoded"]] == known["tags"]
    assert known["proofs"] == []


def test_the_malicious_function_is_keyed_blake3() -> None:
    known = VECTORS["malicious"]
    salt, coin = bytes.fromhex(known["salt"]), number(known["coin"])
    keys = [bytes.fromhex(k) for k in known["keys"]]
    hashing = blake3(salt, derive_key_context="fondaco oprf hash of a key 2").digest()
    assert [blake3(k, key=hashing).hexdigest()[:32] for k in keys] == known["hashes"]
    ending = blake3(b"", derive_key_context="fondaco oprf output 2").digest()
    outputs = [
        blake3(raw(number(d) ^ coin) + k, key=ending).hexdigest() for d, k in zip(known["decoded"], keys, strict=True)
    ]
    assert [o[:32] for o in outputs] == known["tags"]
    assert [o[32:] for o in outputs] == known["proofs"]


def test_tags_are_written_as_documented() -> None:
    known = VECTORS["list"]
    bits, bucket_bits = 40 + 6 + 10, 6 - 4  # 40 tags sent, 1000 held
    cut = sorted(number(tag) >> (128 - bits) for tag in known["tags"])
    rest = bits - bucket_bits
    counts = bytes(sum(tag >> rest == bucket for tag in cut) for bucket in range(1 << bucket_bits))
    width = -(-rest // 8)
    written = counts + b"".join((tag & ((1 << rest) - 1)).to_bytes(width, "little") for tag in cut)
    assert written.hex() == known["message"]


def drive(one: _kernel.PsiParty, two: _kernel.PsiParty, meddle=lambda _side, _number, data: data) -> None:
    """Carry the messages of two parties to each other until both are finished."""
    parties, boxes = (one, two), ([], [])
    waits, done, sent = [False, False], [False, False], [0, 0]
    while not all(done):
        for side in range(2):
            if done[side] or (waits[side] and not boxes[side]):
                continue
            incoming = boxes[side].pop(0) if waits[side] else None
            turn, data = parties[side].next(incoming)
            waits[side], done[side] = turn == "receive", turn == "finished"
            if turn == "send":
                boxes[1 - side].append(meddle(side, sent[side], data))
                sent[side] += 1


def pair(ours: list[int], theirs: list[int], *, malicious: bool, both: bool = True):
    sender = _kernel.PsiParty(
        b"".join(map(raw, ours)), compares=False, peer_keys=len(theirs), both=both, malicious=malicious
    )
    receiver = _kernel.PsiParty(
        b"".join(map(raw, theirs)), compares=True, peer_keys=len(ours), both=both, malicious=malicious
    )
    return sender, receiver


@settings(max_examples=20, deadline=None)
@given(SETS, SETS, st.booleans(), st.booleans())
def test_two_parties_find_what_they_share(ours, theirs, malicious, both) -> None:
    sender, receiver = pair(ours, theirs, malicious=malicious, both=both)
    drive(sender, receiver)
    places = np.frombuffer(receiver.matched(), "<u4")
    assert sorted(theirs[at] for at in places) == sorted(set(ours) & set(theirs))
    if both:
        assert sorted(ours[at] for at in np.frombuffer(sender.matched(), "<u4")) == sorted(set(ours) & set(theirs))
    else:
        assert sender.matched() is None


def test_faults_are_exceptions_of_one_tree() -> None:
    for fault in (_kernel.Malformed, _kernel.Cheated, _kernel.OutOfTurn, _kernel.Unlucky):
        assert issubclass(fault, _kernel.ProtocolFault)
    sender, receiver = pair([1, 2], [2, 3], malicious=True)
    with pytest.raises(_kernel.OutOfTurn):
        receiver.next(b"early")
    with pytest.raises(_kernel.Malformed, match="greeting"):
        drive(*pair([1], [1], malicious=True), meddle=lambda side, _n, data: data[:-1] if side == 0 else data)
    flipped = lambda side, at, data: bytes([data[0] ^ 1]) + data[1:] if (side, at) == (1, 1) else data  # noqa: E731
    with pytest.raises((_kernel.Cheated, _kernel.Malformed)):
        drive(sender, pair([1, 2], [2, 3], malicious=True)[1], meddle=flipped)


@pytest.mark.parametrize(("ids", "peer_keys"), [(b"", 1), (bytes(15), 1), (bytes(16), 0), (bytes(16), 1 << 40)])
def test_inputs_that_do_not_fit_are_refused(ids, peer_keys) -> None:
    for compares in (True, False):
        with pytest.raises(ValueError, match=r".+"):
            _kernel.PsiParty(ids, compares=compares, peer_keys=peer_keys, both=True, malicious=False)
