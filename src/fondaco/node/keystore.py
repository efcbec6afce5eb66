"""Keys in files: 32 raw bytes each, mode 0600, in a folder of mode 0700. Nothing here is ever logged."""

from __future__ import annotations

import os
from pathlib import Path

from fondaco.core.keys import SecretKey
from fondaco.core.sealed import SealSecret
from fondaco.errors import NodeError

KEY_BYTES = 32


def write_secret(path: Path, raw: bytes) -> None:
    """Write a new secret file, mode 0600, durable.

    Raises:
        NodeError: the file is there already; keys are never overwritten.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as fault:
        raise NodeError("a key is there already", remedy="choose another folder", file=path.name) from fault
    with os.fdopen(handle, "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def read_secret(path: Path) -> bytes:
    """The 32 bytes of a secret file.

    Raises:
        NodeError: missing, of another length, or readable by others.
    """
    try:
        mode = path.stat().st_mode
        raw = path.read_bytes()
    except FileNotFoundError as fault:
        raise NodeError("a key file is missing", remedy="restore it from its backup", file=path.name) from fault
    if mode & 0o077:
        raise NodeError("a key file can be read by others", remedy=f"chmod 600 {path}", file=path.name)
    if len(raw) != KEY_BYTES:
        raise NodeError("a key file is damaged", remedy="restore it from its backup", file=path.name)
    return raw


def new_signing_key(path: Path) -> SecretKey:
    """Make a signing key and keep it at `path`."""
    key = SecretKey.generate()
    write_secret(path, key.seed)
    return key


def signing_key(path: Path) -> SecretKey:
    """The signing key kept at `path`."""
    return SecretKey.from_seed(read_secret(path))


def new_seal_key(path: Path) -> SealSecret:
    """Make a sealing key and keep it at `path`."""
    key = SealSecret.generate()
    write_secret(path, key.raw)
    return key


def seal_key(path: Path) -> SealSecret:
    """The sealing key kept at `path`."""
    return SealSecret.from_bytes(read_secret(path))
