"""The answer to an audit query: the events that were asked for, with all that proves them; pure, offline, bounded.

Proven from the pinned genesis: that each event is in the log (RFC 6962, under the app hash of a header that the
validators signed), when its block was made (that block's own signed header), who signed its transaction (the log's
entry holds the transaction's hash), and why it was selected (`context` are the other events that say so, proven
alike). Not proven: that the answer has all such events; whoever needs that takes a complete bundle.
"""

from __future__ import annotations

import dataclasses
import hashlib

from fondaco.core.codec import encode
from fondaco.core.messages import from_bytes, message
from fondaco.errors import CodecError, KeyMaterialError, LedgerError
from fondaco.ledger.audit.dimensions import (
    KnownFacts,
    Mark,
    Selection,
    Viewer,
    learn,
    marks_of,
    visible,
)
from fondaco.ledger.audit.evidence import Entry, entry
from fondaco.ledger.audit.format import refuse
from fondaco.ledger.blocks import Header, ValidatorSet, block_source, validators_hash
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.light import Proof, SignedHeader, Trusted, trust_genesis, verify_header, verify_proof
from fondaco.ledger.transactions import Transaction, open_transaction

MAX_ANSWER = 8 << 20
MAX_SHOWN = 100
_ITEMS = 1 << 18


@message("audit.answer/1")
class Answer:
    """`shown` are the numbers of the events that were asked for; the other proven events are their context.

    `headers` are the signed ones of the events' blocks, and those where the validator set changed, up to the proof's;
    `transactions` the events' own, in order of their first event.
    """

    genesis: Genesis
    headers: tuple[SignedHeader, ...]
    validators: tuple[ValidatorSet, ...]
    transactions: tuple[bytes, ...]
    proof: Proof
    shown: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """A proven event: its time (Unix, nanoseconds), the keys that signed its transaction, all its dimensions."""

    event: Entry
    time: int
    signers: tuple[bytes, ...]
    marks: frozenset[Mark]


@dataclasses.dataclass(frozen=True, slots=True)
class Answered:
    """What a verified answer shows, and the header (height, time) that it is proven at."""

    events: tuple[Shown, ...]
    height: int
    time: int


def verify(data: bytes, *, trust_root: str, selection: Selection, viewer: Viewer) -> Answered:
    """Check an answer against the genesis hash that the reader pinned, and against what was asked.

    Raises:
        ProofError: its `check` names what failed; `selection` when an event was not asked for, or is not the viewer's.
    """
    try:
        answer = from_bytes(Answer, data, limit=MAX_ANSWER, items=_ITEMS)
    except CodecError as fault:
        raise refuse("format", f"not an answer to an audit query: {fault.cause}") from fault
    if answer.genesis.hash.hex() != trust_root.lower():
        raise refuse("trust-root", "the answer is of another chain than the one that was pinned")
    headers = _headers(answer)
    transactions = _transactions(answer)
    events = _events(answer, transactions)
    facts = KnownFacts()
    for event in events:
        learn(event, transactions.get(event.tx), facts)
    found: list[Shown] = []
    by_number = {event.number: event for event in events}
    if not set(answer.shown) <= by_number.keys() or list(answer.shown) != sorted(set(answer.shown)):
        raise refuse("selection", "the shown events are not proven ones, each once and in order")
    for number in answer.shown:
        event = by_number[number]
        tx = transactions.get(event.tx)
        marks = marks_of(event, tx, facts)
        time = _time(answer.genesis, event, headers)
        if not selection.matches(event, time, marks) or not visible(viewer, event, marks):
            raise refuse("selection", f"event {number} was not asked for, or is not for {viewer.organisation}")
        found.append(Shown(event, time, () if tx is None else tx.signers, marks))
    last = answer.proof.anchor.header
    return Answered(tuple(found), last.height, last.time)


def _headers(answer: Answer) -> dict[int, Header]:
    """Verify all headers from the genesis on, and the proof at the last; those of the events' blocks by height."""
    sets = {validators_hash(known.validators): known.validators for known in answer.validators}
    trusted: Trusted = trust_genesis(answer.genesis)
    for signed in answer.headers:
        known = sets.get(signed.header.validators_hash)
        if known is None:
            raise refuse("validators", "a header's validators are not in the answer", height=signed.header.height)
        trusted = verify_header(trusted, signed.header, signed.commit, known)
    verify_proof(trusted, answer.proof)
    return {signed.header.height: signed.header for signed in answer.headers}


def _transactions(answer: Answer) -> dict[bytes, Transaction]:
    found: dict[bytes, Transaction] = {}
    for data in answer.transactions:
        try:
            tx = open_transaction(data, answer.genesis.chain_id)
        except (LedgerError, KeyMaterialError, CodecError) as fault:
            raise refuse("transaction-signature", fault.cause) from fault
        if tx.hash in found:
            raise refuse("transactions", "a transaction is in the answer twice")
        found[tx.hash] = tx
    return found


def _events(answer: Answer, transactions: dict[bytes, Transaction]) -> list[Entry]:
    """The proven events, each of a transaction that is here, of the genesis, or of a block's end."""
    genesis = hashlib.sha256(encode(answer.genesis.state)).digest()
    used: dict[bytes, None] = {}
    events: list[Entry] = []
    for proof in answer.proof.events:
        event = entry(proof.index, proof.leaf)
        if events and event.number <= events[-1].number:
            raise refuse("event-inclusion", "the events are not in the log's order")
        if event.tx in transactions:
            used[event.tx] = None
        elif event.tx not in (genesis, block_source(answer.genesis.chain_id, event.height)):
            raise refuse("event-source", f"the transaction of event {event.number} is not in the answer")
        events.append(event)
    if used.keys() != transactions.keys():
        raise refuse("transactions", "a transaction is in the answer that no event comes from")
    return events


def _time(genesis: Genesis, event: Entry, headers: dict[int, Header]) -> int:
    if event.height == 0:
        return genesis.time
    header = headers.get(event.height)
    if header is None:
        raise refuse("header-chain", "the header of an event's block is not in the answer", height=event.height)
    return header.time
