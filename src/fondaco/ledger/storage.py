"""Where a ledger keeps itself: one SQLite file, WAL, `synchronous=FULL`; written in Commit alone.

All that a block changes (values, tree nodes, log, block, height, app hash) goes in one transaction, so a killed
process finds itself at a whole height. Reads see committed data only. One process has the file at a time.
Trusts the disk to keep what it was told to flush; leaks nothing.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from fondaco.errors import LedgerError

_TABLES = """
CREATE TABLE IF NOT EXISTS kv (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS node (place BLOB PRIMARY KEY, node BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log_node (level INTEGER, idx INTEGER, hash BLOB NOT NULL, PRIMARY KEY (level, idx))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (idx INTEGER PRIMARY KEY, height INTEGER NOT NULL, leaf BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS block (height INTEGER PRIMARY KEY, block BLOB NOT NULL, results BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tx (hash BLOB PRIMARY KEY, height INTEGER NOT NULL, idx INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
_CACHE = 200_000


def _after(prefix: bytes) -> bytes:
    """The first key past all that start with `prefix`."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes((trimmed[-1] + 1,)) if trimmed else b"\xff" * 80


class Storage:
    """The file of one ledger. One writer; readers from any thread are serialised by a lock."""

    def __init__(self, path: Path | None) -> None:
        self.lock = threading.RLock()
        self._values: dict[bytes, bytes | None] = {}
        self._nodes: dict[bytes, bytes | None] = {}
        self._learned: list[tuple[dict[bytes, bytes | None], dict[bytes, bytes | None]]] = []
        self._db = sqlite3.connect(
            ":memory:" if path is None else str(path),
            check_same_thread=False,
            isolation_level=None,
            timeout=0,
        )
        try:
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA wal_autocheckpoint=4000")
            self._db.executescript(_TABLES)
            if path is not None:
                path.chmod(0o600)
        except sqlite3.Error as fault:
            self._db.close()
            raise LedgerError(
                f"the ledger file cannot be opened ({fault})",
                remedy="stop the other process that has it, or restore it from its backup",
                file=str(path),
            ) from fault

    def get(self, key: bytes) -> bytes | None:
        """The committed value, or None."""
        with self.lock:
            if key in self._values:
                return self._values[key]
            row = self._db.execute("SELECT value FROM kv WHERE key = ?", (key,)).fetchone()
            value = None if row is None else bytes(row[0])
            self._remember(self._values, key, value)
            return value

    def items(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Committed pairs under a prefix, in order of key."""
        with self.lock:
            rows = self._db.execute(
                "SELECT key, value FROM kv WHERE key >= ? AND key < ? ORDER BY key", (prefix, _after(prefix))
            ).fetchall()
        return iter(rows)

    def get_node(self, place: bytes) -> bytes | None:
        """A committed tree node."""
        with self.lock:
            if place in self._nodes:
                return self._nodes[place]
            row = self._db.execute("SELECT node FROM node WHERE place = ?", (place,)).fetchone()
            node = None if row is None else bytes(row[0])
            self._remember(self._nodes, place, node)
            return node

    @staticmethod
    def _remember(cache: dict[bytes, bytes | None], key: bytes, value: bytes | None) -> None:
        if len(cache) >= _CACHE:
            cache.clear()
        cache[key] = value

    def get_log_node(self, level: int, index: int) -> bytes | None:
        """A committed node of the event log."""
        with self.lock:
            row = self._db.execute("SELECT hash FROM log_node WHERE level = ? AND idx = ?", (level, index)).fetchone()
        return None if row is None else bytes(row[0])

    def meta(self, name: str) -> bytes | None:
        """A named value: height, app hash, log size, genesis."""
        with self.lock:
            row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def block(self, height: int) -> tuple[bytes, bytes] | None:
        """A block and its results, as canonical bytes."""
        with self.lock:
            row = self._db.execute("SELECT block, results FROM block WHERE height = ?", (height,)).fetchone()
        return None if row is None else (bytes(row[0]), bytes(row[1]))

    def find_tx(self, tx_hash: bytes) -> tuple[int, int] | None:
        """(height, index) of a transaction, or None."""
        with self.lock:
            row = self._db.execute("SELECT height, idx FROM tx WHERE hash = ?", (tx_hash,)).fetchone()
        return None if row is None else (int(row[0]), int(row[1]))

    def events(self, start: int, limit: int) -> list[tuple[int, bytes]]:
        """(index, leaf) of events from `start` on."""
        with self.lock:
            rows = self._db.execute(
                "SELECT idx, leaf FROM event WHERE idx >= ? ORDER BY idx LIMIT ?", (start, limit)
            ).fetchall()
        return [(int(index), bytes(leaf)) for index, leaf in rows]

    def write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Do `work` in one durable transaction, or none of it.

        Raises:
            LedgerError: the disk refused; nothing was written.
        """
        with self.lock:
            self._learned.clear()
            try:
                self._db.execute("BEGIN IMMEDIATE")
                work(self._db)
                self._db.execute("COMMIT")
            except sqlite3.Error as fault:
                raise LedgerError(
                    f"the ledger could not be written ({fault})",
                    remedy="free the disk and start the node again",
                ) from fault
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                    self._learned.clear()
            for cache, changes in self._learned:
                for key, value in changes.items():
                    self._remember(cache, key, value)
            self._learned.clear()

    def put_meta(self, name: str, value: bytes) -> None:
        """Write a named value durably, outside any block."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

        self.write(work)

    def put_values(self, db: sqlite3.Connection, changes: dict[bytes, bytes | None]) -> None:
        """Write changed values inside `write`."""
        gone = [(key,) for key, value in changes.items() if value is None]
        there = [(key, value) for key, value in changes.items() if value is not None]
        db.executemany("DELETE FROM kv WHERE key = ?", gone)
        db.executemany("INSERT OR REPLACE INTO kv VALUES (?, ?)", there)
        self._learned.append((self._values, changes))

    def put_nodes(self, db: sqlite3.Connection, changes: dict[bytes, bytes | None]) -> None:
        """Write changed tree nodes inside `write`."""
        gone = [(place,) for place, node in changes.items() if node is None]
        there = [(place, node) for place, node in changes.items() if node is not None]
        db.executemany("DELETE FROM node WHERE place = ?", gone)
        db.executemany("INSERT OR REPLACE INTO node VALUES (?, ?)", there)
        self._learned.append((self._nodes, changes))

    def close(self) -> None:
        """Close the file."""
        with self.lock:
            self._db.close()
