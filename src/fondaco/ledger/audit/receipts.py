"""Receipts: who asked, who allowed, what ran, what came out, who was paid; derived from proven events and state.

The exporter and the verifier derive them with this same code, so a receipt in a bundle is right or is refused. It
reads events and records as plain maps and believes only what was proven to it: the caller verifies signatures,
inclusion and state first. It leaks nothing that the bundle does not hold.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Mapping
from typing import TypeVar

from fondaco.core.codec import Value, decode
from fondaco.errors import CodecError
from fondaco.ledger.audit.format import GrantReceipt, Receipt, refuse
from fondaco.ledger.contracts.grants import keys as grant_keys
from fondaco.ledger.contracts.identity import keys as identity_keys
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.points import keys as point_keys
from fondaco.ledger.contracts.tasks import keys as task_keys
from fondaco.ledger.transactions import Transaction

T = TypeVar("T")
CHECK = "receipt-link"
MAX_ITEMS = 16
_ENDED = ("settled", "abandoned", "expired")
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
        return _typed(self.attributes, name, str)

    def number_of(self, name: str) -> int:
        """An attribute that is a number."""
        return _typed(self.attributes, name, int)

    def raw(self, name: str) -> bytes:
        """An attribute that is bytes."""
        return _typed(self.attributes, name, bytes)


def _typed(values: Mapping[str, Value], name: str, kind: type[T]) -> T:
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
            for name in ("task", "grant", "request", "escrow"):
                subject = event.attributes.get(name)
                if isinstance(subject, bytes):
                    self._by_subject.setdefault((name, subject), []).append(event)

    def about(self, subject: str, value: bytes, *kinds: str) -> list[Entry]:
        """Events of these kinds about a task, grant, request or escrow, in order."""
        return [event for event in self._by_subject.get((subject, value), ()) if event.kind in kinds]

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


def _same(what: str, *pairs: tuple[object, object]) -> None:
    if any(left != right for left, right in pairs):
        raise refuse(CHECK, f"{what} do not agree")


def _after(what: str, *numbers: int | None) -> None:
    known = [number for number in numbers if number is not None]
    if any(late <= early for early, late in itertools.pairwise(known)):
        raise refuse(CHECK, f"{what} are not in their order")


def _numbers(events: list[Entry]) -> tuple[int, ...]:
    return tuple(event.number for event in events)


def _last(events: list[Entry]) -> int | None:
    if len(events) > 1:
        raise refuse(CHECK, f"{events[0].kind} happened twice")
    return events[0].number if events else None


def state_keys(evidence: Evidence, exporter: bytes) -> tuple[bytes, ...]:
    """The keys whose values, or whose absence, a bundle with these events must prove, sorted."""
    wanted = {identity_keys.node(exporter): None, point_keys.SUPPLY: None}
    for event in evidence.events:
        if event.kind == "grants.granted":
            grant, request = event.raw("grant"), event.raw("request")
            for where in (grant_keys.grant(grant), grant_keys.request(request), point_keys.escrow(grant)):
                wanted[where] = None
            for party in (event.text("provider"), event.text("holder")):
                wanted[point_keys.balance(party)] = None
            for reviewed in evidence.about("request", request, "grants.reviewed"):
                wanted[identity_keys.user(reviewed.raw("reviewer"))] = None
        elif event.kind == "tasks.proposed":
            wanted[task_keys.task(event.raw("task"))] = None
            wanted[task_keys.opened(event.height, event.raw("task"))] = None
            wanted[identity_keys.user(event.raw("holder"))] = None
            wanted[point_keys.balance(event.text("coordinator"))] = None
    return tuple(sorted(wanted))


def grants(evidence: Evidence) -> tuple[GrantReceipt, ...]:
    """A receipt for each grant that was issued, in order of issue.

    Raises:
        ProofError: check `receipt-link`.
    """
    return tuple(_grant(evidence, event) for event in evidence.events if event.kind == "grants.granted")


def _grant(evidence: Evidence, granted: Entry) -> GrantReceipt:
    grant, request = granted.raw("grant"), granted.raw("request")
    requested = evidence.only("request", request, "grants.requested")
    _same("request and transaction", (request, derive("request", requested.tx)))
    item = next((n for n in range(MAX_ITEMS) if derive("grant", request, n.to_bytes(4, "big")) == grant), None)
    if item is None:
        raise refuse(CHECK, "a grant is not that of its request")
    _same("request and signer", (evidence.author(requested), requested.raw("holder")))
    _same("request and grant", (requested.text("organisation"), granted.text("holder")))
    reviewed = _approval(evidence, granted, item)
    used = evidence.about("grant", grant, "grants.used")
    returned = evidence.about("grant", grant, "grants.use-returned")
    ended = _last(evidence.about("grant", grant, "grants.revoked", "grants.expired"))
    for first, *later in ([granted, *used], [granted, *returned]):
        _after("a grant and its uses", first.number, *_numbers(later))
    record = evidence.record(grant_keys.grant(grant))
    total, left = _typed(record, "uses_total", int), _typed(record, "uses_left", int)
    back = [event for event in returned if ended is None or event.number < ended]
    _same("uses and record", (left, total - len(used) + len(back)), (granted.number_of("uses"), total))
    _same(
        "grant and record",
        (record.get("request"), request),
        (record.get("holder"), granted.text("holder")),
        (record.get("holder_key"), requested.raw("holder")),
        *((record.get(name), granted.attributes.get(name)) for name in ("provider", "path", "version", "purpose")),
        (record.get("basis"), granted.text("basis")),
        (record.get("status") in ("revoked", "expired"), ended is not None),
    )
    locked = evidence.only("escrow", grant, "points.escrowed").number_of("amount")
    paid = evidence.about("escrow", grant, "points.paid")
    refunded = evidence.about("escrow", grant, "points.refunded")
    spent, given = (sum(event.number_of("amount") for event in events) for events in (paid, refunded))
    held = _typed(evidence.record(point_keys.escrow(grant)), "amount", int)
    _same("escrow, payments and refunds", (locked - spent - given, held))
    return GrantReceipt(
        grant=grant,
        request=request,
        item=item,
        holder=granted.text("holder"),
        holder_key=requested.raw("holder"),
        provider=granted.text("provider"),
        path=granted.text("path"),
        version=granted.number_of("version"),
        purpose=granted.text("purpose"),
        basis=granted.text("basis"),
        reviewer=None if reviewed is None else reviewed.raw("reviewer"),
        requested=requested.number,
        reviewed=None if reviewed is None else reviewed.number,
        granted=granted.number,
        used=_numbers(used),
        returned=_numbers(returned),
        ended=ended,
        payments=tuple(sorted(_numbers(paid) + _numbers(refunded))),
        status=_typed(record, "status", str),
        uses_total=total,
        uses_left=left,
        price=_typed(record, "price", int),
        paid=spent,
        refunded=given,
        escrow=held,
    )


def _approval(evidence: Evidence, granted: Entry, item: int) -> Entry | None:
    """The review that granted, signed by the provider's reviewer; None where a default permission did."""
    answers = [
        event
        for event in evidence.about("request", granted.raw("request"), "grants.reviewed")
        if event.number_of("item") == item
    ]
    if granted.text("basis") != "review":
        if answers or granted.tx != evidence.only("request", granted.raw("request"), "grants.requested").tx:
            raise refuse(CHECK, "a grant by default permission was reviewed")
        return None
    if len(answers) != 1:
        raise refuse(CHECK, "a reviewed grant has not one review")
    reviewed = answers[0]
    reviewer = evidence.record(identity_keys.user(reviewed.raw("reviewer")))
    _same(
        "review and grant",
        (reviewed.tx, granted.tx),
        (reviewed.number_of("approve"), 1),
        (reviewed.text("provider"), granted.text("provider")),
        (evidence.author(reviewed), reviewed.raw("reviewer")),
        (reviewer.get("organisation"), granted.text("provider")),
    )
    return reviewed


