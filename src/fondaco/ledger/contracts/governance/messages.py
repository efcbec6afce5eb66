"""Messages, bodies of proposals and records of the governance contract.

Heights and periods are in blocks, times in unix seconds, shares and limits of votes in basis points (10,000 is all),
points in minor units.
"""

from __future__ import annotations

from fondaco.core.codec import Value
from fondaco.core.messages import message

CHOICES = ("yes", "no", "abstain", "veto")


@message("governance.propose/1")
class Propose:
    """Signed by a governor or the administrators of `by`: put `body`, a message of `kind`, to the vote."""

    by: str
    title: str
    kind: str
    body: Value


@message("governance.vote/1")
class Vote:
    """Signed by a governor or the administrators of `by`: yes, no, abstain or veto; `sequence` counts its votes."""

    by: str
    proposal: bytes
    choice: str
    sequence: int


@message("governance.withdraw/1")
class Withdraw:
    """Signed by a governor or the administrators of who proposed, before anyone has voted."""

    proposal: bytes


@message("governance.admit/1")
class Admit:
    """Body: open an invitation for an institution, which joins with `key` until `expires`."""

    organisation: str
    kind: str
    key: bytes
    certificate: bytes
    expires: int


@message("governance.expel/1")
class Expel:
    """Body: an institution leaves; all that it has open ends. `forfeit`: its points go to the consortium's fund."""

    organisation: str
    forfeit: bool


@message("governance.seat/1")
class Seat:
    """Body and record: an institution's validator, from two heights on; power 0 takes the seat away.

    Another key than before replaces the old one: an institution has one seat.
    """

    organisation: str
    key: bytes
    power: int


@message("governance.shares/1")
class Shares:
    """Body: how what a task pays is shared, in basis points that add up to 10,000.

    To the providers, the participants of the task, its coordinator, and the consortium's fund.
    """

    providers: int
    participants: int
    coordinator: int
    fund: int


@message("governance.division/1")
class Division:
    """Body: what divides the providers' share, and for how many blocks a task may be disputed before it is paid.

    `method`: price, leave-one-out or shapley; see the settlement contract.
    """

    method: str
    window: int


@message("governance.quota/1")
class Quota:
    """Body: at most `limit` transactions of an institution in a block; 0 gives it the general quota again."""

    organisation: str
    limit: int


@message("governance.prices/1")
class Prices:
    """Body: what a step of an operation costs its initiator, paid to the coordinator; 0 makes it free."""

    prices: dict[str, int]


@message("governance.mint/1")
class Mint:
    """Body: make points for institutions."""

    amounts: dict[str, int]


@message("governance.program/1")
class Program:
    """Body and record: put an operation with its program's hash on the consortium's list, or take it off."""

    program: bytes
    operation: str
    title: str
    admitted: bool


@message("governance.upgrade/1")
class Upgrade:
    """Body and record: from `height` on the rules are those of `version`, whose package has this SHA-256."""

    height: int
    version: int
    package: bytes


@message("governance.cancel-upgrade/1")
class CancelUpgrade:
    """Body: the upgrade at `height`, which is not reached yet, does not take place."""

    height: int


@message("governance.weights/1")
class Weights:
    """Body: how much the votes of these institutions count (1 unless voted otherwise)."""

    weights: dict[str, int]


@message("governance.parameters/1")
class Parameters:
    """Body and record: the rules of voting and the general limits, all at once.

    `deliberation`, `voting` and `execution` are blocks before the vote, of the vote, and from decision to effect.
    `quorum` of all weight must vote; more than `threshold` of yes, no and veto must be yes; more than `veto` of all
    votes being veto ends it. `early`: decide as soon as no missing vote can change the outcome. `deposit` is set aside
    by who proposes, and lost by a veto. `quota`: an institution's transactions in a block.
    """

    deliberation: int
    voting: int
    execution: int
    quorum: int
    threshold: int
    veto: int
    early: bool
    deposit: int
    quota: int
    most_validators: int
    admission_by_vote: bool
    listed_programs_only: bool


@message("governance.voting-rules/1")
class VotingRules:
    """The rules of a proposal, as they were when it was made."""

    quorum: int
    threshold: int
    veto: int
    early: bool
    execution: int


@message("governance.proposal/1")
class Proposal:
    """Record of a proposal; status open, passed, rejected, vetoed, withdrawn, executed or failed.

    Votes are taken from block `opens` to block `closes`; `decided` and `executes` are heights, 0 until known;
    `cause` says why what passed could not be executed.
    """

    id: bytes
    by: str
    title: str
    kind: str
    body: Value
    deposit: int
    rules: VotingRules
    since: int
    opens: int
    closes: int
    votes: dict[str, str]
    status: str
    decided: int
    executes: int
    cause: str


@message("governance.upgrades/1")
class Upgrades:
    """Record of all upgrades that were and are to be, in order."""

    steps: tuple[Upgrade, ...]
