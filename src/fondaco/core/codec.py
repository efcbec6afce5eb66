"""Canonical bytes: one value has one encoding, and nothing else decodes.

The form is DAG-CBOR (IPLD, "DAG-CBOR Specification") less floats and tags: null, booleans, 64-bit integers,
bytes, text, lists, and maps with text keys. A decoder of bytes from outside trusts nothing: size, depth and number of
items are bounded before anything is built, and the decoded value must encode to the very bytes that came in, so hashes
and signatures are never malleable. It leaks nothing.

The kernel checks the form in one pass and writes; libipld reads. Tests hold them against each other and against cbor2.
libipld cannot write here: it turns bytes that happen to parse as a CID into a link (ADR 0004).
"""

from __future__ import annotations

from typing import TypeAlias

import libipld

from fondaco import _kernel
from fondaco.errors import CodecError

Value: TypeAlias = "None | bool | int | bytes | str | list[Value] | dict[str, Value]"

MAX_DEPTH = 32
DEFAULT_LIMIT = 1 << 20
DEFAULT_ITEMS = 1 << 14  # an item costs far more than its byte: 64 KiB of empty maps took half a second
_REMEDY = "send the canonical encoding: DAG-CBOR without floats or tags"


def encode(value: Value) -> bytes:
    """The one encoding of `value`.

    Raises:
        CodecError: a float, a tuple, an integer over 64 signed bits, depth over 32, text with lone surrogates.
    """
    return written(value, None)


def written(value: object, messages: dict[type, tuple[str, ...]] | None) -> bytes:
    """As `encode`; with `messages` (a class and its fields in canonical order) of messages too, tuples being lists.

    Raises:
        CodecError: as `encode`.
    """
    try:
        return _kernel.encode_canonical(value, MAX_DEPTH, messages)
    except ValueError as fault:
        raise CodecError(str(fault), remedy=_REMEDY) from fault


def check(data: bytes, *, limit: int = DEFAULT_LIMIT, items: int = DEFAULT_ITEMS) -> None:
    """Raise as `decode` would, and build nothing."""
    if len(data) > limit:
        raise CodecError(f"{len(data)} bytes are more than the {limit} allowed here", remedy="send less at once")
    try:
        _kernel.check_canonical(bytes(data), MAX_DEPTH, items)
    except ValueError as fault:
        raise CodecError(f"bytes are not canonical ({fault})", remedy=_REMEDY) from fault


def decode(data: bytes, *, limit: int = DEFAULT_LIMIT, items: int = DEFAULT_ITEMS) -> Value:
    """The value of canonical `data`.

    Args:
        data: bytes from anywhere.
        limit: refuse more bytes than this before reading any.
        items: refuse more members of lists and maps in all (a pair counts as two) before building any.

    Raises:
        CodecError: over a limit, not canonical, trailing bytes, floats, tags, depth over 32.
    """
    check(data, limit=limit, items=items)
    try:
        value: Value = libipld.decode_dag_cbor(bytes(data))
    except (ValueError, TypeError) as fault:
        raise CodecError(f"bytes are not canonical ({fault})", remedy=_REMEDY) from fault
    return value
