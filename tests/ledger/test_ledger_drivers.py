"""The embedded driver makes CometBFT's blocks; a follower believes only what it computed itself."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest
from ledger_world import (
    START,
    VALIDATOR,
    Counter,
    World,
    adding,
    consortium_genesis,
    counter_genesis,
    counter_ledger,
    key,
    transfer,
)

from fondaco.core.codec import Value
from fondaco.core.messages import from_bytes, to_bytes
from fondaco.errors import CodecError, DeadlineExceeded, FondacoError, LedgerError, ProofError
from fondaco.ledger.application import Application
from fondaco.ledger.blocks import (
    MAX_WIRE_BYTES,
    Block,
    Commit,
    CommitSig,
    Validator,
    block_id,
    data_hash,
    vote_bytes,
)
from fondaco.ledger.contracts import registry as contracts
from fondaco.ledger.contracts.kit import VERSION, Context
from fondaco.ledger.contracts.points.messages import Transfer
from fondaco.ledger.embedded import Committed, EmbeddedLedger, LedgerFull
from fondaco.ledger.follower import Diverged, FollowerLedger
from fondaco.ledger.integrity import Damaged
from fondaco.ledger.light import trust_genesis, verify_header, verify_proof
from fondaco.ledger.log import verify_consistency
from fondaco.ledger.reader import MOST_AHEAD_SECONDS, TooEarly
from fondaco.ledger.storage import Storage
from fondaco.ledger.transactions import BadTransaction


@pytest.fixture
def ledger() -> Iterator[EmbeddedLedger]:
    """An embedded ledger of counters, in memory."""
    made = counter_ledger()
    yield made
    made.stop()


def block_of(data: bytes) -> Block:
    """A decoded block."""
    return from_bytes(Block, data, limit=MAX_WIRE_BYTES)


def resigned(block: Block, **changes: object) -> bytes:
    """The block with another header, signed by the validator itself."""
    header = dataclasses.replace(block.header, **changes)  # type: ignore[arg-type]
    unsigned = dataclasses.replace(block.commit, block=block_id(header, block.txs, block.last_commit), signatures=())
    time = block.commit.signatures[0].time
    signature = key(VALIDATOR).sign_raw(vote_bytes(header.chain, unsigned, time))
    place = dataclasses.replace(block.commit.signatures[0], signature=signature)
    commit = dataclasses.replace(unsigned, signatures=(place,))
    return to_bytes(dataclasses.replace(block, header=header, commit=commit))


def apply_all(follower: FollowerLedger, blocks: list[bytes]) -> None:
    """Apply blocks in order."""
    for data in blocks:
        follower.apply(data)


# -- embedded ---------------------------------------------------------------------------------------------------------


def test_a_submission_ends_with_its_place_and_result(ledger: EmbeddedLedger) -> None:
    good = ledger.submit(adding("n", 5)).result(10)
    bad = ledger.submit(adding("n", 101)).result(10)
    assert (good.result.code, good.result.events) == (0, (1,))
    assert (bad.result.code, bad.result.codespace) == (7, "counter")
    assert bad.result.cause == "over 100 at once"
    assert bad.result.remedy == "add less"
    assert ledger.query("all") == {"counter/first": 1, "counter/n": 5}
    (index, event), *_ = ledger.events(1, 10)
    assert (index, event["kind"], event["height"], event["tx"]) == (1, "added", good.height, good.tx)


def test_it_says_of_itself_what_it_is(ledger: EmbeddedLedger) -> None:
    assert "tamper-evident, not Byzantine fault tolerant" in ledger.status().says


def test_every_header_links_and_is_signed_and_carries_the_hash_before(ledger: EmbeddedLedger) -> None:
    for n in range(4):
        ledger.submit(adding(f"n{n}", n)).result(10)
    ledger.wait_provable(10)
    trusted = trust_genesis(counter_genesis())
    times = [START * 10**9]
    last = Commit(height=0, round=0, block=block_of(ledger.blocks(1, 1)[0]).header.last_block, signatures=())
    for data in ledger.blocks(1, 100):
        block = block_of(data)
        trusted = verify_header(trusted, block.header, block.commit, counter_genesis().validators)
        assert block.last_commit == last
        assert block.commit.block == block_id(block.header, block.txs, block.last_commit)
        assert block.header.time > times[-1]
        times.append(block.header.time)
        last = block.commit


def test_an_idle_ledger_makes_one_proof_block_and_rests(ledger: EmbeddedLedger) -> None:
    height = ledger.submit(adding("n", 1)).result(10).height
    ledger.wait_height(height + 1, 10)
    assert ledger.provable()
    with pytest.raises(DeadlineExceeded, match="did not reach"):
        ledger.wait_height(height + 2, 0.2)


def test_many_threads_are_grouped_into_few_blocks(ledger: EmbeddedLedger) -> None:
    done: list[int] = []

    def work(name: str) -> None:
        futures = [ledger.submit(adding(name, 1)) for _n in range(50)]
        done.extend(future.result(30).height for future in futures)

    threads = [threading.Thread(target=work, args=(f"n{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 200
    assert len(set(done)) < 50
    counters = ledger.query("all")
    assert isinstance(counters, dict)
    assert [counters[f"counter/n{n}"] for n in range(4)] == [50] * 4


def test_the_same_transaction_twice_is_executed_once(ledger: EmbeddedLedger) -> None:
    tx = adding("n", 1)
    first, second = ledger.submit(tx), ledger.submit(tx)
    assert first.result(10).result.code == 0
    with pytest.raises(BadTransaction, match="doubled"):
        second.result(10)
    with pytest.raises(BadTransaction, match="executed before"):
        ledger.submit(tx)


@pytest.mark.parametrize("bound", ["MAX_WAITING", "MAX_WAITING_BYTES"])
def test_when_too_much_waits_the_sender_is_told(
    bound: str, ledger: EmbeddedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(f"fondaco.ledger.embedded.{bound}", 0)
        with pytest.raises(LedgerFull, match="wait"):
            ledger.submit(adding("n", 1))
    assert ledger.submit(adding("n", 1)).result(10).result.code == 0
    assert ledger._waiting_bytes == 0


def test_a_submission_cannot_be_taken_back(ledger: EmbeddedLedger) -> None:
    future = ledger.submit(adding("n", 1))
    assert not future.cancel()
    assert future.result(10).result.code == 0


def test_proofs_can_be_made_while_blocks_keep_coming(ledger: EmbeddedLedger) -> None:
    trusted = trust_genesis(counter_genesis())
    sizes: list[tuple[int, bytes]] = []
    for n in range(6):
        futures = [ledger.submit(adding("n", 1)) for _m in range(5)]
        futures[-1].result(10)
        proof = ledger.prove([b"counter/n", b"counter/none"], [0])
        verify_proof(trusted, proof)
        value = int.from_bytes(proof.states[0].value or b"", "big")
        assert value == proof.anchor.log_size - 1
        assert 5 * n <= value <= 5 * n + 5
        sizes.append((proof.anchor.log_size, proof.anchor.log_root))
    ledger.wait_provable(10)
    now = ledger.anchor()
    for size, root in sizes:
        shown = ledger.consistency(size)
        verify_consistency(shown.old, shown.new, root, now.log_root, shown.path)


def test_watchers_hear_each_height_in_order(ledger: EmbeddedLedger) -> None:
    heard: list[int] = []
    ledger.wait_height(1, 10)
    ledger.watch(heard.append)
    last = ledger.submit(adding("n", 1)).result(10).height
    ledger.wait_height(last + 1, 10)
    ledger.submit(adding("n", 1)).result(10)
    assert heard == list(range(heard[0], heard[-1] + 1))


def test_another_validators_key_is_refused() -> None:
    with pytest.raises(LedgerError, match="not that of the chain"):
        EmbeddedLedger(None, counter_genesis(), Counter(), key("stranger"))


@pytest.mark.parametrize(
    "changes",
    [
        {"validators": ()},
        {"chain": ""},
        {"chain": "x" * 51},
        {"time": 0},
        {"validators": (Validator(key=b"short", power=1),)},
        {"validators": (Validator(key=key(VALIDATOR).public.raw, power=0),)},
        {"validators": (Validator(key=key(VALIDATOR).public.raw, power=1),) * 2},
    ],
)
def test_no_chain_begins_with_an_unsound_genesis(changes: dict[str, object]) -> None:
    with pytest.raises(LedgerError, match="genesis"):
        FollowerLedger(None, dataclasses.replace(counter_genesis(), **changes), Counter())  # type: ignore[arg-type]


def test_a_folder_belongs_to_one_chain_and_to_one_process(tmp_path: Path) -> None:
    ledger = counter_ledger(tmp_path)
    with pytest.raises(LedgerError, match="cannot be opened"):
        counter_ledger(tmp_path)
    ledger.stop()
    other = dataclasses.replace(counter_genesis(), chain="another")
    with pytest.raises(LedgerError, match="another chain"):
        EmbeddedLedger(tmp_path, other, Counter(), key(VALIDATOR))
    counter_ledger(tmp_path).stop()


def test_a_file_from_before_the_tree_had_pages_is_read(tmp_path: Path) -> None:
    ledger = counter_ledger(tmp_path)
    for number in range(40):
        ledger.submit(adding(f"n{number}", 1)).result(10)
    known = ledger.status().app_hash
    ledger.stop()
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as db:
        db.execute("DELETE FROM page")
        db.execute("CREATE TABLE node (place BLOB PRIMARY KEY, node BLOB NOT NULL) WITHOUT ROWID")
    again = counter_ledger(tmp_path)
    assert again.status().app_hash == known
    again.submit(adding("n40", 1)).result(10)
    again.wait_provable(10)
    verify_proof(trust_genesis(counter_genesis()), again.prove([b"counter/n7", b"counter/none"]))
    again.stop()
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'node'").fetchall()


def test_a_damaged_page_is_named(tmp_path: Path) -> None:
    """One that the newest root does not show: only a block that needs it meets it."""
    ledger = counter_ledger(tmp_path)
    for number in range(40):
        ledger.submit(adding(f"n{number}", 1)).result(10)
    ledger.stop()
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as db:
        assert db.execute("UPDATE page SET page = x'8000' WHERE name != x'00'").rowcount > 0
    again = counter_ledger(tmp_path)
    ends: list[LedgerError] = []
    again.when_failed(ends.append)
    add = [adding(f"n{number}", 1) for number in range(40)]
    with pytest.raises(LedgerError, match="no page of a tree"):
        [again.submit(tx).result(10) for tx in add]
    assert len(ends) == 1
    again.stop()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(LedgerError, match="cannot be opened"):
        counter_ledger(tmp_path)


def test_an_operator_who_edits_the_validators_database_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds the machine can change its file, and the software that looks at it; nobody else then believes it."""
    world = World(tmp_path)
    honest = FollowerLedger(None, consortium_genesis(), contracts)
    world.ledger.submit(transfer(1)).result(10)
    world.ledger.wait_provable(10)
    world.ledger.stop()
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE kv SET value = ? WHERE key = ?", ((10**9).to_bytes(8, "big"), b"points/balance/airline"))
    with pytest.raises(Damaged):
        EmbeddedLedger(tmp_path, consortium_genesis(), contracts, key(VALIDATOR))
    monkeypatch.setattr("fondaco.ledger.reader.check_whole", lambda *_storage, **_roots: None)
    edited = EmbeddedLedger(tmp_path, consortium_genesis(), contracts, key(VALIDATOR))
    with pytest.raises(ProofError) as caught:
        verify_proof(trust_genesis(consortium_genesis()), edited.prove([b"points/balance/airline"]))
    assert caught.value.check == "state-proof"
    edited.submit(transfer(2, amount=2_000_000)).result(10)
    edited.wait_provable(10)
    with pytest.raises(Diverged):
        apply_all(honest, edited.blocks(1, 100))
    edited.stop()
    honest.close()


