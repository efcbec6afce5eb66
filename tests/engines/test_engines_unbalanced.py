"""A client's few keys looked up in a large set that was prepared once: beside pandas, and who learns what of it."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import socket
import tempfile
import threading
import time
import unicodedata
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from engines_world import column, jobs, together
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco.core.messages import to_bytes
from fondaco.engines import base, checks
from fondaco.engines.base import PREPARED, BadJob, EngineStopped, Job, Outcome
from fondaco.engines.channel import Channel
from fondaco.engines.keep import Keep
from fondaco.engines.pir.parts import as_table, from_table
from fondaco.engines.psi import choice
from fondaco.engines.psi import unbalanced as module
from fondaco.engines.psi.operations import run

WORDS = ["a", "b", "é", "e\u0301", "ß", "", " ", "日本", "\U0001f600", "a" * 200, "key"]
texts = st.one_of(
    st.none(), st.sampled_from(WORDS), st.text(st.characters(blacklist_categories=["Cs", "Cn"]), max_size=3)
)
numbers = st.one_of(st.none(), st.integers(-3, 3), st.integers(-(1 << 63), (1 << 63) - 1))
rows = st.lists(st.tuples(texts, numbers), max_size=40)


def table(rows: list[tuple]) -> pa.Table:
    return pa.table({"k": pa.array([r[0] for r in rows], pa.string()), "n": pa.array([r[1] for r in rows], pa.int64())})


def frame(rows: list[tuple]) -> pd.DataFrame:
    clean = [(unicodedata.normalize("NFD", t), str(n)) for t, n in rows if t is not None and n is not None]
    return pd.DataFrame(clean, columns=["k", "n"], dtype="object").drop_duplicates()


def pair(parameters: dict | None = None, receivers: tuple[int, ...] = (0,), seconds: int = 20) -> list[Job]:
    asked = {"keys": ["k"]} | (parameters or {})
    return jobs("psi", "unbalanced", asked, ["client", "provider"], [[], []], receivers, seconds=seconds)


class Counting(Channel):
    """A channel that remembers what was said on it, by rank."""

    said: list[tuple[str, bytes]] = []

    def send(self, data: bytes) -> None:
        Counting.said.append((self.peer, data))
        super().send(data)


def meet(
    client: pa.Table, provider: dict[str, pa.Table], both: list[Job] | None = None, keep: Keep | None = None
) -> list[Outcome | BaseException]:
    with (
        tempfile.TemporaryDirectory(prefix="fu-") as name,
        concurrent.futures.ThreadPoolExecutor(2) as pool,
    ):
        folder = Path(name)
        work = [
            pool.submit(run, job, inputs, folder, folder, kept)
            for job, inputs, kept in zip(both or pair(), [{"data": client}, provider], [keep, None], strict=True)
        ]
        return [one.exception() or one.result() for one in work]


def outcomes(client: pa.Table, provider: dict[str, pa.Table], **more) -> tuple[Outcome, Outcome]:
    ends = meet(client, provider, **more)
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    return ends[0], ends[1]


def keys(outcome: Outcome) -> list[str]:
    return outcome.tables["match"]["k"].to_pylist()


@settings(max_examples=25, deadline=None)
@given(rows, rows, st.booleans())
def test_what_is_found_equals_the_join_of_pandas(ours, theirs, prepared) -> None:
    held = {"data": table(theirs)}
    if prepared:
        held = {"data": pa.table({}), PREPARED: as_table(module.prepare(table(theirs), ["k", "n"]))}
    first, second = outcomes(table(ours), held, both=pair({"keys": ["k", "n"]}))
    found = [(unicodedata.normalize("NFD", row["k"]), str(row["n"])) for row in first.tables["match"].to_pylist()]
    wanted = frame(ours).merge(frame(theirs), on=["k", "n"])
    assert sorted(found) == sorted(wanted.itertuples(index=False, name=None))
    assert set(second.tables) == (set() if prepared else {PREPARED}), "the provider learns nothing"
    assert (first.report.rows_in, second.report.rows_in) == (len(frame(ours)), len(frame(theirs)))


def test_matches_come_in_the_order_of_the_clients_rows_and_in_its_spelling() -> None:
    client = pa.table({"k": ["z", "\u00e9", "q", "a", "z"]})
    first, _second = outcomes(client, {"data": pa.table({"k": ["a", "e\u0301", "z"]})})
    assert keys(first) == ["z", "\u00e9", "a"]


def test_a_prepared_set_answers_many_clients_and_reads_no_row() -> None:
    _first, made = outcomes(pa.table({"k": [1]}), {"data": pa.table({"k": list(range(300))})})
    held = {"data": pa.table({}), PREPARED: made.tables[PREPARED]}
    for low in (0, 250, 290):
        found, told = outcomes(pa.table({"k": list(range(low, low + 60))}), held)
        assert keys(found) == list(range(low, min(300, low + 60)))
        assert told.tables == {}


@pytest.fixture
def said(monkeypatch) -> list[tuple[str, bytes]]:
    monkeypatch.setattr("fondaco.engines.channel.Channel", Counting)
    Counting.said = []
    return Counting.said


def test_a_table_is_sent_once_for_each_preparation(tmp_path, said) -> None:
    keep = Keep(folder=str(tmp_path / "kept"), key=bytes(32), bound=bytes(32))
    held = {PREPARED: as_table(module.prepare(pa.table({"k": list(range(500))}), ["k"]))}
    client = pa.table({"k": [1, 7, 900]})

    def provider_bytes(held: dict[str, pa.Table]) -> int:
        said.clear()
        found, _told = outcomes(client, held, keep=keep)
        assert keys(found) == [1, 7]
        return sum(len(data) for peer, data in said if peer == "client")

    size = len(from_table(held[PREPARED])[1])
    first, second = provider_bytes(held), provider_bytes(held)
    assert first == second + size
    renewed = {PREPARED: as_table(module.prepare(pa.table({"k": list(range(500))}), ["k"]))}
    assert provider_bytes(renewed) == first, "another preparation has another table"
    assert provider_bytes(renewed) == second
    path = Path(keep.folder) / "table"
    path.write_bytes(path.read_bytes()[:-1])
    assert provider_bytes(renewed) == first, "a damaged table is no table"


def test_message_sizes_depend_on_the_two_sizes_alone(said) -> None:
    def sizes(low: int, held_low: int) -> list[tuple[str, int]]:
        said.clear()
        outcomes(
            pa.table({"k": list(range(low, low + 40))}),
            {"data": pa.table({"k": list(range(held_low, held_low + 200))})},
        )
        return sorted((peer, len(data)) for peer, data in said)

    assert sizes(0, 0) == sizes(0, 10_000) == sizes(777_777, 777_700)


def test_no_key_and_no_tag_of_a_client_is_said_twice(said) -> None:
    held = {PREPARED: as_table(module.prepare(pa.table({"k": list(range(50))}), ["k"]))}
    points: list[bytes] = []
    for _ in range(2):
        said.clear()
        outcomes(pa.table({"k": [1, 2, 3]}), held)
        points += [data for peer, data in said if peer == "provider" and len(data) == 96]
    assert len(points) == 2
    assert not {points[0][at : at + 32] for at in (0, 32, 64)} & {points[1][at : at + 32] for at in (0, 32, 64)}


@pytest.mark.parametrize(
    ("parameters", "receivers"),
    [({}, (0, 1)), ({"security": "malicious"}, (0,)), ({"keys": []}, (0,)), ({"link_mbit": 5}, (0,))],
)
def test_steps_that_make_no_sense_are_refused(parameters, receivers) -> None:
    ends = meet(pa.table({"k": [1]}), {"data": pa.table({"k": [1]})}, both=pair(parameters, receivers))
    assert all(isinstance(end, BadJob) for end in ends)


def test_two_receivers_are_refused_at_explain() -> None:
    both = jobs("psi", "unbalanced", {"keys": ["k"]}, ["x", "y"], [[column("k")], [column("k")]], (0, 1))
    with pytest.raises(BadJob, match="one receiver"):
        checks.check_job(both[0])


def test_more_keys_than_a_run_takes_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_ASKED", 2)
    with pytest.raises(BadJob, match="at most 2 keys"):
        run(pair()[0], {"data": pa.table({"k": [1, 2, 3]})}, Path("/nowhere"), Path("/nowhere"))
    monkeypatch.setattr(module, "MAX_KEYS", 2)
    with pytest.raises(BadJob, match="at most 2 keys"):
        module.prepare(pa.table({"k": [1, 2, 3]}), ["k"])


@given(st.lists(st.binary(max_size=80), max_size=3), st.binary(max_size=80), st.integers(0, 80))
def test_a_prepared_set_that_is_damaged_is_refused(parts, raw, at) -> None:
    good = module.prepare(pa.table({"k": [1, 2]}), ["k"])
    head = bytearray(good[0])
    head[at % len(head)] ^= 1
    for bad in (parts, [good[0], raw], [*good, b""], [bytes(head), good[1][:-1]]):
        if len(bad) == 2 and len(bad[1]) == len(good[1]):
            continue
        with pytest.raises(BadJob, match="damaged"):
            module._prepared({PREPARED: as_table(bad)}, ["k"])


# -- peers that cheat or go away ------------------------------------------------------------------------------------


class Says:
    """A channel whose other end says what the test says."""

    peer = "provider"

    def __init__(self, *said: bytes) -> None:
        self.said = list(said)

    def receive(self, limit: int) -> bytes:
        data = self.said.pop(0)
        if len(data) > limit:
            raise EngineStopped("too long", remedy="again")
        return data


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_any_first_word_is_taken_or_refused(raw) -> None:
    for kind in (module.Ask, module.Offer):
        try:
            assert isinstance(module._said(kind, Says(raw)), kind)
        except EngineStopped as fault:
            assert "provider" in fault.cause


@given(st.binary(max_size=300), st.integers(1, 20), st.booleans(), st.booleans())
def test_a_table_that_is_not_the_one_that_was_named_is_refused(raw, count, comes, named) -> None:
    digest = module._digest(count, raw) if named else bytes(32)
    offer = module.Offer(keys=count, digest=digest, comes=comes)
    if comes and named and len(raw) <= module._kernel.prepared_table_size(count):
        assert module._table(Says(raw), offer, None, None) == raw
        return
    with pytest.raises(EngineStopped):
        module._table(Says(raw), offer, None, None)


SPOILED = {
    "table of another set": lambda part, tags: [part, bytes(len(tags))],
    "table out of order": lambda part, tags: [part, tags[:8] + tags[8:][::-1]],
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_provider_whose_table_is_none_is_named(how) -> None:
    good = module.prepare(pa.table({"k": list(range(200))}), ["k"])
    held = {PREPARED: as_table(SPOILED[how](*good))}
    client, _provider = meet(pa.table({"k": [1, 2]}), held)
    assert isinstance(client, EngineStopped)
    assert "provider does not follow the protocol: the peer's tags" in client.cause


@pytest.mark.parametrize("rows_asked", [-1, (1 << 20) + 1])
def test_a_client_that_asks_out_of_bounds_is_named(monkeypatch, rows_asked) -> None:
    really = module.Ask
    monkeypatch.setattr(module, "Ask", lambda rows, table: really(rows=rows_asked, table=table))
    monkeypatch.setattr(module, "_said", lambda _kind, channel, said=module._said: said(
        really if channel.peer == "client" else module.Offer, channel))  # fmt: skip
    client, provider = meet(pa.table({"k": [1]}), {"data": pa.table({"k": [1]})})
    assert isinstance(provider, EngineStopped)
    assert "client sent a number of keys out of bounds" in provider.cause
    assert isinstance(client, EngineStopped)


@pytest.mark.parametrize("told", [b"", to_bytes(module.Offer(keys=1 << 40, digest=b"", comes=True)), b"\xff" * 40])
def test_a_provider_that_says_nonsense_or_goes_away_ends_the_client_in_time(told) -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fu-") as name:
        folder = Path(name)
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(folder / "1.sock"))
        server.listen(1)

        def provider() -> None:
            from fondaco.engines.channel import Hello, run_digest
            from fondaco.engines.psi.session import agree_key

            link, _address = server.accept()
            with Channel(link, peer="client", end=time.monotonic() + 10) as channel:
                job = pair()[1]
                channel.receive(1024)
                channel.send(to_bytes(Hello(version=1, run=run_digest(job), rank=1)))
                agreed = module.hashlib.sha256(module.encode([0, job.parameters])).digest()
                agree_key(channel, rank=1, security="semi-honest", terms=agreed)
                channel.receive(1024)
                if told:
                    channel.send(told)

        other = threading.Thread(target=provider)
        other.start()
        with pytest.raises(EngineStopped) as caught:
            run(pair(seconds=5)[0], {"data": pa.table({"k": [1]})}, folder, folder)
        other.join(10)
        server.close()
    assert "provider" in caught.value.cause
    assert time.monotonic() - began < 8


def test_workers_do_it_too_and_keep_the_table(tmp_path) -> None:
    client, provider = together(pair(), [{"data": pa.table({"k": [3, 4]})}, {"data": pa.table({"k": [4, 5]})}])
    assert isinstance(client, Outcome), client
    assert isinstance(provider, Outcome), provider
    assert keys(client) == [4]
    assert client.report.configuration == "rfc9497-ristretto255-prepared"


# -- what a person hears beforehand ---------------------------------------------------------------------------------


def test_explain_says_what_a_prepared_set_costs_and_when_it_is_worth_it() -> None:
    told = base.reason("psi", "unbalanced", {"keys": ["k"]}, [1000, 10_000_000])
    assert "once to prepare 10000000 keys" in told
    assert "a run of 1000" in told
    asked = base.reason("psi", "intersection", {"keys": ["k"]}, [1000, 10_000_000])
    assert "psi.unbalanced takes" in asked
    assert "unbalanced" not in base.reason("psi", "intersection", {"keys": ["k"]}, [1000, 2000])
    malicious = {"keys": ["k"], "security": "malicious"}
    assert "unbalanced" not in base.reason("psi", "intersection", malicious, [1000, 10_000_000])
    assert choice.unbalanced_cost(1000).wire == 64_000
    assert "`fondaco prepare`" in told


# -- ahead of any run -----------------------------------------------------------------------------------------------


def ahead(parameters: dict | None = None, **changes) -> Job:
    """The job of a provider alone."""
    alone = dataclasses.replace(
        pair(parameters)[1], operation=module.PREPARE, parties=("provider",), rank=0, receivers=(),
        columns=(column("k", "text"), column("n", "int64")), peer_columns=(), peer_ranks=(),
    )  # fmt: skip
    return dataclasses.replace(alone, **changes)


def test_a_set_that_was_prepared_ahead_answers_and_no_row_is_read(tmp_path) -> None:
    heard: list[tuple[str, int, int]] = []
    held = table([("a", 1), ("b", 2), ("b", 3), (None, 4)])
    made = run(ahead(), {"data": held}, tmp_path, tmp_path, None, lambda *told: heard.append(told))
    assert (made.report.rows_in, made.report.rows_out) == (2, 2), "different keys, and none of them null"
    assert heard == [("keys evaluated", 0, 2), ("keys evaluated", 2, 2)]
    mine, _theirs = outcomes(table([("b", 0), ("c", 0)]), {"data": pa.table({}), PREPARED: made.tables[PREPARED]})
    assert mine.tables["match"]["k"].to_pylist() == ["b"]
    again = run(ahead(), {"data": pa.table({}), PREPARED: made.tables[PREPARED]}, tmp_path, tmp_path)
    assert (again.tables, again.report.rows_in, again.report.rows_out) == ({}, 2, 0)


def test_a_set_of_no_keys_is_prepared_too(tmp_path) -> None:
    made = run(ahead(), {"data": table([(None, 1)])}, tmp_path, tmp_path)
    assert made.report.rows_in == 0
    mine, _theirs = outcomes(table([("a", 0)]), {"data": pa.table({}), PREPARED: made.tables[PREPARED]})
    assert mine.tables["match"].num_rows == 0


@pytest.mark.parametrize(
    ("parameters", "cause"),
    [({"keys": ["absent"]}, "not among those that the step brings"), ({"keys": []}, "key"), ({"keys": "k"}, "key")],
)
def test_a_set_without_its_keys_is_not_prepared(tmp_path, parameters, cause) -> None:
    with pytest.raises(BadJob, match=cause):
        run(ahead(parameters), {"data": table([("a", 1)])}, tmp_path, tmp_path)


def test_preparing_ahead_is_for_a_provider_alone(tmp_path) -> None:
    with pytest.raises(BadJob, match="no such set operation"):
        run(dataclasses.replace(pair()[1], operation=module.PREPARE), {"data": table([])}, tmp_path, tmp_path)


def test_what_hears_of_preparing_may_break_it_off(tmp_path) -> None:
    def broken(_what: str, _done: int, _whole: int) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run(ahead(), {"data": table([("a", 1)])}, tmp_path, tmp_path, None, broken)


def test_a_job_is_for_one_version_of_the_terms() -> None:
    both = pair()
    other = dataclasses.replace(both[1], parameters={"keys": ["k", "n"]})
    held = pa.table({"k": [1], "n": [2]})
    ends = meet(held, {"data": held}, both=[both[0], other])
    assert all(isinstance(end, BadJob) and "other parameters" in end.cause for end in ends)
