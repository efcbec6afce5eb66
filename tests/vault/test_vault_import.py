"""Import: what comes in equals the source; what is wrong is named; nothing is half-imported or readable on the disk."""

from __future__ import annotations

import os
import sqlite3
import traceback
import tracemalloc
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fondaco.core.names import DatasetName
from fondaco.errors import ImportRefused, VaultError
from fondaco.vault.crypto import Damaged
from fondaco.vault.databases import DuckdbSource, SqliteSource, make_query
from fondaco.vault.reader import read_table
from fondaco.vault.schema_file import read_schema
from fondaco.vault.sources import CsvSource, JsonLinesSource, ParquetSource
from fondaco.vault.store import Vault

MARKER = "MARKER-7f3a"
TOML = """
key = ["id"]
null = ["", "NA"]
[[columns]]
name = "id"
type = "int64"
[[columns]]
name = "word"
type = "text"
nullable = true
[[columns]]
name = "size"
type = "decimal"
scale = 2
unit = "m"
nullable = true
minimum = 0
maximum = 100000
"""


@pytest.fixture
def vault(tmp_path: Path):
    made = Vault(tmp_path / "vault", b"k" * 32)
    yield made
    made.close()


def csv(tmp_path: Path, text: str | bytes, name: str = "in.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(vault: Vault, source) -> ImportRefused:
    before = sorted(p.name for p in (vault._folder).iterdir())
    with pytest.raises(ImportRefused) as caught:
        vault.import_source(source)
    assert sorted(p.name for p in vault._folder.iterdir()) == before, "something was left behind"
    assert caught.value.remedy
    assert caught.value.file
    return caught.value


@pytest.mark.parametrize(
    ("text", "cause", "row", "column"),
    [
        ("", "empty", None, None),
        ("a,b\n", "no rows", None, None),
        ("a,b\n1,2\n3\n", "1 fields", 2, None),
        ("a,b\n1,2\n3,4,5\n", "3 fields", 2, None),
        ("a,a\n1,2\n", "twice", None, "a"),
        ("a,\n1,2\n", "no name", None, None),
        (b"a,b\n1,2\n1,\xff\n", "not UTF-8", 2, None),
        (b"a,b\n1,2\n1,\xe2\x82", "middle of a character", None, None),
        ('a,b\n1,"x\n2,y\n', "quotes", None, None),
        ("a,b\n" + "1,x\n" * 1500 + "z,y\n", "not of type int64", 1501, "a"),
        ("a\n" + "1\n" * 1200 + "9999999999999999999\n", "not of type int64", 1201, "a"),
        ("a,b\n1,x\n2,y\x00z\n", "NUL", 2, "b"),
    ],
)
def test_bad_csv_is_refused_by_name(vault, tmp_path, text, cause, row, column) -> None:
    found = refused(vault, CsvSource(csv(tmp_path, text)))
    assert cause in found.cause
    if row is not None:
        assert found.row == row
    if column is not None:
        assert found.column == column


def test_a_column_that_changes_its_type_at_row_900000_is_named(vault, tmp_path) -> None:
    found = refused(vault, CsvSource(csv(tmp_path, "a,b\n" + "1,x\n" * 899_999 + "one,x\n" + "1,x\n" * 10)))
    assert (found.row, found.column) == (900_000, "a")


@pytest.mark.parametrize(
    ("rows", "cause", "row", "column"),
    [
        ("1,x,1.00\n1,y,2.00\n", "stands here again", 2, "id"),
        (",x,1.00\n", "missing", 1, "id"),
        ("1,x,1.001\n", "not of type decimal", 1, "size"),
        ("1,x,1.00\n2,x,1000.01\n", "outside the declared range", 2, "size"),
        ("1,x,-1.00\n", "outside the declared range", 1, "size"),
    ],
)
def test_what_a_schema_forbids_is_named(vault, tmp_path, rows, cause, row, column) -> None:
    declared = read_schema(csv(tmp_path, TOML, "s.toml"))
    found = refused(vault, CsvSource(csv(tmp_path, "id,word,size\n" + rows), declared.schema, declared.nulls))
    assert cause in found.cause
    assert (found.row, found.column) == (row, column)


def test_a_declared_column_that_is_not_there_is_named(vault, tmp_path) -> None:
    declared = read_schema(csv(tmp_path, TOML, "s.toml"))
    assert refused(vault, CsvSource(csv(tmp_path, "id,word\n1,x\n"), declared.schema)).column == "size"


@pytest.mark.parametrize(
    "text",
    [
        "x = [",
        "more = 1",
        "[[columns]]\nname = 'a'",
        "[[columns]]\nname='a'\ntype='int64'\nage=3",
        "key=['b']\n[[columns]]\nname='a'\ntype='int64'",
    ],
)
def test_bad_schema_files_are_refused(tmp_path, text) -> None:
    with pytest.raises(ImportRefused):
        read_schema(csv(tmp_path, text, "s.toml"))


@pytest.mark.parametrize(
    ("text", "cause", "row"),
    [
        ('{"a": 1}\n{"a": 1, "b": 2}\n', "missing here", 2),
        ('{"a": 1}\n{"a": \n', "not JSON", 2),
        ('{"a": 1}\n[1]\n', "not one JSON object", 2),
        ('{"a": 1}\n{"a": "x"}\n', "type str", 2),
        ('{"a": {"b": 1}}\n', "type dict", 1),
        ('{"a": 1, "a": 2}\n', "twice", 1),
        ("\n", "no objects", None),
    ],
)
def test_bad_json_lines_are_refused(vault, tmp_path, text, cause, row) -> None:
    found = refused(vault, JsonLinesSource(csv(tmp_path, text, "in.jsonl")))
    assert cause in found.cause
    assert found.row == row


def test_a_cut_parquet_file_is_refused(vault, tmp_path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"a": list(range(1000))}), path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "Parquet" in refused(vault, ParquetSource(path)).cause
    pq.write_table(pa.table({"a": [[1], [2]]}), path)
    assert refused(vault, ParquetSource(path)).column == "a"


