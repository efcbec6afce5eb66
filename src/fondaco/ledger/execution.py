"""What a block is executed with and what that leaves: entropy of lots, entries of the log, words. Pure; no secrets."""

from __future__ import annotations

import hashlib

from fondaco.core.codec import encode
from fondaco.errors import FondacoError
from fondaco.ledger.contracts.kit import Event

MAX_SAID = 300  # bytes of a refusal's cause, and of its remedy; only its code is consensus


def entropy(before: bytes, height: int, time: int) -> bytes:
    """What draws by lot are made from: the app hash before a block, its height, its time in nanoseconds.

    Who signs a transaction of an earlier block does not know it; who proposes the block itself, and can choose its
    time, might try several (on CometBFT the time is the median of the validators' votes).
    """
    return hashlib.sha256(
        b"fondaco/entropy\x00" + before + height.to_bytes(8, "big") + time.to_bytes(8, "big")
    ).digest()


def event_leaves(height: int, index: int, tx: bytes, events: list[Event]) -> list[bytes]:
    """The log's entries for the events of one transaction, or of a block's end."""
    return [
        encode(
            {
                "tx": tx,
                "kind": event.kind,
                "index": index,
                "height": height,
                "contract": event.contract,
                "attributes": dict(event.attributes),
            }
        )
        for event in events
    ]


def said(fault: FondacoError) -> tuple[str, str]:
    """A refusal's cause and remedy, bounded and printable, since the sender may have chosen their words."""
    cause, remedy = (
        "".join(c if c.isprintable() else "?" for c in text[:MAX_SAID]).encode()[:MAX_SAID].decode("utf-8", "ignore")
        for text in (fault.cause, fault.remedy)
    )
    return cause, remedy
