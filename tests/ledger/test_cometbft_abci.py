"""ABCI's bytes: what CometBFT sends is read, and nothing else; no bytes make the application fall."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from comet_world import comet_ledger
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_world import Counter, adding, counter_genesis

from fondaco.errors import CodecError, FondacoError, LedgerError
from fondaco.ledger.application import APP_VERSION, UpgradeNeeded
from fondaco.ledger.blocks import Validator
from fondaco.ledger.cometbft import abci, parts
from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.cometbft.home import genesis_document
from fondaco.ledger.cometbft.mempool import FULL_CODE
from fondaco.ledger.cometbft.protobuf import _SHAPES, decode, encode, frame, frames, parted
from fondaco.ledger.cometbft.rpc import time_of
from fondaco.ledger.cometbft.service import Connection
from fondaco.ledger.contracts.governance.messages import Upgrade
from fondaco.ledger.contracts.governance.parameters import FIRST
from fondaco.ledger.state import ReadStore
from fondaco.ledger.wire import field_bytes, field_message, field_varint, varint

NEWER = APP_VERSION + 1
ALL = (*abci.REQUESTS.values(), *abci.RESPONSES)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def values(shape: type) -> st.SearchStrategy[object]:
    """Any message of a shape."""
    kinds = {
        "unsigned": st.integers(0, 2**64 - 1),
        "signed": st.integers(-(2**63), 2**63 - 1),
        "fixed64": st.integers(-(2**63), 2**63 - 1),
        "octets": st.binary(max_size=80),
        "text": st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
        "moment": st.integers(-(10**18), 4 * 10**18),
    }
    fields = {}
    for name, field in _SHAPES[shape]:
        one = values(field.shape) if field.shape is not None else kinds[field.kind]
        if field.many:
            fields[name] = st.lists(one, max_size=4).map(tuple)
        elif field.shape is not None:
            fields[name] = st.none() | one
        else:
            fields[name] = one
    return st.builds(shape, **fields)


def request_bytes(request: object) -> bytes:
    """A request as CometBFT frames it, without the frame's length."""
    number = next(number for number, cls in abci.REQUESTS.items() if cls is type(request))
    return field_message(number, encode(request))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[CometLedger]:
    """A ledger whose ABCI server runs, and no CometBFT."""
    made = comet_ledger(tmp_path, start=False, program=Path("/nowhere"))
    made._server.start()
    yield made
    made.stop()


# -- the codec --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ALL, ids=lambda shape: shape.__name__)
@QUICK
@given(data=st.data())
def test_what_is_written_is_read_again(shape: type, data: st.DataObject) -> None:
    message = data.draw(values(shape))
    assert decode(shape, encode(message)) == message


@pytest.mark.parametrize("shape", ALL, ids=lambda shape: shape.__name__)
@QUICK
@given(junk=st.binary(max_size=200))
def test_random_bytes_are_a_message_or_a_named_error(shape: type, junk: bytes) -> None:
    try:
        found = decode(shape, junk)
    except CodecError as fault:
        assert shape.__name__ in fault.cause
    else:
        assert decode(shape, encode(found)) == found


@pytest.mark.parametrize("cls", abci.REQUESTS.values(), ids=lambda cls: cls.__name__)
@QUICK
@given(data=st.data())
def test_a_changed_request_is_a_request_or_a_named_error(cls: type, data: st.DataObject) -> None:
    good = bytearray(request_bytes(data.draw(values(cls))))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(good)))
    for bad in (bytes(good), bytes(good[:cut])):
        try:
            abci.read_request(bad)
        except CodecError:
            continue


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (field_varint(9, 1), "no field 9"),
        (field_varint(2, 1) + field_bytes(1, b"tx"), "out of order"),
        (field_bytes(1, b"a") + field_bytes(1, b"b"), "twice"),
        (field_varint(1, 5), "another wire type"),
        (varint(2 << 3) + b"\x80\x00", "shortest"),
        (varint(2 << 3) + b"\xff" * 9 + b"\x7f", "shortest"),
        (varint(2 << 3) + b"\xff" * 11, "too long"),
        (varint(1 << 3 | 2) + varint(9) + b"ab", "longer than its message"),
        (varint(1 << 3 | 3), "wire type"),
        (varint(1 << 3 | 5) + b"1234", "wire type"),
    ],
)
def test_what_gos_encoder_would_not_write_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(CodecError, match=why):
        decode(abci.RequestCheckTx, data)


def test_text_and_times_are_checked() -> None:
    with pytest.raises(CodecError, match="UTF-8"):
        decode(abci.Echo, field_bytes(1, b"\xff"))
    with pytest.raises(CodecError, match="nanoseconds"):
        decode(abci.RequestInitChain, field_message(1, field_varint(2, 10**9)))


