"""What a ledger remembers of transactions until the next block: never a verdict of another state, and never without end."""

from __future__ import annotations

import contextlib
import sqlite3
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ledger_world import COUNTERS, Counter, adding, counter_genesis, key

from fondaco.core.messages import to_bytes
from fondaco.errors import FondacoError, LedgerError
from fondaco.ledger.admission import Stale, Stranger
from fondaco.ledger.application import Application
from fondaco.ledger.contracts.governance.messages import Upgrade
from fondaco.ledger.contracts.kit import VERSION
from fondaco.ledger.state import ReadStore, root_of
from fondaco.ledger.storage import Storage
from fondaco.ledger.transactions import BadTransaction, Body, Envelope

NOW = counter_genesis().time
MEMBER, OUT = "member", b"counter/out"


class Leaving(Counter):
    """Counters whose members leave once the counter `out` stands; `meanwhile` is done while somebody is judged."""

    meanwhile: Callable[[], None] | None = None

    def admits(self, store: ReadStore, signers: tuple[bytes, ...], kind: str) -> bool:
        """All of a kind that there is, until they are out."""
        found = kind == "counter.add/1" and store.get(OUT) is None
        if self.meanwhile is not None:
            self.meanwhile, work = None, self.meanwhile
            work()
        return found

    def rules(self, store: ReadStore, height: int) -> Upgrade:
        """The newest that there are, always."""
        return Upgrade(height=0, version=VERSION, package=b"")


@pytest.fixture
def rules() -> Leaving:
    """The contracts."""
    return Leaving()


@pytest.fixture
def app(tmp_path: Path, rules: Leaving) -> Iterator[Application]:
    """An application on a file, with its founding state."""
    storage = Storage(tmp_path / "ledger.sqlite")
    made = Application(storage, rules)
    made.init_chain(COUNTERS, NOW, {})
    yield made
    storage.close()


def execute(app: Application, *txs: bytes) -> None:
    app.finalize_block(app.height + 1, NOW + app.height + 1, list(txs))


def block(app: Application, *txs: bytes) -> None:
    execute(app, *txs)
    app.commit(None)


def refuses(app: Application, tx: bytes, why: type[FondacoError]) -> None:
    """In every place where a verdict may be remembered."""
    with pytest.raises(why):
        app.check_tx(tx)
    with pytest.raises(why):
        app.process_proposal([tx])
    assert app.prepare_proposal([tx]) == []
    assert isinstance(app.why_not(tx), why)


# -- verdicts of another state ----------------------------------------------------------------------------------------


def test_a_verdict_ends_with_the_state_that_it_was_made_of(app: Application) -> None:
    tx, leave = adding("n", 1), adding("out", 1)
    app.check_tx(tx)
    app.process_proposal([tx, leave])
    assert app.prepare_proposal([tx, leave]) == [tx, leave]
    block(app, leave)
    refuses(app, tx, Stranger)
    refuses(app, leave, Stranger)


@pytest.mark.parametrize("ask", ["sound", "verify_together", "process_proposal", "prepare_proposal"])
def test_who_judges_while_a_block_is_committed_leaves_no_verdict_for_the_next(
    app: Application, rules: Leaving, ask: str
) -> None:
    """The mempool's thread has read the old state, and remembers what it found when the new one is there."""
    tx = adding("n", 1)
    rules.meanwhile = lambda: block(app, adding("out", 1, signer="another"))
    with contextlib.suppress(Stranger):  # or not: the block came while it was asked
        getattr(app, ask)(tx if ask == "sound" else [tx])
    assert rules.meanwhile is None
    refuses(app, tx, Stranger)


def test_a_refusal_too_ends_with_its_state(app: Application) -> None:
    early = adding("n", 1, expires=1002)
    refuses(app, early, Stale)
    block(app)
    app.process_proposal([early])