EDITS = {
    "tree": "UPDATE page SET page = zeroblob(length(page))",
    "log tree": "UPDATE log_node SET hash = zeroblob(length(hash))",
    "value": "UPDATE kv SET value = x'7f' WHERE key = CAST('counter/n' AS BLOB)",
    "value more": "INSERT INTO kv VALUES (CAST('counter/m' AS BLOB), x'01')",
    "value less": "DELETE FROM kv WHERE key = CAST('counter/n' AS BLOB)",
    "event": "UPDATE event SET leaf = (SELECT leaf FROM event WHERE idx = 0) WHERE idx = 1",
    "event more": "INSERT INTO event SELECT idx + 2, height, leaf FROM event WHERE idx = 0",
    "event less": "DELETE FROM event WHERE idx = 0",
}


@pytest.mark.parametrize("edit", sorted(EDITS))
def test_an_edited_file_does_not_open(edit: str, tmp_path: Path) -> None:
    ledger = counter_ledger(tmp_path)
    ledger.submit(adding("n", 1)).result(10)
    ledger.stop()
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as db:
        assert db.execute(EDITS[edit]).rowcount > 0
    with pytest.raises(LedgerError, match="changed or is damaged"):
        counter_ledger(tmp_path)


def test_a_reopened_ledger_goes_on_where_it_was(tmp_path: Path) -> None:
    first = counter_ledger(tmp_path)
    first.submit(adding("n", 3)).result(10)
    first.wait_provable(10)
    before = first.status()
    first.stop()
    second = counter_ledger(tmp_path)
    assert second.status().app_hash == before.app_hash
    assert second.status().height >= before.height
    assert second.submit(adding("n", 4)).result(10).result.code == 0
    assert second.query("all") == {"counter/first": 1, "counter/n": 7}
    second.stop()


