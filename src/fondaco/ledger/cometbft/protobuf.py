"""A strict, bounded decoder and encoder of the few protobuf messages that CometBFT and this process exchange.

A message is a frozen dataclass whose fields say their number and kind. It reads what Go's proto3 encoder writes and
nothing else: fields in ascending order, each once unless repeated, varints of the shortest form, no unknown field, no
wrong wire type. So bytes of another protocol, or of another line of CometBFT, are refused by name and never guessed
at. Nesting is as deep as the classes say, and nothing is allocated that the input does not pay for.

Source: "Protocol Buffers, Encoding" (proto3). Trusts nothing that it reads; leaks nothing.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, dataclass_transform

from fondaco import _kernel
from fondaco.errors import CodecError
from fondaco.ledger.wire import field_bytes, field_message, field_sfixed64, field_varint, timestamp, varint

T = TypeVar("T")
_VARINT, _FIXED64, DELIMITED = 0, 1, 2
_SIGN = 1 << 63
_NANOS = 1_000_000_000
_REMEDY = "run the CometBFT that this version of Fondaco was built for"


def _refuse(where: str, why: str) -> CodecError:
    return CodecError(f"{where}: {why}", remedy=_REMEDY)


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    number: int
    kind: str
    many: bool = False
    shape: type | None = None


def _declare(field: _Field, default: object) -> Any:
    if field.many:
        return dataclasses.field(default=(), metadata={"proto": field})
    return dataclasses.field(default=default, metadata={"proto": field})


def unsigned(number: int) -> Any:
    """uint32, uint64, bool or an enumeration; 0 when absent."""
    return _declare(_Field(number, "unsigned"), 0)


def signed(number: int) -> Any:
    """int32 or int64; 0 when absent."""
    return _declare(_Field(number, "signed"), 0)


def fixed64(number: int) -> Any:
    """sfixed64; 0 when absent."""
    return _declare(_Field(number, "fixed64"), 0)


def octets(number: int, *, many: bool = False) -> Any:
    """Bytes; empty when absent."""
    return _declare(_Field(number, "octets", many), b"")


def text(number: int, *, many: bool = False) -> Any:
    """A string; empty when absent."""
    return _declare(_Field(number, "text", many), "")


def moment(number: int) -> Any:
    """google.protobuf.Timestamp as unix nanoseconds; 1970 when absent."""
    return _declare(_Field(number, "moment"), 0)


def nested(number: int, shape: type, *, many: bool = False) -> Any:
    """A message; None when absent."""
    return _declare(_Field(number, "message", many, shape), None)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def shape(cls: type[T]) -> type[T]:
    """Make a class a protobuf message: every field is declared by one of the functions above."""
    made = dataclasses.dataclass(frozen=True, slots=True, kw_only=True)(cls)
    declared = dataclasses.fields(made)  # type: ignore[arg-type]
    fields: list[tuple[str, _Field]] = [(field.name, field.metadata["proto"]) for field in declared]
    _SHAPES[made] = fields
    _KNOWN[made] = {field.number: (name, field) for name, field in fields}
    return made


_SHAPES: dict[type, list[tuple[str, _Field]]] = {}
_KNOWN: dict[type, dict[int, tuple[str, _Field]]] = {}


# -- reading ------------------------------------------------------------------------------------------------------


def parted(data: bytes, where: str) -> Sequence[tuple[int, int, Any]]:
    """The fields of a message in their order: number, wire type, and an integer or bytes.

    Raises:
        CodecError: it is none.
    """
    try:
        return _kernel.proto_fields(data)
    except ValueError as fault:
        raise _refuse(where, str(fault)) from fault


def _signed(value: int, _shape: type | None, _where: str) -> int:
    return value - (1 << 64) if value & _SIGN else value


def _text(value: bytes, _shape: type | None, where: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as fault:
        raise _refuse(where, "text is not UTF-8") from fault


def _moment(value: bytes, _shape: type | None, where: str) -> int:
    read = decode(Timestamp, value, where=where)
    if not 0 <= read.nanos < _NANOS:
        raise _refuse(where, "a time has its nanoseconds out of range")
    return read.seconds * _NANOS + read.nanos


def _message(value: bytes, shape: type | None, where: str) -> object:
    assert shape is not None
    return decode(shape, value, where=where)


_READ: dict[str, tuple[int, Callable[[Any, type | None, str], Any]]] = {
    "unsigned": (_VARINT, lambda value, _shape, _where: value),
    "signed": (_VARINT, _signed),
    "fixed64": (_FIXED64, lambda value, _shape, _where: int.from_bytes(value, "little", signed=True)),
    "octets": (DELIMITED, lambda value, _shape, _where: value),
    "text": (DELIMITED, _text),
    "moment": (DELIMITED, _moment),
    "message": (DELIMITED, _message),
}


def decode(cls: type[T], data: bytes, *, where: str = "") -> T:
    """The message of class `cls` in `data`, all of it.

    Raises:
        CodecError: anything that Go's encoder would not have written for this message.
    """
    where = f"{where}.{cls.__name__}" if where else cls.__name__
    known = _KNOWN[cls]
    found: dict[str, Any] = {}
    last = 0
    for number, wire, value in parted(data, where):
        if number not in known:
            raise _refuse(where, f"there is no field {number}")
        name, field = known[number]
        expected, read = _READ[field.kind]
        if wire != expected:
            raise _refuse(where, f"{name} has another wire type")
        if number < last or (number == last and not field.many):
            raise _refuse(where, f"{name} is out of order or there twice")
        last = number
        item = read(value, field.shape, where)
        if field.many:
            found.setdefault(name, []).append(item)
        else:
            found[name] = item
    for name, item in found.items():
        if type(item) is list:
            found[name] = tuple(item)
    return cls(**found)


# -- writing ------------------------------------------------------------------------------------------------------

_WRITE: dict[str, Callable[[int, Any], bytes]] = {
    "unsigned": field_varint,
    "signed": field_varint,
    "fixed64": field_sfixed64,
    "octets": field_bytes,
    "text": lambda number, value: field_bytes(number, value.encode()),
    "moment": lambda number, value: field_message(number, timestamp(value)),
    "message": lambda number, value: b"" if value is None else field_message(number, encode(value)),
}


@functools.lru_cache(maxsize=256)
def _member(message: object) -> bytes:
    """As `encode`, remembered: of many together most are the same, as the results of a block's transactions."""
    return encode(message)


