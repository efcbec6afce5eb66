"""A transaction is verified once and remembered, from the check before a block to its execution in one.

Keyed by all its bytes, and only of what held, so what is remembered is what would be found again. Bounded in number
and bytes; safe from any thread. Trusts the kernel's and libsodium's judgement, which are one (core.keys).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fondaco.ledger.transactions import Admit, Transaction, open_many, open_transaction

MOST = 30_000
MOST_BYTES = 4096  # a larger transaction is verified each time, so that memory is bounded


class Verified:
    """The transactions of a chain that held."""

    def __init__(self) -> None:
        self._known: dict[bytes, Transaction] = {}

    def open(self, data: bytes, chain: str, admit: Admit | None = None) -> Transaction:
        """As `open_transaction`, once."""
        found = self._known.get(data)
        if found is None:
            found = open_transaction(data, chain, admit)
            self._remember(data, found)
        return found

    def together(self, txs: list[bytes], chain: str, admit: Admit | None = None) -> list[tuple[bytes, Transaction]]:
        """Verify the signatures of all that are not known yet, and that `admit` does not refuse, in one go.

        Those that held now come back, each with its bytes.
        """
        fresh = [data for data in txs if len(data) <= MOST_BYTES and data not in self._known]
        found = open_many(fresh, chain, admit) if fresh else []
        held = [(data, tx) for data, tx in zip(fresh, found, strict=True) if tx is not None]
        for data, tx in held:
            self._remember(data, tx)
        return held

    def hashes(self, txs: Sequence[bytes]) -> tuple[bytes, ...]:
        """The SHA-256 of each: of what is remembered it is known."""
        known = self._known
        return tuple([found.hash if (found := known.get(data)) else hashlib.sha256(data).digest() for data in txs])

    def forget(self, txs: list[bytes]) -> None:
        """The block with these transactions is committed: no other can hold them."""
        for data in txs:
            self._known.pop(data, None)

    def _remember(self, data: bytes, tx: Transaction) -> None:
        if len(self._known) >= MOST:
            self._known.clear()
        if len(data) <= MOST_BYTES:
            self._known[data] = tx
