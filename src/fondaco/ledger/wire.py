"""The few protobuf shapes whose hashes are consensus, written by hand, zero values left out (proto3).

Field numbers are those that CometBFT v0.38 publishes in proto/tendermint/types. Writing only: nothing here reads
bytes from outside. It trusts its callers with the ranges of numbers; it leaks nothing.
"""

from __future__ import annotations


def varint(number: int) -> bytes:
    """Base-128 varint; negative numbers as 64-bit two's complement."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field_varint(number: int, value: int) -> bytes:
    """A varint field; nothing for zero."""
    return varint(number << 3) + varint(value) if value else b""


def field_bytes(number: int, value: bytes) -> bytes:
    """A length-delimited field; nothing when empty."""
    return field_message(number, value) if value else b""


def field_message(number: int, value: bytes) -> bytes:
    """A length-delimited field that is there even when empty (a non-nullable message)."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def field_sfixed64(number: int, value: int) -> bytes:
    """A 64-bit little-endian field; nothing for zero."""
    return varint(number << 3 | 1) + value.to_bytes(8, "little", signed=True) if value else b""


def timestamp(nanoseconds: int) -> bytes:
    """google.protobuf.Timestamp of unix nanoseconds."""
    seconds, nanos = divmod(nanoseconds, 1_000_000_000)
    return field_varint(1, seconds) + field_varint(2, nanos)


def delimited(message: bytes) -> bytes:
    """A message with its length before it."""
    return varint(len(message)) + message
