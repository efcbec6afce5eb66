"""Witness cosigning: two faces of a validator are found out as soon as two who saw one each talk to each other."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from ledger_world import key
from test_ledger_second_history import SECONDS, Faces, apply_all, faces, follower, pay, validator

from fondaco.core.messages import from_bytes, to_bytes
from fondaco.errors import CodecError, LedgerError, ProofError, RemoteError
from fondaco.ledger.embedded import Overtaken
from fondaco.ledger.follower import Diverged
from fondaco.ledger.light import SignedHeader
from fondaco.ledger.reader import Ledger
from fondaco.ledger.witness import DOMAIN, MAX_NOTE, Note, check_note, checkpoint, cosign, verify_cosigned
from fondaco.node.ledgers import BLOCKS, Ask, Blocks, LedgerService
from fondaco.node.witness import PROTOCOL, WitnessService, evidence_headers
from fondaco.transport.identity import PeerIdentity
from fondaco.transport.memory import MemoryNetwork

__all__ = ["faces"]
NAMES = ("airline", "authority", "weather")
DIDS = {name: key(f"{name}/node").public.did for name in NAMES}
Story = Callable[[dict[str, WitnessService], MemoryNetwork], Awaitable[None]]


class Directory:
    """Three nodes that know each other."""

    def trusted(self) -> tuple[PeerIdentity, ...]:
        return tuple(PeerIdentity(did, b"", None) for did in DIDS.values())

    def version(self) -> int:
        return 0


def talk(ledgers: dict[str, Ledger], story: Story) -> dict[str, list[LedgerError]]:
    """Let the nodes' witnesses talk; the faults that each heard of."""
    faults: dict[str, list[LedgerError]] = {name: [] for name in ledgers}

    async def told() -> None:
        network = MemoryNetwork()
        services: dict[str, WitnessService] = {}
        for name, ledger in ledgers.items():
            endpoint = network.endpoint(DIDS[name], Directory())
            service = WitnessService(ledger, key(f"{name}/node"), peers=DIDS.values, on_fault=faults[name].append)
            service.start(endpoint)
            services[name] = service
            await endpoint.start()
        async with asyncio.timeout(SECONDS):
            await story(services, network)
        for endpoint in tuple(network.endpoints.values()):
            await endpoint.stop()

    asyncio.run(told())
    return faults


def close(*ledgers: Ledger) -> None:
    for ledger in ledgers:
        ledger.close()


@pytest.mark.parametrize("ahead", [0, 1, 2])
@pytest.mark.parametrize("first", ["airline", "weather"])
def test_two_followers_that_were_shown_one_face_each_halt_once_they_talk(faces: Faces, ahead: int, first: str) -> None:
    """The validator lies to both and shows neither both faces; it is not even there when they find out."""
    one, other = follower(), follower()
    apply_all(one, faces.true)
    apply_all(other, faces.false[: len(faces.true) - ahead])
    assert one.evidence is None
    assert other.evidence is None

    async def story(services: dict[str, WitnessService], _network: MemoryNetwork) -> None:
        second = "weather" if first == "airline" else "airline"
        for name in (first, second):
            try:
                await services[name].once()
            except Diverged:
                assert name != first

    faults = talk({"airline": one, "weather": other}, story)
    for ledger, name in ((one, "airline"), (other, "weather")):
        assert faults[name], name
        seen = evidence_headers(ledger)
        assert len({signed.header.hash for signed in seen}) == 2
        assert len({signed.header.height for signed in seen}) == 1
        with pytest.raises(Diverged, match="halted"):
            ledger.apply(faces.true[0])
    close(one, other)


def test_who_saw_neither_later_block_halts_on_the_evidence_of_others(faces: Faces) -> None:
    """A third node, still below the fork, is told of both headers and judges for itself."""
    one, other, third = follower(), follower(), follower()
    apply_all(one, faces.true)
    apply_all(other, faces.false[: len(faces.true)])
    apply_all(third, faces.true[: faces.fork])

    async def story(services: dict[str, WitnessService], _network: MemoryNetwork) -> None:
        await services["airline"].once()

    faults = talk({"airline": one, "weather": other, "authority": third}, story)
    assert all(faults.values())
    assert len(evidence_headers(third)) == 2
    close(one, other, third)