def _write_many(field: _Field, values: tuple[Any, ...]) -> bytes:
    if field.kind == "message":
        values = tuple(map(_member, values))
    elif field.kind == "text":
        values = tuple(value.encode() for value in values)
    return _kernel.proto_repeated(field.number, values)


def encode(message: object) -> bytes:
    """The bytes of a message, as Go's encoder writes them: zero values left out, a time always there."""
    parts: list[bytes] = []
    for name, field in _SHAPES[type(message)]:
        value = getattr(message, name)
        parts.append(_write_many(field, value) if field.many else _WRITE[field.kind](field.number, value))
    return b"".join(parts)


@shape
class Timestamp:
    """google.protobuf.Timestamp."""

    seconds: int = signed(1)
    nanos: int = signed(2)


# -- frames -------------------------------------------------------------------------------------------------------


def frames(buffer: bytearray, limit: int) -> list[bytes]:
    """Take every whole length-delimited message off the front of `buffer`.

    Raises:
        CodecError: a length over `limit`, or not a length.
    """
    try:
        taken, used = _kernel.proto_frames(bytes(buffer), limit)
    except ValueError as fault:
        raise _refuse("frame", str(fault)) from fault
    del buffer[:used]
    return taken


def frame(message: bytes) -> bytes:
    """A message with its length before it."""
    return varint(len(message)) + message
