"""A proposal is executed while it is voted on: the state is what it would be without, whatever is decided."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from comet_world import comet_ledger
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_world import Counter, adding, counter_genesis
from test_cometbft_abci import NEWER, Voted, finalize, request_bytes

from fondaco.core.keys import SignatureBatch
from fondaco.errors import LedgerError
from fondaco.ledger.application import Application, Finalized, UpgradeNeeded
from fondaco.ledger.cometbft import abci
from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.cometbft.protobuf import frame
from fondaco.ledger.cometbft.service import Connection
from fondaco.ledger.storage import Storage

SECONDS = 20
TXS = tuple(adding(name, amount) for name, amount in (("a", 1), ("b", 2), ("b", 3), ("c", 500), ("d", 4)))


def proposal(ledger: CometLedger, *txs: bytes, later: int = 0) -> abci.RequestProcessProposal:
    """A proposed next block, `later` nanoseconds than `finalize` says."""
    block = finalize(ledger, *txs)
    return abci.RequestProcessProposal(txs=txs, height=block.height, time=block.time + later)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[CometLedger]:
    """A ledger with no CometBFT."""
    made = comet_ledger(tmp_path, start=False, program=Path("/nowhere"))
    yield made
    made.stop()


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many transactions each execution had."""
    seen: list[int] = []
    inner = Application.finalize_block

    def counted(app: Application, height: int, time: int, txs: list[bytes]) -> Finalized:
        seen.append(len(txs))
        return inner(app, height, time, txs)

    monkeypatch.setattr(Application, "finalize_block", counted)
    return seen


class Plain:
    """The application that executes what is decided and nothing else."""

    def __init__(self) -> None:
        self.app, found = Application(Storage(None), Counter()), counter_genesis()
        self.app.init_chain(found.chain_id, found.time, found.state, validators=found.validators)

    def block(self, request: abci.RequestFinalizeBlock) -> bytes:
        """The app hash after a block."""
        self.app.finalize_block(request.height, request.time, list(request.txs))
        self.app.commit(None)
        return self.app.app_hash


def test_a_proposal_that_is_decided_is_executed_once(ledger: CometLedger, executed: list[int]) -> None:
    plain, connection = Plain(), Connection(ledger)
    assert ledger.info()[1] == plain.app.app_hash
    (said,) = connection.handle([proposal(ledger, *TXS)])
    connection.after()
    assert said == abci.ResponseProcessProposal(status=abci.ACCEPT)
    connection.handle([abci.Flush()])
    assert executed == []  # the answers come first
    connection.after()
    connection.after()
    assert executed == [len(TXS)]
    (done,) = connection.handle([finalize(ledger, *TXS)])
    assert executed == [len(TXS)]
    assert [one.code for one in done.tx_results] == [0, 0, 0, 7, 0]  # type: ignore[attr-defined]
    block = finalize(ledger, *TXS)
    connection.handle([abci.RequestCommit()])
    assert ledger.info() == (1, plain.block(block))
    assert done.app_hash == plain.app.app_hash  # type: ignore[attr-defined]


def test_nothing_of_a_proposal_is_seen_before_its_commit(ledger: CometLedger) -> None:
    before = ledger.info()
    assert [code for code, _cause in ledger.check_many(list(TXS[:2]), again=False)] == [0, 0]
    ledger.ahead(proposal(ledger, *TXS))
    assert ledger.info() == before
    assert ledger.query("all") == {"counter/first": 1}
    assert ledger.version() == 1
    # no majority voted for it: what it held still waits, and is proposed in the next round
    assert [code for code, _cause in ledger.check_many(list(TXS[:2]), again=True)] == [0, 0]
    assert ledger.propose(list(TXS), 1 << 20) == list(TXS)
    ledger.accept(list(TXS))
    ledger.stop()
    storage = Storage(ledger._file)
    assert Application(storage, Counter()).info() == before
    storage.close()


def test_what_is_no_sound_proposal_is_not_executed(ledger: CometLedger, executed: list[int]) -> None:
    connection = Connection(ledger)
    for txs in ((TXS[0], TXS[0]), (b"garbage",), (*TXS, TXS[1])):
        said, _flush = connection.handle([proposal(ledger, *txs), abci.Flush()])
        assert said == abci.ResponseProcessProposal(status=abci.REJECT)
        connection.after()
    assert executed == []


@pytest.mark.parametrize("decided", [(), TXS[:2], TXS[::-1], (*TXS, adding("e", 1))], ids=len)
def test_another_block_that_is_decided_is_what_was_executed(decided: tuple[bytes, ...], ledger: CometLedger) -> None:
    plain = Plain()
    ledger.ahead(proposal(ledger, *TXS))
    block = finalize(ledger, *decided)
    ledger.execute(block)
    ledger.persist()
    assert ledger.info() == (1, plain.block(block))