def test_a_stopped_ledger_takes_nothing_more() -> None:
    ledger = counter_ledger()
    waiting = ledger.submit(adding("n", 1))
    ledger.stop()
    assert waiting.result(1).result.code == 0
    assert (ledger.genesis.chain, ledger.height > 0) == ("test-chain", True)


class Broken(Counter):
    """Contracts with a defect that no error names."""

    def execute(self, ctx: Context, kind: str, payload: Value) -> None:
        """Fail as only a defect does."""
        raise ZeroDivisionError


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_watcher_that_fails_leaves_nobody_waiting() -> None:
    ledger = EmbeddedLedger(None, counter_genesis(), Broken(), key(VALIDATOR))

    def broken(_fault: LedgerError) -> None:
        raise RuntimeError("the loop is closed")

    ledger.when_failed(broken)
    with pytest.raises(LedgerError, match="ended by a defect"):
        ledger.submit(adding("n", 1)).result(10)
    ledger.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_leaves_nobody_waiting_and_nothing_half_done() -> None:
    ledger = EmbeddedLedger(None, counter_genesis(), Broken(), key(VALIDATOR))
    ledger.wait_provable(10)
    before = ledger.status()
    known, futures, seen = threading.Event(), list[Future[Committed]](), list[bool]()
    ledger.when_failed(lambda _fault: seen.append(known.wait(10) and futures[0].done()))
    futures.append(ledger.submit(adding("n", 1)))
    known.set()
    with pytest.raises(LedgerError, match="ended by a defect"):
        futures[0].result(10)
    assert seen == [False]  # who waits and asks what the trouble is finds it
    with pytest.raises(LedgerError, match="ended by a defect"):
        ledger.submit(adding("n", 2))
    assert ledger.status() == before
    ledger.stop()


