"""The follower: verifies and re-executes every block that another node made, and believes nothing else.

A block is applied only if its commit is signed by the validators, it follows the last one, and its header carries
the app hash and results that this node computed for itself. What nobody signed is refused, and another copy may be
tried; what the validators signed and this node cannot follow, or has otherwise at that height, halts it for good: it
is kept as evidence, and the same cause answers every later block, after a restart too. Trusts the genesis alone.
"""

from __future__ import annotations

import dataclasses
import time

from fondaco.core.messages import from_bytes, to_bytes
from fondaco.errors import FondacoError, LedgerError, ProofError
from fondaco.ledger.blocks import EMPTY_HASH, MAX_WIRE_BYTES, Block, Commit, Header, block_id, data_hash
from fondaco.ledger.light import SignedHeader, verify_commit, verify_signed
from fondaco.ledger.reader import Ledger, check_time
from fondaco.ledger.witness import pair_bytes, two_faces


class Diverged(LedgerError):
    """A block that the validators signed is not what this node computes: evidence, and a reason to halt."""

    code = "ledger.diverged"


class Behind(LedgerError):
    """The validator lacks blocks that it signed: it is not heard until it has them again."""

    code = "ledger.behind"


_REMEDY = "keep both copies of the block as evidence, and ask the other institutions"


class FollowerLedger(Ledger):
    """A ledger that applies blocks made elsewhere."""

    def apply(self, data: bytes) -> int:
        """Verify and execute the next block; its height. A block that is applied already is passed over.

        Raises:
            CodecError: not a block.
            ProofError: not signed, or a carrier changed it.
            TooEarly: signed, and ahead of this node's clock; it may be tried again.
            Damaged: this node's own file was changed while it ran; the validators are not at fault.
            Diverged: signed, but not what this node computes, or not the block that it has at this height.
        """
        block = from_bytes(Block, data, limit=MAX_WIRE_BYTES)
        height = block.header.height
        with self.lock:
            self._check_halted()
            if height <= self._app.height:
                self._compare(block.header, block.commit, data)
                return self._app.height
            if height != self._app.height + 1:
                raise LedgerError(
                    f"block {height} does not follow {self._app.height}", remedy="fetch the blocks between"
                )
            verify_signed(self.chain_id, block.header, block.commit, self.validators_at(height))
            self._check_carried(block)
            check_time(block.header, time.time_ns())
            try:
                self._check_signed(block)
            except Diverged as fault:
                self._check_own()
                self._halt(f"block {height}: {fault.cause}", data)
                raise
            self._commit_block(block)
        self._announce(height)
        return height

    def hear(self, tip: SignedHeader | None) -> bool:
        """Compare the newest header that the validator says it has (None: none yet) with what is here.

        Returns:
            Whether it is the newest here too; not when the validator has more than this node has yet.

        Raises:
            Behind: the validator lacks a block that it signed and this node has.
            ProofError: nobody signed that header.
            Diverged: it is signed, and not the one that this node has at its height.
        """
        with self.lock:
            self._check_halted()
            height = 0 if tip is None else tip.header.height
            if tip is not None and height <= self._app.height:
                self._compare(tip.header, tip.commit, to_bytes(tip))
            if height < self._app.height:
                raise Behind(
                    f"the validator stands at {height}, and this node has its signed block {self._app.height}",
                    remedy="tell the validator's operator: its ledger was restored from an old backup",
                    height=self._app.height,
                )
            return height == self._app.height

    def compare(self, signed: SignedHeader) -> None:
        """Compare a header that somebody showed with ours, where we have that height.

        Raises:
            ProofError: nobody signed that header.
            Diverged: it is signed, and not the one that this node has at its height; or this ledger is halted.
        """
        with self.lock:
            self._check_halted()
            if signed.header.height <= self._app.height:
                self._compare(signed.header, signed.commit, to_bytes(signed))

    def judge(self, first: SignedHeader, second: SignedHeader) -> None:
        """Two headers of one height that the validators signed halt this ledger, whatever height it has.

        Raises:
            ProofError: the validators did not sign both, as far as this ledger knows the validators of that height.
            Diverged: they did, and the two differ; or this ledger is halted.
        """
        with self.lock:
            self._check_halted()
            cause = two_faces(self.chain_id, first, second, self.validators_at(first.header.height))
            if cause is not None:
                self._halt(cause, pair_bytes(first, second))
                raise Diverged(cause, remedy=_REMEDY, height=first.header.height)

    def _check_halted(self) -> None:
        if (halted := self._halted()) is not None:
            raise Diverged(f"this ledger is halted: {halted}", remedy=_REMEDY, height=self._app.height)

    def _compare(self, header: Header, commit: Commit, evidence: bytes) -> None:
        """A header at or below our height must be ours; another one that the validators signed halts this ledger."""
        height = header.height
        if header == self._header_at(height):
            return
        verify_signed(self.chain_id, header, commit, self.validators_at(height))
        fault = Diverged(
            f"another block {height} is signed ({header.hash.hex()[:16]}) than the one that is here",
            remedy=_REMEDY,
            height=height,
        )
        self._halt(f"block {height}: {fault.cause}", evidence)
        raise fault

    def _check_carried(self, block: Block) -> None:
        """What a carrier could have changed without the validators: refused, and no evidence against them."""

        def refuse(check: str, cause: str) -> ProofError:
            return ProofError(cause, check=check, remedy="fetch the block again", height=block.header.height)

        if data_hash(block.txs) != block.header.data_hash:
            raise refuse("transactions", "the transactions are not those of the header")
        if block.last_commit.hash != block.header.last_commit_hash:
            raise refuse("header-chain", "the last commit is not that of the header")
        whole = block.header.evidence_hash == EMPTY_HASH  # the parts of a block with evidence hold that too
        if whole and block_id(block.header, block.txs, block.last_commit) != block.commit.block:
            raise refuse("header-chain", "the commit is for another block")

    def _as_they_say(self, expected: Header, block: Block) -> Header:
        """Of several validators: which signatures of the last commit a block holds, and evidence, is theirs to say.

        Raises:
            Diverged: what it holds is no commit of the last block.
        """
        height, last, tip = block.header.height, block.last_commit, self._tip
        if tip is not None:
            try:
                verify_commit(self.chain_id, last, self.validators_at(height - 1))
            except ProofError as fault:
                raise Diverged(
                    f"the last commit does not hold: {fault.cause}", remedy=_REMEDY, height=height
                ) from fault
            if (last.height, last.block) != (tip.commit.height, tip.commit.block):
                raise Diverged("the last commit is for another block", remedy=_REMEDY, height=height)
            expected = dataclasses.replace(expected, last_commit_hash=last.hash)
        return dataclasses.replace(expected, evidence_hash=block.header.evidence_hash)

    def _check_signed(self, block: Block) -> None:
        """What the validators signed must be what this node computes."""
        header = block.header
        before = self.genesis.time if self._tip is None else self._tip.header.time
        first = header.height == 1 and header.time == before  # CometBFT gives the first block the genesis' time
        if header.time <= before and not first:
            raise Diverged("the signed block is not later than the one before", remedy=_REMEDY, height=header.height)
        expected = self._next_header(header.time, block.txs, header.proposer)
        if len(self.genesis.validators) > 1 or len(self.validators_at(header.height)) > 1:
            expected = self._as_they_say(expected, block)
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
            self._app.process_proposal(list(block.txs), decided=True)
        except FondacoError as fault:
            raise Diverged(
                f"the signed block breaks the rules: {fault.cause}", remedy=_REMEDY, height=header.height
            ) from fault
