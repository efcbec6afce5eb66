"""What was prepared of a dataset for an engine: kept beside its chunks, under its key, and gone when it is removed.

A preparation belongs to one dataset by its CID and has a label of the engine's. It is some parts of bytes, each cut
into boxes that are bound to dataset, label, part and place, so none can be swapped, left out or taken from another.
It is written whole in a folder of its own and becomes visible by one rename; the last one written wins. What it holds
is made of rows, so the import rules let the gate alone use this module. It leaks its size to a thief of the disk.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from fondaco.core.cid import Cid
from fondaco.core.codec import Value
from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.core.names import DatasetName
from fondaco.errors import CodecError, VaultError
from fondaco.vault import crypto
from fondaco.vault.store import Entry, Vault, read_file, write_file

BOX_BYTES = 8 << 20
_HEAD = "head"


@message("vault.prepared/1")
class Head:
    """How many bytes each part has."""

    sizes: tuple[int, ...]


def _folder(entry: Entry, label: str) -> Path:
    return entry.folder / f"prepared-{hashlib.sha256(label.encode()).hexdigest()[:32]}"


def _place(entry: Entry, label: str, part: int, box: int) -> list[Value]:
    return ["prepared", entry.cid.raw, label, part, box]


def keep(vault: Vault, cid: Cid, label: str, parts: Sequence[bytes | memoryview]) -> None:
    """Keep the parts of a preparation, in place of one of the same label.

    Raises:
        VaultError: no such dataset, or the disk refused.
    """
    entry = vault._entry(cid)  # noqa: SLF001 - as the reader: a house rule refuses it elsewhere
    target = _folder(entry, label)
    building = entry.folder / f"new-{uuid.uuid4().hex}"
    building.mkdir(mode=0o700)
    try:
        head = to_bytes(Head(sizes=tuple(len(part) for part in parts)))
        write_file(building / _HEAD, crypto.lock(entry.key, _place(entry, label, 0, 0), head))
        for number, part in enumerate(parts, 1):
            view = memoryview(part)
            for box, at in enumerate(range(0, len(part), BOX_BYTES)):
                data = bytes(view[at : at + BOX_BYTES])
                sealed = crypto.lock(entry.key, _place(entry, label, number, box), data)
                write_file(building / f"{number:04d}-{box:08d}", sealed)
        if target.exists():
            target.rename(entry.folder / f"new-{uuid.uuid4().hex}")
        building.rename(target)
    finally:
        for left in entry.folder.glob("new-*"):
            shutil.rmtree(left, ignore_errors=True)


def find(vault: Vault, cid: Cid, label: str, *, most: int | None = None) -> list[bytearray] | None:
    """The parts of a preparation, or its first `most`; None where there is none.

    Raises:
        VaultError: no such dataset. Damaged: a box is missing, or is not what was kept.
    """
    entry = vault._entry(cid)  # noqa: SLF001 - as the reader: a house rule refuses it elsewhere
    folder = _folder(entry, label)
    if not folder.exists():
        return None
    try:
        head = crypto.unlock(entry.key, _place(entry, label, 0, 0), read_file(folder / _HEAD))
        sizes = from_bytes(Head, head).sizes
    except CodecError as fault:
        raise crypto.Damaged("a preparation has no head", remedy="restore the vault folder") from fault
    parts: list[bytearray] = []
    for number, size in enumerate(sizes[:most], 1):
        # Filled in place: a part may be gigabytes.
        data, at = bytearray(size), 0
        for box in range(-(-size // BOX_BYTES)):
            sealed = read_file(folder / f"{number:04d}-{box:08d}")
            opened = crypto.unlock(entry.key, _place(entry, label, number, box), sealed)
            if len(opened) != min(BOX_BYTES, size - at):
                raise crypto.Damaged("a preparation is not whole", remedy="restore the vault folder")
            data[at : at + len(opened)] = opened
            at += len(opened)
        parts.append(data)
    return parts


def find_before(vault: Vault, name: DatasetName, label: str, *, most: int | None = None) -> list[bytearray] | None:
    """The preparation of the newest earlier version of a name that has one of this label; as `find`."""
    earlier = [
        (named.version or 0, cid)
        for named, cid in vault.names()
        if named.path == name.path and (named.version or 0) < (name.version or 0)
    ]
    for _version, cid in sorted(earlier, key=lambda pair: pair[0], reverse=True):
        found = find(vault, cid, label, most=most)
        if found is not None:
            return found
    return None


def forget(vault: Vault, cid: Cid, label: str) -> bool:
    """Remove a preparation; whether there was one.

    Raises:
        VaultError: no such dataset.
    """
    folder = _folder(vault._entry(cid), label)  # noqa: SLF001 - as the reader
    if not folder.exists():
        return False
    try:
        shutil.rmtree(folder)
    except OSError as fault:
        raise VaultError(f"a preparation could not be removed ({fault.strerror})", remedy="see the disk") from fault
    return True
