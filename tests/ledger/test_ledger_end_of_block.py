"""The end of a block: what is due is done once, its events are provable, and a changed validator set can be followed."""

from __future__ import annotations

import dataclasses
import itertools
import queue
from pathlib import Path

import pytest
from ledger_world import CHAIN, COUNTERS, START, Counter, adding, consortium_genesis, counter_genesis, key
from story_world import Several

from fondaco.core.codec import Value
from fondaco.core.messages import from_bytes, to_bytes
from fondaco.errors import LedgerError, ProofError
from fondaco.ledger.application import Application
from fondaco.ledger.audit.receipts import entry
from fondaco.ledger.blocks import (
    Validator,
    block_source,
    ordered,
    updated,
    validators_hash,
)
from fondaco.ledger.contracts import due
from fondaco.ledger.contracts import registry as contracts
from fondaco.ledger.contracts.kit import Context, ValidatorUpdate
from fondaco.ledger.embedded import EmbeddedLedger, NotAlone
from fondaco.ledger.follower import FollowerLedger
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.light import Anchor, Proof, trust_genesis, verify_anchor, verify_proof
from fondaco.ledger.state import ReadStore
from fondaco.ledger.storage import Storage

KEYS = {f"v{n}": key(f"set/{n}") for n in range(12)}
NOW = START * 10**9


class Alarm(Counter):
    """A counter whose additions to `alarm` fall due that many blocks on, and to a validator's name change its power."""

    def execute(self, ctx: Context, kind: str, payload: Value) -> None:
        """As the counter; then put something into the queue."""
        super().execute(ctx, kind, payload)
        match payload:
            case {"name": "alarm", "amount": int(blocks)}:
                due.at_height(ctx.store, ctx.height + blocks, "counter", ctx.tx)
            case {"name": "clock", "amount": int(seconds)}:
                due.at_time(ctx.store, ctx.time + seconds, "counter", ctx.tx)
            case {"name": str(name), "amount": int(power)} if name in KEYS:
                subject = KEYS[name].public.raw + power.to_bytes(1, "big")
                due.at_height(ctx.store, ctx.height, "set", subject)

    def end_block(self, ctx: Context) -> None:
        """Ring, or change the set."""
        for item in due.due(ctx.store, ctx.height, ctx.time):
            ctx.store.delete(item.key)
            if item.contract == "set":
                ctx.updates.append(ValidatorUpdate(item.subject[:32], item.subject[32]))
            ctx.emit("counter", "rang", subject=item.subject)

    def waiting(self, store: ReadStore) -> tuple[int | None, int | None]:
        """What is in the queue."""
        return due.waiting(store)


def genesis(*names: str) -> Genesis:
    """A chain of these validators."""
    return counter_genesis(*(KEYS[name] for name in names))


def app() -> Application:
    """An application with alarms."""
    made = Application(Storage(None), Alarm())
    made.init_chain(COUNTERS, NOW, {"first": 1})
    return made


def empty(made: Application, *, seconds: int = 0) -> bytes:
    """The app hash after an empty block."""
    made.finalize_block(made.height + 1, NOW + (made.height + seconds) * 10**9, [])
    made.commit(None)
    return made.app_hash


def test_what_waits_for_a_height_is_done_at_its_end_once_and_no_empty_block_before_changes_the_hash() -> None:
    made = app()
    made.finalize_block(1, NOW, [adding("alarm", 3)])
    made.commit(None)
    assert made.waiting() == (4, None)
    before, size = made.app_hash, made.log_size
    assert [empty(made), empty(made)] == [before, before]
    rung = empty(made)
    assert rung != before
    assert made.log_size == size + 1
    assert made.waiting() == (None, None)
    assert [empty(made), empty(made)] == [rung, rung]


def test_what_waits_for_a_time_is_done_at_the_first_block_that_is_not_before() -> None:
    made = app()
    made.finalize_block(1, NOW, [adding("clock", 50)])
    made.commit(None)
    assert made.waiting() == (None, START + 50)
    before = made.app_hash
    assert empty(made) == before
    assert empty(made, seconds=100) != before
    assert made.waiting() == (None, None)


def test_what_is_due_beyond_the_bound_waits_for_the_next_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due, "MAX_AT_ONCE", 2)
    made = app()
    made.finalize_block(1, NOW, [adding("alarm", 1) for _ in range(5)])
    made.commit(None)
    sizes = [made.log_size]
    for _ in range(4):
        empty(made)
        sizes.append(made.log_size)
    assert [late - early for early, late in itertools.pairwise(sizes)] == [2, 2, 1, 0]


