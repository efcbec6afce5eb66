"""Refusals of the catalog contract: codespace `catalog`, numbers that never change."""

from __future__ import annotations

from fondaco.ledger.contracts.kit import Refused


class CatalogRefused(Refused):
    """Base of the refusals of this contract."""

    code = "ledger.catalog"
    codespace = "catalog"
    number = 1


class Denied(CatalogRefused):
    """The signers may not do this."""

    code = "ledger.catalog.denied"
    number = 2


class Unknown(CatalogRefused):
    """What the transaction names is not there."""

    code = "ledger.catalog.unknown"
    number = 3


class Conflict(CatalogRefused):
    """What the transaction would make is there already, or out of order."""

    code = "ledger.catalog.conflict"
    number = 4


class Invalid(CatalogRefused):
    """A field holds what it must not."""

    code = "ledger.catalog.invalid"
    number = 5


class WrongStatus(CatalogRefused):
    """The thing is not in a state that allows this."""

    code = "ledger.catalog.status"
    number = 6
