"""The deterministic application: ABCI's methods, in ABCI's order, over any storage.

Invariants: nothing is written before `commit`; the same blocks give the same app hash on every machine; a refused
transaction leaves no change and no event; an empty block at whose end nothing is due does not change the app hash.
AppHash = SHA-256("fondaco/app" 0x00 | state root | log root | log size as 8 bytes).
No clock, float or randomness: time comes with the block.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import sqlite3
import threading
from collections.abc import Callable
from typing import NamedTuple

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
from fondaco.ledger import spent
from fondaco.ledger.admission import Stale, turned_away
from fondaco.ledger.blocks import Validator, app_hash, block_source
from fondaco.ledger.contracts.kit import VALIDATORS, VERSION, Context, Event, ValidatorUpdate
from fondaco.ledger.execution import entropy, event_leaves, said
from fondaco.ledger.log import Log
from fondaco.ledger.quotas import Quotas
from fondaco.ledger.registry import Registry
from fondaco.ledger.state import Overlay, ReadStore, Tree
from fondaco.ledger.storage import Storage
from fondaco.ledger.transactions import MAX_AHEAD, BadTransaction, Body, Transaction
from fondaco.ledger.verified import MOST, MOST_BYTES, Verified

APP_VERSION = VERSION  # the newest rules that this software has, with all older ones for the heights they were made for
MAX_TXS_BYTES = (2 << 20) - (64 << 10)  # a block of 2 MiB, less room for header and commit
_NANOS = 1_000_000_000
_LONGEST_KIND = 64  # of what is remembered: ours are shorter
BAD_CODE, UNSOUND_CODE = 1, 4


class UpgradeNeeded(LedgerError):
    """The institutions voted for rules that this software does not have."""

    code = "ledger.upgrade_needed"


class TxResult(NamedTuple):
    """What became of a transaction: code 0, or a refusal with codespace, cause and remedy."""

    code: int
    codespace: str
    error: str
    cause: str
    remedy: str
    events: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Finalized:
    """What became of a block.

    The application puts `validator_updates` into the set of the block after the next, as CometBFT does: the next
    header's `next_validators_hash` has them, and the one after it is signed by them. `next_version` is the version of
    the rules of the next block, which its header carries. `hashes` are the transactions' SHA-256, in order.
    """

    results: tuple[TxResult, ...]
    hashes: tuple[bytes, ...]
    app_hash: bytes
    validator_updates: tuple[ValidatorUpdate, ...]
    next_version: int


def _refusal(code: int, codespace: str, fault: FondacoError) -> TxResult:
    """A refused transaction's result."""
    return TxResult(code, codespace, fault.code, *said(fault), ())


@dataclasses.dataclass(slots=True)
class _NextBlock:
    """What was found out, since the last commit, of what the next block may hold: it holds until the next commit.

    `version` is that of the next block's rules; `nonces` says whether the state has any of version 1.
    """

    version: int
    nonces: bool
    sound: dict[bytes, Transaction] = dataclasses.field(default_factory=dict)
    admitted: dict[tuple[tuple[bytes, ...], str], bool] = dataclasses.field(default_factory=dict)

    def remember(self, data: bytes, tx: Transaction) -> None:
        """A transaction is sound; as many are kept as `Verified` keeps."""
        if len(data) <= MOST_BYTES and len(self.sound) < MOST:
            self.sound[data] = tx


class _Phase(enum.Enum):
    IDLE = "idle"
    FINALIZED = "finalized"


