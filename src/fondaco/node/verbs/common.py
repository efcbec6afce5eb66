"""What all verbs stand on: the node, its ledger, ids as text, values as JSON."""

from __future__ import annotations

from typing import Any

from fondaco.errors import NodeError
from fondaco.node.control import Verb
from fondaco.node.market import LedgerMarket
from fondaco.node.node import Node

DAY = 86400
PROOF_SECONDS = 5.0


class Group:
    """Verbs that belong together."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ledger = node.ledger
        self._market = LedgerMarket(node.ledger)
        self._org = node.settings.org

    def _coordinator(self) -> str:
        """Who coordinates where a person names nobody: the institution whose node makes the blocks."""
        return self._node.chain.org_of(self._node.settings.validator_did)

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {}


def parse_id(text: str) -> bytes:
    """The bytes of an id that a person gave.

    Raises:
        NodeError: it is none.
    """
    try:
        return bytes.fromhex(text)
    except ValueError as fault:
        raise NodeError("not an id", remedy="give the id in hexadecimal, whole") from fault


def plain(value: Any) -> Any:
    """A cell as JSON has it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)
