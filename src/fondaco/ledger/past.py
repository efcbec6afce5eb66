"""The state as it was a few blocks ago: what later blocks overwrote, laid over what is there now.

A proof is made of the state that the newest signed header tells of, which may be several blocks back. Kept in memory,
for those blocks alone; trusts the storage; leaks nothing.
"""

from __future__ import annotations

import dataclasses

from fondaco.ledger.storage import Storage


@dataclasses.dataclass(frozen=True, slots=True)
class Overwritten:
    """What one block overwrote: the log's size before it, and the values and the tree's pages that stood there."""

    height: int
    log_size: int
    values: dict[bytes, bytes | None]
    pages: dict[bytes, bytes | None]


class Past:
    """The committed state as it was before the newest blocks: what the first of them to do so overwrote."""

    def __init__(self, storage: Storage, layers: list[Overwritten]) -> None:
        self._storage = storage
        self._layers = layers

    def get(self, key: bytes) -> bytes | None:
        """The value of a key then."""
        for layer in self._layers:
            if key in layer.values:
                return layer.values[key]
        return self._storage.get(key)

    def get_page(self, name: bytes) -> bytes | None:
        """The tree's page of a name then."""
        for layer in self._layers:
            if name in layer.pages:
                return layer.pages[name]
        return self._storage.get_page(name)
