"""The slow, exact look at a text file that the fast reader refused: which row, which column, why."""

from __future__ import annotations

import csv
import datetime
import decimal
from collections.abc import Iterator
from pathlib import Path

from fondaco.core.models import Column, Schema
from fondaco.errors import ImportRefused

_INT = (-(1 << 63), (1 << 63) - 1)
_BLOCK = 1 << 20


def check_encoding(path: Path) -> None:
    """Raise ImportRefused at the first byte that is not UTF-8, and for an empty file."""
    line, offset = 1, 0
    pending = b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            data = pending + block
            try:
                data.decode("utf-8")
                pending = b""
            except UnicodeDecodeError as fault:
                if fault.end == len(data) and len(data) - fault.start < 4 and fault.reason == "unexpected end of data":
                    pending = data[fault.start :]
                    data = data[: fault.start]
                else:
                    raise ImportRefused(
                        f"byte 0x{data[fault.start]:02x} in line {line + data[: fault.start].count(10)} is not UTF-8",
                        remedy="save the file as UTF-8",
                        file=str(path),
                        row=max(line + data[: fault.start].count(10) - 1, 1),
                    ) from fault
            line += data.count(10)
            offset += len(block)
    if pending:
        raise ImportRefused("the file ends in the middle of a character", remedy="copy it again", file=str(path))
    if offset == 0:
        raise ImportRefused("the file is empty", remedy="export the data again", file=str(path))


def header(path: Path, delimiter: str) -> list[str]:
    """The column names of a CSV file.

    Raises:
        ImportRefused: blank or doubled names.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file, delimiter=delimiter), [])
    for index, name in enumerate(names):
        if not name.strip():
            raise ImportRefused(f"column {index + 1} has no name", remedy="name it in the first line", file=str(path))
        if name in names[:index]:
            raise ImportRefused(
                "a column's name stands twice", remedy="rename one of them", file=str(path), column=name
            )
    if not names:
        raise ImportRefused("the file has no header", remedy="put the names of the columns first", file=str(path))
    return names


def _fits(text: str, column: Column) -> bool:
    try:
        match column.type:
            case "int64":
                return _INT[0] <= int(text) <= _INT[1] and text.strip() == text and "_" not in text
            case "float64":
                float(text)
                return "_" not in text
            case "decimal":
                number = decimal.Decimal(text)
                return number.is_finite() and number == number.quantize(decimal.Decimal(1).scaleb(-column.scale))
            case "bool":
                return text.lower() in ("true", "false", "0", "1")
            case "date":
                datetime.date.fromisoformat(text)
            case "timestamp":
                datetime.datetime.fromisoformat(text)
    except (ValueError, decimal.InvalidOperation):
        return False
    return True


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            for number, row in enumerate(reader):
                if row:
                    yield number, row
        except csv.Error as fault:
            raise ImportRefused(
                f"quotes do not match near line {reader.line_num} ({fault})",
                remedy="close the quote, or double quotes inside text",
                file=str(path),
                row=max(reader.line_num - 1, 1),
            ) from fault


def diagnose_csv(path: Path, delimiter: str, schema: Schema, nulls: tuple[str, ...]) -> ImportRefused:
    """Why a CSV file cannot be read as declared: the first row and column that do not fit."""
    names: list[str] = []
    for number, row in _rows(path, delimiter):
        if number == 0:
            names = row
            continue
        if len(row) != len(names):
            return ImportRefused(
                f"the row has {len(row)} fields, the header {len(names)}",
                remedy="see whether a delimiter or a quote is missing in this row",
                file=str(path),
                row=number,
            )
        for column in schema.columns:
            text = row[names.index(column.name)]
            if text not in nulls and not _fits(text, column):
                return ImportRefused(
                    f"a value is not of type {column.type}, which the column has up to here",
                    remedy=f"correct the value, or declare {column.name} as text in a schema file",
                    file=str(path),
                    row=number,
                    column=column.name,
                )
    return ImportRefused("the file cannot be read as CSV", remedy="export the data again", file=str(path))
