"""The application: ABCI's order, nothing written before commit, the same blocks give the same hash."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_world import CONSORTIUM, COUNTERS, START, Counter, adding, consortium_genesis, key

from fondaco.core.codec import Value, encode
from fondaco.core.messages import to_bytes
from fondaco.errors import CodecError, FondacoError, LedgerError
from fondaco.ledger.application import MAX_TXS_BYTES, Application
from fondaco.ledger.contracts import registry as contracts
from fondaco.ledger.contracts.kit import Context
from fondaco.ledger.storage import Storage
from fondaco.ledger.transactions import MAX_AHEAD, BadTransaction, Body, Envelope

NOW = START * 10**9


class Untidy(Counter):
    """Contracts with the faults that the application must stand."""

    def execute(self, ctx: Context, kind: str, payload: Value) -> None:
        """As the counter, but names choose a fault."""
        super().execute(ctx, kind, payload)
        match payload:
            case {"name": "codec"}:
                raise CodecError("a record is not canonical", remedy="none")
            case {"name": "event"}:
                ctx.emit("counter", "huge", amount=1 << 70)


@pytest.fixture
def app() -> Iterator[Application]:
    """An application with its founding state."""
    storage = Storage(None)
    made = Application(storage, Untidy())
    made.init_chain(COUNTERS, NOW, {"first": 1})
    yield made
    storage.close()


def step(app: Application, *txs: bytes) -> list[int]:
    """A block; the codes."""
    results = app.finalize_block(app.height + 1, NOW + app.height * 10**9, list(txs)).results
    app.commit(None)
    return [result.code for result in results]


def counters(app: Application) -> Value:
    """What the counters show."""
    return app.query("all", {})


def test_methods_out_of_order_are_refused(app: Application) -> None:
    with pytest.raises(LedgerError, match="nothing was finalised"):
        app.commit(None)
    for height in (0, 2):
        with pytest.raises(LedgerError, match="does not follow"):
            app.finalize_block(height, NOW, [])
    with pytest.raises(LedgerError, match="genesis already"):
        app.init_chain(COUNTERS, NOW, {})
    app.finalize_block(1, NOW, [])
    with pytest.raises(LedgerError, match="does not follow"):
        app.finalize_block(2, NOW, [])
    app.commit(None)
    storage = Storage(None)
    with pytest.raises(LedgerError, match="does not follow"):
        Application(storage, Counter()).finalize_block(1, NOW, [])
    storage.close()


def test_an_empty_block_does_not_change_the_app_hash(app: Application) -> None:
    before = app.info()
    step(app)
    assert app.info() == (before[0] + 1, before[1])
    step(app, adding("n", 1))
    assert app.info()[1] != before[1]


def test_nothing_is_seen_before_commit_and_a_roll_back_leaves_nothing(app: Application) -> None:
    before, events = app.info(), app.log_size
    done = app.finalize_block(1, NOW, [adding("n", 5)])
    results, new = done.results, done.app_hash
    assert results[0].code == 0
    assert new != before[1]
    assert counters(app) == {"counter/first": 1}
    app.roll_back()
    assert (app.info(), app.log_size) == (before, events)
    assert step(app, adding("n", 5)) == [0]


def test_a_refused_transaction_leaves_no_change_and_no_event(app: Application) -> None:
    events = app.log_size
    codes = step(app, adding("n", 101), adding("codec", 1), adding("event", 1), adding("n", 1))
    assert codes == [7, 4, 4, 0]
    assert counters(app) == {"counter/first": 1, "counter/n": 1}
    assert app.log_size == events + 1


def test_a_transaction_counts_once_even_when_it_was_refused(app: Application) -> None:
    good, bad = adding("n", 1), adding("n", 101)
    assert step(app, good, bad, good) == [0, 7, 1]
    assert step(app, good, bad) == [1, 1]
    for tx in (good, bad):
        with pytest.raises(BadTransaction, match="executed before"):
            app.check_tx(tx)
    again = adding("n", 2, number=b"\x07" * 16)
    same_nonce = adding("n", 3, number=b"\x07" * 16)
    assert step(app, again, same_nonce) == [0, 1]


def test_expiry_bounds_replay_and_old_nonces_are_forgotten(app: Application) -> None:
    for expires in (0, MAX_AHEAD + 2):
        with pytest.raises(FondacoError):
            app.check_tx(adding("n", 1, expires=expires))
    app.check_tx(adding("n", 1, expires=1))
    app.check_tx(adding("n", 1, expires=MAX_AHEAD + 1))
    short = adding("n", 1, expires=2)
    assert step(app, short) == [0]
    assert step(app) == []
    assert step(app, short, adding("m", 1, expires=3)) == [1, 0]
    assert step(app, adding("m", 1)) == [0]
    left = [where for where, _v in app._storage.items(b"replay/nonce/")]
    assert len(left) == 1


def test_a_proposal_leaves_out_the_bad_the_doubled_and_what_does_not_fit(app: Application) -> None:
    good, other = adding("n", 1), adding("n", 2)
    assert app.prepare_proposal([good, b"junk", good, other, other]) == [good, other]
    app.process_proposal([good, other])
    for wrong in ([good, good], [good, b"junk"], [adding("n", 1, expires=5000)]):
        with pytest.raises(BadTransaction):
            app.process_proposal(wrong)
    large = [adding("x" * 60_000, 1) for _n in range(40)]
    kept = app.prepare_proposal(large)
    assert 0 < sum(map(len, kept)) <= MAX_TXS_BYTES
    assert kept == large[: len(kept)]
    with pytest.raises(BadTransaction, match="too large"):
        app.process_proposal(large)


def test_the_same_blocks_give_the_same_hash_on_another_machine(app: Application, tmp_path: Path) -> None:
    blocks = [[adding(f"n{n}", n), adding("n", 101)] for n in range(5)] + [[]]
    for block in blocks:
        step(app, *block)
    storage = Storage(tmp_path / "ledger.sqlite")
    other = Application(storage, Untidy())
    other.init_chain(COUNTERS, NOW, {"first": 1})
    for number, block in enumerate(blocks):
        step(other, *block)
        if number % 2:
            other = Application(storage, Untidy())
    assert other.info() == app.info()
    storage.close()


def test_signatures_are_checked_once_between_check_and_execution(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    tx = adding("n", 1)
    app.check_tx(tx)
    monkeypatch.setattr("fondaco.ledger.verified.open_transaction", None)
    monkeypatch.setattr("fondaco.ledger.verified.open_many", None)
    assert app.prepare_proposal([tx]) == [tx]
    assert step(app, tx) == [0]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.binary(max_size=8) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=4), st.sampled_from(contracts.kinds()), JUNK)
def test_whatever_a_block_holds_each_transaction_gets_a_result(rubbish: list[bytes], kind: str, payload: Value) -> None:
    """Random bytes, and signed messages of every kind with random payloads, against the real contracts."""
    genesis = consortium_genesis()
    storage = Storage(None)
    app = Application(storage, contracts)
    app.init_chain(genesis.chain_id, genesis.time, genesis.state)
    signer = key("airline/user")
    body = to_bytes(
        Body(
            chain=CONSORTIUM,
            kind=kind,
            payload=encode(payload),
            nonce=bytes(16),
            expires=9,
            signers=(signer.public.raw,),
        )
    )
    signed = to_bytes(Envelope(body=body, signatures=(signer.sign("tx", body),)))
    before = dict(storage.items(b"points/"))
    assert app.prepare_proposal([*rubbish, signed]) == [signed]
    results = app.finalize_block(1, NOW + 1, [*rubbish, signed]).results
    app.commit(None)
    assert all(result.code == 1 for result in results[:-1])
    assert results[-1].code != 0
    assert dict(storage.items(b"points/")) == before
    storage.close()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(contracts.QUERIES)) | st.text(max_size=9),
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.binary(min_size=32, max_size=32) | JUNK,
            "attempt": st.integers(-9, 1 << 40),
            "version": st.integers(-(1 << 40), 1 << 40),
            "path": st.text(max_size=9) | JUNK,
            "organisation": st.text(max_size=9) | JUNK,
        },
    ),
)
def test_any_query_is_answered_or_refused_by_name(path: str, data: dict[str, Value]) -> None:
    genesis = consortium_genesis()
    storage = Storage(None)
    app = Application(storage, contracts)
    app.init_chain(genesis.chain_id, genesis.time, genesis.state)
    with contextlib.suppress(FondacoError):
        app.query(path, data)
    storage.close()


@pytest.mark.parametrize(
    ("path", "name", "size"),
    [("tasks/outcomes", "attempt", 2), ("settlement/measurements", "attempt", 2), ("catalog/dataset", "version", 4)],
)
def test_a_number_that_no_key_has_is_refused_by_name(path: str, name: str, size: int) -> None:
    for number in (-1, 1 << 8 * size, 1 << 62):
        with pytest.raises(contracts.Malformed, match=f"at most {size} bytes"):
            contracts.query(Storage(None), path, {"id": bytes(32), "path": "/a/b/c", name: number})


class Lots(Counter):
    """Contracts that show the entropy they are given."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def execute(self, ctx: Context, kind: str, payload: Value) -> None:
        """As the counter; notes the entropy."""
        super().execute(ctx, kind, payload)
        self.seen.append(ctx.entropy)

    def end_block(self, ctx: Context) -> None:
        """Notes the entropy."""
        self.seen.append(ctx.entropy)


def entropy(times: list[int], amounts: list[int]) -> list[bytes]:
    """What two blocks see: the first with a transaction of each amount, the second empty."""
    lots, storage = Lots(), Storage(None)
    made = Application(storage, lots)
    made.init_chain(COUNTERS, NOW, {"first": 1})
    txs = [adding("a", amount, number=bytes([amount]) * 16) for amount in amounts]
    made.finalize_block(1, NOW + times[0], txs)
    made.commit(None)
    made.finalize_block(2, NOW + times[1], [])
    storage.close()
    return lots.seen


def test_entropy_is_one_for_all_of_a_block_and_the_same_on_every_machine() -> None:
    seen = entropy([1, 2], [1, 2])
    assert seen == entropy([1, 2], [1, 2])
    assert seen[0] == seen[1] == seen[2] != seen[3]
    assert all(len(one) == 32 for one in seen)


def test_a_blocks_entropy_hangs_on_what_the_block_before_did_and_on_the_nanosecond() -> None:
    base = entropy([1, 2], [1, 2])
    for times, amounts in (([1, 3], [1, 2]), ([1, 2], [1]), ([1, 2], [1, 3])):
        assert entropy(times, amounts)[-1] != base[-1]
