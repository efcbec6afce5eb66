"""The queue of work that falls due at the end of a block: by height, or by the block's time.

A contract puts a subject into it and offers a function for its subjects; the registry calls that function once, at the
end of the first block that is not before the height or time. Finding what is due costs as much as there is due, not
as much as waits. Expects nothing of other contracts. Invariant: what is in the queue is done once, or taken out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from fondaco.ledger.contracts.kit import is_amount
from fondaco.ledger.state import ReadStore, Store

HEIGHTS = b"due/height/"
TIMES = b"due/time/"
MAX_AT_ONCE = 1000  # what is more than this many waits for the next block, so that a block's work is bounded
_END = bytes((0xFF,)) * 9


@dataclasses.dataclass(frozen=True, slots=True)
class Due:
    """An entry of the queue: its state key, the contract whose work it is, and what it is about."""

    key: bytes
    contract: str
    subject: bytes


def _key(prefix: bytes, when: int, contract: str, subject: bytes) -> bytes:
    if not is_amount(when):
        raise ValueError("a height or a time is a number of up to 62 bits")
    return prefix + when.to_bytes(8, "big") + contract.encode() + b"/" + subject


def at_height(store: Store, height: int, contract: str, subject: bytes) -> None:
    """Do a contract's work on `subject` at the end of block `height`, or of the next one if that has been."""
    store.set(_key(HEIGHTS, height, contract, subject), b"\x01")


def at_time(store: Store, time: int, contract: str, subject: bytes) -> None:
    """Do a contract's work on `subject` at the end of the first block whose time (unix seconds) is not before."""
    store.set(_key(TIMES, time, contract, subject), b"\x01")


def not_at_height(store: Store, height: int, contract: str, subject: bytes) -> None:
    """Take back what `at_height` put."""
    store.delete(_key(HEIGHTS, height, contract, subject))


def not_at_time(store: Store, time: int, contract: str, subject: bytes) -> None:
    """Take back what `at_time` put."""
    store.delete(_key(TIMES, time, contract, subject))


def _until(store: ReadStore, prefix: bytes, when: int) -> Iterator[Due]:
    for key, _value in store.span(prefix, prefix + (when + 1).to_bytes(8, "big")):
        contract, _slash, subject = key[len(prefix) + 8 :].partition(b"/")
        yield Due(key, contract.decode(), subject)


def due(store: ReadStore, height: int, time: int) -> tuple[Due, ...]:
    """What is due at the end of a block: by height, then by time, each in order of key; at most MAX_AT_ONCE."""
    found = [*_until(store, HEIGHTS, height), *_until(store, TIMES, time)]
    return tuple(found[:MAX_AT_ONCE])


def waiting(store: ReadStore) -> tuple[int | None, int | None]:
    """The next height and the next time (unix seconds) at which something falls due; None: nothing waits."""
    found: list[int | None] = []
    for prefix in (HEIGHTS, TIMES):
        first = next(store.span(prefix, prefix + _END), None)
        found.append(None if first is None else int.from_bytes(first[0][len(prefix) : len(prefix) + 8], "big"))
    return found[0], found[1]
