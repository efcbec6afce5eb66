"""The kernel reads messages; the general decoder, which says what is wrong, is its measure."""

from __future__ import annotations

import dataclasses
import gc
import types
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco import _kernel
from fondaco.core import codec, messages
from fondaco.core.codec import Value
from fondaco.core.messages import altered, from_bytes, from_value, message, to_bytes
from fondaco.errors import CodecError
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.catalog.messages import Dataset
from fondaco.ledger.contracts.grants.messages import Grant
from fondaco.ledger.contracts.tasks.messages import Task


@message("test.inner/2")
class Inner:
    number: int
    flag: bool


@message("test.outer/2")
class Outer:
    text: str
    raw: bytes
    maybe: bytes | None
    many: tuple[Inner, ...]
    one: Inner | None
    table: dict[str, tuple[int, ...]]
    anything: Value
    named: dict[str, Value]


CLASSES = (Outer, registry.GenesisState, *(cls for cls, _handler in registry.HANDLERS.values()), Dataset, Task, Grant)
NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)
PLAIN = {int: NUMBERS, bool: st.booleans(), bytes: st.binary(max_size=40), str: st.text(max_size=12)}
VALUES = st.recursive(
    st.none() | st.one_of(*PLAIN.values()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def of(annotation: typing.Any) -> st.SearchStrategy:
    """Values that an annotation allows."""
    if annotation in PLAIN:
        return PLAIN[annotation]
    if messages.is_message(annotation):
        return instances(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return VALUES if bytes in arguments and str in arguments else st.one_of(*map(of, arguments))
    if annotation is type(None):
        return st.none()
    if origin is tuple:
        return st.lists(of(arguments[0]), max_size=3).map(tuple)
    return st.dictionaries(st.text(max_size=4), of(arguments[1]), max_size=3)


def instances(cls: type) -> st.SearchStrategy:
    """Messages of a class."""
    hints = typing.get_type_hints(cls)
    return st.builds(cls, **{field.name: of(hints[field.name]) for field in dataclasses.fields(cls)})


def slowly(cls: type, data: bytes, items: int) -> object | None:
    """As the general decoder reads; None where it refuses."""
    try:
        return from_value(cls, codec.decode(data, items=items))
    except CodecError:
        return None


def shown(found: object) -> str:
    """Types and values, so that true is not 1 and a list no tuple."""
    return repr(found)


def both(cls: type, data: bytes, items: int = codec.DEFAULT_ITEMS) -> object | None:
    """Read both ways, which must agree."""
    expected = slowly(cls, data, items)
    found = messages.kernel_reader(cls).read(data, codec.MAX_DEPTH, items)
    assert type(found) is type(expected)
    assert shown(found) == shown(expected)
    assert found == expected
    return found


@pytest.mark.parametrize("cls", CLASSES, ids=messages.kind_of)
@settings(max_examples=30)
@given(st.data())
def test_the_kernel_reads_what_the_decoder_reads(cls, data) -> None:
    made = data.draw(instances(cls))
    written = to_bytes(made)
    assert both(cls, written) == made
    assert from_bytes(cls, written) == made
    for items in (0, data.draw(st.integers(0, 60))):
        both(cls, written, items)
    at = data.draw(st.integers(0, len(written) - 1))
    both(cls, written[:at])
    both(cls, written + b"\x00")
    for other in (written[at] ^ 1 << data.draw(st.integers(0, 7)), data.draw(st.integers(0, 255))):
        both(cls, written[:at] + bytes((other,)) + written[at + 1 :])


@given(instances(Outer), VALUES)
def test_other_values_in_the_fields_are_refused_alike(made, value) -> None:
    plain = messages.to_value(made)
    for name in plain:
        both(Outer, codec.encode({**plain, name: value}))
    both(Outer, codec.encode({**plain, "more": value}))
    both(Outer, codec.encode({name: plain[name] for name in plain if name != "maybe"}))
    both(Outer, codec.encode(value))


@given(st.binary(max_size=120))
def test_random_bytes_are_read_alike(data) -> None:
    both(Inner, data)
    both(Outer, data)
    both(Outer, b"\xa8" + data)


@pytest.mark.parametrize("deep", range(codec.MAX_DEPTH - 3, codec.MAX_DEPTH + 3))
def test_depth_is_bounded_alike(deep) -> None:
    value = 1
    for _level in range(deep):
        value = [value]
    plain = messages.to_value(Outer(text="", raw=b"", maybe=None, many=(), one=None, table={}, anything=None, named={}))
    names = ("text", "raw", "maybe", "many", "one", "table", "anything", "named")
    written = b"\xa8" + b"".join(
        bytes((0x60 | len(name),))
        + name.encode()
        + (b"\x81" * deep + b"\x01" if name == "anything" else codec.encode(plain[name]))
        for name in sorted(names, key=lambda name: (len(name), name))
    )
    assert (both(Outer, written) is not None) == (deep < codec.MAX_DEPTH)


def test_what_the_kernel_makes_is_as_any_other() -> None:
    made = Outer(
        text="a", raw=b"b", maybe=None, many=(Inner(number=1, flag=True),), one=None, table={}, anything=[], named={}
    )
    found = from_bytes(Outer, to_bytes(made))
    assert found == made
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.text = "other"
    assert dataclasses.replace(found, text="c") == dataclasses.replace(made, text="c")
    assert to_bytes(found) == to_bytes(made)
    assert gc.is_tracked(found)
    assert hash(found.many[0]) == hash(made.many[0])


def test_an_altered_message_is_what_replace_makes() -> None:
    made = Inner(number=1, flag=True)
    assert altered(made, number=2) == dataclasses.replace(made, number=2)
    assert made.number == 1
    assert altered(made) == made
    with pytest.raises(TypeError, match="its fields"):
        altered(made, other=2)
    with pytest.raises(TypeError, match="another class"):
        messages.kernel_reader(Outer).altered(made, {})


def test_only_a_dataclass_with_slots_alone_can_be_read() -> None:
    @dataclasses.dataclass(frozen=True)
    class Loose:
        number: int

    @dataclasses.dataclass(frozen=True, slots=True)
    class Checked:
        number: int

        def __post_init__(self) -> None:
            assert self.number

    for cls in (Loose, Checked, int):
        with pytest.raises(TypeError):
            _kernel.MessageReader(cls, (("number", "int"),))
    with pytest.raises(ValueError, match="no shape"):
        _kernel.MessageReader(Inner, (("number", "float"), ("flag", "bool")))
    with pytest.raises(AttributeError):
        _kernel.MessageReader(Inner, (("none", "int"),)).read(codec.encode({"none": 1}), 4, 4)
