"""Messages and records of the disputes contract."""

from __future__ import annotations

from fondaco.core.messages import message


@message("disputes.rules/1")
class Rules:
    """Record of the voted rules: how many arbiters are drawn, and for how many blocks they may vote."""

    arbiters: int
    blocks: int


@message("disputes.open/1")
class Open:
    """Signed by an analyst or reviewer of a party: contest a finished task, or one whose window is not over.

    From version 2 of the rules on also a task that came to no result though a provider began: while what it owes is
    held; after its deadline; and, for who proposed it, once it has failed. That ends it.
    """

    task: bytes
    cause: str


@message("disputes.put-evidence/1")
class PutEvidence:
    """Signed by an analyst or reviewer of a party: a salted hash, 32 bytes, of what arbiters are shown elsewhere."""

    task: bytes
    evidence: bytes


@message("disputes.vote/1")
class CastVote:
    """Signed by a governor or the administrators of an arbiter.

    `refund`: basis points of the total that go back to the payer (0: all is paid; 10,000: nothing is);
    `revoke`: whether the task's certificates are revoked.
    """

    by: str
    task: bytes
    refund: int
    revoke: bool


@message("disputes.evidence/1")
class Evidence:
    """Record of a salted hash: whose, and at which height it came."""

    organisation: str
    evidence: bytes
    height: int


@message("disputes.cast-vote/1")
class Vote:
    """Record of an arbiter's vote."""

    arbiter: str
    refund: int
    revoke: bool


@message("disputes.dispute/1")
class Dispute:
    """Record of a dispute; status opened, voting or ended.

    `deadline`: the height at whose end it ends at the latest (0: not drawn yet); `outcome`: payment, refund, split or
    silence; `refund`, `revoke`: what was decided; `silent`: the arbiters who did not vote.
    """

    id: bytes
    task: bytes
    opener: str
    cause: str
    since: int
    parties: tuple[str, ...]
    arbiters: tuple[str, ...]
    deadline: int
    evidence: tuple[Evidence, ...]
    votes: tuple[Vote, ...]
    status: str
    outcome: str
    refund: int
    revoke: bool
    silent: tuple[str, ...]
