"""What every transport promises: the same stories over TLS and in memory."""

from __future__ import annotations

import asyncio

import pytest
from transport_world import Losses, World, did_of, drain, echo, flood

from fondaco.errors import (
    DeadlineExceeded,
    FlowError,
    FondacoError,
    GateRefused,
    PeerLost,
    PeerRefused,
    RemoteError,
    TransportError,
)
from fondaco.transport.peering import CALL_BUDGET, MAX_CALL, MAX_GUEST_CALL, MAX_HEADER, Stream, Timings


@pytest.fixture(params=["tls", "memory"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def test_a_call_is_answered_by_the_peer_that_was_asked(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()

        async def answer(peer: str, payload: bytes) -> bytes:
            return peer.encode() + b" said " + payload

        bob.serve_calls("say/1", answer)
        assert await ada.call(did_of("bob"), "say/1", b"hello", deadline=5) == did_of("ada").encode() + b" said hello"
        assert await ada.call(did_of("bob"), "say/1", b"", deadline=5) == did_of("ada").encode() + b" said "

    world.run(story)


def test_large_calls_arrive_whole_and_many_at_once(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()

        async def answer(_peer: str, payload: bytes) -> bytes:
            return payload[::-1]

        bob.serve_calls("mirror/1", answer)
        payloads = [bytes([n]) * (n << 17) + b"end" for n in range(1, 21)]
        answers = await asyncio.gather(*(ada.call(did_of("bob"), "mirror/1", p, deadline=30) for p in payloads))
        assert answers == [p[::-1] for p in payloads]

    world.run(story)


def test_an_error_of_the_handler_reaches_the_caller_with_its_code_cause_and_remedy(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()

        async def refuse(_peer: str, _payload: bytes) -> bytes:
            raise GateRefused("the grant is used up", check="uses", remedy="ask for another grant", dataset="/a/b/c")

        bob.serve_calls("use/1", refuse)
        with pytest.raises(RemoteError) as caught:
            await ada.call(did_of("bob"), "use/1", b"", deadline=5)
        assert caught.value.remote_code == "gate.refused"
        assert caught.value.cause == "the grant is used up"
        assert caught.value.remedy == "ask for another grant"
        assert caught.value.details["check"] == "uses"
        assert caught.value.details["told_by"] == did_of("bob")

    world.run(story)


@pytest.mark.parametrize(
    "fault",
    [
        FlowError("\U0001f4a5" * 9000, remedy="\U0001f4a5" * 9000, **{f"k{n}": "\U0001f4a5" * 2000 for n in range(20)}),
        FlowError("lone \ud800 surrogate", remedy="none"),
        FlowError("large", remedy="none", number=1 << 80),
        FlowError("bytes", remedy="none", raw=b"\xff"),
    ],
    ids=["huge", "surrogate", "integer", "bytes"],
)
def test_an_error_that_does_not_fit_the_wire_arrives_as_its_gist(world: World, fault: FlowError) -> None:
    async def story() -> None:
        ada, bob = await world.pair()

        async def fail(_peer: str, _payload: bytes) -> bytes:
            raise fault

        bob.serve_calls("fail/1", fail)
        with pytest.raises(RemoteError) as caught:
            await ada.call(did_of("bob"), "fail/1", b"", deadline=5)
        assert caught.value.remote_code == "flow.error"
        assert caught.value.cause[:4] in (fault.cause[:4], "????")

    world.run(story)


def test_a_stream_tells_its_handler_who_opened_it_and_with_what_header(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        seen: list[tuple[str, str, bytes]] = []

        async def note(stream: Stream) -> None:
            seen.append((stream.peer, stream.protocol, stream.header))

        bob.handle("note/1", note)
        header = bytes(range(256)) * (MAX_HEADER // 256)
        stream = await ada.open(did_of("bob"), "note/1", header)
        assert (stream.peer, stream.protocol, stream.header) == (did_of("bob"), "note/1", header)
        await stream.finish()
        assert await drain(stream) == b""
        assert seen == [(did_of("ada"), "note/1", header)]

    world.run(story)


def test_bytes_keep_their_order_both_ways(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        bob.handle("echo/1", echo)
        stream = await ada.open(did_of("bob"), "echo/1")
        sent = [bytes([n % 256]) * (n * 977) for n in range(1, 120)]

        async def send() -> None:
            for part in sent:
                await stream.send(part)
            await stream.finish()

        _none, back = await asyncio.gather(send(), drain(stream))
        assert back == b"".join(sent)

    world.run(story)


def test_a_half_closed_stream_still_carries_the_other_direction(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()

        async def after_all(stream: Stream) -> None:
            said = await drain(stream)
            for _ in range(20):
                await stream.send(said)
                await asyncio.sleep(0)

        bob.handle("late/1", after_all)
        stream = await ada.open(did_of("bob"), "late/1")
        await stream.send(b"first ")
        await stream.finish()
        with pytest.raises(TransportError, match="ended"):
            await stream.send(b"more")
        assert await drain(stream) == b"first " * 20
        assert await stream.receive() == b""

    world.run(story)


def test_what_was_sent_before_the_end_is_read_even_when_the_handler_read_nothing(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()

        async def speak(stream: Stream) -> None:
            await stream.send(b"all there is")

        bob.handle("speak/1", speak)
        stream = await ada.open(did_of("bob"), "speak/1")
        await asyncio.sleep(0.2)
        assert await drain(stream) == b"all there is"
        with pytest.raises(FondacoError):
            await flood(stream)

    world.run(story)


@pytest.mark.parametrize("half_closed", [False, True])
def test_the_cause_of_an_abort_reaches_the_handler(world: World, half_closed: bool) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        heard: asyncio.Future[FondacoError] = asyncio.get_running_loop().create_future()

        async def listen(stream: Stream) -> None:
            await stream.send(b"ready")
            try:
                await drain(stream)
                await flood(stream)
            except FondacoError as fault:
                heard.set_result(fault)
                raise

        bob.handle("listen/1", listen)
        stream = await ada.open(did_of("bob"), "listen/1")
        assert await stream.receive() == b"ready"
        await stream.send(b"something")
        if half_closed:
            await stream.finish()
            await stream.receive()
        await stream.abort(FlowError("the worker ran out of memory", remedy="give it more"))
        fault = await heard
        assert isinstance(fault, RemoteError)
        assert (fault.remote_code, fault.cause) == ("flow.error", "the worker ran out of memory")
        with pytest.raises(FlowError):
            await stream.send(b"x")

    world.run(story)


@pytest.mark.parametrize("half_closed", [False, True])
def test_the_cause_of_an_abort_reaches_the_opener(world: World, half_closed: bool) -> None:
    async def story() -> None:
        ada, bob = await world.pair()

        async def fail(stream: Stream) -> None:
            assert await stream.receive() == b"go"
            raise FlowError("no such step", remedy="look at the plan")

        bob.handle("fail/1", fail)
        stream = await ada.open(did_of("bob"), "fail/1")
        await stream.send(b"go")
        if half_closed:
            await stream.finish()
        with pytest.raises(RemoteError, match="no such step"):
            await drain(stream)
        with pytest.raises(RemoteError, match="no such step"):
            await stream.send(b"x")

    world.run(story)


def test_a_stream_that_is_broken_off_at_once_does_no_harm(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        bob.handle("echo/1", echo)
        bob.serve_calls("ok/1", _ok)
        for _ in range(300):
            stream = await ada.open(did_of("bob"), "echo/1")
            await stream.abort(FlowError("changed my mind", remedy="none"))
        assert await ada.call(did_of("bob"), "ok/1", b"", deadline=5) == b"ok"

    world.run(story)


async def _ok(_peer: str, _payload: bytes) -> bytes:
    return b"ok"


def test_a_handler_with_a_defect_breaks_its_own_stream_alone(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()

        async def defect(_peer: str, _payload: bytes) -> bytes:
            raise ZeroDivisionError

        bob.serve_calls("defect/1", defect)
        bob.serve_calls("ok/1", _ok)
        with pytest.raises(RemoteError, match="handler broke"):
            await ada.call(did_of("bob"), "defect/1", b"", deadline=5)
        assert await ada.call(did_of("bob"), "ok/1", b"", deadline=5) == b"ok"

    world.run(story)


def test_an_unknown_protocol_is_refused_by_name(world: World) -> None:
    async def story() -> None:
        ada, _bob = await world.pair()
        with pytest.raises(RemoteError) as caught:
            await ada.call(did_of("bob"), "unheard-of/1", b"", deadline=5)
        assert caught.value.remote_code == "transport.peer_refused"
        assert caught.value.details["protocol"] == "unheard-of/1"

    world.run(story)


def test_a_receive_ends_at_its_deadline_and_the_stream_lives_on(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        bob.handle("echo/1", echo)
        stream = await ada.open(did_of("bob"), "echo/1")
        with pytest.raises(DeadlineExceeded) as caught:
            await stream.receive(0.1)
        assert caught.value.details["peer"] == did_of("bob")
        await stream.send(b"still here")
        assert await stream.receive(5.0) == b"still here"
        await stream.finish()

    world.run(story)


def test_a_call_ends_at_its_deadline_and_the_handler_hears_it(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        heard: asyncio.Future[FondacoError] = asyncio.get_running_loop().create_future()

        async def never(stream: Stream) -> None:
            await drain(stream)
            try:
                await flood(stream)
            except FondacoError as fault:
                heard.set_result(fault)

        bob.handle("never/1", never)
        with pytest.raises((DeadlineExceeded, TransportError)):
            await ada.call(did_of("bob"), "never/1", b"", deadline=0.3)
        assert "waits no longer" in (await heard).cause

        async def asleep(_peer: str, _payload: bytes) -> bytes:
            await asyncio.sleep(30)
            return b""

        bob.serve_calls("asleep/1", asleep)
        with pytest.raises(DeadlineExceeded) as caught:
            await ada.call(did_of("bob"), "asleep/1", b"", deadline=0.3)
        assert caught.value.details["peer"] == did_of("bob")

    world.run(story)


def test_readers_that_stall_hold_up_nobody_else(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        release = asyncio.Event()
        sizes: dict[bytes, int] = {}

        async def sink(stream: Stream) -> None:
            if stream.header == b"stalled":
                await release.wait()
            sizes[stream.header] = len(await drain(stream))

        bob.handle("sink/1", sink)

        async def pour(header: bytes) -> None:
            stream = await ada.open(did_of("bob"), "sink/1", header)
            for _ in range(20):
                await stream.send(bytes(1 << 20))
            await stream.finish()
            await drain(stream)

        stalled = asyncio.create_task(pour(b"stalled"))
        await asyncio.gather(pour(b"one"), pour(b"two"))
        assert sizes == {b"one": 20 << 20, b"two": 20 << 20}
        assert not stalled.done()
        release.set()
        await stalled
        assert sizes[b"stalled"] == 20 << 20

    world.run(story)


def test_streams_that_break_with_unread_bytes_do_not_narrow_the_link(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()

        async def ignore(stream: Stream) -> None:
            await stream.receive()

        bob.handle("ignore/1", ignore)
        bob.serve_calls("ok/1", _ok)
        for _ in range(40):
            stream = await ada.open(did_of("bob"), "ignore/1")
            with pytest.raises(FondacoError):
                await flood(stream)
        assert await ada.call(did_of("bob"), "ok/1", bytes(MAX_CALL), deadline=20) == b"ok"

    world.run(story)


def test_more_streams_than_the_peer_allows_are_refused_and_the_link_lives(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        bob.handle("echo/1", echo)
        streams = [await ada.open(did_of("bob"), "echo/1") for _ in range(256)]
        with pytest.raises(TransportError, match="as many streams"):
            await ada.open(did_of("bob"), "echo/1")
        for stream in streams:
            await stream.send(b"x")
            await stream.finish()
            assert await drain(stream) == b"x"
        another = await ada.open(did_of("bob"), "echo/1")
        await another.finish()

    world.run(story)


@pytest.mark.parametrize(
    ("protocol", "header"),
    [("", b""), ("x" * 65, b""), ("a b", b""), ("é", b""), ("a\n", b""), ("ok/1", bytes(MAX_HEADER + 1))],
)
def test_a_stream_out_of_bounds_is_not_opened(world: World, protocol: str, header: bytes) -> None:
    async def story() -> None:
        ada, _bob = await world.pair()
        with pytest.raises(TransportError, match="a header at most"):
            await ada.open(did_of("bob"), protocol, header)

    world.run(story)


def test_a_payload_or_answer_over_the_limit_is_refused_on_either_side(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()

        async def large(_peer: str, _payload: bytes) -> bytes:
            return bytes(MAX_CALL + 1)

        bob.serve_calls("large/1", large)
        bob.serve_calls("ok/1", _ok)
        with pytest.raises(TransportError, match="more than"):
            await ada.call(did_of("bob"), "ok/1", bytes(MAX_CALL + 1), deadline=20)
        with pytest.raises(RemoteError, match="more than"):
            await ada.call(did_of("bob"), "large/1", b"", deadline=20)
        # A caller that does not check itself is cut off by the callee, in the middle of its sending.
        stream = await ada.open(did_of("bob"), "ok/1")
        with pytest.raises(RemoteError, match="more than"):
            await flood(stream)
        assert await ada.call(did_of("bob"), "ok/1", b"", deadline=5) == b"ok"

    world.run(story)


async def _drip(stream: Stream) -> None:
    """Send a byte now and then, and no end."""
    async with asyncio.timeout(10):
        while True:
            await stream.send(b"x")
            await asyncio.sleep(0.05)


def test_a_call_that_does_not_end_is_broken_off_though_its_peer_is_alive(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair(Timings(heartbeat=0.1, silence=2.0, reading=0.5))
        bob.serve_calls("ok/1", _ok)
        stream = await ada.open(did_of("bob"), "ok/1")
        with pytest.raises(RemoteError, match="did not arrive in time") as caught:
            await _drip(stream)
        assert caught.value.remote_code == DeadlineExceeded.code
        assert await ada.call(did_of("bob"), "ok/1", b"", deadline=5) == b"ok"

    world.run(story)


def test_an_answer_that_nobody_takes_is_dropped_at_its_deadline(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair(Timings(heartbeat=0.1, silence=2.0, sending=0.5))

        async def large(_peer: str, _payload: bytes) -> bytes:
            return bytes(MAX_CALL)

        bob.serve_calls("large/1", large)
        bob.serve_calls("ok/1", _ok)
        stream = await ada.open(did_of("bob"), "large/1")
        await stream.finish()
        await asyncio.sleep(1.5)
        with pytest.raises(RemoteError, match="not taken in time"):
            await drain(stream)
        assert await ada.call(did_of("bob"), "ok/1", b"", deadline=5) == b"ok"

    world.run(story)


def test_what_unfinished_calls_hold_is_bounded_for_each_peer(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        eve = await world.node("eve")
        bob.serve_calls("ok/1", _ok)
        held = 0

        async def push(stream: Stream) -> None:
            nonlocal held
            for _ in range(MAX_CALL >> 20):
                await stream.send(bytes(1 << 20))
                held += 1 << 20

        streams = [await ada.open(did_of("bob"), "ok/1") for _ in range(10)]
        ends = await asyncio.gather(*map(push, streams), return_exceptions=True)
        refused = [end for end in ends if end is not None]
        assert refused
        assert all(isinstance(end, RemoteError) and "hold too much" in end.cause for end in refused)
        assert await eve.call(did_of("bob"), "ok/1", bytes(MAX_CALL), deadline=20) == b"ok"
        for stream in streams:
            await stream.abort(FlowError("never mind", remedy="none"))
        # What was broken off is given back.
        for _ in range(CALL_BUDGET // MAX_CALL + 1):
            assert await ada.call(did_of("bob"), "ok/1", bytes(MAX_CALL), deadline=20) == b"ok"

    world.run(story)


def test_answers_that_are_not_taken_count_too(world: World) -> None:
    async def story() -> None:
        bob = await world.node("bob")
        guest = await world.node("guest", guest=True)

        async def large(_peer: str, _payload: bytes) -> bytes:
            return bytes(MAX_CALL)

        bob.serve_calls("large/1", large, guests=True)
        first, second = [await guest.open(did_of("bob"), "large/1") for _ in range(2)]
        await first.finish()
        assert await first.receive()
        await second.finish()
        with pytest.raises(RemoteError, match="hold too much"):
            await drain(second)
        await drain(first)
        assert len(await guest.call(did_of("bob"), "large/1", b"", deadline=20)) == MAX_CALL

    world.run(story)


def test_a_protocol_bounds_its_calls_and_a_guest_is_bounded_more(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        guest = await world.node("guest", guest=True)
        bob.serve_calls("small/1", _ok, largest=4096)
        bob.serve_calls("any/1", _ok, guests=True)
        assert await ada.call(did_of("bob"), "small/1", bytes(4096), deadline=5) == b"ok"
        assert await guest.call(did_of("bob"), "any/1", bytes(MAX_GUEST_CALL), deadline=5) == b"ok"
        assert await ada.call(did_of("bob"), "any/1", bytes(MAX_GUEST_CALL + 1), deadline=5) == b"ok"
        for node, protocol, size in ((ada, "small/1", 4097), (guest, "any/1", MAX_GUEST_CALL + 1)):
            with pytest.raises(RemoteError, match=f"more than {size - 1} bytes"):
                await node.call(did_of("bob"), protocol, bytes(size), deadline=5)

    world.run(story)


def test_guests_reach_only_what_is_offered_to_guests(world: World) -> None:
    async def story() -> None:
        bob = await world.node("bob")
        guest = await world.node("guest", guest=True)
        touched: list[str] = []

        async def secret(stream: Stream) -> None:
            touched.append(stream.peer)

        bob.handle("members/1", secret)
        bob.serve_calls("join/1", _ok, guests=True)
        assert await guest.call(did_of("bob"), "join/1", b"", deadline=5) == b"ok"
        with pytest.raises(RemoteError) as caught:
            await guest.call(did_of("bob"), "members/1", b"", deadline=5)
        assert caught.value.remote_code == "transport.peer_refused"
        # The same, by a guest that hangs up before it is served.
        await guest.open(did_of("bob"), "members/1", b"now")
        await guest.stop()
        await asyncio.sleep(0.1)
        assert touched == []

    world.run(story)


def test_a_peer_that_the_directory_does_not_have_is_not_dialled(world: World) -> None:
    async def story() -> None:
        ada, _bob = await world.pair()
        with pytest.raises(PeerRefused) as caught:
            await ada.call(did_of("stranger"), "ok/1", b"", deadline=5)
        assert caught.value.details["peer"] == did_of("stranger")

    world.run(story)


def test_a_revoked_key_loses_its_live_link_and_gets_no_other(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        eve = await world.node("eve")
        losses, mourned = Losses(bob), Losses(eve)
        bob.handle("echo/1", echo)
        bob.serve_calls("ok/1", _ok)
        assert await ada.call(did_of("bob"), "ok/1", b"", deadline=5) == b"ok"
        live = await eve.open(did_of("bob"), "echo/1")
        await live.send(b"x")
        assert await live.receive() == b"x"
        world.revoke("eve")
        with pytest.raises(PeerRefused, match="no longer trusted"):
            await drain(live)
        assert (await losses.first())[0] == did_of("eve")
        assert (await mourned.first())[0] == did_of("bob")
        with pytest.raises(PeerRefused):
            await eve.call(did_of("bob"), "ok/1", b"", deadline=5)
        assert await ada.call(did_of("bob"), "ok/1", b"", deadline=5) == b"ok"
        assert [peer for peer, _cause in losses.told] == [did_of("eve")]

    world.run(story)


def test_a_peer_that_stops_is_named_once_on_every_stream(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        losses = Losses(ada)
        bob.handle("echo/1", echo)
        ada.handle("echo/1", echo)
        streams = [await ada.open(did_of("bob"), "echo/1") for _ in range(3)]
        for stream in streams:
            await stream.send(b"x")
            await stream.receive()
        await bob.stop()
        for stream in streams:
            with pytest.raises(PeerLost) as caught:
                await stream.receive()
            assert caught.value.peer == did_of("bob")
        await losses.first()
        with pytest.raises(PeerLost) as caught:
            await ada.call(did_of("bob"), "echo/1", b"", deadline=10)
        assert caught.value.peer == did_of("bob")
        assert [peer for peer, _cause in losses.told] == [did_of("bob")]

    world.run(story)


def test_a_peer_that_comes_back_is_reached_again(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        bob.serve_calls("ok/1", _ok)
        losses = Losses(ada)
        assert await ada.call(did_of("bob"), "ok/1", b"", deadline=5) == b"ok"
        await bob.stop()
        await losses.first()
        again = await world.node("bob")
        again.serve_calls("ok/1", _ok)
        assert await ada.call(did_of("bob"), "ok/1", b"", deadline=5) == b"ok"
        await again.stop()
        await asyncio.sleep(0.1)
        assert [peer for peer, _cause in losses.told] == [did_of("bob")] * 2

    world.run(story)


def test_a_node_that_stops_does_not_blame_its_peers(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        losses = Losses(ada)
        bob.handle("echo/1", echo)
        stream = await ada.open(did_of("bob"), "echo/1")
        await ada.stop()
        with pytest.raises(TransportError, match="this node is stopping") as caught:
            await stream.receive()
        assert not isinstance(caught.value, PeerLost)
        await asyncio.sleep(0)
        assert losses.told == []

    world.run(story)


def test_a_probe_answers_or_names_the_peer(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        assert 0 <= await ada.probe(did_of("bob"), deadline=5) < 5
        await bob.stop()
        await asyncio.sleep(0.05)
        with pytest.raises(PeerLost):
            await ada.probe(did_of("bob"), deadline=10)

    world.run(story)