def test_a_rolled_back_block_is_due_again() -> None:
    made = app()
    made.finalize_block(1, NOW, [adding("alarm", 1)])
    made.commit(None)
    first = made.finalize_block(2, NOW + 1, [])
    made.roll_back()
    assert made.waiting() == (2, None)
    assert made.finalize_block(2, NOW + 1, []) == first


def test_events_of_a_blocks_end_come_after_those_of_its_transactions() -> None:
    storage = Storage(None)
    made = Application(storage, Alarm())
    made.init_chain(COUNTERS, NOW, {})
    made.finalize_block(1, NOW, [adding("alarm", 1)])
    made.commit(None)
    made.finalize_block(2, NOW + 1, [adding("n", 1), adding("n", 2)])
    made.commit(None)
    found = [entry(number, leaf) for number, leaf in storage.events(0, 100)]
    assert [(e.height, e.index, e.kind) for e in found[-3:]] == [
        (2, 0, "counter.added"), (2, 1, "counter.added"), (2, 2, "counter.rang"),
    ]  # fmt: skip
    assert found[-1].tx == block_source(COUNTERS, 2)


def test_a_validator_update_signs_two_heights_on_as_in_cometbft() -> None:
    ledger = Several(None, genesis("v0"), Alarm(), KEYS.values())
    one = ledger.make(adding("v1", 10, chain=ledger.chain_id))
    two, three = ledger.make(), ledger.make()
    alone = validators_hash(genesis("v0").validators)
    both = validators_hash(ordered(Validator(key=KEYS[name].public.raw, power=10) for name in ("v0", "v1")))
    assert (one.header.validators_hash, one.header.next_validators_hash) == (alone, alone)
    assert (two.header.validators_hash, two.header.next_validators_hash) == (alone, both)
    assert (three.header.validators_hash, three.header.next_validators_hash) == (both, both)
    assert [len(block.commit.signatures) for block in (one, two, three)] == [1, 1, 2]
    ledger.close()


def test_updates_of_two_blocks_in_a_row_add_up() -> None:
    ledger = Several(None, genesis("v0"), Alarm(), KEYS.values())
    ledger.make(adding("v1", 10, chain=ledger.chain_id))
    ledger.make(adding("v2", 20, chain=ledger.chain_id))
    ledger.make()
    assert [v.power for v in ledger.validators_at(3)] == [10, 10]
    assert [v.power for v in ledger.validators_at(4)] == [20, 10, 10]
    ledger.close()


def test_a_seat_given_and_taken_in_one_block_is_no_update() -> None:
    """CometBFT stops when it is told to remove a validator that it does not have."""
    made = app()
    secret = KEYS["v1"].public.raw
    for subject in (secret + b"\x00", secret + b"\x0a"):
        due.at_height(made._changes, 1, "set", subject)
    given = made.finalize_block(1, NOW + 1, [])
    assert given.validator_updates == (ValidatorUpdate(secret, 10),)  # the last word counts
    made.commit(None)
    for subject in (secret + b"\x0a", secret + b"\x0a"):
        due.at_height(made._changes, 2, "set", subject)
    assert made.finalize_block(2, NOW + 2, []).validator_updates == ()  # it has that power already
    made.commit(None)
    due.at_height(made._changes, 3, "set", KEYS["v2"].public.raw + b"\x00")
    assert made.finalize_block(3, NOW + 3, []).validator_updates == ()  # it has no seat to lose
    made.commit(None)


def test_the_last_validator_cannot_be_removed() -> None:
    one = Validator(key=bytes(32), power=3)
    with pytest.raises(LedgerError, match="every validator"):
        updated((one,), [dataclasses.replace(one, power=0)])


def walk() -> Several:
    """A chain whose whole set is replaced, one by one."""
    ledger = Several(None, genesis("v0", "v1", "v2"), Alarm(), KEYS.values())
    for number in range(3, 9):
        ledger.make(adding(f"v{number}", 10, chain=ledger.chain_id), adding(f"v{number - 3}", 0, chain=ledger.chain_id))
        ledger.make()
    ledger.make()
    ledger.make()
    return ledger


def test_a_light_client_follows_the_set_from_the_pinned_genesis_however_far_it_went() -> None:
    ledger = walk()
    anchor = ledger.anchor()
    first = {validator.key for validator in ledger.genesis.validators}
    assert not first.intersection(validator.key for validator in anchor.validators)
    assert anchor.links
    trusted = verify_anchor(trust_genesis(ledger.genesis), anchor)
    assert trusted.height == ledger.height
    with pytest.raises(ProofError):
        verify_anchor(trust_genesis(ledger.genesis), dataclasses.replace(anchor, links=()))
    for gone in range(len(anchor.links)):
        left = (*anchor.links[:gone], *anchor.links[gone + 1 :])
        try:
            again = verify_anchor(trust_genesis(ledger.genesis), dataclasses.replace(anchor, links=left))
        except ProofError:
            continue
        assert again == trusted  # a link less may still be enough, and never leads elsewhere
    back = from_bytes(Anchor, to_bytes(anchor))
    assert verify_anchor(trust_genesis(ledger.genesis), back) == trusted
    ledger.close()


