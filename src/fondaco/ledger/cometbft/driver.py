"""The ledger of several validators: CometBFT orders the blocks, the application here executes, this node proves.

The same interface as the embedded driver's. A block is executed and persisted when CometBFT has decided it; its signed
header is then fetched from CometBFT and verified here, as a stranger would, before anything is proven with it.

Trusts more than two thirds of the validators' power, its own CometBFT process, and its own disk. Up to a third may
stop, lie or be cut off. If more stop, no block is made until they are back; if more lie, they can sign two histories,
which a light verifier that sees both will tell.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

from fondaco.core.codec import Value
from fondaco.core.messages import from_bytes, to_bytes
from fondaco.errors import FondacoError, LedgerError
from fondaco.ledger.application import MAX_TXS_BYTES, Finalized
from fondaco.ledger.blocks import MAX_WIRE_BYTES, Block, data_leaves, ordered, validators_hash
from fondaco.ledger.cometbft import abci, parts
from fondaco.ledger.cometbft.backlog import Backlog
from fondaco.ledger.cometbft.bundle import held_by
from fondaco.ledger.cometbft.executor import Executor
from fondaco.ledger.cometbft.home import Home, app_state
from fondaco.ledger.cometbft.mempool import Mempool
from fondaco.ledger.cometbft.pending import Pending
from fondaco.ledger.cometbft.process import Supervisor
from fondaco.ledger.cometbft.rpc import Rpc, RpcError
from fondaco.ledger.cometbft.server import AbciServer
from fondaco.ledger.cometbft.service import CHUNK_REJECT, SNAPSHOT_ABORT, Connection
from fondaco.ledger.cometbft.snapshots import Restore, SnapshotShelf, chunks_of, read_view
from fondaco.ledger.cometbft.standstill import PATIENCE, Standstill, look
from fondaco.ledger.embedded import Committed, LedgerFull
from fondaco.ledger.follower import Diverged
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.light import SignedHeader, Trusted, trust_genesis, verify_header
from fondaco.ledger.log import merkle_root
from fondaco.ledger.reader import Ledger, write_results
from fondaco.ledger.registry import Registry
from fondaco.ledger.witness import pair_bytes, two_faces

_log = logging.getLogger(__name__)
SNAPSHOT_BLOCKS = 1000
JOIN_SECONDS = 30.0
_ASKING_SECONDS = 1.0
_EVIDENCE = "keep both headers as evidence, and ask the other institutions which history they have"
_SEAL_RETRY_SECONDS = 0.1
_HEAD = 4  # bytes of protobuf before a transaction of at most 64 KiB, which CometBFT counts
_MOST_UNSEALED = 32  # blocks whose transactions are kept until their signed header is here
SAYS = "Byzantine fault tolerant while more than two thirds of the validators' power is honest and linked"


class CometLedger(Ledger):
    """A ledger whose blocks CometBFT orders."""

    says = SAYS

    def __init__(
        self,
        folder: Path,
        genesis: Genesis,
        registry: Registry,
        home: Home,
        *,
        snapshot_blocks: int = SNAPSHOT_BLOCKS,
        program: Path | None = None,
        environment: Mapping[str, str] | None = None,
        rpc: tuple[str, int] | None = None,
    ) -> None:
        self._fetched: dict[int, bytes] = {}
        self._unsealed: dict[int, tuple[tuple[bytes, ...], tuple[bytes, ...]]] = {}  # with their hashes
        super().__init__(folder, genesis, registry)
        self._file = folder / "ledger.sqlite"
        self._snapshot_blocks = snapshot_blocks
        self._shelf = SnapshotShelf(folder / "snapshots")
        self._restoring: Restore | None = None
        self._restore_folder = folder / "restoring"
        self._backlog = Backlog()
        address = rpc or home.rpc
        self.rpc = Rpc(address)
        self._sealing_rpc = Rpc(address)
        self._asking_rpc = Rpc(address, _ASKING_SECONDS)
        self._home = home
        self._last_block = time.monotonic()
        self._pending = Pending(self.rpc, self._backlog)
        self._mempool = Mempool(self._app, self._backlog, self._pending)
        self._executor = Executor(self._app)
        self.failed: LedgerError | None = None
        self._on_failure: list[Callable[[LedgerError], object]] = []
        self._stopping = False
        self._next_seal = self._storage.unsealed() or self._app.height + 1
        self._sealer = threading.Thread(target=self._seal_blocks, name="sealing", daemon=True)
        self._snapshotting: threading.Thread | None = None
        self.supervisor = Supervisor(home, program=program, environment=environment)
        self._server = AbciServer(home.abci, lambda: Connection(self), self._fail)

    def start(self) -> None:
        """Serve the application and run CometBFT.

        Raises:
            LedgerError: the socket cannot be made.
            Diverged: this ledger was halted by a second signed history.
        """
        if (halted := self._halted()) is not None:
            raise Diverged(f"this ledger is halted: {halted}", remedy=_EVIDENCE, height=self.height)
        self._last_block = time.monotonic()
        self._server.start()
        self._pending.start()
        self._sealer.start()
        self.supervisor.start()

    def stop(self) -> None:
        """Stop CometBFT, then the application; what waits for a block ends with that cause."""
        with self.lock:
            self._stopping = True
            self._grown.notify_all()
        self._pending.end(LedgerError("the ledger is stopping", remedy="start the node again"))
        self.supervisor.stop()
        self._server.stop()
        self.rpc.close()
        self._sealing_rpc.close()
        self._asking_rpc.close()
        for thread in (self._sealer, self._snapshotting):
            if thread is not None and thread.is_alive():
                thread.join(JOIN_SECONDS)
        self._pending.join(JOIN_SECONDS)
        with self.lock:
            self._executor.drop()
            if self._fetched and self.failed is None:
                self._storage.write(self._save_fetched)
        self.close()

    @property
    def trouble(self) -> str | None:
        """What keeps this ledger from going on, or None."""
        return self.failed.cause if self.failed is not None else self.supervisor.trouble

    def standstill(self) -> Standstill | None:
        """Why no block comes though one is due; None where it is not. Asks CometBFT, for some seconds at most.

        Raises:
            LedgerError: CometBFT's configuration cannot be read.
        """
        seconds, pause = time.monotonic() - self._last_block, self._home.longest_pause()
        return None if pause is None or seconds <= pause + PATIENCE else look(self._asking_rpc, seconds)

    def _fail(self, fault: LedgerError) -> None:
        _log.error("the ledger has ended: %s", fault.cause)
        with self.lock:
            self.failed = self.failed or fault
            self._grown.notify_all()
        self.supervisor.give_up()
        try:
            for tell in tuple(self._on_failure):  # first: who is told of a refusal, and asks, is to find the trouble
                tell(fault)
        finally:  # a watcher's defect too leaves nobody waiting
            self._pending.end(fault)

    def when_failed(self, tell: Callable[[LedgerError], object]) -> None:
        """Call `tell` with the cause, from the thread that met it, when this ledger cannot go on."""
        self._on_failure.append(tell)

    # -- a second history -------------------------------------------------------------------------------------

    def compare(self, signed: SignedHeader) -> None:
        """Compare a header that somebody showed with ours, where we have that height with its commit.

        Raises:
            ProofError: the validators did not sign that header.
            Diverged: they did, and it is not ours.
        """
        height = signed.header.height
        found = self.block(height) if 0 < height <= self.height else None
        if found is not None:
            block = from_bytes(Block, found, limit=MAX_WIRE_BYTES)
            self.judge(SignedHeader(header=block.header, commit=block.commit), signed)

    def judge(self, first: SignedHeader, second: SignedHeader) -> None:
        """Two headers of one height that the validators signed end this ledger: more than a third of them lies.

        Raises:
            ProofError: the validators did not sign both.
            Diverged: they did, and the two differ.
        """
        with self.lock:
            height = first.header.height
            cause = two_faces(self.chain_id, first, second, self.validators_at(height))
            if cause is None:
                return
            self._halt(cause, pair_bytes(first, second))
        fault = Diverged(cause, remedy=_EVIDENCE, height=height)
        self._fail(fault)
        raise fault

    # -- submitting -------------------------------------------------------------------------------------------

    def submit(self, tx: bytes) -> Future[Committed]:
        """Check a transaction and hand it to CometBFT; the future ends once a block with it is durable here.

        Raises:
            BadTransaction, KeyMaterialError: no block may hold it.
            LedgerFull: too much waits.
        """
        if self._stopping or self.failed is not None:
            raise self.failed or LedgerError("the ledger is stopping", remedy="start the node again")
        checked = self._app.sound(tx)
        checked.check_payload()  # else a bundle with it would be refused, and what else is in it with it
        if self._backlog.full() or len(self._pending) >= self._backlog.limit:
            raise LedgerFull(f"{len(self._backlog)} transactions wait", remedy="submit again later")
        return self._pending.add(checked.hash, tx, checked.body.expires)

    # -- what ABCI asks: the chain and its blocks -------------------------------------------------------------

    def info(self) -> tuple[int, bytes]:
        """Last committed height and app hash."""
        return self._app.info()

    def begin(self, request: abci.RequestInitChain) -> bytes:
        """The first app hash, if CometBFT's chain begins as ours does.

        Raises:
            LedgerError: it does not.
        """
        mine = self.genesis
        theirs = [(one.pub_key.ed25519 if one.pub_key else b"", one.power) for one in request.validators]
        state = json.dumps(app_state(mine), separators=(",", ":")).encode()
        sound = (
            (request.chain_id, request.time, request.initial_height) == (mine.chain_id, mine.time, 1)
            and sorted(theirs) == sorted((one.key, one.power) for one in mine.validators)
            and b"".join(request.app_state_bytes.split()) == state
            and self._app.height == 0
        )
        if not sound:
            raise LedgerError(
                "CometBFT's genesis is not this ledger's", remedy="write CometBFT's home again from the genesis"
            )
        return self._app.app_hash

    def check_many(self, txs: list[bytes], *, again: bool) -> list[tuple[int, str]]:
        """Code and cause for each entry of the mempool, a transaction or a bundle; code 0 may wait for a block."""
        return self._mempool.check_many(txs, again=again)

    def forget_mempool(self) -> None:
        """CometBFT's mempool begins anew."""
        self._mempool.forget()

    def propose(self, txs: list[bytes], limit: int) -> list[bytes]:
        """The block to propose: transactions, out of what the mempool has, with their heads in `limit` bytes."""
        found: dict[bytes, None] = {}
        for entry in txs:
            held = held_by(entry)
            found |= dict.fromkeys(held if isinstance(held, tuple) else ())
        return self._app.prepare_proposal(list(found), min(limit, MAX_TXS_BYTES), head=_HEAD)

    def accept(self, txs: list[bytes]) -> None:
        """Raise FondacoError unless the proposed block is sound."""
        self._app.process_proposal(txs)

    def version(self) -> int:
        """The version of the next block's rules."""
        return self._app.version(self._app.height + 1)

    def execute(self, request: abci.RequestFinalizeBlock) -> Finalized:
        """Execute a decided block."""
        with self.lock:
            if self.failed is not None:
                raise self.failed
            if validators_hash(self.validators_at(request.height + 1)) != request.next_validators_hash:
                raise LedgerError(
                    "the next validators are not those that this ledger computed",
                    remedy="keep the ledger's folder as evidence, and ask the other institutions",
                    height=request.height,
                )
            for lie in request.misbehavior:
                address = lie.validator.address.hex() if lie.validator else ""
                _log.warning("validator %s lied at height %d (kind %d)", address, lie.height, lie.type)
            return self._executor.execute(request)

    def ahead(self, proposal: abci.RequestProcessProposal) -> None:
        """Execute an accepted proposal while the validators vote on it."""
        with self.lock:
            if not self._ended():
                self._executor.ahead(proposal)

    def persist(self) -> None:
        """Commit the executed block, with the blocks fetched meanwhile; then tell who waited for it."""
        with self.lock:
            executed = self._executor.to_commit()
            height, done = self._app.height + 1, executed.done
            written = write_results(done.results)

            def also(db: sqlite3.Connection) -> None:
                db.execute("INSERT INTO block VALUES (?, x'', ?)", (height, written))
                self._save_fetched(db)

            self._persist(height, done, also)
            self._executor.committed()
            self._fetched.clear()
            if len(self._unsealed) < _MOST_UNSEALED:
                self._unsealed[height] = executed.txs, done.hashes
            self._grown.notify_all()
            self._snapshot(height)
        self._last_block = time.monotonic()
        self.supervisor.made_block()
        places = {key: index for index, key in enumerate(done.hashes)}
        self._backlog.block(height, places)
        self._pending.block(height, places, done.results)
        self._announce(height)

    def read(self, path: str, data: dict[str, Value]) -> tuple[Value, int]:
        """A query's answer and the height that it is of."""
        with self.lock:
            return self._app.query(path, data), self._app.height

    # -- what ABCI asks: snapshots ----------------------------------------------------------------------------

    def snapshots(self) -> list[parts.Snapshot]:
        """Snapshots that are here."""
        return self._shelf.listed()

    def chunk(self, height: int, kind: int, index: int) -> bytes:
        """A chunk of a snapshot; empty when it is not here."""
        return self._shelf.chunk(height, kind, index)

    def offer(self, snapshot: parts.Snapshot, app_hash: bytes) -> int:
        """Begin to restore a snapshot, if this ledger is empty and the snapshot has the form of one."""
        if self._app.height:
            return SNAPSHOT_ABORT
        self._restoring, result = Restore.offered(self._restore_folder, snapshot, app_hash, self.genesis.validators)
        return result

    def restore(self, index: int, chunk: bytes) -> int:
        """Take a chunk; with the last, become the snapshot's state if its app hash is the verified one."""
        restoring = self._restoring
        if restoring is None:
            return CHUNK_REJECT
        result = restoring.take(index, chunk)
        if restoring.whole:
            self._restoring = None
            with self.lock:
                result = restoring.install(self._storage)
                self._executor.drop()
                self._app.roll_back()
                self._sets = self._load_sets()
                self._layers.clear()
                self._unsealed.clear()
                self._next_seal = self._app.height + 1
                self._grown.notify_all()
        return result

    def _snapshot(self, height: int) -> None:
        busy = self._snapshotting is not None and self._snapshotting.is_alive()
        if height % self._snapshot_blocks or busy:
            return
        view, size = read_view(self._file), self._app.log_size

        def write() -> None:
            try:
                self._shelf.write(height, size, chunks_of(view))
            except LedgerError as fault:  # the ledger goes on without this snapshot
                _log.warning("no snapshot at height %d: %s", height, fault.cause)
            finally:
                view.close()

        self._snapshotting = threading.Thread(target=write, name="snapshot", daemon=True)
        self._snapshotting.start()

    # -- sealing: the signed header of each block, fetched and verified -----------------------------------------

    def block(self, height: int) -> bytes | None:
        """A block's canonical bytes, or None until its signed header is here."""
        found = self._fetched.get(height)
        return found if found is not None else super().block(height) or None

    def _load_tip(self) -> Block | None:
        found = self._storage.newest_block()
        self._codes = ()
        return None if found is None else from_bytes(Block, found[1], limit=MAX_WIRE_BYTES)

    def _save_fetched(self, db: sqlite3.Connection) -> None:
        rows = [(data, height) for height, data in self._fetched.items()]
        db.executemany("UPDATE block SET block = ? WHERE height = ?", rows)

    def _seal_blocks(self) -> None:
        while True:
            with self._grown:
                self._grown.wait_for(lambda: self._ended() or self._app.height >= self._next_seal)
                if self._ended():
                    return
                height = self._next_seal
            try:
                self._seal(height)
            except RpcError as fault:
                _log.debug("block %d waits for CometBFT: %s", height, fault.cause)
                with self._grown:
                    self._grown.wait_for(self._ended, _SEAL_RETRY_SECONDS)
            except LedgerError as fault:
                self._fail(fault)

    def _ended(self) -> bool:
        return self._stopping or self.failed is not None

    def _seal(self, height: int) -> None:
        """Fetch a block and believe it as a stranger would.

        Raises:
            RpcError: CometBFT does not have it yet.
            LedgerError: what CometBFT says is signed does not hold.
        """
        block, hashes = self._whole_block(height)
        header = block.header
        try:
            verify_header(self._trusted(block), header, block.commit, self.validators_at(height))
        except FondacoError as fault:
            raise LedgerError(
                f"CometBFT's block {height} does not verify: {fault.cause}",
                remedy="keep the ledger's folder as evidence, and ask the other institutions",
            ) from fault
        if merkle_root(hashes) != header.data_hash or block.last_commit.hash != header.last_commit_hash:
            raise LedgerError(f"CometBFT's block {height} is not whole", remedy="look at CometBFT's log")
        with self.lock:
            if self._next_seal != height:
                return  # a snapshot was restored meanwhile
            self._fetched[height] = to_bytes(block)
            self._unsealed.pop(height, None)
            self._tip = block
            self._next_seal = height + 1
            self._grown.notify_all()

    def _whole_block(self, height: int) -> tuple[Block, list[bytes]]:
        """A block as CometBFT has it, and its transactions' hashes.

        What it holds was executed here, so that is asked again only after a restart.
        """
        with self.lock:
            kept, tip = self._unsealed.get(height), self._tip
        if kept is None or tip is None:
            block = self._sealing_rpc.block(height)
            return block, data_leaves(block.txs)
        signed, last = self._sealing_rpc.signed_header(height), tip.commit
        if last.hash != signed.header.last_commit_hash:  # others signed in time for the block, not for our last look
            last = self._sealing_rpc.signed_header(height - 1).commit
        txs, hashes = kept
        return Block(header=signed.header, txs=txs, last_commit=last, commit=signed.commit), list(hashes)

    def _trusted(self, block: Block) -> Trusted:
        tip, header = self._tip, block.header
        if tip is None and header.height == 1:
            return trust_genesis(self.genesis)
        if tip is None:  # after a restored snapshot: the height before was verified by CometBFT's light client
            mine = ordered(self.validators_at(header.height))
            return Trusted(
                chain=self.chain_id,
                height=header.height - 1,
                time=self.genesis.time,
                header_hash=header.last_block.hash,
                validators=mine,
                next_validators_hash=validators_hash(mine),
            )
        return Trusted(
            chain=tip.header.chain,
            height=tip.header.height,
            time=tip.header.time,
            header_hash=tip.header.hash,
            validators=self.validators_at(tip.header.height),
            next_validators_hash=tip.header.next_validators_hash,
        )
