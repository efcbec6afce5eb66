"""A transaction counts once: under both versions of the rules, across the upgrade, restarts and rolled-back blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_world import COUNTERS, START, Counter, adding

from fondaco.errors import LedgerError
from fondaco.ledger import application, spent
from fondaco.ledger.admission import Stale
from fondaco.ledger.application import Application
from fondaco.ledger.contracts.governance import messages as g
from fondaco.ledger.spent import Spent
from fondaco.ledger.state import ReadStore
from fondaco.ledger.storage import Storage
from fondaco.ledger.transactions import MAX_AHEAD, open_transaction

NOW = START * 10**9
UPGRADE = 4


class Upgrading(Counter):
    """Version 2 from a height on."""

    def __init__(self, height: int = UPGRADE) -> None:
        self._from = height

    def rules(self, store: ReadStore, height: int) -> g.Upgrade:
        """Version 1, then 2."""
        return g.Upgrade(height=self._from, version=2 if height >= self._from else 1, package=bytes(32))


def made(storage: Storage, start: int = UPGRADE) -> Application:
    """An application with its founding state, version 2 from block `start` on."""
    app = Application(storage, Upgrading(start))
    if not app.chain:
        app.init_chain(COUNTERS, NOW, {"first": 1})
    return app


def step(app: Application, *txs: bytes) -> list[int]:
    """A block; the codes."""
    results = app.finalize_block(app.height + 1, NOW + app.height * 10**9, list(txs)).results
    app.commit(None)
    return [result.code for result in results]


def keys(app: Application, prefix: bytes) -> list[bytes]:
    return [key for key, _value in app._storage.items(prefix)]


def test_version_2_has_one_value_for_a_block_and_none_for_an_empty_one() -> None:
    app = made(Storage(None), start=0)
    txs = [adding("n", n) for n in range(20)]
    assert step(app, *txs) == [0] * 20
    before = app.app_hash
    assert step(app) == []
    assert app.app_hash == before
    assert keys(app, b"replay/") == [b"replay/block/" + (1).to_bytes(8, "big")]
    marks = [open_transaction(tx, COUNTERS).mark for tx in txs]
    assert app._storage.get(b"replay/block/" + (1).to_bytes(8, "big")) == b"".join(marks)
    assert all(len(mark) == spent.MARK_BYTES for mark in marks)


def test_a_transaction_counts_once_in_a_block_and_after_it_and_after_a_restart(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "ledger.sqlite")
    app = made(storage, start=0)
    good, bad = adding("n", 1), adding("n", 101)
    assert step(app, good, bad, good) == [0, 7, 1]
    for now in (app, made(storage, start=0)):
        for tx in (good, bad):
            with pytest.raises(Stale, match="executed before"):
                now.check_tx(tx)
        assert now.prepare_proposal([good, bad]) == []
        with pytest.raises(Stale):
            now.process_proposal([good])
    assert step(made(storage, start=0), good, bad) == [1, 1]
    storage.close()


def test_what_is_rolled_back_was_not_executed() -> None:
    app = made(Storage(None), start=0)
    tx = adding("n", 1)
    app.finalize_block(1, NOW, [tx])
    app.roll_back()
    app.check_tx(tx)
    assert step(app, tx) == [0]
    assert step(app, tx) == [1]


def test_one_mark_is_one_author_expiry_and_nonce() -> None:
    nonce = b"\x07" * 16
    one = open_transaction(adding("n", 1, number=nonce), COUNTERS).mark
    assert open_transaction(adding("m", 2, number=nonce), COUNTERS).mark == one
    others = [
        adding("n", 1, number=b"\x08" * 16),
        adding("n", 1, number=nonce, signer="other"),
        adding("n", 1, number=nonce, expires=77),
    ]
    assert one not in [open_transaction(tx, COUNTERS).mark for tx in others]


def test_at_the_upgrade_what_version_1_executed_stays_executed(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "ledger.sqlite")
    app = made(storage)
    old = [adding("n", n, expires=expires) for n, expires in enumerate((UPGRADE + 1, UPGRADE + 2, UPGRADE + 2))]
    assert step(app, *old) == [0, 0, 0]
    assert len(keys(app, b"replay/nonce/")) == 3
    assert keys(app, b"replay/block/") == []
    while app.height < UPGRADE - 1:
        step(app)
    again = adding("n", 9)
    with pytest.raises(Stale, match="executed before"):
        app.check_tx(old[0])  # for the first block of version 2
    assert step(app, again, *old) == [0, 1, 1, 1]
    app = made(storage)
    assert step(app, again, *old) == [1, 1, 1, 1]
    assert len(keys(app, b"replay/nonce/")) == 3  # they may not be dropped before their heights are over
    app = made(storage)
    assert step(app, old[1], adding("n", 1)) == [1, 0]
    assert step(app, old[1], adding("n", 1)) == [1, 0]
    assert keys(app, b"replay/nonce/") == []
    assert keys(app, b"replay/pruned") == []
    assert step(made(storage), *old, again) == [1, 1, 1, 1]
    storage.close()


def test_an_upgrade_before_any_transaction_leaves_nothing_of_version_1() -> None:
    app = made(Storage(None))
    while app.height < UPGRADE - 1:
        step(app)
    step(app, adding("n", 1))
    assert [key[:13] for key in keys(app, b"replay/")] == [b"replay/block/"]


def test_a_value_that_is_cut_is_found_at_the_start() -> None:
    storage = Storage(None)
    storage.write(lambda db: storage.put_values(db, {b"replay/block/" + bytes(8): b"\x01" * 17}))
    with pytest.raises(LedgerError, match="marks are cut"):
        Spent(storage)


BLOCK = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4)), max_size=6)


@settings(deadline=None, max_examples=120)
@given(blocks=st.lists(BLOCK, max_size=14), start=st.integers(0, 8), restarts=st.sets(st.integers(0, 14)))
def test_as_a_list_of_all_that_was_ever_executed(
    blocks: list[list[tuple[int, int]]], start: int, restarts: set[int]
) -> None:
    """A small number of heights ahead, so that marks are forgotten; transactions by number and by how far they reach."""
    patch = pytest.MonkeyPatch()
    for module in (application, spent):
        patch.setattr(module, "MAX_AHEAD", 3)
    storage = Storage(None)
    try:
        app, executed = made(storage, start), dict[bytes, None]()
        known: dict[tuple[int, int], bytes] = {}
        for number, block in enumerate(blocks):
            if number in restarts:
                app = made(storage, start)
            height, txs, wanted = app.height + 1, list[bytes](), list[int]()
            for name, ahead in block:
                expires = height // 4 * 4 + ahead
                tx = known.setdefault((name, expires), adding("n", 1, expires=expires, number=bytes((name,)) * 16))
                sound = height <= expires <= height + 3 and tx not in executed
                if sound:
                    executed[tx] = None
                wanted.append(0 if sound else 1)
                txs.append(tx)
            assert step(app, *txs) == wanted
            listed = [int.from_bytes(key[-8:], "big") for key in keys(app, b"replay/block/")]
            assert all(at > app.height - 3 for at in listed) or not txs
    finally:
        patch.undo()
        storage.close()


def test_what_is_known_in_memory_is_bounded_by_the_heights_that_matter() -> None:
    known = Spent(Storage(None))
    for height in range(1, 3 * MAX_AHEAD):
        known.add(height, height.to_bytes(16, "big"))
    assert len(known) == MAX_AHEAD
