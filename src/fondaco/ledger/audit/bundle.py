"""What is in a bundle, and making one from a ledger. Canonical bytes; at most 256 MiB.

A bundle holds the genesis, one signed header near the end of the chain, the selected events with their places in the
log under that header, the transactions that caused them with their places in signed blocks, the records of the
state with proofs, and receipts that link request, grant, task, result and settlement. The exporting node signs it.
It holds what the ledger holds, and the ledger holds no data.
"""

from __future__ import annotations

import hashlib

from fondaco.core.codec import Value, decode
from fondaco.core.keys import SecretKey
from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.errors import LedgerError
from fondaco.ledger.blocks import MAX_WIRE_BYTES, Block, Commit, Header
from fondaco.ledger.contracts.grants import keys as grant_keys
from fondaco.ledger.contracts.identity import keys as identity_keys
from fondaco.ledger.contracts.points import keys as point_keys
from fondaco.ledger.contracts.tasks import keys as task_keys
from fondaco.ledger.light import Anchor
from fondaco.ledger.log import EventProof, Log
from fondaco.ledger.reader import Ledger
from fondaco.ledger.state import StateProof

FORMAT = 1
MAX_BUNDLE = 256 << 20
DOMAIN = "audit-bundle"
_PAGE = 1000


@message("audit.transaction/1")
class TransactionProof:
    """A transaction and its place in a signed block; `place` proves its hash under the header's data hash."""

    tx: bytes
    header: Header
    commit: Commit
    place: EventProof


@message("audit.receipt/1")
class Receipt:
    """One task from end to end: ids, and the numbers of the events that show each link."""

    task: bytes
    requests: tuple[bytes, ...]
    grants: tuple[bytes, ...]
    result: bytes
    events: tuple[int, ...]


@message("audit.content/1")
class Content:
    """Everything that the exporter signs."""

    format: int
    genesis: bytes
    anchor: Anchor
    events: tuple[EventProof, ...]
    transactions: tuple[TransactionProof, ...]
    states: tuple[StateProof, ...]
    receipts: tuple[Receipt, ...]
    exporter: bytes


@message("audit.bundle/1")
class Bundle:
    """The file."""

    content: bytes
    signature: bytes


