"""The log of events: an append-only Merkle tree as RFC 6962 section 2.1 hashes it (SHA-256).

Perfect subtrees are stored by (level, index), so an append costs O(1) amortised and a proof O(log n) reads.
Proofs are made and checked as RFC 9162 sections 2.1.3 and 2.1.4 say. Trusts its store; leaks, in a proof, hashes.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from typing import Protocol

from fondaco import _kernel
from fondaco.core.messages import message
from fondaco.errors import ProofError

EMPTY_ROOT = hashlib.sha256(b"").digest()
MAX_PATH = 64


class LogNodes(Protocol):
    """Where the hashes of perfect subtrees are kept."""

    def get_log_node(self, level: int, index: int) -> bytes | None:
        """The hash of the 2**level leaves from index * 2**level on, or None."""


def log_leaf_hash(leaf: bytes) -> bytes:
    """MTH of one entry."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def log_inner_hash(left: bytes, right: bytes) -> bytes:
    """MTH of two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def merkle_root(leaves: list[bytes]) -> bytes:
    """MTH of all entries at once; also how CometBFT hashes lists (crypto/merkle)."""
    return _kernel.merkle_root(*_flat(leaves))


def _flat(items: list[bytes]) -> tuple[bytes, bytes]:
    """The items as the kernel takes them: their bytes, and where each ends."""
    ends = itertools.accumulate(map(len, items), initial=0)
    return b"".join(items), struct.pack(f"<{len(items) + 1}q", *ends)


def merkle_path(leaves: list[bytes], index: int) -> tuple[bytes, ...]:
    """PATH(index, D) of entries that are all at hand, from the leaf up."""
    if len(leaves) <= 1:
        return ()
    split = _split(len(leaves))
    if index < split:
        return (*merkle_path(leaves[:split], index), merkle_root(leaves[split:]))
    return (*merkle_path(leaves[split:], index - split), merkle_root(leaves[:split]))


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


class Log:
    """Appends to and proves from stored subtrees; what is appended is pending until the caller stores it."""

    def __init__(self, nodes: LogNodes, size: int) -> None:
        self._nodes = nodes
        self.size = size
        self.pending: dict[tuple[int, int], bytes] = {}

    def _node(self, level: int, index: int) -> bytes:
        found = self.pending.get((level, index)) or self._nodes.get_log_node(level, index)
        if found is None:
            raise ProofError(
                "a node of the event log is missing",
                check="event-log",
                remedy="restore the ledger folder from its backup",
                level=level,
                index=index,
            )
        return found

    def append(self, leaf: bytes) -> int:
        """Add an entry; its index."""
        self.extend([leaf])
        return self.size - 1

    def extend(self, leaves: list[bytes]) -> None:
        """Add entries in their order."""
        if leaves:
            size = self.size
            levels = [level for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]
            edge = [self._node(level, size >> level + 1 << 1) for level in levels]
            self.pending |= _kernel.log_append(size, edge, *_flat(leaves))
            self.size += len(leaves)

    def _range(self, start: int, size: int) -> bytes:
        if size & (size - 1) == 0 and start % size == 0:
            level = size.bit_length() - 1
            return self._node(level, start >> level)
        split = _split(size)
        return log_inner_hash(self._range(start, split), self._range(start + split, size - split))

    def root(self, size: int | None = None) -> bytes:
        """The tree head of the first `size` entries (all)."""
        size = self.size if size is None else size
        return self._range(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """PATH(index, D[size]), from the leaf up."""
        path: list[bytes] = []
        start = 0
        while size > 1:
            split = _split(size)
            if index - start < split:
                path.append(self._range(start + split, size - split))
                size = split
            else:
                path.append(self._range(start, split))
                start, size = start + split, size - split
        return tuple(reversed(path))

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """PROOF(old, D[new]) of RFC 6962 section 2.1.2."""
        return tuple(self._subproof(old, 0, new, whole=True)) if 0 < old < new else ()

    def _subproof(self, old: int, start: int, size: int, *, whole: bool) -> list[bytes]:
        if old == size:
            return [] if whole else [self._range(start, size)]
        split = _split(size)
        if old <= split:
            return [*self._subproof(old, start, split, whole=whole), self._range(start + split, size - split)]
        below = self._subproof(old - split, start + split, size - split, whole=False)
        return [*below, self._range(start, split)]


@message("ledger.event-proof/1")
class EventProof:
    """That `leaf` is the entry of number `index` among `size`."""

    leaf: bytes
    index: int
    size: int
    path: tuple[bytes, ...]


@message("ledger.log-extension/1")
class LogExtension:
    """The path that shows a log of `new` entries to extend the one of `old` entries."""

    old: int
    new: int
    path: tuple[bytes, ...]


def verify_event(proof: EventProof, root: bytes) -> None:
    """Raise ProofError unless the entry is in the tree with this root."""
    verify_inclusion(proof.leaf, proof.index, proof.size, proof.path, root, check="event-inclusion")


def verify_inclusion(leaf: bytes, index: int, size: int, path: tuple[bytes, ...], root: bytes, *, check: str) -> None:
    """Raise ProofError unless `leaf` is entry `index` of the `size` under this root (RFC 9162 section 2.1.3.2)."""

    def refuse(cause: str) -> ProofError:
        return ProofError(cause, check=check, remedy="ask for the proof again, from a node you trust")

    if not 0 <= index < size or len(path) > MAX_PATH:
        raise refuse("the proof of inclusion has not the form of one")
    at, last, node = index, size - 1, log_leaf_hash(leaf)
    for sibling in path:
        if len(sibling) != len(EMPTY_ROOT) or last == 0:
            raise refuse("the proof of inclusion has not the form of one")
        if at & 1 or at == last:
            node = log_inner_hash(sibling, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = log_inner_hash(node, sibling)
        at, last = at >> 1, last >> 1
    if last != 0 or node != root:
        raise refuse("the entry is not in the tree at that place")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: tuple[bytes, ...]) -> None:
    """Raise ProofError unless the tree of `new` entries extends that of `old` (RFC 9162 section 2.1.4.2)."""

    def refuse(cause: str) -> ProofError:
        return ProofError(cause, check="event-consistency", remedy="the log was rewritten: keep both heads as evidence")

    if not 0 < old <= new or len(path) > MAX_PATH:
        raise refuse("the consistency proof has not the form of one")
    if old == new:
        if path or old_root != new_root:
            raise refuse("two heads of one size differ")
        return
    steps = list(path)
    if old & (old - 1) == 0:
        steps.insert(0, old_root)
    if not steps:
        raise refuse("the consistency proof is empty")
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise refuse("the consistency proof is too long")
        if at & 1 or at == last:
            first, second = log_inner_hash(step, first), log_inner_hash(step, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = log_inner_hash(second, step)
        at, last = at >> 1, last >> 1
    if last != 0 or first != old_root or second != new_root:
        raise refuse("the new log is not an extension of the old one")
