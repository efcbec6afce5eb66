"""The cast: four nodes as processes of their own, each with its folder and one port on this machine."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from fondaco.cli.processes import launch, wait_ready
from fondaco.errors import NodeError
from fondaco.node import control

REGULATOR, AIRLINE, AUTHORITY, WEATHER = "regulator", "airline", "authority", "weather"
TITLES = {
    REGULATOR: "Office of Air Transport, regulator and coordinator",
    AIRLINE: "Three Airports Airline",
    AUTHORITY: "Civil Aviation Authority",
    WEATHER: "National Weather Service",
}
MEMBERS = (AIRLINE, AUTHORITY, WEATHER)
CHAIN = "open-skies"


@dataclasses.dataclass
class Actor:
    """One institution: its folder and its running node."""

    org: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the node; `ready` waits for it."""
        self.process = launch(self.folder)

    def ready(self) -> dict[str, Any]:
        """Until the node answers; its status."""
        if self.process is None:
            raise NodeError("the node was not started", remedy="start it", organisation=self.org)
        return wait_ready(self.folder, self.process)

    def ask(self, verb: str, *, deadline: float = 300.0, **arguments: Any) -> Any:
        """Ask the node, as the command line does."""
        return control.ask(self.folder, verb, arguments, deadline=deadline)

    def kill(self) -> None:
        """SIGKILL, no warning."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """SIGTERM, then wait; SIGKILL when it does not end."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


def command(*words: str) -> str:
    """Run a `fondaco` command as a person would; what it printed.

    Raises:
        NodeError: it failed; says what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", "fondaco.cli.main", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise NodeError(f"fondaco {words[0]} failed: {done.stderr.strip()}", remedy="see the message")
    return done.stdout


class Cast:
    """All four, begun and joined."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.actors = {org: Actor(org, folder / org) for org in TITLES}

    def __getitem__(self, org: str) -> Actor:
        return self.actors[org]

    def begin(self) -> None:
        """Found the consortium, invite and join the members, start all nodes."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        founder = self[REGULATOR]
        command(
            "init", "--org", REGULATOR, "--title", TITLES[REGULATOR], "--kind", "regulator",
            "--dir", str(founder.folder), "--found", CHAIN,
        )  # fmt: skip
        founder.start()
        made = [
            subprocess.Popen(
                [sys.executable, "-m", "fondaco.cli.main", "init", "--org", org, "--title", TITLES[org],
                 "--dir", str(self[org].folder)],
                stdout=subprocess.DEVNULL,
            )
            for org in MEMBERS
        ]  # fmt: skip
        founder.ready()
        for org, process in zip(MEMBERS, made, strict=True):
            if process.wait(60):
                raise NodeError(f"fondaco init failed for {org}", remedy="see the message above")
            invitation = self.folder / f"{org}.invitation"
            founder.ask("invite", organisation=org, file=str(invitation))
            command("join", str(invitation), "--dir", str(self[org].folder))
            invitation.unlink()
            self[org].start()
        for org in MEMBERS:
            self[org].ready()

    def end(self) -> None:
        """Stop all nodes."""
        for actor in self.actors.values():
            actor.stop()