def test_a_full_disk_ends_the_ledger_with_its_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = counter_ledger(tmp_path)
    ledger.wait_provable(10)
    before = ledger.status()

    def full(_self: Storage, db: sqlite3.Connection, _changes: object) -> None:
        db.execute("INSERT INTO nowhere VALUES (1)")

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "put_pages", full)
        with pytest.raises(LedgerError, match="could not be written"):
            ledger.submit(adding("n", 1)).result(10)
    assert ledger.query("all") == {"counter/first": 1}
    ledger.stop()
    again = counter_ledger(tmp_path)
    assert again.status().app_hash == before.app_hash
    assert again.submit(adding("n", 1)).result(10).result.code == 0
    again.stop()


# -- follower -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chain() -> list[bytes]:
    """Blocks of a consortium at work."""
    world = World()
    world.story()
    blocks = world.ledger.blocks(1, 1000)
    world.ledger.stop()
    return blocks


def follow(folder: Path | None = None) -> FollowerLedger:
    """A follower of the consortium."""
    return FollowerLedger(folder, consortium_genesis(), contracts)


def test_a_follower_computes_the_same_and_proves_the_same(chain: list[bytes], tmp_path: Path) -> None:
    world = World()
    world.story()
    follower = follow(tmp_path)
    for data in world.ledger.blocks(1, 1000):
        follower.apply(data)
    assert follower.status().app_hash == world.ledger.status().app_hash
    proof = follower.prove([b"points/supply"], [0])
    verify_proof(trust_genesis(consortium_genesis()), proof)
    assert to_bytes(proof) == to_bytes(world.ledger.prove([b"points/supply"], [0]))
    assert follower.query("points/supply") == world.ledger.query("points/supply")
    world.ledger.stop()
    follower.close()


