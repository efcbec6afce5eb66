"""What a stranger or a member may send to hurt a ledger: it costs little, and hurts nobody else."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from ledger_world import CONSORTIUM, VALIDATOR, World, consortium_genesis, key, organisation, transfer

from fondaco.core.codec import Value, encode
from fondaco.core.keys import PublicKey
from fondaco.core.messages import to_bytes, to_value
from fondaco.errors import KeyMaterialError, LedgerError, ProofError
from fondaco.ledger import transactions
from fondaco.ledger.admission import Stranger
from fondaco.ledger.application import TxResult
from fondaco.ledger.audit.bundle import export
from fondaco.ledger.audit.verify import verify
from fondaco.ledger.contracts import kit
from fondaco.ledger.contracts import registry as contracts
from fondaco.ledger.contracts.catalog.messages import Dataset
from fondaco.ledger.contracts.identity.messages import Invite, Join
from fondaco.ledger.contracts.tasks.messages import InputHead, Propose, StepHead
from fondaco.ledger.embedded import Committed, EmbeddedLedger
from fondaco.ledger.execution import MAX_SAID
from fondaco.ledger.follower import FollowerLedger
from fondaco.ledger.reader import Ledger, read_results, write_results
from fondaco.ledger.transactions import BadTransaction, Body, Envelope, build
from fondaco.node.ledgers import Answer, LedgerService

MEMBER = "airline/user"


def signed(payload: Value, *, kind: str = "identity.join/1", signer: str = MEMBER, expires: int = 900) -> bytes:
    """A transaction of any payload, in form and signed."""
    secret = key(signer)
    body = to_bytes(
        Body(
            chain=CONSORTIUM,
            kind=kind,
            payload=encode(payload),
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
        with world.ledger._work:
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


# -- cheap bytes that cost much -----------------------------------------------------------------------------------


@pytest.fixture
def world() -> Iterator[World]:
    """A consortium at rest."""
    made = World()
    yield made
    made.ledger.stop()


def unread(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is decoded from now on as a payload."""
    seen: list[bytes] = []
    inner = transactions.decode

    def decode(data: bytes, **named: int) -> Value:
        seen.append(data)
        return inner(data, **named)

    monkeypatch.setattr(transactions, "decode", decode)
    return seen


def test_a_stranger_is_refused_before_its_signature_is_verified_or_its_payload_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = unread(monkeypatch)
    tx = signed({}, kind="points.transfer/1", signer="nobody")
    monkeypatch.setattr(PublicKey, "verify", None)
    for kind in ("points.transfer/1", "identity.join/1"):
        with pytest.raises(Stranger):
            world.ledger.submit(signed({}, kind=kind, signer="nobody"))
    assert world.ledger._app.prepare_proposal([tx]) == []
    with pytest.raises(Stranger):
        world.ledger._app.process_proposal([tx])
    assert seen == []


def test_a_members_payload_is_read_only_once_its_signature_holds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = unread(monkeypatch)
    tx = signed([{}] * 60_000, kind="points.transfer/1")
    with pytest.raises(KeyMaterialError):
        world.ledger.submit(tx[:-1] + bytes((tx[-1] ^ 1,)))
    assert seen == []


def test_a_guest_may_join_while_its_invitation_is_open_and_nothing_else(world: World) -> None:
    guest, admin = key("guest"), key("harbour/admin")
    invite = Invite(
        by="weather",
        key=guest.public.raw,
        certificate=b"certificate",
        organisation="harbour",
        kind="member",
        expires=int(time.time()) + 3600,
    )
    world.must(invite, "weather/admin", "guest")
    join = Join(invitation=guest.public.raw, organisation=organisation("harbour"))
    keys = (admin, guest, *(key(f"harbour/{name}") for name in ("node", "user")))
    tx = build(CONSORTIUM, join, keys, nonce=os.urandom(16), expires=900)
    again = build(CONSORTIUM, join, keys, nonce=os.urandom(16), expires=900)
    with pytest.raises(Stranger):
        world.ledger.submit(signed({}, kind="points.transfer/1", signer="guest"))
    with pytest.raises(Stranger):
        world.ledger.submit(build(CONSORTIUM, join, (admin,), nonce=os.urandom(16), expires=900))
    assert world.ledger.submit(tx).result(10).result.code == 0
    with pytest.raises(Stranger):
        world.ledger.submit(signed(to_value(join), signer="guest"))
    assert world.ledger.submit(again).result(10).result.error == "ledger.identity.status"  # of a member now


