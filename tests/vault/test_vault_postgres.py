"""PostgreSQL as a source: a real server, read-only, its types, its refusals, its password nowhere."""

from __future__ import annotations

import dataclasses
import select
import socket
import ssl
import threading
import time
import traceback
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pg8000.native
import pytest
from postgres_world import PASSWORD, postgres

from fondaco.errors import ImportRefused
from fondaco.node.sources import open_source
from fondaco.vault import databases
from fondaco.vault.databases import PostgresSource, _Address, make_query
from fondaco.vault.reader import read_table
from fondaco.vault.schema_file import read_schema
from fondaco.vault.store import Vault

ROWS = 70_000
SETUP = f"""
CREATE TABLE loans (id bigint PRIMARY KEY, branch text, amount numeric(12,2), rate double precision,
                    open boolean, since date, seen timestamptz);
INSERT INTO loans SELECT i, 'branch ' || i % 7, i + 0.25, i / 8.0, i % 2 = 0, date '2020-01-01' + i % 365,
                         timestamptz '2020-01-01 00:00:00+00' + i * interval '1 minute'
                  FROM generate_series(1, {ROWS}) AS i;
UPDATE loans SET branch = NULL, amount = NULL, seen = NULL WHERE id = 5;
CREATE SCHEMA risk;
CREATE TABLE risk.flags (id bigint, odd integer[]);
INSERT INTO risk.flags VALUES (1, '{{1,2}}');
CREATE TABLE twice (id bigint);
INSERT INTO twice VALUES (1), (2), (1);
CREATE TABLE nothing (id bigint);
CREATE SEQUENCE drawn;
CREATE FUNCTION raised(value text) RETURNS bigint LANGUAGE plpgsql AS
    'BEGIN RAISE EXCEPTION ''bad %'', value USING column = value; END';
"""
TOML = """
key = ["id"]
[[columns]]
name = "id"
type = "int64"
[[columns]]
name = "amount"
type = "decimal"
scale = 2
nullable = true
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with postgres() as found:
        parts = urllib.parse.urlsplit(found)
        db = pg8000.native.Connection(
            "steward", password=PASSWORD, host="127.0.0.1", port=parts.port or 0, database="postgres"
        )
        db.run(SETUP)
        db.close()
        yield found


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    made = Vault(tmp_path / "vault", b"k" * 32)
    yield made
    made.close()


def table(address: str, name: str) -> PostgresSource:
    return PostgresSource(address, make_query(address, name, None))


def query(address: str, text: str) -> PostgresSource:
    return PostgresSource(address, make_query(address, None, text))


def refused(vault: Vault, source: PostgresSource) -> ImportRefused:
    before = sorted(path.name for path in vault._folder.iterdir())
    with pytest.raises(ImportRefused) as caught:
        vault.import_source(source)
    assert sorted(path.name for path in vault._folder.iterdir()) == before
    said = caught.value.diagnostics() + repr(caught.value) + repr(caught.value.__cause__)
    assert PASSWORD not in said
    assert urllib.parse.quote(PASSWORD, safe="") not in said
    assert caught.value.remedy
    return caught.value


def test_a_table_comes_in_with_its_types_and_every_row(vault, address) -> None:
    name = vault.import_source(table(address, "loans"))
    done = vault.describe(name)
    assert done.rows == ROWS
    types = {column.name: column.type for column in done.schema.columns}
    assert types == {
        "id": "int64",
        "branch": "text",
        "amount": "decimal",
        "rate": "float64",
        "open": "bool",
        "since": "date",
        "seen": "timestamp",
    }
    rows = sorted(read_table(vault, name, columns=list(types)).to_pylist(), key=lambda row: row["id"])
    assert [row["id"] for row in rows] == list(range(1, ROWS + 1))
    assert rows[4]["branch"] is None
    assert rows[4]["amount"] is None
    assert rows[4]["seen"] is None
    assert str(rows[99]["amount"]) == "100.25"
    assert (rows[99]["branch"], rows[99]["open"], rows[99]["rate"]) == ("branch 2", True, 12.5)
    assert rows[99]["since"].isoformat() == "2020-04-10"
    assert rows[99]["seen"].isoformat().startswith("2020-01-01T01:40:00")


def test_a_query_with_a_declared_schema_comes_in_as_declared(vault, address, tmp_path) -> None:
    declared = tmp_path / "schema.toml"
    declared.write_text(TOML)
    source = dataclasses.replace(
        query(address, "SELECT amount, id FROM loans WHERE id <= 10 ORDER BY id"), declared=read_schema(declared).schema
    )
    done = vault.import_source(source)
    found = read_table(vault, done, columns=["id", "amount"]).to_pylist()
    assert [row["id"] for row in found] == list(range(1, 11))
    assert found[4]["amount"] is None


def test_two_imports_of_the_same_rows_have_one_name(vault, address) -> None:
    first = vault.import_source(query(address, "SELECT id, branch FROM loans ORDER BY id"))
    second = vault.import_source(query(address, "SELECT id, branch FROM loans ORDER BY id"))
    assert first == second


def test_what_the_database_refuses_is_told_by_kind(vault, address) -> None:
    assert "does not exist (42P01): absent" in refused(vault, table(address, "absent")).cause
    assert refused(vault, query(address, "SELECT absent FROM loans")).details["column"] == "absent"
    assert "division by zero" in refused(vault, query(address, "SELECT 1 / 0 AS id")).cause
    assert "division by zero" in refused(vault, query(address, f"SELECT 1 / ({ROWS} - id) AS id FROM loans")).cause


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("SELECT branch::bigint AS id FROM loans", "cannot be converted (22P02)"),
        ("SELECT branch::date AS id FROM loans", "date or time (22007)"),
        ("SELECT ('{\"a\": ' || branch)::json AS id FROM loans", "cannot be converted (22P02)"),
        ("SELECT query_to_xml('SELECT ' || replace(branch, ' ', '_'), true, true, '') FROM loans", "column"),
        ("SELECT raised(branch) AS id FROM loans", "a function of the database raised an error"),
        ("SELECT interval '1777777777 days' AS id", "has no counterpart here"),
    ],
)
def test_no_refusal_of_the_database_has_a_value(vault, address, text, cause) -> None:
    fault = refused(vault, query(address, text))
    assert cause in fault.cause
    said = fault.diagnostics() + repr(fault) + repr(fault.__cause__) + "".join(traceback.format_exception(fault))
    for value in ("branch 1", "branch_1", "1777777777"):
        assert value not in said.replace(text, "")


def test_rows_that_take_longer_than_connecting_may_come_in(vault, address, monkeypatch) -> None:
    monkeypatch.setattr(databases, "_CONNECT_SECONDS", 1)
    slow = query(address, "SELECT 1 AS id, pg_sleep(2)::text AS slept")
    assert vault.describe(vault.import_source(slow)).rows == 1


def test_rows_that_do_not_come_end_the_import_by_name(vault, address, monkeypatch) -> None:
    monkeypatch.setattr(databases, "ROW_SECONDS", 1)
    slow = query(address, "SELECT 1 AS id, pg_sleep(60)::text AS slept")
    started = time.monotonic()
    assert "the next rows took too long (57014)" in refused(vault, slow).cause
    assert time.monotonic() - started < 20


def test_a_server_that_falls_silent_ends_the_import_by_name(vault, address, monkeypatch) -> None:
    """A proxy that stops passing anything on once the query is out."""
    monkeypatch.setattr(databases, "_CONNECT_SECONDS", 1)
    monkeypatch.setattr(databases, "ROW_SECONDS", 1)
    port = urllib.parse.urlsplit(address).port or 0
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=_fall_silent, args=(listening, port))
        serving.start()
        through = address.replace(f":{port}/", f":{listening.getsockname()[1]}/")
        assert "did not answer within 2 s" in refused(vault, table(through, "loans")).cause
        serving.join(10)


def _fall_silent(listening: socket.socket, port: int) -> None:
    there, _ = listening.accept()
    with there, socket.create_connection(("127.0.0.1", port)) as server:
        silent = False
        while True:
            ready, _, _ = select.select([there, server], [], [], 20)
            if not ready:
                return
            for one in ready:
                data = one.recv(1 << 16)
                if not data:
                    return
                silent = silent or b"FETCH" in data
                if not silent:
                    (server if one is there else there).sendall(data)


def test_a_wrong_password_and_a_dead_server_are_told_without_the_password(vault, address) -> None:
    wrong = address.replace("s3cret", "wrong")
    assert "password" in refused(vault, table(wrong, "loans")).cause
    parts = urllib.parse.urlsplit(address)
    dead = address.replace(f":{parts.port}/", ":1/")
    assert refused(vault, table(dead, "loans")).details["file"] == "postgresql://127.0.0.1:1/postgres"


UNCLEAR = [
    "postgresql://bob:1234/S3CRET@127.0.0.1/db",
    "postgresql://bob:12#S3CRET@127.0.0.1/db",
    "postgresql://bob:S3CRET@127.0.0.1:99999/db",
    "postgresql://bob:S3CRET@127.0.0.1/",
    "postgresql://bob:S3CRET@/db",
    "postgresql://bob:S3CRET@127.0.0.1/db?password=S3CRET",
    "postgresql://bob:S3CRET@127.0.0.1/db?sslmode=prefer",
    "postgresql+psycopg2://bob:S3CRET@127.0.0.1/db",
    "mysql://bob:S3CRET@127.0.0.1/db",
    "S3CRET://x",
]


@pytest.mark.parametrize("address", UNCLEAR)
def test_an_address_that_is_unclear_or_unknown_is_refused_without_a_word_of_it(address) -> None:
    with pytest.raises(ImportRefused) as caught:
        open_source({"source": address, "table": "loans"})
    secret = "S3CRET" if not address.startswith("S3CRET") else "//x"
    assert secret not in caught.value.diagnostics()


def test_a_scheme_in_capitals_is_the_same_scheme(address) -> None:
    source = open_source({"source": address.replace("postgresql", "PostgreSQL"), "table": "loans"})
    assert isinstance(source, PostgresSource)


def test_a_server_that_refuses_tls_gets_no_password_from_afar(vault) -> None:
    """The server is on this machine, but the address asks for what an address elsewhere gets by itself."""
    heard = bytearray()

    def serve(listening: socket.socket) -> None:
        there, _ = listening.accept()
        with there:
            there.settimeout(5)
            heard.extend(there.recv(1024))
            there.sendall(b"N")
            while data := there.recv(1024):
                heard.extend(data)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        serving = threading.Thread(target=serve, args=(listening,))
        serving.start()
        source = table(f"postgresql://bob:S3CRET@127.0.0.1:{port}/db?sslmode=verify-full", "loans")
        assert "PostgreSQL refused" in refused(vault, source).cause
        serving.join(10)
    assert len(heard) == 8, "the request for TLS and nothing else"


@pytest.mark.parametrize(
    ("address", "tls"),
    [
        ("postgresql://a:b@db.bank.example/x", True),
        ("postgresql://a:b@db.bank.example/x?sslmode=disable", False),
        ("postgresql://a:b@localhost/x", False),
        ("postgresql://a:b@localhost/x?sslmode=verify-full", True),
    ],
)
def test_what_is_not_this_machine_is_asked_for_verified_tls(address, tls) -> None:
    found = _Address.parse(address).tls
    assert bool(found) is tls
    if tls:
        assert (found.verify_mode, found.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_query_cannot_write(vault, address) -> None:
    assert "read-only" in refused(vault, query(address, "SELECT nextval('drawn') AS id")).cause
    with pytest.raises(ImportRefused, match="single SELECT"):
        query(address, "DELETE FROM loans RETURNING id")
    cause = refused(vault, query(address, "WITH gone AS (DELETE FROM loans RETURNING id) SELECT id FROM gone")).cause
    assert "WITH" in cause or "read-only" in cause
    still = vault.import_source(query(address, "SELECT count(*) AS n FROM loans"))
    assert read_table(vault, still, columns=["n"]).to_pylist() == [{"n": ROWS}]


def test_empty_nested_and_repeated_are_named(vault, address, tmp_path) -> None:
    assert "no rows" in refused(vault, table(address, "nothing")).cause
    assert refused(vault, table(address, "risk.flags")).details["column"] == "odd"
    declared = tmp_path / "schema.toml"
    declared.write_text('key = ["id"]\n[[columns]]\nname = "id"\ntype = "int64"\n')
    source = dataclasses.replace(table(address, "twice"), declared=read_schema(declared).schema)
    fault = refused(vault, source)
    assert "key" in fault.cause
    assert fault.details["row"] == 3
