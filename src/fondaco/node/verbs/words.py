"""What a person may write as operation, purpose and default permission, refused by name before the ledger is asked.

The ledger holds any word, so that operations to come need no other rules; what no engine does is a slip of the pen.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable
from typing import Any

from fondaco.engines.base import OPERATIONS
from fondaco.errors import UsageError
from fondaco.ledger.contracts.catalog.messages import Rule
from fondaco.ledger.contracts.kit import is_word
from fondaco.node.verbs.common import DAY

ANY = "*"
_RULE_DAYS = 90
"""A default permission covers requests whose grants end before it does: it must outlive what is usually asked for."""
_LISTS = ("organisations", "operations", "purposes", "keys", "columns")
_NUMBERS = ("uses", "days")
_KNOWN = tuple(f"{engine}.{operation}" for engine, found in OPERATIONS.items() for operation in found)


def operations(words: Iterable[str]) -> tuple[str, ...]:
    """The same operations if engines do them all (`*`: any).

    Raises:
        UsageError: one that no engine does.
    """
    found = tuple(words)
    for word in found:
        if word != ANY and word not in _KNOWN:
            close = difflib.get_close_matches(word, _KNOWN, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"give some of: {', '.join(_KNOWN)}"
            raise UsageError(f"no engine does {word[:80]}", remedy=remedy)
    return found


def purposes(words: Iterable[str]) -> tuple[str, ...]:
    """The same purposes if the ledger can hold them (`*`: any).

    Raises:
        UsageError: one that is no word.
    """
    found = tuple(words)
    for word in found:
        if word != ANY and not is_word(word):
            raise UsageError(
                f"{word[:80]!r} cannot be a purpose",
                remedy="write one word of lower-case letters, digits and . _ : / - that begins with a letter or digit",
            )
    return found


def among(words: Iterable[str], offered: tuple[str, ...], what: str) -> None:
    """Raise UsageError, with its name, for a key or a column that an offer does not have."""
    for word in words:
        if word not in offered:
            close = difflib.get_close_matches(word, offered, n=1)
            some = f"give some of: {', '.join(offered)}" if offered else f"leave it out: it was offered with no {what}"
            remedy = f"did you mean {close[0]}?" if close else some
            raise UsageError(f"the offer has no {what} {word[:80]}", remedy=remedy)


def rules(written: list[dict[str, Any]]) -> tuple[Rule, ...]:
    """Default permissions from how people write them.

    Raises:
        UsageError: a field that is missing, not known, or of another kind.
    """
    return tuple(_rule(number, rule) for number, rule in enumerate(written, start=1))


def _rule(number: int, rule: dict[str, Any]) -> Rule:
    def refuse(cause: str) -> UsageError:
        return UsageError(
            f"default permission {number}: {cause}",
            remedy=f"write lists of text ({', '.join(_LISTS)}) and whole numbers ({', '.join(_NUMBERS)})",
        )

    unknown = sorted(set(rule) - {*_LISTS, *_NUMBERS})
    if unknown:
        raise refuse(f"there is no field {unknown[0][:80]}")
    for name in _LISTS:
        value = rule.get(name, [])
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
            raise refuse(f"{name} is not a list of text")
        if not value and name in _LISTS[:3]:
            raise refuse(f"{name} is missing")
    for name in _NUMBERS:
        if type(rule.get(name, 1)) is not int or rule.get(name, 1) < 1:
            raise refuse(f"{name} is not a whole number of 1 or more")
    return Rule(
        organisations=tuple(rule["organisations"]),
        operations=operations(rule["operations"]),
        purposes=purposes(rule["purposes"]),
        keys=tuple(rule.get("keys", [])),
        columns=tuple(rule.get("columns", [])),
        uses=rule.get("uses", 1),
        until=int(time.time()) + rule.get("days", _RULE_DAYS) * DAY,
    )
