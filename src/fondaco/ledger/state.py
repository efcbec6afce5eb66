"""The authenticated key-value state: a compact sparse Merkle tree, updated once a block.

A key's path is SHA-256(key). A subtree with no key is 32 zero bytes; one with a single key is that key's leaf,
however high; any other is an inner node (the shape of the Jellyfish Merkle Tree, Gao et al., 2021). So equal
content has one root, whatever the history. Leaf: H(0x02 | path | H(value)); inner: H(0x03 | left | right).

A proof shows that a key has a value, or that it has none: the path ends in an empty place or at another leaf.
Trusts the store of pages to give back what was put. Leaks, in a proof, the hashes beside the path and, for an
absence, one other path.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Protocol

from fondaco import _kernel
from fondaco.core.messages import message
from fondaco.errors import LedgerError, ProofError

EMPTY = bytes(32)
DEPTH = 256
_UNCHANGED = object()
_INNER = 3
_LEVELS, _HEAD, _NODE_BYTES = 4, 2, 65  # of a page: levels, bytes that say which nodes are there, bytes of a node


class ReadStore(Protocol):
    """Read access to keys and values."""

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""

    def items(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All pairs whose key starts with `prefix`, in order of key."""

    def span(self, start: bytes, stop: bytes, most: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The pairs with `start` <= key < `stop`, in order of key; the first `most` of them, or all."""


class Store(ReadStore, Protocol):
    """Read and write access, as contracts have it."""

    def set(self, key: bytes, value: bytes) -> None:
        """Put a value."""

    def delete(self, key: bytes) -> None:
        """Remove a key; nothing happens when it is not there."""


class Overlay:
    """Changes on top of a store, kept apart until they are merged; itself a store."""

    __slots__ = ("_base", "changes")

    def __init__(self, base: ReadStore) -> None:
        self._base = base
        self.changes: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """The value with the changes applied."""
        found = self.changes.get(key, _UNCHANGED)
        return self._base.get(key) if found is _UNCHANGED else found  # type: ignore[return-value]

    def set(self, key: bytes, value: bytes) -> None:
        """Change a value here alone."""
        self.changes[key] = value

    def delete(self, key: bytes) -> None:
        """Remove a key here alone."""
        self.changes[key] = None

    def items(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All pairs under `prefix` with the changes applied, in order of key."""
        mine = sorted(key for key in self.changes if key.startswith(prefix))
        return self._merged(mine, self._base.items(prefix))

    def span(self, start: bytes, stop: bytes, most: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The pairs from `start` to before `stop` with the changes applied, in order of key."""
        mine = sorted(key for key in self.changes if start <= key < stop)
        below = None if most is None else most + len(mine)  # as many as may be removed or replaced here
        return itertools.islice(self._merged(mine, self._base.span(start, stop, below)), most)

    def _merged(self, mine: list[bytes], theirs: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        at = 0
        for key, value in theirs:
            while at < len(mine) and mine[at] < key:
                changed = self.changes[mine[at]]
                if changed is not None:
                    yield mine[at], changed
                at += 1
            if at < len(mine) and mine[at] == key:
                changed = self.changes[key]
                at += 1
                if changed is not None:
                    yield key, changed
            else:
                yield key, value
        for key in mine[at:]:
            changed = self.changes[key]
            if changed is not None:
                yield key, changed

    def merge_into(self, store: Store) -> None:
        """Apply the changes to `store`."""
        if isinstance(store, Overlay):
            store.changes.update(self.changes)
            return
        for key, value in self.changes.items():
            if value is None:
                store.delete(key)
            else:
                store.set(key, value)


class PageStore(Protocol):
    """Where the tree is kept, in pages of four levels: a name of at most 33 bytes -> some nodes of 65 bytes each."""

    def get_page(self, name: bytes) -> bytes | None:
        """The page of a name, or None."""


def path_of(key: bytes) -> bytes:
    """Where in the tree a key is: its SHA-256."""
    return hashlib.sha256(key).digest()


def leaf_hash(path: bytes, value_hash: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x02" + path + value_hash).digest()


def inner_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x03" + left + right).digest()


def _bit(path: bytes, depth: int) -> int:
    return path[depth >> 3] >> (7 - (depth & 7)) & 1


def _place(depth: int, prefix: int) -> tuple[bytes, int]:
    """The page that holds a node, and the node's number in it (`crates/kernel/src/ledger_tree.rs`)."""
    below = depth % _LEVELS
    above = depth - below
    name = (prefix >> below << -above % 8).to_bytes((above + 7) // 8, "big") + bytes((above // _LEVELS,))
    return name, (1 << below) - 1 + (prefix & (1 << below) - 1)


def _node_of(page: bytes, slot: int) -> bytes | None:
    there = int.from_bytes(page[:_HEAD], "big")
    if not there >> slot & 1:
        return None
    start = _HEAD + _NODE_BYTES * (there & (1 << slot) - 1).bit_count()
    return page[start : start + _NODE_BYTES]


def root_of(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The root of a whole state, from its keys and values alone."""
    leaves = sorted((path_of(key), hashlib.sha256(value).digest()) for key, value in pairs)

    def node(start: int, stop: int, depth: int) -> bytes:
        if stop - start <= 1:
            return leaf_hash(*leaves[start]) if stop > start else EMPTY
        cut = bisect.bisect_left(leaves, 1, start, stop, key=lambda leaf: _bit(leaf[0], depth))
        return inner_hash(node(start, cut, depth + 1), node(cut, stop, depth + 1))

    return node(0, len(leaves), 0)


class Tree:
    """The tree over a store of pages: computes a new root and the pages to write, and makes proofs."""

    def __init__(self, pages: PageStore) -> None:
        self._pages = pages
        self.pending: dict[bytes, bytes | None] = {}
        self.before: dict[bytes, bytes | None] = {}

    def _load(self, depth: int, prefix: int) -> bytes | None:
        name, slot = _place(depth, prefix)
        page = self._page(name)
        return None if page is None else _node_of(page, slot)

    def _page(self, name: bytes) -> bytes | None:
        return self.pending[name] if name in self.pending else self._pages.get_page(name)

    def root(self) -> bytes:
        """The root hash, pending changes included."""
        node = self._load(0, 0)
        return EMPTY if node is None else hashlib.sha256(node).digest()

    def update(self, changes: dict[bytes, bytes | None]) -> bytes:
        """Apply changed values (None: removed) to the pending pages; the new root.

        `before` then has the pages that stood, before any update, where the pending ones are.
        """
        if not changes:
            return self.root()
        try:
            root, written, before = _kernel.state_update(changes, self._page if self.pending else self._pages.get_page)
        except ValueError as fault:
            raise LedgerError(
                f"the stored state is damaged ({fault})", remedy="restore the ledger folder from its backup"
            ) from fault
        self.pending |= written
        self.before = before | self.before
        return root

    def prove(self, key: bytes, value: bytes | None) -> StateProof:
        """The proof that `key` has `value` (None: has none)."""
        path = path_of(key)
        siblings: list[bytes] = []
        depth, prefix = 0, 0
        node = self._load(0, 0)
        while node is not None and node[0] == _INNER:
            side = _bit(path, depth)
            siblings.append(node[1:33] if side else node[33:])
            depth, prefix = depth + 1, prefix << 1 | side
            node = self._load(depth, prefix)
        other = node[1:] if node is not None and node[1:33] != path else None
        return StateProof(key=key, value=value, siblings=tuple(siblings), other=other)


@message("ledger.state-proof/1")
class StateProof:
    """That `key` has `value`, or has none. `siblings` from the root down; `other` is the leaf found instead."""

    key: bytes
    value: bytes | None
    siblings: tuple[bytes, ...]
    other: bytes | None


def verify_state(proof: StateProof, root: bytes) -> None:
    """Raise ProofError unless the proof holds under `root`."""

    def refuse(cause: str) -> ProofError:
        return ProofError(
            cause,
            check="state-proof",
            remedy="ask for the proof again, from a node you trust to be up to date",
        )

    if len(proof.siblings) > DEPTH or any(len(s) != len(EMPTY) for s in proof.siblings):
        raise refuse("the state proof has not the form of one")
    path, depth = path_of(proof.key), len(proof.siblings)
    if proof.value is not None:
        if proof.other is not None:
            raise refuse("a proof of presence names another leaf")
        node = leaf_hash(path, hashlib.sha256(proof.value).digest())
    elif proof.other is None:
        node = EMPTY
    else:
        if len(proof.other) != 2 * len(EMPTY):
            raise refuse("the state proof has not the form of one")
        theirs = proof.other[:32]
        if theirs == path or any(_bit(theirs, d) != _bit(path, d) for d in range(depth)):
            raise refuse("the other leaf of a proof of absence is not in the key's place")
        node = leaf_hash(theirs, proof.other[32:])
    for above in range(depth - 1, -1, -1):
        sibling = proof.siblings[above]
        node = inner_hash(sibling, node) if _bit(path, above) else inner_hash(node, sibling)
    if node != root:
        raise refuse("the state proof does not lead to the state root")
