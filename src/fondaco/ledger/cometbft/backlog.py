"""How much may wait for a block: refuse with a cause before latency grows, not when memory ends.

The application sees every transaction that enters CometBFT's mempool and every one that leaves it in a block. From the
blocks that left much waiting it learns how fast blocks can be, and lets as much wait as is work for about `SECONDS`.
Blocks that took all say only that more is possible, so the bound then grows again. It bounds this node's mempool alone
and never what a block may hold, so nodes may differ in it. Trusts nothing; leaks nothing.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable

SECONDS = 1.2
FLOOR = 200
CEILING = 16_000
FIRST_RATE = 4_000.0
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
        self._last = clock()

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
        """Whether one more bundle is too many: from three quarters of the limit on it depends on the bundle.

        Nodes that are full to much the same degree so refuse the same ones. If each refused its own, each would wait
        for its own turn to propose what the others did not take.
        """
        share = 192 + hashlib.sha256(bundle).digest()[0] // 4
        return len(self._waiting) >= self.limit * share // 256

    def of(self, whose: str) -> int:
        """How many of an organisation wait."""
        return self._of.get(whose, 0)

    def enter(self, tx: bytes, expires: int, whose: str) -> None:
        """A transaction of an organisation waits, until a block holds it or its last height has passed."""
        with self._lock:
            self._take_out(tx)
            self._waiting[tx] = expires, whose
            self._of[whose] = self._of.get(whose, 0) + 1

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
            rate = len(taken) / max(now - self._last, _SHORTEST)
            self._last = now
            if 2 * len(self._waiting) > len(taken) > 0:
                self._rate = (self._rate + rate) / 2
            elif rate > self._rate or self._rate < FIRST_RATE:
                self._rate = max(rate, min(self._rate * _GROWTH, FIRST_RATE))

    def clear(self) -> None:
        """Nothing waits any more."""
        with self._lock:
            self._waiting.clear()
            self._of.clear()
