"""Databases as sources: any table or single SELECT of SQLite, DuckDB and PostgreSQL, read-only.

The connection cannot write: SQLite is opened `mode=ro`, DuckDB `read_only` without access to other files,
PostgreSQL in a read-only transaction with a server-side cursor. No password and no value appears in an error. A
PostgreSQL server has 10 s to answer a connection and 600 s for each batch of rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sqlite3
import ssl
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pg8000.exceptions
import pg8000.native
import pyarrow as pa

from fondaco.core.models import Schema
from fondaco.errors import ImportRefused
from fondaco.vault.normalise import cast_batch
from fondaco.vault.refusals import duckdb_refused, own_words, postgres_refused, sqlite_refused
from fondaco.vault.sources import BATCH_ROWS, SAMPLE_ROWS, _match, batches_of_rows, infer_rows, schema_of

_SELECT = re.compile(r"\s*(select|with)\b", re.IGNORECASE)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?")
_CONNECT_SECONDS = 10
ROW_SECONDS = 600


def make_query(file: str, table: str | None, query: str | None) -> str:
    """The one SELECT of a source.

    Raises:
        ImportRefused: neither or both given, not a plain name, or not a single SELECT.
    """
    if (table is None) == (query is None):
        raise ImportRefused("name a table or a query", remedy="give --table or --query", file=file)
    if table is not None:
        if not _IDENTIFIER.fullmatch(table):
            raise ImportRefused("not the plain name of a table", remedy="give a --query instead", file=file)
        return "SELECT * FROM " + ".".join(f'"{part}"' for part in table.split("."))
    assert query is not None
    bare = query.strip().rstrip(";")
    if not _SELECT.match(bare) or ";" in bare:
        raise ImportRefused("the query is not a single SELECT", remedy="write one SELECT", file=file)
    return bare


def _words(query: str, declared: Schema | None) -> frozenset[str]:
    return own_words(query, [] if declared is None else [column.name for column in declared.columns])


def _pick(names: Sequence[str], schema: Schema, rows: Iterator[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    places = [names.index(column.name) for column in schema.columns]
    return ([row[place] for place in places] for row in rows)


@dataclasses.dataclass(frozen=True)
class SqliteSource:
    """A table or query of a SQLite file."""

    path: Path
    query: str
    declared: Schema | None = None

    @property
    def file(self) -> str:
        """The path."""
        return str(self.path)

    @contextlib.contextmanager
    def _rows(self) -> Iterator[tuple[list[str], Iterator[Sequence[Any]]]]:
        try:
            with contextlib.closing(
                sqlite3.connect(f"file:{urllib.parse.quote(str(self.path))}?mode=ro", uri=True)
            ) as db:
                cursor = db.execute(self.query)
                names = [part[0] for part in cursor.description]
                yield names, iter(cursor.fetchone, None)
        except sqlite3.Error as fault:
            raise sqlite_refused(fault, _words(self.query, self.declared), self.file) from None

    def schema(self) -> Schema:
        """Declared, or inferred from the first rows."""
        with self._rows() as (names, rows):
            _match(self.declared, names, self.file)
            if self.declared is not None:
                return self.declared
            sample = [list(row) for row, _n in zip(rows, range(SAMPLE_ROWS), strict=False)]
            return infer_rows(names, sample, self.file)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows."""
        schema = self.schema()
        with self._rows() as (names, rows):
            yield from batches_of_rows(_pick(names, schema, rows), schema, self.file)


