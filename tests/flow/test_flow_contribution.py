"""What datasets contributed to a match: counted as by hand, and not published where a group is too small."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fondaco.core.contribution import LEAVE_ONE_OUT, SHAPLEY, coalitions, contributions
from fondaco.flow.contribution import cells, measure
from fondaco.flow.model import Input, Step, Workflow

SELLERS = ("a", "b", "c", "d")


def workflow(*sellers: str, keys=("k",), receivers=("buyer",)) -> Workflow:
    steps = tuple(
        Step(
            id=f"with-{seller}", engine="psi", operation="intersection", parameters={"keys": list(keys)},
            parties=("buyer", seller), helper=None, match=None, receivers=receivers,
            inputs=(
                Input(party="buyer", dataset="/buyer/d/own@1", columns=keys, grant=None),
                Input(party=seller, dataset=f"/{seller}/d/rows@1", columns=keys, grant=seller.encode().hex()),
            ),
        )
        for seller in sellers
    )  # fmt: skip
    return Workflow(title="", purpose="study", initiator="buyer", coordinator="c0", steps=steps)


def matched(*sets) -> dict[str, pa.Table]:
    return {
        f"with-{seller}": pa.table({"k": pa.array(sorted(keys), pa.int64()), "second": pa.array([f"x{k}" for k in sorted(keys)], pa.string())})
        for seller, keys in zip(SELLERS, sets, strict=False)
    }  # fmt: skip


def nothing(_dataset: str) -> int:
    return 0


SETS = st.lists(st.sets(st.integers(0, 12)), min_size=1, max_size=4)


@given(SETS, st.sampled_from([SHAPLEY, LEAVE_ONE_OUT]))
def test_a_coalition_is_worth_the_keys_that_it_covers(sets, method) -> None:
    found = measure(workflow(*SELLERS[: len(sets)]), matched(*sets), method, nothing)
    assert found is not None
    assert found.coalitions == coalitions(method, len(sets))
    for mask, value in zip(found.coalitions, found.values, strict=True):
        assert value == len(set().union(*(keys for i, keys in enumerate(sets) if mask >> i & 1)))
    values = dict(zip(found.coalitions, found.values, strict=True))
    assert found.contributions == contributions(method, len(sets), values)
    if method == LEAVE_ONE_OUT:
        for i, keys in enumerate(sets):
            assert found.contributions[i] == len(keys - set().union(*sets[:i], *sets[i + 1 :]))


def test_each_key_is_in_one_cell() -> None:
    tables = tuple(matched({1, 2, 3}, {3, 4}, set()).values())
    assert cells(tables) == {0b001: 2, 0b011: 1, 0b010: 1}


def test_a_count_below_the_smallest_that_a_provider_allows_is_not_published() -> None:
    made, matches = workflow("a", "b"), matched({1, 2, 3, 4, 5}, {5, 6, 7, 8, 9})
    assert measure(made, matches, SHAPLEY, lambda _d: 1) is not None
    assert measure(made, matches, SHAPLEY, lambda d: 2 if d.startswith("/b/") else 0) is None  # one key is in both


def test_what_does_not_match_keys_of_one_dataset_is_not_measured() -> None:
    matches = matched({1}, {2})
    whole = workflow("a", "b")
    assert measure(whole, matches, "price", nothing) is None
    assert measure(whole, {"with-a": matches["with-a"]}, SHAPLEY, nothing) is None  # one is missing still
    assert measure(workflow("a", "b", receivers=("a",)), matches, SHAPLEY, nothing) is None
    other = dataclasses.replace(whole.steps[1], parameters={"keys": ["second"]})
    assert measure(dataclasses.replace(whole, steps=(whole.steps[0], other)), matches, SHAPLEY, nothing) is None
    doubled = dataclasses.replace(whole.steps[0], id="again")
    assert measure(dataclasses.replace(whole, steps=(*whole.steps, doubled)), matches, SHAPLEY, nothing) is None
    statistics = dataclasses.replace(whole.steps[1], operation="statistics")
    assert measure(dataclasses.replace(whole, steps=(whole.steps[0], statistics)), matches, SHAPLEY, nothing) is None


def test_an_intersection_of_several_grants_measures_none_of_them() -> None:
    whole = workflow("a")
    other = Input(party="b", dataset="/b/d/rows@1", columns=("k",), grant=b"b".hex())
    step = dataclasses.replace(whole.steps[0], parties=("buyer", "a", "b"), inputs=(*whole.steps[0].inputs, other))
    assert measure(whole, matched({1}), SHAPLEY, nothing) is not None
    assert measure(dataclasses.replace(whole, steps=(step,)), matched({1}), SHAPLEY, nothing) is None