def tasks(evidence: Evidence, by_grant: Mapping[bytes, GrantReceipt]) -> tuple[Receipt, ...]:
    """A receipt for each task that was proposed, in order.

    Raises:
        ProofError: check `receipt-link`.
    """
    return tuple(_task(evidence, event, by_grant) for event in evidence.events if event.kind == "tasks.proposed")


def _task(evidence: Evidence, proposed: Entry, by_grant: Mapping[bytes, GrantReceipt]) -> Receipt:
    task = proposed.raw("task")
    made = evidence.transaction(proposed)
    payload = made.body.payload if isinstance(made.body.payload, dict) else {}
    workflow = hashlib.sha256(_typed(payload, "workflow", bytes)).digest()
    _same(
        "task and transaction",
        (task, derive("task", proposed.tx)),
        (workflow, proposed.raw("workflow")),
        (evidence.author(proposed), proposed.raw("holder")),
    )
    relied = evidence.about("task", task, "tasks.relies-on")
    running = evidence.about("task", task, "tasks.running")
    reported = evidence.about("task", task, "tasks.reported")
    finished = evidence.about("task", task, "tasks.finished")
    settled = _last(evidence.about("task", task, "tasks.settled"))
    ended = _last(evidence.about("task", task, "tasks.abandoned", "tasks.expired"))
    certificates = evidence.about("task", task, "tasks.certificate")
    for event in relied:
        _check_use(evidence, proposed, event, by_grant, started=bool(running))
    record = evidence.record(task_keys.task(task))
    status = _typed(record, "status", str)
    result = _check_result(task, finished, reported)
    _after(
        "proposal, attempts, finish and settlement",
        proposed.number,
        *_numbers(running),
        _last(finished),
        settled,
    )
    _same(
        "task and record",
        (record.get("workflow_hash"), workflow),
        (record.get("initiator"), proposed.text("initiator")),
        (record.get("initiator_key"), proposed.raw("holder")),
        (record.get("coordinator"), proposed.text("coordinator")),
        (record.get("purpose"), proposed.text("purpose")),
        (record.get("attempt"), len(running)),
        (record.get("result") or b"", result),
        (status == "settled", settled is not None),
        (status in ("abandoned", "expired"), ended is not None),
        (evidence.states.get(task_keys.opened(proposed.height, task)) is None, status in _ENDED),
    )
    if settled is not None:
        _check_settled(evidence, relied, certificates, by_grant)
    return Receipt(
        task=task,
        initiator=proposed.text("initiator"),
        initiator_key=proposed.raw("holder"),
        coordinator=proposed.text("coordinator"),
        purpose=proposed.text("purpose"),
        workflow=workflow,
        requests=tuple(dict.fromkeys(by_grant[event.raw("grant")].request for event in relied)),
        grants=tuple(event.raw("grant") for event in relied),
        proposed=proposed.number,
        accepted=_numbers(evidence.about("task", task, "tasks.accepted")),
        running=_numbers(running),
        reported=_numbers(reported),
        failed=_numbers(evidence.about("task", task, "tasks.failed")),
        finished=_last(finished),
        result=result,
        certificates=_numbers(certificates),
        settled=settled,
        ended=ended,
        status=status,
    )


