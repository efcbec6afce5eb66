"""One validator of a network as a process, in a network namespace of its own where the machine allows it.

The namespaces hang on a bridge in a hub namespace of their own, so nothing of the machine's network is touched; every
packet stays in them. Where namespaces cannot be made, all run on loopback ports, and a cut is made by pausing the
CometBFT process, whose links then are as silent as cut ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ledger_world import key

from fondaco.core.messages import to_bytes
from fondaco.ledger.application import APP_VERSION
from fondaco.ledger.cometbft.home import Config, Home, StateSync, node_id
from fondaco.ledger.genesis import Genesis

DEADLINE = 90.0
TESTS = Path(__file__).parent


class Unreachable(Exception):
    """The process is not there, or does not answer."""


# -- where they run -----------------------------------------------------------------------------------------------------


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


def namespaces_allowed() -> bool:
    """Whether this process may make network namespaces."""
    name = f"fdc{os.getpid()}probe"
    try:
        _ip("netns", "add", name)
        _ip("netns", "del", name)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


class Wires:
    """Addresses, and cutting one off."""

    def __init__(self) -> None:
        self.namespaces = namespaces_allowed()
        self._hub = f"fdc{os.getpid()}hub"
        self._made: list[str] = []
        if self.namespaces:
            self._make(self._hub)
            _ip("-n", self._hub, "link", "add", "bridge0", "type", "bridge")
            _ip("-n", self._hub, "link", "set", "bridge0", "up")

    def _make(self, name: str) -> None:
        _ip("netns", "add", name)
        self._made.append(name)
        _ip("-n", name, "link", "set", "lo", "up")

    def attach(self, number: int) -> str:
        """Make the place of a validator; the address that it listens on."""
        if not self.namespaces:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                return f"127.0.0.1:{probe.getsockname()[1]}"
        name, wire = self.name(number), f"v{number}"
        self._make(name)
        _ip("-n", self._hub, "link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("-n", self._hub, "link", "set", wire, "master", "bridge0", "up")
        _ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        return f"10.77.0.{number}:26656"

    def name(self, number: int) -> str:
        """A validator's namespace."""
        return f"fdc{os.getpid()}v{number}"

    def inside(self, number: int, command: list[str]) -> list[str]:
        """A command, to be run in a validator's namespace."""
        return ["ip", "netns", "exec", self.name(number), *command] if self.namespaces else command

    def cut(self, number: int, *, on: bool) -> None:
        """Take a validator's wire away, or give it back."""
        _ip("-n", self._hub, "link", "set", f"v{number}", "down" if on else "up")

    def remove(self) -> None:
        """Remove every namespace that was made."""
        for name in reversed(self._made):
            with contextlib.suppress(subprocess.SubprocessError):
                _ip("netns", "del", name)


# -- one validator --------------------------------------------------------------------------------------------------------


class Node:
    """One validator's process and folder."""

    def __init__(self, wires: Wires, path: Path, number: int) -> None:
        self.number = number
        self.name = f"org-{number}"
        self.folder = path / f"v{number}"
        self.address = wires.attach(number)
        self._wires = wires
        self._process: subprocess.Popen[bytes] | None = None
        self.lies, self.rules = False, APP_VERSION
        self.peer = key(f"{self.name}/peer")
        self.validator = key(f"{self.name}/validator")

    @property
    def peer_address(self) -> str:
        """How the others find it."""
        return f"{node_id(self.peer.public)}@{self.address}"

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def make(self, genesis: Genesis, peers: Iterable[str], state_sync: StateSync | None = None) -> None:
        """Write its folder."""
        self.folder.mkdir()
        (self.folder / "genesis").write_bytes(to_bytes(genesis))
        config = Config(
            moniker=self.name,
            listen=self.address,
            peers=tuple(peers),
            timeout_commit=200,
            timeout_propose=1000,
            heartbeat=2000,
            same_host=True,
            state_sync=state_sync,
        )
        Home(self.folder / "c").write(genesis, self.validator, self.peer, config)

    def start(self) -> None:
        """Start its process, and wait until it answers."""
        command = [sys.executable, str(TESTS / "validator_process.py"), str(self.folder)]
        command += ["--lies"] if self.lies else []
        command += ["--rules", str(self.rules)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._wires.inside(self.number, command), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(lambda: self.ask_or_none({"verb": "status"}) is not None, f"{self.name} answers")

    def stop(self) -> None:
        """Stop it in good order."""
        if self._process is not None:
            self.pause(on=False)
            self._process.terminate()
            assert self._process.wait(DEADLINE) == 0, (self.folder / "log").read_text()[-3000:]

    def kill(self) -> None:
        """SIGKILL; CometBFT ends when it finds its application gone."""
        assert self._process is not None
        pid = self._cometbft()
        self._process.kill()
        self._process.wait(DEADLINE)
        if pid is not None:
            until(lambda: not _alive(pid), "CometBFT ends with its application")

    def _cometbft(self) -> int | None:
        said = self.ask_or_none({"verb": "status"})
        found: int | None = None if said is None else said["pid"]
        return found

    def pause(self, *, on: bool) -> None:
        """SIGSTOP or SIGCONT to all of it."""
        assert self._process is not None
        pid = self._paused if not on else self._cometbft()
        self._paused = pid if on else None
        for one in (pid, self._process.pid):
            if one is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, signal.SIGSTOP if on else signal.SIGCONT)

    _paused: int | None = None

    def cut(self, *, on: bool) -> None:
        """Cut it off, or link it again."""
        if self._wires.namespaces:
            self._wires.cut(self.number, on=on)
            return
        pid = self._paused if not on else self._cometbft()
        self._paused = pid if on else None
        if pid is not None:
            os.kill(pid, signal.SIGSTOP if on else signal.SIGCONT)

    def ask(self, request: dict[str, Any], seconds: float = 30.0) -> Any:
        """Ask its process.

        Raises:
            Unreachable: it does not run, or does not answer in time.
        """
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(seconds)
                link.connect(str(self.folder / "control"))
                link.sendall(json.dumps(request).encode() + b"\n")
                with link.makefile("rb") as lines:
                    line = lines.readline()
        except OSError as fault:
            raise Unreachable(self.name) from fault
        if not line:
            raise Unreachable(self.name)
        return json.loads(line)

    def ask_or_none(self, request: dict[str, Any], seconds: float = 5.0) -> Any:
        """As `ask`; None when it is not reached."""
        with contextlib.suppress(Unreachable):
            return self.ask(request, seconds)
        return None

    @property
    def height(self) -> int:
        """Its last committed height."""
        return int(self.ask({"verb": "status"})["height"])


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def until(condition: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
    """Wait for a condition, with a deadline that names it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.1)
