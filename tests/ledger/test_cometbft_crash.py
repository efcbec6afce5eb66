"""Killed at each step of FinalizeBlock and Commit, on either side of the socket: nothing is lost, nothing done twice."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from comet_world import comet_ledger
from ledger_world import Counter, adding, counter_genesis

from fondaco.errors import LedgerError
from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.cometbft.home import Home
from fondaco.ledger.cometbft.process import Supervisor, find_program, text_of
from fondaco.ledger.follower import FollowerLedger

SECONDS = 40
CHILD = """
import json, os, signal, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from comet_world import comet_ledger
from ledger_world import adding
from fondaco.ledger.application import Application
from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.cometbft.pending import Pending
from fondaco.ledger.storage import Storage

point = sys.argv[2]
armed = []

def around(owner, name, when):
    inner = getattr(owner, name)
    def work(*args, **named):
        if armed and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        found = inner(*args, **named)
        if armed and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    setattr(owner, name, work)

POINTS = {
    "before-execution": (Application, "finalize_block", "before"),
    "after-execution": (Application, "finalize_block", "after"),
    "before-decided": (CometLedger, "execute", "before"),
    "after-decided": (CometLedger, "execute", "after"),
    "before-commit": (CometLedger, "persist", "before"),
    "before-values": (Storage, "put_values", "before"),
    "after-values": (Storage, "put_values", "after"),
    "after-pages": (Storage, "put_pages", "after"),
    "after-commit": (Storage, "write", "after"),
    "before-answer": (CometLedger, "_announce", "before"),
}
around(*POINTS[point])
ledger = comet_ledger(Path(sys.argv[1]))
for n in range(2):
    ledger.submit(adding("n", 1, number=n.to_bytes(16, "big"))).result(30)
