"""Identifiers, the oblivious function of RFC 9497 and a prepared table, beside vectors that Rust reads too."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import ristretto_numbers as ristretto
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco import _kernel

VECTORS = json.loads((Path(__file__).parents[2] / "crates/kernel/vectors/sets.json").read_text("utf-8"))


def number(text: str) -> int:
    return int.from_bytes(bytes.fromhex(text), "little")


def written(tags: list[int], bits: int, bucket_bits: int) -> bytes:
    """Tags as `crates/kernel/src/tags.rs` documents their message."""
    cut = sorted(tag >> (128 - bits) for tag in tags)
    rest = bits - bucket_bits
    counts = bytes(sum(tag >> rest == bucket for tag in cut) for bucket in range(1 << bucket_bits))
    return counts + b"".join((tag & ((1 << rest) - 1)).to_bytes(-(-rest // 8), "little") for tag in cut)


def test_identifiers_are_keyed_blake3_of_sized_parts() -> None:
    known = VECTORS["identifiers"]
    texts, numbers = (column["values"] for column in known["columns"])
    ends = [0]
    for text in texts:
        ends.append(ends[-1] + len(text.encode()))
    columns = [
        ("t", "".join(texts).encode(), struct.pack(f"<{len(ends)}q", *ends)),
        ("i", struct.pack(f"<{len(numbers)}q", *numbers), None),
    ]
    ids, places = _kernel.identify(bytes.fromhex(known["key"]), columns)
    assert [ids[at : at + 16].hex() for at in range(0, len(ids), 16)] == known["ids"]
    assert list(struct.unpack(f"<{len(places) // 4}I", places)) == known["places"]
    parts = [f"t{len(t.encode())}:{t}i{len(str(n))}:{n}".encode() for t, n in zip(texts, numbers, strict=True)]
    by_hand = [blake3(part, key=bytes.fromhex(known["key"])).hexdigest()[:32] for part in parts]
    assert list(dict.fromkeys(by_hand)) == known["ids"]


@pytest.mark.parametrize("vector", VECTORS["voprf"]["vectors"])
def test_the_function_in_whole_numbers_is_that_of_rfc_9497(vector) -> None:
    key, blind = number(VECTORS["voprf"]["key"]), number(VECTORS["voprf"]["blind"])
    text = bytes.fromhex(vector["input"])
    blinded = ristretto.times(blind, ristretto.hash_to_group(text))
    assert ristretto.encode(blinded).hex() == vector["blinded"]
    assert ristretto.encode(ristretto.times(key, blinded)).hex() == vector["evaluated"]
    assert ristretto.function(key, text).hex() == vector["output"]


def test_a_prepared_server_answers_as_the_standard_says() -> None:
    known = VECTORS["voprf"]
    for vector in known["vectors"]:
        server = _kernel.PreparedServer(bytes.fromhex(known["key"]), asked=1)
        assert server.next()[0] == "receive"
        assert server.next(bytes.fromhex(vector["blinded"])) == ("send", bytes.fromhex(vector["evaluated"]))
        assert server.next()[0] == "finished"


def test_a_prepared_table_is_the_functions_outputs_as_documented() -> None:
    known = VECTORS["prepared"]
    key = number(known["key"])
    outputs = [ristretto.function(key, bytes.fromhex(text)) for text in known["keys"]]
    # 40 keys: 6 bits and 40 and 20 of a tag are kept, 2 of them choose the bucket.
    table = written([int.from_bytes(output[:16], "little") for output in outputs], 66, 2)
    assert table.hex() == known["table"]
    assert len(table) == _kernel.prepared_table_size(40)


@settings(max_examples=10, deadline=None)
@given(st.sets(st.integers(0, 39), min_size=1, max_size=5), st.integers(0, 3))
def test_a_client_finds_what_a_server_in_whole_numbers_evaluates(asked, strangers) -> None:
    known = VECTORS["prepared"]
    ids = b"".join(bytes.fromhex(known["keys"][at]) for at in sorted(asked)) + bytes(range(1, 1 + 16 * strangers))
    client = _kernel.PreparedClient(ids, table=bytes.fromhex(known["table"]), table_keys=40)
    turn, blinded = client.next()
    assert (turn, len(blinded)) == ("send", 2 * len(ids))
    assert client.next()[0] == "receive"
    points = [ristretto.decode(blinded[at : at + 32]) for at in range(0, len(blinded), 32)]
    answer = b"".join(ristretto.encode(ristretto.times(number(known["key"]), point)) for point in points)
    assert client.next(answer)[0] == "finished"
    assert list(struct.unpack(f"<{len(asked)}I", client.matched())) == list(range(len(asked)))
