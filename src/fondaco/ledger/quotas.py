"""Quotas: how many transactions of an organisation a block may hold, as the institutions voted.

Trusts the application to give it verified transactions and committed quotas; leaks nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

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

    def count(self, tx: Transaction) -> None:
        """Count a transaction for its author's organisation.

        Raises:
            QuotaExceeded: it is one too many; it is not counted.
        """
        name, most = self._of(tx.signers[0])
        counted = self._counts.get(name, 0)
        if counted >= most:
            raise _too_many(name, most)
        self._counts[name] = counted + 1

    def count_all(
        self, txs: Iterable[Transaction], waiting: Callable[[str], int] = lambda _name: 0
    ) -> dict[bytes, str]:
        """Count them all, as `count` does one by one, or none; the organisation's name of each author.

        `waiting` says how many wait of an organisation.

        Raises:
            QuotaExceeded: one of them is one too many, in the block or of those that wait; none is counted.
        """
        counts: dict[str, int] = {}
        names: dict[bytes, str] = {}
        for signer, number in Counter([tx.signers[0] for tx in txs]).items():
            name, most = self._of(signer)
            names[signer] = name
            counts[name] = counts.get(name, 0) + number
            if counts[name] + max(self._counts.get(name, 0), waiting(name)) > most:
                raise _too_many(name, most)
        for name, number in counts.items():
            self._counts[name] = self._counts.get(name, 0) + number
        return names

    def _of(self, signer: bytes) -> tuple[str, int]:
        found = self._known.get(signer)
        if found is None:
            found = self._known[signer] = self._quota_of(signer)
        return found


def _too_many(name: str, most: int) -> QuotaExceeded:
    return QuotaExceeded(
        f"{name or 'unknown signers'} may have {most} transactions in a block",
        remedy="submit it again after the next block, or propose a larger quota",
        organisation=name,
    )
