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

KEYS = st.sampled_from([b"a", b"spent/1", b"spent/2", b"spent/3", b"spent", b"spent0", b"z"])
BLOCKS = st.lists(st.dictionaries(KEYS, st.none() | st.binary(max_size=2), max_size=5), max_size=6)


def write(storage: Storage, changes: dict[bytes, bytes | None]) -> None:
    storage.write(lambda db: storage.put_values(db, changes))


@settings(deadline=None, max_examples=60)
@given(before=BLOCKS, after=BLOCKS, most=st.integers(0, 4), tmp=st.uuids())
def test_listed_keys_are_read_as_others_are(before, after, most, tmp, tmp_path_factory) -> None:
    """However many are listed: beyond the bound the file is asked again."""
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "_MOST_LISTED", most)
    storage = Storage(tmp_path_factory.mktemp(tmp.hex) / "ledger.sqlite")
    known: dict[bytes, bytes | None] = {}
    try:
        for number, block in enumerate([*before, *after]):
            if number == len(before):
                storage.list_keys(b"spent/")
            write(storage, block)
            known |= block
            for key in (b"a", b"spent/1", b"spent/2", b"spent/3", b"spent", b"spent0", b"z"):
                assert storage.get(key) == known.get(key)
    finally:
        storage.close()
        patch.undo()


def test_a_listed_key_that_is_not_there_costs_no_look_into_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(None)
    write(storage, {b"spent/1": b"1"})
    storage.list_keys(b"spent/")
    monkeypatch.setattr(storage, "_reader", None)
    assert storage.get(b"spent/2") is None
    with pytest.raises(AttributeError):
        storage.get(b"spend/2")
    storage.close()


def test_what_was_written_past_the_caches_is_listed_anew(tmp_path: Path) -> None:
    """A restored snapshot."""
    storage = Storage(tmp_path / "ledger.sqlite")
    storage.list_keys(b"spent/")

    def past(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO kv VALUES (?, ?)", (b"spent/9", b"1"))

    storage.write(past)
    storage.forget()
    assert storage.get(b"spent/9") == b"1"
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
