"""The CometBFT process of a node: found, started, watched, restarted with growing pauses, and asked to stop.

CometBFT writes a JSON line a message. Its errors go into our log as it says them; everything goes to `cometbft.log`
beside its home, which is begun anew when it is over 16 MiB. A process that dies is started again after 0.5 s, then
twice as long each time up to 30 s; a run of a minute begins the count again. The pause and the last words are told
by `trouble`, until it has made a block again or has run for that minute. It trusts the program that it finds, which
`make chain` built from pinned sources.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from fondaco.errors import LedgerError
from fondaco.ledger.cometbft.home import Home

_log = logging.getLogger(__name__)
PROGRAM = "FONDACO_COMETBFT"
FIRST_PAUSE, LONGEST_PAUSE, STEADY = 0.5, 30.0, 60.0
STOP_SECONDS = 20.0
_MAX_LOG = 16 << 20
_MAX_LINE = 1 << 16
_MAX_SAID = 500


def find_program() -> Path:
    """The CometBFT program: $FONDACO_COMETBFT, the one that `make chain` built, or `fondaco-cometbft` on the path.

    Raises:
        LedgerError: there is none, or it is no program.
    """
    named = os.environ.get(PROGRAM)
    remedy = f"run `make chain`, or name the program in {PROGRAM}"
    built = Path(__file__).parents[4] / "build" / "cometbft"
    for found in (named, built if built.exists() else None, shutil.which("fondaco-cometbft")):
        if not found:
            continue
        program = Path(found)
        if not program.is_file() or not os.access(program, os.X_OK):
            raise LedgerError("CometBFT cannot be run", remedy=remedy, file=str(program))
        return program
    raise LedgerError(
        "CometBFT is not here, which a ledger of several validators needs",
        remedy=remedy,
    )


class Supervisor:
    """Keeps one CometBFT running until told to stop."""

    def __init__(
        self, home: Home, *, program: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._home = home
        self._program = program or find_program()
        self._environment = {**os.environ, **(environment or {})}
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._said = ""
        self._trouble: str | None = None
        self._began = 0.0
        self.starts = 0
        self._thread = threading.Thread(target=self._run, name="cometbft", daemon=True)

    def start(self) -> None:
        """Start it, and keep it running from a thread of its own."""
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """The running process, or None between two."""
        with self._lock:
            found = self._process
        return found.pid if found is not None and found.poll() is None else None

    @property
    def trouble(self) -> str | None:
        """Why it ended last, and when it is started again; None when all is well."""
        if self.pid is not None and time.monotonic() - self._began > STEADY:
            return None
        return self._trouble

    def made_block(self) -> None:
        """The application committed a block, so what runs now is well."""
        if self._trouble is not None and self.pid is not None:
            self._trouble = None

    def give_up(self) -> None:
        """Do not start it again when it ends: the application cannot go on."""
        self._stopping.set()

    def stop(self) -> None:
        """Ask it to stop, and end it when it does not."""
        self._stopping.set()
        with self._lock:
            found = self._process
        if found is not None and found.poll() is None:
            found.send_signal(signal.SIGCONT)
            found.terminate()
            try:
                found.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                _log.warning("CometBFT did not stop in %d s and was killed", STOP_SECONDS)
                found.kill()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            self._began = time.monotonic()
            try:
                ended = f"CometBFT ended (exit code {self._once()})"
            except OSError as fault:
                ended = f"CometBFT cannot be run ({fault})"
            if self._stopping.is_set():
                return
            if time.monotonic() - self._began > STEADY:
                pause = FIRST_PAUSE
            said = f" Its last words: {self._said}" if self._said else ""
            self._trouble = f"{ended}; again in {pause:g} s.{said}"
            _log.warning("%s", self._trouble)
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _once(self) -> int:
        log = self._home.path / "cometbft.log"
        too_large = log.exists() and log.stat().st_size > _MAX_LOG
        with contextlib.suppress(FileNotFoundError):
            self._home.rpc.unlink()
        with log.open("wb" if too_large else "ab") as file:
            with self._lock:
                if self._stopping.is_set():
                    return 0
                self._process = subprocess.Popen(
                    [str(self._program), "start", "--home", str(self._home.path)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    start_new_session=True,
                )
                self.starts += 1
            assert self._process.stdout is not None
            size = file.tell()
            with self._process.stdout as lines:
                while line := lines.readline(_MAX_LINE):
                    if size < _MAX_LOG:
                        size += file.write(line)
                        file.flush()
                    self._hear(line)
            return self._process.wait()

    def _hear(self, line: bytes) -> None:
        said = text_of(line)
        if said is None:
            return
        level, words = said
        if level == "error":
            self._said = words
            if not self._stopping.is_set():  # while it closes its sockets it calls that an error
                _log.warning("CometBFT: %s", words)
        elif level == "" and words:
            self._said = words


def text_of(line: bytes) -> tuple[str, str] | None:
    """Level and words of a line that CometBFT wrote; level "" when it is no JSON (a panic), None for nothing."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        words = line.decode("utf-8", "replace").strip()
        return ("", words[:_MAX_SAID]) if words else None
    if not isinstance(found, dict):
        return None
    words = str(found.get("_msg", ""))
    cause = found.get("err")
    return str(found.get("level", "")), (f"{words} ({cause})" if cause else words)[:_MAX_SAID]


def wait_until(condition: Callable[[], bool], seconds: float, what: str, supervisor: Supervisor) -> None:
    """Poll until `condition` holds.

    Raises:
        LedgerError: not in time; says what CometBFT said.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LedgerError(
                f"{what} did not happen in {seconds:g} s; CometBFT: {supervisor.trouble or 'runs'}",
                remedy="look at cometbft.log in the ledger's folder",
            )
        time.sleep(0.02)
