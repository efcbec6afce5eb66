"""The catalogue as a full-text index, rebuilt from the ledger whenever its height has changed.

What a hit says comes from the ledger's own record, which the asker can have proven; the index only finds it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable

from fondaco.ledger.contracts.catalog.messages import Dataset

_WORD = re.compile(r"\w+", re.UNICODE)


class Catalogue:
    """An index in memory."""

    def __init__(self) -> None:
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.execute(
            "CREATE VIRTUAL TABLE dataset USING fts5 "
            "(path, version UNINDEXED, title, description, columns, owner, tokenize = 'porter unicode61')"
        )
        self._height = -1

    def refresh(self, height: int, datasets: Iterable[Dataset]) -> None:
        """Make the index that of `height`."""
        if height == self._height:
            return
        rows = [
            (d.path, d.version, d.title, d.description, " ".join(c.name for c in d.schema.columns), d.owner)
            for d in datasets
            if d.status == "published"
        ]
        with self._db:
            self._db.execute("DELETE FROM dataset")
            self._db.executemany("INSERT INTO dataset VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._height = height

    def search(self, text: str, limit: int) -> list[tuple[str, int]]:
        """(path, version) of the best hits; all datasets for no words."""
        words = _WORD.findall(text)
        if not words:
            found = self._db.execute("SELECT path, version FROM dataset ORDER BY path, version LIMIT ?", (limit,))
            return [(str(path), int(version)) for path, version in found]
        query = " ".join(f'"{word}"*' for word in words)
        found = self._db.execute(
            "SELECT path, version FROM dataset WHERE dataset MATCH ? ORDER BY rank, path, version LIMIT ?",
            (query, limit),
        )
        return [(str(path), int(version)) for path, version in found]
