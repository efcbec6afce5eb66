"""What an event is about: institutions, datasets, keys, task, purpose.

Derived from the event, its transaction, and what earlier or later events say of its subjects, by this one code for
the index and for the verifier of its answers.

Believes what it is given: who calls it with proven events and transactions gets proven dimensions. `visible` is the
one place that decides what a viewer is shown; it bounds what a node's verbs say, and keeps nothing from a member who
reads its own copy of the chain.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Protocol

from fondaco.core.codec import Value
from fondaco.errors import LedgerError
from fondaco.ledger.audit.evidence import Entry
from fondaco.ledger.contracts.settlement import keys as settlement_keys
from fondaco.ledger.transactions import BadTransaction, Transaction

INSTITUTION, DATASET, KEY, TASK, PURPOSE = "institution", "dataset", "key", "task", "purpose"
PUBLIC_CONTRACTS = ("catalog", "governance", "identity", "ledger")
PUBLIC_KINDS = (
    "disputes.rules",
    "market.demand-expired",
    "market.demand-met",
    "market.demand-withdrawn",
    "market.demanded",
    "market.offer-expired",
    "market.offer-taken",
    "market.offer-withdrawn",
    "market.offered",
    "points.minted",
    "settlement.fund-spent",
    "settlement.shares",
)
_REQUEST = "of-request"  # a grant's request: a link, and no dimension that a person asks for
_ONE = (TASK, DATASET, PURPOSE)  # what an event says itself goes before what its subjects say
_NAMES = (
    "arbiter",
    "by",
    "coordinator",
    "holder",
    "initiator",
    "opener",
    "organisation",
    "owner",
    "party",
    "payer",
    "provider",
    "source",
    "target",
)
_LISTS = ("members", "organisations", "parties", "receivers")
_KEYS = ("holder", "key", "node", "replaces", "reviewer")
_SUBJECTS = ("task", "grant", "escrow", "into", "demand", "offer", "deal", "proposal")
_FIRST = {  # the event that tells of a subject, and whose transaction says more of it
    "governance.proposed": "proposal",
    "grants.requested": "request",
    "market.dealt": "deal",
    "market.demanded": "demand",
    "market.offered": "offer",
    "tasks.proposed": "task",
}
_KEY_BYTES = 32
Mark = tuple[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """That a subject (the id of a task, grant, request, …) has a dimension; `sources` are the events that say so."""

    subject: bytes
    dimension: str
    value: str
    sources: tuple[int, ...]


class Facts(Protocol):
    """Where facts are kept."""

    def of(self, subject: bytes) -> list[Fact]:
        """All facts of a subject."""

    def put(self, fact: Fact) -> None:
        """Keep one; the first of a subject, dimension and value stays."""


class KnownFacts:
    """Facts in memory."""

    def __init__(self) -> None:
        self._found: dict[bytes, dict[Mark, Fact]] = {}

    def of(self, subject: bytes) -> list[Fact]:
        """All facts of a subject."""
        return list(self._found.get(subject, {}).values())

    def put(self, fact: Fact) -> None:
        """Keep one; the first of a subject, dimension and value stays."""
        self._found.setdefault(fact.subject, {}).setdefault((fact.dimension, fact.value), fact)


@dataclasses.dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks: an institution, as a member or as a regulator."""

    organisation: str
    regulator: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which events are asked for; None is any, and what is given must hold together.

    `dataset` is a path, or `path@version`; `kind` a kind as `grants.used`, or a contract; heights and times (Unix, in
    nanoseconds, of the block) are inclusive.
    """

    institution: str | None = None
    dataset: str | None = None
    key: bytes | None = None
    task: bytes | None = None
    purpose: str | None = None
    kind: str | None = None
    since_height: int | None = None
    until_height: int | None = None
    since_time: int | None = None
    until_time: int | None = None

    def marks(self) -> tuple[Mark, ...]:
        """The dimensions that an event must have."""
        asked = (
            (INSTITUTION, self.institution),
            (DATASET, self.dataset),
            (KEY, None if self.key is None else self.key.hex()),
            (TASK, None if self.task is None else self.task.hex()),
            (PURPOSE, self.purpose),
        )
        return tuple((dimension, value) for dimension, value in asked if value is not None)

    def matches(self, event: Entry, time: int, marks: frozenset[Mark]) -> bool:
        """Whether an event of a block of this time, with these dimensions, is asked for."""
        return (
            marks.issuperset(self.marks())
            and (self.kind is None or self.kind in (event.kind, event.kind.split(".", 1)[0]))
            and _within(event.height, self.since_height, self.until_height)
            and _within(time, self.since_time, self.until_time)
        )


def _within(number: int, least: int | None, most: int | None) -> bool:
    return (least is None or least <= number) and (most is None or number <= most)


def visible(viewer: Viewer, event: Entry, marks: frozenset[Mark]) -> bool:
    """The rule: a regulator is shown all; a member what is public by its kind, and what it is a party of."""
    return (
        viewer.regulator
        or event.kind.split(".", 1)[0] in PUBLIC_CONTRACTS
        or event.kind in PUBLIC_KINDS
        or (INSTITUTION, viewer.organisation) in marks
    )


def subjects(event: Entry) -> tuple[bytes, ...]:
    """The ids that an event is about; a request only where no one grant of it is named."""
    names = _SUBJECTS if "grant" in event.attributes else (*_SUBJECTS, "request")
    found = (event.attributes.get(name) for name in names)
    return tuple(dict.fromkeys(value for value in found if isinstance(value, bytes)))


def own_marks(event: Entry, tx: Transaction | None) -> frozenset[Mark]:
    """What an event says itself, and who signed its transaction."""
    signers = () if tx is None else tx.signers
    return frozenset(_marks(event.attributes)) | {(KEY, signer.hex()) for signer in signers}


def marks_of(event: Entry, tx: Transaction | None, facts: Facts) -> frozenset[Mark]:
    """All dimensions of an event: its own, and those of its subjects where it says nothing itself."""
    own = own_marks(event, tx)
    said = {dimension for dimension, _value in own if dimension in _ONE}
    inherited = (
        (fact.dimension, fact.value)
        for subject in subjects(event)
        for fact in facts.of(subject)
        if fact.dimension != _REQUEST and fact.dimension not in said
    )
    return own | frozenset(inherited)


def learn(event: Entry, tx: Transaction | None, facts: Facts) -> None:
    """Put what an event tells of its subjects; events are to come in the log's order."""
    here = (event.number,)
    own = frozenset(_marks(event.attributes))
    if (name := _FIRST.get(event.kind)) is not None:
        subject = event.raw(name)
        for dimension, value in sorted(own | (frozenset() if tx is None else frozenset(_marks(_payload(tx))))):
            facts.put(Fact(subject, dimension, value, here))
            if name == "task":
                facts.put(Fact(settlement_keys.escrow(subject), dimension, value, here))
    if event.kind == "tasks.proposed":
        task = event.raw("task")
        facts.put(Fact(settlement_keys.escrow(task), TASK, task.hex(), here))
    elif event.kind == "grants.granted":
        grant, request = event.raw("grant"), event.raw("request")
        facts.put(Fact(grant, _REQUEST, request.hex(), here))
        for dimension, value in sorted(own):
            facts.put(Fact(grant, dimension, value, here))
            facts.put(Fact(request, dimension, value, here))
        for fact in facts.of(request):
            if fact.dimension == KEY:
                facts.put(Fact(grant, KEY, fact.value, tuple(sorted({*fact.sources, *here}))))
    elif event.kind == "tasks.relies-on":
        grant, task = event.raw("grant"), event.raw("task")
        facts.put(Fact(grant, TASK, task.hex(), here))
        for fact in facts.of(grant):
            if fact.dimension == _REQUEST:
                where = bytes.fromhex(fact.value)
                facts.put(Fact(where, TASK, task.hex(), tuple(sorted({*fact.sources, *here}))))


