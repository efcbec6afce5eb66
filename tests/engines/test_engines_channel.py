"""The channel of two workers: bounded, in time, and clear about who broke it."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest
from engines_world import jobs
from hypothesis import given
from hypothesis import strategies as st

from fondaco.core.messages import to_bytes
from fondaco.engines.base import BadJob, EngineStopped
from fondaco.engines.channel import Channel, Hello, connect, run_digest, socket_name


def channels(seconds: float = 5.0) -> tuple[Channel, Channel]:
    one, two = socket.socketpair()
    end = time.monotonic() + seconds
    return Channel(one, peer="beta", end=end), Channel(two, peer="alpha", end=end)


def raw(seconds: float = 5.0) -> tuple[Channel, socket.socket]:
    one, two = socket.socketpair()
    return Channel(one, peer="beta", end=time.monotonic() + seconds), two


@given(st.lists(st.binary(max_size=2000), max_size=5))
def test_messages_arrive_whole_and_in_order(messages) -> None:
    one, two = channels()
    with one, two:
        for data in messages:
            one.send(data)
        assert [two.receive(2000) for _ in messages] == messages
        assert one.sent == two.received == sum(8 + len(data) for data in messages)


def test_a_message_larger_than_the_sockets_buffers_arrives() -> None:
    one, two = channels(20.0)
    data = bytes(range(256)) * 40_000
    with one, two:
        sender = threading.Thread(target=one.send, args=(data,))
        sender.start()
        assert two.receive(len(data)) == data
        sender.join()


@given(st.integers(101, (1 << 64) - 2))
def test_a_length_above_the_limit_is_refused_before_it_is_read(size) -> None:
    one, far = raw()
    with one, far:
        far.sendall(size.to_bytes(8, "big"))
        with pytest.raises(EngineStopped, match="at most 100"):
            one.receive(100)


@given(st.binary(min_size=1, max_size=60))
def test_a_link_cut_anywhere_names_the_peer(begin) -> None:
    one, far = raw()
    whole = (100).to_bytes(8, "big") + bytes(100)
    with one:
        far.sendall(whole[: len(begin)])
        far.close()
        with pytest.raises(EngineStopped, match="the link to beta broke"):
            one.receive(100)


def test_a_silent_peer_is_named_at_the_deadline_and_not_later() -> None:
    one, far = raw(0.2)
    began = time.monotonic()
    with one, far:
        with pytest.raises(EngineStopped, match="beta did not say anything"):
            one.receive(100)
        with pytest.raises(EngineStopped, match="beta did not take a message"):
            one.send(b"late")
    assert time.monotonic() - began < 5


def test_a_peer_that_trickles_does_not_move_the_deadline() -> None:
    one, far = raw(0.5)
    stop = threading.Event()

    def trickle() -> None:
        far.sendall((10_000).to_bytes(8, "big"))
        while not stop.wait(0.05):
            far.sendall(b"x")

    with one, far:
        thread = threading.Thread(target=trickle)
        thread.start()
        began = time.monotonic()
        with pytest.raises(EngineStopped, match="beta did not say anything"):
            one.receive(10_000)
        assert time.monotonic() - began < 5
        stop.set()
        thread.join()


def test_a_peer_that_does_not_read_ends_the_send_at_the_deadline() -> None:
    one, far = raw(0.3)
    with one, far, pytest.raises(EngineStopped, match="beta did not take a message"):
        one.send(bytes(64 << 20))


def greeted(answer: bytes) -> Exception:
    """How linking up ends where the peer's first message is `answer`."""
    pair = jobs("psi", "intersection", {"keys": ["k"]}, ["x", "y"], [[], []], (0,), seconds=5)
    with tempfile.TemporaryDirectory(prefix="fc-") as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/1.sock")
        server.listen(1)

        def peer() -> None:
            link, _address = server.accept()
            with link:
                link.sendall(len(answer).to_bytes(8, "big") + answer)
                while link.recv(1 << 16):
                    pass

        thread = threading.Thread(target=peer)
        thread.start()
        with pytest.raises((BadJob, EngineStopped)) as caught:
            connect(pair[0], Path(folder))
        thread.join()
    return caught.value


@given(st.binary(max_size=200))
def test_a_peer_that_says_anything_first_is_refused(data) -> None:
    assert greeted(data).remedy


@pytest.mark.parametrize("change", [{"version": 2}, {"run": bytes(32)}, {"rank": 0}])
def test_a_peer_of_another_run_is_refused(change) -> None:
    job = jobs("psi", "intersection", {"keys": ["k"]}, ["x", "y"], [[], []], (0,))[1]
    hello = {"version": 1, "run": run_digest(job), "rank": 1} | change
    assert "another" in greeted(to_bytes(Hello(**hello))).cause


def test_a_peer_that_never_comes_is_named() -> None:
    for rank in (0, 1):
        job = jobs("psi", "intersection", {"keys": ["k"]}, ["x", "y"], [[], []], (0,), seconds=1)[rank]
        with tempfile.TemporaryDirectory(prefix="fc-") as folder, pytest.raises(EngineStopped) as caught:
            connect(job, Path(folder))
        assert job.parties[1 - rank] in caught.value.cause


def test_only_two_members_have_a_channel() -> None:
    job = jobs("psi", "intersection", {}, ["x", "y", "z"], [[], [], []], (0,))[0]
    with tempfile.TemporaryDirectory(prefix="fc-") as folder, pytest.raises(BadJob):
        connect(job, Path(folder))


def test_a_peer_that_stops_says_why_even_to_one_that_was_sending() -> None:
    one, two = channels()
    with one:
        with two:
            two.stop("the link to gamma broke")
        with pytest.raises(EngineStopped, match="beta stopped: the link to gamma broke"):
            one.send(bytes(64 << 20))


@given(st.binary(max_size=500))
def test_a_last_word_of_any_bytes_ends_in_one_line(data) -> None:
    one, far = raw()
    with one:
        far.sendall(b"\xff" * 8 + data)
        far.close()
        with pytest.raises(EngineStopped) as caught:
            one.receive(10)
    assert "beta" in caught.value.cause
    assert caught.value.cause.isprintable()


@given(st.sampled_from(["psi", "pir", "mpc"]), st.integers(2, 8))
def test_each_pair_has_a_socket_of_its_own_where_more_than_two_have_channels(engine, members) -> None:
    pairs = [(high, low) for high in range(members) for low in range(high)]
    names = {socket_name(engine, members, high, low) for high, low in pairs}
    assert len(names) == (len(pairs) if engine != "mpc" and members > 2 else members - 1)
