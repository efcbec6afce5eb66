"""The audit bundle's format: canonical, bounded, each field covered by a named check of `verify`.

A file is the content's bytes and the exporter's signature over them (domain "audit-bundle"). What a reader believes,
it believes because of the pinned genesis hash; the exporter is believed for nothing but having exported.
"""

from __future__ import annotations

from fondaco.core.messages import from_bytes, message
from fondaco.errors import CodecError, ProofError
from fondaco.ledger.blocks import ValidatorSet
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.light import SignedHeader
from fondaco.ledger.log import EventProof
from fondaco.ledger.state import StateProof
from fondaco.ledger.witness import Cosignature

DOMAIN = "audit-bundle"
FORMAT = 4
MAX_BUNDLE = 64 << 20
_ITEMS, _BYTES_PER_ITEM = (
    1 << 14,
    6,
)  # a bundle is mostly hashes and signatures: it has an item for each 12 bytes or more


@message("audit.block/1")
class BlockLeaves:
    """All that a block's data hash and the next header's last results hash are made over, so that none can be left out.

    `txs` are the SHA-256 of all transactions of block `height`, `codes` their results, both in order.
    """

    height: int
    txs: tuple[bytes, ...]
    codes: tuple[int, ...]


@message("audit.transaction/2")
class TransactionProof:
    """Transaction `index` of block `height`; the block's leaves have its hash and its result."""

    height: int
    index: int
    tx: bytes


@message("audit.grant-receipt/1")
class GrantReceipt:
    """The life of one grant: request, approval, uses, end. Numbers of events are places in the log."""

    grant: bytes
    request: bytes
    item: int
    holder: str
    holder_key: bytes
    provider: str
    path: str
    version: int
    purpose: str
    basis: str
    reviewer: bytes | None
    requested: int
    reviewed: int | None
    granted: int
    used: tuple[int, ...]
    returned: tuple[int, ...]
    ended: int | None
    payments: tuple[int, ...]
    status: str
    uses_total: int
    uses_left: int
    price: int
    paid: int
    refunded: int
    escrow: int


@message("audit.receipt/1")
class Receipt:
    """The life of one task: proposal, grants, acceptance, attempts, reports, result (empty: none), settlement.

    `certificates`, `revoked`: where uses were certified and certificates revoked; `owed` = `paid` + `refunded` +
    `held`, in points; `basis`: what divided the providers' share; `dispute`: all events of a dispute about the task,
    `outcome`: how it ended (empty: there is none, or it is open).
    """

    task: bytes
    initiator: str
    initiator_key: bytes
    coordinator: str
    purpose: str
    workflow: bytes
    requests: tuple[bytes, ...]
    grants: tuple[bytes, ...]
    proposed: int
    accepted: tuple[int, ...]
    running: tuple[int, ...]
    begun: tuple[int, ...]
    reported: tuple[int, ...]
    failed: tuple[int, ...]
    finished: int | None
    result: bytes
    certificates: tuple[int, ...]
    revoked: tuple[int, ...]
    settled: int | None
    settlement: tuple[int, ...]
    basis: str
    owed: int
    paid: int
    refunded: int
    held: int
    dispute: tuple[int, ...]
    outcome: str
    ended: int | None
    status: str


@message("audit.content/3")
class Content:
    """All that is exported. `complete`: every block, transaction and event below the last header is in it.

    `validators` are the sets that signed the headers, each once, found by their hash; `blocks` are those that hold
    transactions and that a transaction or an event of the bundle comes from; `cosignatures` are those of other nodes,
    active at the last header, over its checkpoint, in the order of their keys: as many as the exporter had.
    """

    format: int
    genesis: Genesis
    complete: bool
    headers: tuple[SignedHeader, ...]
    validators: tuple[ValidatorSet, ...]
    state_root: bytes
    log_root: bytes
    log_size: int
    blocks: tuple[BlockLeaves, ...]
    transactions: tuple[TransactionProof, ...]
    events: tuple[EventProof, ...]
    states: tuple[StateProof, ...]
    grants: tuple[GrantReceipt, ...]
    receipts: tuple[Receipt, ...]
    cosignatures: tuple[Cosignature, ...]
    exporter: bytes


@message("audit.bundle/1")
class Bundle:
    """The file: the content's bytes and the exporter's signature over them."""

    content: bytes
    signature: bytes


def refuse(check: str, cause: str, **details: int | str | bytes) -> ProofError:
    """The error of a check that failed."""
    remedy = "do not rely on this file: take another node's export, and ask the exporter why"
    return ProofError(cause, check=check, remedy=remedy, **details)


def open_bundle(data: bytes) -> tuple[Bundle, Content]:
    """The file and its content.

    Raises:
        ProofError: check `format`.
    """
    try:
        bundle = from_bytes(Bundle, data, limit=MAX_BUNDLE)
        items = _ITEMS + len(bundle.content) // _BYTES_PER_ITEM
        content = from_bytes(Content, bundle.content, limit=MAX_BUNDLE, items=items)
    except CodecError as fault:
        raise refuse("format", f"not an audit bundle: {fault.cause}") from fault
    if content.format != FORMAT:
        raise refuse("format", f"an audit bundle of format {content.format}, which this software does not read")
    return bundle, content
