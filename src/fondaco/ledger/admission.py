"""Who may put a transaction before the validators at all: refusals at the door, before a signature is verified.

What a door lets in is execution's to judge; what it keeps out costs no block room. The verdict is of committed state
alone, so every validator's is the same, of what waits and of a proposed block. A validator of an earlier release may
let in more, and never less: its proposal is then refused by the later ones, whose own is refused by nobody. Of a block
that is decided, whom its validators let in is taken as it is.
"""

from __future__ import annotations

from fondaco.ledger.transactions import BadTransaction


class Stranger(BadTransaction):
    """The author is nobody in the consortium: no block holds what it sends."""

    code = "ledger.stranger"


class Expelled(Stranger):
    """The author's institution was expelled: no block holds what any of its keys sends."""

    code = "ledger.expelled"


class Stale(BadTransaction):
    """A transaction that was executed before, has expired, or expires too late."""


def turned_away(expelled: str) -> Stranger:
    """The refusal of an author that is not admitted; `expelled` names its institution if that was expelled, or ""."""
    if expelled:
        return Expelled(
            f"{expelled}, whose key the author's is, was expelled",
            remedy="sign with a key of an active institution; who was expelled comes back by an invitation only",
            organisation=expelled,
        )
    return Stranger(
        "the author's key is bound to nobody here, and an open invitation allows to join and nothing else",
        remedy="join first, or sign with the key that the ledger has",
    )
