"""An asker takes no more for a hidden query than its ledger and its settings allow, whatever a provider says."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pytest
from engines_world import column, jobs, together
from pir_world import at_once

from fondaco._kernel import PirAsker, PirFault, PirIndex, PirProvider, PirTwoAsker
from fondaco.engines.base import MEMORY_MIB, EngineStopped, Excessive
from fondaco.engines.pir import lookup, two
from fondaco.engines.pir.records import buffers

COLUMNS = [column("k", "text"), column("v")]
DATA = pa.table({"k": ["a", "b", "c"], "v": [1, 2, 3]})
ASKED = pa.table({"k": ["b", "z"]})


def both_jobs(most: int = 2, **changed):
    parameters = {"keys": ["k"], "most_keys": most}
    made = jobs("pir", "lookup", parameters, ["asker", "provider"], [COLUMNS[:1], COLUMNS], (0,), seconds=20)
    return [dataclasses.replace(job, **changed) for job in made]


def two_jobs(**changed):
    sides = [COLUMNS[:1], COLUMNS, COLUMNS]
    parameters = {"keys": ["k"], "most_keys": 2}
    made = jobs("pir", two.OPERATION, parameters, ["asker", "first", "second"], sides, (0,), seconds=20)
    return [dataclasses.replace(job, **changed) for job in made]


def described(asker: PirAsker, description: bytes) -> tuple[str, bytes | None]:
    assert asker.next() == ("receive", None)
    return asker.next(description)


@pytest.fixture(scope="module")
def description() -> bytes:
    keys, payloads = (buffers(pa.array([text], pa.large_binary())) for text in (b"a key", b"a payload"))
    what, message = PirProvider(PirIndex.build(keys, payloads, 0), 1).next()
    assert what == "send"
    assert message is not None
    return message


def test_as_many_rows_as_the_ledger_says_are_taken_and_one_less_is_not() -> None:
    for rows in ((2, 3), (2, 4), (2, None), ()):
        asker, _provider = at_once(lookup.run, both_jobs(rows=rows), [{"data": ASKED}, {"data": DATA}])
        assert asker.tables["result"]["found"].to_pylist() == [True, False]
    asker, provider = at_once(lookup.run, both_jobs(rows=(2, 2)), [{"data": ASKED}, {"data": DATA}])
    assert isinstance(asker, Excessive)
    assert asker.to_dict()["code"] == "engine.excessive"
    assert "provider" in asker.cause
    assert "comes to 3 records, and 2 are allowed" in asker.cause
    assert "asker_memory_mib" in asker.remedy
    assert isinstance(provider, EngineStopped)


def test_a_worker_tells_its_node_the_refusal_by_its_code() -> None:
    asker, provider = together(both_jobs(rows=(2, 2)), [{"data": ASKED}, {"data": DATA}])
    assert isinstance(asker, Excessive)
    assert isinstance(provider, EngineStopped)


def test_a_lookup_above_the_nodes_memory_is_refused_before_a_key_is_sent() -> None:
    asker, _provider = at_once(lookup.run, both_jobs(memory_mib=0), [{"data": ASKED}, {"data": DATA}])
    assert isinstance(asker, Excessive)
    assert "bytes of memory, and 0 are allowed" in asker.cause


def test_the_default_is_the_kernels(description) -> None:
    for memory in ({}, {"memory": MEMORY_MIB << 20}):
        assert described(PirAsker([b"a key"], 1, **memory), description) == ("receive", None)


@pytest.mark.parametrize("records", [2, 1 << 30, 1 << 63, (1 << 64) - 1])
def test_a_description_of_other_records_is_refused_by_name(description, records) -> None:
    lie = description[:48] + records.to_bytes(8, "little") + description[56:]
    with pytest.raises(PirFault) as caught:
        described(PirAsker([b"a key"], 1, records=1), lie)
    assert caught.value.args == (
        "excessive",
        f"the peer's description comes to {records} records, and 1 are allowed",
    )


def test_a_longer_table_than_its_records_make_is_refused(description) -> None:
    # After magic, seed, records, payload, the count of public keys and one of them: tables, groups, slot, rows.
    at = 16 + 32 + 8 + 4 + 1 + 32 + 12
    lie = description[:at] + (1 << 18).to_bytes(4, "little") + description[at + 4 :]
    with pytest.raises(PirFault, match="262144 rows in a table"):
        described(PirAsker([b"a key"], 1), lie)


@pytest.mark.parametrize("rows", [(2, 3, 3), (2, 3, 4), (2, None, 3), (2, 3, None), (2, None, None), ()])
def test_two_servers_of_as_many_rows_as_the_ledger_says_are_taken(rows) -> None:
    asker, *_servers = at_once(two.run, two_jobs(rows=rows), [{"data": ASKED}, {"data": DATA}, {"data": DATA}])
    assert asker.tables["result"]["found"].to_pylist() == [True, False]


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"rows": (2, 2, 2)}, "comes to 3 records, and 2 are allowed"),
        ({"rows": (2, 3, 2)}, "comes to 3 records, and 2 are allowed"),
        ({"rows": (2, 2, 3)}, "comes to 3 records, and 2 are allowed"),
        ({"rows": (2, None, 2)}, "comes to 3 records, and 2 are allowed"),
        ({"memory_mib": 0}, "bytes of memory, and 0 are allowed"),
    ],
)
def test_two_servers_that_say_more_than_is_allowed_are_refused_before_a_key_is_sent(changed, cause) -> None:
    inputs = [{"data": ASKED}, {"data": DATA}, {"data": DATA}]
    asker, first, second = at_once(two.run, two_jobs(**changed), inputs)
    assert isinstance(asker, Excessive)
    assert asker.to_dict()["code"] == "engine.excessive"
    assert "first and second: the peer's description" in asker.cause
    assert cause in asker.cause
    assert "asker_memory_mib" in asker.remedy
    assert isinstance(first, EngineStopped)
    assert isinstance(second, EngineStopped)


@pytest.mark.parametrize(
    ("records", "rows", "cause"),
    [
        (1 << 63, 2048, "9223372036854775808 records in its tables, and 2048 are allowed"),
        (1, 1 << 31, "2147483648 rows in a table, and 2048 are allowed"),
    ],
)
def test_two_servers_that_lie_alike_are_refused_by_name(records, rows, cause) -> None:
    numbers = records.to_bytes(8, "little") + (9).to_bytes(4, "little") + rows.to_bytes(4, "little")
    lie = b"fondaco/pir-two1" + numbers + bytes([8, 0]) + bytes(64)
    asker = PirTwoAsker([b"a key"], 1)
    assert asker.next() == ("receive", None)
    with pytest.raises(PirFault) as caught:
        asker.next((lie, lie))
    assert caught.value.args == ("excessive", f"the peer's description comes to {cause}", None)
