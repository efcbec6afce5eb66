"""What an index is prepared for, as a label: columns, keys and how many keys are asked for at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fondaco.core.codec import Value, encode

FORMAT = 2
"""Of the index of one server; what an earlier version kept has another label, and is made anew."""
TWO_FORMAT = 1
_BATCH_FROM = 25
_SMALLEST, _LARGEST = 64, 1024


def batch_size(most_keys: int) -> int:
    """For how many keys one batch query is: none for a few keys, else a power of two, so that few indexes are kept."""
    if most_keys < _BATCH_FROM:
        return 0
    size = _SMALLEST
    while size < min(most_keys, _LARGEST):
        size *= 2
    return size


def index_label(columns: Sequence[str], keys: Sequence[str], most_keys: int) -> str:
    """The label of the index that a lookup needs of a dataset."""
    described: Value = ["pir", FORMAT, list(columns), list(keys), batch_size(most_keys)]
    return f"pir-{hashlib.sha256(encode(described)).hexdigest()}"


def two_server_label(columns: Sequence[str], keys: Sequence[str], servers: Sequence[str]) -> str:
    """The label of the index that two servers, in this order, made together."""
    described: Value = ["pir-two", TWO_FORMAT, list(columns), list(keys), list(servers)]
    return f"pir-two-{hashlib.sha256(encode(described)).hexdigest()}"