@dataclasses.dataclass(frozen=True)
class DuckdbSource:
    """A table or query of a DuckDB file."""

    path: Path
    query: str
    declared: Schema | None = None

    @property
    def file(self) -> str:
        """The path."""
        return str(self.path)

    @contextlib.contextmanager
    def _open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            with duckdb.connect(str(self.path), read_only=True, config={"enable_external_access": "false"}) as db:
                yield db
        except duckdb.Error as fault:
            raise duckdb_refused(fault, _words(self.query, self.declared), self.file) from None

    def schema(self) -> Schema:
        """Declared, or the query's own."""
        with self._open() as db:
            found = db.sql(f"SELECT * FROM ({self.query}) LIMIT 0").to_arrow_table().schema
        _match(self.declared, found.names, self.file)
        return self.declared or schema_of(found, self.file)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows."""
        schema = self.schema()
        row = 1
        with self._open() as db:
            for batch in db.sql(self.query).to_arrow_reader(BATCH_ROWS):
                picked = batch.select([c.name for c in schema.columns])
                yield cast_batch(picked, schema, self.file, row)
                row += batch.num_rows


@dataclasses.dataclass(frozen=True)
class _Address:
    """A PostgreSQL address taken apart; only `shown` may be shown."""

    user: str
    password: str | None
    host: str
    port: int
    database: str
    tls: ssl.SSLContext | bool | None

    @property
    def shown(self) -> str:
        """Without user and password."""
        return f"postgresql://{self.host}:{self.port}/{self.database}"

    @classmethod
    def parse(cls, address: str) -> _Address:
        """Take an address apart; a form that leaves doubt about where the password ends is refused unshown.

        A host that is not this machine is asked for TLS 1.2 or later under a certificate that this machine's
        authorities vouch for, or the password is not sent; `?sslmode=disable` says that the network is trusted.

        Raises:
            ImportRefused: not of the form.
        """
        refused = ImportRefused(
            "this is not an address of a PostgreSQL database",
            remedy="write postgresql://user:password@host:port/name[?sslmode=disable], with @ : / # ? of a password "
            "as %40 %3A %2F %23 %3F",
            file="postgresql",
        )
        try:
            parts = urllib.parse.urlsplit(address)
            port = parts.port or 5432
        except ValueError:
            raise refused from None
        mode = parts.query.removeprefix("sslmode=") if parts.query else ""
        database = parts.path.removeprefix("/")
        plain = mode in ("", "disable", "verify-full") and not parts.fragment and not re.search(r"[/@:]", database)
        if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or not database or not plain:
            raise refused
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        trusted = mode == "disable" or (local and not mode)
        return cls(
            user=urllib.parse.unquote(parts.username or ""),
            password=urllib.parse.unquote(parts.password) if parts.password else None,
            host=parts.hostname,
            port=port,
            database=urllib.parse.unquote(database),
            tls=False if trusted else ssl.create_default_context(),
        )


@dataclasses.dataclass(frozen=True)
class PostgresSource:
    """A table or query of a PostgreSQL database at `postgresql://user:password@host:port/name`."""

    address: str
    query: str
    declared: Schema | None = None

    @property
    def file(self) -> str:
        """The address without user and password."""
        return _Address.parse(self.address).shown

    @contextlib.contextmanager
    def _rows(self) -> Iterator[tuple[list[str], Iterator[Sequence[Any]]]]:
        to = _Address.parse(self.address)
        seconds = _CONNECT_SECONDS
        try:
            with contextlib.closing(
                pg8000.native.Connection(
                    to.user,
                    password=to.password,
                    host=to.host,
                    port=to.port,
                    database=to.database,
                    timeout=_CONNECT_SECONDS,
                    ssl_context=to.tls,
                )
            ) as db:
                # A query may think for long before its first rows; pg8000 has one timeout for that and for connecting.
                seconds = ROW_SECONDS + _CONNECT_SECONDS
                db._usock.settimeout(seconds)  # noqa: SLF001 - no public way
                db.run("START TRANSACTION READ ONLY")
                db.run(f"SET LOCAL statement_timeout = {ROW_SECONDS * 1000}")
                db.run(f"DECLARE source CURSOR FOR {self.query}")
                first = self._more(db)
                names = [str(column["name"]) for column in db.columns or []]
                yield names, self._all(db, first)
        except (pg8000.exceptions.Error, OSError) as fault:
            words = _words(self.query, self.declared)
            raise postgres_refused(fault, words, self.file, seconds) from None

    def _all(self, db: pg8000.native.Connection, rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        while rows:
            yield from rows
            rows = self._more(db)

    def _more(self, db: pg8000.native.Connection) -> Sequence[Sequence[Any]]:
        try:
            return db.run(f"FETCH {BATCH_ROWS} FROM source") or []
        except (ValueError, ArithmeticError):
            # pg8000 could not turn a value into Python's; what it says of that has the value.
            raise ImportRefused(
                "a value has no counterpart here, as an interval of very many days",
                remedy="leave it out, or turn it into text in the query",
                file=self.file,
            ) from None

    def schema(self) -> Schema:
        """Declared, or inferred from the first rows."""
        with self._rows() as (names, rows):
            _match(self.declared, names, self.file)
            if self.declared is not None:
                return self.declared
            sample = [list(row) for row, _n in zip(rows, range(SAMPLE_ROWS), strict=False)]
            return infer_rows(names, sample, self.file)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows."""
        schema = self.schema()
        with self._rows() as (names, rows):
            yield from batches_of_rows(_pick(names, schema, rows), schema, self.file)