@pytest.mark.parametrize("payload", [[{}] * 60_000, [{"": 0}] * 20_000, [0] * 60_000, [[]] * 60_000])
def test_many_small_items_are_refused_before_they_are_built(world: World, payload: Value) -> None:
    tx = signed(payload, kind="points.transfer/1")
    began = time.process_time()
    with pytest.raises(BadTransaction, match="items"):
        world.ledger._app.check_tx(tx)
    assert time.process_time() - began < 0.1


def test_an_envelope_or_body_of_many_items_is_refused(world: World) -> None:
    for raw in (b"\x00" * 60_000, b"\x9a\x00\x00\xea\x60" + b"\xa0" * 60_000):
        with pytest.raises(BadTransaction):
            world.ledger.submit(raw)
    secret = key(MEMBER)
    body = to_bytes(
        Body(
            chain=CONSORTIUM,
            kind="x",
            payload=b"",
            nonce=bytes(16),
            expires=9,
            signers=(secret.public.raw, *(b"",) * 20_000),
        )
    )
    with pytest.raises(BadTransaction, match="items"):
        world.ledger.submit(to_bytes(Envelope(body=body, signatures=(secret.sign("tx", body),))))


def test_a_hostile_bundle_is_refused_before_it_is_built() -> None:
    """4 MiB of empty maps took 15 seconds and 297 MiB."""
    count = 4 << 20
    body = b"\x9a" + count.to_bytes(4, "big") + b"\xa0" * count
    file = b"\xa2gcontent\x5a" + len(body).to_bytes(4, "big") + body + b"isignature\x40"
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(ProofError, match="items") as caught:
        verify(file)
    assert time.process_time() - began < 3
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()
    assert caught.value.check == "format"


def test_a_submission_does_not_hold_up_the_event_loop(world: World) -> None:
    """The node goes on with its other work while a transaction is checked."""
    service = LedgerService(world.ledger, validator="me", own="me")
    beats = 0
    slow, fast = threading.Event(), world.ledger.submit

    def submit(tx: bytes) -> Future[Committed]:
        assert slow.wait(20)
        return fast(tx)

    async def story() -> Answer:
        nonlocal beats
        waiting = asyncio.ensure_future(service._commit(transfer(1)))
        for _beat in range(20):
            await asyncio.sleep(0)
            beats += 1
        slow.set()
        return await waiting

    world.ledger.submit = submit  # type: ignore[method-assign]
    assert asyncio.run(story()).code == 0
    assert beats == 20


def test_a_proposal_reads_each_wide_record_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 steps over one record of 48 kB read it 32 times."""
    path = world.publish("airline", "wide", columns=60)
    kit._decoded.cache_clear()  # type: ignore[attr-defined]
    kit._decoded_wide.cache_clear()  # type: ignore[attr-defined]
    read: list[type] = []
    inner = kit.from_bytes

    def from_bytes(cls: type, data: bytes) -> object:
        read.append(cls)
        return inner(cls, data)

    monkeypatch.setattr(kit, "from_bytes", from_bytes)
    steps = tuple(
        StepHead(
            id=f"s{n}",
            program=bytes(32),
            operation="mpc.statistics",
            members=("airline", "weather"),
            receivers=("airline",),
            inputs=(InputHead(organisation="airline", path=path, version=1, columns=("value",), grant=None),),
        )
        for n in range(16)
    )
    msg = Propose(
        workflow=b"w",
        coordinator="authority",
        parties=("airline", "weather", "authority"),
        steps=steps,
        purpose="delay-study",
        deadline=world.ledger.status().time // 10**9 + 3600,
    )
    world.must(msg, "airline/user")
    assert read.count(Dataset) == 1
