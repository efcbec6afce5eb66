"""The genesis document: the beginning that all pin by its hash. It trusts nothing; what is in it, all may read."""

from __future__ import annotations

import hashlib

from fondaco.core.codec import Value
from fondaco.core.messages import message, to_bytes
from fondaco.errors import LedgerError
from fondaco.ledger.blocks import Validator

MAX_CHAIN = 50  # bytes of a name
_HASH_DIGITS = 32
_SHOWN = 50 - 1 - _HASH_DIGITS  # what is left of the 50 bytes that CometBFT allows for a chain id
MAX_VALIDATORS = 256
MAX_TIME = 1 << 62


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

    @property
    def chain_id(self) -> str:
        """What headers, votes and transactions carry: the name, as far as it is plain, and 128 bits of the hash.

        So what was signed for one genesis counts on no chain with another, whatever that calls itself. At most 50
        bytes, as CometBFT allows. Two documents with one chain id are a collision of 2**64 work, for the founder alone.
        """
        plain = "".join(c for c in self.chain if c.isascii() and (c.isalnum() or c in "._-"))
        return f"{plain[:_SHOWN] or 'chain'}-{self.hash.hex()[:_HASH_DIGITS]}"

    @property
    def version(self) -> int:
        """The version of the rules that the chain begins with: what the founding state says, or the first."""
        said = self.state.get("version", 1) if isinstance(self.state, dict) else 1
        return said if isinstance(said, int) else 1

    def check(self) -> None:
        """Raise LedgerError unless a chain can begin with this document."""
        keys = [validator.key for validator in self.validators]
        sound = (
            1 <= len(self.chain.encode()) <= MAX_CHAIN
            and 0 < self.time < MAX_TIME
            and 1 <= len(keys) <= MAX_VALIDATORS
            and len(dict.fromkeys(keys)) == len(keys)
            and all(len(key) == 32 for key in keys)
            and all(0 < validator.power < MAX_TIME // MAX_VALIDATORS for validator in self.validators)
        )
        if not sound:
            raise LedgerError(
                "the genesis names no chain of 1 to 50 bytes, no time, or no set of different validators with power",
                remedy="take the genesis document from the institution that founded the consortium",
            )
