"""What verbs and the planner read of the ledger, as records."""

from __future__ import annotations

from typing import TypeVar

from fondaco.core.codec import Value
from fondaco.core.messages import from_value
from fondaco.core.names import DatasetName
from fondaco.errors import LedgerError
from fondaco.ledger.contracts.catalog.messages import Dataset
from fondaco.ledger.contracts.grants.messages import Grant, LookupLimits, Request
from fondaco.ledger.reader import Ledger

T = TypeVar("T")


def records(ledger: Ledger, path: str, cls: type[T]) -> list[T]:
    """All records that a query lists."""
    rows = ledger.query(path)
    return [from_value(cls, row) for row in rows] if isinstance(rows, list) else []


class LedgerMarket:
    """Datasets and grants of a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def newest(self, name: DatasetName) -> Dataset:
        """The dataset of a name, its newest version unless one is given.

        Raises:
            LedgerError: nothing of this name is published. ContractError: not this version.
        """
        version: Value = name.version or self._ledger.query("catalog/latest", {"path": name.path})
        if not version:
            raise LedgerError(
                f"{name.path} is not published",
                remedy="check the name with `fondaco search`; what is one's own is published by `fondaco publish`",
            )
        return from_value(Dataset, self._ledger.query("catalog/dataset", {"path": name.path, "version": version}))

    def datasets(self) -> list[Dataset]:
        """All versions of all datasets."""
        return records(self._ledger, "catalog/datasets", Dataset)

    def grants_of(self, key: bytes) -> list[Grant]:
        """The grants that a key holds."""
        return [grant for grant in records(self._ledger, "grants/grants", Grant) if grant.holder_key == key]

    def limits_of(self, grant: bytes) -> LookupLimits | None:
        """What a grant says of lookups, if anything."""
        found = self._ledger.query("grants/limits", {"id": grant})
        return None if found is None else from_value(LookupLimits, found)

    def limits_of_path(self, path: str) -> LookupLimits | None:
        """What a path's owner says of grants to come, if anything."""
        found = self._ledger.query("grants/path-limits", {"path": path})
        return None if found is None else from_value(LookupLimits, found)

    def request(self, request_id: bytes) -> Request:
        """A request.

        Raises:
            LedgerError: there is none.
        """
        found = self._ledger.query("grants/request", {"id": request_id})
        if found is None:
            raise LedgerError("there is no such request", remedy="see `fondaco requests`, and give the id whole")
        return from_value(Request, found)
