"""Audit queries: found by the projection, proven by the ledger, verified against the pinned genesis, then shown.

Blocks go on meanwhile: the projection follows up to one header, and the proof may be anchored at a later one. Trusts
the ledger of this node for which events there are, and nothing for what is shown of them; leaks to the viewer what
`dimensions.visible` lets it see, and with it the transactions and headers that prove it.
"""

from __future__ import annotations

import dataclasses

from fondaco.core.messages import to_bytes
from fondaco.errors import LedgerError
from fondaco.index.history import History
from fondaco.ledger.audit import answer as answers
from fondaco.ledger.audit.answer import MAX_ANSWER, MAX_SHOWN, Answer, Answered
from fondaco.ledger.audit.dimensions import INSTITUTION, Selection, Viewer, marks_of, subjects, visible
from fondaco.ledger.audit.evidence import Entry, entry
from fondaco.ledger.blocks import ValidatorSet
from fondaco.ledger.light import SignedHeader
from fondaco.ledger.reader import Ledger

_BATCH = 256
_PAGE_BYTES = 2 << 20  # of transactions on one page; the rest is on the next


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """A verified page: its proofs as bytes, and where the next begins (None: there is no more)."""

    found: Answered
    proof: bytes
    next: int | None


def ask(
    ledger: Ledger, history: History, selection: Selection, viewer: Viewer, *, after: int = -1, limit: int = 50
) -> Page:
    """A page of the events that were asked for and that the viewer is shown, verified as a stranger would.

    Args:
        ledger: this node's ledger; the present can be seen once it is provable.
        history: the projection of it.
        selection: what is asked for.
        viewer: for whom.
        after: events up to this number are passed over.
        limit: the most events on the page, 1 to 100.

    Raises:
        LedgerError: no header yet, or the limit is out of range.
        ProofError: what the ledger gave does not verify from its own genesis.
    """
    if not 1 <= limit <= MAX_SHOWN:
        raise LedgerError(f"a page has 1 to {MAX_SHOWN} events", remedy="ask for fewer, and for the next page")
    size = ledger.anchor().log_size
    history.catch_up(size)
    shown, more = _page(ledger, history, selection, viewer, after, size, limit)
    data = to_bytes(_gather(ledger, history, selection, shown))
    if len(data) > MAX_ANSWER:
        raise LedgerError("the page is too large to be proven at once", remedy="ask for fewer events on a page")
    found = answers.verify(data, trust_root=ledger.genesis.hash.hex(), selection=selection, viewer=viewer)
    return Page(found, data, shown[-1].number if more and shown else None)


def select(ledger: Ledger, history: History, selection: Selection, viewer: Viewer) -> tuple[int, ...]:
    """The numbers of all events that are asked for and that the viewer is shown, for a bundle."""
    size = ledger.anchor().log_size
    history.catch_up(size)
    shown, _more = _page(ledger, history, selection, viewer, -1, size, size, most_bytes=1 << 62)
    return tuple(event.number for event in shown)


def _page(
    ledger: Ledger,
    history: History,
    selection: Selection,
    viewer: Viewer,
    after: int,
    size: int,
    limit: int,
    most_bytes: int = _PAGE_BYTES,
) -> tuple[list[Entry], bool]:
    """The events of a page, and whether there may be more after it."""
    found: list[Entry] = []
    taken: dict[bytes, int] = {}
    while numbers := history.candidates(selection, after, size, _BATCH):
        for number in numbers:
            ((_number, leaf),) = ledger.leaves(number, 1)
            event = entry(number, leaf)
            time, data = history.place(event)
            marks = marks_of(event, history.opened(data), history)
            if selection.matches(event, time, marks) and visible(viewer, event, marks):
                taken[event.tx] = 0 if data is None else len(data)
                if len(found) == limit or (found and sum(taken.values()) > most_bytes):
                    return found, True
                found.append(event)
        after = numbers[-1]
    return found, False


def _gather(ledger: Ledger, history: History, selection: Selection, shown: list[Entry]) -> Answer:
    """All that proves a page: the events, those that say why they were selected, transactions and headers."""
    needed = {INSTITUTION, *(dimension for dimension, _value in selection.marks())}
    numbers = {event.number for event in shown}
    for event in shown:
        for subject in subjects(event):
            for fact in history.of(subject):
                if fact.dimension in needed:
                    numbers.update(fact.sources)
    proof = ledger.prove((), sorted(numbers))
    events = [entry(one.index, one.leaf) for one in proof.events]
    transactions = (history.place(event)[1] for event in events)
    tip = proof.anchor.header.height
    changed = {at for since in ledger.set_changes(tip) for at in (since - 1, since)}
    heights = sorted(at for at in {*changed, *(event.height for event in events)} if 0 < at < tip)
    headers = [history.block(height) for height in heights]
    sets = dict.fromkeys(ledger.validators_at(height) for height in heights)
    return Answer(
        genesis=ledger.genesis,
        headers=tuple(SignedHeader(header=block.header, commit=block.commit) for block in headers),
        validators=tuple(ValidatorSet(validators=known) for known in sets),
        transactions=tuple(dict.fromkeys(tx for tx in transactions if tx is not None)),
        proof=proof,
        shown=tuple(event.number for event in shown),
    )
