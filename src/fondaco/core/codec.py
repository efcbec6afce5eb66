"""Canonical bytes: one value has one encoding, and nothing else decodes.

The form is DAG-CBOR (IPLD, "DAG-CBOR Specification") less floats and tags: null, booleans, 64-bit integers,
bytes, text, lists, and maps with text keys. A decoder of bytes from outside trusts nothing: size, depth and number of
items are bounded before anything is built, and the decoded value must encode to the very bytes that came in, so hashes
and signatures are never malleable. It leaks nothing.

Two libraries check each other: libipld reads, cbor2 writes. libipld cannot write here: it turns bytes that happen to
parse as a CID into a link (ADR 0004).
"""

from __future__ import annotations

from typing import TypeAlias

import cbor2
import libipld

from fondaco.errors import CodecError

Value: TypeAlias = "None | bool | int | bytes | str | list[Value] | dict[str, Value]"

MAX_DEPTH = 32
DEFAULT_LIMIT = 1 << 20
DEFAULT_ITEMS = 1 << 14  # an item costs far more than its byte: 64 KiB of empty maps took half a second
_INT_MIN = -(1 << 63)
_INT_MAX = (1 << 63) - 1
_ITEMS = frozenset({4, 5, 6})
_INDEFINITE = 31
_REMEDY = "send the canonical encoding: DAG-CBOR without floats or tags"


def _check(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise CodecError(f"value is nested deeper than {MAX_DEPTH}", remedy=_REMEDY)
    kind = type(value)
    if kind is int:
        if not _INT_MIN <= value <= _INT_MAX:  # type: ignore[operator]
            raise CodecError("integer does not fit in 64 signed bits", remedy=_REMEDY)
    elif kind is dict:
        for key, item in value.items():  # type: ignore[attr-defined]
            if type(key) is not str:
                raise CodecError("map key is not text", remedy=_REMEDY)
            _check(item, depth + 1)
    elif kind is list:
        for item in value:  # type: ignore[attr-defined]
            _check(item, depth + 1)
    elif kind is not str and kind is not bytes and kind is not bool and value is not None:
        raise CodecError(f"a {kind.__name__} has no canonical form", remedy=_REMEDY)


def encode(value: Value) -> bytes:
    """The one encoding of `value`.

    Raises:
        CodecError: a float, a tuple, an integer over 64 signed bits, depth over 32, text with lone surrogates.
    """
    _check(value, 0)
    try:
        return cbor2.dumps(value, canonical=True)
    except (ValueError, cbor2.CBOREncodeError) as fault:
        raise CodecError(f"value has no canonical form ({fault})", remedy=_REMEDY) from fault


def _bounded(data: bytes, most: int) -> None:
    """Walk the item heads alone and refuse too many, or too deep, before anything is built or recursive runs."""
    position, size = 0, len(data)
    pending: list[int] = [1]
    while pending:
        if pending[-1] == 0:
            pending.pop()
            continue
        pending[-1] -= 1
        if position >= size:
            raise CodecError("bytes end in the middle of a value", remedy=_REMEDY)
        major, low = data[position] >> 5, data[position] & 31
        position += 1
        if low < 24:
            argument = low
        elif low <= 27:
            width = 1 << (low - 24)
            argument = int.from_bytes(data[position : position + width], "big")
            position += width
        else:
            raise CodecError("indefinite or reserved length", remedy=_REMEDY)
        if major in (2, 3):
            position += argument
        elif major in _ITEMS:
            if major == 6:
                raise CodecError("tags have no place in the canonical form", remedy=_REMEDY)
            items = argument * (major - 3)
            most -= items
            if most < 0:
                raise CodecError("more items than are allowed here", remedy="send less at once")
            if items > size - position:
                raise CodecError("more items announced than bytes are left", remedy=_REMEDY)
            if len(pending) > MAX_DEPTH:
                raise CodecError(f"value is nested deeper than {MAX_DEPTH}", remedy=_REMEDY)
            pending.append(items)


def decode(data: bytes, *, limit: int = DEFAULT_LIMIT, items: int = DEFAULT_ITEMS) -> Value:
    """The value of canonical `data`.

    Args:
        data: bytes from anywhere.
        limit: refuse more bytes than this before reading any.
        items: refuse more members of lists and maps in all (a pair counts as two) before building any.

    Raises:
        CodecError: over a limit, not canonical, trailing bytes, floats, tags, depth over 32.
    """
    if len(data) > limit:
        raise CodecError(f"{len(data)} bytes are more than the {limit} allowed here", remedy="send less at once")
    data = bytes(data)
    _bounded(data, items)
    try:
        value: Value = libipld.decode_dag_cbor(data)
    except (ValueError, TypeError) as fault:
        raise CodecError(f"bytes are not canonical ({fault})", remedy=_REMEDY) from fault
    if encode(value) != data:
        raise CodecError("bytes are not the canonical encoding of their value", remedy=_REMEDY)
    return value
