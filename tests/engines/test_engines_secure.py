"""Only secure configurations exist, and what parties prepare is checked before it is shared."""

from __future__ import annotations

import datetime
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from blake3 import blake3
from engines_world import column, jobs
from hypothesis import given
from hypothesis import strategies as st
from spu import libspu

from fondaco.engines.base import BadJob, OutOfRange, estimate, leakage
from fondaco.engines.mpc import inputs
from fondaco.engines.mpc.figures import describe
from fondaco.engines.mpc.runtime import Ring, make_config
from fondaco.engines.psi.keys import identified, key_columns


@pytest.mark.parametrize("ring", list(Ring))
@pytest.mark.parametrize(("members", "protocol"), [(3, libspu.ProtocolKind.ABY3), (2, libspu.ProtocolKind.CHEETAH)])
def test_the_whole_configuration_is_the_secure_one(members, protocol, ring) -> None:
    config = make_config(members, ring)
    assert config.protocol == protocol
    assert config.field in (libspu.FieldType.FM64, libspu.FieldType.FM128)
    assert config.trunc_allow_msb_error is False
    assert config.experimental_enable_colocated_optimization is False


@pytest.mark.parametrize("members", [0, 1, 4, 5])
def test_no_other_number_of_members_has_a_protocol(members) -> None:
    with pytest.raises(BadJob):
        make_config(members, Ring.WIDE64)


def test_values_outside_the_declared_range_are_refused_and_not_told() -> None:
    table = pa.table({"v": [1, 2, 987654]})
    with pytest.raises(OutOfRange) as caught:
        inputs.scaled(table, column("v", low=0, high=10))
    assert "987654" not in caught.value.diagnostics()
    with pytest.raises(OutOfRange, match="no range is declared"):
        inputs.scaled(table, column("v"))


def test_sums_that_could_overflow_the_ring_are_refused() -> None:
    table, match = pa.table({"k": ["a"], "v": [1]}), pa.table({"k": ["a"]})
    with pytest.raises(OutOfRange, match="overflow"):
        inputs.summed(table, match, ["k"], column("v", low=0, high=1 << 32))


def test_a_key_of_two_groups_is_refused() -> None:
    table = pa.table({"k": ["a", "a"], "g": [True, False]})
    with pytest.raises(BadJob, match="more than one group"):
        inputs.indicators(table, pa.table({"k": ["a"]}), ["k"], "g", [True, False])


def test_arithmetic_wants_one_value_a_key() -> None:
    match = pa.table({"k": ["a", "b"]})
    with pytest.raises(BadJob, match="one value"):
        inputs.single(pa.table({"k": ["a", "a", "b"], "v": [1, 2, 3]}), match, ["k"], column("v", low=0, high=9))
    with pytest.raises(BadJob, match="missing"):
        inputs.single(pa.table({"v": pa.array([1, None], pa.int64())}), None, [], column("v", low=0, high=9))


@pytest.mark.parametrize(
    "value", [None, "air", {"party": "air"}, {"party": "nobody", "column": "v"}, {"party": "reg", "column": "v"}]
)
def test_references_name_a_party_with_data(value) -> None:
    job = jobs("mpc", "statistics", {}, ["air", "weather", "reg"], [[], [], []], (0,), helper=2)[0]
    with pytest.raises(BadJob):
        inputs.reference(job, value, "value")


@given(st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=60))
def test_figures_from_sums_equal_numpy(values) -> None:
    found = describe(len(values), sum(values), sum(v * v for v in values), 2)
    scaled = np.array(values) / 100
    assert found["mean"] == pytest.approx(scaled.mean(), rel=1e-9, abs=1e-9)
    assert found["variance"] == pytest.approx(scaled.var(ddof=1), rel=1e-6, abs=1e-9)


def test_figures_of_nothing_are_undefined() -> None:
    assert describe(0, 0, 0, 0) == {"count": 0, "sum": None, "mean": None, "variance": None}
    assert describe(1, 5, 25, 0)["variance"] is None


