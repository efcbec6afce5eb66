"""Peers in real processes, killed and stopped: the living name them within the deadline."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from transport_world import HOST, QUICK, Losses, World, did_of, flood, identity_of

from fondaco.errors import PeerLost

_SLACK = 3.0  # seconds, for a machine that is busy with other tests


@asynccontextmanager
async def _bob() -> AsyncIterator[tuple[Process, int]]:
    script = Path(__file__).with_name("transport_peer.py")
    process = await asyncio.create_subprocess_exec(sys.executable, str(script), "bob", "ada", stdin=PIPE, stdout=PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            yield process, int(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()


async def _linked(world: World, port: int, streams: int) -> tuple[Any, list[Any]]:
    ada = await world.node("ada")
    world.directories["ada"].put(identity_of("bob", f"{HOST}:{port}"))
    opened = [await ada.open(did_of("bob"), "echo/1") for _ in range(streams)]
    for stream in opened:
        await stream.send(b"x")
        assert await stream.receive(5) == b"x"
    return ada, opened


@pytest.mark.parametrize(("how", "within"), [(signal.SIGKILL, 0.0), (signal.SIGSTOP, QUICK.silence)])
def test_a_peer_process_that_dies_or_freezes_is_named_on_every_stream_and_once(
    how: signal.Signals, within: float
) -> None:
    world = World("tls")

    async def story() -> None:
        async with _bob() as (process, port):
            ada, opened = await _linked(world, port, 3)
            losses = Losses(ada)
            started = time.monotonic()
            process.send_signal(how)
            for stream in opened:
                with pytest.raises(PeerLost) as caught:
                    await stream.receive()
                assert caught.value.peer == did_of("bob")
            taken = time.monotonic() - started
            assert taken < within + _SLACK
            peer, cause = await losses.first()
            assert peer == did_of("bob")
            assert cause == ("silent for 2 s" if how is signal.SIGSTOP else cause)
            await asyncio.sleep(0.2)
            assert len(losses.told) == 1

    world.run(story)


def test_a_sender_to_a_frozen_peer_does_not_hang() -> None:
    world = World("tls")

    async def story() -> None:
        async with _bob() as (process, port):
            ada, _opened = await _linked(world, port, 1)
            stream = await ada.open(did_of("bob"), "sink/1")
            process.send_signal(signal.SIGSTOP)
            started = time.monotonic()
            with pytest.raises(PeerLost) as caught:
                await flood(stream)
            assert caught.value.peer == did_of("bob")
            assert time.monotonic() - started < QUICK.silence + _SLACK

    world.run(story)


def test_dialling_a_frozen_peer_ends_in_its_name() -> None:
    world = World("tls")

    async def story() -> None:
        async with _bob() as (process, port):
            ada = await world.node("ada")
            world.directories["ada"].put(identity_of("bob", f"{HOST}:{port}"))
            process.send_signal(signal.SIGSTOP)
            started = time.monotonic()
            with pytest.raises(PeerLost) as caught:
                await ada.call(did_of("bob"), "echo/1", b"", deadline=20)
            assert caught.value.peer == did_of("bob")
            assert time.monotonic() - started < QUICK.connect + QUICK.handshake + _SLACK

    world.run(story)


def test_a_peer_that_thaws_is_reached_again() -> None:
    world = World("tls")

    async def story() -> None:
        async with _bob() as (process, port):
            ada, opened = await _linked(world, port, 1)
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(PeerLost):
                await opened[0].receive()
            process.send_signal(signal.SIGCONT)
            stream = await ada.open(did_of("bob"), "echo/1")
            await stream.send(b"again")
            assert await stream.receive(5) == b"again"

    world.run(story)


def test_a_quiet_link_outlives_its_silence_because_both_sides_ping() -> None:
    world = World("tls")

    async def story() -> None:
        async with _bob() as (_process, port):
            ada, opened = await _linked(world, port, 1)
            losses = Losses(ada)
            await asyncio.sleep(2 * QUICK.silence)
            await opened[0].send(b"still")
            assert await opened[0].receive(5) == b"still"
            assert losses.told == []

    world.run(story)
