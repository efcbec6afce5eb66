"""State sync: a ledger restored from a snapshot is the one that it was taken of, and nothing else becomes one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from comet_world import comet_ledger
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_world import Counter, adding, key

from fondaco.core.codec import decode, encode
from fondaco.core.messages import from_bytes, to_bytes
from fondaco.ledger.blocks import Validator, ValidatorSet, validators_hash
from fondaco.ledger.cometbft import abci, parts, snapshots
from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.cometbft.service import (
    CHUNK_REJECT,
    RETRY,
    SNAPSHOT_ABORT,
    SNAPSHOT_ACCEPT,
    SNAPSHOT_REJECT,
    SNAPSHOT_REJECT_FORMAT,
)
from fondaco.ledger.contracts.kit import Context, ValidatorUpdate
from fondaco.ledger.registry import Registry


class Changing(Counter):
    """Counters whose validators change: one joins in block 1, another in block 4."""

    def end_block(self, ctx: Context) -> None:
        """The set of the block after the next is another."""
        if ctx.height in (1, 4):
            ctx.updates.append(ValidatorUpdate(key(f"joins {ctx.height}").public.raw, ctx.height))


def idle(folder: Path, every: int = 4, registry: Registry | None = None) -> CometLedger:
    """A ledger without a CometBFT: the test plays its part."""
    folder.mkdir(exist_ok=True)
    return comet_ledger(folder, registry=registry, snapshot_blocks=every, start=False, program=Path("/nowhere"))


def block(ledger: CometLedger, *txs: bytes) -> None:
    """What CometBFT does with a decided block."""
    height = ledger.height + 1
    following = validators_hash(ledger.validators_at(height + 1))
    time = ledger.genesis.time + height
    ledger.execute(abci.RequestFinalizeBlock(txs=txs, height=height, time=time, next_validators_hash=following))
    ledger.persist()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[CometLedger]:
    """A ledger at height 6 with a snapshot of height 4."""
    ledger = idle(tmp_path / "source")
    for height in range(6):
        block(ledger, *(adding(f"n{n}", height + 1) for n in range(5)))
        if ledger._snapshotting is not None:
            ledger._snapshotting.join(30)
    yield ledger
    ledger.stop()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[CometLedger]:
    """An empty ledger."""
    ledger = idle(tmp_path / "target")
    yield ledger
    ledger.stop()


def hash_at(source: CometLedger, height: int, where: Path) -> bytes:
    """The app hash after a height, as a light client would know it from the next header."""
    again = idle(where)
    for _n in range(height):
        at = again.height + 1
        block(again, *(tx for tx in TXS[at]))
    found = again.status().app_hash
    again.stop()
    return found


TXS: dict[int, tuple[bytes, ...]] = {}


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember what the source was given, so that its hash of an earlier height can be computed again."""
    TXS.clear()
    inner = CometLedger.execute

    def execute(self: CometLedger, request: abci.RequestFinalizeBlock) -> object:
        TXS[request.height] = request.txs
        return inner(self, request)

    monkeypatch.setattr(CometLedger, "execute", execute)


def chunks(source: CometLedger, snapshot: parts.Snapshot) -> list[bytes]:
    """All chunks of a snapshot."""
    return [source.chunk(snapshot.height, snapshot.format, index) for index in range(snapshot.chunks)]


