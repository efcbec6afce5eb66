"""Hostile bundles: what brings nothing is not taken, what can be in no block does not stay, and nobody is told wrongly."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from comet_world import comet_ledger
from ledger_world import Counter, adding, counter_genesis, key

from fondaco.core.codec import encode
from fondaco.core.messages import to_bytes
from fondaco.errors import FondacoError
from fondaco.ledger import transactions
from fondaco.ledger.admission import Expelled
from fondaco.ledger.application import BAD_CODE
from fondaco.ledger.blocks import validators_hash
from fondaco.ledger.cometbft import abci, mempool
from fondaco.ledger.cometbft.bundle import MOST_BYTES, held_by, opened
from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.cometbft.home import Config, Home, config_text
from fondaco.ledger.cometbft.mempool import FULL_CODE
from fondaco.ledger.cometbft.rpc import RpcError
from fondaco.ledger.cometbft.service import Connection
from fondaco.ledger.state import ReadStore
from fondaco.ledger.transactions import BadTransaction, Body, Envelope

RECHECK = 1
HEAD = 4  # what CometBFT counts for a transaction beside its bytes, at most


class Narrow(Counter):
    """Three transactions of a block for each signer; those in `out` are strangers, or expelled if in `gone` too."""

    def __init__(self) -> None:
        self.out: set[bytes] = set()
        self.gone: set[bytes] = set()

    def quota(self, store: ReadStore, key: bytes) -> tuple[str, int]:
        """Three each."""
        return key.hex(), 3

    def admits(self, store: ReadStore, signers: tuple[bytes, ...], kind: str) -> bool:
        """All but those who are out."""
        return signers[0] not in self.out

    def expelled(self, store: ReadStore, key: bytes) -> str:
        """Those in `gone` belonged to one institution."""
        return "harbour" if key in self.gone else ""


@pytest.fixture
def rules() -> Narrow:
    """The contracts, to change their mind."""
    return Narrow()


@pytest.fixture
def ledger(tmp_path: Path, rules: Narrow) -> Iterator[CometLedger]:
    """A ledger with no CometBFT."""
    made = comet_ledger(tmp_path, registry=rules, start=False, program=Path("/nowhere"))
    yield made
    made.stop()


def some(number: int, signer: str = "anyone", size: int = 1) -> list[bytes]:
    """Transactions of one signer."""
    return [adding("n" * size, 1, signer=signer) for _n in range(number)]


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


# -- what a bundle has to bring -----------------------------------------------------------------------------------------


def test_a_bundle_of_what_waits_already_is_not_taken_whatever_else_is_in_it(ledger: CometLedger) -> None:
    """Anybody could make such bundles without end: of others' transactions, in any order, with old ones."""
    old = some(3, "old")
    run(ledger, *old)
    one, two = some(2)
    assert check(ledger, one, two) == [0, 0]
    for entry in ([two, one], [one, *old], [*old, two], [one, one]):
        assert check(ledger, encode(entry)) == [BAD_CODE]
    assert len(ledger._backlog) == 2


