"""Point functions: the recorded keys, which the kernel's tests hold it to, by another writing of the same paper."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

VECTORS = json.loads((Path(__file__).parents[2] / "crates/kernel/tests/dpf_vectors.json").read_text())
LAST = (1 << 128) - 2


def hashed(name: bytes, x: int) -> int:
    """AES(x) ^ x under a public key, little-endian."""
    data = x.to_bytes(16, "little")
    box = Cipher(algorithms.AES(name), modes.ECB()).encryptor()
    return int.from_bytes(box.update(data) + box.finalize(), "little") ^ x


def child(node: int, side: int) -> tuple[int, int]:
    """A child's seed and control bit."""
    made = hashed((b"fondaco/dpf/left", b"fondaco/dpf/righ")[side], node)
    return made & LAST, made & 1


def generated(depth: int, place: int, roots: list[int]) -> list[bytes]:
    """Both keys (eprint 2018/707, figure 1, with early termination), with branches, for nobody times a test."""
    seeds, bits, words = [root & LAST for root in roots], [0, 1], b""
    firsts = list(seeds)
    for level in reversed(range(depth)):
        keep = place >> (7 + level) & 1
        children = [[child(seed, side) for side in (0, 1)] for seed in seeds]
        correction = children[0][1 - keep][0] ^ children[1][1 - keep][0]
        flips = [children[0][side][1] ^ children[1][side][1] ^ (1 if side == keep else 0) for side in (0, 1)]
        words += correction.to_bytes(16, "little") + bytes([flips[0] | flips[1] << 1])
        seeds = [children[p][keep][0] ^ (correction if bits[p] else 0) for p in (0, 1)]
        bits = [children[p][keep][1] ^ (flips[keep] if bits[p] else 0) for p in (0, 1)]
    ends = [hashed(b"fondaco/dpf/last", seed) for seed in seeds]
    last = (ends[0] ^ ends[1] ^ 1 << place % 128).to_bytes(16, "little")
    return [bytes([p]) + firsts[p].to_bytes(16, "little") + words + last for p in (0, 1)]


def bit(key: bytes, depth: int, place: int) -> int:
    """What a key says of one place."""
    control, node = key[0], int.from_bytes(key[1:17], "little")
    for level in range(depth):
        word = key[17 + 17 * level : 34 + 17 * level]
        side = place >> (6 + depth - level) & 1
        seed, flip = child(node, side)
        if control:
            seed, flip = seed ^ int.from_bytes(word[:16], "little"), flip ^ (word[16] >> side & 1)
        node, control = seed, flip
    block = hashed(b"fondaco/dpf/last", node) ^ (int.from_bytes(key[-16:], "little") if control else 0)
    return block >> place % 128 & 1


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['depth']}-{v['place']}")
def test_the_recorded_keys_are_those_of_the_paper(vector) -> None:
    depth, place = vector["depth"], vector["place"]
    keys = [bytes.fromhex(key) for key in vector["keys"]]
    assert keys == generated(depth, place, [int(root, 16) for root in vector["roots"]])
    near = {place, place ^ 1, place ^ 128, 0, (128 << depth) - 1}
    for other in (p for p in near if p < 128 << depth):
        assert bit(keys[0], depth, other) ^ bit(keys[1], depth, other) == (other == place)
