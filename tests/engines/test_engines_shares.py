"""Shares of zero, the hidden order of slots, and what carries them between many members."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from many_world import even
from test_engines_channel import channels

from fondaco.engines.base import EngineStopped
from fondaco.engines.psi import lacking, union_of_many


@given(st.integers(2, 7), st.integers(0, 40), st.integers(0, 300), st.integers(1, 100))
def test_shares_of_zero_add_up_to_it_and_fewer_are_noise(count, begin, rows_, width) -> None:
    shared = {frozenset((a, b)): bytes([a, b]) * 8 for a in range(count) for b in range(a)}
    secrets = [b"".join(key for pair, key in shared.items() if one in pair) for one in range(count)]
    at = slice(begin, begin + rows_)
    shares = [lacking.noise(mine, (0, 1), at, width) for mine in secrets]
    assert all(share.shape == (rows_, width) for share in shares)
    assert not np.bitwise_xor.reduce(shares).any()
    if rows_ * width > 1000:
        assert even(np.bitwise_xor.reduce(shares[1:]))
        assert even(shares[0])


def test_noise_is_the_same_in_any_pieces_and_another_under_any_other_label() -> None:
    secret = b"0123456789abcdef"
    whole = lacking.noise(secret, (1, 2), slice(0, 50), 37)
    pieces = [lacking.noise(secret, (1, 2), slice(at, at + 10), 37) for at in range(0, 50, 10)]
    assert np.array_equal(np.concatenate(pieces), whole)
    for other in (
        lacking.noise(secret, (1, 3), slice(0, 50), 37),
        lacking.noise(secret, (2, 2), slice(0, 50), 37),
        lacking.noise(secret[::-1], (1, 2), slice(0, 50), 37),
        lacking.noise(secret, (1, 2), slice(50, 100), 37),
    ):
        assert even(whole ^ other)
        assert (whole ^ other).any(axis=1).all()


@given(st.binary(min_size=16, max_size=16), st.integers(0, 200))
def test_an_order_has_every_slot_once_and_is_the_secrets(secret, count) -> None:
    order = union_of_many.drawn_order(secret, count)
    assert sorted(order.tolist()) == list(range(count))
    assert np.array_equal(order, union_of_many.drawn_order(secret, count))


def test_all_orders_are_drawn_alike() -> None:
    drawn = [tuple(union_of_many.drawn_order(i.to_bytes(16, "little"), 3).tolist()) for i in range(6000)]
    counts = pd.Series(drawn).value_counts()
    assert len(counts) == 6
    # Each is binomial with a deviation of 29.
    assert (abs(counts - 1000) < 180).all()


def test_an_order_by_numbers_that_are_alike_is_drawn_anew(monkeypatch) -> None:
    labels = []

    def noise(secret, label, at, width):
        labels.append(label)
        found = lacking.noise(secret, label, at, width)
        return np.zeros_like(found) if len(labels) == 1 else found

    monkeypatch.setattr(union_of_many, "noise", noise)
    assert sorted(union_of_many.drawn_order(bytes(16), 9).tolist()) == list(range(9))
    assert len(set(labels)) == 2


@given(st.lists(st.integers(0, 9), max_size=12), st.sets(st.integers(0, 40)))
def test_slots_begin_as_rows_and_zeros_and_empty_ones_as_noise(numbers_, empty) -> None:
    slots = np.array(numbers_ + [lacking.FREE] * len(empty), "<u4")
    lines = b"".join(bytes([at]) * 5 for at in range(10))
    found = union_of_many.payloads(lines, slots, 5)
    assert union_of_many.opened(found, 5) == b"".join(bytes([at]) * 5 for at in numbers_)
    assert not found[: len(numbers_), 5:].any()
    if len(empty) > 20:
        assert even(found[len(numbers_) :])


@given(st.binary(max_size=80), st.integers(1, 6), st.integers(1, 12))
def test_shares_of_any_bytes_are_taken_whole_or_refused(data, count, width) -> None:
    near, far = channels()
    with near, far:
        far.send(data)
        if len(data) == count * width:
            ((begin, found),) = lacking.received_rows(near, count, width)
            assert (begin, found.tobytes(), found.shape) == (0, data, (count, width))
        else:
            with pytest.raises(EngineStopped):
                list(lacking.received_rows(near, count, width))


@given(st.binary(max_size=40))
def test_a_secret_of_any_bytes_is_taken_whole_or_refused(data) -> None:
    near, far = channels()
    with near, far:
        far.send(data)
        if len(data) == 16:
            assert lacking.received_secret(near) == data
        else:
            with pytest.raises(EngineStopped):
                lacking.received_secret(near)


def test_rows_go_in_pieces_of_bounded_size(monkeypatch) -> None:
    monkeypatch.setattr(lacking, "_ROWS", 4)
    near, far = channels()
    whole = np.arange(30, dtype=np.uint8).reshape(10, 3)
    with near, far:
        lacking.send_rows(far, (whole[at] for at in lacking.slices(10)))
        found = list(lacking.received_rows(near, 10, 3))
    assert [begin for begin, _some in found] == [0, 4, 8]
    assert np.array_equal(np.concatenate([some for _begin, some in found]), whole)
