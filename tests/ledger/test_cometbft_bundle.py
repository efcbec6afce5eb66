"""Transactions travel in bundles and stand in blocks one by one; what is no sound bundle is handed on by nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from comet_world import comet_ledger
from hypothesis import given
from hypothesis import strategies as st
from ledger_world import adding, counter_genesis

from fondaco.core.codec import encode
from fondaco.ledger.application import BAD_CODE
from fondaco.ledger.blocks import validators_hash
from fondaco.ledger.cometbft import abci
from fondaco.ledger.cometbft.backlog import Backlog
from fondaco.ledger.cometbft.bundle import MOST, MOST_BYTES, bundles, is_bundle, opened
from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.cometbft.mempool import FULL_CODE
from fondaco.ledger.cometbft.service import Connection
from fondaco.ledger.transactions import MAX_BYTES, BadTransaction

RECHECK = 1


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[CometLedger]:
    """A ledger with no CometBFT."""
    made = comet_ledger(tmp_path, start=False, program=Path("/nowhere"))
    yield made
    made.stop()


def bundle(*txs: bytes) -> bytes:
    ((entry, held),) = bundles(txs)
    assert held == txs
    return entry


def check(ledger: CometLedger, *entries: bytes, again: bool = False) -> list[int]:
    requests: list[abci.Request] = [abci.RequestCheckTx(tx=entry, type=RECHECK if again else 0) for entry in entries]
    return [response.code for response in Connection(ledger).handle(requests)]  # type: ignore[attr-defined]


def run(ledger: CometLedger, *txs: bytes) -> None:
    """Execute a block and commit it."""
    height = ledger.height + 1
    ledger.execute(
        abci.RequestFinalizeBlock(
            txs=txs,
            height=height,
            time=counter_genesis().time + height,
            next_validators_hash=validators_hash(ledger.validators_at(height + 1)),
        )
    )
    ledger.persist()


# -- the form ---------------------------------------------------------------------------------------------------------

maps = st.dictionaries(st.text(max_size=3), st.binary(max_size=200), max_size=3).map(encode)


@given(txs=st.lists(maps, max_size=20))
def test_what_is_bundled_comes_out_in_order(txs: list[bytes]) -> None:
    entries = list(bundles(txs))
    assert [tx for entry, _held in entries for tx in opened(entry)] == txs
    assert [tx for _entry, held in entries for tx in held] == txs
    assert [is_bundle(entry) for entry, _held in entries] == [len(txs) > 1] * len(entries)


def test_bundles_keep_within_their_limits() -> None:
    for txs in ([adding("n", 1)] * (MOST + 1), [encode({"x": bytes(60_000)})] * 9):
        entries = list(bundles(txs))
        assert len(entries) > 1
        assert all(len(entry) <= MOST_BYTES for entry, _held in entries)
        assert [tx for entry, _held in entries for tx in opened(entry)] == txs


@given(junk=st.binary(max_size=300))
def test_random_bytes_are_opened_or_refused_by_name(junk: bytes) -> None:
    for data in (junk, b"\x82" + junk):
        try:
            found = opened(data)
        except BadTransaction as fault:
            assert fault.cause
        else:
            assert found == (data,) or encode([*found]) == data


@pytest.mark.parametrize(
    "bad",
    [
        encode([]),
        encode([1]),
        encode([[adding("n", 1)]]),
        encode([encode([b"x"])]),
        encode([b"x" * (MAX_BYTES + 1)]),
        encode([b"x"] * (MOST + 1)),
        encode([b"x" * 60_000] * 5),
        encode([b"x", b"y"])[:-1],
    ],
    ids=["empty", "number", "list", "bundle", "long", "many", "large", "cut"],
)
def test_what_is_no_bundle_is_refused(bad: bytes, ledger: CometLedger) -> None:
    with pytest.raises(BadTransaction):
        opened(bad)
    assert check(ledger, bad) == [BAD_CODE]
    assert check(ledger, bad, again=True) == [BAD_CODE]
    assert ledger.propose([bad], 1 << 20) == []


# -- on its way to a block --------------------------------------------------------------------------------------------


def test_a_block_takes_the_transactions_out_and_the_bundle_then_leaves(ledger: CometLedger) -> None:
    txs = [adding("n", n) for n in range(3)]
    entry = bundle(*txs)
    assert check(ledger, entry) == [0]
    assert ledger.propose([entry], 1 << 20) == txs
    assert ledger.propose([entry], len(txs[0]) + len(txs[1]) + 2 * 4) == txs[:2]
    run(ledger, *txs[:2])
    assert check(ledger, entry, again=True) == [0]
    assert ledger.propose([entry], 1 << 20) == txs[2:]
    run(ledger, txs[2])
    assert check(ledger, entry, again=True) == [BAD_CODE]
    assert ledger.query("all") == {"counter/first": 1, "counter/n": 3}


def test_no_block_holds_a_bundle(ledger: CometLedger) -> None:
    entry = bundle(adding("n", 1), adding("n", 2))
    with pytest.raises(BadTransaction):
        ledger.accept([entry])
    run(ledger, entry)
    assert [result.code for result in ledger.results(1)] == [BAD_CODE]


def test_one_transaction_in_two_bundles_waits_once_and_is_proposed_once(ledger: CometLedger) -> None:
    one, two, three = (adding("n", n) for n in range(3))
    assert check(ledger, bundle(one, two), bundle(two, three), two) == [0, 0, 0]
    assert len(ledger._backlog) == 3
    assert ledger.propose([bundle(one, two), bundle(two, three), two], 1 << 20) == [one, two, three]


def test_a_bundle_with_a_bad_signature_is_handed_on_by_nobody(ledger: CometLedger) -> None:
    good, bad = adding("n", 1), bytearray(adding("n", 2))
    bad[-1] ^= 1
    assert check(ledger, bundle(good, bytes(bad))) == [BAD_CODE]
    assert len(ledger._backlog) == 0


def test_what_has_become_stale_in_a_bundle_does_not_keep_the_rest_out(ledger: CometLedger) -> None:
    done, late, fresh = adding("n", 1), adding("n", 2, expires=1), adding("n", 3)
    run(ledger, done)
    assert check(ledger, bundle(done, late, fresh)) == [0]
    assert len(ledger._backlog) == 1
    assert ledger.propose([bundle(done, late, fresh)], 1 << 20) == [fresh]
    assert check(ledger, bundle(done, late)) == [BAD_CODE]


def test_a_bundle_whose_transactions_expire_leaves(ledger: CometLedger) -> None:
    entry = bundle(adding("n", 1, expires=2), adding("n", 2, expires=3))
    assert check(ledger, entry) == [0]
    run(ledger)
    run(ledger)
    assert check(ledger, entry, again=True) == [0]
    run(ledger)
    assert check(ledger, entry, again=True) == [BAD_CODE]


def test_a_full_node_refuses_whole_bundles_by_name(ledger: CometLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fondaco.ledger.cometbft.backlog.CEILING", 2)
    assert check(ledger, bundle(*(adding("n", n) for n in range(4)))) == [0]
    assert len(ledger._backlog) == 4
    assert check(ledger, bundle(adding("n", 5), adding("n", 6)), adding("n", 7)) == [FULL_CODE, FULL_CODE]


def test_nodes_that_are_as_full_refuse_the_same_bundles() -> None:
    backlogs = [Backlog(lambda: 0.0) for _node in range(2)]
    for backlog in backlogs:
        for number in range(backlog.limit * 7 // 8):
            backlog.enter(number.to_bytes(4, "big"), 1 << 40, "anyone")
    entries = [bundle(adding("n", n), adding("m", n)) for n in range(50)]
    first, second = ([backlog.full_for(entry) for entry in entries] for backlog in backlogs)
    assert first == second
    assert 5 < sum(first) < 45


# -- with CometBFT ------------------------------------------------------------------------------------------------------


def test_what_a_node_takes_together_is_in_blocks_one_by_one(tmp_path: Path) -> None:
    ledger = comet_ledger(tmp_path)
    txs = [adding("n", 1) for _n in range(300)]
    try:
        done = [future.result(60) for future in [ledger.submit(tx) for tx in txs]]
        assert ledger.query("all") == {"counter/first": 1, "counter/n": 300}
    finally:
        ledger.stop()
    assert {one.result.code for one in done} == {0}
    assert len({one.height for one in done}) < 10
