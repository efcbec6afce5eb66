"""The check of a capture fails on what it must: a stream in the clear, a gap, and what is not a TLS record."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from wire_capture import check_tls

PORT = 4000
RECORD = b"\x16\x03\x03\x00\x04abcd"


def frame(source: int, target: int, sequence: int, payload: bytes, *, syn: bool = False) -> bytes:
    tcp = struct.pack(">HHIIBBHHH", source, target, sequence, 0, 0x50, 2 if syn else 0x18, 0, 0, 0) + payload
    packet = struct.pack(">BBHHHBBHII", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, 0x7F000001, 0x7F000001) + tcp
    raw = bytes(12) + b"\x08\x00" + packet
    return struct.pack("<IIII", 0, 0, len(raw), len(raw)) + raw


def written(tmp_path: Path, *frames: bytes) -> Path:
    file = tmp_path / "made.pcap"
    file.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(frames))
    return file


def begun(first: int, *payloads: bytes) -> list[bytes]:
    """A stream from its SYN on."""
    frames, place = [frame(9, PORT, first, b"", syn=True)], first + 1
    for payload in payloads:
        frames.append(frame(9, PORT, place & 0xFFFFFFFF, payload))
        place += len(payload)
    return frames


@pytest.mark.parametrize("first", [100, (1 << 32) - 6])
def test_records_are_counted_whatever_the_order_of_segments(tmp_path, first) -> None:
    syn, one, two = begun(first, RECORD, RECORD)
    assert check_tls(written(tmp_path, syn, one, two, one), {PORT}, (b"secret",)) == (1, 2, 18)


def test_a_stream_in_the_clear_is_found(tmp_path) -> None:
    with pytest.raises(AssertionError, match="does not begin with a handshake"):
        check_tls(written(tmp_path, *begun(1, b"GET / HTTP/1.1")), {PORT}, ())


def test_what_follows_a_record_must_be_one(tmp_path) -> None:
    with pytest.raises(AssertionError, match="not a TLS record"):
        check_tls(written(tmp_path, *begun(1, RECORD, b"plain text")), {PORT}, ())


def test_a_gap_is_found(tmp_path) -> None:
    syn, _lost, last = begun(1, RECORD, RECORD)
    first = frame(9, PORT, 2, RECORD[:4])
    with pytest.raises(AssertionError, match="lacks 5 bytes"):
        check_tls(written(tmp_path, syn, first, last), {PORT}, ())


def test_a_needle_is_found_in_a_stream_that_was_open_before(tmp_path) -> None:
    with pytest.raises(AssertionError, match="in the clear"):
        check_tls(written(tmp_path, frame(9, PORT, 5, b"the secret")), {PORT}, (b"secret",))
