"""The store: what was imported, under which names, and the commitments to it. It gives no rows.

An import is built in a folder of its own and becomes visible by one rename and one SQLite transaction; what a
crash leaves is removed at the next start. On the disk a dataset is known by a keyed hash of its CID, so a thief
cannot even test a guess of its content.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3

from fondaco.core.cid import DAG_CBOR, Cid
from fondaco.core.codec import Value
from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.core.models import Schema, check_schema
from fondaco.core.names import DatasetName
from fondaco.errors import ImportRefused, NamingError, VaultError
from fondaco.vault import crypto
from fondaco.vault.normalise import arrow_schema, check_batch
from fondaco.vault.sources import Source

CHUNK_ROWS = 65_536
FORMAT = 1
MAX_MANIFEST = 64 << 20
_MANIFEST = "manifest"
_TABLES = """
CREATE TABLE IF NOT EXISTS dataset (id TEXT PRIMARY KEY, folder TEXT NOT NULL, keys BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS name (path TEXT, version INTEGER, id TEXT NOT NULL, PRIMARY KEY (path, version))
    WITHOUT ROWID;
"""
Progress = Callable[[int, int], None]


@message("vault.column-profile/1")
class ColumnProfile:
    """What a column holds: nulls, smallest and largest as text ("" where none). Stays in the vault."""

    name: str
    nulls: int
    smallest: str
    largest: str


@message("vault.manifest/1")
class Manifest:
    """What a dataset is: schema, chunks in order by CID, rows in each, profile."""

    format: int
    schema: Schema
    chunks: tuple[bytes, ...]
    rows: tuple[int, ...]
    profile: tuple[ColumnProfile, ...]


@message("vault.keys/1")
class Keys:
    """A dataset's secrets, kept wrapped: its CID, the key of its chunks, the salt of its commitment."""

    cid: bytes
    key: bytes
    salt: bytes


@dataclasses.dataclass(frozen=True)
class Described:
    """What may be said of a dataset without its rows."""

    cid: Cid
    schema: Schema
    rows: int
    profile: tuple[ColumnProfile, ...]
    commitment: bytes
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where a dataset's boxes are, for the reader."""

    folder: Path
    cid: Cid
    key: bytes
    manifest: Manifest


def commit(cid: Cid, salt: bytes) -> bytes:
    """The keyed commitment that goes on the ledger: BLAKE3 under a 32-byte random salt."""
    return blake3(b"fondaco/commitment\x00" + cid.raw, key=salt).digest()


def chunk_place(index: int, count: int) -> list[Value]:
    """What a chunk's box is bound to."""
    return ["chunk", index, count]


class Vault:
    """One institution's vault in one folder."""

    def __init__(self, folder: Path, master_key: bytes) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._folder = folder
        self._wrap = crypto.derive(master_key, "wrap")
        self._lookup = crypto.derive(master_key, "lookup")
        self._lock = threading.RLock()
        self._db = sqlite3.connect(folder / "vault.sqlite", check_same_thread=False, isolation_level=None)
        (folder / "vault.sqlite").chmod(0o600)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_TABLES)
        self._sweep()

    def _sweep(self) -> None:
        """Remove what unfinished imports left."""
        with self._lock:
            kept = [folder for (folder,) in self._db.execute("SELECT folder FROM dataset")]
        for path in self._folder.iterdir():
            if path.is_dir() and path.name not in kept:
                shutil.rmtree(path)

    def close(self) -> None:
        """Close the catalogue."""
        self._db.close()

    # -- importing --------------------------------------------------------------------------------------------

    def import_source(self, source: Source, *, progress: Progress | None = None) -> Cid:
        """Import all of a source, or nothing.

        Raises:
            ImportRefused: the source does not hold what its schema says; names file, row and column.
        """
        try:
            return self._import(source, progress)
        except (csv.Error, RecursionError, UnicodeError, pa.ArrowException) as fault:
            # What a library says of damaged input may hold a value; its kind alone is told.
            raise ImportRefused(
                f"the source is damaged or not of its format ({type(fault).__name__})",
                remedy="open it with the program that wrote it, and write it anew",
                file=source.file,
            ) from fault

    def _import(self, source: Source, progress: Progress | None) -> Cid:
        schema = source.schema()
        try:
            check_schema(schema)
        except NamingError as fault:
            raise ImportRefused(fault.cause, remedy=fault.remedy, file=source.file) from fault
        building = self._folder / f"new-{uuid.uuid4().hex}"
        building.mkdir(mode=0o700)
        try:
            writer = _Writer(building, schema, source.file)
            for batch in source.batches():
                writer.add(batch)
                if progress is not None:
                    progress(writer.rows, writer.bytes)
            return self._adopt(building, writer.finish(), writer.key)
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def _adopt(self, building: Path, manifest: Manifest, key: bytes) -> Cid:
        data = to_bytes(manifest)
        cid = Cid.of(data, codec=DAG_CBOR)
        known = self._id(cid)
        with self._lock:
            if self._db.execute("SELECT 1 FROM dataset WHERE id = ?", (known,)).fetchone() is not None:
                return cid
            write_file(building / _MANIFEST, crypto.lock(key, [_MANIFEST], data))
            _sync_folder(building)
            target = self._folder / uuid.uuid4().hex
            building.rename(target)
            _sync_folder(self._folder)
            keys = to_bytes(Keys(cid=cid.raw, key=key, salt=crypto.new_key()))
            self._db.execute(
                "INSERT INTO dataset VALUES (?, ?, ?)",
                (known, target.name, crypto.lock(self._wrap, ["keys", known], keys)),
            )
        return cid

    def _id(self, cid: Cid) -> str:
        return blake3(cid.raw, key=self._lookup).hexdigest()

    # -- names ------------------------------------------------------------------------------------------------

    def assign(self, cid: Cid, name: DatasetName) -> DatasetName:
        """Give a dataset a name; the next version unless one is given.

        Raises:
            VaultError: no such dataset, or the version is another one's.
        """
        known = self._id(cid)
        with self._lock:
            self._keys(known)
            newest = self._db.execute("SELECT max(version) FROM name WHERE path = ?", (name.path,)).fetchone()[0] or 0
            version = name.version or newest + 1
            row = self._db.execute(
                "SELECT id FROM name WHERE path = ? AND version = ?", (name.path, version)
            ).fetchone()
            if row is not None and row[0] != known:
                raise VaultError(
                    "this version names another dataset",
                    remedy="leave the version out for the next",
                    name=str(name),
                )
            if row is None:
                self._db.execute("INSERT INTO name VALUES (?, ?, ?)", (name.path, version, known))
        return name.at(version)

    def resolve(self, name: DatasetName) -> Cid:
        """The dataset of a name; the newest version unless one is given.

        Raises:
            VaultError: no such name.
        """
        with self._lock:
            row = self._db.execute(
                "SELECT id FROM name WHERE path = ? AND (? IS NULL OR version = ?) ORDER BY version DESC LIMIT 1",
                (name.path, name.version, name.version),
            ).fetchone()
        if row is None:
            raise VaultError("no dataset has this name here", remedy="see `fondaco status`", name=str(name))
        return Cid.from_raw(self._keys(row[0]).cid)

    def names(self) -> list[tuple[DatasetName, Cid]]:
        """All names, in order."""
        with self._lock:
            rows = self._db.execute("SELECT path, version, id FROM name ORDER BY path, version").fetchall()
        return [
            (DatasetName.parse(path).at(version), Cid.from_raw(self._keys(known).cid)) for path, version, known in rows
        ]

    # -- describing -------------------------------------------------------------------------------------------

    def _keys(self, known: str) -> Keys:
        with self._lock:
            row = self._db.execute("SELECT keys FROM dataset WHERE id = ?", (known,)).fetchone()
        if row is None:
            raise VaultError("there is no such dataset here", remedy="import it first")
        return from_bytes(Keys, crypto.unlock(self._wrap, ["keys", known], row[0]))

    def entry(self, cid: Cid) -> Entry:
        """Where a dataset's boxes are and what opens them; for the reader and for describing.

        Raises:
            VaultError: there is no such dataset, or it is damaged.
        """
        known = self._id(cid)
        keys = self._keys(known)
        with self._lock:
            (name,) = self._db.execute("SELECT folder FROM dataset WHERE id = ?", (known,)).fetchone()
        folder = self._folder / name
        data = crypto.unlock(keys.key, [_MANIFEST], read_file(folder / _MANIFEST))
        cid.check(data)
        return Entry(folder, cid, keys.key, from_bytes(Manifest, data, limit=MAX_MANIFEST, items=MAX_MANIFEST))

    def describe(self, cid: Cid) -> Described:
        """What may be said of a dataset without its rows."""
        entry = self.entry(cid)
        names = tuple(str(name) for name, named in self.names() if named == cid)
        keys = self._keys(self._id(cid))
        return Described(
            cid,
            entry.manifest.schema,
            sum(entry.manifest.rows),
            entry.manifest.profile,
            commit(cid, keys.salt),
            names,
        )

    def opening(self, cid: Cid) -> bytes:
        """The salt of a dataset's commitment: shown to a regulator, it proves what was committed to."""
        return self._keys(self._id(cid)).salt

    def remove(self, cid: Cid) -> None:
        """Forget a dataset and its names; its key goes first, so the boxes are noise at once."""
        entry = self.entry(cid)
        known = self._id(cid)
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM name WHERE id = ?", (known,))
            self._db.execute("DELETE FROM dataset WHERE id = ?", (known,))
            self._db.execute("COMMIT")
        shutil.rmtree(entry.folder)


