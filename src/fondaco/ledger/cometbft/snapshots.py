"""State sync: a snapshot of state and log in chunks, and a ledger restored from one, verified against the app hash.

A snapshot holds every key with its value and every event, in order, and the sets of validators. Chunks are
canonical lists of at most about 1 MiB; the manifest names each by its SHA-256, and its own hash names the snapshot.
Who restores believes none of it: chunks must match the manifest, keys and events must be in order, and the app hash
computed from them must be the one that CometBFT's light client verified. The sets alone are not under that hash.
The last of them must be the one that the state has; the one before it, if it still signs the next block, is held
against that block's header, which ends the ledger if it is another (driver.py); older ones are dropped unbelieved.

A snapshot is read through a connection of its own, as of one commit, while blocks go on. It leaks what is on the
ledger, which every member may read. Blocks before it are not in it: a node that began from one has none of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from fondaco.core.codec import Value, decode, encode
from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.errors import CodecError, FondacoError, LedgerError
from fondaco.ledger.blocks import Validator, ValidatorSet, app_hash, ordered
from fondaco.ledger.cometbft import parts
from fondaco.ledger.cometbft.service import (
    CHUNK_REJECT,
    RETRY,
    SNAPSHOT_ACCEPT,
    SNAPSHOT_REJECT,
    SNAPSHOT_REJECT_FORMAT,
)
from fondaco.ledger.contracts.kit import VALIDATORS
from fondaco.ledger.log import Log
from fondaco.ledger.reader import SETS
from fondaco.ledger.state import Tree
from fondaco.ledger.storage import Storage

FORMAT = 1
KEPT = 2
CHUNK_BYTES = 1 << 20
MAX_CHUNK = CHUNK_BYTES + (1 << 20)
MAX_CHUNKS = 50_000
MAX_MANIFEST = 3 << 20
_KEYS, _EVENTS, _VALIDATORS = "keys", "events", "validators"
_First = TypeVar("_First", int, bytes)
_REMEDY = "try another snapshot"


@message("ledger.snapshot/1")
class Manifest:
    """Height, size of the log, and the SHA-256 of each chunk in order."""

    height: int
    log_size: int
    chunks: tuple[bytes, ...]


class SnapshotShelf:
    """The newest snapshots of a ledger, on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manifests: dict[int, Manifest] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for found in sorted(folder.iterdir()):
            try:
                manifest = from_bytes(Manifest, (found / "manifest").read_bytes(), limit=MAX_MANIFEST)
            except (OSError, CodecError):
                shutil.rmtree(found, ignore_errors=True)  # a snapshot whose writing was cut off
                continue
            self._manifests[manifest.height] = manifest

    def listed(self) -> list[parts.Snapshot]:
        """The snapshots on offer."""
        return [
            parts.Snapshot(
                height=height,
                format=FORMAT,
                chunks=len(manifest.chunks),
                hash=hashlib.sha256(data := to_bytes(manifest)).digest(),
                metadata=data,
            )
            for height, manifest in sorted(self._manifests.copy().items())
        ]

    def chunk(self, height: int, kind: int, index: int) -> bytes:
        """A chunk; empty when it is not here."""
        manifest = self._manifests.get(height)
        if manifest is None or kind != FORMAT or not 0 <= index < len(manifest.chunks):
            return b""
        try:
            return (self._folder / str(height) / f"{index}").read_bytes()
        except FileNotFoundError:  # an older one, just removed
            return b""

    def write(self, height: int, log_size: int, chunks: Iterator[bytes]) -> None:
        """Write a snapshot, its manifest last; drop all but the newest.

        Raises:
            LedgerError: the disk refused.
        """
        place = self._folder / str(height)
        hashes: list[bytes] = []
        try:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(mode=0o700)
            for index, chunk in enumerate(chunks):
                (place / f"{index}").write_bytes(chunk)
                hashes.append(hashlib.sha256(chunk).digest())
            manifest = Manifest(height=height, log_size=log_size, chunks=tuple(hashes))
            (place / "manifest").write_bytes(to_bytes(manifest))
        except OSError as fault:
            raise LedgerError(f"a snapshot could not be written ({fault})", remedy="free the disk") from fault
        self._manifests[height] = manifest
        for old in sorted(self._manifests)[:-KEPT]:
            del self._manifests[old]
            shutil.rmtree(self._folder / str(old), ignore_errors=True)