def test_there_is_one_request_in_a_frame() -> None:
    one = request_bytes(abci.Flush())
    assert abci.read_request(one) == abci.Flush()
    for bad in (b"", one + one, request_bytes(abci.Echo(message="x"))[:-1], field_message(4, b""), varint(1 << 3)):
        with pytest.raises(CodecError):
            abci.read_request(bad)


@QUICK
@given(messages=st.lists(st.binary(max_size=300), max_size=8), cuts=st.lists(st.integers(1, 400), max_size=10))
def test_frames_come_out_whole_however_they_arrive(messages: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(frame, messages))
    buffer, taken = bytearray(), []
    for size in [*cuts, len(stream)]:
        buffer += stream[:size]
        stream = stream[size:]
        taken += frames(buffer, 1000)
    assert taken == messages
    assert not buffer


def test_a_frame_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(CodecError, match="more than"):
        frames(bytearray(varint(1001)), 1000)
    with pytest.raises(CodecError):
        frames(bytearray(b"\xff" * 20), 1000)
    assert frames(bytearray(b"\xff"), 1000) == []


# -- the application behind it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", abci.REQUESTS.values(), ids=lambda cls: cls.__name__)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_well_formed_request_is_answered_or_a_named_error(
    cls: type, data: st.DataObject, ledger: CometLedger
) -> None:
    """In any order, at any time: out of order is an error that CometBFT is told, and never a fall."""
    before = ledger.status()
    connection = Connection(ledger)
    try:
        (response,) = connection.handle([data.draw(values(cls))])  # type: ignore[list-item]
    except FondacoError as fault:
        assert fault.cause
        assert fault.remedy
    else:
        assert abci.write_response(response)
    assert ledger.status() == before


def test_random_bytes_on_the_socket_end_that_connection_and_no_other(ledger: CometLedger) -> None:
    for junk in (b"\xff" * 40, b"GET / HTTP/1.1\r\n\r\n" * 20, frame(b"\x0a"), frame(field_message(9, b"x"))):
        assert b"ledger" in exchange(ledger, junk) or b"codec" in exchange(ledger, junk)
    echo = exchange(ledger, frame(request_bytes(abci.Echo(message="still here"))), close=True)
    assert b"still here" in echo
    assert ledger.failed is None


def exchange(ledger: CometLedger, data: bytes, *, close: bool = False) -> bytes:
    """Send bytes to the ABCI socket; all that comes back until the other side closes."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(10)
        link.connect(str(ledger._server._path))
        link.sendall(data)
        if close:
            link.shutdown(socket.SHUT_WR)
        found = b""
        while more := link.recv(4096):
            found += more
        return found


def test_checks_of_transactions_are_answered_one_by_one(ledger: CometLedger) -> None:
    good, bad = adding("n", 1), b"junk"
    batch = [abci.RequestCheckTx(tx=good), abci.RequestCheckTx(tx=bad), abci.Flush(), abci.RequestCheckTx(tx=good)]
    found = Connection(ledger).handle(batch)
    assert [getattr(one, "code", None) for one in found] == [0, 1, None, 0]


def test_a_full_mempool_refuses_by_name_what_came_past_the_node(
    ledger: CometLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fondaco.ledger.cometbft.backlog.CEILING", 2)
    batch: list[abci.Request] = [abci.RequestCheckTx(tx=adding("n", n)) for n in range(4)]
    found = Connection(ledger).handle(batch)
    assert [one.code for one in found] == [0, 0, FULL_CODE, FULL_CODE]  # type: ignore[attr-defined]
    assert "ledger.full" in found[3].log  # type: ignore[attr-defined]
    again: list[abci.Request] = [dataclasses.replace(one, type=1) for one in batch[:2]]  # type: ignore[type-var]
    assert [one.code for one in Connection(ledger).handle(again)] == [0, 0]  # type: ignore[attr-defined]


def test_votes_are_not_extended(ledger: CometLedger) -> None:
    extend, empty, some = Connection(ledger).handle(
        [
            abci.RequestExtendVote(height=1),
            abci.RequestVerifyVoteExtension(),
            abci.RequestVerifyVoteExtension(vote_extension=b"x"),
        ]
    )
    assert extend == abci.ResponseExtendVote(vote_extension=b"")
    assert (empty, some) == (
        abci.ResponseVerifyVoteExtension(status=abci.ACCEPT),
        abci.ResponseVerifyVoteExtension(status=abci.REJECT),
    )


def test_a_genesis_begins_with_the_first_rules_whatever_software_writes_it() -> None:
    assert FIRST.version == 1
    parameters = genesis_document(counter_genesis())["consensus_params"]
    assert isinstance(parameters, dict)
    assert parameters["version"] == {"app": str(FIRST.version)}


def beginning(**changes: object) -> abci.RequestInitChain:
    """What CometBFT says of the chain's beginning."""
    genesis = counter_genesis()
    state = genesis_document(genesis)["app_state"]
    whole = abci.RequestInitChain(
        time=genesis.time,
        chain_id=genesis.chain_id,
        validators=tuple(
            parts.ValidatorUpdate(pub_key=parts.KeyOfValidator(ed25519=one.key), power=one.power)
            for one in genesis.validators
        ),
        app_state_bytes=str(state).replace("'", '"').encode(),
        initial_height=1,
    )
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"chain_id": "another"},
        {"time": 5},
        {"initial_height": 2},
        {"validators": ()},
        {"validators": (parts.ValidatorUpdate(pub_key=None, power=10),)},
        {"app_state_bytes": b"{}"},
        {"app_state_bytes": b'{"fondaco": "' + b"0" * 64 + b'"}'},
    ],
)
def test_a_chain_that_begins_otherwise_does_not_begin(changes: dict[str, object], ledger: CometLedger) -> None:
    assert ledger.begin(beginning()) == ledger.info()[1]
    with pytest.raises(LedgerError, match="genesis is not this ledger's"):
        ledger.begin(beginning(**changes))


