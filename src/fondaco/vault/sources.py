"""Files as sources: CSV, Parquet and JSON Lines, read in batches, every refusal with file, row and column.

Types come from the declared schema. Without one they are inferred from the first rows, and a later row that breaks
the inference is refused, never bent: a column that changes its type is named with the row where it does.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from fondaco.core.models import Column, Schema
from fondaco.errors import ImportRefused
from fondaco.vault import diagnose
from fondaco.vault.normalise import arrow_type, cast_batch, declared_type, plain_column

SAMPLE_ROWS = 1000
BATCH_ROWS = 65_536
MAX_LINE = 16 << 20
_NUMBERS = ("int64", "float64", "bool", "date", "timestamp")


class Source(Protocol):
    """Something that can be imported."""

    @property
    def file(self) -> str:
        """What it is called in errors."""

    def schema(self) -> Schema:
        """Its schema, declared or inferred."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, in the schema's types and order of columns."""


def _match(declared: Schema | None, names: Sequence[str], file: str) -> None:
    """The declared columns must be there; others are not imported."""
    for column in declared.columns if declared is not None else ():
        if column.name not in names:
            raise ImportRefused(
                "a declared column is not in the source",
                remedy=f"the source has: {', '.join(names[:20])}",
                file=file,
                column=column.name,
            )


@dataclasses.dataclass(frozen=True)
class CsvSource:
    """A CSV file with a header."""

    path: Path
    declared: Schema | None = None
    nulls: tuple[str, ...] = ("",)
    delimiter: str = ","

    @property
    def file(self) -> str:
        """The path."""
        return str(self.path)

    def schema(self) -> Schema:
        """Declared, or inferred from the first rows."""
        diagnose.check_encoding(self.path)
        names = diagnose.header(self.path, self.delimiter)
        _match(self.declared, names, self.file)
        return self.declared or Schema(columns=tuple(self._inferred(names)), key=())

    def _inferred(self, names: list[str]) -> Iterator[Column]:
        sample: list[list[str]] = []
        for number, row in diagnose._rows(self.path, self.delimiter):  # noqa: SLF001 - one reader of CSV text
            if number and len(row) == len(names):
                sample.append(row)
            if len(sample) >= SAMPLE_ROWS:
                break
        for index, name in enumerate(names):
            values = [row[index] for row in sample if row[index] not in self.nulls]
            fitting = (plain_column(name, kind) for kind in _NUMBERS)
            kinds = [c for c in fitting if values and all(diagnose._fits(v, c) for v in values)]  # noqa: SLF001
            yield kinds[0] if kinds else plain_column(name, "text")

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Rows by pyarrow's reader; what it refuses is looked at again, slowly."""
        schema = self.schema()
        convert = pacsv.ConvertOptions(
            column_types={c.name: arrow_type(c) for c in schema.columns},
            include_columns=[c.name for c in schema.columns],
            null_values=list(self.nulls),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["true", "TRUE", "True", "1"],
            false_values=["false", "FALSE", "False", "0"],
        )
        parse = pacsv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True)
        read = pacsv.ReadOptions(block_size=8 << 20)
        try:
            with pacsv.open_csv(self.path, read_options=read, parse_options=parse, convert_options=convert) as reader:
                yield from reader
        except pa.ArrowInvalid:
            raise diagnose.diagnose_csv(self.path, self.delimiter, schema, self.nulls) from None


@dataclasses.dataclass(frozen=True)
class ParquetSource:
    """A Parquet file."""

    path: Path
    declared: Schema | None = None

    @property
    def file(self) -> str:
        """The path."""
        return str(self.path)

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowInvalid, OSError) as fault:
            first = str(fault).splitlines()[0][:200]
            raise ImportRefused(
                f"not a whole Parquet file ({first})", remedy="copy it again", file=self.file
            ) from fault

    def schema(self) -> Schema:
        """Declared, or the file's own."""
        with self._open() as file:
            found = file.schema_arrow
        _match(self.declared, found.names, self.file)
        return self.declared or schema_of(found, self.file)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Rows, cast to the declared types."""
        schema = self.schema()
        row = 1
        with self._open() as file:
            try:
                for batch in file.iter_batches(BATCH_ROWS, columns=[c.name for c in schema.columns]):
                    yield cast_batch(batch, schema, self.file, row)
                    row += batch.num_rows
            except OSError as fault:
                raise ImportRefused(
                    "the Parquet file is damaged", remedy="copy it again", file=self.file, row=row
                ) from fault


def schema_of(found: pa.Schema, file: str) -> Schema:
    """A schema of types alone.

    Raises:
        ImportRefused: a nested or otherwise unknown type.
    """
    columns: list[Column] = []
    for field in found:
        kind = declared_type(field.type)
        if kind is None:
            raise ImportRefused(
                f"a column of type {field.type} cannot be imported",
                remedy="flatten it, or leave it out with a schema file",
                file=file,
                column=field.name,
            )
        columns.append(plain_column(field.name, *kind))
    return Schema(columns=tuple(columns), key=())


@dataclasses.dataclass(frozen=True)
class JsonLinesSource:
    """JSON Lines: one flat object a line, every line with the same fields."""

    path: Path
    declared: Schema | None = None

    @property
    def file(self) -> str:
        """The path."""
        return str(self.path)

    def _objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        row = 0
        with self.path.open(encoding="utf-8") as file:
            # A line is at most so many characters, told before more of it is read.
            while line := file.readline(MAX_LINE + 1):
                if not line.strip() and len(line) <= MAX_LINE:
                    continue
                row += 1
                if len(line) > MAX_LINE:
                    raise self._refuse("the line is longer than the 16 MiB that one may have", row)
                try:
                    found = json.loads(line, object_pairs_hook=_no_doubles)
                except ValueError as fault:
                    raise self._refuse(f"the line is not JSON ({fault})", row) from fault
                if not isinstance(found, dict):
                    raise self._refuse("the line is not one JSON object", row)
                yield row, found

    def _refuse(self, cause: str, row: int | None, column: str | None = None) -> ImportRefused:
        return ImportRefused(cause, remedy="correct this line", file=self.file, row=row, column=column)

    def schema(self) -> Schema:
        """Declared, or inferred from the first rows."""
        diagnose.check_encoding(self.path)
        sample: list[dict[str, Any]] = []
        for _row, found in self._objects():
            sample.append(found)
            if len(sample) >= SAMPLE_ROWS:
                break
        if not sample:
            raise self._refuse("the file holds no objects", None)
        _match(self.declared, list(sample[0]), self.file)
        return self.declared or infer_rows(list(sample[0]), [list(o.values()) for o in sample], self.file)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Rows; every object must have the fields of the first one."""
        schema = self.schema()
        names: list[str] = []

        def rows() -> Iterator[list[Any]]:
            for row, found in self._objects():
                names[:] = names or list(found)
                if found.keys() != dict.fromkeys(names).keys():
                    odd = min(found.keys() ^ set(names))
                    raise self._refuse("a field is missing here, or stands only here", row, odd)
                yield [found[c.name] for c in schema.columns]

        yield from batches_of_rows(rows(), schema, self.file)


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field stands twice")
    return found


