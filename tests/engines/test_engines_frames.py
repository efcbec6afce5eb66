"""Tables between a node and its worker: they come out as they went in, and lie in memory once."""

from __future__ import annotations

import asyncio

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco.engines import frames, process
from fondaco.engines.pir import parts
from fondaco.errors import EngineError

MIXED = st.lists(st.tuples(st.none() | st.integers(-(2**63), 2**63 - 1), st.none() | st.text(max_size=5)), max_size=20)


def framed(name: str, table: pa.Table) -> bytes:
    return b"".join(frames.table_frame(name, table))


@settings(max_examples=50, deadline=None)
@given(MIXED, st.text(st.characters(exclude_categories=("Cs",)), max_size=40), st.integers(1, 7), st.booleans())
def test_a_table_comes_out_as_it_went_in(rows, name, size, repeated) -> None:
    texts = pa.array([text for _number, text in rows], pa.string())
    numbers = pa.array([number for number, _text in rows], pa.int64())
    table = pa.table({"n": numbers, "t": texts.dictionary_encode() if repeated else texts})
    cut = pa.concat_tables([table.slice(at, size) for at in range(0, len(rows), size)]) if rows else table
    data = framed(name, cut)
    kind, length = frames.head(data[: frames.HEAD])
    assert (kind, length) == (frames.TABLE, len(data) - frames.HEAD)
    for body in (data[frames.HEAD :], bytearray(data[frames.HEAD :])):
        found, back = frames.unpack_table(body)
        assert (found, back.schema) == (name, table.schema)
        assert back.to_pydict() == table.to_pydict()


def test_a_table_with_no_columns_is_one_too() -> None:
    assert frames.unpack_table(framed("x", pa.table({}))[frames.HEAD :])[1] == pa.table({})


def test_a_table_without_a_name_is_refused() -> None:
    with pytest.raises(EngineError, match="without a name"):
        frames.unpack_table((1).to_bytes(2, "big") + b"\x00" + bytes(13))


def within(view: memoryview, whole: memoryview) -> bool:
    start, end = (pa.py_buffer(whole).address, pa.py_buffer(whole).address + whole.nbytes)
    return start <= pa.py_buffer(view).address <= end - view.nbytes


def test_a_large_part_is_copied_neither_into_its_table_nor_into_the_frame_nor_out_of_it() -> None:
    part = bytearray(range(256)) * 40_000
    table = parts.as_table([b"head", part, b""])
    assert within(parts.views(table)[1], memoryview(part))
    pieces = list(frames.table_frame("prepared", table))
    large = [memoryview(piece) for piece in pieces if len(piece) >= len(part)]
    assert len(large) == 1
    assert within(large[0], memoryview(part))
    body = bytearray(b"".join(pieces)[frames.HEAD :])
    views = parts.views(frames.unpack_table(body)[1])
    assert [bytes(view) for view in views] == [b"head", bytes(part), b""]
    assert within(views[1], memoryview(body))
    assert pa.py_buffer(views[1]).address % 8 == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=6))
def test_parts_come_out_of_their_table_as_they_went_in(some) -> None:
    table = parts.as_table(some)
    assert parts.from_table(table) == some
    assert [bytes(view) for view in parts.views(table)] == some


@pytest.mark.parametrize("said", [0, 1, 10, 1 << 21])
def test_a_worker_that_says_less_than_it_announced_has_said_nothing(said) -> None:
    async def read() -> bytearray:
        reader = asyncio.StreamReader()
        reader.feed_data(b"x" * said)
        reader.feed_eof()
        return await process._exactly(reader, said + wanting)

    for wanting in (0, 1):
        if wanting:
            with pytest.raises(asyncio.IncompleteReadError):
                asyncio.run(read())
        else:
            assert asyncio.run(read()) == b"x" * said
