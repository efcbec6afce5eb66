"""What may wait follows how fast blocks are, and a lull never makes it small."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fondaco.ledger.cometbft.backlog import CEILING, FIRST_RATE, FLOOR, SECONDS, Backlog

NEVER = 1 << 40


class Clock:
    """A clock that goes when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(rounds: list[tuple[float, int, int]]) -> Backlog:
    """Rounds of: seconds until the block, how many came, how many it took."""
    clock = Clock()
    backlog = Backlog(clock)
    number = 0
    waiting: list[bytes] = []
    for seconds, came, took in rounds:
        for _n in range(came):
            number += 1
            if not backlog.full():
                waiting.append(number.to_bytes(4, "big"))
                backlog.enter(waiting[-1], NEVER, "anyone")
        clock.now += seconds
        backlog.block(1, waiting[:took])
        waiting = waiting[took:]
        assert len(backlog) == len(waiting)
    return backlog


def test_at_first_a_burst_is_let_in() -> None:
    assert run([]).limit == int(FIRST_RATE * SECONDS)


def test_slow_blocks_that_leave_much_waiting_make_it_small() -> None:
    for rounds in range(20, 30):  # it feels its way about the rate
        assert 400 <= run([(1.0, 1000, 400)] * rounds).limit <= 800


def test_fast_blocks_make_it_large() -> None:
    assert run([(0.5, 5000, 3000)] * 20).limit > 4000


def test_after_a_slow_time_a_lull_lets_bursts_in_again() -> None:
    slow = [(1.0, 1000, 400)] * 20
    lull = [(0.5, 0, 10_000)] + [(0.5, 3, 3)] * 20
    assert run(slow + lull).limit == int(FIRST_RATE * SECONDS)


def test_one_small_transaction_now_and_then_does_not_make_it_small() -> None:
    assert run([(10.0, 1, 1)] * 100).limit == int(FIRST_RATE * SECONDS)


def test_blocks_that_are_long_under_way_make_it_small_though_they_take_all() -> None:
    """1,000 a second, however many: whoever lets 16,000 wait lets them wait for 16 seconds."""
    clock, number = Clock(), 0
    backlog = Backlog(clock)
    for _block in range(12):
        waiting = []
        while not backlog.full():
            number += 1
            waiting.append(number.to_bytes(4, "big"))
            backlog.enter(waiting[-1], NEVER, "anyone")
        clock.now += len(waiting) / 1000
        backlog.block(1, waiting)
    assert 700 <= backlog.limit <= 2000


def test_what_is_not_used_does_not_grow() -> None:
    assert run([(0.5, 300, 300)] * 50).limit == int(FIRST_RATE * SECONDS)


def test_work_after_a_long_silence_counts_from_when_it_came() -> None:
    clock = Clock()
    backlog = Backlog(clock)
    for number in range(50):
        clock.now += 60.0
        txs = [bytes((number, n >> 8, n & 255)) for n in range(1500)]
        for tx in txs:
            backlog.enter(tx, NEVER, "anyone")
        clock.now += 0.5
        backlog.block(1, txs)
    assert backlog.limit > int(FIRST_RATE * SECONDS)


@given(
    rounds=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 300), st.integers(0, 300)), max_size=30),
)
def test_it_stays_in_its_bounds(rounds: list[tuple[float, int, int]]) -> None:
    backlog = run(rounds)
    assert FLOOR <= backlog.limit <= CEILING
    assert backlog.of("anyone") == len(backlog)
    backlog.clear()
    assert len(backlog) == backlog.of("anyone") == 0


def test_what_expires_waits_no_longer() -> None:
    backlog = Backlog(Clock())
    backlog.enter(b"now", 7, "one")
    backlog.enter(b"later", 8, "one")
    backlog.enter(b"later", 8, "one")
    assert backlog.of("one") == 2
    backlog.block(7, [])
    assert (b"now" in backlog, b"later" in backlog) == (False, True)
    assert backlog.of("one") == 1
    backlog.leave(b"later")
    backlog.leave(b"later")
    assert backlog.of("one") == 0