_PYTHON: dict[type, str] = {
    bool: "bool",
    int: "int64",
    float: "float64",
    str: "text",
    bytes: "bytes",
    datetime.date: "date",
    datetime.datetime: "timestamp",
    decimal.Decimal: "decimal",
}


def infer_rows(names: list[str], sample: list[list[Any]], file: str) -> Schema:
    """A schema from the first rows of Python values.

    Raises:
        ImportRefused: nested values, or two types in one column already there.
    """
    columns: list[Column] = []
    for index, name in enumerate(names):
        kinds = list(dict.fromkeys(type(row[index]) for row in sample if row[index] is not None))
        if kinds in ([int, float], [float, int]):
            kinds = [float]
        known = [_PYTHON.get(kind) for kind in kinds]
        if len(known) > 1 or None in known:
            row = next(i for i, r in enumerate(sample) if r[index] is not None and type(r[index]) is kinds[-1])
            raise ImportRefused(
                f"a value of type {kinds[-1].__name__} in a column of {kinds[0].__name__}",
                remedy="make the column one flat type",
                file=file,
                row=row + 1,
                column=name,
            )
        kind = known[0] if known and known[0] else "text"
        columns.append(plain_column(name, kind, _scale([row[index] for row in sample]) if kind == "decimal" else 0))
    return Schema(columns=tuple(columns), key=())


def _scale(values: list[Any]) -> int:
    """The digits after the point that the longest of the finite decimals has; at least 0."""
    exponents = (value.as_tuple().exponent for value in values if value is not None)
    return max((-exponent for exponent in exponents if isinstance(exponent, int)), default=0) if values else 0


def batches_of_rows(rows: Iterator[Sequence[Any]], schema: Schema, file: str) -> Iterator[pa.RecordBatch]:
    """Python rows as batches in the declared types.

    Raises:
        ImportRefused: a value that does not fit its type, named by row and column.
    """
    first, waiting = 1, list[Sequence[Any]]()
    for row in rows:
        waiting.append(row)
        if len(waiting) >= BATCH_ROWS:
            yield _batch(waiting, schema, file, first)
            first += len(waiting)
            waiting = []
    if waiting:
        yield _batch(waiting, schema, file, first)


def _batch(rows: list[Sequence[Any]], schema: Schema, file: str, first: int) -> pa.RecordBatch:
    arrays: list[pa.Array] = []
    for index, column in enumerate(schema.columns):
        values = [row[index] for row in rows]
        try:
            arrays.append(_array(values, column))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, ValueError):
            bad = next(i for i, value in enumerate(values) if not _one_fits(value, column))
            raise ImportRefused(
                f"a {type(values[bad]).__name__} in a column of type {column.type}",
                remedy=f"correct the value, or declare another type for {column.name}",
                file=file,
                row=first + bad,
                column=column.name,
            ) from None
    return pa.RecordBatch.from_arrays(arrays, names=[c.name for c in schema.columns])


def _array(values: list[Any], column: Column) -> pa.Array:
    if column.type == "bool" and any(isinstance(v, int) and not isinstance(v, bool) for v in values):
        values = [bool(v) if v in (0, 1) else v for v in values]
    if column.type in ("int64", "text") and any(isinstance(v, bool) for v in values):
        raise ValueError("a boolean among other values")
    if column.type == "timestamp":
        values = [v.replace(tzinfo=datetime.UTC) if _naive(v) else _parsed(v) for v in values]
    elif column.type == "date":
        values = [datetime.date.fromisoformat(v) if isinstance(v, str) else v for v in values]
    return pa.array(values, type=arrow_type(column))


def _naive(value: Any) -> bool:
    return isinstance(value, datetime.datetime) and value.tzinfo is None


def _parsed(value: Any) -> Any:
    if isinstance(value, str):
        found = datetime.datetime.fromisoformat(value)
        return found.replace(tzinfo=datetime.UTC) if found.tzinfo is None else found
    return value


def _one_fits(value: Any, column: Column) -> bool:
    try:
        _array([value], column)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, ValueError):
        return False
    return True