def test_a_full_node_takes_no_bundle_for_what_waits_already(
    ledger: CometLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is verified when the node is full, so junk would be handed on."""
    monkeypatch.setattr("fondaco.ledger.cometbft.backlog.CEILING", 1)
    (waits,) = some(1)
    assert check(ledger, waits) == [0]
    assert check(ledger, encode([waits, b"\xa0junk"])) == [FULL_CODE]


def test_a_large_bundle_is_mostly_new(ledger: CometLedger) -> None:
    """A new transaction cannot drag four blocks' worth of old ones to the front of every proposal."""
    old = some(3, "old", 40_000)
    run(ledger, *old)
    large, small = some(1, "big", 60_000), some(2)
    assert check(ledger, encode([*old, small[0]])) == [BAD_CODE]
    assert len(ledger._backlog) == 0
    assert check(ledger, encode([old[0], small[0]])) == [0], "no more than a transaction alone may be"
    assert check(ledger, encode([old[0], *large, small[1]])) == [0]


def test_a_transaction_twice_in_a_bundle_counts_once(ledger: CometLedger) -> None:
    first, second, third = some(3)
    assert check(ledger, encode([first, first, first, second, third])) == [0]
    assert len(ledger._backlog) == 3


def test_what_is_no_message_fills_no_bundle(ledger: CometLedger) -> None:
    """It is signed and in no quota that CheckTx counts: one transaction a bundle would carry a block's worth of it."""
    secret = key("filler")
    bodies = [
        to_bytes(
            Body(
                chain=ledger.chain_id,
                kind="counter.add/1",
                payload=b"\xff" * 60_000,
                nonce=bytes((n,)) * 16,
                expires=900,
                signers=(secret.public.raw,),
            )
        )
        for n in range(3)
    ]
    filler = [to_bytes(Envelope(body=body, signatures=(secret.sign("tx", body),))) for body in bodies]
    (good,) = some(1)
    assert check(ledger, encode([*filler, good]), encode([filler[0], good])) == [BAD_CODE] * 2
    assert len(ledger._backlog) == 0
    with pytest.raises(BadTransaction, match="not a message"):
        ledger.submit(filler[0])
    assert check(ledger, good) == [0]


# -- how long it stays --------------------------------------------------------------------------------------------------


def test_a_bundle_leaves_when_a_nonce_was_spent_by_another(ledger: CometLedger) -> None:
    """Else seven of these, always at the front, would keep everything out of blocks for a thousand heights."""
    done, stuck = (adding("n", n, number=bytes(16)) for n in (1, 2))
    assert check(ledger, encode([done, stuck])) == [0]
    run(ledger, *ledger.propose([encode([done, stuck])], 1 << 20))
    assert check(ledger, encode([done, stuck]), again=True) == [BAD_CODE]
    assert len(ledger._backlog) == 0


def test_a_bundle_leaves_when_its_author_does(ledger: CometLedger, rules: Narrow) -> None:
    txs = some(2)
    assert check(ledger, encode(txs)) == [0]
    rules.out.add(key("anyone").public.raw)
    run(ledger)
    assert check(ledger, encode(txs), again=True) == [BAD_CODE]
    assert len(ledger._backlog) == 0


# -- quotas -------------------------------------------------------------------------------------------------------------


def test_of_an_organisation_wait_as_many_as_a_block_may_hold(ledger: CometLedger) -> None:
    """Each node takes others, and a block is made of those of one node: what is over would pile up before all else."""
    txs = some(9)
    assert check(ledger, *txs[:4]) == [0, 0, 0, BAD_CODE]
    run(ledger)
    assert check(ledger, txs[3], encode(txs[4:])) == [BAD_CODE] * 2
    assert check(ledger, *some(3, "another"), *txs[:3]) == [0] * 6
    run(ledger, txs[0])
    assert check(ledger, encode(txs[3:6]), txs[6]) == [0, BAD_CODE]
    assert len(ledger._backlog) == 6
    run(ledger, *txs[1:4])
    assert check(ledger, encode(txs[3:6]), again=True) == [BAD_CODE]
    assert check(ledger, *txs[4:8]) == [0, 0, 0, BAD_CODE]


def test_what_has_expired_makes_room(ledger: CometLedger) -> None:
    assert check(ledger, *(adding("n", n, expires=1) for n in range(3))) == [0] * 3
    assert check(ledger, *some(1)) == [BAD_CODE]
    run(ledger)
    assert check(ledger, *some(3)) == [0] * 3


# -- strangers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Whose signatures were verified."""
    found: list[bytes] = []

    class Watched(transactions.SignatureBatch):
        def add(self, key: bytes, domain: str, message: bytes, signature: bytes) -> None:
            found.append(key)
            super().add(key, domain, message, signature)

    monkeypatch.setattr(transactions, "SignatureBatch", Watched)
    monkeypatch.setattr(transactions, "PublicKey", None)
    return found


def test_no_stranger_s_signature_is_verified(ledger: CometLedger, rules: Narrow, seen: list[bytes]) -> None:
    strange = some(3, "stranger")
    rules.out.add(key("stranger").public.raw)
    assert check(ledger, strange[0], encode(strange[1:])) == [BAD_CODE, BAD_CODE]
    with pytest.raises(FondacoError):
        ledger.accept(strange)
    assert ledger.propose(strange, 1 << 20) == []
    assert not seen
    (member,) = some(1, "member")
    assert check(ledger, encode([*strange, member])) == [0]
    assert ledger.propose([encode([*strange, member])], 1 << 20) == [member]
    assert not rules.out & {*seen}


def test_what_no_block_may_hold_is_not_verified(ledger: CometLedger, seen: list[bytes]) -> None:
    """Old transactions are public: anybody may send a thousand of them in a bundle, as often as a link bears."""
    old = [*some(3, "old"), adding("n", 1, expires=1)]
    run(ledger, *old[:3])
    seen.clear()
    assert check(ledger, encode([*old]), *old) == [BAD_CODE] * 5
    assert ledger.propose([encode([*old])], 1 << 20) == []
    with pytest.raises(FondacoError):
        ledger.accept(old)
    assert not seen
    (new,) = some(1)
    assert check(ledger, encode([*old, new])) == [0]
    assert seen == [key("anyone").public.raw]


# -- what who submitted is told -----------------------------------------------------------------------------------------


def test_what_travels_in_a_bundle_that_was_taken_is_not_refused(ledger: CometLedger) -> None:
    """Who is told that it was refused signs a new one, and both would be executed."""
    txs = some(5)
    futures = [ledger.submit(tx) for tx in txs]
    entry = encode([*txs])
    assert check(ledger, entry) == [0]
    run(ledger, *ledger.propose([entry], 1 << 20))
    assert [future.done() for future in futures] == [True] * 3 + [False] * 2
    assert ledger.propose([entry], 1 << 20) == txs[3:]
    run(ledger, *txs[3:])
    assert {future.result(1).result.code for future in futures} == {0}


def test_what_is_left_of_a_bundle_that_leaves_is_handed_over_again(ledger: CometLedger) -> None:
    txs = some(5)
    futures = [ledger.submit(tx) for tx in txs]
    taken = ledger._pending._take()
    assert taken is not None
    assert [one.tx for _key, one in taken] == txs
    entry = encode([*txs])
    assert check(ledger, entry) == [0]
    run(ledger, *txs[:3])
    assert check(ledger, entry, again=True) == [BAD_CODE]
    again = ledger._pending._take()
    assert again is not None
    assert [one.tx for _key, one in again] == txs[3:]
    assert not any(future.done() for future in futures[3:])


def test_a_bundle_that_is_not_taken_ends_what_is_to_blame_alone(ledger: CometLedger, rules: Narrow) -> None:
    """What waits in another entry still waits; what is sound is handed over without the rest."""
    waits, good, gone = some(1)[0], some(1, "good")[0], some(2, "gone", 40_000)
    futures = [ledger.submit(tx) for tx in (waits, good, *gone)]
    assert ledger._pending._take() is not None
    assert check(ledger, waits) == [0]
    rules.out.add(key("gone").public.raw)
    run(ledger)
    assert check(ledger, encode([waits, good, *gone])) == [BAD_CODE]
    assert [future.done() for future in futures] == [False, False, True, True]
    again = ledger._pending._take()
    assert again is not None
    assert [one.tx for _key, one in again] == [good]


def test_an_expelled_institution_s_transactions_are_told_why_and_what_came_with_them_goes_on(
    ledger: CometLedger, rules: Narrow
) -> None:
    """Those alone, and those in a bundle: in no mempool, in no proposal, and in none that is accepted."""
    waits, again, fresh, alone = (some(1, "gone")[0] for _n in range(4))
    (good,) = some(1, "good")
    futures = [ledger.submit(tx) for tx in (waits, again)]
    assert check(ledger, waits, encode([again, good])) == [0, 0]
    rules.gone.add(key("gone").public.raw)
    rules.out.add(key("gone").public.raw)
    run(ledger)
    with pytest.raises(Expelled, match="harbour"):
        ledger.submit(fresh)
    requests: list[abci.Request] = [abci.RequestCheckTx(tx=alone, type=0), abci.RequestCheckTx(tx=waits, type=RECHECK)]
    for response in Connection(ledger).handle(requests):
        assert response.code == BAD_CODE  # type: ignore[attr-defined]
        assert response.log.startswith("ledger.expelled: harbour")  # type: ignore[attr-defined]
    with pytest.raises(BadTransaction, match="harbour, whose key the author's is, was expelled"):
        futures[0].result(1)
    assert check(ledger, encode([again, good]), again=True) == [0]
    assert ledger.propose([waits, encode([again, good])], 1 << 20) == [good]
    ledger.accept([good])
    with pytest.raises(Expelled):
        ledger.accept([good, again])
    run(ledger, good)
    assert check(ledger, encode([again, good]), again=True) == [BAD_CODE]
    taken = ledger._pending._take()  # handed over once more, and now told
    assert [one.tx for _key, one in taken or ()][-1:] == [again]
    assert check(ledger, again) == [BAD_CODE]
    with pytest.raises(BadTransaction, match="harbour"):
        futures[1].result(1)


def test_what_waits_in_the_mempool_is_not_handed_over_twice(
    ledger: CometLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = some(2)
    for tx in (one, two):
        ledger.submit(tx)
    assert check(ledger, one) == [0]
    taken = ledger._pending._take()
    assert taken is not None
    assert [found.tx for _key, found in taken] == [two]

    def silent(_txs: list[bytes]) -> list[str]:
        raise RpcError("nobody there", remedy="")

    monkeypatch.setattr(ledger.rpc, "broadcast", silent)
    ledger.forget_mempool()
    taken = ledger._pending._take()
    assert taken is not None
    assert [found.tx for _key, found in taken] == [one, two]


def test_what_is_handed_over_at_once_is_less_than_cometbft_reads(tmp_path: Path) -> None:
    """Else one user's large transactions would be sent, refused unread and sent again, before all others, for ever."""
    ledger = comet_ledger(tmp_path, start=False, program=Path("/nowhere"))
    try:
        for tx in some(220, "large", 60_000):
            ledger.submit(tx)
        batches = [ledger._pending._take(), ledger._pending._take()]
        sizes = [sum(len(one.tx) for _key, one in batch or ()) for batch in batches]
        assert 4 * max(sizes) < 3 * 15_000_000
        assert sum(len(batch or ()) for batch in batches) == 220
    finally:
        ledger.stop()


def test_cometbft_keeps_few_large_bundles(tmp_path: Path) -> None:
    """4,800 bundles with one new transaction each would else be a gigabyte, and five with the garbage between them."""
    home = Home(tmp_path)
    config = tomllib.loads(config_text(home, Config(moniker="one", listen="127.0.0.1:1")))["mempool"]
    assert config["max_tx_bytes"] == MOST_BYTES
    assert config["max_txs_bytes"] <= 256 << 20


# -- proposals ----------------------------------------------------------------------------------------------------------


def test_a_proposal_of_bundles_fits_with_its_heads(ledger: CometLedger) -> None:
    """With evidence in the block CometBFT leaves little room, and it stops when an answer is larger than that."""
    txs = [tx for n in range(50) for tx in some(3, f"signer {n}")]
    entries = [encode([*txs])]
    room = sum(map(len, txs)) - 1
    request = abci.RequestPrepareProposal(txs=tuple(entries), max_tx_bytes=room, height=1)
    (answer,) = Connection(ledger).handle([request])
    kept = answer.txs  # type: ignore[attr-defined]
    assert kept == tuple(txs[: len(kept)])
    assert room - 2 * len(txs[0]) - HEAD * len(kept) < sum(map(len, kept)) <= room - 3 * len(kept)


# -- bundles are not read twice -----------------------------------------------------------------------------------------


def test_a_bundle_that_was_taken_leaves_without_being_read_again(
    ledger: CometLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    txs = [*some(2), *some(1, "somebody")]
    entry, other = encode([*txs]), encode([*some(2, "other")])
    assert check(ledger, entry, other) == [0, 0]
    run(ledger, *txs)
    read = []

    def noted(data: bytes) -> tuple[bytes, ...] | BadTransaction:
        read.append(data)
        return held_by(data)

    monkeypatch.setattr(mempool, "held_by", noted)
    assert check(ledger, entry, other, again=True) == [BAD_CODE, 0]
    assert read == [other]
    assert check(ledger, entry, again=True) == [BAD_CODE]  # and it is forgotten
    assert read == [other, entry]
    assert kept(ledger) == 2


def kept(ledger: CometLedger) -> int:
    """How many transactions of bundles are remembered; what is counted is what there is."""
    held = ledger._mempool
    assert held._kept == sum(map(len, held._bundles.values())) <= mempool._MOST_KEPT
    return held._kept


def test_a_bundle_that_is_read_and_leaves_is_forgotten_too(ledger: CometLedger, rules: Narrow) -> None:
    entry = encode([*some(2, "leaver")])
    assert check(ledger, entry) == [0]
    assert kept(ledger) == 2
    rules.out.add(key("leaver").public.raw)
    run(ledger, *some(1, "else"))
    assert check(ledger, entry, again=True) == [BAD_CODE]
    assert kept(ledger) == 0


def test_what_is_remembered_of_bundles_is_bounded(ledger: CometLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mempool, "_MOST_KEPT", 5)
    entries = [encode([*some(2, f"signer-{n}")]) for n in range(4)]
    for number, entry in enumerate(entries):
        assert check(ledger, entry) == [0]
        assert kept(ledger) == min(4, 2 * number + 2)
    assert list(ledger._mempool._bundles.values())[-1] == ledger._app.hashes(opened(entries[3]))
    assert check(ledger, *entries, again=True) == [0] * 4  # what was forgotten is read
    run(ledger, *(tx for entry in entries[1:3] for tx in opened(entry)))
    assert check(ledger, *entries, again=True) == [0, BAD_CODE, BAD_CODE, 0]
    assert kept(ledger) == 2
    ledger.forget_mempool()
    assert kept(ledger) == 0
    assert check(ledger, *entries, again=True) == [BAD_CODE] * 4
    monkeypatch.setattr(mempool, "_MOST_KEPT", 1)
    assert check(ledger, *entries[::3]) == [0, 0]
    assert kept(ledger) == 0