def test_a_validator_that_hears_of_its_other_face_from_a_witness_makes_no_more_blocks(faces: Faces) -> None:
    made, ours = validator(), follower()
    pay(made, 1, 77)
    apply_all(ours, faces.true)

    async def story(services: dict[str, WitnessService], _network: MemoryNetwork) -> None:
        await services["weather"].once()

    faults = talk({"authority": made, "weather": ours}, story)
    assert isinstance(faults["authority"][0], Overtaken)
    assert faults["weather"]
    made.stop()
    ours.close()


def test_what_the_validators_did_not_sign_makes_nobody_halt(faces: Faces) -> None:
    """A peer forges a header at our height, a later one, and an accusation: refused, and no evidence."""
    ours = follower()
    apply_all(ours, faces.true[:-1])
    height = ours.height

    def forged(at: int) -> SignedHeader:
        tip = faces.tip(faces.true, at)
        header = dataclasses.replace(tip.header, app_hash=bytes(32))
        commit = dataclasses.replace(tip.commit, block=dataclasses.replace(tip.commit.block, hash=header.hash))
        return SignedHeader(header=header, commit=commit)

    async def story(services: dict[str, WitnessService], network: MemoryNetwork) -> None:
        endpoint = network.endpoints[DIDS["weather"]]
        point = checkpoint(ours.anchor())

        def note(signed: SignedHeader) -> Note:
            header = signed.header
            said = dataclasses.replace(point, height=header.height, header=header.hash, app_hash=header.app_hash)
            return Note(headers=(signed,), cosigned=cosign(said, key("weather/node")))

        for bad in (
            note(forged(height)),
            Note(headers=(faces.tip(faces.true, height), forged(height)), cosigned=None),
        ):
            with pytest.raises(RemoteError):
                await endpoint.call(DIDS["airline"], PROTOCOL, to_bytes(bad), deadline=5)
            services["airline"]._read.clear()
        await endpoint.call(DIDS["airline"], PROTOCOL, to_bytes(note(forged(height + 1))), deadline=5)
        ours.apply(faces.true[-1])
        await services["airline"].once()

    faults = talk({"airline": ours, "weather": follower()}, story)
    assert faults == {"airline": [], "weather": []}
    assert ours.evidence is None
    ours.close()


def test_notes_that_come_too_often_are_refused(faces: Faces) -> None:
    ours, other = follower(), follower()
    apply_all(ours, faces.true)
    apply_all(other, faces.true)

    async def story(services: dict[str, WitnessService], network: MemoryNetwork) -> None:
        endpoint = network.endpoints[DIDS["weather"]]
        data = to_bytes(services["weather"]._own_note())
        await endpoint.call(DIDS["airline"], PROTOCOL, data, deadline=5)
        with pytest.raises(RemoteError, match="too often"):
            await endpoint.call(DIDS["airline"], PROTOCOL, data, deadline=5)

    talk({"airline": ours, "weather": other}, story)
    close(ours, other)


def test_nodes_that_agree_keep_each_others_newest_cosignature(faces: Faces) -> None:
    ours, other = follower(), follower()
    apply_all(ours, faces.true)
    apply_all(other, faces.true)

    async def story(services: dict[str, WitnessService], _network: MemoryNetwork) -> None:
        await services["weather"].once()
        found = services["airline"].cosigned()
        assert {one.node for one in found} == {key(f"{name}/node").public.raw for name in ("airline", "weather")}
        assert {one.checkpoint for one in found} == {checkpoint(ours.anchor())}
        for one in found:
            verify_cosigned(one)

    assert talk({"airline": ours, "weather": other}, story) == {"airline": [], "weather": []}
    close(ours, other)


