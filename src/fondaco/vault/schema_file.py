"""Schemas as stewards write them: TOML with columns, units, classes, keys, ranges, spellings of null."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from fondaco.core.models import Column, Schema, check_schema
from fondaco.errors import ImportRefused, NamingError

_FIELDS: dict[str, tuple[type, Any]] = {
    "name": (str, None),
    "type": (str, None),
    "unit": (str, ""),
    "classification": (str, "internal"),
    "nullable": (bool, False),
    "minimum": (int, None),
    "maximum": (int, None),
    "scale": (int, 0),
}
MAX_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Declared:
    """A schema, and how the source spells a missing value."""

    schema: Schema
    nulls: tuple[str, ...]


def _refuse(cause: str, file: str, column: str | None = None) -> ImportRefused:
    return ImportRefused(cause, remedy="correct the schema file; see docs/concepts/vault.md", file=file, column=column)


def _column(entry: Any, file: str) -> Column:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise _refuse("each [[columns]] has a name", file)
    name = entry["name"]
    unknown = sorted(set(entry) - set(_FIELDS))
    if unknown:
        raise _refuse(f"unknown field {unknown[0]}", file, name)
    values: dict[str, Any] = {}
    for field, (kind, default) in _FIELDS.items():
        value = entry.get(field, default)
        if field in entry and type(value) is not kind:
            raise _refuse(f"{field} is not a {kind.__name__}", file, name)
        values[field] = value
    if values["type"] is None:
        raise _refuse("the column has no type", file, name)
    return Column(**values)


def read_schema(path: Path) -> Declared:
    """The schema in a TOML file.

    Raises:
        ImportRefused: not TOML, unknown fields, or a schema that is not sound.
    """
    try:
        raw = path.read_bytes()
        document = tomllib.loads(raw[:MAX_BYTES].decode("utf-8"))
    except (FileNotFoundError, IsADirectoryError, PermissionError) as fault:
        raise _refuse("there is no such schema file", str(path)) from fault
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise _refuse(f"not TOML ({fault})", str(path)) from fault
    unknown = sorted(set(document) - {"columns", "key", "null"})
    if unknown:
        raise _refuse(f"unknown field {unknown[0]}", str(path))
    columns = document.get("columns", [])
    key, nulls = document.get("key", []), document.get("null", [""])
    if not isinstance(columns, list) or not all(isinstance(part, str) for part in [*key, *nulls]):
        raise _refuse("columns is a list of tables; key and null are lists of text", str(path))
    schema = Schema(columns=tuple(_column(entry, str(path)) for entry in columns), key=tuple(key))
    try:
        return Declared(check_schema(schema), tuple(nulls))
    except NamingError as fault:
        raise _refuse(
            f"{fault.cause}: {fault.remedy}", str(path), str(fault.details.get("column") or "") or None
        ) from fault
