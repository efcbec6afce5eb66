"""Engine links through the peer link: bytes unchanged, ends and failures passed on."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from transport_world import World, did_of

from fondaco.errors import DeadlineExceeded, FlowError, FondacoError, PeerLost, RemoteError, TransportError
from fondaco.transport.peering import Stream
from fondaco.transport.tunnel import Tunnel, splice_to

Engine = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=["tls", "memory"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="ft-") as made:
        yield Path(made)


class _Bridge:
    """Ada's engine dials `near`; bob's engine listens on `far`."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.near, self.far = folder / "near.sock", folder / "far.sock"
        self.faults: list[FondacoError] = []
        self.over = asyncio.Event()

    async def build(self, engine: Engine | None, *, deadline: float = 5.0) -> None:
        self.ada, self.bob = await self.world.pair()

        async def accept(stream: Stream) -> None:
            try:
                await splice_to(stream, self.far, deadline=deadline)
            except FondacoError as fault:
                self.faults.append(fault)
                raise
            finally:
                self.over.set()

        self.bob.handle("engine", accept)
        self.tunnel = Tunnel(lambda: self.ada.open(did_of("bob"), "engine", b"link 0-1"))
        await self.tunnel.listen(self.near)
        self.server = None if engine is None else await asyncio.start_unix_server(engine, str(self.far))

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.near))

    async def close(self) -> None:
        await self.tunnel.close()
        if self.server is not None:
            self.server.close()


def _story(world: World, folder: Path, engine: Engine | None, tell: Callable[[_Bridge], Awaitable[None]]) -> None:
    async def story() -> None:
        bridge = _Bridge(world, folder)
        await bridge.build(engine)
        try:
            await tell(bridge)
        finally:
            await bridge.close()

    world.run(story)


async def _settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - counters tell nobody
            await asyncio.sleep(0.01)


