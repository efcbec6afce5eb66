"""The native kernel gives what hashlib and blake3 give, and refuses bad offsets."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from fondaco import _kernel

VECTORS = json.loads((Path(__file__).parents[2] / "crates/kernel/vectors/hashing.json").read_text())


def layout(items: list[bytes]) -> tuple[bytes, bytes]:
    offsets, at = [0], 0
    for item in items:
        at += len(item)
        offsets.append(at)
    return b"".join(items), struct.pack(f"<{len(offsets)}q", *offsets)


@given(st.lists(st.binary(max_size=50), max_size=40), st.binary(min_size=32, max_size=32))
def test_the_kernel_agrees_with_other_libraries(items, key) -> None:
    data, offsets = layout(items)
    assert _kernel.sha256_many(data, offsets) == b"".join(hashlib.sha256(i).digest() for i in items)
    assert _kernel.blake3_many(data, offsets) == b"".join(blake3(i).digest() for i in items)
    assert _kernel.keyed_ids(key, data, offsets) == b"".join(blake3(i, key=key).digest()[:16] for i in items)


def test_many_items_cross_the_batches() -> None:
    items = [i.to_bytes(4, "big") for i in range(5000)]
    data, offsets = layout(items)
    assert _kernel.sha256_many(data, offsets) == b"".join(hashlib.sha256(i).digest() for i in items)


@pytest.mark.parametrize("vector", VECTORS, ids=[v["name"] for v in VECTORS])
def test_vectors_shared_with_rust(vector) -> None:
    data, offsets = layout([bytes.fromhex(vector["input"])])
    assert _kernel.sha256_many(data, offsets).hex() == vector["sha256"]
    assert _kernel.blake3_many(data, offsets).hex() == vector["blake3"]
    assert _kernel.keyed_ids(bytes.fromhex(vector["key"]), data, offsets).hex() == vector["keyed_id"]


@pytest.mark.parametrize(
    "offsets",
    [
        b"",
        b"\x00" * 7,
        struct.pack("<2q", 0, 4),
        struct.pack("<3q", 0, 2, 1),
        struct.pack("<2q", -1, 1),
        struct.pack("<1q", 9),
    ],
)
def test_bad_offsets_are_refused(offsets) -> None:
    with pytest.raises(ValueError, match="offset"):
        _kernel.blake3_many(b"abc", offsets)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        _kernel.keyed_ids(b"short", b"", struct.pack("<1q", 0))
