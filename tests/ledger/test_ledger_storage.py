"""What is remembered of the file is what is in it."""

from __future__ import annotations

import sqlite3
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco.ledger import storage as module
from fondaco.ledger.storage import Storage

KEYS = st.sampled_from([b"a", b"b/1", b"b/2", b"b", b"b0", b"z"])
BLOCKS = st.lists(st.dictionaries(KEYS, st.none() | st.binary(max_size=2), max_size=5), max_size=6)


def write(storage: Storage, changes: dict[bytes, bytes | None]) -> None:
    storage.write(lambda db: storage.put_values(db, changes))


@settings(deadline=None, max_examples=60)
@given(blocks=BLOCKS, most=st.integers(1, 4), tmp=st.uuids())
def test_what_is_remembered_is_what_was_written(blocks, most, tmp, tmp_path_factory) -> None:
    """However few are remembered."""
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "_MOST_VALUES", most)
    storage = Storage(tmp_path_factory.mktemp(tmp.hex) / "ledger.sqlite")
    known: dict[bytes, bytes | None] = {}
    try:
        for block in blocks:
            write(storage, block)
            known |= block
            for key in (b"a", b"b/1", b"b/2", b"b", b"b0", b"z"):
                assert storage.get(key) == known.get(key)
    finally:
        storage.close()
        patch.undo()


def test_what_was_written_past_the_caches_is_read_anew(tmp_path: Path) -> None:
    """A restored snapshot."""
    storage = Storage(tmp_path / "ledger.sqlite")
    assert storage.get(b"a") is None

    def past(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO kv VALUES (?, ?)", (b"a", b"1"))

    storage.write(past)
    storage.forget()
    assert storage.get(b"a") == b"1"
    storage.close()


def test_wide_values_are_read_from_the_file_and_never_from_before(tmp_path: Path) -> None:
    """A member that writes records of 64 KiB all day does not fill the memory of every validator with them."""
    storage = Storage(tmp_path / "ledger.sqlite")
    wide, narrow = bytes(60_000), b"narrow"

    def put(value: bytes | None, keys: int = 1) -> None:
        values = {b"key/%d" % n: None if value is None else value + b"%d" % n for n in range(keys)}
        storage.write(lambda db: storage.put_values(db, dict(values)))

    put(narrow, 100)
    tracemalloc.start()
    try:
        put(wide, 100)
        assert all(storage.get(b"key/%d" % n) == wide + b"%d" % n for n in range(100))
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
    for value in (narrow, wide, None, wide, narrow, None):
        put(value)
        expected = None if value is None else value + b"0"
        assert storage.get(b"key/0") == storage.get(b"key/0") == expected
    storage.close()
