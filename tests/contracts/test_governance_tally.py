"""The tally against the rules written a second time, and against every vote that could still come."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco.ledger.contracts.governance import messages as g
from fondaco.ledger.contracts.governance import tally

WEIGHTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 4), max_size=6)
RULES = st.builds(
    g.VotingRules, quorum=st.integers(1, 10_000), threshold=st.integers(5_000, 9_999), veto=st.integers(1, 10_000),
    early=st.just(value=True), execution=st.just(0),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(WEIGHTS, st.dictionaries(st.sampled_from("abcdefg"), st.sampled_from(g.CHOICES), max_size=5), RULES)
def test_a_decision_is_early_exactly_when_no_missing_vote_can_change_it(weights, votes, rules) -> None:
    """Against every way in which those who are missing could still vote, each weight of 1 for itself."""
    missing = sum(weight for name, weight in weights.items() if name not in votes)
    choices = (None, *g.CHOICES)
    ends = set()
    for parts in itertools.combinations_with_replacement(choices, min(missing, 8)):
        more = {f"voter {n}": choice for n, choice in enumerate(parts) if choice is not None}
        whole = {name: w for name, w in weights.items() if name in votes}
        whole |= {f"voter {n}": 1 for n in range(min(missing, 8))}
        ends.add(naive_outcome(votes | more, whole, rules))
    if missing <= 8:
        found = tally.decided(tally.count(votes, weights), rules)
        assert found == (next(iter(ends)) if len(ends) == 1 else None)


def naive_outcome(votes, weights, rules) -> str:
    """The rules in plain fractions of what is counted, written a second time."""
    total = sum(weights.values())
    cast = [(choice, weights[name]) for name, choice in votes.items() if name in weights]
    heard = sum(weight for _choice, weight in cast)
    of = lambda *wanted: sum(weight for choice, weight in cast if choice in wanted)  # noqa: E731
    if 10_000 * heard < rules.quorum * total:
        return "rejected"
    if 10_000 * of("veto") > rules.veto * heard:
        return "vetoed"
    return "passed" if 10_000 * of("yes") > rules.threshold * of("yes", "no", "veto") else "rejected"