def test_a_restored_ledger_has_the_same_hash_and_goes_on_alike(
    source: CometLedger, target: CometLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (snapshot,) = source.snapshots()
    assert snapshot.height == 4
    wanted = hash_at(source, 4, tmp_path / "again")
    assert target.offer(snapshot, wanted) == SNAPSHOT_ACCEPT
    assert [target.restore(index, chunk) for index, chunk in enumerate(chunks(source, snapshot))] == [
        SNAPSHOT_ACCEPT
    ] * snapshot.chunks
    assert target.info() == (4, wanted)
    assert target.events(0, 1000) == [event for event in source.events(0, 1000) if event[1]["height"] <= 4]  # type: ignore[operator]
    for height in (5, 6):
        block(target, *TXS[height])
    assert target.info() == source.info()
    assert target.query("all") == source.query("all")
    assert target.offer(snapshot, wanted) == SNAPSHOT_ABORT


def test_a_snapshot_in_many_chunks_is_the_same(
    source: CometLedger, target: CometLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "CHUNK_BYTES", 100)
    while source.height < 8:
        block(source)
    assert source._snapshotting is not None
    source._snapshotting.join(30)
    snapshot = source.snapshots()[-1]
    assert (snapshot.height, snapshot.chunks > 10) == (8, True)
    assert target.offer(snapshot, source.status().app_hash) == SNAPSHOT_ACCEPT
    found = [target.restore(index, chunk) for index, chunk in enumerate(chunks(source, snapshot))]
    assert found == [SNAPSHOT_ACCEPT] * snapshot.chunks
    assert target.info() == source.info()


def test_the_newest_two_are_kept(source: CometLedger) -> None:
    while source.height < 16:
        block(source)
        assert source._snapshotting is not None
        source._snapshotting.join(30)
    assert [snapshot.height for snapshot in source.snapshots()] == [12, 16]
    assert source.chunk(4, 1, 0) == b""
    assert source.chunk(16, 2, 0) == b""
    assert source.chunk(16, 1, 10_000) == b""


def test_another_app_hash_than_the_verified_one_is_rejected_and_changes_nothing(
    source: CometLedger, target: CometLedger
) -> None:
    before = target.status()
    (snapshot,) = source.snapshots()
    assert target.offer(snapshot, bytes(32)) == SNAPSHOT_ACCEPT
    found = [target.restore(index, chunk) for index, chunk in enumerate(chunks(source, snapshot))]
    assert found[-1] == CHUNK_REJECT
    assert target.status() == before
    block(target, adding("n", 1))
    assert target.query("all") == {"counter/first": 1, "counter/n": 1}


def test_a_chunk_that_is_not_the_manifests_is_fetched_again(source: CometLedger, target: CometLedger) -> None:
    (snapshot,) = source.snapshots()
    good = chunks(source, snapshot)
    assert target.restore(0, good[0]) == CHUNK_REJECT  # nothing was offered
    target.offer(snapshot, bytes(32))
    for index, chunk in ((0, b""), (0, good[0] + b"x"), (1, good[0]), (1, good[-1]), (999, good[0])):
        assert target.restore(index, chunk) == RETRY
    assert target.restore(0, good[0]) == SNAPSHOT_ACCEPT


def offered(sections: list[object], log_size: int = 1, **changes: object) -> tuple[parts.Snapshot, list[bytes]]:
    """A snapshot of these sections, sound in its form."""
    made = [encode(section) for section in sections]  # type: ignore[arg-type]
    return of_chunks(made, log_size, **changes), made


def of_chunks(made: list[bytes], log_size: int = 1, **changes: object) -> parts.Snapshot:
    """A snapshot of these chunks."""
    hashes = tuple(hashlib.sha256(chunk).digest() for chunk in made)
    data = to_bytes(snapshots.Manifest(height=9, log_size=log_size, chunks=hashes))
    whole = {"height": 9, "format": 1, "chunks": len(made), "hash": hashlib.sha256(data).digest(), "metadata": data}
    return parts.Snapshot(**(whole | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({"format": 2}, SNAPSHOT_REJECT_FORMAT),
        ({"height": 8}, SNAPSHOT_REJECT),
        ({"height": 0}, SNAPSHOT_REJECT),
        ({"chunks": 2}, SNAPSHOT_REJECT),
        ({"hash": bytes(32)}, SNAPSHOT_REJECT),
        ({"metadata": b""}, SNAPSHOT_REJECT),
        ({"metadata": b"junk"}, SNAPSHOT_REJECT),
    ],
)
def test_an_offer_that_is_unsound_is_rejected(changes: dict[str, object], result: int, target: CometLedger) -> None:
    snapshot, _chunks = offered([["keys", []]], **changes)
    assert target.offer(snapshot, bytes(32)) == result
    assert target.offer(parts.Snapshot(), bytes(32)) == SNAPSHOT_REJECT_FORMAT
    assert target.offer(offered([["keys", []]])[0], b"short") == SNAPSHOT_REJECT


SOME = to_bytes(ValidatorSet(validators=(Validator(key=bytes(32), power=1),)))


@pytest.mark.parametrize(
    "section",
    [
        [],
        5,
        ["keys"],
        ["keys", 5],
        ["other", []],
        ["keys", [[b"b", b""], [b"a", b""]]],
        ["keys", [[b"a", b""], [b"a", b""]]],
        ["keys", [[b"a"]]],
        ["keys", [["a", b""]]],
        ["events", [[b"a", b""]]],
        ["events", [[1, "leaf"]]],
        ["validators", [[3, b""]]],
        ["validators", [[3, to_bytes(ValidatorSet(validators=()))]]],
        ["validators", [["3", SOME]]],
    ],
)
def test_a_section_that_is_unsound_is_rejected_and_changes_nothing(section: object, target: CometLedger) -> None:
    before = target.status()
    snapshot, (chunk,) = offered([section])
    assert target.offer(snapshot, bytes(32)) == SNAPSHOT_ACCEPT
    assert target.restore(0, chunk) == CHUNK_REJECT
    assert target.status() == before
    assert target.query("all") == {"counter/first": 1}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=st.lists(st.binary(max_size=60), min_size=1, max_size=3))
