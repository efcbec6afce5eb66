"""A node under CometBFT that is shown a second signed history: it keeps the proof, ends, and does not start again."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from comet_world import comet_ledger
from ledger_world import VALIDATOR, adding, key

from fondaco.core.codec import decode
from fondaco.core.messages import from_bytes
from fondaco.errors import LedgerError, ProofError
from fondaco.ledger.blocks import MAX_WIRE_BYTES, Block, vote_bytes
from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.follower import Diverged
from fondaco.ledger.light import SignedHeader, verify_signed


@contextlib.contextmanager
def running(folder: Path) -> Iterator[CometLedger]:
    """A validator with some blocks, each with its signed header."""
    made = comet_ledger(folder)
    try:
        for number in range(2):
            made.submit(adding("n", number)).result(30)
        made.wait_provable(30)
        yield made
    finally:
        made.stop()


def ours(ledger: CometLedger, height: int) -> SignedHeader:
    """What the validator signed at a height."""
    block = from_bytes(Block, ledger.block(height) or b"", limit=MAX_WIRE_BYTES)
    return SignedHeader(header=block.header, commit=block.commit)


def another(signed: SignedHeader, signer: str = VALIDATOR, *, app: bytes = b"\x01" * 32) -> SignedHeader:
    """Another header of that height, signed in its place."""
    header = dataclasses.replace(signed.header, app_hash=app)
    commit = dataclasses.replace(signed.commit, block=dataclasses.replace(signed.commit.block, hash=header.hash))
    (slot,) = commit.signatures
    signature = key(signer).sign_raw(vote_bytes(header.chain, commit, slot.time))
    return SignedHeader(
        header=header,
        commit=dataclasses.replace(commit, signatures=(dataclasses.replace(slot, signature=signature),)),
    )


def kept(ledger: CometLedger) -> list[SignedHeader]:
    """The two headers that were kept."""
    found = decode(ledger.evidence or b"", limit=MAX_WIRE_BYTES)
    assert isinstance(found, list)
    return [from_bytes(SignedHeader, one) for one in found if isinstance(one, bytes)]


def test_what_is_no_second_history_ends_nothing(tmp_path: Path) -> None:
    """Ours again, other heights, and what others than the validators signed: a peer can halt nobody."""
    with running(tmp_path) as ledger:
        accuse_falsely(ledger)
        assert (ledger.failed, ledger.evidence, ledger.trouble) == (None, None, None)
        assert ledger.submit(adding("n", 3)).result(30).result.code == 0


def accuse_falsely(ledger: CometLedger) -> None:
    first, second = ours(ledger, 1), ours(ledger, 2)
    ledger.compare(first)
    ledger.judge(first, first)
    ledger.judge(first, second)
    ledger.judge(another(first), second)
    for height in (0, -1, ledger.height + 1000):
        ledger.compare(SignedHeader(header=dataclasses.replace(first.header, height=height), commit=first.commit))
    forged = another(first, "somebody")
    false = (
        forged,
        dataclasses.replace(forged, commit=first.commit),
        SignedHeader(header=dataclasses.replace(another(first).header, chain="another"), commit=another(first).commit),
        dataclasses.replace(another(first), commit=dataclasses.replace(another(first).commit, signatures=())),
    )
    for signed in false:
        for accuse in (ledger.compare, functools.partial(ledger.judge, first)):
            with pytest.raises(ProofError):
                accuse(signed)
        with pytest.raises(ProofError):
            ledger.judge(signed, first)


@pytest.mark.parametrize("how", ["compare", "judge", "judge a height to come"])
def test_a_second_history_ends_the_ledger_with_its_proof_and_for_good(tmp_path: Path, how: str) -> None:
    with running(tmp_path) as ledger:
        genesis, true = ledger.genesis, ours(ledger, 2)
        if how == "judge a height to come":
            header = dataclasses.replace(true.header, height=ledger.height + 1000)
            commit = dataclasses.replace(true.commit, height=header.height)
            true = another(SignedHeader(header=header, commit=commit), app=b"\x02" * 32)
        false = another(true)
        told: list[LedgerError] = []
        ledger.when_failed(told.append)
        accuse = ledger.compare if how == "compare" else functools.partial(ledger.judge, true)
        with pytest.raises(Diverged, match=f"the validators signed two blocks {true.header.height} "):
            accuse(false)
        assert [type(fault) for fault in told] == [Diverged]
        assert ledger.trouble == told[0].cause
        assert kept(ledger) == [true, false]
        for signed in kept(ledger):
            verify_signed(ledger.chain_id, signed.header, signed.commit, genesis.validators)
        with pytest.raises(Diverged):
            ledger.submit(adding("n", 3))
        height = ledger.height
    again = comet_ledger(tmp_path, genesis, start=False)
    with pytest.raises(Diverged, match="halted: the validators signed two blocks"):
        again.start()
    assert again.height == height
    assert kept(again) == [true, false]
    again.stop()
