"""The membership test on shares beside plain sets, and its parts worked out in Python by themselves."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco import _kernel

SETS = st.lists(st.integers(0, 60), min_size=1, max_size=40, unique=True)
FREE = 0xFFFFFFFF
VECTOR = json.loads((Path(__file__).parents[2] / "crates/kernel/vectors/sets.json").read_text("utf-8"))["lack"]


def ids_of(keys: list[int]) -> bytes:
    return b"".join(key.to_bytes(16, "little") for key in keys)


def meet(holder: _kernel.LackHolder, tester: _kernel.LackTester) -> None:
    """Carry all messages, one at a time, until both are done."""
    parties, inboxes = (holder, tester), ([], [])
    waits, done = [False, False], [False, False]
    while not all(done):
        for side in range(2):
            if done[side] or (waits[side] and not inboxes[side]):
                continue
            turn, message = parties[side].next(inboxes[side].pop(0) if waits[side] else None)
            waits[side], done[side] = turn == "receive", turn == "finished"
            if turn == "send":
                inboxes[1 - side].append(message)


def shared(table: _kernel.LackTable, ours: list[int], theirs: list[int], *, width: int, gives: bool) -> list[int]:
    """The holder's keys in bins of different strings."""
    holder = _kernel.LackHolder(table, peer_keys=len(theirs), width=width, gives=gives)
    tester = _kernel.LackTester(ids_of(theirs), peer_keys=len(ours), width=width, gives=not gives)
    assert (holder.shares(), tester.shares(), tester.bins) == (None, None, table.bins)
    meet(holder, tester)
    strings = [np.frombuffer(side.shares() or b"", np.uint8).reshape(table.bins, width) for side in (holder, tester)]
    places = np.frombuffer(table.places(), "<u4")
    found = places[(strings[0] != strings[1]).any(axis=1)]
    assert FREE not in found
    return [ours[place] for place in found]


@settings(max_examples=10, deadline=None)
@given(SETS, SETS, SETS, st.sampled_from([8, 16, 33, 4106]), st.booleans())
def test_one_table_meets_several_testers(ours, one, other, width, gives) -> None:
    table = _kernel.LackTable(ids_of(ours))
    places = [place for place in np.frombuffer(table.places(), "<u4") if place != FREE]
    assert sorted(places) == list(range(len(ours)))
    for theirs in (one, other):
        found = shared(table, ours, theirs, width=width, gives=gives)
        assert sorted(found) == sorted(set(ours) & set(theirs))


@pytest.mark.parametrize("keys", [1, 4, 5, 512, 513, 5000])
def test_who_has_no_part_in_a_test_knows_its_bins_too(keys) -> None:
    assert _kernel.lack_bins(keys) == _kernel.LackTable(ids_of(list(range(keys)))).bins


@pytest.mark.parametrize("keys", [0, (1 << 22) + 1])
def test_a_table_of_no_keys_or_too_many_has_no_bins(keys) -> None:
    with pytest.raises(ValueError):
        _kernel.lack_bins(keys)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError):
        _kernel.LackTable(b"")
    with pytest.raises(ValueError):
        _kernel.LackTable(bytes(15))
    table = _kernel.LackTable(bytes(16))
    for peer_keys, width in ((0, 16), (1, 0), (1, 8193)):
        with pytest.raises(ValueError):
            _kernel.LackHolder(table, peer_keys=peer_keys, width=width)
        with pytest.raises(ValueError):
            _kernel.LackTester(bytes(16), peer_keys=peer_keys, width=width)


def test_bytes_where_none_are_due_and_any_bytes_for_a_word_are_refused() -> None:
    tester = _kernel.LackTester(bytes(16), peer_keys=1, width=16)
    with pytest.raises(_kernel.OutOfTurn):
        tester.next(os.urandom(20))


def test_tables_are_comparisons_padded_by_the_strings_that_an_entrys_bits_choose() -> None:
    bits, giver, taker, drawn = (VECTOR[name] for name in ("bits", "giver", "taker", "drawn"))
    strings = [[int.from_bytes(bytes.fromhex(text)[:2], "little") for text in VECTOR[name]] for name in ("zero", "one")]
    tables = np.frombuffer(bytes.fromhex(VECTOR["tables"]), "<u2")
    assert len(tables) == -(-bits // 4)
    for node, table in enumerate(int(table) for table in tables):
        width = min(4, bits - 4 * node)
        own, theirs = (word >> 4 * node & ((1 << width) - 1) for word in (giver, taker))
        shared = drawn >> node & 1
        for entry in range(16):
            pad = 0
            for bit in range(width):
                pad ^= strings[entry >> bit & 1][4 * node + bit] >> entry & 1
            # What no value of a shorter node chooses is blank: a taker could open it.
            expected = pad ^ (entry == own) ^ shared if entry < 1 << width else 0
            assert table >> entry & 1 == expected
        assert VECTOR["opened"] >> node & 1 == (own == theirs) ^ shared