texts = st.text(st.characters(blacklist_categories=["Cs", "Cn"]), max_size=6)


def encoded(*parts: tuple[str, str]) -> bytes:
    """A key as the documentation writes it."""
    return b"".join(f"{letter}{len(text.encode())}:{text}".encode() for letter, text in parts)


@given(
    st.lists(st.tuples(texts, st.integers(-(1 << 63), (1 << 63) - 1), st.booleans()), max_size=30),
    st.binary(min_size=32, max_size=32),
)
def test_identifiers_are_those_of_the_documented_encoding(rows, session) -> None:
    schema = pa.schema([("t", pa.string()), ("n", pa.int64()), ("b", pa.bool_())])
    table = pa.table([list(column) for column in zip(*rows, strict=True)] or [[], [], []], schema=schema)
    wanted = {}
    for place, (t, n, b) in enumerate(rows):
        text = encoded(("t", unicodedata.normalize("NFD", t)), ("i", str(n)), ("b", str(int(b))))
        wanted.setdefault(blake3(text, key=session).digest()[:16], place)
    keys = identified(key_columns(table, ["t", "n", "b"]), session)
    assert dict(zip(map(bytes, keys.ids), keys.places.tolist(), strict=True)) == wanted


@pytest.mark.parametrize(
    ("values", "kind", "letter", "written"),
    [
        ([(1 << 64) - 1], pa.uint64(), "i", str((1 << 64) - 1)),
        ([7], pa.uint8(), "i", "7"),
        ([datetime.date(1969, 12, 31)], pa.date32(), "d", "-1"),
        ([datetime.date(1970, 1, 2)], pa.date64(), "d", "1"),
        ([datetime.datetime(1970, 1, 1, 0, 0, 1)], pa.timestamp("s"), "z", "1000000"),
        (["ab"], pa.large_string(), "t", "ab"),
    ],
)
def test_every_type_of_key_has_one_encoding(values, kind, letter, written) -> None:
    keys = identified(pa.table({"k": pa.array(values, kind)}), bytes(32))
    assert bytes(keys.ids[0]) == blake3(encoded((letter, written)), key=bytes(32)).digest()[:16]


def test_identifiers_depend_on_the_session_and_hide_the_key() -> None:
    table = key_columns(pa.table({"k": ["secret", "secret", None, "x"]}), ["k"])
    one, two = identified(table, b"a" * 32), identified(table, b"b" * 32)
    assert one.ids.shape == (2, 16)
    assert one.rows(np.array([1, 0])).to_pylist() == [{"k": "x"}, {"k": "secret"}]
    assert not (one.ids == two.ids).all(axis=1).any()
    assert b"secret" not in one.ids.tobytes()


@pytest.mark.parametrize("values", [[f"key{i}" for i in range(100)], list(range(100))])
def test_slices_and_chunks_have_the_identifiers_of_their_rows(values) -> None:
    table = pa.table({"k": values})
    whole = identified(table, b"s" * 32).ids
    assert (identified(table.slice(40, 20), b"s" * 32).ids == whole[40:60]).all()
    parts = pa.concat_tables([table.slice(0, 30), table.slice(30)])
    assert (identified(parts, b"s" * 32).ids == whole).all()


@pytest.mark.parametrize(
    ("names", "cause"), [(["k", "k"], "twice"), (["z"], "not in the input"), (["f"], "cannot be a key")]
)
def test_columns_that_cannot_be_keys_are_refused(names, cause) -> None:
    with pytest.raises(BadJob, match=cause):
        identified(key_columns(pa.table({"k": [1], "f": [1.5]}), names), bytes(32))


def test_every_operation_says_what_it_tells_and_costs() -> None:
    from fondaco.engines.base import OPERATIONS

    for engine, operations in OPERATIONS.items():
        for operation in operations:
            assert leakage(engine, operation)
            assert estimate(engine, operation, 1000).seconds > 0
    with pytest.raises(BadJob):
        leakage("psi", "union")