def test_random_chunks_are_rejected_and_change_nothing(made: list[bytes], target: CometLedger) -> None:
    before = target.status()
    assert target.offer(of_chunks(made), bytes(32)) == SNAPSHOT_ACCEPT
    assert [target.restore(index, chunk) for index, chunk in enumerate(made)][-1] == CHUNK_REJECT
    assert target.status() == before


# -- the sets of validators, which no app hash covers -------------------------------------------------------------------


@pytest.fixture
def changed(tmp_path: Path) -> Iterator[tuple[parts.Snapshot, list[bytes], bytes, CometLedger]]:
    """A snapshot of height 4 of a ledger whose set was changed twice, its chunks and app hash; and an empty ledger."""
    source, target = (idle(tmp_path / name, registry=Changing()) for name in ("changing", "empty"))
    for _height in range(4):
        block(source)
    assert source._snapshotting is not None
    source._snapshotting.join(30)
    (snapshot,) = source.snapshots()
    yield snapshot, chunks(source, snapshot), source.status().app_hash, target
    source.stop()
    target.stop()


def restored(target: CometLedger, sets: list[object], rest: list[bytes], wanted: bytes, log_size: int) -> int:
    """What becomes of a snapshot with these sets."""
    made = [*([encode(["validators", sets])] if sets else []), *rest]  # type: ignore[list-item]
    manifest = snapshots.Manifest(height=4, log_size=log_size, chunks=tuple(hashlib.sha256(c).digest() for c in made))
    data = to_bytes(manifest)
    offer = parts.Snapshot(height=4, format=1, chunks=len(made), hash=hashlib.sha256(data).digest(), metadata=data)
    assert target.offer(offer, wanted) == SNAPSHOT_ACCEPT
    return [target.restore(index, chunk) for index, chunk in enumerate(made)][-1]


def test_a_set_that_the_state_does_not_have_is_no_snapshot(changed: tuple) -> None:  # type: ignore[type-arg]
    """Who serves one could else have the node believe, at heights to come, validators of its own: and halt it."""
    snapshot, (sets, *rest), wanted, target = changed
    size = from_bytes(snapshots.Manifest, snapshot.metadata).log_size
    (third, one), (sixth, two) = decode(sets)[1]  # type: ignore[index, misc]
    assert (third, sixth) == (3, 6)
    before = target.status()
    for bad in (
        [[3, one], [6, two], [1000, SOME]],
        [[3, one], [6, two], [7, two]],
        [[3, one], [6, SOME]],
        [[3, one]],
        [[6, two], [3, one]],
        [[3, one], [3, one], [6, two]],
        [[-3, SOME], [3, one], [6, two]],
        [[1, SOME], [3, one], [6, two]],
        [[2, SOME]],
        [],
    ):
        assert restored(target, bad, rest, wanted, size) == CHUNK_REJECT, bad
        assert target.status() == before
        assert target.validators_at(1000) == target.genesis.validators
    assert restored(target, [[3, one], [6, two]], rest, wanted, size) == SNAPSHOT_ACCEPT
    assert [len(target.validators_at(height)) for height in (4, 5, 6, 1000)] == [2, 2, 3, 3]
    block(target)
    block(target)


def test_of_the_sets_of_a_snapshot_those_that_will_sign_are_believed(changed: tuple) -> None:  # type: ignore[type-arg]
    """Of heights before it a node has no header to hold a set against: two headers of a false one would halt it."""
    snapshot, (sets, *rest), wanted, target = changed
    size = from_bytes(snapshots.Manifest, snapshot.metadata).log_size
    (_third, one), (_sixth, two) = decode(sets)[1]  # type: ignore[index, misc]
    assert restored(target, [[2, SOME], [3, one], [6, two]], rest, wanted, size) == SNAPSHOT_ACCEPT
    assert target.validators_at(2) == target.genesis.validators
    assert target.set_changes(1000) == (3, 6)


def test_a_snapshot_whose_writing_was_cut_off_is_not_offered(source: CometLedger) -> None:
    (snapshot,) = source.snapshots()
    place = source._shelf._folder / str(snapshot.height)
    (place / "manifest").write_bytes(b"half")
    again = snapshots.SnapshotShelf(source._shelf._folder)
    assert again.listed() == []
    assert not place.exists()
    assert from_bytes(snapshots.Manifest, snapshot.metadata).height == 4
