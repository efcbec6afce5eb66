"""A chain of several validators in one process: a driver for tests, which holds all their keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from fondaco.core.keys import SecretKey
from fondaco.ledger.application import Registry
from fondaco.ledger.blocks import FLAG_COMMIT, Block, Commit, CommitSig, block_id, vote_bytes
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.reader import Ledger


class Several(Ledger):
    """A driver with the keys of all validators, who sign whatever the set is."""

    def __init__(self, folder: Path | None, genesis: Genesis, registry: Registry, secrets: Iterable[SecretKey]) -> None:
        super().__init__(folder, genesis, registry)
        self._secrets = {secret.public.raw: secret for secret in secrets}

    def make(self, *txs: bytes) -> Block:
        """The next block, signed by those whose turn it is."""
        with self.lock:
            height, time = self.height + 1, self.genesis.time + (self.height + 1) * 10**9
            known = self.validators_at(height)
            header = self._next_header(time, txs, known[0].address)
            last = self._last_commit()
            unsigned = Commit(height=height, round=0, block=block_id(header, txs, last), signatures=())
            signatures = tuple(
                CommitSig(
                    flag=FLAG_COMMIT,
                    address=validator.address,
                    time=time,
                    signature=self._secrets[validator.key].sign_raw(vote_bytes(self.genesis.chain, unsigned, time)),
                )
                for validator in known
            )
            block = Block(
                header=header, txs=txs, last_commit=last, commit=dataclasses.replace(unsigned, signatures=signatures)
            )
            self._commit_block(block)
        return block
