"""The verifier of audit bundles: offline, from the file alone, each check by name.

Checks, in order: format, trust-root, header-chain, validators, commit-signature, app-hash, state-proof,
event-inclusion, transactions, receipt-link, exporter, exporter-signature. The trust root is the hash of the
genesis; compare it with the one that the consortium published, or pin it with `--trust-root`.
"""

from __future__ import annotations

import dataclasses
import hashlib

from fondaco.core.codec import Value, encode
from fondaco.core.keys import PublicKey
from fondaco.core.messages import from_bytes
from fondaco.errors import CodecError, FondacoError, KeyMaterialError, ProofError
from fondaco.ledger.audit.bundle import (
    DOMAIN,
    FORMAT,
    MAX_BUNDLE,
    Bundle,
    Content,
    Receipt,
    TransactionProof,
    event_of,
)
from fondaco.ledger.blocks import NO_BLOCK, Commit
from fondaco.ledger.contracts.grants import keys as grant_keys
from fondaco.ledger.contracts.grants.messages import Grant
from fondaco.ledger.contracts.identity import keys as identity_keys
from fondaco.ledger.contracts.identity.messages import Node
from fondaco.ledger.contracts.tasks import keys as task_keys
from fondaco.ledger.contracts.tasks.messages import Task
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.light import Proof, Trusted, trust_genesis, verify_header, verify_proof
from fondaco.ledger.log import verify_event
from fondaco.ledger.transactions import Transaction, open_transaction

_REMEDY = "do not rely on this file: get it again, and ask the exporter why"


def _refuse(check: str, cause: str) -> ProofError:
    return ProofError(cause, check=check, remedy=_REMEDY)


@dataclasses.dataclass(frozen=True)
class Verified:
    """What a bundle proves."""

    chain: str
    trust_root: str
    height: int
    events: int
    transactions: int
    states: int
    receipts: tuple[Receipt, ...]
    exporter: str
    checks: tuple[str, ...]


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
    "receipt-link",
    "exporter",
    "exporter-signature",
)


def verify(data: bytes, *, trust_root: str | None = None) -> Verified:
    """Verify a bundle.

    Raises:
        ProofError: the first check that failed, by name.
    """
    bundle, content, genesis = _parse(data)
    root = genesis.hash.hex()
    if trust_root is not None and trust_root != root:
        raise _refuse("trust-root", f"the bundle begins at {root}, not at the pinned trust root")
    trusted = trust_genesis(genesis)
    now = verify_proof(trusted, Proof(anchor=content.anchor, states=content.states, events=content.events))
    _check_order(content)
    transactions = _check_transactions(content, genesis, trusted, now)
    _check_events(content, genesis, transactions)
    for receipt in content.receipts:
        _check_receipt(content, receipt)
    _check_exporter(content)
    try:
        digest = hashlib.sha256(bundle.content).digest()
        PublicKey(content.exporter).verify(DOMAIN, digest, bundle.signature)
    except KeyMaterialError as fault:
        raise _refuse("exporter-signature", "the exporter's signature does not hold") from fault
    return Verified(
        chain=genesis.chain,
        trust_root=root,
        height=now.height,
        events=len(content.events),
        transactions=len(content.transactions),
        states=len(content.states),
        receipts=content.receipts,
        exporter=PublicKey(content.exporter).did,
        checks=CHECKS,
    )


def _parse(data: bytes) -> tuple[Bundle, Content, Genesis]:
    try:
        bundle = from_bytes(Bundle, data, limit=MAX_BUNDLE)
        content = from_bytes(Content, bundle.content, limit=MAX_BUNDLE)
        genesis = from_bytes(Genesis, content.genesis)
    except CodecError as fault:
        raise _refuse("format", f"not an audit bundle: {fault.cause}") from fault
    if content.format != FORMAT:
        raise _refuse("format", f"format {content.format} is not known here")
    if not genesis.validators or len(content.exporter) != 32:
        raise _refuse("format", "the genesis has no validators, or the exporter no key")
    if any(len(v.key) != 32 for v in (*genesis.validators, *content.anchor.validators)):
        raise _refuse("format", "a validator has no key of 32 bytes")
    return bundle, content, genesis


def _check_order(content: Content) -> None:
    """Each list in strictly rising order, so that nothing stands twice or out of place."""
    indices = [proof.index for proof in content.events]
    places = [(t.header.height, t.place.index) for t in content.transactions]
    keys = [state.key for state in content.states]
    if indices != sorted(dict.fromkeys(indices)) or places != sorted(dict.fromkeys(places)):
        raise _refuse("format", "events or transactions are doubled or out of order")
    if len(keys) != len(dict.fromkeys(keys)):
        raise _refuse("format", "a record stands twice")


def _check_transactions(
    content: Content, genesis: Genesis, trusted: Trusted, now: Trusted
) -> dict[tuple[int, int], Transaction]:
    found: dict[tuple[int, int], Transaction] = {}
    for entry in content.transactions:
        found[(entry.header.height, entry.place.index)] = _check_transaction(entry, genesis, trusted, now)
    return found


