"""The authenticated state: one root for one content, and proofs that nothing else passes for."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco.core.messages import from_bytes, to_bytes
from fondaco.errors import ProofError
from fondaco.ledger.state import (
    EMPTY,
    Overlay,
    StateProof,
    Tree,
    inner_hash,
    leaf_hash,
    path_of,
    verify_state,
)

KEYS = st.binary(max_size=3)
VALUES = st.binary(max_size=4)
CHANGES = st.lists(st.dictionaries(KEYS, st.none() | VALUES, max_size=8), max_size=8)


class Nodes(dict[bytes, bytes]):
    """A store of pages in memory."""

    def get_page(self, name: bytes) -> bytes | None:
        """The page of a name."""
        return self.get(name)

    def take(self, tree: Tree) -> None:
        """Write what is pending, as a commit does."""
        for place, node in tree.pending.items():
            if node is None:
                self.pop(place, None)
            else:
                self[place] = node


def naive(leaves: list[tuple[bytes, bytes]], depth: int = 0) -> bytes:
    """The root by its definition, from all leaves (path, value hash) at once."""
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        return leaf_hash(*leaves[0])
    sides: tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]] = ([], [])
    for path, value in leaves:
        sides[int.from_bytes(path, "big") >> (255 - depth) & 1].append((path, value))
    return inner_hash(naive(sides[0], depth + 1), naive(sides[1], depth + 1))


def root_of(content: dict[bytes, bytes]) -> bytes:
    """The root that a content must have."""
    return naive([(path_of(key), hashlib.sha256(value).digest()) for key, value in content.items()])


def grown(steps: list[dict[bytes, bytes | None]]) -> tuple[Nodes, dict[bytes, bytes], bytes]:
    """A tree after committed steps, and the content that it should have."""
    nodes, content, root = Nodes(), dict[bytes, bytes](), EMPTY
    for changes in steps:
        tree = Tree(nodes)
        root = tree.update(changes)
        nodes.take(tree)
        for key, value in changes.items():
            if value is None:
                content.pop(key, None)
            else:
                content[key] = value
    return nodes, content, root


@settings(deadline=None)
@given(CHANGES)
def test_the_root_is_that_of_the_content_whatever_the_history(steps: list[dict[bytes, bytes | None]]) -> None:
    nodes, content, root = grown(steps)
    assert root == root_of(content)
    assert root == Tree(Nodes()).update(dict(content))
    assert Tree(nodes).root() == root


@settings(deadline=None)
@given(CHANGES)
def test_no_node_is_left_behind(steps: list[dict[bytes, bytes | None]]) -> None:
    nodes, content, _root = grown(steps)
    fresh = Nodes()
    tree = Tree(fresh)
    tree.update(dict(content))
    fresh.take(tree)
    assert nodes == fresh


@settings(deadline=None)
@given(CHANGES, KEYS)
def test_presence_and_absence_are_proven(steps: list[dict[bytes, bytes | None]], key: bytes) -> None:
    nodes, content, root = grown(steps)
    for wanted in (key, *content):
        proof = Tree(nodes).prove(wanted, content.get(wanted))
        verify_state(from_bytes(StateProof, to_bytes(proof)), root)


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=30), KEYS, VALUES)
def test_a_false_value_or_a_false_absence_is_refused(content: dict[bytes, bytes], key: bytes, lie: bytes) -> None:
    nodes, content, root = grown([dict(content)])
    proof = Tree(nodes).prove(key, content.get(key))
    for value in (None, lie, b"another"):
        if value != content.get(key):
            for other in (proof.other, None, bytes(64), path_of(key) + bytes(32)):
                with pytest.raises(ProofError, match=r"proof|leaf"):
                    verify_state(dataclasses.replace(proof, value=value, other=other), root)


@given(st.dictionaries(KEYS, VALUES, min_size=2, max_size=30), st.data())
@settings(max_examples=50, deadline=None)
def test_a_changed_proof_is_refused(content: dict[bytes, bytes], data: st.DataObject) -> None:
    nodes, content, root = grown([dict(content)])
    key = data.draw(st.sampled_from(sorted(content)))
    proof = Tree(nodes).prove(key, content[key])
    at = data.draw(st.integers(0, len(proof.siblings) - 1))
    flipped = bytes((proof.siblings[at][0] ^ 1,)) + proof.siblings[at][1:]
    for siblings in (
        proof.siblings[:at] + proof.siblings[at + 1 :],
        (*proof.siblings[:at], flipped, *proof.siblings[at + 1 :]),
        (*proof.siblings, EMPTY),
        (*proof.siblings, b"short"),
        (EMPTY,) * 257,
    ):
        with pytest.raises(ProofError):
            verify_state(dataclasses.replace(proof, siblings=siblings), root)


def test_absence_is_proven_by_an_empty_place_and_by_another_leaf() -> None:
    nodes, content, root = grown([{bytes((n,)): b"v" for n in range(40)}])
    kinds = set()
    for n in range(1000, 1100):
        proof = Tree(nodes).prove(str(n).encode(), None)
        verify_state(proof, root)
        kinds.add(proof.other is None)
    assert kinds == {True, False}
    assert len(content) == 40


def test_an_empty_state_proves_that_it_is_empty() -> None:
    verify_state(Tree(Nodes()).prove(b"anything", None), EMPTY)


class Base:
    """A store under an overlay."""

    def __init__(self, content: dict[bytes, bytes]) -> None:
        self.content = content

    def get(self, key: bytes) -> bytes | None:
        """The value."""
        return self.content.get(key)

    def items(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """In order of key."""
        return iter(sorted((k, v) for k, v in self.content.items() if k.startswith(prefix)))

    def span(self, start: bytes, stop: bytes, most: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """In order of key."""
        return iter(sorted((k, v) for k, v in self.content.items() if start <= k < stop)[:most])


@settings(deadline=None)
@given(
    st.dictionaries(KEYS, VALUES),
    st.dictionaries(KEYS, st.none() | VALUES),
    st.dictionaries(KEYS, st.none() | VALUES),
    st.binary(max_size=1),
)
def test_an_overlay_reads_as_the_store_would_after_the_changes(
    base: dict[bytes, bytes],
    first: dict[bytes, bytes | None],
    second: dict[bytes, bytes | None],
    prefix: bytes,
) -> None:
    outer = Overlay(Base(base))
    inner = Overlay(outer)
    expected = dict(base)
    for overlay, changes in ((outer, first), (inner, second)):
        for key, value in changes.items():
            if value is None:
                overlay.delete(key)
                expected.pop(key, None)
            else:
                overlay.set(key, value)
                expected[key] = value
    wanted = sorted((k, v) for k, v in expected.items() if k.startswith(prefix))
    assert list(inner.items(prefix)) == wanted
    for most in (None, 0, 1, 3):
        spanned = sorted((k, v) for k, v in expected.items() if prefix <= k < prefix + b"\x80")[:most]
        assert list(inner.span(prefix, prefix + b"\x80", most)) == spanned
    assert all(inner.get(key) == expected.get(key) for key in {*base, *first, *second})
    assert all(outer.get(key) == first.get(key, base.get(key)) for key in {*base, *first, *second})
    inner.merge_into(outer)
    assert list(outer.items(prefix)) == wanted
