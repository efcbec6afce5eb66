"""Typed messages over the canonical codec: frozen dataclasses whose fields are checked on the way in.

A field is an `int`, `bool`, `bytes`, `str`, `X | None`, `tuple[X, ...]`, `dict[str, X]`, `Value` or another
message. A decoder refuses an unknown field, a missing one and a wrong type; fields with the value None are
encoded as null, never left out, so that one message has one encoding. Trusts nothing; leaks nothing.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

from fondaco import _kernel
from fondaco.core import codec
from fondaco.core.codec import Value
from fondaco.errors import CodecError

T = TypeVar("T")
# A reader is told where it is, so that an error can name the field; the first, fast pass goes without (None), and what
# it refuses is read once more for the name.
_Where = str | None
_Reader = Callable[[Any, _Where], Any]
_READERS: dict[type, dict[str, _Reader]] = {}
_EXACT: dict[_Reader, type] = {}
_PLANS: dict[type, tuple[tuple[str, type | None, _Reader], ...]] = {}
_KINDS: dict[type, str] = {}
_FIELDS: dict[type, tuple[str, ...]] = {}
_FROZEN: dict[type, bool] = {}
_KERNEL: dict[type, _kernel.MessageReader[Any]] = {}
_MAX_NAMED, _MAX_SHOWN = 5, 64
_REMEDY = "send every field of this message, each of its declared type, and no others"


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
def message(kind: str) -> Callable[[type[T]], type[T]]:
    """Make a class a message of this kind, for example `@message("points.transfer/1")`."""

    def wrap(cls: type[T]) -> type[T]:
        made = dataclasses.dataclass(frozen=True, slots=True, kw_only=True)(cls)
        _KINDS[made] = kind
        names = (field.name for field in dataclasses.fields(made))  # type: ignore[arg-type]
        _FIELDS[made] = tuple(sorted(names, key=lambda name: (len(name), name)))
        return made

    return wrap


def kind_of(cls: type) -> str:
    """The kind that a message class was declared with."""
    return _KINDS[cls]


def is_message(cls: object) -> bool:
    """Whether `cls` is a message class."""
    return isinstance(cls, type) and cls in _KINDS


def _refuse(where: _Where, why: str) -> CodecError:
    return CodecError(f"{where}: {why}", remedy=_REMEDY)


def _shown(name: str) -> str:
    """A name from outside as an error may show it: as it is when it is short and plain, and else not at all."""
    plain = 0 < len(name) <= _MAX_SHOWN and name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if plain else "?"


def _exact(expected: type) -> _Reader:
    def read(value: Any, where: _Where) -> Any:
        if type(value) is not expected:
            raise _refuse(where, f"expected {expected.__name__}, found {type(value).__name__}")
        return value

    _EXACT[read] = expected
    return read


def _shape(annotation: Any) -> object:
    """What the kernel reads for an annotation; as `_reader`."""
    if annotation in (int, bool, bytes, str):
        return annotation.__name__
    if is_message(annotation):
        return annotation, _fields(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType) and bytes in arguments and str in arguments:
        return "any"
    if origin is dict:
        return "dict", _shape(arguments[1])
    if origin is tuple:
        return "tuple", _shape(arguments[0])
    return "optional", _shape(next(one for one in arguments if one is not type(None)))


def _fields(cls: type) -> tuple[tuple[str, object], ...]:
    hints = typing.get_type_hints(cls)
    return tuple((name, _shape(hints[name])) for name in _FIELDS[cls])


def kernel_reader(cls: type[T]) -> _kernel.MessageReader[T]:
    """What reads, alters and builds messages of a class in the kernel."""
    found = _KERNEL.get(cls)
    if found is None:
        _readers(cls)  # refuses what cannot be a field
        found = _KERNEL[cls] = _kernel.MessageReader(cls, _fields(cls))
    return found


def _optional(inner: _Reader) -> _Reader:
    return lambda value, where: None if value is None else inner(value, where)


def _sequence(inner: _Reader) -> _Reader:
    def read(value: Any, where: _Where) -> Any:
        if type(value) is not list:
            raise _refuse(where, f"expected a list, found {type(value).__name__}")
        if where is None:
            return tuple([inner(item, None) for item in value])
        return tuple(inner(item, f"{where}[{index}]") for index, item in enumerate(value))

    return read


def _mapping(inner: _Reader) -> _Reader:
    def read(value: Any, where: _Where) -> Any:
        if type(value) is not dict:
            raise _refuse(where, f"expected a map, found {type(value).__name__}")
        if where is None:
            return {key: inner(item, None) for key, item in value.items()}
        return {key: inner(item, f"{where}.{_shown(key)}") for key, item in value.items()}

    return read


def _reader(annotation: Any) -> _Reader:
    if annotation in (int, bool, bytes, str):
        return _exact(annotation)
    if is_message(annotation):
        return lambda value, where: _from_map(annotation, value, where)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        if bytes in arguments and str in arguments:  # Value: anything that the codec decodes
            return _anything
        inner = [a for a in arguments if a is not type(None)]
        if len(inner) == 1 and len(arguments) == 2:
            return _optional(_reader(inner[0]))
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _sequence(_reader(arguments[0]))
    if origin is dict and arguments[0] is str:
        return _mapping(_reader(arguments[1]))
    raise TypeError(f"{annotation!r} cannot be a field of a message")


def is_frozen(cls: type) -> bool:
    """Whether nothing in a message of this class can be changed: no map and no `Value`, in it or in its messages."""
    if cls not in _FROZEN:
        _FROZEN[cls] = all(map(_frozen, typing.get_type_hints(cls).values()))
    return _FROZEN[cls]


def _frozen(annotation: Any) -> bool:
    if is_message(annotation):
        return is_frozen(annotation)
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) in (dict, list):
        return False
    return all(one is Ellipsis or _frozen(one) for one in arguments)


def _anything(value: Any, _where: _Where) -> Any:
    return value


def _readers(cls: type) -> dict[str, _Reader]:
    found = _READERS.get(cls)
    if found is None:
        hints = typing.get_type_hints(cls)
        found = {}
        for field in dataclasses.fields(cls):
            found[field.name] = _reader(hints[field.name])
        _PLANS[cls] = tuple((name, _EXACT.get(read), read) for name, read in found.items())
        _READERS[cls] = found
    return found


def _from_map(cls: type[T], value: object, where: _Where) -> T:
    if type(value) is not dict:
        raise _refuse(where, f"expected a map, found {type(value).__name__}")
    readers = _READERS.get(cls) or _readers(cls)
    if value.keys() != readers.keys():
        unknown = sorted(_shown(name) for name in sorted(value.keys() - readers.keys())[:_MAX_NAMED])
        missing = sorted(readers.keys() - value.keys())[:_MAX_NAMED]
        raise _refuse(where, f"unknown fields [{', '.join(unknown)}], missing fields [{', '.join(missing)}]")
    if where is not None:
        return cls(**{name: read(value[name], f"{where}.{name}") for name, read in readers.items()})
    made = {}
    for name, exact, read in _PLANS[cls]:
        item = value[name]
        # Most fields are plain, and a call costs more than the look.
        made[name] = item if type(item) is exact else read(item, None)
    return cls(**made)


def from_value(cls: type[T], value: Value) -> T:
    """The message of class `cls` in a decoded value.

    Raises:
        CodecError: an unknown, missing or ill-typed field, named by its path.
    """
    try:
        return _from_map(cls, value, None)
    except CodecError:
        return _from_map(cls, value, kind_of(cls))


def altered(msg: T, **changes: Any) -> T:
    """The message with other values in these fields, as `dataclasses.replace` at a third of its price."""
    return kernel_reader(type(msg)).altered(msg, changes)


def _to_plain(value: Any) -> Any:
    cls = type(value)
    if cls in _FIELDS:
        return {name: _to_plain(getattr(value, name)) for name in _FIELDS[cls]}
    if cls is tuple or cls is list:
        return [_to_plain(item) for item in value]
    if cls is dict:
        return {key: _to_plain(item) for key, item in value.items()}
    return value


def to_value(msg: object) -> dict[str, Value]:
    """The plain map of a message, ready for the codec."""
    plain: dict[str, Value] = _to_plain(msg)
    return plain


def to_bytes(msg: object) -> bytes:
    """The canonical bytes of a message.

    Raises:
        CodecError: a field holds something without a canonical form.
    """
    return codec.written(msg, _FIELDS)


def from_bytes(cls: type[T], data: bytes, *, limit: int = codec.DEFAULT_LIMIT, items: int = codec.DEFAULT_ITEMS) -> T:
    """The message of class `cls` in canonical bytes.

    Raises:
        CodecError: not canonical, over a limit (of bytes or of items), or fields that do not fit.
    """
    if len(data) <= limit:
        found = kernel_reader(cls).read(bytes(data), codec.MAX_DEPTH, items)
        if found is not None:
            return found
    return from_value(cls, codec.decode(data, limit=limit, items=items))  # to say what is wrong