def read_view(path: Path) -> sqlite3.Connection:
    """A connection that sees the ledger's file as it is now, whatever is committed later."""
    view = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    view.execute("PRAGMA query_only=ON")
    view.execute("BEGIN")
    view.execute("SELECT value FROM meta WHERE name = 'height'").fetchone()  # the view begins with the first read
    return view


def chunks_of(view: sqlite3.Connection) -> Iterator[bytes]:
    """The chunks of what a view shows."""
    sets = view.execute("SELECT name, value FROM meta WHERE substr(name, 1, ?) = ? ORDER BY name", (len(SETS), SETS))
    yield from _grouped(_VALIDATORS, ([int(name[len(SETS) :]), bytes(value)] for name, value in sets))
    yield from _grouped(
        _KEYS, ([bytes(key), bytes(value)] for key, value in view.execute("SELECT * FROM kv ORDER BY key"))
    )
    events = view.execute("SELECT height, leaf FROM event ORDER BY idx")
    yield from _grouped(_EVENTS, ([int(height), bytes(leaf)] for height, leaf in events))


def _grouped(kind: str, rows: Iterator[list[Value]]) -> Iterator[bytes]:
    group: list[Value] = []
    size = 0
    for row in rows:
        size += 16 + sum(len(part) for part in row if isinstance(part, bytes))
        group.append(row)
        if size >= CHUNK_BYTES:
            yield encode([kind, group])
            group, size = [], 0
    if group:
        yield encode([kind, group])


