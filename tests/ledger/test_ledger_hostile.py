"""What a stranger or a member may send to hurt a ledger: it costs little, and hurts nobody else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ledger_world import CONSORTIUM, VALIDATOR, World, consortium_genesis, key

from fondaco.core.codec import Value
from fondaco.core.messages import to_bytes
from fondaco.errors import LedgerError
from fondaco.ledger.application import MAX_SAID, TxResult
from fondaco.ledger.audit.bundle import export
from fondaco.ledger.audit.verify import verify
from fondaco.ledger.contracts import registry as contracts
from fondaco.ledger.embedded import EmbeddedLedger
from fondaco.ledger.follower import FollowerLedger
from fondaco.ledger.reader import Ledger, read_results, write_results
from fondaco.ledger.transactions import Body, Envelope

MEMBER = "airline/user"


def signed(payload: Value, *, kind: str = "identity.join/1", signer: str = MEMBER, expires: int = 900) -> bytes:
    """A transaction of any payload, in form and signed."""
    secret = key(signer)
    body = to_bytes(
        Body(
            chain=CONSORTIUM,
            kind=kind,
            payload=payload,
            nonce=os.urandom(16),
            expires=expires,
            signers=(secret.public.raw,),
        )
    )
    return to_bytes(Envelope(body=body, signatures=(secret.sign("tx", body),)))


# -- refusals whose words an attacker chooses ---------------------------------------------------------------------


def swelling() -> bytes:
    """A payload whose field names would grow four times when they are shown."""
    return signed({("\x01" * 12_500) + str(n): 0 for n in range(5)})


def test_a_refusal_says_little_whatever_was_sent() -> None:
    world = World()
    result = world.ledger.submit(swelling()).result(10).result
    assert result.error == "ledger.malformed"
    assert len(result.cause) <= MAX_SAID
    assert "\x01" not in result.cause
    assert "\\x01" not in result.cause
    world.ledger.stop()


def test_a_contracts_words_are_cut_off_too() -> None:
    world = World()
    done = world.ledger.submit(signed({}, kind="é" * 5_000)).result(10)
    assert len(done.result.cause.encode()) <= MAX_SAID
    world.ledger.stop()


def test_a_block_full_of_refusals_stops_neither_restart_nor_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / name for name in ("validator", "follower")]
    for folder in folders:
        folder.mkdir()
    world = World(folders[0])
    with monkeypatch.context() as patch:  # killed before the empty block that follows, so that these are the newest
        patch.setattr(Ledger, "provable", lambda _self: True)
        with world.ledger.lock:
            waiting = [world.ledger.submit(swelling()) for _n in range(30)]
        heights = {future.result(30).height for future in waiting}
        follower = FollowerLedger(folders[1], consortium_genesis(), contracts)
        for data in world.ledger.blocks(1, 100, 1 << 30):
            follower.apply(data)
        assert follower.height == max(heights)
        follower.close()
        world.ledger.stop()
    follower = FollowerLedger(folders[1], consortium_genesis(), contracts)
    ledger = EmbeddedLedger(folders[0], consortium_genesis(), contracts, key(VALIDATOR))
    ledger.wait_provable(10)
    for data in ledger.blocks(follower.height + 1, 100):
        follower.apply(data)
    found = verify(export(follower, key("weather/node")), trust_root=ledger.genesis.hash.hex())
    assert found.refused == 30
    ledger.stop()
    follower.close()


def test_results_of_any_size_are_read_again() -> None:
    """A block may hold thousands of refusals, each with words."""
    long = "x" * MAX_SAID
    results = [TxResult(2, "contract", "some.code", long, long, tuple(range(40))) for _n in range(4_000)]
    assert read_results(write_results(results)) == results


def test_damaged_results_are_named() -> None:
    for data in (b"", b"\xff", b"\x81\x00", b"\xa0"):
        with pytest.raises(LedgerError, match="results are damaged"):
            read_results(data)
