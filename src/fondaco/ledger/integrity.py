"""Whether a ledger's file is whole: its values, its log and their trees say one thing.

Trees alone are not enough: whoever edits a value beside its tree changes what contracts read, and the next block would
look like the validators' fault. Trusts the committed app hash, which is compared elsewhere; leaks nothing.
"""

from __future__ import annotations

from fondaco.errors import LedgerError
from fondaco.ledger.log import EMPTY_ROOT, log_inner_hash, log_leaf_hash
from fondaco.ledger.state import root_of
from fondaco.ledger.storage import Storage

_PAGE = 10_000


class Damaged(LedgerError):
    """The ledger's own file is not what was committed."""

    code = "ledger.damaged"


def _log_root(storage: Storage, size: int) -> bytes:
    """The tree head of the stored entries, which must be `size`; empty where they are not."""
    peaks: list[tuple[int, bytes]] = []  # perfect subtrees from the left, each smaller than the one before
    at = 0
    while at < size:
        page = storage.events(at, min(_PAGE, size - at))
        if [index for index, _leaf in page] != list(range(at, at + len(page))) or not page:
            return b""
        for _index, leaf in page:
            level, node = 0, log_leaf_hash(leaf)
            while peaks and peaks[-1][0] == level:
                node = log_inner_hash(peaks.pop()[1], node)
                level += 1
            peaks.append((level, node))
        at += len(page)
    if storage.events(size, 1) or not peaks:
        return EMPTY_ROOT if not size and not storage.events(0, 1) else b""
    root = peaks.pop()[1]
    while peaks:
        root = log_inner_hash(peaks.pop()[1], root)
    return root


def check_whole(storage: Storage, *, state_root: bytes, log_root: bytes, log_size: int) -> None:
    """Compute both roots anew from the stored values and entries.

    Raises:
        Damaged: they are not the roots of the trees.
    """
    if root_of(storage.items(b"")) != state_root:
        what = "a value"
    elif _log_root(storage, log_size) != log_root:
        what = "an entry of the log"
    else:
        return
    raise Damaged(
        f"this node's own ledger file was changed or is damaged: {what} is not the one that was committed",
        remedy="restore the ledger folder from its backup, or fetch the chain again; no other node is at fault",
    )
