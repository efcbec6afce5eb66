"""The small messages of a meeting: any bytes in their place are taken for what they are, or refused by the peer's name."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco.core.messages import to_bytes
from fondaco.engines.base import BadJob, EngineStopped
from fondaco.engines.psi import operations, session

MANY = settings(max_examples=200)


class Says:
    """A channel whose other end says what the test says."""

    peer = "weather"

    def __init__(self, *said: bytes) -> None:
        self.said = list(said)

    def send(self, data: bytes) -> None:
        """Nobody listens."""

    def receive(self, limit: int) -> bytes:
        data = self.said.pop(0)
        if len(data) > limit:
            raise EngineStopped("weather announced too much", remedy="again")
        return data


@contextlib.contextmanager
def named():
    """Either all goes well, or the peer is named."""
    try:
        yield
    except (EngineStopped, BadJob) as fault:
        assert "weather" in fault.cause


@MANY
@given(st.binary(max_size=300))
def test_any_bytes_for_a_greeting_a_size_or_a_decision(raw) -> None:
    with named():
        session.agree_key(Says(raw), rank=0, security="semi-honest", terms=b"")
    with named():
        assert 0 <= session.agree_sizes(Says(raw), 5) <= session.MAX_ROWS
    meeting = SimpleNamespace(channel=Says(raw))
    with named():
        assert operations._enough(meeting, None) in (True, False)


@MANY
@given(st.binary(max_size=70), st.sampled_from(["semi-honest", "malicious", ""]), st.binary(max_size=40), st.binary())
def test_a_greeting_of_any_fields(share, security, terms, past) -> None:
    greeting = to_bytes(session.Greeting(share=share, security=security, terms=terms, past=past))
    with named():
        key = session.agree_key(Says(greeting), rank=1, security="semi-honest", terms=b"t" * 32, past=bytes(32))
        assert len(key) == 32
        assert key != bytes(32), "nobody but who kept it can name a key"


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_a_size_of_any_number(rows) -> None:
    if 0 <= rows <= session.MAX_ROWS:
        assert session.agree_sizes(Says(to_bytes(session.Size(rows=rows))), 1) == rows
        return
    with pytest.raises(EngineStopped, match="out of bounds"):
        session.agree_sizes(Says(to_bytes(session.Size(rows=rows))), 1)