def test_the_same_transactions_at_another_time_are_another_block(ledger: CometLedger) -> None:
    """The contracts see a block's time, so what came of another time does not count."""
    plain = Plain()
    ledger.ahead(proposal(ledger, *TXS, later=5 * 10**9))
    block = finalize(ledger, *TXS)
    ledger.execute(block)
    ledger.persist()
    assert ledger.info() == (1, plain.block(block))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_proposed_the_state_is_that_of_what_is_decided(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plain = Plain()
    some = st.lists(st.sampled_from(TXS), max_size=4, unique=True)
    with contextlib.ExitStack() as over:
        ledger = comet_ledger(tmp_path_factory.mktemp("some"), start=False, program=Path("/nowhere"))
        over.callback(ledger.stop)
        for _height in range(data.draw(st.integers(1, 3))):
            for txs in data.draw(st.lists(some, max_size=3)):  # a round each
                ledger.ahead(proposal(ledger, *txs, later=data.draw(st.sampled_from([0, 0, 10**9]))))
            block = finalize(ledger, *data.draw(some))
            ledger.execute(block)
            if data.draw(st.booleans()):  # CometBFT died
                ledger.execute(block)
            ledger.persist()
            assert ledger.info()[1] == plain.block(block)


def test_a_proposal_that_was_not_decided_is_never_committed(ledger: CometLedger) -> None:
    ledger.ahead(proposal(ledger, *TXS))
    with pytest.raises(LedgerError, match="nothing was finalised"):
        ledger.persist()
    ledger.execute(finalize(ledger, *TXS))
    ledger.persist()
    ledger.ahead(proposal(ledger))
    with pytest.raises(LedgerError, match="nothing was finalised"):
        ledger.persist()
    assert ledger.info()[0] == 1


def test_signatures_of_a_dropped_proposal_are_not_verified_again(
    ledger: CometLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[int] = []
    inner = SignatureBatch.verify

    def counted(batch: SignatureBatch) -> list[bool]:
        verified.append(len(batch._keys))
        return inner(batch)

    monkeypatch.setattr(SignatureBatch, "verify", counted)
    ledger.accept(list(TXS))
    assert sum(verified) == len(TXS)
    ledger.ahead(proposal(ledger, *TXS))
    ledger.accept(list(TXS[1:]))
    ledger.execute(finalize(ledger, *TXS[1:]))
    ledger.persist()
    ledger.accept([TXS[0]])
    assert sum(verified) == len(TXS)


def test_a_proposal_under_rules_that_are_not_here_halts_nobody_before_it_is_decided(tmp_path: Path) -> None:
    ledger = comet_ledger(tmp_path, registry=Voted(), start=False, program=Path("/nowhere"))
    for _height in range(2):
        ledger.execute(finalize(ledger))
        ledger.persist()
    ledger.ahead(proposal(ledger))
    assert ledger.failed is None
    with pytest.raises(UpgradeNeeded, match=f"version {NEWER}"):
        ledger.execute(finalize(ledger))
    ledger.stop()


def test_a_proposal_of_another_height_ends_the_ledger_with_its_cause(ledger: CometLedger) -> None:
    """CometBFT asks for no such thing."""
    with pytest.raises(LedgerError, match="block 2 does not follow 0"):
        ledger.ahead(abci.RequestProcessProposal(height=2))


# -- over the socket ----------------------------------------------------------------------------------------------------


def asked(ledger: CometLedger, link: socket.socket, *txs: bytes) -> bool:
    """Whether both answers come, to a proposal and to the flush that CometBFT sends apart from it."""
    link.settimeout(SECONDS)
    link.connect(str(ledger._home.abci))
    for request, answer in (
        (proposal(ledger, *txs), abci.ResponseProcessProposal(status=abci.ACCEPT)),
        (abci.Flush(), abci.Flush()),
    ):
        link.sendall(frame(request_bytes(request)))
        wanted = abci.write_response(answer)
        if link.recv(len(wanted), socket.MSG_WAITALL) != wanted:
            return False
    return True


def test_the_answer_goes_out_before_the_proposal_is_executed(
    ledger: CometLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, done, in_time = threading.Event(), threading.Event(), []

    def ahead(_request: abci.RequestProcessProposal) -> None:
        in_time.append(answered.wait(SECONDS))
        done.set()

    monkeypatch.setattr(ledger, "ahead", ahead)
    ledger._server.start()
    with socket.socket(socket.AF_UNIX) as link:
        assert asked(ledger, link, *TXS)
        answered.set()
        assert done.wait(SECONDS)
    assert in_time == [True]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("fault", [LedgerError("the disk is full", remedy="free it"), KeyError("a defect")])
def test_a_fault_in_executing_ahead_ends_the_ledger(
    fault: Exception, ledger: CometLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[LedgerError] = []
    failed = threading.Event()
    ledger.when_failed(lambda cause: (told.append(cause), failed.set()))

    def broken(*_given: object) -> None:
        raise fault

    monkeypatch.setattr(Application, "finalize_block", broken)
    ledger._server.start()
    with socket.socket(socket.AF_UNIX) as link:
        assert asked(ledger, link, *TXS)
        assert failed.wait(SECONDS)
    assert told[0] is fault or "by a defect" in told[0].cause
