"""Counting votes. Pure: who voted what, how much each vote counts, and the proposal's rules give the outcome."""

from __future__ import annotations

import dataclasses

from fondaco.ledger.contracts.governance.messages import CHOICES, VotingRules
from fondaco.ledger.contracts.governance.parameters import BASIS_POINTS

PASSED, REJECTED, VETOED = "passed", "rejected", "vetoed"


@dataclasses.dataclass(frozen=True, slots=True)
class Count:
    """Weight of each choice, and of those who have not voted."""

    yes: int
    no: int
    abstain: int
    veto: int
    missing: int

    def with_missing_as(self, choice: str) -> Count:
        """The count if all who are missing made this choice."""
        moved = {choice: getattr(self, choice) + self.missing, "missing": 0}
        return dataclasses.replace(self, **moved)


def count(votes: dict[str, str], weights: dict[str, int]) -> Count:
    """The count over the organisations that have a weight; votes of others do not count."""
    by_choice = dict.fromkeys(CHOICES, 0)
    missing = 0
    for name, weight in weights.items():
        if name in votes:
            by_choice[votes[name]] += weight
        else:
            missing += weight
    return Count(**by_choice, missing=missing)


def outcome(found: Count, rules: VotingRules) -> str:
    """What the proposal comes to if nobody else votes: without quorum rejected, then vetoed, then by the threshold."""
    cast = found.yes + found.no + found.abstain + found.veto
    if cast * BASIS_POINTS < rules.quorum * (cast + found.missing):
        return REJECTED
    if found.veto * BASIS_POINTS > rules.veto * cast:
        return VETOED
    decisive = found.yes + found.no + found.veto
    return PASSED if found.yes * BASIS_POINTS > rules.threshold * decisive else REJECTED


def decided(found: Count, rules: VotingRules) -> str | None:
    """The outcome if no missing vote can change it, else None.

    Each outcome, where it is possible at all, is reached with all that is missing on one side: passed with yes,
    vetoed with veto, rejected with no or with nobody else voting.
    """
    ends = [outcome(found, rules)]
    if found.missing:
        ends += [outcome(found.with_missing_as(choice), rules) for choice in ("yes", "no", "veto")]
    return ends[0] if all(end == ends[0] for end in ends) else None