class Application:
    """One ledger's rules and state; a driver calls it block by block."""

    def __init__(self, storage: Storage, registry: Registry) -> None:
        self._storage = storage
        self._registry = registry
        self._phase = _Phase.IDLE
        self._verified = Verified()
        self._admitting = threading.Lock()
        self._admitted = self._quotas()
        self._load()

    def _load(self) -> None:
        self.height = int.from_bytes(self._storage.meta("height") or b"", "big")
        self.chain = (self._storage.meta("chain") or b"").decode()
        size = int.from_bytes(self._storage.meta("log_size") or b"", "big")
        self._log = Log(self._storage, size)
        self._tree = Tree(self._storage)
        self._changes = Overlay(self._storage)
        self._leaves: list[bytes] = []
        self._first_leaf = size
        self._at, self._version = self.height, 1
        self._given: list[bytes] = []
        self._spent = spent.Spent(self._storage)
        self._fresh: dict[bytes, None] = {}
        self._next_block = self._after_commit()
        self._sealed = self.app_hash = app_hash(self._tree.root(), self._log.root(), size)
        self.log_size = size
        if self._storage.meta("app_hash") not in (None, self.app_hash):
            raise LedgerError(
                "the stored state is not the one that was committed: the ledger's file was changed or is damaged",
                remedy="restore the ledger folder from its backup, or fetch the chain again",
                height=self.height,
            )

    def _after_commit(self) -> _NextBlock:
        rules = self._registry.rules(self._storage, self.height + 1)
        return _NextBlock(rules.version, spent.has_nonces(self._storage))

    # -- ABCI, in its order ---------------------------------------------------------------------------------

    def info(self) -> tuple[int, bytes]:
        """Last committed height and app hash."""
        return self.height, self.app_hash

    def init_chain(
        self,
        chain: str,
        time: int,
        document: Value,
        also: Callable[[sqlite3.Connection], None] | None = None,
        *,
        validators: tuple[Validator, ...] = (),
    ) -> bytes:
        """Make the founding state (unix nanoseconds `time`); the first app hash. Persisted at once, as height 0.

        `also` is written in the same transaction; `validators` are the chain's first, which the contracts may read.

        Raises:
            LedgerError: there is a chain already.
        """
        if self.chain:
            raise LedgerError("this ledger has a genesis already", remedy="use an empty folder")
        self.chain = chain
        events: list[Event] = []
        founding = hashlib.sha256(encode(document)).digest()
        ctx = self._context(0, time)(store=self._changes, signers=(), tx=founding, events=events)
        for validator in validators:
            self._changes.set(VALIDATORS + validator.key, validator.power.to_bytes(8, "big"))
        self._registry.init_genesis(ctx, document)
        self._append(event_leaves(0, 0, ctx.tx, events))
        self._seal()
        self.commit(also)
        return self.app_hash

    def check_tx(self, data: bytes) -> Transaction:
        """Whether a transaction may wait for the next block, which it then counts for. Any thread may ask.

        Raises:
            BadTransaction, KeyMaterialError: it may not.
            Stranger, Expelled: the author is nobody in the consortium, or no longer.
            QuotaExceeded: since the last block, its organisation sent as many as a block may hold of it.
        """
        tx = self.sound(data)
        tx.check_payload()
        self.count_all([tx])
        return tx

    def count_all(self, txs: list[Transaction], waiting: Callable[[str], int] = lambda _name: 0) -> dict[bytes, str]:
        """Count sound transactions, whose payloads are messages, among those that wait; each author's organisation.

        Raises:
            QuotaExceeded: since the last block, an organisation sent more with these than a block may hold of it; or
                more wait with these, as `waiting` says. None is counted.
        """
        with self._admitting:
            return self._admitted.count_all(txs, waiting)

    def _quotas(self) -> Quotas:
        return Quotas(functools.partial(self._registry.quota, self._storage))

    def sound(self, data: bytes) -> Transaction:
        """A transaction that the next block may hold, whatever its organisation's quota. Any thread may ask.

        Raises:
            BadTransaction, KeyMaterialError: it is not well formed, or not signed.
            Stranger, Expelled: the author is nobody in the consortium, or no longer; its signature was not verified.
            Stale: its time is not now, or it was executed before; its signature was perhaps not verified.
        """
        next_block = self._next_block
        tx = next_block.sound.get(data)
        if tx is None:
            tx = self._verified.open(data, self.chain, self._fits)
            self._fits(tx.body, tx.mark)
            next_block.remember(data, tx)
        return tx

    def _fits(self, body: Body, mark: bytes) -> None:
        """Raise unless the next block may hold what says this: to be asked before a signature costs anything."""
        next_block = self._next_block
        admitted, author = next_block.admitted, (body.signers, body.kind)
        if (admits := admitted.get(author)) is None:
            admits = self._registry.admits(self._storage, body.signers, body.kind)
            if len(admitted) < MOST and len(body.kind) <= _LONGEST_KIND:  # nobody's signature was verified yet
                admitted[author] = admits
        if not admits:
            raise turned_away(self._registry.expelled(self._storage, body.signers[0]))
        self._timely(body, mark)

    def _timely(self, body: Body, mark: bytes) -> None:
        """Raise unless it is this transaction's time in the next block."""
        nonces = self._next_block.nonces or self._next_block.version == 1
        self._check_replay(body, mark, self._storage, self.height + 1, nonces=nonces)

    def prepare_proposal(self, txs: list[bytes], limit: int = MAX_TXS_BYTES, *, head: int = 0) -> list[bytes]:
        """The transactions, in order, that a block can hold; bad and doubled ones, and over quota, are left out.

        Those kept take at most `limit` bytes, with `head` bytes more for each.
        """
        self.verify_together(txs)
        kept: list[bytes] = []
        size, seen, quotas = 0, dict[bytes, None](), self._quotas()
        for data in txs:
            if size + len(data) + head > limit:
                break
            try:
                tx = self.sound(data)
                if tx.mark in seen:
                    continue
                quotas.count(tx)
            except FondacoError:
                continue
            seen[tx.mark] = None
            kept.append(data)
            size += len(data) + head
        return kept

    def hashes(self, txs: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """The SHA-256 of each."""
        return self._verified.hashes(txs)

    def why_not(self, data: bytes) -> FondacoError | None:
        """Why no later block may hold what prepare_proposal left out; None: it is sound, and may wait."""
        try:
            self.sound(data)
        except FondacoError as fault:
            return fault
        return None

    def process_proposal(self, txs: list[bytes], *, decided: bool = False) -> None:
        """Raise LedgerError unless a proposed block is one that prepare_proposal could have made.

        Of one that is `decided`, whom to let in was its validators' to say, by their release (admission.py).
        """
        if sum(map(len, txs)) > MAX_TXS_BYTES:
            raise BadTransaction("the block is too large", remedy="propose a smaller block")
        if decided:
            self._verified.together(txs, self.chain, self._timely)
        else:
            self.verify_together(txs)
        known = self._next_block.sound
        found = [self._decided(data) if decided else known.get(data) or self.sound(data) for data in txs]
        self._quotas().count_all(found)
        if len(dict.fromkeys(tx.mark for tx in found)) < len(found):
            raise BadTransaction("the block holds a bad or doubled transaction", remedy="propose sound blocks")

    def _decided(self, data: bytes) -> Transaction:
        """A transaction of a decided block, whose time it is."""
        tx = self._verified.open(data, self.chain, self._timely)
        self._timely(tx.body, tx.mark)
        return tx

    def finalize_block(self, height: int, time: int, txs: list[bytes]) -> Finalized:
        """Execute a block (unix nanoseconds `time`) and what is due at its end. Nothing is written yet.

        Raises:
            LedgerError: out of order.
            UpgradeNeeded: from this block on the rules are a version that this software does not have.
        """
        if self._phase is not _Phase.IDLE or height != self.height + 1 or not self.chain:
            raise LedgerError(
                f"block {height} does not follow {self.height}", remedy="apply blocks in order, each once"
            )
        self._check_version(height)
        self._verified.together(txs, self.chain)
        nonces = self._version == 1 or spent.has_nonces(self._changes)
        make = self._context(height, time)
        results = tuple([self._deliver(make, height, index, data, nonces=nonces) for index, data in enumerate(txs)])
        hashes = self._verified.hashes(txs)
        if txs and nonces:
            spent.forget_nonces(self._changes, height)
        if txs and self._version > 1:
            spent.put_block(self._changes, height, self._fresh)
            if nonces:
                spent.forget_version(self._changes)
        updates = self._end(height, time, len(txs))
        self._at, self._given = height, txs
        self._seal()
        return Finalized(
            results, hashes, self._sealed, updates, self._registry.rules(self._changes, height + 1).version
        )

    def commit(self, also: Callable[[sqlite3.Connection], None] | None) -> None:
        """Persist the finalised block in one transaction, with what the driver adds to it.

        Raises:
            LedgerError: nothing was finalised, or the disk refused.
        """
        if self._phase is not _Phase.FINALIZED:
            raise LedgerError("nothing was finalised", remedy="call finalize_block first")

        def work(db: sqlite3.Connection) -> None:
            self._storage.put_values(db, self._changes.changes)
            self._storage.put_pages(db, self._tree.pending)
            nodes = [(level, index, node) for (level, index), node in self._log.pending.items() if level]
            db.executemany("INSERT OR REPLACE INTO log_node VALUES (?, ?, ?)", nodes)
            leaves = [(self._first_leaf + at, self._at, leaf) for at, leaf in enumerate(self._leaves)]
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
        if self._fresh:
            self._spent.add(self._at, b"".join(self._fresh))
            self._fresh = {}
        self._changes = Overlay(self._storage)
        self._tree = Tree(self._storage)
        self._log = Log(self._storage, self._log.size)
        self._leaves = []
        self._verified.forget(self._given)
        self._phase = _Phase.IDLE
        self._next_block = self._after_commit()  # whoever still judges by the state before writes into the old one
        with self._admitting:
            self._admitted = self._quotas()

    def query(self, path: str, data: dict[str, Value]) -> Value:
        """Answer a read from committed state."""
        return self._registry.query(self._storage, path, data)

    def roll_back(self) -> None:
        """Drop a finalised block that is not to be committed; the state is as at the last commit."""
        self._phase = _Phase.IDLE
        self._load()

    def version(self, height: int) -> int:
        """The version of the rules at a height, at most one after the last block: what its header carries."""
        return self._registry.rules(self._storage, height).version

    def _check_version(self, height: int) -> None:
        rules = self._registry.rules(self._storage, height)
        if rules.version > APP_VERSION:
            raise UpgradeNeeded(
                f"from block {rules.height} on the rules are version {rules.version}; this software has {APP_VERSION}",
                remedy=f"install the package with SHA-256 {rules.package.hex()} and start the node again",
                height=height,
            )
        self._version = rules.version

    def waiting(self) -> tuple[int | None, int | None]:
        """The next height and time (unix seconds) at which a block has work of its own; None: nothing waits."""
        return self._registry.waiting(self._storage)

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
        """What stands, before the finalised block is committed, at the keys and pages of the tree that it changes."""
        return {key: self._storage.get(key) for key in self._changes.changes}, self._tree.before

    def _context(self, height: int, time: int) -> Callable[..., Context]:
        """What makes the contexts of a block, of a store, signers, a transaction's hash and events."""
        return functools.partial(
            Context,
            chain=self.chain,
            height=height,
            time=time // _NANOS,
            entropy=entropy(self.app_hash, height, time),
            version=self._version,
        )

    def verify_together(self, txs: list[bytes]) -> None:
        """Verify in one go all new signatures of what the next block may hold; those that hold are remembered."""
        next_block = self._next_block
        for data, tx in self._verified.together(txs, self.chain, self._fits):
            next_block.remember(data, tx)

    def _check_replay(self, body: Body, mark: bytes, store: ReadStore, height: int, *, nonces: bool) -> None:
        """Raise unless it is this transaction's time, and it was not executed yet; `nonces`: look for version 1's."""
        if not height <= body.expires <= height + MAX_AHEAD:
            raise Stale("the transaction has expired or expires too late", remedy="sign it again with a nearer expiry")
        if mark in self._spent or (nonces and spent.has_nonce(store, body)):
            raise Stale("the transaction was executed before", remedy="sign a new one with a new nonce")

    def _deliver(self, make: Callable[..., Context], height: int, index: int, data: bytes, *, nonces: bool) -> TxResult:
        try:
            tx = self._verified.open(data, self.chain)
            self._check_replay(tx.body, tx.mark, self._changes, height, nonces=nonces)
            if tx.mark in self._fresh:
                raise Stale("the block holds it twice", remedy="propose sound blocks")
        except FondacoError as fault:
            return _refusal(BAD_CODE, "ledger", fault)
        if self._version == 1:
            spent.put_nonce(self._changes, tx.body)
        else:
            self._fresh[tx.mark] = None
        branch, events = Overlay(self._changes), list[Event]()
        ctx = make(store=branch, signers=tx.signers, tx=tx.hash, events=events)
        try:
            self._registry.execute(ctx, tx.body.kind, tx.message(self._registry.message_of(tx.body.kind)))
            leaves = event_leaves(height, index, tx.hash, events)
        except ContractError as refusal:
            return _refusal(refusal.number, refusal.codespace, refusal)
        except (BadTransaction, CodecError, NamingError, KeyMaterialError, SealError) as fault:
            return _refusal(UNSOUND_CODE, "ledger", fault)
        branch.merge_into(self._changes)
        return TxResult(0, "", "", "", "", self._append(leaves))

    def _end(self, height: int, time: int, count: int) -> tuple[ValidatorUpdate, ...]:
        """Do what is due at the end of a block of `count` transactions; its events come after theirs."""
        events: list[Event] = []
        source = block_source(self.chain, height)
        ctx = self._context(height, time)(store=self._changes, signers=(), tx=source, events=events)
        self._registry.end_block(ctx)
        self._append(event_leaves(height, count, ctx.tx, events))
        last = {update.key: update for update in ctx.updates}
        updates = tuple(last[key] for key in sorted(last) if last[key].power != self._voted_power(key))
        for update in updates:
            if update.power:
                self._changes.set(VALIDATORS + update.key, update.power.to_bytes(8, "big"))
            else:
                self._changes.delete(VALIDATORS + update.key)
        return updates

    def _voted_power(self, key: bytes) -> int:
        """A validator's power before this block; CometBFT refuses to remove one that it does not have."""
        return int.from_bytes(self._changes.get(VALIDATORS + key) or b"", "big")

    def _append(self, leaves: list[bytes]) -> tuple[int, ...]:
        first = self._log.size + len(self._leaves)
        self._leaves += leaves
        return tuple(range(first, first + len(leaves)))

    def _seal(self) -> None:
        self._first_leaf = self._log.size
        self._log.extend(self._leaves)
        root = self._tree.update(self._changes.changes)
        self._sealed = app_hash(root, self._log.root(), self._log.size)
        self._phase = _Phase.FINALIZED
