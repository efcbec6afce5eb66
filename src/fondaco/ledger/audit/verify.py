"""The verifier of audit bundles: pure, offline, deny by default. Raises ProofError naming the check that failed.

What a reader trusts is the genesis hash that it pinned; the exporter proves only who exported.
A bundle that is not `complete` shows that all in it happened, not that nothing else did.
"""

from __future__ import annotations

import dataclasses
import hashlib

from fondaco.core.codec import Value, decode, encode
from fondaco.core.keys import PublicKey
from fondaco.errors import CodecError, KeyMaterialError, LedgerError
from fondaco.ledger.audit import receipts
from fondaco.ledger.audit.format import (
    DOMAIN,
    Bundle,
    Content,
    GrantReceipt,
    Receipt,
    TransactionProof,
    open_bundle,
    refuse,
)
from fondaco.ledger.blocks import (
    EMPTY_HASH,
    Header,
    block_source,
    data_leaves,
    result_leaves,
    validators_hash,
)
from fondaco.ledger.contracts.identity import keys as identity_keys
from fondaco.ledger.light import Anchor, Proof, trust_genesis, verify_header, verify_proof
from fondaco.ledger.log import verify_inclusion
from fondaco.ledger.transactions import Transaction, open_transaction

MAX_COUNT = 1 << 20
CHECKS = (
    "format",
    "trust-root",
    "header-chain",
    "validators",
    "commit-signature",
    "app-hash",
    "state-proof",
    "event-inclusion",
    "transactions",
    "results",
    "transaction-signature",
    "event-source",
    "completeness",
    "receipt-link",
    "exporter",
    "exporter-signature",
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a verified bundle shows."""

    chain: str
    trust_root: str
    pinned: bool
    complete: bool
    height: int
    time: int
    headers: int
    transactions: int
    refused: int
    events: int
    states: int
    exporter: str
    exporter_organisation: str
    grants: tuple[GrantReceipt, ...]
    receipts: tuple[Receipt, ...]
    checks: tuple[str, ...]


def verify(data: bytes, *, trust_root: str | None = None) -> Verified:
    """Check a bundle against the genesis hash that the reader pinned.

    Args:
        data: the file's bytes.
        trust_root: the genesis hash in hex, from a source that is not the bundle; None checks the bundle against
            the genesis that it carries itself, and `Verified.pinned` says so.

    Raises:
        ProofError: its `check` names what failed.
    """
    bundle, content = open_bundle(data)
    if trust_root is not None and content.genesis.hash.hex() != trust_root.lower():
        raise refuse("trust-root", "the bundle is of another chain than the one that was pinned")
    headers = _headers(content)
    transactions = _transactions(content, headers)
    events = _events(content, headers, transactions)
    evidence = receipts.Evidence(events, transactions, _states(content))
    expected = receipts.state_keys(evidence, content.exporter)
    if tuple(proof.key for proof in content.states) != expected:
        raise refuse("state-proof", "the proven keys are not those that the events ask for, each once and in order")
    if content.complete:
        _complete(content)
    _receipts(content, evidence)
    organisation = _exporter(bundle, content, evidence)
    last = content.headers[-1].header
    return Verified(
        chain=content.genesis.chain,
        trust_root=content.genesis.hash.hex(),
        pinned=trust_root is not None,
        complete=content.complete,
        height=last.height,
        time=last.time,
        headers=len(content.headers),
        transactions=len(content.transactions),
        refused=sum(1 for tx in content.transactions if tx.code),
        events=len(content.events),
        states=len(content.states),
        exporter=PublicKey(content.exporter).did,
        exporter_organisation=organisation,
        grants=content.grants,
        receipts=content.receipts,
        checks=CHECKS,
    )


def _headers(content: Content) -> dict[int, Header]:
    """Verify headers from the genesis on, and that the last carries the roots; all by height."""
    if not content.headers:
        raise refuse("header-chain", "the bundle has no headers")
    trusted = trust_genesis(content.genesis)
    sets = {validators_hash(known.validators): known.validators for known in content.validators}
    used = dict.fromkeys(signed.header.validators_hash for signed in content.headers)
    if len(content.validators) != len(sets) or sets.keys() != used.keys():
        raise refuse("validators", "the validator sets are not those of the headers, each once")
    for signed in content.headers[:-1]:
        trusted = verify_header(trusted, signed.header, signed.commit, sets[signed.header.validators_hash])
    last = content.headers[-1]
    anchor = Anchor(
        header=last.header,
        commit=last.commit,
        validators=sets[last.header.validators_hash],
        links=(),
        state_root=content.state_root,
        log_root=content.log_root,
        log_size=content.log_size,
    )
    verify_proof(trusted, Proof(anchor=anchor, states=content.states, events=content.events))
    return {signed.header.height: signed.header for signed in content.headers}


def _transactions(content: Content, headers: dict[int, Header]) -> dict[bytes, Transaction]:
    """Verify that each transaction is in its block with its result, and its signatures; all by hash."""
    found: dict[bytes, Transaction] = {}
    place = (0, 0)
    for proven in content.transactions:
        if (proven.height, proven.index) <= place and found:
            raise refuse("transactions", "the transactions are not in the chain's order")
        place = (proven.height, proven.index)
        _in_block(proven, headers)
        try:
            tx = open_transaction(proven.tx, content.genesis.chain)
        except (LedgerError, KeyMaterialError, CodecError) as fault:
            raise refuse("transaction-signature", fault.cause, height=proven.height, index=proven.index) from fault
        if tx.hash in found:
            raise refuse("transactions", "a transaction is in the chain twice")
        found[tx.hash] = tx
    return found


def _in_block(proven: TransactionProof, headers: dict[int, Header]) -> None:
    header, after = headers.get(proven.height), headers.get(proven.height + 1)
    if header is None or after is None or not 0 <= proven.code <= MAX_COUNT or not 0 < proven.count <= MAX_COUNT:
        raise refuse("transactions", "a transaction's block, or the one after it, is not in the bundle")
    leaf, result = data_leaves((proven.tx,))[0], result_leaves((proven.code,))[0]
    places = (proven.index, proven.count)
    verify_inclusion(leaf, *places, proven.path, header.data_hash, check="transactions")
    verify_inclusion(result, *places, proven.code_path, after.last_results_hash, check="results")


def _events(
    content: Content, headers: dict[int, Header], transactions: dict[bytes, Transaction]
) -> tuple[receipts.Entry, ...]:
    """Verify that each event, proven to be in the log, comes from a transaction that is here and succeeded.

    Or from the genesis, or from the end of a block: then it stands after all transactions of the block.
    """
    genesis = hashlib.sha256(encode(content.genesis.state)).digest()
    done = {(tx.height, tx.index): tx for tx in content.transactions}
    counts = {tx.height: tx.count for tx in content.transactions}
    found: list[receipts.Entry] = []
    for proof in content.events:
        if found and proof.index <= found[-1].number:
            raise refuse("event-inclusion", "the events are not in the log's order")
        event = receipts.entry(proof.index, proof.leaf)
        if event.height == 0:
            sound = event.tx == genesis and event.index == 0
        elif event.tx == block_source(content.genesis.chain, event.height):
            sound = _at_the_end(event, headers, counts)
        else:
            made = done.get((event.height, event.index))
            same = made is not None and hashlib.sha256(made.tx).digest() == event.tx
            sound = made is not None and same and made.code == 0 and event.tx in transactions
        if not sound:
            raise refuse(
                "event-source",
                f"event {proof.index} comes from no transaction of the bundle that succeeded, and from no block",
            )
        found.append(event)
    if any(event.height >= max(headers) for event in found):
        raise refuse("event-source", "an event is later than the last header")
    return tuple(found)


def _at_the_end(event: receipts.Entry, headers: dict[int, Header], counts: dict[int, int]) -> bool:
    """Whether an event's place is after the transactions of its block, as far as the bundle tells their number."""
    header = headers.get(event.height)
    if header is None:
        return False
    if header.data_hash == EMPTY_HASH:
        return event.index == 0
    count = counts.get(event.height)
    return event.index > 0 if count is None else event.index == count


def _states(content: Content) -> dict[bytes, bytes | None]:
    return {proof.key: proof.value for proof in content.states}


def _complete(content: Content) -> None:
    """Nothing is left out below the last header: neither block, nor transaction, nor event."""

    def missing(what: str) -> None:
        raise refuse("completeness", f"the bundle says that it is complete, and {what} is missing")

    if [signed.header.height for signed in content.headers] != list(range(1, len(content.headers) + 1)):
        missing("a header")
    if [proof.index for proof in content.events] != list(range(content.log_size)):
        missing("an event")
    held: dict[int, list[TransactionProof]] = {}
    for proven in content.transactions:
        held.setdefault(proven.height, []).append(proven)
    for signed in content.headers[:-1]:
        there = held.get(signed.header.height, [])
        if not there and signed.header.data_hash != EMPTY_HASH:
            missing("a block's data")
        if there and [tx.index for tx in there] != list(range(there[0].count)):
            missing("a transaction")


def _receipts(content: Content, evidence: receipts.Evidence) -> None:
    """The receipts are those that the evidence gives."""
    try:
        grants = receipts.grants(evidence)
        made = receipts.tasks(evidence, {receipt.grant: receipt for receipt in grants})
    except CodecError as fault:
        raise refuse(receipts.CHECK, f"a proven record is not canonical: {fault.cause}") from fault
    if grants != content.grants or made != content.receipts:
        raise refuse(receipts.CHECK, "the receipts are not those that the events and the state give")


def _exporter(bundle: Bundle, content: Content, evidence: receipts.Evidence) -> str:
    """The organisation whose node, active at the last header, signed the file."""
    value = evidence.states.get(identity_keys.node(content.exporter))
    try:
        record: Value = None if value is None else decode(value)
    except CodecError as fault:
        raise refuse("exporter", f"the exporter's record is not canonical: {fault.cause}") from fault
    match record:
        case {"key": bytes(key), "status": "active", "organisation": str(organisation)} if key == content.exporter:
            pass
        case _:
            raise refuse("exporter", "the exporter is no active node of the consortium")
    try:
        PublicKey(content.exporter).verify(DOMAIN, bundle.content, bundle.signature)
    except KeyMaterialError as fault:
        raise refuse("exporter-signature", "the exporter's signature does not hold") from fault
    return organisation
