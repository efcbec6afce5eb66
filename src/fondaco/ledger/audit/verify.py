"""The verifier of audit bundles: pure, offline, deny by default. Raises ProofError naming the check that failed.

What a reader trusts is the genesis hash that it pinned; the exporter proves only who exported.
A bundle that is not `complete` shows that all in it happened, not that nothing else did. Of each block that it takes
from, it has the hashes and results of all transactions: an inclusion path of RFC 6962 does not bind the tree's size.
"""

from __future__ import annotations

import dataclasses
import hashlib

from fondaco.core.codec import encode
from fondaco.core.keys import PublicKey
from fondaco.errors import CodecError, KeyMaterialError, LedgerError
from fondaco.ledger.audit import receipts
from fondaco.ledger.audit.format import (
    DOMAIN,
    BlockLeaves,
    Bundle,
    Content,
    GrantReceipt,
    Receipt,
    open_bundle,
    refuse,
)
from fondaco.ledger.blocks import (
    EMPTY_HASH,
    Header,
    block_source,
    results_hash,
    validators_hash,
)
from fondaco.ledger.contracts.identity import keys as identity_keys
from fondaco.ledger.light import Anchor, Proof, Trusted, trust_genesis, verify_header, verify_proof
from fondaco.ledger.log import merkle_root
from fondaco.ledger.transactions import BadTransaction, Transaction, open_transaction
from fondaco.ledger.witness import Checkpoint, Cosigned, verify_cosigned

MAX_CODE = 1 << 32
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
    "cosignature",
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
    cosigned: tuple[str, ...]
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
    blocks = _blocks(content, headers)
    transactions = _transactions(content, blocks)
    events = _events(content, headers, blocks, transactions)
    sources = {tx.height for tx in content.transactions} | {event.height for event in events}
    if blocks.keys() - sources:
        raise refuse("transactions", "a block is in the bundle that nothing in it comes from")
    evidence = receipts.Evidence(events, transactions, _states(content))
    expected = receipts.state_keys(evidence, content.exporter, *(one.node for one in content.cosignatures))
    if tuple(proof.key for proof in content.states) != expected:
        raise refuse("state-proof", "the proven keys are not those that the events ask for, each once and in order")
    if content.complete:
        _complete(content, blocks)
    _receipts(content, evidence)
    cosigned = _cosigned(content, evidence)
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
        refused=sum(1 for tx in content.transactions if blocks[tx.height].codes[tx.index]),
        events=len(content.events),
        states=len(content.states),
        exporter=PublicKey(content.exporter).did,
        exporter_organisation=organisation,
        cosigned=cosigned,
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
    if len(content.validators) != len(sets) or list(sets) != list(used):
        raise refuse("validators", "the validator sets are not those of the headers, each once and in order")
    _check_heights(content, trusted)
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


def _check_heights(content: Content, genesis: Trusted) -> None:
    """All headers that the content needs are there, and a new set is trusted from the header before it alone.

    Needed are the last; those of the transactions and events, each with the one after it; and, where the set changes,
    the last of the old and the first of the new.
    """
    at = [signed.header.height for signed in content.headers]
    shown = [proven.height for proven in content.transactions]
    shown += [receipts.entry(proof.index, proof.leaf).height for proof in content.events]
    needed = dict.fromkeys([at[-1], *(near for height in shown if height for near in (height, height + 1))])
    before = (0, genesis.next_validators_hash)
    for signed in content.headers:
        now = (signed.header.height, signed.header.validators_hash)
        if now[1] != before[1]:
            if now[0] != before[0] + 1:
                raise refuse("validators", "the header before a change of the validator set is missing", height=now[0])
            needed |= {before[0]: None, now[0]: None}
        before = now
    if not content.complete and not needed.keys() <= dict.fromkeys(at).keys():
        raise refuse("header-chain", "a header that the content needs is missing")


def _blocks(content: Content, headers: dict[int, Header]) -> dict[int, BlockLeaves]:
    """Verify that leaves are all leaves of their blocks and of the results; all by height."""
    found: dict[int, BlockLeaves] = {}
    for block in content.blocks:
        header, after = headers.get(block.height), headers.get(block.height + 1)
        if header is None or after is None or any(height >= block.height for height in found):
            raise refuse("transactions", "a block's header, or the one after it, is not in the bundle, or not in order")
        if not block.txs or len(block.txs) != len(block.codes) or any(len(tx) != len(EMPTY_HASH) for tx in block.txs):
            raise refuse("transactions", "a block's leaves are not one hash and one result of each transaction")
        if merkle_root(list(block.txs)) != header.data_hash:
            raise refuse("transactions", "a block's transactions are not all those of its header", height=block.height)
        if (
            any(not 0 <= code <= MAX_CODE for code in block.codes)
            or results_hash(block.codes) != after.last_results_hash
        ):
            raise refuse("results", "a block's results are not those that the next header carries", height=block.height)
        found[block.height] = block
    return found


def _transactions(content: Content, blocks: dict[int, BlockLeaves]) -> dict[bytes, Transaction]:
    """Verify that each transaction is in its block, and its signatures; all by hash."""
    found: dict[bytes, Transaction] = {}
    chain = content.genesis.chain_id
    place = (0, -1)
    for proven in content.transactions:
        if (proven.height, proven.index) <= place:
            raise refuse("transactions", "the transactions are not in the chain's order")
        place = (proven.height, proven.index)
        block = blocks.get(proven.height)
        if block is None or not 0 <= proven.index < len(block.txs):
            raise refuse("transactions", "a transaction's block is not in the bundle", height=proven.height)
        if hashlib.sha256(proven.tx).digest() != block.txs[proven.index]:
            raise refuse("transactions", "a transaction is not the one of its place", height=proven.height)
        try:
            tx = open_transaction(proven.tx, chain)
        except (LedgerError, KeyMaterialError, CodecError) as fault:
            raise refuse("transaction-signature", fault.cause, height=proven.height, index=proven.index) from fault
        if tx.hash in found:
            raise refuse("transactions", "a transaction is in the chain twice")
        found[tx.hash] = tx
    return found


