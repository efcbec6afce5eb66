"""Receipts: who asked, who allowed, what ran, what came out, who was paid; derived from proven events and state.

The exporter and the verifier derive them with this same code, so a receipt in a bundle is right or is refused. It
reads events and records as plain maps and believes only what was proven to it: the caller verifies signatures,
inclusion and state first. It leaks nothing that the bundle does not hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from fondaco.core.codec import decode
from fondaco.ledger.audit.evidence import CHECK, Entry, Evidence, after, entry, last, numbers, same, typed
from fondaco.ledger.audit.format import GrantReceipt, Receipt, refuse
from fondaco.ledger.audit.settlements import certificates, dispute, settlement, settlement_state_keys
from fondaco.ledger.contracts.grants import keys as grant_keys
from fondaco.ledger.contracts.identity import keys as identity_keys
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.points import keys as point_keys
from fondaco.ledger.contracts.tasks import keys as task_keys

__all__ = ["CHECK", "Entry", "Evidence", "active_node", "entry", "grants", "state_keys", "tasks"]
MAX_ITEMS = 16
MAX_ATTEMPT = 1 << 16
_ENDED = ("settled", "abandoned", "expired")


def active_node(key: bytes, value: bytes | None) -> str | None:
    """The organisation of a node that is active by its record; None if it is not.

    Raises:
        CodecError: the record is not canonical.
    """
    match None if value is None else decode(value):
        case {"key": bytes(known), "status": "active", "organisation": str(organisation)} if known == key:
            return organisation
    return None


def state_keys(evidence: Evidence, *nodes: bytes) -> tuple[bytes, ...]:
    """The keys whose values, or whose absence, a bundle with these events must prove, sorted.

    `nodes` are the keys of the exporter and of those that cosigned.
    """
    wanted = dict.fromkeys([point_keys.SUPPLY, *map(identity_keys.node, nodes)])
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
            wanted |= dict.fromkeys(settlement_state_keys(evidence, event.raw("task")))
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
    same("request and transaction", (request, derive("request", requested.tx)))
    item = next((n for n in range(MAX_ITEMS) if derive("grant", request, n.to_bytes(4, "big")) == grant), None)
    if item is None:
        raise refuse(CHECK, "a grant is not that of its request")
    same("request and signer", (evidence.author(requested), requested.raw("holder")))
    same("request and grant", (requested.text("organisation"), granted.text("holder")))
    reviewed = _approval(evidence, granted, item)
    used = evidence.about("grant", grant, "grants.used")
    returned = evidence.about("grant", grant, "grants.use-returned")
    ended = last(evidence.about("grant", grant, "grants.revoked", "grants.expired", "grants.returned"))
    for first, *later in ([granted, *used], [granted, *returned]):
        after("a grant and its uses", first.number, *numbers(later))
    record = evidence.record(grant_keys.grant(grant))
    total, left = typed(record, "uses_total", int), typed(record, "uses_left", int)
    back = [event for event in returned if ended is None or event.number < ended]
    same("uses and record", (left, total - len(used) + len(back)), (granted.number_of("uses"), total))
    same(
        "grant and record",
        (record.get("request"), request),
        (record.get("holder"), granted.text("holder")),
        (record.get("holder_key"), requested.raw("holder")),
        *((record.get(name), granted.attributes.get(name)) for name in ("provider", "path", "version", "purpose")),
        (record.get("basis"), granted.text("basis")),
        (record.get("status") in ("revoked", "expired", "returned"), ended is not None),
    )
    locked = evidence.only("escrow", grant, "points.escrowed").number_of("amount")
    paid = evidence.about("escrow", grant, "points.paid", "points.gathered")
    refunded = evidence.about("escrow", grant, "points.refunded")
    spent, given = (sum(event.number_of("amount") for event in events) for events in (paid, refunded))
    held = typed(evidence.record(point_keys.escrow(grant)), "amount", int)
    same("escrow, payments and refunds", (locked - spent - given, held))
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
        used=numbers(used),
        returned=numbers(returned),
        ended=ended,
        payments=tuple(sorted(numbers(paid) + numbers(refunded))),
        status=typed(record, "status", str),
        uses_total=total,
        uses_left=left,
        price=typed(record, "price", int),
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
    same(
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
    message = made.payload()
    payload = message if isinstance(message, dict) else {}
    workflow = hashlib.sha256(typed(payload, "workflow", bytes)).digest()
    same(
        "task and transaction",
        (task, derive("task", proposed.tx)),
        (workflow, proposed.raw("workflow")),
        (evidence.author(proposed), proposed.raw("holder")),
    )
    relied = evidence.about("task", task, "tasks.relies-on")
    running = evidence.about("task", task, "tasks.running")
    begun = evidence.about("task", task, "tasks.begun")
    reported = evidence.about("task", task, "tasks.reported")
    finished = evidence.about("task", task, "tasks.finished")
    settled = last(evidence.about("task", task, "tasks.settled"))
    ended = last(evidence.about("task", task, "tasks.abandoned", "tasks.expired"))
    for event in relied:
        _check_use(evidence, proposed, event, by_grant, started=bool(running))
    record = evidence.record(task_keys.task(task))
    status = typed(record, "status", str)
    result = _check_result(task, finished, reported)
    after(
        "proposal, attempts, finish and settlement",
        proposed.number,
        *numbers(running),
        last(finished),
        settled,
    )
    same(
        "task and record",
        (record.get("workflow_hash"), workflow),
        (record.get("initiator"), proposed.text("initiator")),
        (record.get("initiator_key"), proposed.raw("holder")),
        (record.get("coordinator"), proposed.text("coordinator")),
        (record.get("purpose"), proposed.text("purpose")),
        (record.get("attempt"), len(running)),
        (record.get("begun"), [event.text("party") for event in begun]),
        (record.get("result") or b"", result),
        (status == "settled", settled is not None),
        (status in ("abandoned", "expired"), ended is not None),
        (evidence.states.get(task_keys.opened(proposed.height, task)) is None, status in _ENDED),
    )
    uses = tuple(by_grant[event.raw("grant")] for event in relied)
    began = [event.text("party") for event in begun] if ended is not None else []
    owed = uses if settled is not None else tuple(use for use in uses if use.provider in began)
    pays = settlement(evidence, proposed, owed, settled=settled is not None)
    certified = certificates(evidence, proposed, uses, settled)
    contested = dispute(evidence, task, pays)
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
        accepted=numbers(evidence.about("task", task, "tasks.accepted")),
        running=numbers(running),
        begun=numbers(begun),
        reported=numbers(reported),
        failed=numbers(evidence.about("task", task, "tasks.failed")),
        finished=last(finished),
        result=result,
        certificates=certified.issued,
        revoked=certified.revoked,
        settled=settled,
        settlement=pays.events,
        basis=pays.basis,
        owed=pays.total,
        paid=pays.paid,
        refunded=pays.refunded,
        held=pays.held,
        dispute=contested.events,
        outcome=contested.outcome,
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
    same(
        "task and grant",
        (relied.tx, proposed.tx),
        (found.holder_key, proposed.raw("holder")),
        (found.purpose, proposed.text("purpose")),
    )
    after("grant and task", found.granted, proposed.number)
    uses = [e for e in evidence.about("task", proposed.raw("task"), "grants.used") if e.raw("grant") == found.grant]
    if len(uses) != int(started):
        raise refuse(CHECK, "a task that ran has not used each of its grants once")


def _check_result(task: bytes, finished: list[Entry], reported: list[Entry]) -> bytes:
    """The result is the hash over what the members reported in the attempt that finished."""
    if not finished:
        return b""
    done = finished[0]
    attempt = done.number_of("attempt")
    if not 0 < attempt < MAX_ATTEMPT:
        raise refuse(CHECK, "a task finished in an attempt that cannot be")
    parts = sorted(
        (event.text("step").encode() + b"/" + event.text("party").encode(), event.number, event)
        for event in reported
        if event.number_of("attempt") == attempt
    )
    flat = [
        part for _key, _n, e in parts for part in (e.text("step").encode(), e.text("party").encode(), e.raw("outcome"))
    ]
    same("reports and result", (done.raw("result"), derive("result", task, attempt.to_bytes(2, "big"), *flat)))
    return done.raw("result")
