"""A strict, bounded decoder and encoder of the few protobuf messages that CometBFT and this process exchange.

A message is a frozen dataclass whose fields say their number and kind. It reads what Go's proto3 encoder writes and
nothing else: fields in ascending order, each once unless repeated, varints of the shortest form, no unknown field, no
wrong wire type. So bytes of another protocol, or of another line of CometBFT, are refused by name and never guessed
at. Nesting is as deep as the classes say, and nothing is allocated that the input does not pay for.

Source: "Protocol Buffers, Encoding" (proto3). Trusts nothing that it reads; leaks nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

from fondaco.errors import CodecError
from fondaco.ledger.wire import field_bytes, field_message, field_sfixed64, field_varint, timestamp, varint

T = TypeVar("T")
_VARINT, _FIXED64, _BYTES = 0, 1, 2
_MAX_VARINT = 10
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


def read_varint(data: bytes, at: int, where: str) -> tuple[int, int]:
    """A varint of the shortest form at `at`, and the place after it.

    Raises:
        CodecError: cut off, over 64 bits, or with needless bytes.
    """
    number = shift = 0
    for place in range(at, min(at + _MAX_VARINT, len(data))):
        byte = data[place]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number >> 64 or (byte == 0 and shift):
                raise _refuse(where, "a number is not in its shortest form")
            return number, place + 1
        shift += 7
    raise _refuse(where, "a number is cut off or too long")


def _value(data: bytes, at: int, wire: int, where: str) -> tuple[int | bytes, int]:
    if wire == _VARINT:
        return read_varint(data, at, where)
    if wire == _BYTES:
        size, at = read_varint(data, at, where)
        end = at + size
    elif wire == _FIXED64:
        end = at + 8
    else:
        raise _refuse(where, "a wire type that proto3 does not write")
    if end > len(data):
        raise _refuse(where, "a field is longer than its message")
    return data[at:end], end


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
    "octets": (_BYTES, lambda value, _shape, _where: value),
    "text": (_BYTES, _text),
    "moment": (_BYTES, _moment),
    "message": (_BYTES, _message),
}


def decode(cls: type[T], data: bytes, *, where: str = "") -> T:
    """The message of class `cls` in `data`, all of it.

    Raises:
        CodecError: anything that Go's encoder would not have written for this message.
    """
    where = f"{where}.{cls.__name__}" if where else cls.__name__
    known = _KNOWN[cls]
    found: dict[str, Any] = {}
    at = last = 0
    while at < len(data):
        tag, at = read_varint(data, at, where)
        number = tag >> 3
        value, at = _value(data, at, tag & 7, where)
        if number not in known:
            raise _refuse(where, f"there is no field {number}")
        name, field = known[number]
        wire, read = _READ[field.kind]
        if wire != tag & 7:
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


def _write_many(field: _Field, values: tuple[Any, ...]) -> bytes:
    if field.kind == "message":
        return b"".join(field_message(field.number, encode(value)) for value in values)
    raw = (value.encode() if field.kind == "text" else value for value in values)
    return b"".join(field_message(field.number, value) for value in raw)


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
    taken: list[bytes] = []
    at = 0
    head = bytes(buffer[:_MAX_VARINT])
    while head and (any(byte < 0x80 for byte in head) or len(head) == _MAX_VARINT):
        size, used = read_varint(head, 0, "frame")
        if size > limit:
            raise _refuse("frame", f"{size} bytes are more than the {limit} allowed here")
        if len(buffer) < at + used + size:
            break
        taken.append(bytes(buffer[at + used : at + used + size]))
        at += used + size
        head = bytes(buffer[at : at + _MAX_VARINT])
    del buffer[:at]
    return taken


def frame(message: bytes) -> bytes:
    """A message with its length before it."""
    return varint(len(message)) + message
