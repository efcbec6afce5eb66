"""How transactions travel together on their way to a block: many in one entry of CometBFT's mempool.

CometBFT pays for each entry of its mempool: a message to the application for the check and one more after each block,
gossip, caches. A node therefore hands over what it took together as one bundle: the canonical list of transactions'
bytes. Every node's application takes a bundle apart when it is checked, and whoever proposes a block takes the
transactions out of it: **no block holds a bundle**, which `process_proposal` refuses as what it is, no transaction.
A bundle leaves the mempool at the first check after a block that finds none of its transactions waiting.

A transaction is a map and a bundle a list, so their first bytes differ. The decoder trusts nothing: size, number and
kind of the items are bounded before anything is verified. Leaks what transactions leak.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fondaco.core.codec import decode, encode
from fondaco.errors import CodecError
from fondaco.ledger.transactions import MAX_BYTES, BadTransaction

MOST = 1000  # transactions of a bundle
MOST_BYTES = 256 << 10
_LIST = 4  # CBOR's major type
_ROOM = 16  # bytes for the heads of the list and of one more item
_REMEDY = "bundle sound transactions, or submit them alone"


def is_bundle(data: bytes) -> bool:
    """Whether an entry of the mempool can only be a bundle."""
    return data[:1] != b"" and data[0] >> 5 == _LIST


def opened(data: bytes) -> tuple[bytes, ...]:
    """The transactions of an entry of the mempool: of a bundle, or the entry itself. Nothing is verified yet.

    Raises:
        BadTransaction: a bundle that is not one, or over its limits.
    """
    if not is_bundle(data):
        return (data,)
    try:
        found = decode(data, limit=MOST_BYTES, items=MOST)
    except CodecError as fault:
        raise BadTransaction(f"not a bundle: {fault.cause}", remedy=_REMEDY) from fault
    if not isinstance(found, list) or not found:
        raise BadTransaction("a bundle holds one transaction or more", remedy=_REMEDY)
    txs = tuple(tx for tx in found if isinstance(tx, bytes) and len(tx) <= MAX_BYTES and not is_bundle(tx))
    if len(txs) != len(found):
        raise BadTransaction("a bundle holds transactions alone", remedy=_REMEDY)
    return txs


def held_by(entry: bytes) -> tuple[bytes, ...] | BadTransaction:
    """As `opened`, for one of many entries: why it is none, in its place."""
    try:
        return opened(entry)
    except BadTransaction as fault:
        return fault


def bundles(txs: Iterable[bytes]) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
    """Entries for the mempool that hold these transactions in order, and what each holds; one alone stays itself."""
    held: list[bytes] = []
    size = 0
    for tx in txs:
        if held and (len(held) == MOST or size + len(tx) + _ROOM > MOST_BYTES):
            yield _entry(held), tuple(held)
            held, size = [], 0
        held.append(tx)
        size += len(tx) + _ROOM
    if held:
        yield _entry(held), tuple(held)


def _entry(txs: list[bytes]) -> bytes:
    return txs[0] if len(txs) == 1 else encode([*txs])