def _events(
    content: Content,
    headers: dict[int, Header],
    blocks: dict[int, BlockLeaves],
    transactions: dict[bytes, Transaction],
) -> tuple[receipts.Entry, ...]:
    """Verify that each event, proven to be in the log, comes from a transaction that is here and succeeded.

    Or from the genesis, or from the end of a block: then it stands after all transactions of the block.
    """
    chain = content.genesis.chain_id
    genesis = hashlib.sha256(encode(content.genesis.state)).digest()
    found: list[receipts.Entry] = []
    for proof in content.events:
        if found and proof.index <= found[-1].number:
            raise refuse("event-inclusion", "the events are not in the log's order")
        event = receipts.entry(proof.index, proof.leaf)
        if event.height == 0:
            sound = event.tx == genesis and event.index == 0
        elif event.tx == block_source(chain, event.height):
            sound = _at_the_end(event, headers, blocks)
        else:
            sound = event.tx in transactions and _succeeded(event, blocks.get(event.height))
        if not sound:
            raise refuse(
                "event-source",
                f"event {proof.index} comes from no transaction of the bundle that succeeded, and from no block",
            )
        found.append(event)
    if any(event.height >= max(headers) for event in found):
        raise refuse("event-source", "an event is later than the last header")
    return tuple(found)


def _succeeded(event: receipts.Entry, block: BlockLeaves | None) -> bool:
    """Whether an event's place is that of its transaction, whose result is 0."""
    if block is None or not 0 <= event.index < len(block.txs):
        return False
    return block.txs[event.index] == event.tx and block.codes[event.index] == 0


def _at_the_end(event: receipts.Entry, headers: dict[int, Header], blocks: dict[int, BlockLeaves]) -> bool:
    """Whether an event's place is after all transactions of its block."""
    header, block = headers.get(event.height), blocks.get(event.height)
    if block is None:
        return header is not None and header.data_hash == EMPTY_HASH and event.index == 0
    return event.index == len(block.txs)


def _states(content: Content) -> dict[bytes, bytes | None]:
    return {proof.key: proof.value for proof in content.states}


def _complete(content: Content, blocks: dict[int, BlockLeaves]) -> None:
    """Nothing is left out below the last header: neither block, nor transaction, nor event."""

    def missing(what: str) -> None:
        raise refuse("completeness", f"the bundle says that it is complete, and {what} is missing")

    if [signed.header.height for signed in content.headers] != list(range(1, len(content.headers) + 1)):
        missing("a header")
    if [proof.index for proof in content.events] != list(range(content.log_size)):
        missing("an event")
    full = [signed.header.height for signed in content.headers[:-1] if signed.header.data_hash != EMPTY_HASH]
    if list(blocks) != full:
        missing("a block's data")
    places = [(height, index) for height in full for index in range(len(blocks[height].txs))]
    if [(proven.height, proven.index) for proven in content.transactions] != places:
        missing("a transaction")


def _receipts(content: Content, evidence: receipts.Evidence) -> None:
    """The receipts are those that the evidence gives."""
    try:
        grants = receipts.grants(evidence)
        made = receipts.tasks(evidence, {receipt.grant: receipt for receipt in grants})
    except (CodecError, BadTransaction) as fault:
        raise refuse(receipts.CHECK, f"a proven record is not canonical: {fault.cause}") from fault
    if grants != content.grants or made != content.receipts:
        raise refuse(receipts.CHECK, "the receipts are not those that the events and the state give")


def _exporter(bundle: Bundle, content: Content, evidence: receipts.Evidence) -> str:
    """The organisation whose node, active at the last header, signed the file."""
    organisation = _organisation(evidence, content.exporter)
    if organisation is None:
        raise refuse("exporter", "the exporter is no active node of the consortium")
    try:
        PublicKey(content.exporter).verify(DOMAIN, bundle.content, bundle.signature)
    except KeyMaterialError as fault:
        raise refuse("exporter-signature", "the exporter's signature does not hold") from fault
    return organisation


def _organisation(evidence: receipts.Evidence, node: bytes) -> str | None:
    """Whose active node this was at the last header; None if nobody's."""
    try:
        return receipts.active_node(node, evidence.states.get(identity_keys.node(node)))
    except CodecError as fault:
        raise refuse("exporter", f"a node's record is not canonical: {fault.cause}") from fault


def _cosigned(content: Content, evidence: receipts.Evidence) -> tuple[str, ...]:
    """The institutions whose nodes, active at the last header, cosigned it, each once, by name."""
    header = content.headers[-1].header
    point = Checkpoint(
        chain=header.chain,
        height=header.height,
        header=header.hash,
        app_hash=header.app_hash,
        log_size=content.log_size,
    )
    found: dict[str, None] = {}
    nodes = [one.node for one in content.cosignatures]
    if nodes != sorted(set(nodes)):
        raise refuse("cosignature", "the cosignatures are not one of each node, in their order")
    for one in content.cosignatures:
        verify_cosigned(Cosigned(checkpoint=point, node=one.node, signature=one.signature))
        organisation = _organisation(evidence, one.node)
        if organisation is None:
            raise refuse("cosignature", "who cosigned is no active node of the consortium")
        found[organisation] = None
    return tuple(sorted(found))
