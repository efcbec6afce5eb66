"""How much may wait for a block: refuse with a cause before latency grows, not when memory ends.

The application sees every transaction that enters CometBFT's mempool and every one that leaves it in a block. From the
blocks that left much waiting, and from those that were long under way, it learns how fast blocks can be, and lets as
much wait as is work for about `SECONDS`. Any other block says only that more may be possible: the bound grows when much
of it was used, as a congestion window does (RFC 7661), and without that as far as it was at first. It bounds this
node's mempool alone and never what a block may hold, so nodes may differ in it. Trusts nothing; leaks nothing.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable

SECONDS = 0.8
FLOOR = 200
CEILING = 16_000
FIRST_RATE = 1_500.0
LONG = 1.2  # seconds from when something waited to the block that took it
_GROWTH = 1.25
_SHORTEST = 0.05


class Backlog:
    """The transactions that wait, by their hash, with each one's last height and whose it is. Safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[bytes, tuple[int, str]] = {}
        self._of: dict[str, int] = {}
        self._rate = FIRST_RATE
        self._since = clock()  # what waits now has waited no longer than from here
        self._most = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, tx: object) -> bool:
        return tx in self._waiting

    @property
    def limit(self) -> int:
        """How many may wait now."""
        return min(CEILING, max(FLOOR, int(self._rate * SECONDS)))

    def full(self) -> bool:
        """Whether one more is too many."""
        return len(self._waiting) >= self.limit

    def full_for(self, bundle: bytes) -> bool:
        """Whether one more bundle is too many: from half of the limit on it depends on the bundle.

        Nodes that are full to much the same degree so refuse the same ones. If each refused its own, each would wait
        for its own turn to propose what the others did not take.
        """
        share = 128 + hashlib.sha256(bundle).digest()[0] // 2
        return len(self._waiting) >= self.limit * share // 256

    def of(self, whose: str) -> int:
        """How many of an organisation wait."""
        return self._of.get(whose, 0)

    def enter(self, tx: bytes, expires: int, whose: str) -> None:
        """A transaction of an organisation waits, until a block holds it or its last height has passed."""
        self.enter_all([(tx, expires, whose)])

    def enter_all(self, txs: list[tuple[bytes, int, str]]) -> None:
        """Transactions wait, each by its hash, with its last height and whose it is."""
        with self._lock:
            if not self._waiting:
                self._since = self._clock()
            for tx, expires, whose in txs:
                if tx in self._waiting:
                    self._take_out(tx)
                self._waiting[tx] = expires, whose
                self._of[whose] = self._of.get(whose, 0) + 1
            self._most = max(self._most, len(self._waiting))

    def _take_out(self, tx: bytes) -> None:
        found = self._waiting.pop(tx, None)
        if found is not None:
            self._of[found[1]] -= 1
            if not self._of[found[1]]:
                del self._of[found[1]]

    def leave(self, tx: bytes) -> None:
        """A transaction waits no longer, in a block or not."""
        with self._lock:
            self._take_out(tx)

    def block(self, height: int, txs: Iterable[bytes]) -> None:
        """The block of this height has taken these, and no later one can hold what expires with it."""
        now = self._clock()
        with self._lock:
            taken = list(txs)
            for tx in taken:
                self._take_out(tx)
            for tx in [tx for tx, (expires, _whose) in self._waiting.items() if expires <= height]:
                self._take_out(tx)
            seconds = now - self._since
            self._learn(len(taken), seconds)
            self._since, self._most = now, len(self._waiting)

    def _learn(self, taken: int, seconds: float) -> None:
        """A block took so many, and they were under way for so long."""
        rate = taken / max(seconds, _SHORTEST)
        used = 2 * self._most > self.limit
        if taken and (2 * len(self._waiting) > taken or (used and seconds > LONG)):
            self._rate = (self._rate + rate) / 2
        elif used or rate > self._rate:
            self._rate = max(rate, self._rate * _GROWTH)
        elif self._rate < FIRST_RATE:
            self._rate = min(self._rate * _GROWTH, FIRST_RATE)

    def clear(self) -> None:
        """Nothing waits any more."""
        with self._lock:
            self._waiting.clear()
            self._of.clear()
