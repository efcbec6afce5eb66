"""The follower: verifies and re-executes every block that another node made, and believes nothing else.

A block is applied only if its commit is signed by the validators, it follows the last one, and its header carries
the app hash and results that this node computed for itself. Anything else halts the follower with the cause.
"""

from __future__ import annotations

from pathlib import Path

from fondaco.core.messages import from_bytes
from fondaco.errors import LedgerError
from fondaco.ledger.application import Registry
from fondaco.ledger.blocks import MAX_WIRE_BYTES, Block, block_id
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.light import Trusted, trust_genesis, verify_header
from fondaco.ledger.reader import Ledger


class Diverged(LedgerError):
    """A block that the validators signed is not what this node computes: evidence, and a reason to halt."""

    code = "ledger.diverged"


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
            validators=self.genesis.validators,
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
        with self.lock:
            if block.header.height <= self._app.height:
                return self._app.height
            if block.header.height != self._app.height + 1:
                raise LedgerError(
                    f"block {block.header.height} does not follow {self._app.height}",
                    remedy="fetch the blocks between",
                )
            trusted = verify_header(self._trusted, block.header, block.commit, self.genesis.validators)
            self._check(block)
            self._commit_block(block)
            self._trusted = trusted
        self._announce(block.header.height)
        return block.header.height

    def _check(self, block: Block) -> None:
        expected = self._next_header(block.header.time, block.txs, block.header.proposer)
        remedy = "keep both copies of the block as evidence, and ask the other institutions"
        if block.last_commit != self._last_commit():
            raise Diverged("the block carries another last commit", remedy=remedy, height=block.header.height)
        if block.header != expected:
            mine, theirs = expected.app_hash.hex()[:16], block.header.app_hash.hex()[:16]
            raise Diverged(
                f"the signed header is not the one computed here (app hash {theirs}, computed {mine})",
                remedy=remedy,
                height=block.header.height,
            )
        if block_id(block.header, block.txs, block.last_commit) != block.commit.block:
            raise Diverged("the commit is for another block", remedy=remedy, height=block.header.height)
        self._app.process_proposal(list(block.txs))
