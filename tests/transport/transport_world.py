"""A small world of nodes for the tests of transport: over TLS on loopback, or in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fondaco.core.keys import SecretKey
from fondaco.transport.endpoint import Endpoint
from fondaco.transport.identity import PeerIdentity, make_certificate
from fondaco.transport.memory import MemoryEndpoint, MemoryNetwork
from fondaco.transport.peering import Peering, Stream, Timings

HOST = "127.0.0.1"
STORY_SECONDS = 60.0
QUICK = Timings(connect=2.0, handshake=2.0, heartbeat=0.1, silence=2.0)


def secret_of(name: str) -> SecretKey:
    """A key for a name: the same in every process of a test."""
    return SecretKey.from_seed(hashlib.sha256(b"test only " + name.encode()).digest())


def did_of(name: str) -> str:
    return secret_of(name).public.did


def certificate_of(name: str) -> bytes:
    return make_certificate(secret_of(name), name=name)


def identity_of(name: str, address: str | None = None, *, guest: bool = False) -> PeerIdentity:
    return PeerIdentity(did_of(name), certificate_of(name), address, guest)


class Directory:
    """A directory that a test changes."""

    def __init__(self, identities: Sequence[PeerIdentity] = ()) -> None:
        self._identities = {one.did: one for one in identities}
        self._version = 0

    def trusted(self) -> Sequence[PeerIdentity]:
        return tuple(self._identities.values())

    def version(self) -> int:
        return self._version

    def put(self, identity: PeerIdentity) -> None:
        self._identities[identity.did] = identity
        self._version += 1

    def remove(self, did: str) -> None:
        self._identities.pop(did, None)
        self._version += 1


class World:
    """Nodes that trust one another unless the test says otherwise."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.network = MemoryNetwork()
        self.nodes: dict[str, Any] = {}
        self.directories: dict[str, Directory] = {}
        self.members: dict[str, PeerIdentity] = {}

    def run(self, story: Callable[[], Awaitable[None]]) -> None:
        """Run a test's story; whatever hangs ends it."""

        async def told() -> None:
            try:
                async with asyncio.timeout(STORY_SECONDS):
                    await story()
            finally:
                for node in self.nodes.values():
                    await node.stop()

        asyncio.run(told())

    async def node(self, name: str, *, guest: bool = False, timings: Timings = QUICK) -> Any:
        """Start a node (again), known to all others."""
        directory = self.directories[name] = Directory(tuple(self.members.values()))
        if self.kind == "tls":
            made: Endpoint | MemoryEndpoint = Endpoint(
                secret=secret_of(name),
                certificate=certificate_of(name),
                host=HOST,
                port=0,
                directory=directory,
                timings=timings,
            )
        else:
            made = self.network.endpoint(did_of(name), directory, timings)
        await made.start()
        address = None if guest else f"{HOST}:{made.port}"
        self.members[name] = identity_of(name, address, guest=guest)
        for one in self.directories.values():
            one.put(self.members[name])
        self.nodes[name] = made
        return made

    async def pair(self, timings: Timings = QUICK) -> tuple[Any, Any]:
        """Two nodes, "ada" and "bob"."""
        return await self.node("ada", timings=timings), await self.node("bob", timings=timings)

    def revoke(self, name: str) -> None:
        """Every node learns that a key is no longer trusted."""
        for other, directory in self.directories.items():
            if other != name:
                directory.remove(did_of(name))
                self.nodes[other].refresh()


async def drain(stream: Stream) -> bytes:
    """Everything until the end."""
    parts = []
    while data := await stream.receive():
        parts.append(data)
    return b"".join(parts)


async def flood(stream: Stream) -> None:
    """Send until the stream breaks."""
    while True:
        await stream.send(bytes(1 << 20))


async def echo(stream: Stream) -> None:
    """A handler that sends back what comes, as it comes."""
    while data := await stream.receive():
        await stream.send(data)


class Losses:
    """What a node was told of lost peers."""

    def __init__(self, node: Peering) -> None:
        self.told: list[tuple[str, str]] = []
        self._news = asyncio.Event()
        node.on_lost(self._note)

    def _note(self, peer: str, cause: str) -> None:
        self.told.append((peer, cause))
        self._news.set()

    async def first(self, deadline: float = 10.0) -> tuple[str, str]:
        async with asyncio.timeout(deadline):
            await self._news.wait()
        return self.told[0]
