"""State keys of the catalogue."""

from __future__ import annotations

DATASETS = b"catalog/dataset/"


def dataset(path: str, version: int) -> bytes:
    """Where a version is."""
    return DATASETS + path.encode() + b"@" + version.to_bytes(4, "big")


def versions(path: str) -> bytes:
    """The prefix of all versions."""
    return DATASETS + path.encode() + b"@"


def latest(path: str) -> bytes:
    """Where the number of the newest version is."""
    return b"catalog/latest/" + path.encode()