def test_a_client_that_trusts_a_later_header_uses_only_the_links_after_it() -> None:
    ledger = walk()
    trusted = verify_anchor(trust_genesis(ledger.genesis), ledger.anchor())
    ledger.make(adding("n", 1, chain=ledger.chain_id))
    ledger.make()
    proof = ledger.prove([b"counter/n"])
    assert verify_proof(trusted, proof).height == ledger.height
    ledger.close()


def test_while_the_set_has_hardly_changed_a_proof_has_no_links() -> None:
    ledger = Several(None, genesis("v0", "v1", "v2"), Alarm(), KEYS.values())
    ledger.make(adding("v3", 10, chain=ledger.chain_id))
    for _ in range(4):
        ledger.make()
    assert len(ledger.anchor().validators) == 4
    assert ledger.anchor().links == ()
    proof = Proof(anchor=ledger.anchor(), states=(), events=())
    verify_proof(trust_genesis(ledger.genesis), proof)
    ledger.close()


def test_a_follower_follows_a_changing_set_over_a_restart(tmp_path: Path) -> None:
    ledger = walk()
    follower = FollowerLedger(tmp_path, ledger.genesis, Alarm())
    blocks = ledger.blocks(1, 100)
    for number, data in enumerate(blocks):
        follower.apply(data)
        if number % 4 == 1:
            follower.close()
            follower = FollowerLedger(tmp_path, ledger.genesis, Alarm())
    assert follower.status().app_hash == ledger.status().app_hash
    assert follower.validators_at(follower.height + 2) == ledger.validators_at(ledger.height + 2)
    follower.close()
    ledger.close()


def test_an_embedded_ledger_halts_by_name_when_a_vote_gives_it_company() -> None:
    ledger = EmbeddedLedger(None, genesis("v0"), Alarm(), KEYS["v0"])
    ledger.submit(adding("v1", 10, chain=ledger.chain_id)).result(10)

    def go_on() -> None:
        for _ in range(4):
            ledger.submit(adding("n", 1, chain=ledger.chain_id)).result(10)

    with pytest.raises(NotAlone, match="one validator") as caught:
        go_on()
    assert "CometBFT" in caught.value.remedy
    told: list[LedgerError] = []
    ledger.when_failed(told.append)
    assert told == [caught.value]
    assert len(ledger.validators_at(ledger.height)) == 1
    assert len(ledger.validators_at(ledger.height + 1)) == 2
    ledger.stop()


def test_who_watches_hears_when_an_embedded_ledger_cannot_go_on() -> None:
    ledger = EmbeddedLedger(None, genesis("v0"), Alarm(), KEYS["v0"])
    told: queue.SimpleQueue[LedgerError] = queue.SimpleQueue()
    ledger.when_failed(told.put)
    ledger.submit(adding("v1", 10, chain=ledger.chain_id)).result(10)
    ledger.submit(adding("n", 1, chain=ledger.chain_id))
    ledger.submit(adding("alarm", 1, chain=ledger.chain_id))  # which makes blocks go on
    assert isinstance(told.get(timeout=20), NotAlone)
    ledger.stop()


def test_work_that_cannot_be_done_leaves_one_event_and_stops_no_block() -> None:
    made = Application(Storage(None), contracts)
    found = consortium_genesis()
    made.init_chain(CHAIN, NOW, found.state)
    for contract, subject in (("nobody", b"x"), ("governance", bytes(32)), ("settlement", b"y")):
        due.at_height(made._changes, 1, contract, subject)
    size = made.log_size
    done = made.finalize_block(1, NOW + 1, [])
    made.commit(None)
    assert made.log_size == size + 3
    assert made.waiting() == (None, None)
    assert done.validator_updates == ()


def test_an_embedded_ledger_makes_the_blocks_that_waiting_work_needs() -> None:
    ledger = EmbeddedLedger(None, genesis("v0"), Alarm(), KEYS["v0"])
    ledger.submit(adding("alarm", 3, chain=ledger.chain_id)).result(10)
    size = ledger.status().events
    ledger.wait_height(ledger.height + 3, 30)
    assert ledger.status().events == size + 1
    ledger.stop()