ledger.wait_provable(30)
print(json.dumps({"pid": ledger.supervisor.pid, "height": ledger.height}), flush=True)
armed.append(True)
ledger.submit(adding("n", 50, number=b"x" * 16)).result(30)
"""
POINTS = (
    "before-execution",
    "after-execution",
    "before-decided",
    "after-decided",
    "before-commit",
    "before-values",
    "after-values",
    "after-pages",
    "after-commit",
    "before-answer",
)


def whole(ledger: CometLedger, count: int) -> None:
    """The next block can be made, each was executed once, and a stranger who re-executes all gets the same hash."""
    assert ledger.submit(adding("after", 1, expires=ledger.height + 500)).result(SECONDS).result.code == 0
    ledger.wait_provable(SECONDS)
    assert ledger.query("all") == {"counter/first": 1, "counter/n": count, "counter/after": 1}
    follower = FollowerLedger(None, counter_genesis(), Counter())
    for data in ledger.blocks(1, 10_000, 1 << 30):
        follower.apply(data)
    assert follower.height == ledger._tip.header.height  # type: ignore[union-attr]
    assert follower.query("all") == ledger.query("all")
    mine, theirs = ledger.status(), follower.status()
    assert (mine.app_hash, mine.events) == (theirs.app_hash, theirs.events)
    follower.close()


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int) -> None:
    """Wait until a process has ended."""
    deadline = time.monotonic() + SECONDS
    while _runs(pid):
        assert time.monotonic() < deadline, "CometBFT outlived the application"
        time.sleep(0.02)


@pytest.mark.parametrize("point", POINTS)
def test_an_application_killed_at_a_point_goes_on_with_all_that_was_decided(point: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path), point, str(Path(__file__).parent)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = child.communicate(timeout=SECONDS)
    assert child.returncode == -signal.SIGKILL, err
    gone(json.loads(out)["pid"])  # CometBFT ends by itself when its application is gone
    ledger = comet_ledger(tmp_path)
    try:
        whole(ledger, 52)
    finally:
        ledger.stop()


@pytest.mark.parametrize("step", range(11, 23))
def test_cometbft_that_dies_at_its_own_failpoints_goes_on(step: int, tmp_path: Path) -> None:
    """FAIL_TEST_INDEX ends CometBFT at a step of its FinalizeBlock and Commit; it is started again without."""
    program = tmp_path / "once"
    marker = tmp_path / "died"
    program.write_text(
        f"#!/bin/sh\nif [ ! -e {marker} ]; then touch {marker}; export FAIL_TEST_INDEX={step}; fi\n"
        f'exec {find_program()} "$@"\n'
    )
    program.chmod(0o700)
    ledger = comet_ledger(tmp_path, program=program)
    try:
        futures = [ledger.submit(adding("n", 1, number=n.to_bytes(16, "big"))) for n in range(3)]
        for n in range(3, 6):
            futures.append(ledger.submit(adding("n", 1, number=n.to_bytes(16, "big"))))
            assert futures[-1].result(SECONDS).result.code == 0
        assert all(future.result(SECONDS).result.code == 0 for future in futures)
        assert ledger.supervisor.starts == 2
        whole(ledger, 6)
    finally:
        ledger.stop()


def test_cometbft_killed_with_transactions_in_its_mempool_loses_none(tmp_path: Path) -> None:
    ledger = comet_ledger(tmp_path)
    try:
        ledger.submit(adding("n", 1)).result(SECONDS)
        futures = [ledger.submit(adding("n", 1)) for _n in range(300)]
        pid = ledger.supervisor.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: "exit code -9" in (ledger.trouble or ""))
        assert all(future.result(SECONDS).result.code == 0 for future in futures)
        until(lambda: ledger.trouble is None)  # blocks are made again
        whole(ledger, 301)
    finally:
        ledger.stop()


# -- the supervisor -----------------------------------------------------------------------------------------------------


def failing(tmp_path: Path, script: str) -> Supervisor:
    """A supervisor of a program that is this script."""
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    return Supervisor(Home(tmp_path), program=program)


def until(condition: object, seconds: float = SECONDS) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_program_that_ends_is_started_again_and_its_words_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fondaco.ledger.cometbft.process.FIRST_PAUSE", 0.01)
    line = '{"level":"error","_msg":"it hurts","err":"a reason"}'
    supervisor = failing(tmp_path, f"echo '{line}'; exit 3")
    with caplog.at_level(logging.WARNING):
        supervisor.start()
        until(lambda: supervisor.starts >= 3)
    supervisor.stop()
    assert "exit code 3" in (supervisor.trouble or "")
    assert "it hurts (a reason)" in (supervisor.trouble or "")
    assert "it hurts (a reason)" in caplog.text
    assert line in (tmp_path / "cometbft.log").read_text()
    assert supervisor.pid is None


def test_a_program_that_cannot_be_run_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fondaco.ledger.cometbft.process.FIRST_PAUSE", 0.01)
    supervisor = failing(tmp_path, "while true; do sleep 0.05; done")
    (tmp_path / "program").rename(tmp_path / "elsewhere")
    supervisor.start()
    until(lambda: "cannot be run" in (supervisor.trouble or ""))
    supervisor.made_block()  # of a run before
    assert "No such file" in (supervisor.trouble or "")
    (tmp_path / "elsewhere").rename(tmp_path / "program")
    until(lambda: supervisor.pid is not None)
    monkeypatch.setattr("fondaco.ledger.cometbft.process.STEADY", 0.0)
    until(lambda: supervisor.trouble is None)
    supervisor.stop()


@pytest.mark.parametrize("mode", [None, 0o600])
def test_a_named_program_that_is_none_is_refused(
    mode: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program"
    if mode is not None:
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)
    monkeypatch.setenv("FONDACO_COMETBFT", str(program))
    with pytest.raises(LedgerError, match="cannot be run"):
        find_program()


def test_a_program_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fondaco.ledger.cometbft.process.STOP_SECONDS", 0.3)
    supervisor = failing(tmp_path, "trap '' TERM\necho ready\nwhile true; do sleep 0.05; done")
    supervisor.start()
    until(lambda: (tmp_path / "cometbft.log").exists() and b"ready" in (tmp_path / "cometbft.log").read_bytes())
    pid = supervisor.pid
    supervisor.stop()
    assert pid is not None
    gone(pid)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"level":"info","_msg":"hello"}', ("info", "hello")),
        (b"panic: it broke", ("", "panic: it broke")),
        (b"\xff\xfe", ("", "\ufffd\ufffd")),
        (b"[1, 2]", None),
        (b"\n", None),
        (b"[" * 60_000, ("", "[" * 500)),
    ],
)
def test_any_line_is_heard(line: bytes, said: tuple[str, str] | None) -> None:
    assert text_of(line) == said
