"""The embedded driver: one validator in this process. Tamper-evident, not Byzantine fault tolerant.

Blocks are made by one thread from what was submitted, many transactions to a block, each block durable before any
of its submitters hears of it. After a block that changed the app hash, and when nothing waits, an empty block
follows whose header carries that hash, so that the state can be proven (CometBFT does the same).

Trusts its own key and disk: whoever holds the validator's key can sign a second history, which followers refuse and
keep as evidence; a validator that hears of a block that it signed and does not have makes no more. A fault that it
cannot go on from ends every waiting submission with the cause, and all later ones.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from fondaco.core.keys import SecretKey
from fondaco.core.messages import to_bytes
from fondaco.errors import DeadlineExceeded, LedgerError
from fondaco.ledger.admission import Stale
from fondaco.ledger.application import MAX_TXS_BYTES, TxResult
from fondaco.ledger.blocks import FLAG_COMMIT, Block, Commit, CommitSig, Validator, block_id, vote_bytes
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.light import SignedHeader, verify_signed
from fondaco.ledger.reader import Ledger, check_time
from fondaco.ledger.registry import Registry
from fondaco.ledger.transactions import BadTransaction
from fondaco.ledger.witness import pair_bytes, two_faces

MAX_WAITING = 50_000
MAX_WAITING_BYTES = 64 << 20
MAX_BLOCK_TXS = 4_000
BLOCK_SECONDS = 0.02  # at most 50 blocks a second: one fsync serves all that came meanwhile
IDLE_SECONDS = 1.0  # how often an empty block counts down to work that waits for a height
LONGEST_WAIT = 3600.0
STOP_SECONDS = 60.0
_MILLISECOND = 1_000_000


class LedgerFull(LedgerError):
    """Too many transactions wait; try again."""

    code = "ledger.full"


class NotAlone(LedgerError):
    """The validator set is not the one key of this embedded ledger."""

    code = "ledger.not_alone"


class Overtaken(LedgerError):
    """This validator signed a block that it does not have: it would make a second history."""

    code = "ledger.overtaken"


_RESTORE = "restore the newest backup of the ledger folder, or copy a follower's ledger.sqlite; keep what was here"


@dataclasses.dataclass(frozen=True, slots=True)
class Committed:
    """A transaction's place and result; `result.code` 0 means that it did what it says."""

    height: int
    index: int
    tx: bytes
    result: TxResult


