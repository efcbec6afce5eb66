"""Refusals of the tasks contract: codespace `tasks`, numbers that never change."""

from __future__ import annotations

from fondaco.ledger.contracts.kit import Refused


class TasksRefused(Refused):
    """Base of the refusals of this contract."""

    code = "ledger.tasks"
    codespace = "tasks"
    number = 1


class Denied(TasksRefused):
    """The signers may not do this."""

    code = "ledger.tasks.denied"
    number = 2


class Unknown(TasksRefused):
    """What the transaction names is not there."""

    code = "ledger.tasks.unknown"
    number = 3


class Conflict(TasksRefused):
    """What the transaction would make is there already, or out of order."""

    code = "ledger.tasks.conflict"
    number = 4


class Invalid(TasksRefused):
    """A field holds what it must not."""

    code = "ledger.tasks.invalid"
    number = 5


class WrongStatus(TasksRefused):
    """The thing is not in a state that allows this."""

    code = "ledger.tasks.status"
    number = 6
