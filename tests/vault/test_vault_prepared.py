"""Preparations: kept under the dataset's key, found whole or not at all, and gone with their dataset."""

from __future__ import annotations

import os

import pytest

from fondaco.core.names import DatasetName
from fondaco.errors import VaultError
from fondaco.vault import prepared
from fondaco.vault.crypto import Damaged
from fondaco.vault.sources import CsvSource
from fondaco.vault.store import Vault

PATH = DatasetName.parse("/org/topic/rows")


@pytest.fixture
def vault(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "BOX_BYTES", 1000)
    made = Vault(tmp_path / "vault", os.urandom(32))
    yield made
    made.close()


def imported(vault, tmp_path, text: str):
    source = tmp_path / f"{len(text)}.csv"
    source.write_text("k\n" + text)
    cid = vault.import_source(CsvSource(source))
    vault.assign(cid, PATH)
    return cid


PARTS = [b"", b"x", os.urandom(1000), os.urandom(2501)]


def test_parts_come_back_as_they_were_kept_and_the_last_ones_win(vault, tmp_path) -> None:
    cid = imported(vault, tmp_path, "a\n")
    assert prepared.find(vault, cid, "one") is None
    prepared.keep(vault, cid, "one", PARTS)
    prepared.keep(vault, cid, "two", [b"other"])
    assert prepared.find(vault, cid, "one") == PARTS
    prepared.keep(vault, cid, "one", [b"new"])
    assert prepared.find(vault, cid, "one") == [b"new"]
    assert prepared.find(vault, cid, "two") == [b"other"]
    assert list(vault._entry(cid).folder.glob("new-*")) == []


def test_the_first_parts_alone_are_read_where_no_more_are_asked_for(vault, tmp_path) -> None:
    cid = imported(vault, tmp_path, "a\n")
    prepared.keep(vault, cid, "one", [b"head", memoryview(b"data" * 500), b"more"])
    for box in prepared._folder(vault._entry(cid), "one").glob("0002-*"):
        box.unlink()
    assert prepared.find(vault, cid, "one", most=1) == [b"head"]
    assert prepared.find_before(vault, PATH.at(2), "one", most=1) == [b"head"]
    with pytest.raises(Damaged):
        prepared.find(vault, cid, "one", most=2)


def test_nothing_of_it_is_readable_on_the_disk(vault, tmp_path) -> None:
    cid = imported(vault, tmp_path, "a\n")
    prepared.keep(vault, cid, "one", [b"SECRET WORDS" * 500])
    files = [path for path in vault._entry(cid).folder.rglob("*") if path.is_file()]
    assert len(files) > 6
    for path in files:
        assert b"SECRET WORDS" not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0


def test_a_box_that_is_changed_swapped_or_missing_is_found_out(vault, tmp_path) -> None:
    cid, other = imported(vault, tmp_path, "a\n"), imported(vault, tmp_path, "bb\n")
    prepared.keep(vault, cid, "one", PARTS)
    prepared.keep(vault, other, "one", PARTS)
    folder = prepared._folder(vault._entry(cid), "one")
    boxes = sorted(path for path in folder.iterdir())
    kept = {path: path.read_bytes() for path in boxes}
    strange = prepared._folder(vault._entry(other), "one")
    for path in boxes:
        spoiled = [kept[path][:-1] + bytes([kept[path][-1] ^ 1]), (strange / path.name).read_bytes()]
        spoiled += [kept[another] for another in boxes if another != path]
        for data in spoiled:
            path.write_bytes(data)
            with pytest.raises(Damaged):
                prepared.find(vault, cid, "one")
        path.unlink()
        with pytest.raises(Damaged):
            prepared.find(vault, cid, "one")
        path.write_bytes(kept[path])
    assert prepared.find(vault, cid, "one") == PARTS


def test_an_earlier_version_is_found_the_newest_first(vault, tmp_path) -> None:
    first, second = imported(vault, tmp_path, "a\n"), imported(vault, tmp_path, "bb\n")
    assert prepared.find_before(vault, PATH.at(2), "one") is None
    prepared.keep(vault, first, "one", [b"first"])
    assert prepared.find_before(vault, PATH.at(2), "one") == [b"first"]
    prepared.keep(vault, second, "one", [b"second"])
    assert prepared.find_before(vault, PATH.at(3), "one") == [b"second"]
    assert prepared.find_before(vault, PATH.at(1), "one") is None
    assert prepared.find_before(vault, DatasetName.parse("/org/topic/other").at(3), "one") is None


def test_it_goes_when_it_is_forgotten_and_when_its_dataset_is(vault, tmp_path) -> None:
    cid = imported(vault, tmp_path, "a\n")
    prepared.keep(vault, cid, "one", PARTS)
    assert prepared.forget(vault, cid, "one")
    assert not prepared.forget(vault, cid, "one")
    assert prepared.find(vault, cid, "one") is None
    prepared.keep(vault, cid, "one", PARTS)
    folder = vault._entry(cid).folder
    vault.remove(cid)
    assert not folder.exists()
    with pytest.raises(VaultError, match="no such dataset"):
        prepared.find(vault, cid, "one")
