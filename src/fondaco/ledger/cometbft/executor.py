"""At most one block is executed and not yet committed: a proposal that is voted on, or the block that was decided.

A proposal that this node accepts is executed while the validators vote on it (ADR 66). If it is decided, its result is
there; if another is, what was executed is dropped and that one executed. Nothing is written before the commit, and the
result hangs on height, time and transactions alone, so which of the two ways a node went shows nowhere. A validator
that proposes one block and another in the next round makes the others execute both: one for each round that it leads.
One thread at a time asks. Trusts the application; leaks nothing.
"""

from __future__ import annotations

import dataclasses
import logging

from fondaco.errors import LedgerError
from fondaco.ledger.application import Application, Finalized, UpgradeNeeded
from fondaco.ledger.cometbft import abci

_log = logging.getLogger(__name__)
Whole = abci.RequestProcessProposal | abci.RequestFinalizeBlock


@dataclasses.dataclass(frozen=True, slots=True)
class Executed:
    """A block, and what became of it."""

    height: int
    time: int
    txs: tuple[bytes, ...]
    done: Finalized

    def is_of(self, block: Whole) -> bool:
        """Whether this is what executing that block gives: nothing else in it counts."""
        return (self.height, self.time, self.txs) == (block.height, block.time, block.txs)


class Executor:
    """Executes blocks before and after they are decided."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._executed: Executed | None = None
        self._decided = False

    def ahead(self, proposal: abci.RequestProcessProposal) -> None:
        """Execute an accepted proposal that may never be decided.

        Raises:
            LedgerError: it does not follow the last committed block.
        """
        try:
            self._execute(proposal)
        except UpgradeNeeded as fault:  # said when a block is decided
            _log.debug("not executed ahead: %s", fault.cause)

    def execute(self, block: Whole) -> Finalized:
        """What becomes of a block that was decided, executed now or before.

        Raises:
            LedgerError: it does not follow the last committed block.
            UpgradeNeeded: from this block on the rules are a version that this software does not have.
        """
        done = self._execute(block)
        self._decided = True
        return done

    def _execute(self, block: Whole) -> Finalized:
        if self._executed is not None and self._executed.is_of(block):  # or CometBFT died, and gives it again
            return self._executed.done
        self.drop()
        done = self._app.finalize_block(block.height, block.time, list(block.txs))
        self._executed = Executed(block.height, block.time, block.txs, done)
        return done

    def drop(self) -> None:
        """What is executed is not committed."""
        self._executed, self._decided = None, False
        if self._app.finalized:
            self._app.roll_back()

    def to_commit(self) -> Executed:
        """The block that was decided and executed.

        Raises:
            LedgerError: there is none.
        """
        if self._executed is None or not self._decided:
            raise LedgerError("nothing was finalised", remedy="call FinalizeBlock first")
        return self._executed

    def committed(self) -> None:
        """It is durable."""
        self._executed, self._decided = None, False