frames = st.lists(
    st.tuples(
        st.integers(-(1 << 62), 1 << 62),
        st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=8),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


@given(frames)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_formats_give_the_rows_of_the_source_and_one_name(tmp_path_factory, rows) -> None:
    folder = tmp_path_factory.mktemp("formats")
    frame = pd.DataFrame(rows, columns=["n", "t", "b"])
    table = pa.Table.from_pandas(frame, preserve_index=False)
    toml = "".join(
        f'[[columns]]\nname = "{n}"\ntype = "{t}"\n' for n, t in (("n", "int64"), ("t", "text"), ("b", "bool"))
    )
    schema = read_schema(csv(folder, toml, "s.toml")).schema
    frame.to_csv(folder / "in.csv", index=False, quoting=2)
    frame.to_json(folder / "in.jsonl", orient="records", lines=True)
    pq.write_table(table, folder / "in.parquet")
    with duckdb.connect(str(folder / "in.duckdb")) as db:
        db.register("frame", table)
        db.execute("CREATE TABLE rows AS SELECT * FROM frame")
    with sqlite3.connect(folder / "in.sqlite") as db:
        db.execute("CREATE TABLE rows (n INTEGER, t TEXT, b INTEGER)")
        db.executemany("INSERT INTO rows VALUES (?, ?, ?)", rows)
    db.close()
    vault = Vault(folder / "vault", b"k" * 32)
    cids = {
        vault.import_source(source)
        for source in (
            CsvSource(folder / "in.csv", schema, nulls=("NULL-HERE",)),
            JsonLinesSource(folder / "in.jsonl", schema),
            ParquetSource(folder / "in.parquet", schema),
            DuckdbSource(folder / "in.duckdb", make_query("f", "rows", None), schema),
            SqliteSource(folder / "in.sqlite", make_query("f", "rows", None), schema),
        )
    }
    assert len(cids) == 1, "equal content has one CID, whatever it came from"
    found = read_table(vault, cids.pop(), columns=["n", "t", "b"])
    assert [tuple(row.values()) for row in found.to_pylist()] == rows
    vault.close()


@pytest.mark.parametrize("query", ["DELETE FROM rows", "SELECT 1; DROP TABLE rows", "INSERT INTO rows VALUES (1)", ""])
def test_only_one_select_is_a_source(query) -> None:
    with pytest.raises(ImportRefused):
        make_query("f", None, query)


def test_a_query_of_duckdb_reads_no_other_file(vault, tmp_path) -> None:
    other = csv(tmp_path, "a\n1\n", "other.csv")
    with duckdb.connect(str(tmp_path / "in.duckdb")) as db:
        db.execute("CREATE TABLE rows AS SELECT 1 AS a")
    query = make_query("f", None, f"SELECT * FROM read_csv('{other}')")
    refused(vault, DuckdbSource(tmp_path / "in.duckdb", query))


@pytest.mark.parametrize(
    ("query", "cause", "column"),
    [
        ("SELECT word::int AS id FROM t", "a value cannot be converted", "word"),
        ("SELECT (word || '9')::date AS id FROM t", "a value cannot be converted", None),
        ("SELECT strptime(word, '%Y') AS id FROM t", "a value is not valid", None),
        ("SELECT error(word) AS id FROM t", "a value is not valid", None),
        ("SELECT error('source column ' || word) AS id FROM t", "a value is not valid", None),
        ("SELECT absent FROM t", "a column does not exist", "absent"),
        ("SELECT * FROM absent", "a table or function does not exist: absent", None),
    ],
)
def test_no_refusal_of_duckdb_has_a_value(vault, tmp_path, query, cause, column) -> None:
    with duckdb.connect(str(tmp_path / "in.duckdb")) as db:
        db.execute(f"CREATE TABLE t AS SELECT '{MARKER}' AS word")
    _told(refused(vault, DuckdbSource(tmp_path / "in.duckdb", query)), cause, column)


@pytest.mark.parametrize(
    ("query", "cause", "column"),
    [
        ("SELECT word FROM t", "Could not decode to UTF-8", "word"),
        ("SELECT json_extract('{}', word) AS id FROM u", "OperationalError", None),
        ("SELECT absent FROM t", "no such column", "absent"),
        ("SELECT * FROM absent", "no such table: absent", None),
    ],
)
def test_no_refusal_of_sqlite_has_a_value(vault, tmp_path, query, cause, column) -> None:
    with sqlite3.connect(tmp_path / "in.db") as db:
        db.execute("CREATE TABLE t(word TEXT)")
        db.execute("CREATE TABLE u(word TEXT)")
        db.execute(f"INSERT INTO t VALUES (CAST(x'{(MARKER.encode() + bytes([0xC3, 0x28])).hex()}' AS TEXT))")
        db.execute("INSERT INTO u VALUES (?)", (MARKER,))
    db.close()
    _told(refused(vault, SqliteSource(tmp_path / "in.db", query)), cause, column)


def test_what_the_fast_reader_of_csv_refuses_has_no_value_in_it(vault, tmp_path) -> None:
    declared = tmp_path / "schema.toml"
    declared.write_text('[[columns]]\nname = "a"\ntype = "int64"\n')
    source = CsvSource(csv(tmp_path, "a\n+987654\n"), declared=read_schema(declared).schema)
    fault = refused(vault, source)
    assert "987654" not in "".join(traceback.format_exception(fault)) + fault.diagnostics()


def _told(fault, cause, column) -> None:
    assert cause in fault.cause
    assert fault.details.get("column") == column
    said = "".join(traceback.format_exception(fault)) + fault.diagnostics() + repr(fault)
    assert MARKER not in said


def test_nothing_readable_is_on_the_disk(tmp_path) -> None:
    vault = Vault(tmp_path / "vault", b"k" * 32)
    text = "id,word\n" + "".join(f"{987650000 + i},{MARKER}{i}\n" for i in range(3000))
    cid = vault.import_source(CsvSource(csv(tmp_path, text)))
    vault.assign(cid, DatasetName.parse("/a/b/c"))
    with pytest.raises(ImportRefused):
        vault.import_source(CsvSource(csv(tmp_path, text + "x,y,z\n", "bad.csv")))
    for path in (tmp_path / "vault").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
        if path.is_file():
            raw = path.read_bytes()
            assert MARKER.encode() not in raw
            assert (987650000).to_bytes(8, "little") not in raw
            assert cid.digest not in raw, "a CID of low-entropy data could be guessed from the disk"
    vault.close()


def test_changed_swapped_and_missing_chunks_do_not_open(tmp_path) -> None:
    vault = Vault(tmp_path / "vault", b"k" * 32)
    cid = vault.import_source(CsvSource(csv(tmp_path, "a\n" + "".join(f"{i}\n" for i in range(140_000)))))
    (folder,) = (path for path in (tmp_path / "vault").iterdir() if path.is_dir())
    one, two = folder / "00000000", folder / "00000001"
    first, second = one.read_bytes(), two.read_bytes()
    for damage in (
        lambda: one.write_bytes(first[:50] + bytes((first[50] ^ 1,)) + first[51:]),
        lambda: (one.write_bytes(second), two.write_bytes(first)),
        lambda: one.write_bytes(first[:-1]),
        one.unlink,
    ):
        damage()
        with pytest.raises(Damaged):
            read_table(vault, cid, columns=["a"])
        one.write_bytes(first)
        two.write_bytes(second)
    assert read_table(vault, cid, columns=["a"]).num_rows == 140_000
    vault.close()
    wrong = Vault(tmp_path / "vault", b"x" * 32)
    with pytest.raises(VaultError):
        wrong.describe(cid)
    wrong.close()


def test_an_import_that_was_killed_leaves_nothing(tmp_path) -> None:
    vault = Vault(tmp_path / "vault", b"k" * 32)
    (tmp_path / "vault" / "new-leftover").mkdir()
    (tmp_path / "vault" / "new-leftover" / "00000000").write_bytes(os.urandom(10))
    vault.close()
    again = Vault(tmp_path / "vault", b"k" * 32)
    assert not (tmp_path / "vault" / "new-leftover").exists()
    again.close()


def test_a_vault_with_an_older_catalogue_loses_nothing(tmp_path, caplog) -> None:
    folder = tmp_path / "vault"
    vault = Vault(folder, b"k" * 32)
    one = vault.import_source(CsvSource(csv(tmp_path, "a\n1\n")))
    vault.close()
    older = (folder / "vault.sqlite").read_bytes()
    vault = Vault(folder, b"k" * 32)
    two = vault.import_source(CsvSource(csv(tmp_path, "a\n2\n")))
    vault.close()
    newer = (folder / "vault.sqlite").read_bytes()
    for catalogue in (older, b""):
        (folder / "vault.sqlite").write_bytes(catalogue)
        restored = Vault(folder, b"k" * 32)
        assert "was moved to" in caplog.text
        with pytest.raises(VaultError):
            restored.describe(two)
        restored.close()
    (folder / "vault.sqlite").write_bytes(newer)
    again = Vault(folder, b"k" * 32)
    for cid, value in ((one, 1), (two, 2)):
        assert read_table(again, cid, columns=["a"]).to_pylist() == [{"a": value}]
    again.remove(two)
    again.close()
    assert sorted(path.name for path in (folder / "unlisted").iterdir()) == []


def test_a_removal_that_was_killed_is_ended_at_the_next_start(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "vault"
    vault = Vault(folder, b"k" * 32)
    cid = vault.import_source(CsvSource(csv(tmp_path, "a\n1\n")))
    with monkeypatch.context() as killed:
        killed.setattr("fondaco.vault.store.shutil.rmtree", lambda _path: None)
        vault.remove(cid)
    vault.close()
    Vault(folder, b"k" * 32).close()
    assert [path.name for path in folder.iterdir() if path.is_dir()] == []


def test_what_a_vault_offers_gives_no_key_and_no_box(vault) -> None:
    offered = {name for name in dir(vault) if not name.startswith("_")}
    assert offered == {"assign", "close", "describe", "import_source", "names", "opening", "remove", "resolve"}


def test_a_line_of_json_that_never_ends_is_not_read_whole(vault, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("fondaco.vault.sources.MAX_LINE", 1 << 16)
    path = csv(tmp_path, b'{"a": 1}\n{"a": "' + b"x" * (32 << 20), "in.jsonl")
    tracemalloc.start()
    try:
        fault = refused(vault, JsonLinesSource(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "16 MiB" in fault.cause
    assert fault.details["row"] == 2
    assert peak < 8 << 20


def test_names_count_versions(vault, tmp_path) -> None:
    one = vault.import_source(CsvSource(csv(tmp_path, "a\n1\n")))
    two = vault.import_source(CsvSource(csv(tmp_path, "a\n2\n")))
    name = DatasetName.parse("/a/b/c")
    assert vault.assign(one, name).version == 1
    assert vault.assign(two, name).version == 2
    assert vault.resolve(name) == two
    assert vault.resolve(name.at(1)) == one
    with pytest.raises(VaultError):
        vault.assign(one, name.at(2))
    commitments = {vault.describe(c).commitment for c in (one, two)}
    assert len(commitments) == 2
    vault.remove(one)
    with pytest.raises(VaultError):
        vault.resolve(name.at(1))


def test_nan_and_infinity_are_in_no_declared_range(vault, tmp_path) -> None:
    declared = tmp_path / "schema.toml"
    declared.write_text('[[columns]]\nname = "x"\ntype = "float64"\nminimum = 0\nmaximum = 10\n')
    for bad in ("nan", "inf", "-inf"):
        source = CsvSource(csv(tmp_path, f"x\n1.5\n{bad}\n"), read_schema(declared).schema)
        with pytest.raises(ImportRefused) as caught:
            vault.import_source(source)
        assert (caught.value.row, caught.value.column) == (2, "x")


def test_what_only_a_library_notices_is_told_by_file_without_a_value(vault, tmp_path) -> None:
    wide = CsvSource(csv(tmp_path, "a" * 200_000 + ",b\n1,2\n"))
    deep = JsonLinesSource(csv(tmp_path, '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}\n", "in.jsonl"))
    lone = JsonLinesSource(csv(tmp_path, '{"a": "\\ud800-MARKER"}\n', "lone.jsonl"))
    for source in (wide, deep, lone):
        with pytest.raises(ImportRefused) as caught:
            vault.import_source(source)
        assert caught.value.file == source.file
        assert "MARKER" not in caught.value.diagnostics()
