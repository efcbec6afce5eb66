"""Reading a ledger that this node has verified, whoever makes its blocks: the part both drivers share.

Proofs are made at the newest header, which carries the app hash of the block before it (CometBFT's rule). The nodes
and values that the newest blocks overwrote are therefore kept in memory for a few blocks. Trusts its own storage; leaks
to whoever asks what is on the ledger, which every institution of the consortium may read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from fondaco.core.codec import Value, decode, encode
from fondaco.core.messages import from_bytes, to_bytes
from fondaco.errors import CodecError, DeadlineExceeded, LedgerError
from fondaco.ledger.application import Application, Finalized, TxResult
from fondaco.ledger.blocks import (
    BLOCK_PROTOCOL,
    CONSENSUS_HASH,
    EMPTY_HASH,
    MAX_WIRE_BYTES,
    NO_BLOCK,
    NO_COMMIT,
    Block,
    Commit,
    Header,
    Validator,
    ValidatorSet,
    data_hash,
    ordered,
    results_hash,
    updated,
    validators_hash,
)
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.integrity import check_whole
from fondaco.ledger.light import Anchor, Link, Proof, SignedHeader, carries
from fondaco.ledger.log import EventProof, Log, LogExtension
from fondaco.ledger.past import Overwritten, Past
from fondaco.ledger.registry import Registry
from fondaco.ledger.state import Tree
from fondaco.ledger.storage import Storage


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """Where a ledger is."""

    chain: str
    height: int
    time: int
    app_hash: bytes
    events: int
    says: str


SETS = "validators/"  # names of the stored sets: the height from which they sign
_LAYERS = 16


class TooEarly(LedgerError):
    """A block's time is ahead of this node's clock; what is signed may be right once the clocks agree."""

    code = "ledger.too_early"


MOST_AHEAD_SECONDS = 30


def check_time(header: Header, now: int) -> None:
    """Raise TooEarly unless a header is at most 30 s ahead of the clock (unix nanoseconds)."""
    ahead = (header.time - now) / 10**9
    if ahead > MOST_AHEAD_SECONDS:
        raise TooEarly(
            f"block {header.height} is {ahead:.0f} s ahead of this node's clock",
            remedy="set this machine's clock, or tell the validator's operator to set its own",
            height=header.height,
        )


SAYS = "tamper-evident, not Byzantine fault tolerant: one validator makes the blocks"


class Ledger:
    """The state, blocks and proofs of one chain, as of its last committed block. Safe from any thread."""

    says = SAYS

    def __init__(self, folder: Path | None, genesis: Genesis, registry: Registry) -> None:
        genesis.check()
        self.genesis = genesis
        self.chain_id = genesis.chain_id
        self.lock = threading.RLock()
        self._grown = threading.Condition(self.lock)
        self._watchers: list[Callable[[int], None]] = []
        self._storage = Storage(None if folder is None else folder / "ledger.sqlite")
        self._layers: deque[Overwritten] = deque(maxlen=_LAYERS)
        with contextlib.ExitStack() as undo:
            undo.callback(self._storage.close)
            self._app = Application(self._storage, registry)
            self._start()
            self._check_own()
            self._tip = self._load_tip()
            self._sets = self._load_sets()
            undo.pop_all()

    def _start(self) -> None:
        pinned = self._storage.meta("genesis")
        if pinned is not None and pinned != self.genesis.hash:
            raise LedgerError("this folder holds another chain", remedy="use the folder of this chain's node")
        if pinned is None:

            def pin(db: sqlite3.Connection) -> None:
                db.execute("INSERT INTO meta VALUES ('genesis', ?)", (self.genesis.hash,))

            self._app.init_chain(
                self.chain_id, self.genesis.time, self.genesis.state, pin, validators=self.genesis.validators
            )

    def _check_own(self) -> None:
        """Raise Damaged unless this node's own file is what was committed. Linear in the state and the log."""
        check_whole(
            self._storage,
            state_root=self._app.tree.root(),
            log_root=self._app.log.root(),
            log_size=self._app.log_size,
        )

    def _load_tip(self) -> Block | None:
        found = self._storage.block(self._app.height)
        if found is None:
            self._codes: tuple[int, ...] = ()
            return None
        self._codes = tuple(result.code for result in read_results(found[1]))
        return from_bytes(Block, found[0], limit=MAX_WIRE_BYTES)

    # -- a second history ------------------------------------------------------------------------------------

    @property
    def evidence(self) -> bytes | None:
        """What halted this ledger: the signed block, or signed header, that is not ours; None while it goes on."""
        return self._storage.meta("evidence")

    def _halted(self) -> str | None:
        """Why this ledger is halted, or None."""
        cause = self._storage.meta("halted")
        return None if cause is None else cause.decode()

    def _halt(self, cause: str, evidence: bytes) -> None:
        """Halt for good, with evidence, in one write."""
        self._storage.put_metas({"evidence": evidence, "halted": cause.encode()})

    def signed_tip(self) -> SignedHeader | None:
        """The newest signed header here; None before the first block."""
        with self.lock:
            return None if self._tip is None else SignedHeader(header=self._tip.header, commit=self._tip.commit)

    def _header_at(self, height: int) -> Header | None:
        """The header that is here at a height, or None."""
        tip = self._tip
        if tip is not None and tip.header.height == height:
            return tip.header
        found = self.block(height) if 0 < height <= self._app.height else None
        return None if found is None else from_bytes(Block, found, limit=MAX_WIRE_BYTES).header

    # -- who signs --------------------------------------------------------------------------------------------

    def _load_sets(self) -> list[tuple[int, tuple[Validator, ...]]]:
        later = self._storage.metas(SETS)
        return [
            (1, ordered(self.genesis.validators)),
            *((int(height), from_bytes(ValidatorSet, data).validators) for height, data in later),
        ]

    def validators_at(self, height: int) -> tuple[Validator, ...]:
        """The validators that sign a height, in their order; known up to two heights after the last block."""
        return next(known for since, known in reversed(self._sets) if since <= max(height, 1))

    def _next_sets(self, height: int, done: Finalized) -> tuple[int, tuple[Validator, ...]] | None:
        """The set that a block's updates make, and the first height that it signs: the one after the next."""
        if not done.validator_updates:
            return None
        updates = (Validator(key=update.key, power=update.power) for update in done.validator_updates)
        return height + 2, updated(self.validators_at(height + 1), updates)

    def set_changes(self, height: int) -> tuple[int, ...]:
        """The heights up to `height` that a new validator set is the first to sign."""
        return tuple(since for since, _known in self._sets[1:] if since <= height)

    def links(self, height: int) -> tuple[Link, ...]:
        """The headers by which one who trusts the genesis gets to a header, each trusted because of the one before.

        None as long as more than a third of the genesis' power signed; then the headers where the set changed.

        Raises:
            LedgerError: a header that is needed is not here.
        """
        trusted, found = self._sets[0][1], list[Link]()
        for since, known in (pair for pair in self._sets[1:] if pair[0] <= height):
            if carries(trusted, self._link(height).commit):
                break
            for at in (since - 1, since):
                if at > (found[-1].header.height if found else 0) and at < height:
                    found.append(self._link(at))
            trusted = known
        return tuple(found)

    def _link(self, height: int) -> Link:
        found = self.block(height)
        if found is None:
            raise LedgerError(f"block {height} is not here", remedy="ask a node that has the whole chain")
        block = from_bytes(Block, found, limit=MAX_WIRE_BYTES)
        return Link(header=block.header, commit=block.commit, validators=self.validators_at(height))

    # -- what the next block must look like -------------------------------------------------------------------

    def _next_header(self, time: int, txs: tuple[bytes, ...], proposer: bytes) -> Header:
        tip = self._tip
        height = self._app.height + 1
        return Header(
            block_version=BLOCK_PROTOCOL,
            app_version=self._app.version(height),
            chain=self.chain_id,
            height=height,
            time=time,
            last_block=NO_BLOCK if tip is None else tip.commit.block,
            last_commit_hash=self._last_commit().hash,
            data_hash=data_hash(txs),
            validators_hash=validators_hash(self.validators_at(height)),
            next_validators_hash=validators_hash(self.validators_at(height + 1)),
            consensus_hash=CONSENSUS_HASH,
            app_hash=self._app.app_hash,
            last_results_hash=results_hash(self._codes) if tip is not None else EMPTY_HASH,
            evidence_hash=EMPTY_HASH,
            proposer=proposer,
        )

    def _last_commit(self) -> Commit:
        return NO_COMMIT if self._tip is None else self._tip.commit

    def _commit_block(self, block: Block) -> tuple[TxResult, ...]:
        """Execute and persist a block that was checked; on any failure the ledger is as it was."""
        height = block.header.height
        with contextlib.ExitStack() as undo:
            undo.callback(self._app.roll_back)
            done = self._app.finalize_block(height, block.header.time, list(block.txs))
            data, written = to_bytes(block), write_results(done.results)
            self._persist(
                height, done, lambda db: db.execute("INSERT INTO block VALUES (?, ?, ?)", (height, data, written))
            )
            undo.pop_all()
        self._tip = block
        self._codes = tuple(result.code for result in done.results)
        self._grown.notify_all()
        return done.results

    def _persist(self, height: int, done: Finalized, also: Callable[[sqlite3.Connection], object]) -> None:
        """Commit the finalised block with what the driver adds; keep what it overwrote, for proofs of before."""
        values, pages = self._app.overwritten()
        layer = Overwritten(height, self._app.log_size, values, pages)
        changed = self._next_sets(height, done)

        def work(db: sqlite3.Connection) -> None:
            if changed is not None:
                chosen = to_bytes(ValidatorSet(validators=changed[1]))
                db.execute("INSERT INTO meta VALUES (?, ?)", (f"{SETS}{changed[0]:020}", chosen))
            also(db)

        self._app.commit(work)
        if changed is not None:
            self._sets.append(changed)
        self._layers.append(layer)

    def _announce(self, height: int) -> None:
        for watcher in tuple(self._watchers):
            watcher(height)

    # -- reading ----------------------------------------------------------------------------------------------

    def watch(self, watcher: Callable[[int], None]) -> None:
        """Call `watcher` with each new height, from the thread that committed it; it must be quick."""
        self._watchers.append(watcher)

    @property
    def height(self) -> int:
        """The last committed height."""
        return self._app.height

    def status(self) -> Status:
        """Where the ledger is."""
        with self.lock:
            time = self.genesis.time if self._tip is None else self._tip.header.time
            at = self._app
            return Status(self.genesis.chain, at.height, time, at.app_hash, at.log_size, self.says)

    def query(self, path: str, data: dict[str, Value] | None = None) -> Value:
        """Answer a read from committed state."""
        with self.lock:
            return self._app.query(path, data or {})

    def value(self, key: bytes) -> bytes | None:
        """The raw committed value of a state key."""
        with self.lock:
            return self._storage.get(key)

    def block(self, height: int) -> bytes | None:
        """A block's canonical bytes, or None."""
        found = self._storage.block(height)
        return None if found is None else found[0]

    def results(self, height: int) -> list[TxResult]:
        """What became of a block's transactions."""
        found = self._storage.block(height)
        return [] if found is None else read_results(found[1])

    def blocks(self, start: int, limit: int, most_bytes: int = 4 << 20) -> list[bytes]:
        """Blocks from `start` on, at most `limit` and about `most_bytes`."""
        found: list[bytes] = []
        size = 0
        for height in range(max(start, 1), min(start + limit, self._app.height + 1)):
            data = self.block(height)
            if not data or (found and size + len(data) > most_bytes):
                break
            found.append(data)
            size += len(data)
        return found

    def events(self, start: int, limit: int) -> list[tuple[int, dict[str, Value]]]:
        """Events from number `start` on, decoded."""
        decoded = ((index, decode(leaf)) for index, leaf in self._storage.events(start, limit))
        return [(index, leaf) for index, leaf in decoded if isinstance(leaf, dict)]

    def leaves(self, start: int, limit: int) -> list[tuple[int, bytes]]:
        """Entries of the log from number `start` on, as bytes."""
        return self._storage.events(start, limit)

    def wait_height(self, height: int, seconds: float) -> None:
        """Until that height is committed here.

        Raises:
            DeadlineExceeded: not within `seconds`.
        """
        with self._grown:
            if not self._grown.wait_for(lambda: self._app.height >= height, seconds):
                raise DeadlineExceeded(
                    f"the ledger stands at {self._app.height} and did not reach {height} in time",
                    remedy="check the link to the validator",
                    seconds=int(seconds),
                )

    # -- proving ----------------------------------------------------------------------------------------------

    def provable(self) -> bool:
        """Whether the newest header carries the newest app hash, so that the present state can be proven."""
        with self.lock:
            return self._tip is not None and self._tip.header.app_hash == self._app.app_hash

    def _provable_parts(self) -> tuple[Header, Commit, Storage | Past, Tree, Log]:
        """The newest header, and the state and the log that its app hash is made of."""
        if self._tip is None:
            raise LedgerError("there is no block yet", remedy="ask again after the next block")
        header, commit = self._tip.header, self._tip.commit
        if self.provable():
            return header, commit, self._storage, self._app.tree, self._app.log
        layers = [layer for layer in self._layers if layer.height >= header.height]
        if len(layers) != self._app.height - header.height + 1:
            raise LedgerError(
                "the present state is in no header yet",
                remedy="ask again after the next block",
                height=self.height,
            )
        past = Past(self._storage, layers)
        return header, commit, past, Tree(past), Log(self._storage, layers[0].log_size)

    def _proven_from(self) -> int:
        """The height of the newest header that is here: it proves the state of the block before."""
        return 0 if self._tip is None else self._tip.header.height

    def wait_provable(self, seconds: float) -> None:
        """Until what is committed now can be proven: its app hash, or a later one, is in a header.

        Raises:
            DeadlineExceeded: the header did not come within `seconds`.
        """
        with self._grown:
            now = self._app.height
            if not self._grown.wait_for(lambda: self.provable() or self._proven_from() > now, seconds):
                raise DeadlineExceeded(
                    "the header that proves the present state did not come in time",
                    remedy="check the link to the validator",
                    seconds=int(seconds),
                )

    def anchor(self) -> Anchor:
        """The newest header with the roots that its app hash is made of: the state after the block before it.

        Raises:
            LedgerError: this node has just started, and the next block has not come yet.
        """
        with self.lock:
            header, commit, _store, tree, log = self._provable_parts()
            return Anchor(
                header=header,
                commit=commit,
                validators=self.validators_at(header.height),
                links=self.links(header.height),
                state_root=tree.root(),
                log_root=log.root(),
                log_size=log.size,
            )

    def prove(self, keys: Sequence[bytes] = (), events: Sequence[int] = ()) -> Proof:
        """Keys (present or absent) and events, proven at the newest header.

        The proof shows all that blocks below `anchor.header.height` did; call `wait_provable` first to see the present.

        Raises:
            LedgerError: as `anchor`, or no such event.
        """
        with self.lock:
            _header, _commit, store, tree, log = self._provable_parts()
            return Proof(
                anchor=self.anchor(),
                states=tuple(tree.prove(key, store.get(key)) for key in keys),
                events=tuple(self._event(index, log) for index in events),
            )

    def _event(self, index: int, log: Log) -> EventProof:
        found = self._storage.events(index, 1)
        if not found or found[0][0] != index or index >= log.size:
            raise LedgerError("there is no such event", remedy="ask for one that the log holds", index=index)
        return EventProof(leaf=found[0][1], index=index, size=log.size, path=log.inclusion(index, log.size))

    def consistency(self, old: int) -> LogExtension:
        """That the log of the newest header extends the one that had `old` entries.

        Raises:
            LedgerError: as `anchor`, or the log is not that long.
        """
        with self.lock:
            _header, _commit, _store, _tree, log = self._provable_parts()
            if not 0 < old <= log.size:
                raise LedgerError("the log never had that size at this header", remedy="ask for a smaller size")
            return LogExtension(old=old, new=log.size, path=log.consistency(old, log.size))

    def close(self) -> None:
        """Close the file."""
        self._storage.close()


def write_results(results: Sequence[TxResult]) -> bytes:
    """Results as canonical bytes."""
    return encode([[r.code, r.codespace, r.error, r.cause, r.remedy, list(r.events)] for r in results])


def read_results(data: bytes) -> list[TxResult]:
    """Results from canonical bytes that this node wrote, however many they are.

    Raises:
        LedgerError: they were changed since.
    """
    damaged = LedgerError("the stored results are damaged", remedy="restore the ledger folder")
    try:
        decoded = decode(data, limit=len(data), items=len(data))
    except CodecError as fault:
        raise damaged from fault
    if not isinstance(decoded, list):
        raise damaged
    found: list[TxResult] = []
    for row in decoded:
        match row:
            case [int(code), str(space), str(error), str(cause), str(remedy), list(events)]:
                found.append(
                    TxResult(code, space, error, cause, remedy, tuple(e for e in events if isinstance(e, int)))
                )
            case _:
                raise damaged
    return found
