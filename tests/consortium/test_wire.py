"""A capture of the loopback while tasks run: TLS records alone on the nodes' ports, and no other socket of theirs."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
from consortium_world import delays, workflow
from wire_capture import capturing, check_tls

from fondaco.cli.demo.cast import WEATHER


def sockets(pid: int) -> set[str]:
    """Inodes of the sockets that a process holds.

    Raises:
        FileNotFoundError: the process has ended.
    """
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = entry.readlink()
        except FileNotFoundError:
            continue
        if str(target).startswith("socket:["):
            inodes.add(str(target)[8:-1])
    return inodes


def listening(pid: int) -> set[int]:
    """TCP ports that a process and its children listen on; a child that ends while it is looked at listens on none."""
    children = [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    inodes = sockets(pid)
    for child in children:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            inodes |= sockets(child)
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


@pytest.mark.timeout(180)
def test_the_wire_carries_tls_alone(world, tmp_path) -> None:
    cast, _sources = world
    ports = {org: cast[org].ask("status")["port"] for org in cast.actors}
    capture = tmp_path / "loopback.pcap"
    with capturing(capture):
        run_watched(cast, ports)
    needles = (b"SLOT-", b"NSHARED", b"fondaco-header", b"task.step", delays(3).to_bytes(8, "little"), b"tx-body")
    begun, counted, size = check_tls(capture, set(ports.values()), needles)
    assert begun >= 4, "no handshake was captured"
    assert counted > 50
    assert size > 50_000


def run_watched(cast, ports: dict[str, int]) -> None:
    """Run a task over new links, while every node listens on its one port alone."""
    # New links, so that the capture has their handshakes: the weather service's node starts afresh.
    cast[WEATHER].stop()
    cast[WEATHER].start()
    cast[WEATHER].ready()
    task = cast[WEATHER].ask("run", workflow=workflow(), wait=False)["task"]
    seen_ports = set()
    deadline = time.monotonic() + 90
    while cast[WEATHER].ask("task", task=task)["status"] != "settled":
        assert time.monotonic() < deadline, "the task did not settle"
        for org, actor in cast.actors.items():
            assert actor.process is not None
            assert listening(actor.process.pid) == {ports[org]}, f"{org} listens on one port alone"
            seen_ports.add(ports[org])
    assert seen_ports == set(ports.values())