def test_proposals_that_are_not_decided_leave_nothing_behind(app: Application) -> None:
    """Of two proposals of a height one is decided: the other's transactions are judged anew, and not as they were."""
    shared, first, second, leave = (adding(name, 1) for name in ("shared", "first", "second", "out"))
    app.process_proposal([shared, first])
    app.process_proposal([second, shared])
    with pytest.raises(BadTransaction):
        app.process_proposal([shared, second, shared])
    app.process_proposal([leave, first])
    block(app, second, shared)
    refuses(app, shared, Stale)
    refuses(app, second, Stale)
    app.process_proposal([first, leave])
    assert app.query("all", {}) == {"counter/second": 1, "counter/shared": 1}


def test_a_block_that_is_rolled_back_leaves_no_verdict(app: Application) -> None:
    tx = adding("out", 1)
    execute(app, tx)
    app.roll_back()
    app.process_proposal([tx])
    execute(app, tx)
    app.roll_back()
    block(app, adding("n", 1))
    app.process_proposal([tx])


def test_a_commit_that_fails_leaves_the_pages_and_values_of_the_last_one(app: Application, tmp_path: Path) -> None:
    """What a block learned is in the caches only when it is in the file."""
    block(app, *(adding(f"n{n}", 1) for n in range(40)))
    before = app.tree.root()

    def refuse(_db: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    execute(app, *(adding(f"m{n}", 1) for n in range(40)), adding("out", 1))
    with pytest.raises(LedgerError, match="could not be written"):
        app.commit(refuse)
    assert app.tree.root() == before == root_of(app._storage.items(b""))
    tx = adding("n", 1)
    app.process_proposal([tx])
    app.roll_back()
    block(app, tx)
    after = app.tree.root()
    assert after == root_of(app._storage.items(b"")) != before
    app._storage.close()
    again = Storage(tmp_path / "ledger.sqlite")
    assert Application(again, Leaving()).tree.root() == after
    again.close()


# -- memory -----------------------------------------------------------------------------------------------------------


def unsigned(kind: str, *signers: bytes) -> bytes:
    """A transaction that costs its sender no key."""
    body = Body(chain=COUNTERS, kind=kind, payload=b"\xa0", nonce=bytes(16), expires=900, signers=signers)
    return to_bytes(Envelope(body=to_bytes(body), signatures=(bytes(64),) * len(signers)))


def grown(app: Application, txs: Iterator[bytes]) -> int:
    """Bytes that a ledger holds more of after it refused all these."""
    for data in (unsigned("x", bytes(32)), unsigned("counter.add/1", bytes(32))):
        with pytest.raises(FondacoError):
            app.sound(data)
    tracemalloc.start()
    try:
        before, _most = tracemalloc.get_traced_memory()
        for data in txs:
            with pytest.raises(FondacoError):
                app.check_tx(data)
            with pytest.raises(FondacoError):
                app.process_proposal([data])
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_kinds_that_nobody_knows_are_not_remembered(app: Application) -> None:
    """They are judged before a signature is, and no block need ever come: a link alone would fill the memory."""
    long = "k" * 60_000
    assert grown(app, (unsigned(f"{n}{long}", bytes(32)) for n in range(50))) < 500_000


def test_as_many_authors_are_remembered_as_transactions(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fondaco.ledger.application.MOST", 20)
    many = (unsigned("counter.add/1", n.to_bytes(32, "big")) for n in range(1, 2000))
    assert grown(app, many) < 200_000


def test_a_key_that_is_none_is_not_looked_up(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """The storage remembers what is not there, and a signer of 60,000 bytes is what its sender likes."""
    asked: list[bytes] = []
    real = Storage.get

    def get(self: Storage, key: bytes) -> bytes | None:
        asked.append(key)
        return real(self, key)

    monkeypatch.setattr(Storage, "get", get)
    good = key("anyone").public.raw
    for signers in ((bytes(60_000),), (b"",), (good[:31],), (good, bytes(33)), (good, bytes(31))):
        refuses(app, unsigned("counter.add/1", *signers), BadTransaction)
    assert not asked
