"""What this node submitted and is not in a block yet: handed to CometBFT in bundles, again when its mempool was lost.

A future ends in one of three ways: the block that holds the transaction is durable here; the transaction can be in no
block any more (it was refused, or its last height has passed); or the ledger stops, and says so. Whether a handed-over
transaction reached the mempool is not asked: the application itself sees it there, or in a block.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import threading
from collections import deque
from collections.abc import Container, Iterable
from concurrent.futures import Future

from fondaco.errors import LedgerError
from fondaco.ledger.application import TxResult
from fondaco.ledger.cometbft.bundle import bundles
from fondaco.ledger.cometbft.rpc import Rpc, RpcError
from fondaco.ledger.embedded import Committed
from fondaco.ledger.transactions import BadTransaction

_log = logging.getLogger(__name__)
BATCH = 500
BATCH_BYTES = 8 << 20  # in base64 well below the 16 MB that CometBFT reads of a request (home.py)
_RETRY_SECONDS = 0.25
_KNOWN = "tx already exists in cache"


@dataclasses.dataclass(frozen=True, slots=True)
class _Waiting:
    tx: bytes
    expires: int
    future: Future[Committed]


class Pending:
    """The submissions of this node, and the thread that hands them to CometBFT."""

    def __init__(self, rpc: Rpc, there: Container[bytes]) -> None:
        self._rpc = rpc
        self._there = there  # the hashes of what CometBFT's mempool holds: none is handed over twice
        self._work = threading.Condition()
        self._waiting: dict[bytes, _Waiting] = {}
        self._queue: deque[bytes] = deque()
        self._ended: LedgerError | None = None
        self._thread = threading.Thread(target=self._run, name="submitting", daemon=True)

    def start(self) -> None:
        """Begin to hand over."""
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: bytes, tx: bytes, expires: int) -> Future[Committed]:
        """Submit a checked transaction of this hash; doubled ones end at once.

        Raises:
            LedgerError: the ledger has ended.
        """
        future: Future[Committed] = Future()
        future.set_running_or_notify_cancel()  # what was submitted cannot be taken back
        with self._work:
            if self._ended is not None:
                raise self._ended
            if key in self._waiting:
                future.set_exception(BadTransaction("the transaction was doubled", remedy="wait for the first one"))
                return future
            self._waiting[key] = _Waiting(tx, expires, future)
            self._queue.append(key)
            self._work.notify()
        return future

    def block(self, height: int, places: dict[bytes, int], results: tuple[TxResult, ...]) -> None:
        """A block is durable: its transactions are done, and those that no later block may hold are over."""
        done: list[tuple[_Waiting, Committed]] = []
        with self._work:
            for key in places.keys() & self._waiting.keys():
                index = places[key]
                done.append((self._waiting.pop(key), Committed(height, index, key, results[index])))
            late = [key for key, one in self._waiting.items() if one.expires <= height]
            over = [self._waiting.pop(key) for key in late]
        for one, committed in done:
            one.future.set_result(committed)
        for one in over:
            one.future.set_exception(
                BadTransaction(f"the transaction expired at height {one.expires}", remedy="sign a new one")
            )

    def refused(self, key: bytes, cause: str) -> None:
        """CometBFT will not hold this transaction."""
        with self._work:
            one = self._waiting.pop(key, None)
        if one is not None:
            one.future.set_exception(BadTransaction(cause, remedy="sign a new one, or submit again later"))

    def again(self, keys: Iterable[bytes] | None = None) -> None:
        """Hand over again what still waits of these; of all, when CometBFT's mempool was lost."""
        with self._work:
            lost = self._waiting.keys() if keys is None else [key for key in keys if key in self._waiting]
            if not lost:
                return
            queued = dict.fromkeys(self._queue)
            self._queue.extend(key for key in lost if key not in queued)
            self._work.notify()

    def end(self, cause: LedgerError) -> None:
        """Nothing is handed over any more; all that waits ends with this cause."""
        with self._work:
            self._ended = self._ended or cause
            over = list(self._waiting.values())
            self._waiting.clear()
            self._queue.clear()
            self._work.notify()
        for one in over:
            one.future.set_exception(self._ended)

    def join(self, seconds: float) -> None:
        """Wait for the thread to end."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while (batch := self._take()) is not None:
            entries = list(bundles(one.tx for _key, one in batch))
            if not entries:
                continue
            try:
                causes = self._rpc.broadcast([entry for entry, _held in entries])
            except RpcError as fault:
                _log.debug("transactions wait for CometBFT: %s", fault.cause)
                with self._work:
                    self._queue.extendleft(key for key, _one in reversed(batch))
                    self._work.wait_for(lambda: self._ended is not None, _RETRY_SECONDS)
                continue
            for (_entry, held), cause in zip(entries, causes, strict=True):
                if cause and _KNOWN not in cause:
                    for tx in held:
                        self.refused(hashlib.sha256(tx).digest(), f"CometBFT did not take the transaction: {cause}")

    def _take(self) -> list[tuple[bytes, _Waiting]] | None:
        with self._work:
            self._work.wait_for(lambda: self._queue or self._ended is not None)
            if self._ended is not None:
                return None
            taken: list[tuple[bytes, _Waiting]] = []
            size = 0
            while self._queue and len(taken) < BATCH and size < BATCH_BYTES:
                key = self._queue.popleft()
                one = self._waiting.get(key)
                if one is not None and key not in self._there:
                    taken.append((key, one))
                    size += len(one.tx)
            return taken
