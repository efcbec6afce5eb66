"""What a step does with the columns that a party brings: matches rows on them, or computes with them.

A grant names both apart, for whoever may match on a column can bring a list of guesses and learn which are right.
Reads a step's description alone, so the planner, the gate and a reviewer see the same.
"""

from __future__ import annotations

import dataclasses

from fondaco.core.codec import Value

MATCHING = ("psi", "pir")
_REFERENCES = ("value", "group", "left", "right")


@dataclasses.dataclass(frozen=True)
class Uses:
    """Columns of one party: `keys` are matched on, `columns` computed with; a column that is both is in both."""

    keys: tuple[str, ...]
    columns: tuple[str, ...]

    def covered(self, keys: tuple[str, ...], columns: tuple[str, ...]) -> bool:
        """Whether a grant of these keys and columns covers the use."""
        return all(name in keys for name in self.keys) and all(name in columns for name in self.columns)


def column_uses(engine: str, parameters: Value, party: str, brought: tuple[str, ...]) -> Uses:
    """What a step does with the columns that `party` brings.

    An engine that matches may match on all that it is given. Elsewhere `parameters.keys` align rows, and every other
    column is for computing, whether the parameters name it or not; a key that they also compute with is both.
    """
    described = parameters if isinstance(parameters, dict) else {}
    named = described.get("keys")
    keys = tuple(str(name) for name in named) if isinstance(named, list) else ()
    if engine in MATCHING:
        return Uses(tuple(dict.fromkeys((*brought, *keys))), ())
    computed = [name for name in brought if name not in keys]
    listed = described.get("values")
    references = [described.get(what) for what in _REFERENCES] + (listed if isinstance(listed, list) else [])
    for reference in references:
        match reference:
            case {"party": str(owner), "column": str(column)} if owner == party:
                computed.append(column)
            case str(column):
                computed.append(column)
    return Uses(keys, tuple(dict.fromkeys(computed)))
