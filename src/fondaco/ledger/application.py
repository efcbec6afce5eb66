"""The deterministic application: ABCI's methods, in ABCI's order, over any storage.

Invariants: nothing is written before `commit`; the same blocks give the same app hash on every machine; a refused
transaction leaves no change and no event; an empty block does not change the app hash.
AppHash = SHA-256("fondaco/app" 0x00 | state root | log root | log size as 8 bytes).
No clock, float or randomness: time comes with the block.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import sqlite3
from collections.abc import Callable
from typing import Protocol

from fondaco.core.codec import Value, encode
from fondaco.errors import (
    CodecError,
    ContractError,
    FondacoError,
    KeyMaterialError,
    LedgerError,
    NamingError,
    SealError,
)
from fondaco.ledger.blocks import app_hash
from fondaco.ledger.contracts.kit import Context, Event
from fondaco.ledger.log import Log
from fondaco.ledger.state import Overlay, ReadStore, Tree
from fondaco.ledger.storage import Storage
from fondaco.ledger.transactions import MAX_AHEAD, BadTransaction, Transaction, open_transaction

APP_VERSION = 1
MAX_TXS_BYTES = (2 << 20) - (64 << 10)  # a block of 2 MiB, less room for header and commit
_REPLAY = b"replay/nonce/"
_PRUNED = b"replay/pruned"
_VERIFIED = 20_000
_VERIFIED_BYTES = 4096  # a larger transaction is verified each time, so that memory is bounded
_NANOS = 1_000_000_000
BAD_CODE, UNSOUND_CODE = 1, 4


class Registry(Protocol):
    """The contracts, as the application needs them."""

    def execute(self, ctx: Context, kind: str, payload: Value) -> None:
        """Run a message; ContractError refuses it."""

    def init_genesis(self, ctx: Context, document: Value) -> None:
        """Make the founding state."""

    def query(self, store: ReadStore, path: str, data: dict[str, Value]) -> Value:
        """Answer a read."""

    def end_block(self, ctx: Context) -> tuple[tuple[bytes, int], ...]:
        """What is due after a block's transactions; validators (raw key, new power), in order of key, power 0 to go."""


@dataclasses.dataclass(frozen=True, slots=True)
class TxResult:
    """What became of a transaction: code 0, or a refusal with codespace, cause and remedy."""

    code: int
    codespace: str
    error: str
    cause: str
    remedy: str
    events: tuple[int, ...]


class _Phase(enum.Enum):
    IDLE = "idle"
    FINALIZED = "finalized"