class Restore:
    """A snapshot on its way in. Chunks wait on disk until all are there."""

    def __init__(self, folder: Path, manifest: Manifest, wanted: bytes, founders: tuple[Validator, ...]) -> None:
        self._folder = folder
        self._founders = ordered(founders)
        self._manifest = manifest
        self._wanted = wanted
        self._next = 0
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)

    @classmethod
    def offered(
        cls, folder: Path, snapshot: parts.Snapshot, wanted: bytes, founders: tuple[Validator, ...]
    ) -> tuple[Restore | None, int]:
        """A restore of an offered snapshot of a chain of these founders, or None; and ABCI's result."""
        if snapshot.format != FORMAT:
            return None, SNAPSHOT_REJECT_FORMAT
        try:
            manifest = from_bytes(Manifest, snapshot.metadata, limit=MAX_MANIFEST)
        except CodecError:
            return None, SNAPSHOT_REJECT
        sound = (
            hashlib.sha256(snapshot.metadata).digest() == snapshot.hash
            and 0 < manifest.height == snapshot.height
            and 0 < len(manifest.chunks) == snapshot.chunks <= MAX_CHUNKS
            and 0 <= manifest.log_size < 1 << 62
            and len(wanted) == 32
        )
        return (cls(folder, manifest, wanted, founders), SNAPSHOT_ACCEPT) if sound else (None, SNAPSHOT_REJECT)

    def take(self, index: int, chunk: bytes) -> int:
        """Keep a chunk; ABCI's result: accepted, or to be fetched again from somebody else."""
        hashes = self._manifest.chunks
        if index != self._next or index >= len(hashes) or hashlib.sha256(chunk).digest() != hashes[index]:
            return RETRY
        (self._folder / f"{index}").write_bytes(chunk)
        self._next += 1
        return SNAPSHOT_ACCEPT

    @property
    def whole(self) -> bool:
        """Whether every chunk is here."""
        return self._next == len(self._manifest.chunks)

    def install(self, storage: Storage) -> int:
        """Write the snapshot as the ledger's state, all of it or nothing; ABCI's result."""
        try:
            storage.write(self._write)
        except FondacoError as fault:
            if isinstance(fault, _Unsound):
                return CHUNK_REJECT
            raise
        finally:
            storage.forget()
            shutil.rmtree(self._folder, ignore_errors=True)
        return SNAPSHOT_ACCEPT

    def _write(self, db: sqlite3.Connection) -> None:
        for table in ("kv", "page", "log_node", "event", "block"):
            db.execute(f"DELETE FROM {table}")
        tree, log = Tree(_Nothing()), Log(_Nothing(), 0)
        values: dict[bytes, bytes | None] = {}
        sets: list[tuple[int, bytes]] = []
        last = b""
        for kind, rows in self._sections():
            if kind == _VALIDATORS and isinstance(rows, list):
                sets += _pairs(rows, int)
            elif kind == _KEYS and isinstance(rows, list):
                for key, value in _pairs(rows, bytes):
                    if key <= last:
                        raise _Unsound("keys are out of order", remedy=_REMEDY)
                    last = key
                    values[key] = value
                    db.execute("INSERT INTO kv VALUES (?, ?)", (key, value))
            elif kind == _EVENTS and isinstance(rows, list):
                entries = list(_pairs(rows, int))
                events = [(log.size + at, height, leaf) for at, (height, leaf) in enumerate(entries)]
                db.executemany("INSERT INTO event VALUES (?, ?, ?)", events)
                log.extend([leaf for _height, leaf in entries])
            else:
                raise _Unsound("a chunk of no known kind", remedy=_REMEDY)
        found = app_hash(tree.update(values), log.root(), log.size)
        if found != self._wanted or log.size != self._manifest.log_size:
            raise _Unsound("the snapshot's app hash is not the one that was verified", remedy=_REMEDY)
        db.executemany("INSERT INTO page VALUES (?, ?)", [one for one in tree.pending.items() if one[1] is not None])
        nodes = [(level, index, node) for (level, index), node in log.pending.items()]
        db.executemany("INSERT INTO log_node VALUES (?, ?, ?)", nodes)
        meta = {
            "height": self._manifest.height.to_bytes(8, "big"),
            "log_size": log.size.to_bytes(8, "big"),
            "app_hash": found,
        }
        believed = [(f"{SETS}{since:020}", known) for since, known in self._believed(sets, values)]
        db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", [*meta.items(), *believed])

    def _believed(self, sets: list[tuple[int, bytes]], state: dict[bytes, bytes | None]) -> list[tuple[int, bytes]]:
        """The sets that will sign what comes next, each with its first height."""
        after = [1, *(since for since, _known in sets), self._manifest.height + 3]
        if any(later <= earlier for earlier, later in itertools.pairwise(after)):
            raise _Unsound("sets of validators are out of order, or of heights to come", remedy=_REMEDY)
        known = [(since, _validators(data)) for since, data in sets]
        voted = ordered(
            Validator(key=key[len(VALIDATORS) :], power=int.from_bytes(power or b"", "big"))
            for key, power in state.items()
            if key.startswith(VALIDATORS)
        )
        if (known[-1][1] if known else self._founders) != voted:
            raise _Unsound("the last set of validators is not the one that the state has", remedy=_REMEDY)
        first = max((at for at, (since, _set) in enumerate(known) if since <= self._manifest.height + 1), default=0)
        return sets[first:]

    def _sections(self) -> Iterator[tuple[Value, Value]]:
        for index in range(len(self._manifest.chunks)):
            try:
                found = decode((self._folder / f"{index}").read_bytes(), limit=MAX_CHUNK)
            except CodecError as fault:
                raise _Unsound(fault.cause, remedy=_REMEDY) from fault
            if not isinstance(found, list) or len(found) != 2:
                raise _Unsound("a chunk is no section", remedy=_REMEDY)
            yield found[0], found[1]


class _Unsound(LedgerError):
    """A snapshot that is not what it says."""


class _Nothing:
    """A store with nothing in it."""

    @staticmethod
    def get_page(_name: bytes) -> bytes | None:
        """None."""
        return None

    @staticmethod
    def get_log_node(_level: int, _index: int) -> bytes | None:
        """None."""
        return None


def _pairs(rows: list[Value], first: type[_First]) -> Iterator[tuple[_First, bytes]]:
    for row in rows:
        match row:
            case [one, bytes(second)] if type(one) is first:
                yield one, second
            case _:
                raise _Unsound("a row that is no pair", remedy=_REMEDY)


def _validators(data: bytes) -> tuple[Validator, ...]:
    """The validators of a set's bytes, if somebody is in it."""
    with contextlib.suppress(CodecError):
        if found := from_bytes(ValidatorSet, data).validators:
            return found
    raise _Unsound("a set of validators is none", remedy=_REMEDY)
