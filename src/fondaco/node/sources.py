"""From what a person typed to a source that the vault can import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fondaco.errors import ImportRefused
from fondaco.vault.databases import DuckdbSource, PostgresSource, SqliteSource, make_query
from fondaco.vault.schema_file import Declared, read_schema
from fondaco.vault.sources import CsvSource, JsonLinesSource, ParquetSource, Source

_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".duckdb": "duckdb",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
    ".db": "sqlite",
}


def open_source(arguments: dict[str, Any]) -> Source:
    """The source of `source`, `format`, `table`, `query` and `schema`.

    Raises:
        ImportRefused: no such file, an unknown format, or a schema that is not sound.
    """
    where = str(arguments["source"])
    declared: Declared | None = read_schema(Path(arguments["schema"])) if arguments.get("schema") else None
    schema = None if declared is None else declared.schema
    scheme, address, _rest = where.partition("://")
    if address:
        if scheme.lower() not in ("postgresql", "postgres"):
            # Not shown: what follows may hold a password.
            raise ImportRefused(
                "no database of this kind of address can be imported from",
                remedy="write postgresql://user:password@host:port/name",
                file=scheme[:32],
            )
        bare = PostgresSource(where, "").file
        return PostgresSource(where, make_query(bare, arguments.get("table"), arguments.get("query")), schema)
    path = Path(where)
    if not path.is_file():
        raise ImportRefused("there is no such file", remedy="check the path", file=where)
    kind = arguments.get("format") or _FORMATS.get(path.suffix.lower())
    if kind in ("csv", "tsv"):
        nulls = ("",) if declared is None else declared.nulls
        return CsvSource(path, schema, nulls, "\t" if kind == "tsv" else ",")
    if kind == "parquet":
        return ParquetSource(path, schema)
    if kind == "jsonl":
        return JsonLinesSource(path, schema)
    if kind in ("duckdb", "sqlite"):
        query = make_query(where, arguments.get("table"), arguments.get("query"))
        return DuckdbSource(path, query, schema) if kind == "duckdb" else SqliteSource(path, query, schema)
    known = ", ".join(sorted({*_FORMATS.values(), "postgresql://…"}))
    raise ImportRefused("the format is not known", remedy=f"give --format, one of: {known}", file=where)
