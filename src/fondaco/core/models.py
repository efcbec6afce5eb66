"""Models that several layers share: what a column is, and what a table promises.

Ranges are declared, never measured: they are public, go on the ledger, and choose the ring in which secret
computation runs, so an input outside its declared range is an error before anything is shared.
"""

from __future__ import annotations

from fondaco.core.messages import message
from fondaco.core.names import is_plain
from fondaco.errors import NamingError

TYPES = ("bool", "int64", "decimal", "float64", "text", "date", "timestamp", "bytes")
CLASSIFICATIONS = ("public", "internal", "confidential", "personal")
MAX_COLUMNS = 1024
MAX_NAME = 128
MAX_UNIT = 64
MAX_SCALE = 15


@message("schema.column/1")
class Column:
    """One column.

    `minimum` and `maximum` are declared bounds in integer multiples of 10**-scale; None where not declared.
    `unit` is a UCUM code or a plain word, "" where none applies.
    """

    name: str
    type: str
    unit: str
    classification: str
    nullable: bool
    minimum: int | None
    maximum: int | None
    scale: int


@message("schema.table/1")
class Schema:
    """The columns in order, and the names of those that together are the key (may be empty)."""

    columns: tuple[Column, ...]
    key: tuple[str, ...]

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises:
            NamingError: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        known = ", ".join(c.name for c in self.columns[:20])
        raise NamingError("no such column", remedy=f"choose one of: {known}", column=name[:MAX_NAME])


def check_schema(schema: Schema) -> Schema:
    """The same schema if it is sound.

    Raises:
        NamingError: no columns or too many, a doubled or blank name, an unknown type or classification,
            a scale or range that makes no sense, or a key that is not among the columns.
    """
    remedy = "correct the schema"
    if not 1 <= len(schema.columns) <= MAX_COLUMNS:
        raise NamingError(f"a table has 1 to {MAX_COLUMNS} columns", remedy=remedy)
    names: list[str] = []
    for column in schema.columns:
        where = column.name[:MAX_NAME]
        if not column.name.strip() or len(column.name) > MAX_NAME or column.name in names:
            raise NamingError("a column's name is blank, too long or used twice", remedy=remedy, column=where)
        if not is_plain(column.name) or not is_plain(column.unit) or len(column.unit) > MAX_UNIT:
            raise NamingError(
                f"a column's name, and its unit of up to {MAX_UNIT} letters, have no control characters",
                remedy=remedy,
                column=where.encode("unicode_escape").decode(),
            )
        if column.type not in TYPES:
            raise NamingError("unknown type", remedy=f"choose one of: {', '.join(TYPES)}", column=where)
        if column.classification not in CLASSIFICATIONS:
            raise NamingError(
                "unknown classification", remedy=f"choose one of: {', '.join(CLASSIFICATIONS)}", column=where
            )
        if not 0 <= column.scale <= MAX_SCALE:
            raise NamingError(f"scale is 0 to {MAX_SCALE}", remedy=remedy, column=where)
        both = column.minimum is not None and column.maximum is not None
        if both and column.minimum > column.maximum:  # type: ignore[operator]
            raise NamingError("minimum is above maximum", remedy=remedy, column=where)
        names.append(column.name)
    for part in schema.key:
        if part not in names:
            raise NamingError("the key names a column that is not there", remedy=remedy, column=part[:MAX_NAME])
    if len(schema.key) != len(dict.fromkeys(schema.key)):
        raise NamingError("the key names a column twice", remedy=remedy)
    return schema
