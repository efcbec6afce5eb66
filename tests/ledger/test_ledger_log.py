"""The event log is RFC 6962's tree: published roots, and proofs that nothing else passes for."""

from __future__ import annotations

import dataclasses
import hashlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco import _kernel
from fondaco.errors import ProofError
from fondaco.ledger.log import (
    EMPTY_ROOT,
    EventProof,
    Log,
    merkle_path,
    merkle_root,
    verify_consistency,
    verify_event,
    verify_inclusion,
)

# The inputs of the certificate-transparency reference tests, and the roots of their first 1 to 8.
INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


class Nodes:
    """Stored subtrees in memory; counts its reads."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int], bytes] = {}
        self.reads = 0

    def get_log_node(self, level: int, index: int) -> bytes | None:
        """The node."""
        self.reads += 1
        return self.kept.get((level, index))


def log_of(leaves: list[bytes]) -> Log:
    """A log that was committed after each entry."""
    nodes = Nodes()
    log = Log(nodes, 0)
    for leaf in leaves:
        log.append(leaf)
        nodes.kept |= log.pending
        log = Log(nodes, log.size)
    return log


def independent(leaves: list[bytes]) -> bytes:
    """MTH by pairing up neighbours level by level, the odd one carried up: another road to the same root."""
    row = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves]
    while len(row) > 1:
        paired = [hashlib.sha256(b"\x01" + row[i] + row[i + 1]).digest() for i in range(0, len(row) - 1, 2)]
        row = paired + row[len(paired) * 2 :]
    return row[0] if row else hashlib.sha256(b"").digest()


def test_the_published_roots_are_ours() -> None:
    assert log_of([]).root() == EMPTY_ROOT == merkle_root([])
    log = log_of(INPUTS)
    for size, root in enumerate(ROOTS, start=1):
        assert log.root(size).hex() == root == merkle_root(INPUTS[:size]).hex() == independent(INPUTS[:size]).hex()


LEAVES = st.lists(st.binary(max_size=3), min_size=1, max_size=40)


@settings(deadline=None)
@given(LEAVES, st.data())
def test_each_entry_is_proven_and_no_other_is(leaves: list[bytes], data: st.DataObject) -> None:
    log = log_of(leaves)
    size = data.draw(st.integers(1, len(leaves)))
    index = data.draw(st.integers(0, size - 1))
    root = log.root(size)
    assert root == independent(leaves[:size])
    proof = EventProof(leaf=leaves[index], index=index, size=size, path=log.inclusion(index, size))
    assert proof.path == merkle_path(leaves[:size], index)
    verify_event(proof, root)
    refused = [
        dataclasses.replace(proof, leaf=leaves[index] + b"x"),
        dataclasses.replace(proof, path=(*proof.path, bytes(32))),
        dataclasses.replace(proof, index=-1),
        dataclasses.replace(proof, size=0),
        dataclasses.replace(proof, index=size),
    ]
    refused += [dataclasses.replace(proof, path=proof.path[1:])] if proof.path else []
    refused += [dataclasses.replace(proof, path=(b"short", *proof.path[1:]))] if proof.path else []
    refused += [dataclasses.replace(proof, index=i) for i in range(size) if leaves[i] != leaves[index]]
    for wrong in refused:
        with pytest.raises(ProofError):
            verify_event(wrong, root)


@settings(deadline=None)
@given(LEAVES, st.data())
def test_growth_is_proven_and_rewriting_is_refused(leaves: list[bytes], data: st.DataObject) -> None:
    log = log_of(leaves)
    new = data.draw(st.integers(1, len(leaves)))
    old = data.draw(st.integers(1, new))
    path = log.consistency(old, new)
    before, after = log.root(old), log.root(new)
    verify_consistency(old, new, before, after, path)
    for wrong in (
        lambda: verify_consistency(old, new, bytes(32), after, path),
        lambda: verify_consistency(old, new, before, bytes(32), path),
        lambda: verify_consistency(old, new, before, after, (*path, bytes(32))),
        lambda: verify_consistency(0, new, before, after, path),
        lambda: verify_consistency(new + 1, new, before, after, path),
    ):
        with pytest.raises(ProofError) as caught:
            wrong()
        assert caught.value.check == "event-consistency"


def test_appending_and_proving_read_few_nodes() -> None:
    nodes = Nodes()
    log = Log(nodes, 0)
    for n in range(1000):
        log.append(str(n).encode())
    nodes.kept |= log.pending
    log = Log(nodes, 1000)
    nodes.reads = 0
    log.append(b"one more")
    log.root()
    assert nodes.reads <= 12
    nodes.reads = 0
    log.inclusion(500, 1000)
    assert nodes.reads <= 60


def test_a_lost_node_is_named() -> None:
    with pytest.raises(ProofError, match="missing"):
        Log(Nodes(), 3).root()


@settings(deadline=None)
@given(st.binary(max_size=4), st.integers(-3, 70), st.integers(-3, 70), st.lists(st.binary(max_size=33), max_size=70))
def test_nonsense_is_refused_and_never_crashes(leaf: bytes, index: int, size: int, path: list[bytes]) -> None:
    with pytest.raises(ProofError) as caught:
        verify_inclusion(leaf, index, size, tuple(path), bytes(32), check="some-check")
    assert caught.value.check == "some-check"


@settings(deadline=None)
@given(st.lists(st.binary(max_size=3), max_size=40), st.data())
def test_entries_that_come_together_are_as_if_they_had_come_one_by_one(
    leaves: list[bytes], data: st.DataObject
) -> None:
    one_by_one, log = Nodes(), Log(Nodes(), 0)
    for count, leaf in enumerate(leaves):
        known = Log(one_by_one, count)
        known.append(leaf)
        one_by_one.kept |= known.pending
    rest = leaves
    while rest:
        count = data.draw(st.integers(0, len(rest)))
        log.extend(rest[:count])
        rest = rest[count:]
        assert log.root() == independent(leaves[: log.size])
    assert (log.size, log.pending) == (len(leaves), one_by_one.kept)


@given(st.integers(0, (1 << 64) - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=5))
def test_an_edge_that_is_not_the_log_s_is_refused(size: int, edge: list[bytes]) -> None:
    data, offsets = b"leaf", struct.pack("<2q", 0, 4)
    if size.bit_count() == len(edge) and size < 1 << 63:
        assert (0, size) in _kernel.log_append(size, edge, data, offsets)
    else:
        with pytest.raises(ValueError, match="edge"):
            _kernel.log_append(size, edge, data, offsets)