def test_a_follower_catches_up_after_a_restart_and_passes_over_what_it_has(chain: list[bytes], tmp_path: Path) -> None:
    follower = follow(tmp_path)
    for data in chain[:7]:
        follower.apply(data)
    follower.close()
    follower = follow(tmp_path)
    assert follower.height == 7
    assert follower.apply(chain[3]) == 7
    with pytest.raises(LedgerError, match="does not follow"):
        follower.apply(chain[8])
    for data in chain:
        follower.apply(data)
    assert follower.height == len(chain)
    follower.close()


Change = Callable[[Block], Block]


def _commit(**changes: object) -> Change:
    return lambda b: dataclasses.replace(b, commit=dataclasses.replace(b.commit, **changes))  # type: ignore[arg-type]


CARRIED: dict[str, Change] = {
    "a transaction left out": lambda b: dataclasses.replace(b, txs=()),
    "a transaction more": lambda b: dataclasses.replace(b, txs=(*b.txs, transfer(1))),
    "another header": lambda b: dataclasses.replace(b, header=dataclasses.replace(b.header, app_hash=bytes(32))),
    "another last commit": lambda b: dataclasses.replace(b, last_commit=dataclasses.replace(b.last_commit, round=1)),
    "no signature": _commit(signatures=()),
    "another round": _commit(round=1),
    "a signature more": lambda b: dataclasses.replace(
        b,
        commit=dataclasses.replace(
            b.commit,
            signatures=(*b.commit.signatures, CommitSig(flag=2, address=bytes(20), time=1, signature=bytes(64))),
        ),
    ),
}


@pytest.mark.parametrize("what", sorted(CARRIED))
def test_what_a_carrier_changed_is_refused_and_the_true_block_still_applies(what: str, chain: list[bytes]) -> None:
    follower = follow()
    for data in chain[:2]:
        follower.apply(data)
    with pytest.raises(ProofError):
        follower.apply(to_bytes(CARRIED[what](block_of(chain[2]))))
    assert follower.evidence is None
    assert follower.apply(chain[2]) == 3
    follower.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"app_hash": bytes(32)},
        {"last_results_hash": bytes(32)},
        {"consensus_hash": bytes(32)},
        {"app_version": VERSION + 1},
        {"proposer": bytes(20)},
        {"evidence_hash": bytes(32)},
    ],
)
def test_what_the_validator_signed_wrongly_halts_the_follower_and_is_kept(
    changes: dict[str, object], chain: list[bytes], tmp_path: Path
) -> None:
    follower = follow(tmp_path)
    for data in chain[:2]:
        follower.apply(data)
    false = resigned(block_of(chain[2]), **changes)
    with pytest.raises(Diverged):
        follower.apply(false)
    follower.close()
    follower = follow(tmp_path)
    assert (follower.height, follower.evidence) == (2, false)
    with pytest.raises(Diverged, match="halted: block 3"):
        follower.apply(chain[2])
    assert follower.query("points/supply") is not None
    follower.close()