async def _mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads to the end, then answers with the digest and what it counted."""
    digest, count = hashlib.sha256(), 0
    while data := await reader.read(1 << 20):
        digest.update(data)
        count += len(data)
    writer.write(digest.digest() + count.to_bytes(8, "big"))
    writer.write_eof()
    writer.close()


def test_two_hundred_megabytes_arrive_byte_for_byte_and_are_counted(world: World, folder: Path) -> None:
    size = 200_000_000 if world.kind == "tls" else 20_000_000

    async def tell(bridge: _Bridge) -> None:
        reader, writer = await bridge.dial()
        block = os.urandom(999_983)
        digest, left = hashlib.sha256(), size
        while left:
            part = block[:left]
            digest.update(part)
            writer.write(part)
            await writer.drain()
            left -= len(part)
        writer.write_eof()
        assert await reader.read() == digest.digest() + size.to_bytes(8, "big")
        writer.close()
        await _settled(lambda: bridge.tunnel.received == 40)
        assert bridge.tunnel.sent == size
        assert bridge.tunnel.failure is None

    _story(world, folder, _mirror, tell)


def test_a_half_close_passes_through_in_either_direction(world: World, folder: Path) -> None:
    async def first_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"farewell")
        writer.write_eof()
        assert await reader.read() == b"after the farewell"
        writer.close()
        served.set()

    served = asyncio.Event()

    async def tell(bridge: _Bridge) -> None:
        reader, writer = await bridge.dial()
        assert await reader.read() == b"farewell"
        writer.write(b"after the farewell")
        writer.write_eof()
        async with asyncio.timeout(10):
            await served.wait()
        writer.close()
        assert bridge.faults == []

    _story(world, folder, first_out, tell)


def test_several_links_share_one_tunnel(world: World, folder: Path) -> None:
    async def tell(bridge: _Bridge) -> None:
        async def one(number: int) -> bytes:
            reader, writer = await bridge.dial()
            writer.write(bytes([number]) * number * 1000)
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            return answer

        answers = await asyncio.gather(*(one(n) for n in range(1, 9)))
        for number, answer in enumerate(answers, start=1):
            expected = hashlib.sha256(bytes([number]) * number * 1000).digest()
            assert answer == expected + (number * 1000).to_bytes(8, "big")

    _story(world, folder, _mirror, tell)


def test_an_engine_that_binds_late_is_waited_for(world: World, folder: Path) -> None:
    async def tell(bridge: _Bridge) -> None:
        reader, writer = await bridge.dial()
        writer.write(b"early")
        writer.write_eof()
        await asyncio.sleep(0.3)
        bridge.server = await asyncio.start_unix_server(_mirror, str(bridge.far))
        assert await reader.read() == hashlib.sha256(b"early").digest() + (5).to_bytes(8, "big")
        writer.close()

    _story(world, folder, None, tell)


def test_an_engine_that_never_binds_is_a_named_cause_on_both_sides(world: World, folder: Path) -> None:
    async def story() -> None:
        bridge = _Bridge(world, folder)
        await bridge.build(None, deadline=0.3)
        reader, writer = await bridge.dial()
        assert await _ended(reader)
        await _settled(lambda: bridge.tunnel.failure is not None)
        assert isinstance(bridge.faults[0], DeadlineExceeded)
        failure = bridge.tunnel.failure
        assert isinstance(failure, RemoteError)
        assert failure.remote_code == "deadline.exceeded"
        assert "did not listen in time" in failure.cause
        assert failure.details["told_by"] == did_of("bob")
        writer.close()
        await bridge.close()

    world.run(story)


async def _ended(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(10):
            return await reader.read() == b""
    except ConnectionError:
        return True


def test_an_engine_that_dies_breaks_the_other_side_off_with_the_cause(world: World, folder: Path) -> None:
    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.transport.abort()

    async def tell(bridge: _Bridge) -> None:
        reader, writer = await bridge.dial()

        async def pour() -> None:
            while True:
                writer.write(bytes(1 << 20))
                await writer.drain()

        with pytest.raises(ConnectionError):
            await pour()
        await _settled(lambda: bridge.tunnel.failure is not None)
        assert isinstance(bridge.tunnel.failure, RemoteError)
        assert "local engine closed its link" in bridge.tunnel.failure.cause
        assert await _ended(reader)
        writer.close()

    _story(world, folder, dies, tell)


def test_a_tunnel_that_is_closed_breaks_the_far_engine_off(world: World, folder: Path) -> None:
    ended = asyncio.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read(5) == b"hello"
        assert await _ended(reader)
        writer.close()
        ended.set()

    async def tell(bridge: _Bridge) -> None:
        _reader, writer = await bridge.dial()
        writer.write(b"hello")
        await _settled(lambda: bridge.tunnel.sent == 5)
        await asyncio.sleep(0.1)
        await bridge.tunnel.close()
        async with asyncio.timeout(10):
            await ended.wait()
            await bridge.over.wait()
        assert "tunnel was closed" in bridge.faults[0].cause
        writer.close()

    _story(world, folder, waits, tell)


def test_a_lost_peer_ends_the_engines_link_and_is_named(world: World, folder: Path) -> None:
    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _ended(reader)
        writer.close()

    async def tell(bridge: _Bridge) -> None:
        reader, writer = await bridge.dial()
        writer.write(b"hello")
        await _settled(lambda: bridge.tunnel.sent == 5)
        await bridge.bob.stop()
        assert await _ended(reader)
        await _settled(lambda: bridge.tunnel.failure is not None)
        assert isinstance(bridge.tunnel.failure, PeerLost)
        assert bridge.tunnel.failure.peer == did_of("bob")
        writer.close()

    _story(world, folder, waits, tell)


def test_a_stream_that_cannot_be_opened_is_the_tunnels_failure(folder: Path) -> None:
    async def story() -> None:
        async def refuse() -> Any:
            raise FlowError("no such step", remedy="none")

        tunnel = Tunnel(refuse)
        await tunnel.listen(folder / "a.sock")
        reader, writer = await asyncio.open_unix_connection(str(folder / "a.sock"))
        assert await _ended(reader)
        assert tunnel.failure is not None
        assert tunnel.failure.cause == "no such step"
        writer.close()
        await tunnel.close()

    asyncio.run(story())


def test_a_folder_that_others_can_enter_is_refused(folder: Path) -> None:
    folder.chmod(0o755)

    async def story() -> None:
        with pytest.raises(TransportError, match="others can enter"):
            await Tunnel(_no_stream).listen(folder / "a.sock")

    asyncio.run(story())
    assert not (folder / "a.sock").exists()


async def _no_stream() -> Any:
    raise AssertionError


def test_a_socket_that_cannot_be_bound_is_named(folder: Path) -> None:
    async def story() -> None:
        for path in (folder / ("x" * 120), folder / "missing" / "a.sock"):
            with pytest.raises(TransportError, match="socket cannot be used"):
                await Tunnel(_no_stream).listen(path)

    asyncio.run(story())
