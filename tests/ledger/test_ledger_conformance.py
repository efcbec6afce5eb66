"""One suite, both drivers: what the embedded ledger promises, a real CometBFT process keeps, to the byte."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from comet_world import comet_ledger
from ledger_world import (
    CHAIN,
    VALIDATOR,
    Counter,
    World,
    adding,
    consortium_genesis,
    counter_genesis,
    counter_ledger,
    key,
)

from fondaco.core.keys import SecretKey
from fondaco.core.messages import from_bytes, to_bytes
from fondaco.errors import FondacoError
from fondaco.ledger.blocks import MAX_WIRE_BYTES, Block, block_id
from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.contracts import registry as contracts
from fondaco.ledger.embedded import EmbeddedLedger, LedgerFull
from fondaco.ledger.follower import FollowerLedger
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.light import trust_genesis, verify_header, verify_proof
from fondaco.ledger.log import verify_consistency
from fondaco.ledger.transactions import BadTransaction

Either = EmbeddedLedger | CometLedger
Opener = Callable[[Path], Either]
OPEN: dict[str, Opener] = {"embedded": counter_ledger, "cometbft": comet_ledger}
SECONDS = 30


@pytest.fixture(scope="module", params=OPEN)
def ledger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Either]:
    """A ledger of counters that the tests of this module share; each counts under names of its own."""
    made = OPEN[request.param](tmp_path_factory.mktemp("ledger"))
    yield made
    made.stop()


@pytest.fixture
def name() -> str:
    """A counter that no other test counts."""
    return os.urandom(8).hex()


def counted(ledger: Either, name: str) -> int:
    """The counter's value."""
    found = ledger.query("all")
    assert isinstance(found, dict)
    value = found.get(f"counter/{name}", 0)
    assert isinstance(value, int)
    return value


def add(ledger: Either, name: str, amount: int) -> bytes:
    """A signed addition that can wait for a while."""
    return adding(name, amount, expires=ledger.height + 500)


def blocks_of(ledger: Either) -> list[Block]:
    """Every block that is here with its signed header."""
    found = ledger.blocks(1, 10_000, 1 << 30)
    return [from_bytes(Block, data, limit=MAX_WIRE_BYTES) for data in found]


def test_a_submission_ends_with_its_place_and_result(ledger: Either, name: str) -> None:
    good = ledger.submit(add(ledger, name, 5)).result(SECONDS)
    bad = ledger.submit(add(ledger, name, 101)).result(SECONDS)
    assert (good.result.code, len(good.result.events)) == (0, 1)
    assert (bad.result.code, bad.result.codespace, bad.result.cause) == (7, "counter", "over 100 at once")
    assert bad.result.remedy == "add less"
    assert bad.result.events == ()
    assert counted(ledger, name) == 5
    (index, event), *_ = ledger.events(good.result.events[0], 1)
    assert (index, event["tx"], event["height"]) == (good.result.events[0], good.tx, good.height)
    assert ledger.results(good.height)[good.index] == good.result


def test_the_same_transaction_twice_is_executed_once(ledger: Either, name: str) -> None:
    tx = add(ledger, name, 1)
    first, second = ledger.submit(tx), ledger.submit(tx)
    assert first.result(SECONDS).result.code == 0
    with pytest.raises(BadTransaction, match="doubled"):
        second.result(SECONDS)
    with pytest.raises(BadTransaction, match="executed before"):
        ledger.submit(tx)
    assert counted(ledger, name) == 1


@pytest.mark.parametrize("junk", [b"", b"junk", bytes(70_000)])
def test_what_no_block_may_hold_is_refused_at_once(junk: bytes, ledger: Either) -> None:
    with pytest.raises(BadTransaction):
        ledger.submit(junk)


def test_a_forged_and_an_expired_and_a_far_transaction_are_refused(ledger: Either, name: str) -> None:
    tx = add(ledger, name, 1)
    with pytest.raises(FondacoError):
        ledger.submit(tx[:-1] + bytes((tx[-1] ^ 1,)))
    ledger.submit(add(ledger, name, 1)).result(SECONDS)
    for expires in (1, ledger.height + 5000):
        with pytest.raises(BadTransaction, match="expire"):
            ledger.submit(adding(name, 1, expires=expires))


def test_a_burst_shares_blocks(ledger: Either, name: str) -> None:
    done = [future.result(SECONDS) for future in [ledger.submit(add(ledger, name, 1)) for _n in range(100)]]
    assert all(one.result.code == 0 for one in done)
    assert len({one.height for one in done}) < 20
    assert counted(ledger, name) == 100


def test_every_header_links_and_is_signed_and_carries_the_hash_before(ledger: Either, name: str) -> None:
    ledger.submit(add(ledger, name, 1)).result(SECONDS)
    ledger.wait_provable(SECONDS)
    trusted = trust_genesis(counter_genesis())
    before = None
    for block in blocks_of(ledger):
        trusted = verify_header(trusted, block.header, block.commit, ledger.validators_at(block.header.height))
        assert block.commit.block == block_id(block.header, block.txs, block.last_commit)
        if before is not None:
            assert block.header.last_block == before.commit.block
            assert block.last_commit.block == before.commit.block
        before = block


def test_an_idle_ledger_makes_the_block_that_proves_the_last(ledger: Either, name: str) -> None:
    ledger.submit(add(ledger, name, 1)).result(SECONDS)
    ledger.wait_provable(SECONDS)
    proof = ledger.prove([f"counter/{name}".encode(), b"counter/none"])
    verify_proof(trust_genesis(counter_genesis()), proof)
    assert proof.states[0].value == (1).to_bytes(16, "big")
    assert proof.states[1].value is None


