"""One value, one encoding; nothing else decodes."""

from __future__ import annotations

import cbor2
import libipld
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fondaco.core import codec
from fondaco.core.codec import Value
from fondaco.core.messages import from_bytes, is_frozen, message, to_bytes, to_value
from fondaco.errors import CodecError

scalars = (
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.binary(max_size=80) | st.text(max_size=40)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=30,
)


@message("test.inner/1")
class Inner:
    number: int


@message("test.outer/1")
class Outer:
    text: str
    maybe: bytes | None
    many: tuple[Inner, ...]
    table: dict[str, int]
    anything: Value
    named: dict[str, Value]


@given(values)
def test_what_is_encoded_decodes_to_itself(value) -> None:
    assert codec.decode(codec.encode(value)) == value


@given(values)
def test_an_independent_dag_cbor_reads_the_same(value) -> None:
    assert libipld.decode_dag_cbor(codec.encode(value)) == value


@given(values)
def test_cbor2_writes_the_same(value) -> None:
    assert codec.encode(value) == cbor2.dumps(value, canonical=True)


@given(st.binary(max_size=200))
def test_random_bytes_decode_to_their_own_encoding_or_are_refused(data) -> None:
    try:
        value = codec.decode(data)
    except CodecError:
        return
    assert codec.encode(value) == data


@given(values, st.data())
def test_changed_bytes_never_decode_to_the_same_value(value, data) -> None:
    good = codec.encode(value)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))
    try:
        assert codec.encode(codec.decode(bytes(bad))) == bytes(bad)
    except CodecError:
        return


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x18\x01",  # one in two bytes
        b"\xa2\x61a\x01\x61a\x02",  # a key twice
        b"\xa2\x62ab\x01\x61a\x02",  # keys out of order
        b"\xa1\x01\x01",  # a key that is no text
        b"\x5f\x41a\xff",  # indefinite length
        b"\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00",  # a float
        b"\xc0\x60",  # a tag
        b"\x01\x01",  # trailing bytes
        b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",  # over 64 signed bits
        b"\x81" * 33 + b"\x01",  # too deep
        b"\x81" * 100_000 + b"\x01",  # far too deep
        b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff",  # more items than bytes
        b"\xf7",  # undefined
        cbor2.dumps(cbor2.CBORTag(42, b"\x00\x01")),
    ],
)
def test_other_forms_are_refused(data) -> None:
    with pytest.raises(CodecError):
        codec.decode(data)


def test_bytes_that_look_like_a_cid_stay_bytes() -> None:
    raw = bytes.fromhex("017dce2b01") + bytes(195)
    assert codec.decode(codec.encode({"body": raw})) == {"body": raw}


class Sub(str):
    """Text to Python, and nothing to the codec, whose types are exact."""

    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [1.5, (1,), {1: 2}, 1 << 63, -(1 << 63) - 1, {"a": object()}, "\ud800", {"\ud800": 1}, Sub("x"), {Sub("x"): 1}, [{1}],
     Inner(number=1), bytearray(b"x")],
)  # fmt: skip
def test_values_without_a_form_are_refused(value) -> None:
    with pytest.raises(CodecError):
        codec.encode(value)


def test_more_bytes_than_the_limit_are_refused_unread() -> None:
    with pytest.raises(CodecError, match="more than the 10"):
        codec.decode(codec.encode(b"x" * 20), limit=10)


def outer() -> Outer:
    return Outer(
        text="a", maybe=None, many=(Inner(number=1),), table={"x": 2}, anything=[1, {"y": b"z"}], named={"k": [None]}
    )


def test_a_value_is_as_deep_as_is_allowed() -> None:
    deep: Value = 1
    for _level in range(codec.MAX_DEPTH):
        deep = [deep]
    assert codec.decode(codec.encode(deep)) == deep
    for deeper in ([deep], {"a": deep}):
        with pytest.raises(CodecError, match="deeper"):
            codec.encode(deeper)


def test_a_message_comes_back_whole() -> None:
    assert from_bytes(Outer, to_bytes(outer())) == outer()


@given(values, st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=4), st.none() | st.binary(max_size=30))
def test_a_message_is_written_as_its_plain_map_is(value, numbers, maybe) -> None:
    msg = Outer(
        text="é", maybe=maybe, many=tuple(Inner(number=n) for n in numbers), table={"y": 1, "x": 2, "aa": 0},
        anything=value, named={"b": value, "a": [value]},
    )  # fmt: skip
    assert to_bytes(msg) == codec.encode(to_value(msg))


@message("test.shared/1")
class Shared:
    one: Inner | None
    many: tuple[bytes, ...]


def test_what_can_be_changed_is_not_frozen() -> None:
    assert is_frozen(Inner)
    assert is_frozen(Shared)
    assert not is_frozen(Outer)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda v: v.update(more=1), "unknown"),
        (lambda v: v.pop("maybe"), "missing"),
        (lambda v: v.update(text=1), "text"),
        (lambda v: v.update(text=None), "text"),
        (lambda v: v.update(many=[{"number": True}]), "number"),
        (lambda v: v.update(many=[{"number": 1, "x": 1}]), "unknown"),
        (lambda v: v.update(table={"x": "2"}), "table.x"),
        (lambda v: v.update(maybe="text"), "maybe"),
    ],
)
def test_fields_that_do_not_fit_are_named(change, where) -> None:
    value = to_value(outer())
    change(value)
    with pytest.raises(CodecError, match=where):
        from_bytes(Outer, codec.encode(value))


def test_a_name_that_an_attacker_chose_does_not_swell_the_error() -> None:
    with pytest.raises(CodecError) as caught:
        from_bytes(Inner, codec.encode({"\x01" * 50_000: 1, "numbre": 2}))
    assert caught.value.cause == "test.inner/1: unknown fields [?, numbre], missing fields [number]"
