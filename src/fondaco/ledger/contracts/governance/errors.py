"""Refusals of the governance contract: codespace `governance`, numbers that never change."""

from __future__ import annotations

from fondaco.ledger.contracts.kit import Refused


class GovernanceRefused(Refused):
    """Base of the refusals of this contract."""

    code = "ledger.governance"
    codespace = "governance"
    number = 1


class Denied(GovernanceRefused):
    """The signers may not do this."""

    code = "ledger.governance.denied"
    number = 2


class Unknown(GovernanceRefused):
    """What the transaction or the proposal names is not there."""

    code = "ledger.governance.unknown"
    number = 3


class Conflict(GovernanceRefused):
    """What would be made is there already, or out of order."""

    code = "ledger.governance.conflict"
    number = 4


class Invalid(GovernanceRefused):
    """A field holds what it must not."""

    code = "ledger.governance.invalid"
    number = 5


class WrongStatus(GovernanceRefused):
    """The proposal, the seat or the upgrade is not in a state that allows this."""

    code = "ledger.governance.status"
    number = 6


class VoteNeeded(GovernanceRefused):
    """The consortium does this by a vote alone."""

    code = "ledger.governance.vote_needed"
    number = 7