def test_proofs_can_be_made_while_blocks_keep_coming(ledger: Either, name: str) -> None:
    trusted = trust_genesis(counter_genesis())
    ledger.submit(add(ledger, name, 1)).result(SECONDS)
    ledger.wait_provable(SECONDS)
    sizes: list[tuple[int, bytes]] = []
    for _n in range(5):
        futures = [ledger.submit(add(ledger, name, 1)) for _m in range(5)]
        futures[-1].result(SECONDS)
        proof = ledger.prove([f"counter/{name}".encode()], [0])
        verify_proof(trusted, proof)
        assert 1 <= int.from_bytes(proof.states[0].value or b"", "big") <= counted(ledger, name)
        sizes.append((proof.anchor.log_size, proof.anchor.log_root))
    ledger.wait_provable(SECONDS)
    now = ledger.anchor()
    for size, root in sizes:
        shown = ledger.consistency(size)
        verify_consistency(shown.old, shown.new, root, now.log_root, shown.path)


def test_watchers_hear_each_height_in_order(ledger: Either, name: str) -> None:
    heard: list[int] = []
    ledger.watch(heard.append)
    last = ledger.submit(add(ledger, name, 1)).result(SECONDS).height
    ledger.wait_height(last + 1, SECONDS)
    ledger.submit(add(ledger, name, 1)).result(SECONDS)
    ledger.wait_provable(SECONDS)
    assert last in heard
    assert heard == list(range(heard[0], heard[-1] + 1))


def test_when_too_much_waits_the_sender_is_told(ledger: Either, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("fondaco.ledger.embedded.MAX_WAITING", 0)
        patch.setattr("fondaco.ledger.cometbft.backlog.CEILING", 0)
        with pytest.raises(LedgerFull, match="wait"):
            ledger.submit(add(ledger, name, 1))
    assert ledger.submit(add(ledger, name, 1)).result(SECONDS).result.code == 0


def test_a_follower_computes_the_same(ledger: Either, name: str) -> None:
    ledger.submit(add(ledger, name, 1)).result(SECONDS)
    ledger.wait_provable(SECONDS)
    follower = FollowerLedger(None, counter_genesis(), Counter())
    for data in ledger.blocks(1, 10_000, 1 << 30):
        follower.apply(data)
    assert counted(ledger, name) == 1
    assert follower.query("all") == ledger.query("all")
    follower.close()


@pytest.mark.parametrize("driver", OPEN)
def test_a_reopened_ledger_goes_on_where_it_was(driver: str, tmp_path: Path) -> None:
    first = OPEN[driver](tmp_path)
    first.submit(adding("n", 3)).result(SECONDS)
    first.wait_provable(SECONDS)
    before = first.status()
    first.stop()
    second = OPEN[driver](tmp_path)
    assert second.height >= before.height
    assert second.submit(adding("n", 4)).result(SECONDS).result.code == 0
    assert second.query("all") == {"counter/first": 1, "counter/n": 7}
    second.stop()


# -- the same blocks on both ------------------------------------------------------------------------------------------


class ByHand(EmbeddedLedger):
    """The embedded driver, its blocks made when the test says so, at the time that the test says."""

    def _take(self) -> None:
        return None

    def make(self, time: int, txs: tuple[bytes, ...]) -> list[int]:
        """Make a block; the codes of its transactions."""
        with self.lock:
            return [result.code for result in self._make_block(time, txs)]


def _same_blocks_same_hashes(ledger: CometLedger, genesis: Genesis, registry: object, validator: SecretKey) -> int:
    ledger.wait_provable(SECONDS)
    blocks = blocks_of(ledger)
    embedded = ByHand(None, genesis, registry, validator)  # type: ignore[arg-type]
    for at, block in enumerate(blocks):
        assert block.header.app_hash == embedded.status().app_hash
        codes = embedded.make(block.header.time, block.txs)
        assert codes == [result.code for result in ledger.results(block.header.height)]
        made = from_bytes(Block, embedded.block(block.header.height) or b"", limit=MAX_WIRE_BYTES)
        for field in ("data_hash", "consensus_hash", "validators_hash", "last_results_hash", "evidence_hash", "time"):
            assert getattr(made.header, field) == getattr(block.header, field), field
        assert len(blocks) == at + 1 or blocks[at + 1].header.app_hash == embedded.status().app_hash
    assert embedded.status().app_hash == ledger.status().app_hash
    assert to_bytes(embedded.prove([b"points/supply", b"none"]).states[0]) == to_bytes(
        ledger.prove([b"points/supply", b"none"]).states[0]
    )
    embedded.stop()
    return len(blocks)


def test_the_consortiums_story_gives_equal_app_hashes_after_every_block(tmp_path: Path) -> None:
    ledger = comet_ledger(tmp_path, consortium_genesis(), contracts)
    try:
        World(ledger=ledger).story()
        assert _same_blocks_same_hashes(ledger, consortium_genesis(), contracts, key(VALIDATOR)) >= 15
    finally:
        ledger.stop()


def test_blocks_with_refusals_give_equal_app_hashes(tmp_path: Path) -> None:
    ledger = comet_ledger(tmp_path)
    try:
        for wave in range(4):
            sent = [ledger.submit(add(ledger, f"n{n % 7}", n)) for n in range(90 if wave else 15, 130)]
            assert {future.result(SECONDS).result.code for future in sent} == {0, 7}
        assert ledger.genesis.chain == CHAIN
        assert _same_blocks_same_hashes(ledger, counter_genesis(), Counter(), key(VALIDATOR)) > 4
    finally:
        ledger.stop()