def _payload(tx: Transaction) -> Value:
    try:
        return tx.payload()
    except BadTransaction as fault:
        raise LedgerError(fault.cause, remedy="restore the ledger folder: what was executed was canonical") from fault


def _marks(value: Value) -> Iterator[Mark]:
    """The dimensions that the fields of a message or an event name, at any depth."""
    if isinstance(value, list):
        for item in value:
            yield from _marks(item)
    elif isinstance(value, dict):
        path, version = value.get("path"), value.get("version")
        if isinstance(path, str):
            yield DATASET, path
            if isinstance(version, int):
                yield DATASET, f"{path}@{version}"
        for name, item in value.items():
            yield from _field(name, item)


def _field(name: str, value: Value) -> Iterator[Mark]:
    match value:
        case str() if value and name in _NAMES:
            yield INSTITUTION, value
        case str() if value and name == "purpose":
            yield PURPOSE, value
        case bytes() if name == "task":
            yield TASK, value.hex()
        case bytes() if name in _KEYS and len(value) == _KEY_BYTES:
            yield KEY, value.hex()
        case list() if name in _LISTS:
            yield from ((INSTITUTION, item) for item in value if isinstance(item, str) and item)
        case list() if name == "purposes":
            yield from ((PURPOSE, item) for item in value if isinstance(item, str) and item)
    if isinstance(value, dict | list):
        yield from _marks(value)
