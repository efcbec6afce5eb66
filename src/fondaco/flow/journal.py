"""What this node saw of each task: its own record, kept when the ledger cannot be reached.

Holds states and causes, never data. SQLite, so that a killed process leaves what it had written.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
import time
from pathlib import Path

_TABLE = """
CREATE TABLE IF NOT EXISTS journal (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, task TEXT NOT NULL, attempt INTEGER NOT NULL,
    step TEXT NOT NULL, event TEXT NOT NULL, party TEXT NOT NULL, cause TEXT NOT NULL, micros INTEGER NOT NULL
)
"""
_OPENED = """
CREATE TABLE IF NOT EXISTS opened (
    task TEXT NOT NULL, attempt INTEGER NOT NULL, step TEXT NOT NULL, PRIMARY KEY (task, attempt, step)
) WITHOUT ROWID
"""
_ASKED = """
CREATE TABLE IF NOT EXISTS asked (
    id INTEGER PRIMARY KEY, holding TEXT NOT NULL, at INTEGER NOT NULL, keys INTEGER NOT NULL
)
"""
_REMEMBERED = 30 * 86400


@dataclasses.dataclass(frozen=True)
class Entry:
    """One thing that happened: when (unix seconds), to which step, named party and cause where it failed."""

    at: int
    task: str
    attempt: int
    step: str
    event: str
    party: str
    cause: str
    micros: int


class Journal:
    """Append and read; safe from any thread."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(_TABLE)
        self._db.execute(_OPENED)
        self._db.execute(_ASKED)
        path.chmod(0o600)

    def record(
        self,
        task: str,
        attempt: int,
        step: str,
        event: str,
        *,
        party: str = "",
        cause: str = "",
        micros: int = 0,
    ) -> None:
        """Add an entry, durable when this returns. `micros` is how long the thing took, 0 where not measured."""
        row = (int(time.time()), task, attempt, step, event, party, cause[:2000], micros)
        with self._lock:
            self._db.execute(
                "INSERT INTO journal (at, task, attempt, step, event, party, cause, micros) VALUES (?,?,?,?,?,?,?,?)",
                row,
            )

    def open_once(self, task: str, attempt: int, step: str) -> bool:
        """Whether this is the first time for a step of an attempt; durable when this returns."""
        with self._lock:
            done = self._db.execute("INSERT OR IGNORE INTO opened VALUES (?,?,?)", (task, attempt, step))
        return done.rowcount == 1

    def count_keys(self, grant: str, keys: int, *, most: int, now: int, seconds: int) -> bool:
        """Count keys that are asked for under a grant now; False, and nothing counted, where `most` would be passed.

        Counted are all of the last `seconds`, those of a clock that was since set back too. What is older by a month is
        forgotten here; not at once, so that a clock which was wrong for a while loses no count.
        """
        with self._lock:
            ((before,),) = self._db.execute(
                "SELECT coalesce(sum(keys), 0) FROM asked WHERE holding = ? AND at > ?", (grant, now - seconds)
            ).fetchall()
            if before + keys > most:
                return False
            self._db.execute("INSERT INTO asked (holding, at, keys) VALUES (?,?,?)", (grant, now, keys))
            self._db.execute("DELETE FROM asked WHERE at <= ?", (now - seconds - _REMEMBERED,))
        return True

    def of(self, task: str) -> list[Entry]:
        """All entries of a task, oldest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT at, task, attempt, step, event, party, cause, micros FROM journal WHERE task = ? ORDER BY id",
                (task,),
            ).fetchall()
        return [Entry(*row) for row in rows]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
