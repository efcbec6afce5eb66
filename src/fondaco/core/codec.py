"""Canonical bytes: one value has one encoding, and nothing else decodes.

The form is DAG-CBOR (IPLD, "DAG-CBOR Specification") less floats and tags: null, booleans, 64-bit integers,
bytes, text, lists, and maps with text keys. A decoder of bytes from outside trusts nothing: size, depth and number of
items are bounded before anything is built, and the decoded value must encode to the very bytes that came in, so hashes
and signatures are never malleable. It leaks nothing.

The kernel checks the form in one pass, libipld reads, cbor2 writes; tests hold the three against each other. libipld
cannot write here: it turns bytes that happen to parse as a CID into a link (ADR 0004).
"""

from __future__ import annotations

from typing import TypeAlias

import cbor2
import libipld

from fondaco import _kernel
from fondaco.errors import CodecError

Value: TypeAlias = "None | bool | int | bytes | str | list[Value] | dict[str, Value]"

MAX_DEPTH = 32
DEFAULT_LIMIT = 1 << 20
DEFAULT_ITEMS = 1 << 14  # an item costs far more than its byte: 64 KiB of empty maps took half a second
_INT_MIN = -(1 << 63)
_INT_MAX = (1 << 63) - 1
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
    try:
        _kernel.check_canonical(data, MAX_DEPTH, items)
        value: Value = libipld.decode_dag_cbor(data)
    except (ValueError, TypeError) as fault:
        raise CodecError(f"bytes are not canonical ({fault})", remedy=_REMEDY) from fault
    return value
