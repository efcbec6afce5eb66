"""What may be told of a database's refusal: its kind in our words, and the table or column where it is known.

A database's own message repeats values ("could not convert string '...'"), so no word of it is passed on, nor is the
exception that has it chained. A table or column is named only when the person's own query or schema has that word.
"""

from __future__ import annotations

import re
import sqlite3
import ssl
from collections.abc import Iterable

import duckdb
import pg8000.exceptions

from fondaco.errors import ImportRefused

_CHECK = "check the file, the table and the query"
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_TEXT = re.compile(r"'(?:[^']|'')*'")
_MENTION = re.compile(
    r"""\b(table|relation|column)\b(?: with name)?:? ["'`]?([A-Za-z_][A-Za-z0-9_$]*)""", re.IGNORECASE
)

# Phrases that SQLite always writes alike.
_SQLITE = (
    "no such table",
    "no such column",
    "no such function",
    "syntax error",
    "malformed JSON",
    "integer overflow",
    "Could not decode to UTF-8",
    "file is not a database",
    "unable to open database file",
    "database disk image is malformed",
    "database is locked",
    "readonly database",
)
# https://duckdb.org/docs/stable/clients/python/overview: one class of exception for each kind.
_DUCKDB: dict[str, str] = {
    "BinderException": "a column does not exist, or the types do not fit",
    "CatalogException": "a table or function does not exist",
    "ConversionException": "a value cannot be converted",
    "IOException": "the file cannot be read as a DuckDB database",
    "InvalidInputException": "a value is not valid for what the query does with it",
    "OutOfRangeException": "a number is out of range",
    "OutOfMemoryException": "it has not enough memory for the query",
    "ParserException": "the query is not SQL that it can read",
    "PermissionException": "the query reaches outside the file",
}
# PostgreSQL's documentation, appendix A: five characters for an error, the first two for its class.
_POSTGRES = {
    "0A000": "a cursor cannot do this; a query must not write, not in WITH either",
    "22003": "a number is out of range",
    "22007": "a value is not a date or time",
    "22008": "a date or time is out of range",
    "22012": "division by zero",
    "22P02": "a value cannot be converted",
    "25006": "the query writes, and the transaction is read-only",
    "28000": "the user or the password is wrong",
    "28P01": "the user or the password is wrong",
    "3D000": "the database does not exist",
    "42501": "the user may not read this",
    "42601": "the query is not SQL that it can read",
    "42703": "a column does not exist",
    "42883": "a function does not exist for these types",
    "42P01": "a table does not exist",
    "53300": "too many connections to it are open",
    "57014": "it ended the query: the next rows took too long",
}
_POSTGRES_CLASSES = {
    "08": "the connection broke",
    "22": "a value is not valid for what the query does with it",
    "28": "the user or the password is wrong",
    "42": "the query is wrong, or not allowed",
    "53": "it has not enough memory, disk or connections",
    "57": "it is stopping, or ended the query",
    "P0": "a function of the database raised an error",
}


def own_words(query: str, columns: Iterable[str]) -> frozenset[str]:
    """The names that a person wrote: of a query's tables and columns, and of a schema."""
    return frozenset(_WORD.findall(_TEXT.sub("''", query))) | frozenset(columns)


def sqlite_refused(fault: sqlite3.Error, words: frozenset[str], file: str) -> ImportRefused:
    """What SQLite refused."""
    said = str(fault)
    kind = next((phrase for phrase in _SQLITE if phrase in said), type(fault).__name__)
    return _refused(f"SQLite refused: {kind}", said, words, file)


def duckdb_refused(fault: duckdb.Error, words: frozenset[str], file: str) -> ImportRefused:
    """What DuckDB refused."""
    name = type(fault).__name__
    return _refused(f"DuckDB refused: {_DUCKDB.get(name, name)}", str(fault), words, file)


def postgres_refused(fault: Exception, words: frozenset[str], file: str, seconds: int) -> ImportRefused:
    """What PostgreSQL refused, or how the connection to it ended; `seconds` is what it had to answer in."""
    told = fault.args[0] if fault.args else None
    if isinstance(fault, pg8000.exceptions.DatabaseError) and isinstance(told, dict):
        code = str(told.get("C", ""))
        kind = _POSTGRES.get(code) or _POSTGRES_CLASSES.get(code[:2], "the query failed in it")
        shown = f"{kind} ({code})" if code in _POSTGRES else kind
        said = f"{told.get('M', '')}\ncolumn {told.get('c', '')}"
        return _refused(f"PostgreSQL refused: {shown}", said, words, file)
    return _refused(f"PostgreSQL refused: {_broken(fault, str(told), seconds)}", "", words, file)


def _broken(fault: Exception, said: str, seconds: int) -> str:
    roots = (fault, fault.__cause__, fault.__context__)
    if any(isinstance(one, TimeoutError) for one in roots):
        return f"it did not answer within {seconds} s"
    if isinstance(fault, ssl.SSLError):
        return "its TLS certificate is not one that this machine trusts, or it speaks no TLS 1.2"
    if said == "Server refuses SSL":
        return "it offers no TLS"
    if any(isinstance(one, OSError) for one in roots):
        return "it cannot be reached, or the connection broke"
    return f"the connection broke ({type(fault).__name__})"


def _refused(cause: str, said: str, words: frozenset[str], file: str) -> ImportRefused:
    mentioned = {kind.lower(): name for kind, name in reversed(_MENTION.findall(said)) if name in words}
    table = mentioned.get("table") or mentioned.get("relation")
    shown = cause if table is None else f"{cause}: {table}"
    return ImportRefused(shown, remedy=_CHECK, file=file, column=mentioned.get("column"))