class _Memory:
    """Log nodes of one block's transactions."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}

    def get_log_node(self, level: int, index: int) -> bytes | None:
        """A node."""
        return self.nodes.get((level, index))


def place_of(txs: tuple[bytes, ...], index: int) -> EventProof:
    """The proof that a transaction is in a block, under Txs.Hash."""
    log = Log(_Memory(), 0)
    hashes = [hashlib.sha256(tx).digest() for tx in txs]
    for leaf in hashes:
        log.append(leaf)
    return EventProof(leaf=hashes[index], index=index, size=len(txs), path=log.inclusion(index, len(txs)))


def _all_events(ledger: Ledger) -> list[tuple[int, dict[str, Value]]]:
    found: list[tuple[int, dict[str, Value]]] = []
    while page := ledger.events(len(found), _PAGE):
        found += page
    return found


def _attributes(event: dict[str, Value]) -> dict[str, Value]:
    attributes = event["attributes"]
    return attributes if isinstance(attributes, dict) else {}


def _tasks(events: list[tuple[int, dict[str, Value]]]) -> list[Receipt]:
    """The receipts of all settled tasks."""
    receipts: list[Receipt] = []
    settled = [
        _attributes(event)["task"]
        for _index, event in events
        if (event["contract"], event["kind"]) == ("tasks", "settled")
    ]
    for task in settled:
        mine = [(i, e) for i, e in events if _attributes(e).get("task") == task]
        grants = list(dict.fromkeys(_attributes(e)["grant"] for _i, e in mine if e["kind"] == "relies-on"))
        links = [
            (i, e)
            for i, e in events
            if e["contract"] == "grants" and e["kind"] == "granted" and _attributes(e).get("grant") in grants
        ]
        requests = list(dict.fromkeys(_attributes(e)["request"] for _i, e in links))
        asked = [
            (i, e)
            for i, e in events
            if e["contract"] == "grants"
            and e["kind"] in ("requested", "reviewed")
            and _attributes(e).get("request") in requests
        ]
        result = next(_attributes(e)["result"] for _i, e in mine if e["kind"] == "finished")
        receipts.append(
            Receipt(
                task=_bytes(task),
                requests=tuple(_bytes(r) for r in requests),
                grants=tuple(_bytes(g) for g in grants),
                result=_bytes(result),
                events=tuple(sorted(i for i, _e in [*mine, *links, *asked])),
            )
        )
    return receipts


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise LedgerError("an event holds something else than an id", remedy="report this")
    return value


def _transactions(ledger: Ledger, chosen: list[tuple[int, dict[str, Value]]]) -> tuple[TransactionProof, ...]:
    wanted = sorted({(_int(e["height"]), _int(e["index"])): None for _i, e in chosen if _int(e["height"])})
    made: list[TransactionProof] = []
    blocks: dict[int, Block] = {}
    for height, index in wanted:
        if height not in blocks:
            data = ledger.block(height)
            if data is None:
                raise LedgerError("a block is missing here", remedy="let the node catch up", height=height)
            blocks = {height: from_bytes(Block, data, limit=MAX_WIRE_BYTES)}
        block = blocks[height]
        made.append(
            TransactionProof(
                tx=block.txs[index], header=block.header, commit=block.commit, place=place_of(block.txs, index)
            )
        )
    return tuple(made)


def _int(value: Value) -> int:
    return value if isinstance(value, int) else 0


def _state_keys(ledger: Ledger, exporter: bytes, receipts: list[Receipt]) -> list[bytes]:
    keys = [identity_keys.node(exporter), point_keys.SUPPLY]
    for row in _rows(ledger, "identity/organisations"):
        name = str(row["name"])
        keys += [identity_keys.organisation(name), point_keys.balance(name)]
    for row in _rows(ledger, "identity/nodes"):
        keys.append(identity_keys.node(_bytes(row["key"])))
    for row in _rows(ledger, "identity/users"):
        keys.append(identity_keys.user(_bytes(row["key"])))
    chosen = {grant: None for receipt in receipts for grant in receipt.grants}
    for row in _rows(ledger, "grants/grants"):
        chosen.setdefault(_bytes(row["id"]))
    for grant in chosen:
        keys += [grant_keys.grant(grant), point_keys.escrow(grant)]
    keys += [task_keys.task(receipt.task) for receipt in receipts]
    return list(dict.fromkeys(keys))


def _rows(ledger: Ledger, path: str) -> list[dict[str, Value]]:
    rows = ledger.query(path)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def export(ledger: Ledger, secret: SecretKey, *, task: bytes | None = None) -> bytes:
    """A bundle of everything, or of what concerns one settled task.

    Raises:
        LedgerError: no such settled task, or the present state cannot be proven yet.
    """
    with ledger.lock:
        events = _all_events(ledger)
        receipts = [r for r in _tasks(events) if task is None or r.task == task]
        if task is not None and not receipts:
            raise LedgerError("this task is not settled, so there is no receipt of it", remedy="wait until it is")
        chosen = events if task is None else [(i, e) for i, e in events if i in receipts[0].events]
        proof = ledger.prove(_state_keys(ledger, secret.public.raw, receipts), [index for index, _e in chosen])
        content = Content(
            format=FORMAT,
            genesis=to_bytes(ledger.genesis),
            anchor=proof.anchor,
            events=proof.events,
            transactions=_transactions(ledger, chosen),
            states=proof.states,
            receipts=tuple(receipts),
            exporter=secret.public.raw,
        )
    data = to_bytes(content)
    return to_bytes(Bundle(content=data, signature=secret.sign(DOMAIN, hashlib.sha256(data).digest())))


def event_of(proof: EventProof) -> dict[str, Value]:
    """The decoded event of a proof."""
    found = decode(proof.leaf)
    return found if isinstance(found, dict) else {}

