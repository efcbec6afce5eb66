"""What receipts are derived from: proven events, transactions and records, read as plain maps and believed as proven.

The caller verifies signatures, inclusion and state first; a thing that does not fit raises ProofError.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import TypeVar

from fondaco.core.codec import Value, decode
from fondaco.errors import CodecError
from fondaco.ledger.audit.format import refuse
from fondaco.ledger.light import MAX_SIZE
from fondaco.ledger.transactions import Transaction

T = TypeVar("T")
MAX_INDEX = 1 << 32
CHECK = "receipt-link"
SUBJECTS = ("task", "grant", "request", "escrow", "into")
_FIELDS = ("attributes", "contract", "height", "index", "kind", "tx")


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """An event of the log: its number, its place (height, index of the transaction), and what it says."""

    number: int
    height: int
    index: int
    tx: bytes
    kind: str
    attributes: dict[str, Value]

    def text(self, name: str) -> str:
        """An attribute that is text."""
        return typed(self.attributes, name, str)

    def number_of(self, name: str) -> int:
        """An attribute that is a number."""
        return typed(self.attributes, name, int)

    def raw(self, name: str) -> bytes:
        """An attribute that is bytes."""
        return typed(self.attributes, name, bytes)


def typed(values: Mapping[str, Value], name: str, kind: type[T]) -> T:
    """A value of a map that must be there and of its type."""
    found = values.get(name)
    if type(found) is not kind:
        raise refuse(CHECK, f"{name} is not there, or not of its type")
    return found


def entry(number: int, leaf: bytes) -> Entry:
    """Read a log entry.

    Raises:
        ProofError: check `event-source`: not one that the application writes.
    """
    try:
        decoded = decode(leaf)
    except CodecError as fault:
        raise refuse("event-source", f"event {number} is not canonical: {fault.cause}") from fault
    match decoded if isinstance(decoded, dict) and len(decoded) == len(_FIELDS) else None:
        case {
            "attributes": dict(attributes),
            "contract": str(contract),
            "height": int(height),
            "index": int(index),
            "kind": str(kind),
            "tx": bytes(tx),
        }:
            if not 0 <= height < MAX_SIZE or not 0 <= index < MAX_INDEX:
                raise refuse("event-source", f"event {number} is of a place that cannot be")
            return Entry(number, height, index, tx, f"{contract}.{kind}", attributes)
    raise refuse("event-source", f"event {number} is not of the application's form")


class Evidence:
    """What was proven: events in order, transactions by hash, state by key (absent keys have None)."""

    def __init__(
        self,
        events: Iterable[Entry],
        transactions: Mapping[bytes, Transaction],
        states: Mapping[bytes, bytes | None],
    ) -> None:
        self.events = tuple(events)
        self.transactions = transactions
        self.states = states
        self._by_subject: dict[tuple[str, Value], list[Entry]] = {}
        for event in self.events:
            for name in SUBJECTS:
                subject = event.attributes.get(name)
                if isinstance(subject, bytes):
                    self._by_subject.setdefault((name, subject), []).append(event)

    def about(self, subject: str, value: bytes, *kinds: str) -> list[Entry]:
        """Events of these kinds about a task, grant, request or escrow, in order; all kinds when none is named."""
        return [event for event in self._by_subject.get((subject, value), ()) if not kinds or event.kind in kinds]

    def only(self, subject: str, value: bytes, kind: str) -> Entry:
        """The one event of this kind about the subject."""
        found = self.about(subject, value, kind)
        if len(found) != 1:
            raise refuse(CHECK, f"there are {len(found)} events {kind}, where one must be")
        return found[0]

    def author(self, event: Entry) -> bytes:
        """The key that signed the transaction of an event."""
        return self.transaction(event).signers[0]

    def transaction(self, event: Entry) -> Transaction:
        """The transaction that made an event."""
        found = self.transactions.get(event.tx)
        if found is None:
            raise refuse(CHECK, f"the transaction of event {event.number} is not in the bundle")
        return found

    def record(self, key: bytes) -> dict[str, Value]:
        """The proven record at a state key."""
        data = self.states.get(key)
        decoded = None if data is None else decode(data)
        if not isinstance(decoded, dict):
            raise refuse(CHECK, "a record that a receipt needs is not proven", key=key)
        return decoded


def same(what: str, *pairs: tuple[object, object]) -> None:
    """Refuse unless both of each pair are equal."""
    if any(left != right for left, right in pairs):
        raise refuse(CHECK, f"{what} do not agree")


def after(what: str, *places: int | None) -> None:
    """Refuse unless events stand in this order in the log; None: it has not happened."""
    known = [number for number in places if number is not None]
    if any(late <= early for early, late in itertools.pairwise(known)):
        raise refuse(CHECK, f"{what} are not in their order")


def numbers(events: list[Entry]) -> tuple[int, ...]:
    """The places of events in the log."""
    return tuple(event.number for event in events)


def last(events: list[Entry]) -> int | None:
    """The place of what happened once, or None."""
    if len(events) > 1:
        raise refuse(CHECK, f"{events[0].kind} happened twice")
    return events[0].number if events else None