def finalize(ledger: CometLedger, *txs: bytes, **changes: object) -> abci.RequestFinalizeBlock:
    """The request to execute the next block."""
    from fondaco.ledger.blocks import validators_hash

    height = ledger.height + 1
    whole = abci.RequestFinalizeBlock(
        txs=txs,
        height=height,
        time=counter_genesis().time + height,
        next_validators_hash=validators_hash(ledger.validators_at(height + 1)),
    )
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def test_a_block_given_again_before_its_commit_counts_once(ledger: CometLedger) -> None:
    """CometBFT died between FinalizeBlock and Commit: it replays the block to the same application."""
    tx = adding("n", 7)
    first = ledger.execute(finalize(ledger, tx))
    assert ledger.info()[0] == 0
    assert ledger.query("all") == {"counter/first": 1}
    assert ledger.execute(finalize(ledger, tx)) == first
    ledger.persist()
    assert ledger.info() == (1, first.app_hash)
    assert ledger.query("all") == {"counter/first": 1, "counter/n": 7}


def test_other_validators_than_ours_halt_the_ledger(ledger: CometLedger) -> None:
    with pytest.raises(LedgerError, match="next validators"):
        ledger.execute(finalize(ledger, next_validators_hash=bytes(32)))


def test_a_commit_of_nothing_is_refused(ledger: CometLedger) -> None:
    with pytest.raises(LedgerError, match="nothing was finalised"):
        ledger.persist()


@QUICK
@given(text=st.text(max_size=40))
def test_times_are_read_strictly(text: str) -> None:
    with pytest.raises(LedgerError):
        time_of(text)
    assert time_of("2023-11-14T22:13:20.000000001Z") == 1_700_000_000_000_000_001


def test_a_message_is_parted_into_its_fields() -> None:
    assert parted(b"\x10\xac\x02\x1a\x01x", "x") == [(2, 0, 300), (3, 2, b"x")]
    assert Validator(key=bytes(32), power=1).power == 1


class Voted(Counter):
    """Contracts whose institutions voted for new rules from the third block on."""

    def rules(self, store: ReadStore, height: int) -> Upgrade:
        """Newer ones from height 3 on."""
        return Upgrade(height=3, version=NEWER, package=b"p" * 32) if height >= 3 else FIRST


def test_a_voted_upgrade_is_in_the_header_before_it_and_halts_a_node_that_does_not_have_it(tmp_path: Path) -> None:
    ledger = comet_ledger(tmp_path, registry=Voted(), start=False, program=Path("/nowhere"))
    connection = Connection(ledger)
    for updates in (None, parts.ConsensusParams(version=parts.VersionParams(app=NEWER))):
        (done,) = connection.handle([finalize(ledger)])
        assert done.consensus_param_updates == updates  # type: ignore[attr-defined]
        connection.handle([abci.RequestCommit()])
    (info,) = connection.handle([abci.RequestInfo()])
    assert (info.last_block_height, info.app_version) == (2, NEWER)  # type: ignore[attr-defined]
    with pytest.raises(UpgradeNeeded, match=f"from block 3 on the rules are version {NEWER}"):
        connection.handle([finalize(ledger)])
    assert ledger.info()[0] == 2
    ledger.stop()


def test_a_ledger_that_cannot_go_on_says_so_to_all_and_stops_cometbft(tmp_path: Path) -> None:
    told: list[LedgerError] = []
    ledger = comet_ledger(tmp_path, registry=Voted())
    ledger.when_failed(told.append)
    deadline = time.monotonic() + 40
    while not told:
        assert time.monotonic() < deadline
        with contextlib.suppress(FondacoError):
            ledger.submit(adding("n", 1, expires=ledger.height + 9)).result(20)
    assert isinstance(told[0], UpgradeNeeded)
    assert f"version {NEWER}" in (ledger.trouble or "")
    with pytest.raises(UpgradeNeeded):
        ledger.submit(adding("n", 1, expires=9))
    while ledger.supervisor.pid is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert ledger.supervisor.starts == 1
    ledger.stop()
