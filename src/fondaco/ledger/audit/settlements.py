"""The part of a task's receipt that is about money: settlement, certificates, dispute; each linked to the task.

The division is computed anew from the proven record, so a payment that the formula does not give is refused. That the
formula was the voted one, and the arbiters those that were drawn, is what the validators' signatures say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from fondaco.core.messages import from_bytes
from fondaco.ledger.audit.evidence import CHECK, Entry, Evidence, after, last, numbers, same
from fondaco.ledger.audit.format import GrantReceipt, refuse
from fondaco.ledger.contracts.certificates import keys as certificate_keys
from fondaco.ledger.contracts.certificates.messages import Certificate
from fondaco.ledger.contracts.disputes import keys as dispute_keys
from fondaco.ledger.contracts.disputes.messages import Dispute
from fondaco.ledger.contracts.points import keys as point_keys
from fondaco.ledger.contracts.points.messages import Escrow
from fondaco.ledger.contracts.settlement import keys as settlement_keys
from fondaco.ledger.contracts.settlement.formula import division
from fondaco.ledger.contracts.settlement.messages import Settlement

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Pays:
    """What a task owes and has paid, and the places of the events of it."""

    events: tuple[int, ...] = ()
    basis: str = ""
    status: str = ""
    refund: int = 0
    total: int = 0
    paid: int = 0
    refunded: int = 0
    held: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Certified:
    """Where uses were certified, and where certificates were revoked."""

    issued: tuple[int, ...] = ()
    revoked: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Contested:
    """The events of a dispute, and how it ended."""

    events: tuple[int, ...] = ()
    outcome: str = ""


def settlement_state_keys(evidence: Evidence, task: bytes) -> tuple[bytes, ...]:
    """The keys whose values, or whose absence, the receipt of a task needs for its settlement."""
    issued = evidence.about("task", task, "certificates.issued")
    return (
        settlement_keys.settlement(task),
        point_keys.escrow(settlement_keys.escrow(task)),
        dispute_keys.dispute(task),
        *(certificate_keys.certificate(event.raw("certificate")) for event in issued),
    )


def _record(evidence: Evidence, cls: type[T], key: bytes) -> T | None:
    data = evidence.states.get(key)
    return None if data is None else from_bytes(cls, data)


def _owed(record: Settlement) -> list[tuple[bytes, int]]:
    """The escrows that a settlement is gathered from, with what each gives."""
    service = [(record.task, record.service)] if record.service else []
    return [*((use.grant, use.price) for use in record.uses), *service]


def _check_divisible(record: Settlement) -> None:
    """A record that the contracts made can be divided; one of an exporter's own chain may hold any numbers."""
    formula, weights = record.formula, [use.weight for use in record.uses]
    shares = (formula.providers, formula.participants, formula.coordinator, formula.fund)
    sound = min(shares) >= 0 and sum(shares) > 0 and min(weights, default=0) >= 0
    if not sound or (record.total != record.service and sum(weights) == 0):
        raise refuse(CHECK, "a settlement's shares or weights are none")


def _sum(events: list[Entry]) -> int:
    return sum(event.number_of("amount") for event in events)


def settlement(evidence: Evidence, proposed: Entry, uses: Sequence[GrantReceipt], *, settled: bool) -> Pays:
    """What a task pays: gathered from the escrows of its grants, divided by the formula, to the point.

    Of a settled task all uses; of one that ended without a result those that were begun, or none: by the first rules
    these were paid out of their own escrows.

    Raises:
        ProofError: check `receipt-link`.
    """
    task = proposed.raw("task")
    record = _record(evidence, Settlement, settlement_keys.settlement(task))
    if record is None:
        same("settlement and task", (settled, False))
        return Pays()
    if not uses and not settled:
        raise refuse(CHECK, "a task that owes nothing has a settlement")
    escrow = settlement_keys.escrow(task)
    gathered = evidence.about("into", escrow, "points.gathered")
    paid = evidence.about("escrow", escrow, "points.paid")
    refunded = evidence.about("escrow", escrow, "points.refunded")
    kept = _record(evidence, Escrow, point_keys.escrow(escrow))
    held = 0 if kept is None else kept.amount
    _check_divisible(record)
    done = record.status == "paid"
    back, payouts = division(record, record.refund)
    planned = [(payout.organisation, payout.amount) for payout in payouts if payout.amount]
    same(
        "settlement, payments and refunds",
        (
            (record.task, record.payer, record.coordinator),
            (task, proposed.text("initiator"), proposed.text("coordinator")),
        ),
        ([(use.grant, use.provider, use.price) for use in record.uses], [(g.grant, g.provider, g.price) for g in uses]),
        ([(e.raw("escrow"), e.number_of("amount")) for e in gathered], _owed(record)),
        (record.total, _sum(gathered)),
        (record.total, _sum(paid) + _sum(refunded) + held),
        ((record.refunded, record.refunded), (back, _sum(refunded))),
        (record.payouts, payouts),
        ([(e.text("target"), e.number_of("amount")) for e in paid], planned if done else []),
    )
    own = ("held", "frozen", "paid")
    events = evidence.about("task", task, *(f"settlement.{kind}" for kind in own), "settlement.measured")
    if not events or (events[-1].kind == "settlement.paid") != done:
        raise refuse(CHECK, "the status of a settlement is not what its events say")
    return Pays(
        events=tuple(sorted(numbers(events) + numbers(gathered) + numbers(paid) + numbers(refunded))),
        basis=record.basis,
        status=record.status,
        refund=record.refund,
        total=record.total,
        paid=_sum(paid),
        refunded=_sum(refunded),
        held=held,
    )