def test_a_follower_whose_own_file_was_edited_while_it_ran_blames_no_validator(tmp_path: Path) -> None:
    world = World()
    world.ledger.submit(transfer(1)).result(10)
    world.ledger.wait_provable(10)
    follower = follow(tmp_path)
    apply_all(follower, world.ledger.blocks(1, 100))
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE kv SET value = ? WHERE key = ?", ((7).to_bytes(8, "big"), b"points/supply"))
        db.execute("UPDATE kv SET value = ? WHERE key = ?", (bytes(8), b"points/balance/authority"))
    follower._storage._values.clear()  # as after other reads
    pay = Transfer(source="authority", target="weather", amount=5, sequence=1)
    world.must(pay, "authority/user")
    world.ledger.wait_provable(10)
    with pytest.raises(Damaged, match="own ledger file"):
        apply_all(follower, world.ledger.blocks(follower.height + 1, 100))
    assert follower.evidence is None
    follower.close()
    world.ledger.stop()


def test_a_signed_block_that_breaks_the_rules_halts_the_follower(chain: list[bytes]) -> None:
    follower = follow()
    for data in chain[:2]:
        follower.apply(data)
    block = block_of(chain[2])
    twice = dataclasses.replace(block, txs=(*block.txs, *block.txs))
    with pytest.raises(Diverged, match="breaks the rules"):
        follower.apply(resigned(twice, data_hash=data_hash(twice.txs)))
    follower.close()


def test_nonsense_is_refused_by_name(chain: list[bytes]) -> None:
    follower = follow()
    for data in (b"", b"\xa0", chain[0][:-1], bytes(1000)):
        with pytest.raises(CodecError):
            follower.apply(data)
    for at in range(0, len(chain[0]), 5):
        with pytest.raises(FondacoError):
            follower.apply(chain[0][:at] + bytes((chain[0][at] ^ 2,)) + chain[0][at + 1 :])
    assert follower.height == 0
    follower.close()


def test_a_crashed_founding_is_founded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_self: Application, _also: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Application, "commit", die)
        with pytest.raises(KeyboardInterrupt):
            follow(tmp_path)
    follow(tmp_path).close()


# -- time --------------------------------------------------------------------------------------------------------------


def ahead(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the embedded driver's clock be wrong from now on."""
    wrong = SimpleNamespace(
        time_ns=lambda: time.time_ns() + int(seconds * 10**9),
        time=lambda: time.time() + seconds,
        monotonic=time.monotonic,
    )
    monkeypatch.setattr("fondaco.ledger.embedded.time", wrong)


def test_a_block_of_the_future_waits_and_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block 70 years ahead would end every grant and rule at once."""
    with monkeypatch.context() as patch:
        ahead(patch, 3600)
        ledger = counter_ledger()
        ledger.submit(adding("n", 1)).result(10)
    block = ledger.blocks(1, 1)[0]
    follower = FollowerLedger(None, counter_genesis(), Counter())
    with pytest.raises(TooEarly, match="ahead of this node's clock"):
        follower.apply(block)
    assert (follower.height, follower.evidence) == (0, None)
    with monkeypatch.context() as patch:
        patch.setattr("fondaco.ledger.follower.time", SimpleNamespace(time_ns=lambda: time.time_ns() + 3600 * 10**9))
        assert follower.apply(block) == 1
    follower.close()
    ledger.stop()


def test_a_clock_that_is_a_little_behind_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead(monkeypatch, MOST_AHEAD_SECONDS - 10)
    ledger = counter_ledger()
    ledger.submit(adding("n", 1)).result(10)
    follower = FollowerLedger(None, counter_genesis(), Counter())
    assert follower.apply(ledger.blocks(1, 1)[0]) == 1
    follower.close()
    ledger.stop()


def test_a_validator_whose_clock_fell_behind_its_last_block_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        ahead(patch, 3600)
        ledger = counter_ledger(tmp_path)
        ledger.submit(adding("n", 1)).result(10)
        ledger.stop()
    with pytest.raises(TooEarly, match="ahead of this node's clock"):
        counter_ledger(tmp_path)
    ahead(monkeypatch, 3600)
    counter_ledger(tmp_path).stop()
