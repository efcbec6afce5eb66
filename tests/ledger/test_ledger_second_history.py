"""A second, correctly signed history: whoever has seen the first keeps the evidence and halts, follower and validator."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from ledger_world import VALIDATOR, consortium_genesis, key, transfer

from fondaco.core.messages import from_bytes, to_bytes
from fondaco.errors import LedgerError, ProofError, RemoteError
from fondaco.ledger.blocks import MAX_WIRE_BYTES, Block
from fondaco.ledger.contracts import registry as contracts
from fondaco.ledger.embedded import EmbeddedLedger, Overtaken
from fondaco.ledger.follower import Behind, Diverged, FollowerLedger
from fondaco.ledger.light import SignedHeader
from fondaco.node.ledgers import LedgerService
from fondaco.transport.identity import PeerIdentity
from fondaco.transport.memory import MemoryNetwork

SECONDS = 60.0
NODE, MEMBER = key("authority/node").public.did, key("weather/node").public.did


def validator(folder: Path | None = None) -> EmbeddedLedger:
    return EmbeddedLedger(folder, consortium_genesis(), contracts, key(VALIDATOR))


def follower(folder: Path | None = None) -> FollowerLedger:
    return FollowerLedger(folder, consortium_genesis(), contracts)


def pay(ledger: EmbeddedLedger, sequence: int, amount: int = 1) -> None:
    """A payment, and the empty block that proves it."""
    ledger.submit(transfer(sequence, amount=amount)).result(10)
    ledger.wait_provable(10)


def apply_all(ledger: FollowerLedger, blocks: list[bytes]) -> None:
    for data in blocks:
        ledger.apply(data)


@dataclasses.dataclass(frozen=True)
class Faces:
    """Two histories of one validator, in blocks from the first on; `fork` is the last height that both have."""

    true: list[bytes]
    false: list[bytes]
    fork: int
    folder: Path

    def tip(self, blocks: list[bytes], height: int) -> SignedHeader:
        block = from_bytes(Block, blocks[height - 1], limit=MAX_WIRE_BYTES)
        return SignedHeader(header=block.header, commit=block.commit)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Faces:
    """The validator was restored from an old backup and went on; the other history is longer and correctly signed."""
    now, old = tmp_path_factory.mktemp("now"), tmp_path_factory.mktemp("old")
    first = validator(now)
    pay(first, 1)
    fork = first.height
    first.stop()
    shutil.copy(now / "ledger.sqlite", old / "ledger.sqlite")
    first = validator(now)
    for sequence in (2, 3):
        pay(first, sequence)
    true = first.blocks(1, 100)
    first.stop()
    backup = tmp_path_factory.mktemp("backup")
    shutil.copy(old / "ledger.sqlite", backup / "ledger.sqlite")
    second = validator(old)
    for sequence in (2, 3, 4):
        pay(second, sequence, 500)
    false = second.blocks(1, 100)
    second.stop()
    return Faces(true, false, fork, backup)


def _halted(ledger: FollowerLedger, evidence: bytes, blocks: list[bytes]) -> None:
    assert ledger.evidence == evidence
    with pytest.raises(Diverged, match="halted"):
        apply_all(ledger, blocks)


@pytest.mark.parametrize("back", [0, 1, 2])
def test_a_second_block_at_or_below_our_height_is_evidence_and_halts(faces: Faces, back: int, tmp_path: Path) -> None:
    ours = follower(tmp_path)
    apply_all(ours, faces.true)
    height = ours.height - back
    assert height > faces.fork
    with pytest.raises(Diverged, match=f"another block {height}"):
        ours.apply(faces.false[height - 1])
    _halted(ours, faces.false[height - 1], faces.true)
    ours.close()
    again = follower(tmp_path)
    _halted(again, faces.false[height - 1], faces.true)
    assert again.query("points/supply") is not None
    again.close()


def test_a_signed_block_that_follows_another_than_ours_is_evidence_and_halts(faces: Faces) -> None:
    ours = follower()
    apply_all(ours, faces.true[: faces.fork + 1])
    false = faces.false[faces.fork + 1]
    with pytest.raises(Diverged, match="last_block"):
        ours.apply(false)
    _halted(ours, false, faces.true)
    ours.close()


def test_what_nobody_signed_is_no_evidence(faces: Faces) -> None:
    ours = follower()
    apply_all(ours, faces.true)
    for height in (faces.fork + 1, len(faces.true)):
        block = from_bytes(Block, faces.false[height - 1], limit=MAX_WIRE_BYTES)
        place = dataclasses.replace(block.commit.signatures[0], signature=bytes(64))
        commit = dataclasses.replace(block.commit, signatures=(place,))
        with pytest.raises(ProofError):
            ours.apply(to_bytes(dataclasses.replace(block, commit=commit)))
        with pytest.raises(ProofError):
            ours.hear(SignedHeader(header=block.header, commit=commit))
    assert ours.evidence is None
    apply_all(ours, faces.true)
    ours.close()


def test_a_follower_has_heard_the_validator_only_if_their_newest_blocks_agree(faces: Faces) -> None:
    ours = follower()
    assert ours.hear(None)
    apply_all(ours, faces.true[:-1])
    at = ours.height
    assert ours.hear(faces.tip(faces.true, at))
    assert not ours.hear(faces.tip(faces.true, at + 1))  # there is more: our view is old
    with pytest.raises(Behind):
        ours.hear(faces.tip(faces.true, at - 1))
    with pytest.raises(Behind):
        ours.hear(None)
    assert ours.evidence is None
    tip = faces.tip(faces.false, at)
    with pytest.raises(Diverged, match="another block"):
        ours.hear(tip)
    assert ours.evidence == to_bytes(tip)
    ours.close()


def test_a_restored_validator_that_hears_of_its_own_later_block_makes_no_more(faces: Faces, tmp_path: Path) -> None:
    shutil.copy(faces.folder / "ledger.sqlite", tmp_path / "ledger.sqlite")
    restored = validator(tmp_path)
    height = restored.height
    restored.hear(None)
    restored.hear(faces.tip(faces.true, faces.fork))
    later = faces.tip(faces.true, len(faces.true))
    place = dataclasses.replace(later.commit.signatures[0], signature=bytes(64))
    forged = dataclasses.replace(later, commit=dataclasses.replace(later.commit, signatures=(place,)))
    with pytest.raises(ProofError):
        restored.hear(forged)
    with pytest.raises(Overtaken):
        restored.hear(later)
    for _again in range(2):
        with pytest.raises(Overtaken):
            restored.submit(transfer(2))
        with pytest.raises(Overtaken):
            restored.hear(None)
        assert restored.evidence == to_bytes(later)
        assert restored.height == height
        restored.stop()
        restored = validator(tmp_path)
    restored.stop()


def test_a_validator_that_hears_of_its_other_face_makes_no_more(faces: Faces) -> None:
    made = validator()
    pay(made, 1)
    other = validator()
    pay(other, 1, 2)
    tip = from_bytes(Block, other.blocks(1, 1)[0])
    made.hear(SignedHeader(header=made._tip.header, commit=made._tip.commit))  # type: ignore[union-attr]
    with pytest.raises(Overtaken):
        made.hear(SignedHeader(header=tip.header, commit=tip.commit))
    with pytest.raises(Overtaken):
        made.submit(transfer(2))
    made.stop()
    other.stop()


# -- between nodes ------------------------------------------------------------------------------------------------


class Directory:
    """Two nodes that know each other."""

    def trusted(self) -> tuple[PeerIdentity, ...]:
        return tuple(PeerIdentity(did, b"", None) for did in (NODE, MEMBER))

    def version(self) -> int:
        return 0


def talk(
    one: EmbeddedLedger, other: FollowerLedger, story: Callable[[LedgerService], Awaitable[None]]
) -> LedgerService:
    """Let a follower's service ask a validator's; the follower's service at the end."""
    services: list[LedgerService] = []

    async def told() -> None:
        network = MemoryNetwork()
        for did, ledger in ((NODE, one), (MEMBER, other)):
            endpoint = network.endpoint(did, Directory())
            service = LedgerService(ledger, validator=NODE, own=did)
            service.start(endpoint)
            services.append(service)
            await endpoint.start()
        async with asyncio.timeout(SECONDS):
            await story(services[1])
        for endpoint in tuple(network.endpoints.values()):
            await endpoint.stop()

    asyncio.run(told())
    return services[1]


