"""Quotas: how many transactions of an organisation a block may hold, as the institutions voted.

Trusts the application to give it verified transactions and committed quotas; leaks nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from fondaco.ledger.transactions import BadTransaction, Transaction


class QuotaExceeded(BadTransaction):
    """An organisation's transactions are more than a block may hold of them."""

    code = "ledger.quota"


class Quotas:
    """Transactions counted for one block; `quota_of` tells a signer's organisation and its quota, once for each."""

    def __init__(self, quota_of: Callable[[bytes], tuple[str, int]]) -> None:
        self._quota_of = quota_of
        self._known: dict[bytes, tuple[str, int]] = {}
        self._counts: dict[str, int] = {}

    def count(self, tx: Transaction, waiting: Callable[[str], int] = lambda _name: 0) -> str:
        """Count a transaction for its author's organisation, whose name comes back; `waiting` says how many wait of it.

        Raises:
            QuotaExceeded: it is one too many, in the block or of those that wait; it is not counted.
        """
        signer = tx.signers[0]
        if signer not in self._known:
            self._known[signer] = self._quota_of(signer)
        name, most = self._known[signer]
        if max(self._counts.get(name, 0), waiting(name)) >= most:
            raise QuotaExceeded(
                f"{name or 'unknown signers'} may have {most} transactions in a block",
                remedy="submit it again after the next block, or propose a larger quota",
                organisation=name,
            )
        self._counts[name] = self._counts.get(name, 0) + 1
        return name
