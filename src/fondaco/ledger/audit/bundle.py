"""Makes an audit bundle from a node's own, verified ledger. Leaks to the file's readers what the selection holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from fondaco.core.keys import SecretKey
from fondaco.core.messages import from_bytes, to_bytes
from fondaco.errors import LedgerError
from fondaco.ledger.audit import receipts
from fondaco.ledger.audit.evidence import SUBJECTS
from fondaco.ledger.audit.format import (
    DOMAIN,
    FORMAT,
    MAX_BUNDLE,
    BlockLeaves,
    Bundle,
    Content,
    TransactionProof,
)
from fondaco.ledger.blocks import MAX_WIRE_BYTES, Block, ValidatorSet, data_leaves
from fondaco.ledger.contracts.identity import keys as identity_keys
from fondaco.ledger.contracts.settlement import keys as settlement_keys
from fondaco.ledger.light import SignedHeader
from fondaco.ledger.transactions import Transaction, open_transaction
from fondaco.ledger.witness import Cosignature, Cosigned, checkpoint

if TYPE_CHECKING:
    from fondaco.ledger.reader import Ledger

_PAGE = 1000


def export(
    ledger: Ledger,
    secret: SecretKey,
    *,
    task: bytes | None = None,
    events: Collection[int] | None = None,
    cosigned: Collection[Cosigned] = (),
) -> bytes:
    """A bundle of everything, of what concerns one task, or of chosen events, as of the newest header.

    While it is gathered no block is made or applied.

    Args:
        ledger: this node's ledger.
        secret: the key of an active node, which signs the bundle.
        task: the task with its grants and their requests.
        events: the numbers of events, which come with all that the receipts of their tasks and grants need; neither
            this nor a task is for the whole chain below the newest header.
        cosigned: what other nodes signed; those of the newest header by nodes that were active there are carried.

    Raises:
        LedgerError: no header yet, an unknown task, no events, or more than a bundle can hold.
        ProofError: the ledger's own records do not fit together.
    """
    with ledger.lock:
        anchor = ledger.anchor()
        known = _all_events(ledger, anchor.log_size)
        chosen = _chosen(known, task, events)
        complete = task is None and events is None
        tip = anchor.header.height
        places = {(event.height, event.index) for event in chosen if event.height}
        heights = set(range(1, tip)) if complete else {height for height, _index in places}
        blocks = {height: _block(ledger, height) for height in sorted(heights)}
        transactions = [
            proven
            for height, block in blocks.items()
            for proven in _proven(block)
            if complete or (height, proven.index) in places
        ]
        leaves = tuple(_leaves(ledger, block) for block in blocks.values() if block.txs)
        opened = _opened(transactions, ledger.chain_id)
        exporter = secret.public.raw
        witnesses = _witnesses(ledger, cosigned)
        nodes = [exporter, *(one.node for one in witnesses)]
        wanted = receipts.state_keys(receipts.Evidence(chosen, opened, {}), *nodes)
        proof = ledger.prove(wanted, [event.number for event in chosen])
        changed = {at for since in ledger.set_changes(tip) for at in (since - 1, since)}
        needed = sorted({*heights, *(height + 1 for height in heights), *changed, tip})
        headers = tuple(_signed(ledger, height) for height in needed)
        sets = dict.fromkeys(ledger.validators_at(height) for height in needed)
    evidence = receipts.Evidence(chosen, opened, {state.key: state.value for state in proof.states})
    grants = receipts.grants(evidence)
    body = to_bytes(
        Content(
            format=FORMAT,
            genesis=ledger.genesis,
            complete=complete,
            headers=headers,
            validators=tuple(ValidatorSet(validators=validators) for validators in sets),
            state_root=anchor.state_root,
            log_root=anchor.log_root,
            log_size=anchor.log_size,
            blocks=leaves,
            transactions=tuple(transactions),
            events=proof.events,
            states=proof.states,
            grants=grants,
            receipts=receipts.tasks(evidence, {receipt.grant: receipt for receipt in grants}),
            cosignatures=witnesses,
            exporter=exporter,
        )
    )
    file = to_bytes(Bundle(content=body, signature=secret.sign(DOMAIN, body)))
    if len(file) > MAX_BUNDLE:
        raise LedgerError("the bundle is over 64 MiB", remedy="export fewer tasks at once", size=len(file))
    return file


def _witnesses(ledger: Ledger, cosigned: Collection[Cosigned]) -> tuple[Cosignature, ...]:
    """The cosignatures of the newest header by nodes that are active under it, one of each, in their keys' order."""
    point = checkpoint(ledger.anchor())
    made = {one.node: one.signature for one in cosigned if one.checkpoint == point}
    proof = ledger.prove([identity_keys.node(node) for node in sorted(made)])
    records = zip(sorted(made), proof.states, strict=True)
    active = [node for node, state in records if receipts.active_node(node, state.value) is not None]
    return tuple(Cosignature(node=node, signature=made[node]) for node in active)


