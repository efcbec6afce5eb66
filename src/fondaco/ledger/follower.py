"""The follower: verifies and re-executes every block that another node made, and believes nothing else.

A block is applied only if its commit is signed by the validators, it follows the last one, and its header carries
the app hash and results that this node computed for itself. What nobody signed is refused, and another copy may be
tried; what the validators signed and this node cannot follow halts it for good: the block is kept as evidence, and
the same cause answers every later block, after a restart too. Trusts the genesis document alone.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fondaco.core.messages import from_bytes
from fondaco.errors import FondacoError, LedgerError, ProofError
from fondaco.ledger.application import Registry
from fondaco.ledger.blocks import MAX_WIRE_BYTES, Block, Header, block_id, data_hash
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.light import Trusted, trust_genesis, verify_header
from fondaco.ledger.reader import Ledger


class Diverged(LedgerError):
    """A block that the validators signed is not what this node computes: evidence, and a reason to halt."""

    code = "ledger.diverged"


_REMEDY = "keep both copies of the block as evidence, and ask the other institutions"


class FollowerLedger(Ledger):
    """A ledger that applies blocks made elsewhere."""

    def __init__(self, folder: Path | None, genesis: Genesis, registry: Registry) -> None:
        super().__init__(folder, genesis, registry)
        self._trusted = self._trust_tip()

    def _trust_tip(self) -> Trusted:
        root = trust_genesis(self.genesis)
        if self._tip is None:
            return root
        header = self._tip.header
        return Trusted(
            chain=header.chain,
            height=header.height,
            time=header.time,
            header_hash=header.hash,
            validators=self.validators_at(header.height),
            next_validators_hash=header.next_validators_hash,
        )

    def apply(self, data: bytes) -> int:
        """Verify and execute the next block; its height. A block that is applied already is passed over.

        Raises:
            CodecError: not a block.
            ProofError: not signed, or it does not follow.
            Diverged: signed, but not what this node computes.
        """
        block = from_bytes(Block, data, limit=MAX_WIRE_BYTES)
        height = block.header.height
        with self.lock:
            if height <= self._app.height:
                return self._app.height
            if (halted := self._storage.meta("halted")) is not None:
                raise Diverged(f"this ledger is halted: {halted.decode()}", remedy=_REMEDY, height=height)
            if height != self._app.height + 1:
                raise LedgerError(
                    f"block {height} does not follow {self._app.height}", remedy="fetch the blocks between"
                )
            trusted = verify_header(self._trusted, block.header, block.commit, self.validators_at(height))
            self._check_carried(block)
            try:
                self._check_signed(block)
            except Diverged as fault:
                self._storage.put_meta("evidence", data)
                self._storage.put_meta("halted", f"block {height}: {fault.cause}".encode())
                raise
            self._commit_block(block)
            self._trusted = trusted
        self._announce(height)
        return height

    @property
    def evidence(self) -> bytes | None:
        """The signed block that halted this ledger, or None."""
        return self._storage.meta("evidence")

    def _check_carried(self, block: Block) -> None:
        """What a carrier could have changed without the validators: refused, and no evidence against them."""

        def refuse(check: str, cause: str) -> ProofError:
            return ProofError(cause, check=check, remedy="fetch the block again", height=block.header.height)

        if data_hash(block.txs) != block.header.data_hash:
            raise refuse("transactions", "the transactions are not those of the header")
        if block.last_commit.hash != block.header.last_commit_hash:
            raise refuse("header-chain", "the last commit is not that of the header")
        if block_id(block.header, block.txs, block.last_commit) != block.commit.block:
            raise refuse("header-chain", "the commit is for another block")

    def _check_signed(self, block: Block) -> None:
        """What the validators signed must be what this node computes."""
        header = block.header
        expected = self._next_header(header.time, block.txs, header.proposer)
        if header != expected:
            names = [field.name for field in dataclasses.fields(Header)]
            other = [name for name in names if getattr(header, name) != getattr(expected, name)]
            mine, theirs = expected.app_hash.hex()[:16], header.app_hash.hex()[:16]
            raise Diverged(
                f"the signed header is not the one computed here ({', '.join(other)}; app hash {theirs}, here {mine})",
                remedy=_REMEDY,
                height=header.height,
            )
        if header.proposer not in [validator.address for validator in self.validators_at(header.height)]:
            raise Diverged("the proposer is no validator", remedy=_REMEDY, height=header.height)
        try:
            self._app.process_proposal(list(block.txs))
        except FondacoError as fault:
            raise Diverged(
                f"the signed block breaks the rules: {fault.cause}", remedy=_REMEDY, height=header.height
            ) from fault
