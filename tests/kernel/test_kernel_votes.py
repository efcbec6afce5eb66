"""Votes' signatures count exactly as CometBFT says: `chain/votes_test.go` asks it of the same file."""

from __future__ import annotations

import json
from pathlib import Path

import nacl.bindings
import nacl.exceptions
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fondaco.core.keys import SecretKey, vote_holds
from fondaco.ledger.blocks import FLAG_COMMIT, BlockId, Commit, CommitSig, vote_bytes

VECTORS = json.loads((Path(__file__).parents[2] / "crates/kernel/vectors/votes.json").read_text("utf-8"))
SIGNER = SecretKey.from_seed(bytes(32))


def test_each_signature_is_judged_as_cometbft_judges_it() -> None:
    for number, one in enumerate(VECTORS["signatures"]):
        key, signature, message = (bytes.fromhex(one[name]) for name in ("key", "signature", "message"))
        assert vote_holds(key, message, signature) == one["taken"], number


def test_some_are_taken_that_libsodium_refuses_and_none_the_other_way() -> None:
    more = 0
    for one in VECTORS["signatures"]:
        key, signature, message = (bytes.fromhex(one[name]) for name in ("key", "signature", "message"))
        try:
            nacl.bindings.crypto_sign_open(signature + message, key)
        except nacl.exceptions.BadSignatureError:
            more += one["taken"]
        else:
            assert one["taken"]
    assert more > 200


@given(st.binary(max_size=80), st.binary(max_size=80), st.integers(0, 511))
def test_a_changed_vote_does_not_hold_and_random_bytes_are_no_error(junk: bytes, message: bytes, bit: int) -> None:
    key, signature = SIGNER.public.raw, SIGNER.sign_raw(message)
    assert vote_holds(key, message, signature)
    changed = bytearray(signature)
    changed[bit // 8] ^= 1 << bit % 8
    assert not vote_holds(key, message, bytes(changed))
    assert not vote_holds(key, message + b"x", signature)
    assert not vote_holds(key, message, junk)
    assert not vote_holds(junk, message, signature)


@pytest.mark.parametrize("one", VECTORS["commits"])
def test_a_vote_of_any_time_is_written_as_cometbft_writes_it(one: dict[str, str | int]) -> None:
    at = int(one["seconds"]) * 10**9 + int(one["nanos"])
    block = BlockId(hash=bytes.fromhex(str(one["block"])), parts_total=2, parts_hash=bytes.fromhex(str(one["parts"])))
    empty = Commit(height=7, round=1, block=block, signatures=())
    assert vote_bytes("chain-1", empty, at).hex() == one["signBytes"]
    place = CommitSig.signed(FLAG_COMMIT, bytes.fromhex(str(one["address"])), at, bytes.fromhex(str(one["signature"])))
    assert (place.at, place.validator.hex()) == (at, one["address"])
    assert Commit(height=7, round=1, block=block, signatures=(place,)).hash.hex() == one["hash"]
