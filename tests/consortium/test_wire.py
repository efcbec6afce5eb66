"""A capture of the loopback while tasks run: TLS records alone on the nodes' ports, and no other socket of theirs."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import pytest
from consortium_world import delays, workflow

from fondaco.cli.demo.cast import WEATHER


def segments(capture: Path):
    """(source port, target port, sequence, payload) of every TCP segment over IPv4 on the loopback."""
    raw = capture.read_bytes()
    order = "<" if raw[:4] == b"\xd4\xc3\xb2\xa1" else ">"
    assert struct.unpack(order + "I", raw[20:24])[0] == 1, "an Ethernet capture"
    at = 24
    while at + 16 <= len(raw):
        size = struct.unpack(order + "IIII", raw[at : at + 16])[2]
        frame = raw[at + 16 : at + 16 + size]
        at += 16 + size
        if len(frame) < 54 or frame[12:14] != b"\x08\x00" or frame[23] != 6:
            continue
        packet = frame[14:]
        head = (packet[0] & 15) * 4
        total = struct.unpack(">H", packet[2:4])[0]
        tcp = packet[head:total]
        source, target, sequence = struct.unpack(">HHI", tcp[:8])
        yield source, target, sequence, tcp[(tcp[12] >> 4) * 4 :]


def streams(capture: Path, ports: set[int]) -> dict[tuple[int, int], bytes]:
    """Reassembled bytes of each direction of each connection to a node."""
    parts: dict[tuple[int, int], dict[int, bytes]] = defaultdict(dict)
    for source, target, sequence, payload in segments(capture):
        if payload and (source in ports or target in ports):
            kept = parts[(source, target)]
            if len(payload) > len(kept.get(sequence, b"")):
                kept[sequence] = payload
    found = {}
    for key, pieces in parts.items():
        whole, expected = bytearray(), None
        for sequence in sorted(pieces):
            if expected is not None and sequence != expected:
                continue
            whole += pieces[sequence]
            expected = (sequence + len(pieces[sequence])) & 0xFFFFFFFF
        found[key] = bytes(whole)
    return found


def records(data: bytes, *, began: bool) -> int:
    """How many TLS records; fails on anything else. A connection that was open before begins inside a record."""
    count = 0
    while len(data) >= 5 and began:
        kind, version, size = data[0], data[1:3], struct.unpack(">H", data[3:5])[0]
        assert kind in (20, 21, 22, 23), f"not a TLS record: {data[:16]!r}"
        assert version in (b"\x03\x01", b"\x03\x03"), version
        assert size <= 16384 + 256
        data = data[5 + size :]
        count += 1
    return count


def listening(pid: int) -> set[int]:
    """TCP ports that a process and its children listen on."""
    inodes = set()
    for process in [pid, *(int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]:
        for entry in Path(f"/proc/{process}/fd").iterdir():
            try:
                target = entry.readlink()
            except FileNotFoundError:
                continue
            if str(target).startswith("socket:["):
                inodes.add(str(target)[8:-1])
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
    program = shutil.which("tcpdump")
    assert program, "the capture test needs tcpdump: make system"
    capture = tmp_path / "loopback.pcap"
    watching = subprocess.Popen(
        [program, "-i", "lo", "-s", "0", "-B", "65536", "-U", "-w", str(capture), "tcp"], stderr=subprocess.PIPE
    )
    assert watching.stderr is not None
    assert b"listening" in watching.stderr.readline()
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
    watching.terminate()
    watching.wait(10)
    watching.stderr.close()
    assert seen_ports == set(ports.values())
    found = streams(capture, set(ports.values()))
    opened = {key: data for key, data in found.items() if data[:1] == b"\x16"}
    assert len(opened) >= 4, "no handshake was captured"
    counted = sum(records(data, began=True) for data in opened.values())
    assert counted > 50
    everything = b"".join(found.values())
    assert len(everything) > 50_000
    for needle in (b"SLOT-", b"NSHARED", b"fondaco-header", b"task.step", delays(3).to_bytes(8, "little"), b"tx-body"):
        assert needle not in everything, f"{needle!r} in the clear on the wire"
