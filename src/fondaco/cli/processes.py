"""Nodes as processes of this machine: launch one and wait until it answers; stop some and wait until they ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fondaco.errors import DeadlineExceeded, NodeError
from fondaco.node import control
from fondaco.node.folder import Folder

_START_SECONDS = 60.0
_STOP_SECONDS = 120.0
"""CometBFT has 20 s to end, the disk 60 s for the last block; the rest is little."""
_ASK_SECONDS = 10.0
_LAST_LINES, _LAST_BYTES = 3, 2000


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def launch(folder: Path) -> subprocess.Popen[bytes]:
    """Start a node as a process of its own, its log in its folder; does not wait."""
    with (folder / "node.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "fondaco.cli.main", "start", "--dir", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _last_words(folder: Path) -> str:
    """What a node that ended wrote last to its log, on one line."""
    with (folder / "node.log").open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _LAST_BYTES))
        lines = log.read().decode("utf-8", "replace").splitlines()
    return "; ".join(line.strip() for line in lines[-_LAST_LINES:])


def wait_ready(folder: Path, process: subprocess.Popen[bytes], seconds: float = _START_SECONDS) -> dict[str, Any]:
    """Until a launched node answers; its status.

    Raises:
        NodeError: it ended, or did not answer in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return dict(control.ask(folder, "status", {}, deadline=5.0))
        except NodeError as fault:
            if process.poll() is not None:
                raise NodeError(
                    f"the node ended at once (exit code {process.returncode}): {_last_words(folder)}",
                    remedy=f"do what it says; more is in {folder}/node.log",
                ) from fault
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def stop(folders: Iterable[Path], seconds: float = _STOP_SECONDS) -> None:
    """Ask nodes to stop, and wait until each has let go of its folder: its ledger is closed, and it can start again.

    One that starts or ends has its folder and does not answer: it is asked as soon as it does. One that does not run
    has ended.

    Raises:
        DeadlineExceeded: some have not ended in time, and are named.
    """
    left, asked = list(folders), dict[Path, None]()
    deadline = time.monotonic() + seconds
    while left := [folder for folder in left if Folder(folder).held()]:
        for folder in left:
            if folder not in asked and _asked(folder):
                asked[folder] = None
        if time.monotonic() > deadline:
            raise DeadlineExceeded(
                f"{', '.join(folder.resolve().name for folder in left)} did not end in time and still has its folder",
                remedy="look at node.log there; what does not end can be killed, and loses nothing that was answered",
                seconds=int(seconds),
            )
        time.sleep(0.05)


def _asked(folder: Path) -> bool:
    """Whether a node was reached and told to stop."""
    try:
        control.ask(folder, "stop", {}, deadline=_ASK_SECONDS)
    except NodeError:  # its door is not open yet, or not any more
        return False
    return True
