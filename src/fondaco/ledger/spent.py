"""Which transactions were executed, so that each counts once: a mark of each, until no block can hold it again.

Since version 2 of the rules (ADR 58) the state has one value for each block with transactions, `replay/block/<height>`:
the marks of what it executed, in order. Here they are known in memory. Version 1 has a key for each transaction,
`replay/nonce/<expiry><author><nonce>`; those that an upgrade finds stand until they expire. Whoever makes two
transactions of one mark, by 2**64 work, loses one of them. Trusts the store; leaks nothing that blocks do not say.
"""

from __future__ import annotations

from collections import deque

from fondaco.errors import LedgerError
from fondaco.ledger.state import ReadStore, Store
from fondaco.ledger.transactions import MARK_BYTES, MAX_AHEAD, Body

_BLOCKS = b"replay/block/"
_NONCES = b"replay/nonce/"
_PRUNED = b"replay/pruned"  # there is, or was at the last block with transactions, a key of version 1


def _block(height: int) -> bytes:
    return _BLOCKS + height.to_bytes(8, "big")


def _nonce(body: Body) -> bytes:
    return _NONCES + body.expires.to_bytes(8, "big") + body.signers[0] + body.nonce


def _marks(value: bytes) -> list[bytes]:
    return [value[at : at + MARK_BYTES] for at in range(0, len(value), MARK_BYTES)]


class Spent:
    """The marks of what committed blocks executed. Any thread may ask; one changes it."""

    def __init__(self, store: ReadStore) -> None:
        self._marks: set[bytes] = set()
        self._blocks: deque[tuple[int, bytes]] = deque()
        for key, value in store.items(_BLOCKS):
            if len(value) % MARK_BYTES:
                raise LedgerError("a block's marks are cut", remedy="restore the ledger folder from its backup")
            self.add(int.from_bytes(key[len(_BLOCKS) :], "big"), value)

    def __contains__(self, mark: object) -> bool:
        return mark in self._marks

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, height: int, value: bytes) -> None:
        """The block of this height is committed, and this is its value; older ones than matter are dropped."""
        self._marks.update(_marks(value))
        self._blocks.append((height, value))
        while self._blocks[0][0] <= height - MAX_AHEAD:
            self._marks.difference_update(_marks(self._blocks.popleft()[1]))


def has_nonces(store: ReadStore) -> bool:
    """Whether keys of version 1 may be there."""
    return store.get(_PRUNED) is not None


def has_nonce(store: ReadStore, body: Body) -> bool:
    """Whether version 1 has a key of this transaction."""
    return store.get(_nonce(body)) is not None


def put_nonce(store: Store, body: Body) -> None:
    """Note a transaction as version 1 does."""
    store.set(_nonce(body), b"\x01")


def put_block(store: Store, height: int, marks: dict[bytes, None]) -> None:
    """Note what a block executed, in order, and drop what no block can hold again.

    Only a block with transactions does this: any other would change the state, and so never be the last.
    """
    if marks:
        store.set(_block(height), b"".join(marks))
    for key, _value in list(store.span(_BLOCKS, _block(max(0, height - MAX_AHEAD) + 1))):
        store.delete(key)


def forget_nonces(store: Store, height: int) -> None:
    """Drop keys of version 1 that no block can hold again. Only a block with transactions does this."""
    before = int.from_bytes(store.get(_PRUNED) or b"", "big")
    # One that stands now was put by `before` or earlier, so it expires at before + MAX_AHEAD at the latest.
    for expired in range(before, min(height, before + MAX_AHEAD + 1)):
        old = [key for key, _value in store.items(_NONCES + expired.to_bytes(8, "big"))]
        for key in old:
            store.delete(key)
    store.set(_PRUNED, height.to_bytes(8, "big"))


def forget_version(store: Store) -> None:
    """After an upgrade: when no key of version 1 is left, nobody looks for one again."""
    if next(iter(store.items(_NONCES)), None) is None:
        store.delete(_PRUNED)