def _check_use(
    evidence: Evidence,
    proposed: Entry,
    relied: Entry,
    by_grant: Mapping[bytes, GrantReceipt],
    *,
    started: bool,
) -> None:
    """A grant that a task relies on is the proposer's, for the task's purpose, issued before, and used once."""
    found = by_grant.get(relied.raw("grant"))
    if found is None:
        raise refuse(CHECK, "a task relies on a grant that is not in the bundle")
    _same(
        "task and grant",
        (relied.tx, proposed.tx),
        (found.holder_key, proposed.raw("holder")),
        (found.purpose, proposed.text("purpose")),
    )
    _after("grant and task", found.granted, proposed.number)
    uses = [e for e in evidence.about("task", proposed.raw("task"), "grants.used") if e.raw("grant") == found.grant]
    if len(uses) != int(started):
        raise refuse(CHECK, "a task that ran has not used each of its grants once")


def _check_result(task: bytes, finished: list[Entry], reported: list[Entry]) -> bytes:
    """The result is the hash over what the members reported in the attempt that finished."""
    if not finished:
        return b""
    done = finished[0]
    attempt = done.number_of("attempt")
    parts = sorted(
        (event.text("step").encode() + b"/" + event.text("party").encode(), event.number, event)
        for event in reported
        if event.number_of("attempt") == attempt
    )
    flat = [
        part for _key, _n, e in parts for part in (e.text("step").encode(), e.text("party").encode(), e.raw("outcome"))
    ]
    _same("reports and result", (done.raw("result"), derive("result", task, attempt.to_bytes(2, "big"), *flat)))
    return done.raw("result")


def _check_settled(
    evidence: Evidence, relied: list[Entry], certificates: list[Entry], by_grant: Mapping[bytes, GrantReceipt]
) -> None:
    """Each grant of a settled task has a certificate whose cost was paid out of its escrow, to provider and fee."""
    _same("grants and certificates", ([e.raw("grant") for e in relied], [e.raw("grant") for e in certificates]))
    for event in certificates:
        found = by_grant[event.raw("grant")]
        paid = [e for e in evidence.about("escrow", found.grant, "points.paid") if e.tx == event.tx]
        cost, fee = event.number_of("cost"), event.number_of("fee")
        _same(
            "certificate and payments",
            (cost, found.price),
            ([e.number_of("amount") for e in paid], [cost - fee, fee]),
            (event.text("provider"), found.provider),
        )
