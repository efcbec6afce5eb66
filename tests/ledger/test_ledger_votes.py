"""What CometBFT takes as a vote holds for whoever looks afterwards: or one validator that lies would stop them all."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
from ledger_world import CHAIN, key

from fondaco.core.keys import SecretKey
from fondaco.core.messages import from_bytes, to_bytes
from fondaco.errors import KeyMaterialError, ProofError
from fondaco.ledger.blocks import (
    END_OF_TIME,
    FLAG_COMMIT,
    FLAG_NIL,
    ZERO_TIME,
    BlockId,
    Commit,
    CommitSig,
    Validator,
    vote_bytes,
)
from fondaco.ledger.cometbft.rpc import commit_of
from fondaco.ledger.light import verify_commit

SIGNERS = [key(f"validator/{n}") for n in range(4)]
MEMBERS = tuple(Validator(key=one.public.raw, power=10) for one in SIGNERS)
NOW = 1_700_000_000 * 10**9
BLOCK = BlockId(hash=bytes(range(32)), parts_total=1, parts_hash=bytes(32))
EMPTY = Commit(height=7, round=0, block=BLOCK, signatures=())
ORDER = 2**252 + 27742317777372353535851937790883648493


def odd_signature(signer: SecretKey, message: bytes) -> bytes:
    """A signature that whoever has the key can make: R is the neutral element, and S is what makes the equation hold."""
    secret = bytearray(hashlib.sha512(signer.seed).digest()[:32])
    secret[0] &= 248
    secret[31] = secret[31] & 127 | 64
    neutral = (1).to_bytes(32, "little")
    challenge = int.from_bytes(hashlib.sha512(neutral + signer.public.raw + message).digest(), "little")
    return neutral + (challenge * int.from_bytes(secret, "little") % ORDER).to_bytes(32, "little")


def vote(number: int, at: int = NOW, *, flag: int = FLAG_COMMIT, odd: bool = False) -> CommitSig:
    """A validator's vote."""
    signed = vote_bytes(CHAIN, EMPTY, at, nil=flag == FLAG_NIL)
    made = odd_signature(SIGNERS[number], signed) if odd else SIGNERS[number].sign_raw(signed)
    return CommitSig.signed(flag, MEMBERS[number].address, at, made)


def commit(*votes: CommitSig) -> Commit:
    """A commit of these votes; the first three validators' are needed."""
    return dataclasses.replace(EMPTY, signatures=votes)


@pytest.mark.parametrize("flag", [FLAG_COMMIT, FLAG_NIL])
@pytest.mark.parametrize(
    "at", [ZERO_TIME, ZERO_TIME + 1, -1, 0, 1 << 62, -(1 << 62), 32_503_680_000 * 10**9, END_OF_TIME - 1]
)
def test_a_vote_of_any_time_that_cometbft_writes_is_taken(at: int, flag: int) -> None:
    made = commit(vote(0), vote(1), vote(2), vote(3, at, flag=flag))
    assert from_bytes(Commit, to_bytes(made)) == made
    verify_commit(CHAIN, made, MEMBERS)
    if flag == FLAG_COMMIT:  # it counts: without it there are not enough
        absent = CommitSig(flag=1, address=b"", time=0, signature=b"")
        verify_commit(CHAIN, commit(absent, vote(1), vote(2), vote(3, at)), MEMBERS)


def test_a_signature_by_cometbft_s_rules_counts_though_libsodium_refuses_it() -> None:
    odd = vote(3, odd=True)
    with pytest.raises(KeyMaterialError):
        SIGNERS[3].public.verify_raw(vote_bytes(CHAIN, EMPTY, NOW), odd.signature)
    verify_commit(CHAIN, commit(vote(0), vote(1), vote(2), odd), MEMBERS)
    other = dataclasses.replace(odd, time=NOW + 1)
    with pytest.raises(ProofError, match="signature does not hold"):
        verify_commit(CHAIN, commit(vote(0), vote(1), vote(2), other), MEMBERS)


FAR = vote(3, 1 << 62)


@pytest.mark.parametrize(
    "place",
    [
        dataclasses.replace(vote(3), address=vote(3).address + NOW.to_bytes(12, "big"), time=0),  # near, written far
        dataclasses.replace(FAR, time=1),
        dataclasses.replace(FAR, time=1 << 62, address=FAR.validator),
        dataclasses.replace(FAR, address=FAR.address + b"\0"),
        dataclasses.replace(FAR, address=FAR.address[:-1]),
        dataclasses.replace(FAR, address=FAR.validator + END_OF_TIME.to_bytes(12, "big")),
        dataclasses.replace(FAR, address=FAR.validator + (ZERO_TIME - 1).to_bytes(12, "big", signed=True)),
        dataclasses.replace(FAR, address=FAR.validator + b"\x7f" * 12),
        dataclasses.replace(FAR, address=FAR.validator + bytes(100_000)),
        dataclasses.replace(FAR, flag=1),
    ],
)
def test_a_time_has_one_form_and_a_range(place: CommitSig) -> None:
    made = commit(vote(0), vote(1), vote(2), place)
    assert len(made.hash) == 32
    with pytest.raises(ProofError, match=r"time is out of range|not its validator's"):
        verify_commit(CHAIN, made, MEMBERS)


def test_another_time_than_was_signed_is_refused() -> None:
    wide = FAR.validator + ((1 << 62) + 1).to_bytes(12, "big")
    with pytest.raises(ProofError, match="signature does not hold"):
        verify_commit(CHAIN, commit(vote(0), vote(1), vote(2), dataclasses.replace(FAR, address=wide)), MEMBERS)


def test_a_commit_as_cometbft_tells_it_is_read_with_its_odd_times() -> None:
    told = {
        "height": "7",
        "round": 0,
        "block_id": {"hash": BLOCK.hash.hex(), "parts": {"total": 1, "hash": BLOCK.parts_hash.hex()}},
        "signatures": [
            {
                "block_id_flag": 2,
                "validator_address": MEMBERS[0].address.hex(),
                "timestamp": time,
                "signature": "AAAA",
            }
            for time in ("0001-01-01T00:00:00Z", "3000-01-01T00:00:00.000000005Z", "9999-12-31T23:59:59.999999999Z")
        ],
    }
    found = commit_of(told).signatures
    assert [one.at for one in found] == [ZERO_TIME, 32_503_680_000 * 10**9 + 5, END_OF_TIME - 1]
    assert {one.validator for one in found} == {MEMBERS[0].address}