class _Writer:
    """Cuts batches into chunks of a fixed number of rows, checks, hashes, encrypts and writes them."""

    def __init__(self, folder: Path, schema: Schema, file: str) -> None:
        self._folder = folder
        self._schema = schema
        self._arrow = arrow_schema(schema)
        self._file = file
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._chunks: list[bytes] = []
        self._counts: list[int] = []
        self._boxes: list[Path] = []
        self._key_parts: list[pa.Table] = []
        self._profiles = {column.name: _Running() for column in schema.columns}
        self.key = crypto.new_key()
        self.rows = 0
        self.bytes = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take some rows."""
        batch = batch.select(self._arrow.names)
        if batch.num_rows == 0:
            return
        check_batch(batch, self._schema, self._file, self.rows + 1)
        for column in self._schema.columns:
            self._profiles[column.name].add(batch.column(column.name))
        if self._schema.key:
            self._key_parts.append(pa.Table.from_batches([batch.select(list(self._schema.key))]))
        self.rows += batch.num_rows
        self._waiting.append(pa.RecordBatch.from_arrays(batch.columns, schema=self._arrow))
        self._waiting_rows += batch.num_rows
        while self._waiting_rows >= CHUNK_ROWS:
            self._cut(CHUNK_ROWS)

    def _cut(self, rows: int) -> None:
        table = pa.Table.from_batches(self._waiting, self._arrow)
        chunk = table.slice(0, rows).combine_chunks()
        rest = table.slice(rows)
        self._waiting = rest.to_batches()
        self._waiting_rows = rest.num_rows
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._arrow) as writer:
            for part in _plain(chunk).to_batches(max_chunksize=CHUNK_ROWS):
                writer.write_batch(part)
        data = bytes(sink.getvalue())
        self._chunks.append(Cid.of(data).raw)
        self._counts.append(chunk.num_rows)
        index = len(self._chunks) - 1
        # Rows and position are bound here; that none is missing at the end is the manifest's to say.
        box = crypto.lock(self.key, chunk_place(index, chunk.num_rows), data)
        write_file(self._folder / f"{index:08d}", box)
        self.bytes += len(data)

    def finish(self) -> Manifest:
        """The last chunk and the manifest.

        Raises:
            ImportRefused: no rows, or a key that stands twice.
        """
        if self._waiting_rows:
            self._cut(self._waiting_rows)
        if not self.rows:
            raise ImportRefused("there are no rows", remedy="export the data again", file=self._file)
        self._check_key()
        profile = tuple(running.profile(name) for name, running in self._profiles.items())
        return Manifest(
            format=FORMAT,
            schema=self._schema,
            chunks=tuple(self._chunks),
            rows=tuple(self._counts),
            profile=profile,
        )

    def _check_key(self) -> None:
        if not self._key_parts:
            return
        names = list(self._schema.key)
        keys = pa.concat_tables(self._key_parts)
        for name in names:
            if keys.column(name).null_count:
                row = pc.index(pc.is_null(keys.column(name)), pa.scalar(value=True)).as_py()
                raise ImportRefused(
                    "a part of the key is missing",
                    remedy="fill it in",
                    file=self._file,
                    row=row + 1,
                    column=name,
                )
        numbered = keys.append_column("__row", pa.array(range(1, keys.num_rows + 1), pa.int64()))
        counted = numbered.group_by(names).aggregate([("__row", "count"), ("__row", "min")])
        if counted.num_rows == keys.num_rows:
            return
        doubled = counted.filter(pc.greater(counted.column("__row_count"), 1)).sort_by("__row_min").slice(0, 1)
        first = doubled.column("__row_min")[0].as_py()
        same = numbered.join(doubled.select(names), keys=names, join_type="inner")
        second = min(row for row in same.column("__row").to_pylist() if row > first)
        raise ImportRefused(
            f"the key of row {first} stands here again",
            remedy="remove one of the rows, or declare a key that is unique",
            file=self._file,
            row=second,
            column=", ".join(names),
        )


def _plain(chunk: pa.Table) -> pa.Table:
    """The same rows in freshly built arrays, so that equal content has equal bytes whatever it came from."""
    indices = pa.array(range(chunk.num_rows), pa.int64())
    return chunk.take(indices)


class _Running:
    """A column's profile while it is being read."""

    def __init__(self) -> None:
        self._nulls = 0
        self._smallest: object = None
        self._largest: object = None

    def add(self, values: pa.Array) -> None:
        """Take some values."""
        self._nulls += values.null_count
        if pa.types.is_boolean(values.type) or pa.types.is_binary(values.type):
            return
        limits = pc.min_max(values).as_py()
        low, high = limits["min"], limits["max"]
        if low is not None:
            self._smallest = low if self._smallest is None else min(self._smallest, low)
            self._largest = high if self._largest is None else max(self._largest, high)

    def profile(self, name: str) -> ColumnProfile:
        """What was found."""
        shown = ("" if v is None else str(v)[:200] for v in (self._smallest, self._largest))
        return ColumnProfile(name=name, nulls=self._nulls, smallest=next(shown), largest=next(shown))


def write_file(path: Path, data: bytes) -> None:
    """Write a new file, mode 0600, durable.

    Raises:
        VaultError: the disk refused.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as fault:
        raise VaultError(f"the vault could not be written ({fault.strerror})", remedy="free the disk") from fault


def read_file(path: Path) -> bytes:
    """A stored file.

    Raises:
        Damaged: it is missing.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as fault:
        raise crypto.Damaged("a part of a dataset is missing", remedy="restore the vault folder") from fault


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def boxes(entry: Entry) -> Iterator[tuple[int, int, Cid, bytes]]:
    """(index, rows, CID, box) of each chunk, in order."""
    for index, (raw, rows) in enumerate(zip(entry.manifest.chunks, entry.manifest.rows, strict=True)):
        yield index, rows, Cid.from_raw(raw), read_file(entry.folder / f"{index:08d}")