class Application:
    """One ledger's rules and state; a driver calls it block by block."""

    def __init__(self, storage: Storage, registry: Registry) -> None:
        self._storage = storage
        self._registry = registry
        self._phase = _Phase.IDLE
        self._verified: dict[bytes, Transaction] = {}
        self.validator_updates: tuple[tuple[bytes, int], ...] = ()
        self._load()

    def _load(self) -> None:
        self.height = int.from_bytes(self._storage.meta("height") or b"", "big")
        self.chain = (self._storage.meta("chain") or b"").decode()
        size = int.from_bytes(self._storage.meta("log_size") or b"", "big")
        self._log = Log(self._storage, size)
        self._tree = Tree(self._storage)
        self._changes = Overlay(self._storage)
        self._leaves: list[tuple[int, bytes]] = []
        self._at = self.height
        self._sealed = self.app_hash = app_hash(self._tree.root(), self._log.root(), size)
        self.log_size = size
        if self._storage.meta("app_hash") not in (None, self.app_hash):
            raise LedgerError(
                "the stored state is not the one that was committed: the ledger's file was changed or is damaged",
                remedy="restore the ledger folder from its backup, or fetch the chain again",
                height=self.height,
            )

    # -- ABCI, in its order ---------------------------------------------------------------------------------

    def info(self) -> tuple[int, bytes]:
        """Last committed height and app hash."""
        return self.height, self.app_hash

    def init_chain(
        self, chain: str, time: int, document: Value, also: Callable[[sqlite3.Connection], None] | None = None
    ) -> bytes:
        """Make the founding state (unix nanoseconds `time`); the first app hash. Persisted at once, as height 0.

        `also` is written in the same transaction.

        Raises:
            LedgerError: there is a chain already.
        """
        if self.chain:
            raise LedgerError("this ledger has a genesis already", remedy="use an empty folder")
        self.chain = chain
        events: list[Event] = []
        ctx = self._context(self._changes, 0, time, (), hashlib.sha256(encode(document)).digest(), events)
        self._registry.init_genesis(ctx, document)
        self._append(self._leaves_of(0, 0, ctx.tx, events))
        self._seal()
        self.commit(also)
        return self.app_hash

    def check_tx(self, data: bytes) -> Transaction:
        """Whether a transaction may be proposed for the next block. Any thread may ask.

        Raises:
            BadTransaction, KeyMaterialError: it may not.
        """
        tx = self._open(data)
        self._check_replay(tx, self._storage, self.height + 1)
        return tx

    def prepare_proposal(self, txs: list[bytes], limit: int = MAX_TXS_BYTES) -> list[bytes]:
        """The transactions, in order, that a block can hold; bad and doubled ones are left out."""
        kept: list[bytes] = []
        size, seen = 0, dict[bytes, None]()
        for data in txs:
            if size + len(data) > limit:
                break
            try:
                tx = self.check_tx(data)
            except FondacoError:
                continue
            key = self._replay_key(tx)
            if key not in seen:
                seen[key] = None
                kept.append(data)
                size += len(data)
        return kept

    def process_proposal(self, txs: list[bytes]) -> None:
        """Raise LedgerError unless a proposed block is one that prepare_proposal could have made."""
        if sum(map(len, txs)) > MAX_TXS_BYTES:
            raise BadTransaction("the block is too large", remedy="propose a smaller block")
        if self.prepare_proposal(txs) != txs:
            raise BadTransaction("the block holds a bad or doubled transaction", remedy="propose sound blocks")

    def finalize_block(self, height: int, time: int, txs: list[bytes]) -> tuple[list[TxResult], bytes]:
        """Execute a block (unix nanoseconds `time`); results and the new app hash. Nothing is written yet.

        `validator_updates` then says which validators change, until the next block.

        Raises:
            LedgerError: out of order.
        """
        if self._phase is not _Phase.IDLE or height != self.height + 1 or not self.chain:
            raise LedgerError(
                f"block {height} does not follow {self.height}", remedy="apply blocks in order, each once"
            )
        results = [self._deliver(height, time, index, data) for index, data in enumerate(txs)]
        if txs:
            self._forget_old(height)
        events: list[Event] = []
        self.validator_updates = self._registry.end_block(self._context(self._changes, height, time, (), b"", events))
        self._append(self._leaves_of(height, len(txs), b"", events))
        self._at = height
        self._seal()
        return results, self._sealed

    def commit(self, also: Callable[[sqlite3.Connection], None] | None) -> None:
        """Persist the finalised block in one transaction, with what the driver adds to it.

        Raises:
            LedgerError: nothing was finalised, or the disk refused.
        """
        if self._phase is not _Phase.FINALIZED:
            raise LedgerError("nothing was finalised", remedy="call finalize_block first")

        def work(db: sqlite3.Connection) -> None:
            self._storage.put_values(db, self._changes.changes)
            self._storage.put_nodes(db, self._tree.pending)
            nodes = [(level, index, node) for (level, index), node in self._log.pending.items()]
            db.executemany("INSERT OR REPLACE INTO log_node VALUES (?, ?, ?)", nodes)
            leaves = [(index, self._at, leaf) for index, leaf in self._leaves]
            db.executemany("INSERT INTO event VALUES (?, ?, ?)", leaves)
            meta = [
                ("height", self._at.to_bytes(8, "big")),
                ("chain", self.chain.encode()),
                ("log_size", self._log.size.to_bytes(8, "big")),
                ("app_hash", self._sealed),
            ]
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta)
            if also is not None:
                also(db)

        self._storage.write(work)
        self.height, self.app_hash, self.log_size = self._at, self._sealed, self._log.size
        self._changes = Overlay(self._storage)
        self._tree = Tree(self._storage)
        self._log = Log(self._storage, self._log.size)
        self._leaves = []
        self._phase = _Phase.IDLE

    def query(self, path: str, data: dict[str, Value]) -> Value:
        """Answer a read from committed state."""
        return self._registry.query(self._storage, path, data)

    def roll_back(self) -> None:
        """Drop a finalised block that is not to be committed; the state is as at the last commit."""
        self._phase = _Phase.IDLE
        self._load()

    # -- parts ----------------------------------------------------------------------------------------------

    @property
    def log(self) -> Log:
        """The committed event log, for proofs."""
        return Log(self._storage, self.log_size)

    @property
    def tree(self) -> Tree:
        """The committed state tree, for proofs."""
        return Tree(self._storage)

    @property
    def finalized(self) -> bool:
        """Whether a block is executed and not yet committed."""
        return self._phase is _Phase.FINALIZED

    def overwritten(self) -> tuple[dict[bytes, bytes | None], dict[bytes, bytes | None]]:
        """What stands, before the finalised block is committed, at the keys and tree nodes that it changes."""
        return {key: self._storage.get(key) for key in self._changes.changes}, self._tree.before()

    def _context(
        self,
        store: Overlay,
        height: int,
        time: int,
        signers: tuple[bytes, ...],
        tx: bytes,
        events: list[Event],
    ) -> Context:
        return Context(
            store=store,
            chain=self.chain,
            height=height,
            time=time // _NANOS,
            signers=signers,
            tx=tx,
            events=events,
        )

    def _open(self, data: bytes) -> Transaction:
        key = hashlib.sha256(data).digest()
        found = self._verified.get(key)
        if found is None:
            found = open_transaction(data, self.chain)
            if len(self._verified) >= _VERIFIED:
                self._verified.clear()
            if len(data) <= _VERIFIED_BYTES:
                self._verified[key] = found
        return found

    @staticmethod
    def _replay_key(tx: Transaction) -> bytes:
        return _REPLAY + tx.body.expires.to_bytes(8, "big") + tx.signers[0] + tx.body.nonce

    def _check_replay(self, tx: Transaction, store: ReadStore, height: int) -> None:
        if not height <= tx.body.expires <= height + MAX_AHEAD:
            raise BadTransaction(
                "the transaction has expired or expires too late", remedy="sign it again with a nearer expiry"
            )
        if store.get(self._replay_key(tx)) is not None:
            raise BadTransaction("the transaction was executed before", remedy="sign a new one with a new nonce")

    def _deliver(self, height: int, time: int, index: int, data: bytes) -> TxResult:
        try:
            tx = self._open(data)
            self._check_replay(tx, self._changes, height)
        except FondacoError as fault:
            return TxResult(BAD_CODE, "ledger", fault.code, fault.cause, fault.remedy, ())
        self._verified.pop(tx.hash, None)
        self._changes.set(self._replay_key(tx), b"\x01")
        branch, events = Overlay(self._changes), list[Event]()
        ctx = self._context(branch, height, time, tx.signers, tx.hash, events)
        try:
            self._registry.execute(ctx, tx.body.kind, tx.body.payload)
            leaves = self._leaves_of(height, index, tx.hash, events)
        except ContractError as refusal:
            return TxResult(refusal.number, refusal.codespace, refusal.code, refusal.cause, refusal.remedy, ())
        except (CodecError, NamingError, KeyMaterialError, SealError) as fault:
            return TxResult(UNSOUND_CODE, "ledger", fault.code, fault.cause, fault.remedy, ())
        branch.merge_into(self._changes)
        return TxResult(0, "", "", "", "", self._append(leaves))

    @staticmethod
    def _leaves_of(height: int, index: int, tx: bytes, events: list[Event]) -> list[bytes]:
        """The log's entries for the events of one transaction."""
        return [
            encode(
                {
                    "attributes": dict(event.attributes),
                    "contract": event.contract,
                    "height": height,
                    "index": index,
                    "kind": event.kind,
                    "tx": tx,
                }
            )
            for event in events
        ]

    def _append(self, leaves: list[bytes]) -> tuple[int, ...]:
        places = tuple(self._log.append(leaf) for leaf in leaves)
        self._leaves.extend(zip(places, leaves, strict=True))
        return places

    def _forget_old(self, height: int) -> None:
        """Drop nonces that no block can hold again. Only a block with transactions comes here."""
        before = int.from_bytes(self._changes.get(_PRUNED) or b"", "big")
        # A nonce that stands now was put by `before` or earlier, so it expires at before + MAX_AHEAD at the latest.
        for expired in range(before, min(height, before + MAX_AHEAD + 1)):
            old = [key for key, _value in self._changes.items(_REPLAY + expired.to_bytes(8, "big"))]
            for key in old:
                self._changes.delete(key)
        self._changes.set(_PRUNED, height.to_bytes(8, "big"))

    def _seal(self) -> None:
        root = self._tree.update(self._changes.changes)
        self._sealed = app_hash(root, self._log.root(), self._log.size)
        self._phase = _Phase.FINALIZED