def _all_events(ledger: Ledger, size: int) -> list[receipts.Entry]:
    found: list[receipts.Entry] = []
    while len(found) < size:
        found += [receipts.entry(i, leaf) for i, leaf in ledger.leaves(len(found), min(_PAGE, size - len(found)))]
    return found


def _chosen(known: list[receipts.Entry], task: bytes | None, events: Collection[int] | None) -> list[receipts.Entry]:
    """All events; or those of a task, or the given ones, with what their receipts need."""
    if task is not None:
        if all(event.kind != "tasks.proposed" or event.raw("task") != task for event in known):
            raise LedgerError("there is no such task", remedy="name a task that was proposed on this ledger")
        return _related(known, {task})
    if events is None:
        return known
    numbers = frozenset(events)
    chosen = [event for event in known if event.number in numbers]
    if not chosen or len(chosen) != len(numbers):
        raise LedgerError("nothing is selected, or more than the log holds", remedy="select events that there are")
    ids = {value for event in chosen for name in SUBJECTS if isinstance(value := event.attributes.get(name), bytes)}
    numbers |= {event.number for event in _related(known, ids)}
    return [event for event in known if event.number in numbers]


def _related(events: list[receipts.Entry], ids: set[bytes]) -> list[receipts.Entry]:
    """The events about tasks, grants, requests and escrows, with what belongs to them.

    To a task belong its grants and its settlement, to a grant its request, to a request all its grants.
    """
    tasks = {
        settlement_keys.escrow(task): task for e in events if e.kind == "tasks.proposed" and (task := e.raw("task"))
    }
    wanted = ids | {tasks[escrow] for escrow in ids & tasks.keys()}
    links = [e for e in events if e.kind in ("tasks.relies-on", "grants.granted")]
    size = 0
    while size != len(wanted):
        size = len(wanted)
        for event in links:
            pair = ("task", "grant") if event.kind == "tasks.relies-on" else ("grant", "request")
            first, second = event.raw(pair[0]), event.raw(pair[1])
            if first in wanted or (event.kind == "grants.granted" and second in wanted):
                wanted |= {first, second}
    wanted |= {escrow for escrow, task in tasks.items() if task in wanted}
    return [event for event in events if any(event.attributes.get(name) in wanted for name in SUBJECTS)]


def _block(ledger: Ledger, height: int) -> Block:
    data = ledger.block(height)
    if data is None:
        raise LedgerError(f"block {height} is not here", remedy="export from a node that has the whole chain")
    return from_bytes(Block, data, limit=MAX_WIRE_BYTES)


def _signed(ledger: Ledger, height: int) -> SignedHeader:
    block = _block(ledger, height)
    return SignedHeader(header=block.header, commit=block.commit)


def _leaves(ledger: Ledger, block: Block) -> BlockLeaves:
    height = block.header.height
    codes = tuple(result.code for result in ledger.results(height))
    return BlockLeaves(height=height, txs=tuple(data_leaves(block.txs)), codes=codes)


def _proven(block: Block) -> list[TransactionProof]:
    height = block.header.height
    return [TransactionProof(height=height, index=index, tx=tx) for index, tx in enumerate(block.txs)]


def _opened(transactions: Iterable[TransactionProof], chain: str) -> dict[bytes, Transaction]:
    opened = (open_transaction(proven.tx, chain) for proven in transactions)
    return {tx.hash: tx for tx in opened}
