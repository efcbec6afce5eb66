"""How much may wait for a block: refuse with a cause before latency grows, not when memory ends.

The application sees every transaction that enters CometBFT's mempool and every one that leaves it in a block. The
bound follows the rate of the last busy blocks: what waits must be work for about `SECONDS`. It bounds this node's
mempool alone and never what a block may hold, so nodes may differ in it. Trusts nothing; leaks nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

SECONDS = 1.2
FLOOR = 1_000
CEILING = 16_000
_BLOCKS = 8


class Backlog:
    """The transactions that wait, by their hash. Safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[bytes, None] = {}
        self._rates: deque[float] = deque(maxlen=_BLOCKS)
        self._last = clock()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def limit(self) -> int:
        """How many may wait now."""
        best = max(self._rates, default=0.0)
        return min(CEILING, max(FLOOR, int(best * SECONDS)))

    def full(self) -> bool:
        """Whether one more is too many."""
        return len(self._waiting) >= self.limit

    def enter(self, tx: bytes) -> None:
        """A transaction waits."""
        with self._lock:
            self._waiting[tx] = None

    def leave(self, tx: bytes) -> None:
        """A transaction waits no longer, in a block or not."""
        with self._lock:
            self._waiting.pop(tx, None)

    def block(self, txs: Iterable[bytes]) -> None:
        """A block has taken these. One that left others waiting, or took many, says how fast blocks can be."""
        now = self._clock()
        count = 0
        with self._lock:
            for tx in txs:
                count += 1
                self._waiting.pop(tx, None)
            if count:
                self._rates.append(count / max(now - self._last, 0.05))
            self._last = now

    def clear(self) -> None:
        """Nothing waits any more."""
        with self._lock:
            self._waiting.clear()