def test_a_validator_behind_its_follower_is_not_heard_and_stops(faces: Faces, tmp_path: Path) -> None:
    """The restored validator committed a revocation that the follower would never see, and still counted as heard."""
    shutil.copy(faces.folder / "ledger.sqlite", tmp_path / "ledger.sqlite")
    restored, ours = validator(tmp_path), follower()
    apply_all(ours, faces.true)

    async def story(service: LedgerService) -> None:
        with pytest.raises(RemoteError, match="signed block"):
            await service.catch_up_once()

    service = talk(restored, ours, story)
    assert service.contact() == float("-inf")
    with pytest.raises(Overtaken):
        restored.submit(transfer(2))
    restored.stop()
    ours.close()


def test_a_validator_is_heard_once_all_its_blocks_are_here() -> None:
    made, ours = validator(), follower()
    pay(made, 1)
    before = time.monotonic()

    async def story(service: LedgerService) -> None:
        while ours.height < made.height:
            await service.catch_up_once()

    assert talk(made, ours, story).contact() >= before
    made.stop()
    ours.close()


def test_a_follower_that_meets_the_other_face_halts_with_evidence(faces: Faces) -> None:
    made, ours = validator(), follower()
    apply_all(ours, faces.true[:1])
    pay(made, 1, 77)

    async def story(service: LedgerService) -> None:
        with pytest.raises((RemoteError, Diverged)):
            await service.catch_up_once()

    talk(made, ours, story)
    with pytest.raises(LedgerError):
        made.submit(transfer(2))
    made.stop()
    ours.close()
