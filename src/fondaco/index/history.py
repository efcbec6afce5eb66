"""The chain's events by what they are about: a projection in SQLite that follows the ledger's height.

It finds numbers of events; what is shown of them comes from the ledger with proofs and is verified before it is shown
(`fondaco.index.audit`). It can be deleted at any time: one that is of another chain, another format, or further than
or other than the ledger is rebuilt. Trusts its own file no more than that; leaks nothing that the ledger does not.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from pathlib import Path

from fondaco.core.codec import decode, encode
from fondaco.core.messages import from_bytes
from fondaco.errors import LedgerError
from fondaco.ledger.audit.dimensions import Fact, Selection, learn, own_marks, subjects
from fondaco.ledger.audit.evidence import Entry, entry
from fondaco.ledger.blocks import MAX_WIRE_BYTES, Block
from fondaco.ledger.reader import Ledger
from fondaco.ledger.transactions import Transaction, open_transaction

FORMAT = 1  # of the file; another is rebuilt
_PAGE = 1000
_MOST = (1 << 63) - 1
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (
    number INTEGER PRIMARY KEY, height INTEGER NOT NULL, time INTEGER NOT NULL,
    contract TEXT NOT NULL, kind TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS event_kind ON event (kind, number);
CREATE INDEX IF NOT EXISTS event_contract ON event (contract, number);
CREATE TABLE IF NOT EXISTS mark (
    dimension TEXT, value TEXT, number INTEGER, PRIMARY KEY (dimension, value, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS subject (
    subject BLOB, number INTEGER, PRIMARY KEY (subject, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fact (
    subject BLOB, dimension TEXT, value TEXT, sources BLOB NOT NULL,
    PRIMARY KEY (subject, dimension, value)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS fact_value ON fact (dimension, value);
"""
_NAMES = ("meta", "event", "mark", "subject", "fact")
# An event has a dimension by what it says itself, or by what is known of a subject of it.
_HAS = (
    " AND number IN (SELECT number FROM mark WHERE dimension = ? AND value = ? UNION SELECT s.number FROM fact f"
    " JOIN subject s ON s.subject = f.subject WHERE f.dimension = ? AND f.value = ?)"
)


