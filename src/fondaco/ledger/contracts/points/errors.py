"""Refusals of the points contract: codespace `points`, numbers that never change."""

from __future__ import annotations

from fondaco.ledger.contracts.kit import Refused


class PointsRefused(Refused):
    """Base of the refusals of this contract."""

    code = "ledger.points"
    codespace = "points"
    number = 1


class Denied(PointsRefused):
    """The signers may not do this."""

    code = "ledger.points.denied"
    number = 2


class Unknown(PointsRefused):
    """What the transaction names is not there."""

    code = "ledger.points.unknown"
    number = 3


class Conflict(PointsRefused):
    """What the transaction would make is there already, or out of order."""

    code = "ledger.points.conflict"
    number = 4


class Invalid(PointsRefused):
    """A field holds what it must not."""

    code = "ledger.points.invalid"
    number = 5


class WrongStatus(PointsRefused):
    """The thing is not in a state that allows this."""

    code = "ledger.points.status"
    number = 6
