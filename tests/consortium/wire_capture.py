"""A capture of the loopback by tcpdump, and what a test asks of it: streams of the nodes' ports, TLS records alone."""

from __future__ import annotations

import contextlib
import shutil
import struct
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def capturing(file: Path) -> Iterator[None]:
    """Capture all TCP of the loopback into a file while the block runs; tcpdump must have lost nothing."""
    program = shutil.which("tcpdump")
    assert program, "the capture tests need tcpdump: make system"
    watching = subprocess.Popen(
        [program, "-i", "lo", "-s", "0", "-B", "262144", "-U", "-w", str(file), "tcp"], stderr=subprocess.PIPE
    )
    try:
        assert watching.stderr is not None
        assert b"listening" in watching.stderr.readline()
        yield
    finally:
        watching.terminate()
        _out, said = watching.communicate(timeout=20)
    assert b"\n0 packets dropped by kernel" in said, said


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
        whole, first = bytearray(), next(iter(pieces))
        # Places counted from the first segment seen, so that a sequence number may wrap around.
        for place, piece in sorted(((sequence - first) & 0xFFFFFFFF, piece) for sequence, piece in pieces.items()):
            assert place <= len(whole), f"the capture lacks {place - len(whole)} bytes of the stream {key}"
            whole += piece[len(whole) - place :]  # what was sent again is there already
        found[key] = bytes(whole)
    return found


def records(data: bytes) -> int:
    """How many TLS records a stream is from its first byte on; fails on anything else."""
    count = 0
    while len(data) >= 5:
        kind, version, size = data[0], data[1:3], struct.unpack(">H", data[3:5])[0]
        assert kind in (20, 21, 22, 23), f"not a TLS record: {data[:16]!r}"
        assert version in (b"\x03\x01", b"\x03\x03"), version
        assert size <= 16384 + 256
        data = data[5 + size :]
        count += 1
    return count


def check_tls(capture: Path, ports: set[int], needles: tuple[bytes, ...]) -> tuple[int, int, int]:
    """Every stream that began in the capture is TLS records to its end, and no needle is in any stream.

    How many such streams, records in them, and bytes in all streams of the ports.
    """
    found = streams(capture, ports)
    opened = [data for data in found.values() if data[:1] == b"\x16"]
    counted = sum(records(data) for data in opened)
    everything = b"".join(found.values())
    for needle in needles:
        assert needle not in everything, f"{needle!r} in the clear on the wire"
    return len(opened), counted, len(everything)
