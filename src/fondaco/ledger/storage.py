"""Where a ledger keeps itself: one SQLite file, WAL, `synchronous=FULL`; written in Commit alone.

All that a block changes (values, the tree's pages, log, block, height, app hash) goes in one transaction, so a killed
process finds itself at a whole height. Reads see committed data only. One process has the file at a time.
Trusts the disk to keep what it was told to flush; leaks nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from fondaco.errors import LedgerError
from fondaco.ledger.log import log_leaf_hash
from fondaco.ledger.state import Tree

_TABLES = """
CREATE TABLE IF NOT EXISTS kv (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS page (name BLOB PRIMARY KEY, page BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log_node (level INTEGER, idx INTEGER, hash BLOB NOT NULL, PRIMARY KEY (level, idx))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (idx INTEGER PRIMARY KEY, height INTEGER NOT NULL, leaf BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS block (height INTEGER PRIMARY KEY, block BLOB NOT NULL, results BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
_MOST_VALUES, _MOST_PAGES = 200_000, 60_000  # kept in memory
# Of what is kept: a member may write records of 64 KiB, and 200,000 of those are all the memory there is.
_WIDEST = 4096
_UNKNOWN = object()


def _after(prefix: bytes) -> bytes:
    """The first key past all that start with `prefix`."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes((trimmed[-1] + 1,)) if trimmed else b"\xff" * 80


class Storage:
    """The file of one ledger. One writer; readers from any thread see the last commit and do not wait for a write."""

    def __init__(self, path: Path | None) -> None:
        self._writing = threading.RLock()
        self._caching = threading.Lock()
        self._generation = 0
        self._values: dict[bytes, bytes | None] = {}
        self._pages: dict[bytes, bytes | None] = {}
        self._learned: list[tuple[dict[bytes, bytes | None], dict[bytes, bytes | None]]] = []
        with contextlib.ExitStack() as undo:
            if path is not None:
                undo.callback(self._hold(path.with_name(path.name + ".lock")).close)
            try:
                self._db = self._connect(path)
                undo.callback(self._db.close)
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.execute("PRAGMA wal_autocheckpoint=4000")
                self._db.executescript(_TABLES)
                if path is None:
                    self._reader, self._reading = self._db, self._writing
                else:
                    path.chmod(0o600)
                    self._reader, self._reading = self._connect(path), threading.RLock()
                    undo.callback(self._reader.close)
                    self._reader.execute("PRAGMA query_only=ON")
            except sqlite3.Error as fault:
                raise LedgerError(
                    f"the ledger file cannot be opened ({fault})",
                    remedy="restore the ledger folder from its backup",
                    file=str(path),
                ) from fault
            self._closing = undo.pop_all()
        if self._reader.execute("SELECT 1 FROM sqlite_master WHERE name = 'node'").fetchone():
            self._make_pages()

    @staticmethod
    def _hold(path: Path) -> IO[bytes]:
        """Lock out every other process: two that made blocks with one key would make two histories."""
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            file.close()
            raise LedgerError(
                "the ledger file cannot be opened: another process has it",
                remedy="stop the other node that runs in this folder",
                file=str(path),
            ) from fault
        return file

    @staticmethod
    def _connect(path: Path | None) -> sqlite3.Connection:
        name = ":memory:" if path is None else str(path)
        return sqlite3.connect(name, check_same_thread=False, isolation_level=None, timeout=5)

    def _make_pages(self) -> None:
        """A file from before the tree had pages: make them from the values, once."""
        tree = Tree(self)
        tree.update(dict(self.items(b"")))

        def work(db: sqlite3.Connection) -> None:
            self.put_pages(db, tree.pending)
            db.execute("DROP TABLE node")

        self.write(work)

    def _cached(self, cache: dict[bytes, bytes | None], query: str, key: bytes) -> bytes | None:
        """A committed value by its key, from the cache or the file."""
        found = cache.get(key, _UNKNOWN)
        if found is not _UNKNOWN:
            return found  # type: ignore[return-value]
        generation = self._generation
        with self._reading:
            row = self._reader.execute(query, (key,)).fetchone()
        value = None if row is None else bytes(row[0])
        with self._caching:
            if generation == self._generation:  # otherwise a commit came between, and this may be old
                self._remember(cache, key, value)
        return value

    def get(self, key: bytes) -> bytes | None:
        """The committed value, or None."""
        return self._cached(self._values, "SELECT value FROM kv WHERE key = ?", key)

    def items(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Committed pairs under a prefix, in order of key."""
        return self.span(prefix, _after(prefix))

    def span(self, start: bytes, stop: bytes, most: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Committed pairs from `start` to before `stop`, in order of key; the first `most` of them, or all."""
        with self._reading:
            rows = self._reader.execute(
                "SELECT key, value FROM kv WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
                (start, stop, -1 if most is None else most),
            ).fetchall()
        return iter(rows)

    def get_page(self, name: bytes) -> bytes | None:
        """A committed page of the tree."""
        return self._cached(self._pages, "SELECT page FROM page WHERE name = ?", name)

    def _remember(self, cache: dict[bytes, bytes | None], key: bytes, value: bytes | None) -> None:
        if value is not None and len(value) > _WIDEST:
            cache.pop(key, None)
            return
        if len(cache) >= (_MOST_PAGES if cache is self._pages else _MOST_VALUES):
            cache.clear()
        cache[key] = value

    def get_log_node(self, level: int, index: int) -> bytes | None:
        """A committed node of the event log. One of a single entry is not stored: the entry is."""
        if level == 0:
            found = self.events(index, 1)
            return log_leaf_hash(found[0][1]) if found and found[0][0] == index else None
        with self._reading:
            row = self._reader.execute(
                "SELECT hash FROM log_node WHERE level = ? AND idx = ?", (level, index)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def meta(self, name: str) -> bytes | None:
        """A named value: height, app hash, log size, genesis."""
        with self._reading:
            row = self._reader.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def metas(self, prefix: str) -> list[tuple[str, bytes]]:
        """The named values whose names start with `prefix`, in order of name; (rest of the name, value)."""
        with self._reading:
            rows = self._reader.execute(
                "SELECT name, value FROM meta WHERE substr(name, 1, ?) = ? ORDER BY name", (len(prefix), prefix)
            ).fetchall()
        return [(str(name)[len(prefix) :], bytes(value)) for name, value in rows]

    def block(self, height: int) -> tuple[bytes, bytes] | None:
        """A block and its results, as canonical bytes."""
        with self._reading:
            row = self._reader.execute("SELECT block, results FROM block WHERE height = ?", (height,)).fetchone()
        return None if row is None else (bytes(row[0]), bytes(row[1]))

    def events(self, start: int, limit: int) -> list[tuple[int, bytes]]:
        """(index, leaf) of events from `start` on."""
        with self._reading:
            rows = self._reader.execute(
                "SELECT idx, leaf FROM event WHERE idx >= ? ORDER BY idx LIMIT ?", (start, limit)
            ).fetchall()
        return [(int(index), bytes(leaf)) for index, leaf in rows]

    def write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Do `work` in one durable transaction, or none of it.

        Raises:
            LedgerError: the disk refused; nothing was written.
        """
        with self._writing:
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
            with self._caching:
                self._generation += 1
                for cache, changes in self._learned:
                    for key, value in changes.items():
                        self._remember(cache, key, value)
            self._learned.clear()

    def put_metas(self, values: dict[str, bytes]) -> None:
        """Write named values durably, all or none, outside any block."""

        def work(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

        self.write(work)

    def put_values(self, db: sqlite3.Connection, changes: dict[bytes, bytes | None]) -> None:
        """Write changed values inside `write`."""
        gone = [(key,) for key, value in changes.items() if value is None]
        there = [(key, value) for key, value in changes.items() if value is not None]
        db.executemany("DELETE FROM kv WHERE key = ?", gone)
        db.executemany("INSERT OR REPLACE INTO kv VALUES (?, ?)", there)
        self._learned.append((self._values, changes))

    def put_pages(self, db: sqlite3.Connection, changes: dict[bytes, bytes | None]) -> None:
        """Write changed pages of the tree inside `write`."""
        gone = [(name,) for name, page in changes.items() if page is None]
        there = [(name, page) for name, page in changes.items() if page is not None]
        db.executemany("DELETE FROM page WHERE name = ?", gone)
        db.executemany("INSERT OR REPLACE INTO page VALUES (?, ?)", there)
        self._learned.append((self._pages, changes))

    def forget(self) -> None:
        """Drop what is remembered of the file: it was written past the caches."""
        with self._caching:
            self._generation += 1
            self._values.clear()
            self._pages.clear()

    def unsealed(self) -> int | None:
        """The lowest height whose block is not here yet though its results are."""
        with self._reading:
            row = self._reader.execute("SELECT min(height) FROM block WHERE length(block) = 0").fetchone()
        return None if row is None or row[0] is None else int(row[0])

    def newest_block(self) -> tuple[int, bytes] | None:
        """The highest block that is here, and its height."""
        with self._reading:
            row = self._reader.execute(
                "SELECT height, block FROM block WHERE length(block) > 0 ORDER BY height DESC LIMIT 1"
            ).fetchone()
        return None if row is None else (int(row[0]), bytes(row[1]))

    def close(self) -> None:
        """Close the file and let other processes have it."""
        with self._writing, self._reading:
            self._closing.close()