class EmbeddedLedger(Ledger):
    """A ledger that makes its own blocks."""

    def __init__(self, folder: Path | None, genesis: Genesis, registry: Registry, validator: SecretKey) -> None:
        super().__init__(folder, genesis, registry)
        self._validator = validator
        self._address = Validator(key=validator.public.raw, power=1).address
        try:
            self._check_alone()
            if self._tip is not None:
                check_time(self._tip.header, time.time_ns())
        except LedgerError:
            self.close()
            raise
        self._waiting: deque[tuple[bytes, Future[Committed]]] = deque()
        self._waiting_bytes = 0
        self._work = threading.Condition()
        self._stopping = False
        self._failed: LedgerError | None = self._overtaken()
        self._when_failed: list[Callable[[LedgerError], object]] = []
        self._made = 0.0
        self._maker = threading.Thread(target=self._make_blocks, name="block-maker", daemon=True)
        self._maker.start()

    def hear(self, tip: SignedHeader | None) -> None:
        """Look at the newest header that a follower has (None: none yet) before serving it.

        This key may have signed what this ledger does not have: when its file was restored from an old backup, or is
        used twice. Going on would make a second history, so from then on no block is made, after a restart neither.

        Raises:
            ProofError: this key did not sign that header.
            Overtaken: it did, now or earlier, and the header is not here.
        """
        with self.lock:
            fault = self._overtaken()
            if fault is None:
                if tip is None or tip.header == self._header_at(tip.header.height):
                    return
                height = tip.header.height
                verify_signed(self.chain_id, tip.header, tip.commit, self.validators_at(height))
                cause = f"this validator signed block {height} ({tip.header.hash.hex()[:16]}), which is not here"
                self._halt(cause, to_bytes(tip))
                fault = Overtaken(cause, remedy=_RESTORE, height=height)
        self._fail(fault, [])
        raise fault

    def judge(self, first: SignedHeader, second: SignedHeader) -> None:
        """Two headers of one height that this key signed: from then on it makes no block.

        Raises:
            ProofError: this key did not sign both.
            Overtaken: it did, and the two differ; or it was halted before.
        """
        with self.lock:
            fault = self._overtaken()
            if fault is None:
                cause = two_faces(self.chain_id, first, second, self.validators_at(first.header.height))
                if cause is None:
                    return
                self._halt(cause, pair_bytes(first, second))
                fault = Overtaken(cause, remedy=_RESTORE, height=first.header.height)
        self._fail(fault, [])
        raise fault

    def _overtaken(self) -> Overtaken | None:
        halted = self._halted()
        return None if halted is None else Overtaken(halted, remedy=_RESTORE, height=self.height)

    def _check_alone(self) -> None:
        """This key alone signs the next block, or nobody here can make it."""
        if [known.key for known in self.validators_at(self.height + 1)] != [self._validator.public.raw]:
            raise NotAlone(
                "the key is not that of the chain's one validator",
                remedy="restore validator.key; a set of several validators runs on CometBFT",
                height=self.height + 1,
            )

    def submit(self, tx: bytes) -> Future[Committed]:
        """Check a transaction and put it into a coming block; the future ends once that block is durable.

        Raises:
            BadTransaction, KeyMaterialError: no block may hold it.
            LedgerFull: too many wait.
        """
        self._app.check_tx(tx)
        future: Future[Committed] = Future()
        future.set_running_or_notify_cancel()  # what was submitted cannot be taken back
        with self._work:
            if self._stopping or self._failed is not None:
                raise self._failed or LedgerError("the ledger is stopping", remedy="start the node again")
            if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + len(tx) > MAX_WAITING_BYTES:
                raise LedgerFull(f"{len(self._waiting)} transactions wait", remedy="submit again later")
            self._waiting.append((tx, future))
            self._waiting_bytes += len(tx)
            self._work.notify()
        return future

    def when_failed(self, watcher: Callable[[LedgerError], object]) -> None:
        """Call `watcher`, from the thread that makes blocks, when it cannot go on; at once if it could not before."""
        with self._work:
            self._when_failed.append(watcher)
            failed = self._failed
        if failed is not None:
            watcher(failed)

    def stop(self) -> None:
        """Make the last blocks and close.

        Raises:
            LedgerError: blocks could not be made.
            DeadlineExceeded: the disk did not take them in time.
        """
        with self._work:
            self._stopping = True
            self._work.notify()
        self._maker.join(STOP_SECONDS)
        if self._maker.is_alive():
            raise DeadlineExceeded(
                "the last block was not written in time", remedy="look at the disk", seconds=int(STOP_SECONDS)
            )
        self.close()

    def _take(self) -> list[tuple[bytes, Future[Committed]]] | None:
        """The next batch; empty when a proof block or a block's own work is due; None to stop."""
        with self._work:
            # Woken by submit and stop; a proof block is due only after a block of this same thread.
            self._work.wait_for(lambda: self._waiting or self._stopping or not self.provable(), self._until_due())
            due = self._made + BLOCK_SECONDS
            while not self._stopping and (left := due - time.monotonic()) > 0:
                self._work.wait(left)
            if not self._waiting and self._stopping:
                return None
            batch: list[tuple[bytes, Future[Committed]]] = []
            size = 0
            while self._waiting and len(batch) < MAX_BLOCK_TXS and size + len(self._waiting[0][0]) <= MAX_TXS_BYTES:
                item = self._waiting.popleft()
                batch.append(item)
                size += len(item[0])
            self._waiting_bytes -= size
            return batch

    def _until_due(self) -> float | None:
        """Seconds until an empty block is to be made so that waiting work falls due; None: nothing waits."""
        height, at = self._app.waiting()
        idle = None if height is None else max(0.0, self._made + IDLE_SECONDS - time.monotonic())
        if at is None:
            return idle
        timed = min(max(0.0, at - time.time()), LONGEST_WAIT)
        return timed if idle is None else min(idle, timed)

    def _make_blocks(self) -> None:
        batch: list[tuple[bytes, Future[Committed]]] | None = []
        fault = LedgerError("making blocks has ended by a defect", remedy="report the node's log; start it again")
        try:
            while (batch := self._take()) is not None:
                self._make(batch)
        except LedgerError as refused:
            fault = refused
        finally:
            if batch is not None:  # a defect too leaves nobody waiting
                self._fail(fault, batch)

    def _fail(self, fault: LedgerError, batch: list[tuple[bytes, Future[Committed]]]) -> None:
        with self._work:
            self._failed = fault = self._failed or fault
            watchers = tuple(self._when_failed)
            batch = [*batch, *self._waiting]
            self._waiting.clear()
        try:
            for watcher in watchers:  # first: who is told of a refusal, and asks, is to find the trouble
                watcher(fault)
        finally:  # a watcher's defect too leaves nobody waiting
            for _tx, future in batch:
                if not future.done():
                    future.set_exception(fault)

    def _make(self, batch: list[tuple[bytes, Future[Committed]]]) -> None:
        with self.lock:
            if self._failed is not None:
                raise self._failed
            self._check_alone()
            txs = tuple(self._app.prepare_proposal([tx for tx, _future in batch]))
            previous = self.genesis.time if self._tip is None else self._tip.header.time
            results = self._make_block(max(previous + _MILLISECOND, time.time_ns()), txs)
            height = self._app.height
        self._made = time.monotonic()
        places = {tx: index for index, tx in enumerate(txs)}
        left: list[tuple[bytes, Future[Committed]]] = []
        for tx, future in batch:
            index = places.pop(tx, None)
            if index is not None:
                future.set_result(Committed(height, index, hashlib.sha256(tx).digest(), results[index]))
            elif (fault := self._app.why_not(tx)) is not None:
                if isinstance(fault, Stale):
                    fault = BadTransaction("the transaction was doubled or has expired", remedy="sign a new one")
                future.set_exception(fault)
            else:
                left.append((tx, future))  # over its organisation's quota: a later block has room
        with self._work:
            self._waiting.extendleft(reversed(left))
            self._waiting_bytes += sum(len(tx) for tx, _future in left)
        self._announce(height)

    def _make_block(self, now: int, txs: tuple[bytes, ...]) -> tuple[TxResult, ...]:
        """Make, sign, execute and persist the next block, of this time (unix nanoseconds)."""
        header = self._next_header(now, txs, self._address)
        last = self._last_commit()
        unsigned = Commit(height=header.height, round=0, block=block_id(header, txs, last), signatures=())
        signature = self._validator.sign_raw(vote_bytes(self.chain_id, unsigned, now))
        signed = CommitSig.signed(FLAG_COMMIT, self._address, now, signature)
        commit = dataclasses.replace(unsigned, signatures=(signed,))
        return self._commit_block(Block(header=header, txs=txs, last_commit=last, commit=commit))
