"""Databases as sources: any table or single SELECT of SQLite, DuckDB and PostgreSQL, read-only.

The connection cannot write: SQLite is opened `mode=ro`, DuckDB `read_only` without access to other files,
PostgreSQL in a read-only transaction with a server-side cursor. A password never appears in an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sqlite3
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
from fondaco.vault.sources import BATCH_ROWS, SAMPLE_ROWS, _match, batches_of_rows, infer_rows, schema_of

_SELECT = re.compile(r"\s*(select|with)\b", re.IGNORECASE)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?")
_CONNECT_SECONDS = 10


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


def _refuse(what: str, fault: Exception, file: str) -> ImportRefused:
    said = str(fault).splitlines()[0][:200] if str(fault) else type(fault).__name__
    return ImportRefused(f"{what}: {said}", remedy="check the file, the table and the query", file=file)


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
            raise _refuse("SQLite refused", fault, self.file) from fault

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
            raise _refuse("DuckDB refused", fault, self.file) from fault

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
class PostgresSource:
    """A table or query of a PostgreSQL database at `postgresql://user:password@host:port/name`."""

    address: str
    query: str
    declared: Schema | None = None

    @property
    def file(self) -> str:
        """The address without the password."""
        parts = urllib.parse.urlsplit(self.address)
        port = f":{parts.port}" if parts.port else ""
        return f"postgresql://{parts.hostname or ''}{port}{parts.path}"

    @contextlib.contextmanager
    def _rows(self) -> Iterator[tuple[list[str], Iterator[Sequence[Any]]]]:
        parts = urllib.parse.urlsplit(self.address)
        try:
            with contextlib.closing(
                pg8000.native.Connection(
                    urllib.parse.unquote(parts.username or ""),
                    password=urllib.parse.unquote(parts.password) if parts.password else None,
                    host=parts.hostname or "localhost",
                    port=parts.port or 5432,
                    database=parts.path.lstrip("/"),
                    timeout=_CONNECT_SECONDS,
                )
            ) as db:
                db.run("START TRANSACTION READ ONLY")
                db.run(f"DECLARE source CURSOR FOR {self.query}")
                first = db.run(f"FETCH {BATCH_ROWS} FROM source")
                names = [str(column["name"]) for column in db.columns or []]
                yield names, self._fetch(db, first)
        except (pg8000.exceptions.Error, OSError) as fault:
            raise self._failed(fault) from fault

    def _failed(self, fault: Exception) -> ImportRefused:
        detail = fault.args[0] if fault.args else ""
        said = detail.get("M", "") if isinstance(detail, dict) else str(detail)
        return ImportRefused(
            f"PostgreSQL refused: {said[:200]}",
            remedy="check the address, the table and the query",
            file=self.file,
        )

    def _fetch(self, db: pg8000.native.Connection, first: Sequence[Sequence[Any]] | None) -> Iterator[Sequence[Any]]:
        rows = first
        while rows:
            yield from rows
            rows = db.run(f"FETCH {BATCH_ROWS} FROM source")

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
