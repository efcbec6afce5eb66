"""The memory twin's own powers: faults on command, and a transcript of what each node received."""

from __future__ import annotations

import asyncio

import pytest
from transport_world import Losses, World, did_of, drain, echo

from fondaco.errors import DeadlineExceeded, GateRefused, PeerLost, RemoteError
from fondaco.transport.peering import Timings

SHORT = Timings(connect=0.1, handshake=0.1, heartbeat=0.05, silence=0.3)


@pytest.fixture
def world() -> World:
    return World("memory")


async def _ok(_peer: str, _payload: bytes) -> bytes:
    return b"ok"


def test_a_cut_loses_each_peer_to_the_other_and_nobody_else(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair(SHORT)
        eve = await world.node("eve", timings=SHORT)
        bob.handle("echo/1", echo)
        bob.serve_calls("ok/1", _ok)
        losses = {name: Losses(node) for name, node in (("ada", ada), ("bob", bob), ("eve", eve))}
        stream = await ada.open(did_of("bob"), "echo/1")
        await stream.send(b"x")
        assert await stream.receive() == b"x"
        world.network.cut(did_of("ada"), did_of("bob"))
        with pytest.raises(PeerLost, match="silent") as caught:
            await stream.receive()
        assert caught.value.peer == did_of("bob")
        assert await eve.call(did_of("bob"), "ok/1", b"", deadline=1) == b"ok"
        with pytest.raises(PeerLost, match="cannot be reached"):
            await ada.call(did_of("bob"), "ok/1", b"", deadline=2)
        assert (await losses["bob"].first())[0] == did_of("ada")
        assert losses["eve"].told == []
        world.network.heal(did_of("ada"), did_of("bob"))
        assert await ada.call(did_of("bob"), "ok/1", b"", deadline=1) == b"ok"

    world.run(story)


def test_a_cut_that_heals_in_time_loses_nothing(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair(SHORT)
        bob.handle("echo/1", echo)
        losses = Losses(ada)
        stream = await ada.open(did_of("bob"), "echo/1")
        world.network.cut(did_of("ada"), did_of("bob"))

        async def speak() -> None:
            await stream.send(b"through")
            await stream.finish()

        sending = asyncio.create_task(speak())
        await asyncio.sleep(0.1)
        assert not sending.done()
        world.network.heal(did_of("ada"), did_of("bob"))
        await sending
        assert await drain(stream) == b"through"
        await asyncio.sleep(SHORT.silence)
        assert losses.told == []

    world.run(story)


def test_a_silent_node_is_lost_to_all(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair(SHORT)
        eve = await world.node("eve", timings=SHORT)
        bob.handle("echo/1", echo)
        losses = [Losses(ada), Losses(eve)]
        for node in (ada, eve):
            await node.open(did_of("bob"), "echo/1")
        world.network.silence(did_of("bob"))
        for loss in losses:
            peer, cause = await loss.first()
            assert (peer, cause) == (did_of("bob"), "silent for 0.3 s")

    world.run(story)


def test_a_killed_node_is_lost_at_once(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        bob.handle("echo/1", echo)
        losses = Losses(ada)
        stream = await ada.open(did_of("bob"), "echo/1")
        await world.network.kill(did_of("bob"))
        with pytest.raises(PeerLost, match="connection broke"):
            await stream.receive(1)
        await losses.first(1)
        with pytest.raises((PeerLost, DeadlineExceeded)):
            await ada.call(did_of("bob"), "echo/1", b"", deadline=1)

    world.run(story)


def test_the_transcript_has_every_byte_that_a_node_received_and_no_other(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()
        eve = await world.node("eve")

        async def answer(_peer: str, payload: bytes) -> bytes:
            if payload == b"the wrong question":
                raise GateRefused("a cause that travels", check="uses", remedy="none")
            return b"the answer"

        bob.serve_calls("ask/1", answer)
        bob.handle("echo/1", echo)
        await ada.call(did_of("bob"), "ask/1", b"the question", deadline=1)
        with pytest.raises(RemoteError):
            await ada.call(did_of("bob"), "ask/1", b"the wrong question", deadline=1)
        stream = await eve.open(did_of("bob"), "echo/1", b"eve's header")
        await stream.send(b"eve's body")
        await stream.finish()
        assert await drain(stream) == b"eve's body"
        heard = {name: world.network.received(did_of(name)) for name in ("ada", "bob", "eve")}
        for said in (b"ask/1", b"the question", b"the wrong question", b"eve's header", b"eve's body"):
            assert said in heard["bob"]
        assert b"the answer" in heard["ada"]
        assert b"a cause that travels" in heard["ada"]
        assert b"eve" not in heard["ada"]
        assert b"the answer" not in heard["bob"]
        assert heard["eve"] == b"eve's body"

    world.run(story)
