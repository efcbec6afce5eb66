"""The genesis document: the beginning that all pin by its hash."""

from __future__ import annotations

import hashlib

from fondaco.core.codec import Value
from fondaco.core.messages import message, to_bytes
from fondaco.ledger.blocks import Validator


@message("genesis/1")
class Genesis:
    """Chain name, time (unix nanoseconds), first validators, and the contracts' founding state."""

    chain: str
    time: int
    validators: tuple[Validator, ...]
    state: Value

    @property
    def hash(self) -> bytes:
        """SHA-256 of the canonical bytes: the trust root that people compare."""
        return hashlib.sha256(b"fondaco/genesis\x00" + to_bytes(self)).digest()
