"""Settlement: who may change what, and that the division is exact: no point made, none lost, more never earns less."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import hypothesis.strategies as st
import pytest
from deal_world import BUYER, COORDINATOR, SELLERS, Deals, formula
from hypothesis import given
from hypothesis import settings as how

from fondaco.core.contribution import (
    LEAVE_ONE_OUT,
    MAX_VALUE,
    SHAPLEY,
    coalitions,
    contributions,
    denominator,
    is_efficient,
)
from fondaco.errors import CodecError, ContractError
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.points.keys import FUND
from fondaco.ledger.contracts.settlement import messages as m
from fondaco.ledger.contracts.settlement import payments
from fondaco.ledger.contracts.settlement.formula import apportion, divide
from fondaco.ledger.contracts.tasks import messages as t


@pytest.fixture
def deals() -> Deals:
    return Deals()


def measure(task: bytes, method: str, values: dict[int, int], /, **changes) -> m.Measure:
    count = max(values).bit_length()
    fields = {
        "task": task,
        "attempt": 1,
        "coalitions": tuple(values),
        "values": tuple(values.values()),
        "contributions": contributions(method, count, values),
    }
    return m.Measure(**(fields | changes))


# -- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"providers": 9_499},
        {"providers": 9_501},
        {"fund": -1, "coordinator": 501},
        {"method": "favour"},
        {"window": -1},
        {"window": payments.MAX_WINDOW + 1},
    ],
)
def test_a_formula_that_does_not_divide_all_is_refused(deals, changes) -> None:
    with pytest.raises(ContractError):
        deals.set_formula(formula(**changes))


def test_a_settlement_is_paid_once_and_only_of_what_has_finished(deals) -> None:
    task = deals.running("seller-a")
    deals.world.refused(t.Settle(task=task), deals.key(COORDINATOR, "node"))
    deals.finish(task)
    deals.settle(task)
    deals.world.refused(t.Settle(task=task), deals.key(COORDINATOR, "node"))


def test_a_measurement_that_does_not_follow_is_refused(deals) -> None:
    deals.set_formula(formula(method=SHAPLEY))
    task = deals.running("seller-a", "seller-b")
    node = deals.key(BUYER, "node")
    values = {0: 0, 1: 5, 2: 3, 3: 6}
    good = measure(task, SHAPLEY, values)
    deals.world.refused(good, deals.key("other-a", "node"))  # takes no part
    deals.world.refused(good, deals.key(BUYER, "analyst"))  # no node
    for changes in (
        {"attempt": 2},
        {"coalitions": (0, 1, 2), "values": (0, 5, 3)},  # one is missing
        {"coalitions": (0, 1, 2, 4)},
        {"coalitions": (3, 2, 1, 0), "values": (6, 3, 5, 0)},
        {"coalitions": (0, 1, 2, 2)},
        {"values": (0, 5, 3)},
        {"values": (0, 5, 3, MAX_VALUE + 1)},
        {"contributions": (8, 5)},  # more than all brought together
        {"contributions": (7, 5)},  # efficient, and another's
        {"contributions": (12,)},
    ):
        refusal = deals.world.refused(measure(task, SHAPLEY, values, **changes), node)
        assert refusal.codespace == "settlement"
    deals.world.send(good, node)
    deals.world.refused(good, node)
    deals.finish(task)
    deals.settle(task)
    deals.world.refused(good, deals.key("seller-a", "node"))


def test_where_the_price_divides_nothing_is_measured(deals) -> None:
    task = deals.running("seller-a")
    deals.world.refused(measure(task, SHAPLEY, {0: 0, 1: 5}), deals.key(BUYER, "node"))


def test_a_method_takes_so_many_datasets_and_no_more() -> None:
    for method, count in ((SHAPLEY, 9), (SHAPLEY, 0), (LEAVE_ONE_OUT, 17), ("favour", 1)):
        with pytest.raises(CodecError):
            coalitions(method, count)


# -- the division -----------------------------------------------------------------------------------------------


@given(st.integers(0, 10**18), st.lists(st.integers(0, 10**12), min_size=1, max_size=20).filter(any))
def test_parts_add_up_and_are_within_one_of_the_exact_share(total, weights) -> None:
    parts = apportion(total, tuple(weights))
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(total * weight, sum(weights))) < 1


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=12).filter(any))
def test_a_larger_weight_never_gets_less(total, weights) -> None:
    parts = apportion(total, tuple(weights))
    for (left, one), (right, two) in itertools.combinations(zip(weights, parts, strict=True), 2):
        assert one >= two if left > right else two >= one if left < right else abs(one - two) <= 1


def test_among_equal_remainders_the_first_gets_the_point() -> None:
    assert apportion(2, (1, 1, 1)) == (1, 1, 0)
    assert apportion(10, (1, 1, 1)) == (4, 3, 3)
    assert apportion(7, (3, 3, 1)) == (3, 3, 1)


@pytest.mark.parametrize(("total", "weights"), [(-1, (1,)), (1, ()), (1, (0, 0)), (1, (2, -1))])
def test_what_cannot_be_divided_is_refused(total, weights) -> None:
    with pytest.raises(ValueError, match="weights"):
        apportion(total, weights)


def shares() -> st.SearchStrategy[m.Formula]:
    cuts = st.lists(st.integers(0, 10_000), min_size=3, max_size=3).map(sorted)
    return cuts.map(lambda c: formula(c[0], c[1] - c[0], c[2] - c[1], 10_000 - c[2]))


@given(shares(), st.lists(st.integers(0, 10**6), min_size=1, max_size=8).filter(any), st.integers(0, 6))
def test_each_role_gets_its_share_to_the_point(rule, prices, count) -> None:
    uses = tuple(m.Use(grant=bytes(32), provider=f"p{i}", price=p, weight=p) for i, p in enumerate(prices))
    total = sum(prices)
    payouts = divide(total, rule, uses, tuple(f"q{i}" for i in range(count)), "c")
    assert sum(payout.amount for payout in payouts) == total
    exact = {"provider": rule.providers, "participant": rule.participants, "coordinator": rule.coordinator}
    if not count:
        exact |= {"provider": rule.providers + rule.participants, "participant": 0}
    for role, part in (exact | {"fund": rule.fund}).items():
        rows = [payout.amount for payout in payouts if payout.role == role]
        assert abs(sum(rows) - Fraction(total * part, 10_000)) <= max(len(rows), 1)


# -- contribution -----------------------------------------------------------------------------------------------


def games(most: int) -> st.SearchStrategy[tuple[int, dict[int, int]]]:
    def values(count: int) -> st.SearchStrategy[tuple[int, dict[int, int]]]:
        size = 1 << count
        drawn = st.lists(st.integers(-MAX_VALUE, MAX_VALUE), min_size=size, max_size=size)
        return drawn.map(lambda found: (count, dict(enumerate(found))))

    return st.integers(1, most).flatmap(values)


@given(games(5))
def test_shapley_values_are_the_mean_over_all_orders_of_arrival(game) -> None:
    count, values = game
    found = contributions(SHAPLEY, count, values)
    sums = [0] * count
    for order in itertools.permutations(range(count)):
        mask = 0
        for player in order:
            sums[player] += values[mask | 1 << player] - values[mask]
            mask |= 1 << player
    assert list(found) == sums
    assert denominator(SHAPLEY, count) == math.factorial(count)
    assert sum(found) == math.factorial(count) * (values[max(values)] - values[0])
    assert is_efficient(SHAPLEY, count, values, found)


@given(games(8).filter(lambda game: game[0] > 1), st.data())
@how(max_examples=40)
def test_a_player_that_adds_nothing_gets_nothing_and_equals_get_the_same(game, data) -> None:
    count, values = game
    idle = data.draw(st.integers(0, count - 1))
    flat = {mask: values[mask & ~(1 << idle)] for mask in values}
    assert contributions(SHAPLEY, count, flat)[idle] == 0
    by_size = {mask: values[(1 << mask.bit_count()) - 1] for mask in values}
    assert len(set(contributions(SHAPLEY, count, by_size))) == 1


@given(games(6))
def test_leave_one_out_is_what_is_lost_without_it(game) -> None:
    count, values = game
    needed = {mask: values[mask] for mask in coalitions(LEAVE_ONE_OUT, count)}
    whole = (1 << count) - 1
    expected = tuple(values[whole] - values[whole & ~(1 << i)] for i in range(count))
    assert contributions(LEAVE_ONE_OUT, count, needed) == expected
    with pytest.raises(CodecError):
        contributions(LEAVE_ONE_OUT, count, needed | {whole + 1: 0})


# -- on the ledger ----------------------------------------------------------------------------------------------


def paid(deals: Deals, before: dict[str, int]) -> dict[str, int]:
    after = deals.balances()
    return {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}


def test_the_voted_shares_are_what_is_paid(deals) -> None:
    deals.set_formula(formula(8_000, 500, 1_000, 500))
    task = deals.finished("seller-a", "seller-b")
    before = deals.balances()
    deals.settle(task)
    # Of 50 points: providers 40 (24 and 16), participants 2.5 in two, coordinator 5, fund 2.5; one point is left over
    # after rounding down (1, 1, 2 of 1.25, 1.25, 2.5), and the fund's remainder of a half is the largest.
    assert paid(deals, before) == {"seller-a": 25, "seller-b": 17, COORDINATOR: 5, FUND: 3}
    record = deals.world.query("settlement/settlement", id=task)
    assert (record["status"], record["basis"], record["total"]) == ("paid", "price", 50)
    deals.conserved()


def test_within_the_window_points_are_held_and_then_paid(deals) -> None:
    deals.set_formula(formula(window=3))
    task = deals.finished("seller-a")
    before = deals.balances()
    deals.settle(task)
    record = deals.world.query("settlement/settlement", id=task)
    assert record["status"] == "held"
    for height in range(deals.world.height, record["until"] + 1):
        assert deals.world.height == height
        assert paid(deals, before) == {}
        deals.blocks(1)
    assert paid(deals, before) == {"seller-a": 29, COORDINATOR: 1}  # of 28.5 and 1.5: a tie
    deals.blocks(5)
    assert paid(deals, before) == {"seller-a": 29, COORDINATOR: 1}  # of 28.5 and 1.5: a tie
    deals.conserved()


def test_shapley_values_divide_the_providers_share(deals) -> None:
    deals.set_formula(formula(10_000, 0, 0, 0, SHAPLEY))
    task = deals.running("seller-a", "seller-b", "seller-c")
    # What each covers of the buyer's keys: a {1..6}, b {5,6,7}, c nothing.
    values = {0: 0, 1: 6, 2: 3, 3: 7, 4: 0, 5: 6, 6: 3, 7: 7}
    deals.world.send(measure(task, SHAPLEY, values), deals.key(BUYER, "node"))
    deals.world.send(measure(task, SHAPLEY, values), deals.key("seller-b", "node"))
    deals.finish(task)
    before = deals.balances()
    deals.settle(task)
    # 57 points; phi = 5, 2, 0 of 7.
    assert paid(deals, before) == {"seller-a": 41, "seller-b": 16}
    record = deals.world.query("settlement/settlement", id=task)
    assert [use["weight"] for use in record["uses"]] == [30, 12, 0]
    assert record["basis"] == SHAPLEY


def test_leave_one_out_pays_nothing_for_what_others_have_too(deals) -> None:
    deals.set_formula(formula(10_000, 0, 0, 0, LEAVE_ONE_OUT))
    task = deals.running("seller-a", "seller-b", "seller-c")
    values = {0: 0, 3: 7, 5: 6, 6: 3, 7: 7}
    deals.world.send(measure(task, LEAVE_ONE_OUT, values), deals.key(BUYER, "node"))
    deals.finish(task)
    before = deals.balances()
    deals.settle(task)
    assert paid(deals, before) == {"seller-a": 46, "seller-b": 11}  # 4 and 1 of 5


@pytest.mark.parametrize("reporters", [(), ("seller-a",), (COORDINATOR,)])
def test_without_the_initiators_measurement_the_price_divides(deals, reporters) -> None:
    deals.set_formula(formula(10_000, 0, 0, 0, SHAPLEY))
    task = deals.running("seller-a", "seller-b")
    for reporter in reporters:
        deals.world.send(measure(task, SHAPLEY, {0: 0, 1: 9, 2: 1, 3: 9}), deals.key(reporter, "node"))
    deals.finish(task)
    before = deals.balances()
    deals.settle(task)
    assert paid(deals, before) == {"seller-a": 30, "seller-b": 20}


def test_a_party_that_measured_otherwise_turns_it_back_to_the_prices(deals) -> None:
    deals.set_formula(formula(10_000, 0, 0, 0, SHAPLEY))
    task = deals.running("seller-a", "seller-b")
    deals.world.send(measure(task, SHAPLEY, {0: 0, 1: 9, 2: 1, 3: 9}), deals.key(BUYER, "node"))
    deals.world.send(measure(task, SHAPLEY, {0: 0, 1: 1, 2: 9, 3: 9}), deals.key("seller-b", "node"))
    deals.finish(task)
    before = deals.balances()
    deals.settle(task)
    assert paid(deals, before) == {"seller-a": 30, "seller-b": 20}
    assert deals.world.query("settlement/settlement", id=task)["basis"] == "contested"


def test_what_harms_the_result_earns_nothing_and_takes_nothing(deals) -> None:
    deals.set_formula(formula(10_000, 0, 0, 0, SHAPLEY))
    for values, expected in (
        ({0: 0, 1: 10, 2: -4, 3: 6}, {"seller-a": 50}),
        ({0: 9, 1: 5, 2: 5, 3: 1}, {"seller-a": 30, "seller-b": 20}),  # all harm: the price divides
    ):
        task = deals.running("seller-a", "seller-b")
        deals.world.send(measure(task, SHAPLEY, values), deals.key(BUYER, "node"))
        deals.finish(task)
        before = deals.balances()
        deals.settle(task)
        assert paid(deals, before) == expected


def test_a_free_task_pays_nobody() -> None:
    deals = Deals(prices=(0, 0, 0))
    task = deals.finished(*SELLERS)
    before = deals.balances()
    deals.settle(task)
    assert paid(deals, before) == {}
    assert deals.world.query("settlement/settlement", id=task)["status"] == "paid"


def test_the_fund_is_spent_by_governance_alone(deals) -> None:
    deals.set_formula(formula(0, 0, 0, 10_000))
    deals.settled("seller-a")
    ctx = deals.world._context(deals.world.store, (), [])
    with pytest.raises(ContractError):
        payments.spend_fund(ctx, "other-a", 31)
    payments.spend_fund(ctx, "other-a", 30)
    assert deals.balances()[FUND] == 0
    assert deals.balances()["other-a"] == 10_030
    assert [kind for kind in registry.kinds() if kind.startswith("settlement.")] == ["settlement.measure/1"]
    deals.conserved()
