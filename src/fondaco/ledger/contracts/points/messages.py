"""Messages and records of the points contract."""

from __future__ import annotations

from fondaco.core.messages import message


@message("points.transfer/1")
class Transfer:
    """Signed by a governor or the administrators of `source`; `sequence` counts its transfers from 1."""

    source: str
    target: str
    amount: int
    sequence: int


@message("points.propose-mint/1")
class ProposeMint:
    """Signed by a governor of an active organisation: mint `amounts`, if the vote passes before `expires`."""

    by: str
    amounts: dict[str, int]
    expires: int


@message("points.vote-mint/1")
class VoteMint:
    """Signed by a governor of `by`; `sequence` counts the votes of that organisation from 1."""

    by: str
    proposal: bytes
    approve: bool
    sequence: int


@message("points.mint-proposal/1")
class MintProposal:
    """Record of a proposal; status open, passed, rejected."""

    id: bytes
    by: str
    amounts: dict[str, int]
    expires: int
    status: str
    votes: dict[str, bool]


@message("points.escrow/1")
class Escrow:
    """Record of points set aside: whose, and how many are left."""

    id: bytes
    owner: str
    amount: int