class History:
    """The projection of one ledger, in a file or in memory. Safe from any thread."""

    def __init__(self, path: Path | None, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.RLock()
        self._block: tuple[int, Block] | None = None
        self._db = _opened(path)
        self._size = self._resume()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _resume(self) -> int:
        """How many events the file has, once it is known to be this ledger's; else it is emptied."""
        found = dict(self._db.execute("SELECT name, value FROM meta").fetchall())
        size = int(found.get("size", 0))
        if size:
            last = self._ledger.leaves(size - 1, 1)
            ours = [hashlib.sha256(leaf).digest() for number, leaf in last if number == size - 1]
            if found.get("identity") == self._identity() and ours == [found.get("last")]:
                return size
        with self._db:
            for name in _NAMES:
                self._db.execute(f"DELETE FROM {name}")
        return 0

    def _identity(self) -> bytes:
        return FORMAT.to_bytes(4, "big") + self._ledger.genesis.hash

    # -- following --------------------------------------------------------------------------------------------

    def catch_up(self, size: int) -> None:
        """Project the log up to `size` events.

        Raises:
            LedgerError: the ledger does not hold them, or not their blocks.
        """
        with self._lock:
            while self._size < size:
                rows = self._ledger.leaves(self._size, min(_PAGE, size - self._size))
                if not rows or rows[0][0] != self._size:
                    raise LedgerError(
                        f"event {self._size} is not here", remedy="restore the ledger folder from its backup"
                    )
                with self._db:
                    for number, leaf in rows:
                        self._project(entry(number, leaf))
                    now = rows[-1][0] + 1
                    metas = (
                        ("size", now),
                        ("last", hashlib.sha256(rows[-1][1]).digest()),
                        ("identity", self._identity()),
                    )
                    self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", metas)
                self._size = now

    def _project(self, event: Entry) -> None:
        time, data = self.place(event)
        tx = None if data is None else open_transaction(data, self._ledger.chain_id)
        self._db.execute(
            "INSERT INTO event VALUES (?, ?, ?, ?, ?)",
            (event.number, event.height, time, event.kind.split(".", 1)[0], event.kind),
        )
        self._db.executemany(
            "INSERT INTO mark VALUES (?, ?, ?)", [(*mark, event.number) for mark in sorted(own_marks(event, tx))]
        )
        self._db.executemany(
            "INSERT INTO subject VALUES (?, ?)", [(subject, event.number) for subject in subjects(event)]
        )
        learn(event, tx, self)

    def place(self, event: Entry) -> tuple[int, bytes | None]:
        """The time of an event's block, and the transaction's bytes; None of the genesis and of a block's end.

        Raises:
            LedgerError: the block is not here.
        """
        if event.height == 0:
            return self._ledger.genesis.time, None
        block = self.block(event.height)
        inside = event.index < len(block.txs)
        return block.header.time, block.txs[event.index] if inside else None

    def block(self, height: int) -> Block:
        """A block of the ledger, the last one asked for from memory."""
        with self._lock:
            if self._block is None or self._block[0] != height:
                data = self._ledger.block(height)
                if data is None:
                    raise LedgerError(f"block {height} is not here", remedy="ask a node that has the whole chain")
                self._block = height, from_bytes(Block, data, limit=MAX_WIRE_BYTES)
            return self._block[1]

    def opened(self, data: bytes | None) -> Transaction | None:
        """A transaction of this chain from its bytes."""
        return None if data is None else open_transaction(data, self._ledger.chain_id)

    # -- facts of subjects ------------------------------------------------------------------------------------

    def of(self, subject: bytes) -> list[Fact]:
        """All facts of a subject."""
        with self._lock:
            rows = self._db.execute(
                "SELECT dimension, value, sources FROM fact WHERE subject = ? ORDER BY dimension, value", (subject,)
            ).fetchall()
        return [Fact(subject, dimension, value, _numbers(sources)) for dimension, value, sources in rows]

    def put(self, fact: Fact) -> None:
        """Keep one; the first of a subject, dimension and value stays."""
        row = (fact.subject, fact.dimension, fact.value, encode(list(fact.sources)))
        self._db.execute("INSERT OR IGNORE INTO fact VALUES (?, ?, ?, ?)", row)

    # -- finding ----------------------------------------------------------------------------------------------

    def candidates(self, selection: Selection, after: int, size: int, limit: int) -> list[int]:
        """Numbers, above `after` and below `size`, in order, of events that may be asked for; none is missing."""
        query, given = (
            "SELECT number FROM event WHERE number > ? AND number < ?",
            list[int | str]([_clamped(after), size]),
        )
        for clause, value in (
            (" AND height >= ?", selection.since_height),
            (" AND height <= ?", selection.until_height),
            (" AND time >= ?", selection.since_time),
            (" AND time <= ?", selection.until_time),
        ):
            if value is not None:
                query += clause
                given.append(_clamped(value))
        if selection.kind is not None:
            query += " AND kind = ?" if "." in selection.kind else " AND contract = ?"
            given.append(selection.kind)
        for mark in selection.marks():
            query += _HAS
            given += [*mark, *mark]
        with self._lock:
            return [number for (number,) in self._db.execute(f"{query} ORDER BY number LIMIT ?", (*given, limit))]


def _opened(path: Path | None) -> sqlite3.Connection:
    """The file with its tables; a damaged one, from which all can be made again, is begun anew."""
    if path is None:
        return _connected(":memory:")
    try:
        return _connected(path)
    except sqlite3.DatabaseError:
        path.unlink()
        return _connected(path)


def _connected(path: Path | str) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False)
    try:
        db.executescript(_TABLES)
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def _clamped(number: int) -> int:
    """A number as SQLite has them; beyond its range nothing happened."""
    return max(-_MOST, min(number, _MOST))


def _numbers(sources: bytes) -> tuple[int, ...]:
    found = decode(sources)
    return tuple(number for number in found if isinstance(number, int)) if isinstance(found, list) else ()
