"""What each dataset contributed to a result: leave-one-out and Shapley values, in exact integers.

A *coalition* is a set of the n granted datasets of a task, written as a bit mask: bit i stands for dataset i in the
order of the task's grants. `v(S)` is a whole number that the task measured with coalition S and what its initiator
brought itself; `v(0)` is that with the initiator's data alone.

Leave-one-out: c_i = v(N) - v(N without i). Shapley (L. S. Shapley, "A value for n-person games", 1953):
phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! * (v(S with i) - v(S)); numerators over n! are returned, so
that nothing is rounded. Efficiency: the numerators add up to n! * (v(N) - v(0)).

Used by the party that measures and by the ledger that checks it. Trusts nothing; leaks nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from fondaco.errors import CodecError

LEAVE_ONE_OUT = "leave-one-out"
SHAPLEY = "shapley"
METHODS = (LEAVE_ONE_OUT, SHAPLEY)
MOST_DATASETS = {LEAVE_ONE_OUT: 16, SHAPLEY: 8}
MAX_VALUE = 1 << 40  # 8! * 2^40 is below 2^56: numerators fit in the canonical codec's integers
_REMEDY = "measure every coalition that the method needs, in order of its mask"


def coalitions(method: str, datasets: int) -> tuple[int, ...]:
    """The masks of the coalitions that a method needs, ascending: all 2^n, or none, all, and all but one.

    Raises:
        CodecError: no such method, no dataset, or more than the method takes (16 leave-one-out, 8 Shapley).
    """
    if method not in METHODS:
        raise CodecError("no such method", remedy=f"one of: {', '.join(METHODS)}")
    if not 1 <= datasets <= MOST_DATASETS[method]:
        raise CodecError(f"{method} takes 1 to {MOST_DATASETS[method]} datasets", remedy="divide by price")
    whole = (1 << datasets) - 1
    if method == SHAPLEY:
        return tuple(range(whole + 1))
    return tuple(sorted(dict.fromkeys((0, whole, *(whole ^ 1 << i for i in range(datasets))))))


def contributions(method: str, datasets: int, values: Mapping[int, int]) -> tuple[int, ...]:
    """Each dataset's contribution as a numerator over `denominator(method, datasets)`.

    Args:
        method: leave-one-out or shapley.
        datasets: n.
        values: v(S) by mask, for exactly the coalitions that the method needs.

    Raises:
        CodecError: a coalition is missing or too many, or a value is out of range (2^40 either way).
    """
    if tuple(sorted(values)) != coalitions(method, datasets):
        raise CodecError("the coalitions are not those that the method needs", remedy=_REMEDY)
    if not all(abs(value) <= MAX_VALUE for value in values.values()):
        raise CodecError("a measured value is out of range", remedy="measure in a larger unit")
    whole = (1 << datasets) - 1
    if method == LEAVE_ONE_OUT:
        return tuple(values[whole] - values[whole ^ 1 << i] for i in range(datasets))
    weights = [math.factorial(k) * math.factorial(datasets - k - 1) for k in range(datasets)]
    return tuple(
        sum(
            weights[mask.bit_count()] * (values[mask | 1 << i] - values[mask])
            for mask in range(whole + 1)
            if not mask >> i & 1
        )
        for i in range(datasets)
    )


def denominator(method: str, datasets: int) -> int:
    """What the numerators are over: n! for Shapley, 1 for leave-one-out."""
    return math.factorial(datasets) if method == SHAPLEY else 1


def is_efficient(method: str, datasets: int, values: Mapping[int, int], numerators: tuple[int, ...]) -> bool:
    """Whether contributions share out exactly v(N) - v(0); leave-one-out values never promise to."""
    gain = values[(1 << datasets) - 1] - values[0]
    return method != SHAPLEY or sum(numerators) == denominator(method, datasets) * gain