def test_a_cosignature_is_the_senders_over_the_header_that_comes_with_it(faces: Faces) -> None:
    ours = follower()
    apply_all(ours, faces.true)
    point, signed = checkpoint(ours.anchor()), faces.tip(faces.true, len(faces.true))
    secret = key("weather/node")
    good = Note(headers=(signed,), cosigned=cosign(point, secret))
    sender = secret.public.raw
    check_note(good, sender)
    assert good.cosigned is not None
    other_domain = dataclasses.replace(good.cosigned, signature=secret.sign(DOMAIN + "x", to_bytes(point)))
    bad = [
        (good, key("airline/node").public.raw),
        (dataclasses.replace(good, headers=()), sender),
        (dataclasses.replace(good, headers=(signed, signed)), sender),
        (dataclasses.replace(good, headers=(faces.tip(faces.true, 1),)), sender),
        (dataclasses.replace(good, cosigned=other_domain), sender),
        (dataclasses.replace(good, cosigned=cosign(dataclasses.replace(point, chain="another"), secret)), sender),
        (Note(headers=(), cosigned=None), sender),
        (Note(headers=(signed, signed, signed), cosigned=None), sender),
    ]
    moved = dataclasses.replace(good.cosigned, checkpoint=dataclasses.replace(point, log_size=point.log_size + 1))
    bad.append((dataclasses.replace(good, cosigned=moved), sender))
    for note, node in bad:
        with pytest.raises(ProofError) as caught:
            check_note(note, node)
        assert caught.value.check == "cosignature"
    data = to_bytes(good)
    for at in range(0, len(data), 3):
        changed = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        try:
            read = from_bytes(Note, changed, limit=MAX_NOTE)
            check_note(read, sender)
        except (CodecError, ProofError):
            continue
        assert read.cosigned == good.cosigned  # a bit of the commit: the header's own check judges that
    ours.close()


def test_a_halted_ledger_cosigns_nothing(faces: Faces, tmp_path: Path) -> None:
    ours = follower(tmp_path)
    apply_all(ours, faces.true)
    with pytest.raises(Diverged):
        ours.compare(faces.tip(faces.false, faces.fork + 1))
    service = WitnessService(ours, key("airline/node"), peers=tuple, on_fault=lambda _fault: None)
    assert service.cosigned() == ()
    ours.close()


def test_a_validator_that_serves_two_faces_is_caught_while_the_two_follow_it(faces: Faces) -> None:
    """It answers each follower with a face of its own, all of it correctly signed, and takes notes without a word."""
    ledgers = {"airline": follower(), "weather": follower()}
    shown = {DIDS["airline"]: faces.true, DIDS["weather"]: faces.false}
    lies: list[str] = []
    faults: dict[str, list[LedgerError]] = {name: [] for name in ledgers}
    caught = {name: asyncio.Event() for name in ledgers}

    async def lie(peer: str, payload: bytes) -> bytes:
        start = from_bytes(Ask, payload).start
        blocks = shown[peer]
        lies.append(peer)
        return to_bytes(Blocks(blocks=tuple(blocks[start - 1 :]), tip=faces.tip(blocks, len(blocks))))

    async def keep_silent(_peer: str, _payload: bytes) -> bytes:
        return b""

    def hears(name: str) -> Callable[[LedgerError], None]:
        def told(fault: LedgerError) -> None:
            faults[name].append(fault)
            caught[name].set()

        return told

    async def told() -> None:
        network = MemoryNetwork()
        liar = network.endpoint(DIDS["authority"], Directory())
        liar.serve_calls(BLOCKS, lie)
        liar.serve_calls(PROTOCOL, keep_silent)
        await liar.start()
        tasks: list[asyncio.Task[None]] = []
        for name, ledger in ledgers.items():
            endpoint = network.endpoint(DIDS[name], Directory())
            service = LedgerService(ledger, validator=DIDS["authority"], own=DIDS[name])
            witness = WitnessService(ledger, key(f"{name}/node"), peers=DIDS.values, on_fault=hears(name))
            service.on_height(lambda _height, witness=witness: witness.wake())  # type: ignore[misc]
            service.start(endpoint)
            witness.start(endpoint)
            await endpoint.start()
            tasks += [asyncio.create_task(service.follow()), asyncio.create_task(witness.run())]
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(event.wait() for event in caught.values()))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for endpoint in tuple(network.endpoints.values()):
            await endpoint.stop()

    asyncio.run(told())
    assert set(lies) == set(shown)
    for name, ledger in ledgers.items():
        assert isinstance(faults[name][0], Diverged)
        true, false = evidence_headers(ledger)
        assert true.header.height == false.header.height
        assert true.header.hash != false.header.hash
        ledger.close()