def certificates(evidence: Evidence, proposed: Entry, uses: Sequence[GrantReceipt], settled: int | None) -> Certified:
    """One certificate for each use that was settled, that says what grant and task say.

    Raises:
        ProofError: check `receipt-link`.
    """
    task = proposed.raw("task")
    issued = evidence.about("task", task, "certificates.issued")
    revoked = evidence.about("task", task, "certificates.revoked")
    same("uses and certificates", ([e.raw("grant") for e in issued], [g.grant for g in uses] if settled else []))
    for event, use in zip(issued, uses, strict=True) if settled else ():
        made = event.raw("certificate")
        record = _record(evidence, Certificate, certificate_keys.certificate(made))
        if record is None:
            raise refuse(CHECK, "a certificate is not proven")
        ends = [e for e in revoked if e.raw("certificate") == made]
        after("a certificate and its revocation", event.number, last(ends))
        same(
            "certificate, grant and task",
            (made, certificate_keys.certificate_id(task, use.grant)),
            ((record.id, record.task, record.grant), (made, task, use.grant)),
            ((record.holder, record.holder_key, record.provider), (use.holder, use.holder_key, use.provider)),
            (
                (record.path, record.version, record.purpose, record.cost),
                (use.path, use.version, use.purpose, use.price),
            ),
            (record.workflow, proposed.raw("workflow")),
            ((record.status, record.by, record.cause), _ending(ends)),
        )
    same("revocations and certificates", (len(revoked), len({e.raw("certificate") for e in revoked})))
    return Certified(numbers(issued), numbers(revoked))


def _ending(ends: list[Entry]) -> tuple[str, str, str]:
    return ("revoked", ends[0].text("by"), ends[0].text("cause")) if ends else ("valid", "", "")


def dispute(evidence: Evidence, task: bytes, pays: Pays) -> Contested:
    """The dispute about a task: who opened it, who judged and how, what became of it.

    Raises:
        ProofError: check `receipt-link`.
    """
    record = _record(evidence, Dispute, dispute_keys.dispute(task))
    events = [event for event in evidence.about("task", task) if event.kind.startswith("disputes.")]
    if record is None:
        same("dispute and events", (events, []))
        return Contested()

    def of(kind: str) -> list[Entry]:
        return [event for event in events if event.kind == f"disputes.{kind}"]

    opened, ended = evidence.only("task", task, "disputes.opened"), of("ended")
    after("a dispute and its end", opened.number, last(ended))
    votes = [(e.text("arbiter"), e.number_of("refund"), bool(e.number_of("revoke"))) for e in of("vote")]
    evidences = [(e.text("party"), e.raw("evidence")) for e in of("evidence")]
    ending = [(e.text("outcome"), e.number_of("refund"), bool(e.number_of("revoke"))) for e in ended]
    same(
        "dispute and events",
        ((opened.text("opener"), opened.text("cause")), (record.opener, record.cause)),
        ([e.text("arbiter") for e in of("arbiter")], list(record.arbiters)),
        ([name for name in record.arbiters if name in record.parties], []),
        (votes, [(vote.arbiter, vote.refund, vote.revoke) for vote in record.votes]),
        (evidences, [(one.organisation, one.evidence) for one in record.evidence]),
        ([e.text("arbiter") for e in of("silent")], list(record.silent)),
        (ending, [(record.outcome, record.refund, record.revoke)] if record.status == "ended" else []),
        (pays.status, "paid" if record.status == "ended" else "frozen"),
    )
    if record.status == "ended":
        same("dispute and refund", (pays.refund, record.refund))
    return Contested(numbers(events), record.outcome)