def _check_transaction(entry: TransactionProof, genesis: Genesis, trusted: Trusted, now: Trusted) -> Transaction:
    if entry.header.height >= now.height:
        raise _refuse("header-chain", "a transaction's block comes after the last header")
    verify_header(trusted, entry.header, entry.commit, genesis.validators)
    _check_unsigned(entry.commit)
    if entry.place.leaf != hashlib.sha256(entry.tx).digest():
        raise _refuse("transactions", "a transaction is not the one whose place is proven")
    try:
        verify_event(entry.place, entry.header.data_hash)
        return open_transaction(entry.tx, genesis.chain)
    except FondacoError as fault:
        raise _refuse("transactions", f"a transaction does not hold: {fault.cause}") from fault


def _check_unsigned(commit: Commit) -> None:
    if commit.block == NO_BLOCK:
        raise _refuse("commit-signature", "a commit is for no block")


def _check_events(content: Content, genesis: Genesis, transactions: dict[tuple[int, int], Transaction]) -> None:
    """Each event was caused by a transaction of the bundle, and each transaction caused an event of it."""
    used: dict[tuple[int, int], None] = {}
    founding = hashlib.sha256(encode(genesis.state)).digest()
    for proof in content.events:
        event = event_of(proof)
        height, index, tx = event.get("height"), event.get("index"), event.get("tx")
        if height == 0:
            if tx != founding:
                raise _refuse("transactions", "a founding event is not of this genesis")
            continue
        if not isinstance(height, int) or not isinstance(index, int):
            raise _refuse("event-inclusion", "an event has no place")
        cause = transactions.get((height, index))
        if cause is None or cause.hash != tx:
            raise _refuse("transactions", "an event has not its transaction in the bundle")
        used[(height, index)] = None
    if len(used) != len(transactions):
        raise _refuse("transactions", "a transaction of the bundle caused none of its events")


def _named(content: Content, receipt: Receipt) -> list[tuple[str, str, dict[str, Value]]]:
    by_index = {proof.index: event_of(proof) for proof in content.events}
    found: list[tuple[str, str, dict[str, Value]]] = []
    for index in receipt.events:
        event = by_index.get(index)
        if event is None:
            raise _refuse("receipt-link", "a receipt names an event that is not in the bundle")
        attributes = event.get("attributes")
        if not isinstance(attributes, dict):
            raise _refuse("receipt-link", "an event has no attributes")
        found.append((str(event.get("contract")), str(event.get("kind")), attributes))
    return found


def _check_receipt(content: Content, receipt: Receipt) -> None:
    """request -> approval -> grant -> task -> reports -> result -> settlement, each link by its ids."""
    events = _named(content, receipt)

    def some(contract: str, kind: str, **wanted: Value) -> list[dict[str, Value]]:
        return [
            attributes
            for c, k, attributes in events
            if (c, k) == (contract, kind) and all(attributes.get(name) == value for name, value in wanted.items())
        ]

    def need(what: str, found: list[dict[str, Value]]) -> dict[str, Value]:
        if not found:
            raise _refuse("receipt-link", f"task {receipt.task.hex()[:16]}: {what} is not shown")
        return found[0]

    need("the proposal", some("tasks", "proposed", task=receipt.task))
    need("the start", some("tasks", "running", task=receipt.task))
    need("a report", some("tasks", "reported", task=receipt.task))
    need("the result", some("tasks", "finished", task=receipt.task, result=receipt.result))
    need("the settlement", some("tasks", "settled", task=receipt.task))
    relied = [a.get("grant") for a in some("tasks", "relies-on", task=receipt.task)]
    if list(receipt.grants) != list(dict.fromkeys(relied)):
        raise _refuse("receipt-link", "the grants of a receipt are not those of its task")
    requests: dict[bytes, None] = {}
    for grant in receipt.grants:
        granted = need("a grant", some("grants", "granted", grant=grant))
        request = granted.get("request")
        need("a request", some("grants", "requested", request=request))
        need("the use of a grant", some("grants", "used", grant=grant, task=receipt.task))
        need("a certificate", some("tasks", "certificate", grant=grant, task=receipt.task))
        if granted.get("basis") == "review":
            need("an approval", some("grants", "reviewed", request=request, approve=1))
        if isinstance(request, bytes):
            requests[request] = None
    if sorted(receipt.requests) != sorted(requests):
        raise _refuse("receipt-link", "the requests of a receipt are not those of its grants")
    _check_records(content, receipt)


def _check_records(content: Content, receipt: Receipt) -> None:
    """The state, too, has the task settled with this result, and its grants."""
    values = {state.key: state.value for state in content.states}
    data = values.get(task_keys.task(receipt.task))
    if data is None:
        raise _refuse("receipt-link", "the record of a task is not in the bundle")
    task = from_bytes(Task, data)
    if task.status != "settled" or task.result != receipt.result:
        raise _refuse("receipt-link", "the ledger does not have the task settled with this result")
    for grant_id in receipt.grants:
        found = values.get(grant_keys.grant(grant_id))
        if found is None or from_bytes(Grant, found).holder_key != task.initiator_key:
            raise _refuse("receipt-link", "the record of a grant is not in the bundle, or is another holder's")


def _check_exporter(content: Content) -> None:
    values = {state.key: state.value for state in content.states}
    data = values.get(identity_keys.node(content.exporter))
    if data is None or from_bytes(Node, data).status != "active":
        raise _refuse("exporter", "the exporter is no active node of this ledger")


