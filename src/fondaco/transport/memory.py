"""The memory twin of the TLS endpoint: the same interface in one process, with faults on command and a transcript.

For tests and simulations. It has no cryptography: who a peer is, is what the network was told. Directories, guests,
limits, aborts and the loss of peers behave as over TLS, and one conformance suite runs on both. Every byte that a
node receives (headers, data, errors) is kept, so that a test can assert what a party never saw.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from fondaco.errors import DeadlineExceeded, FondacoError, PeerLost, PeerRefused, TransportError
from fondaco.transport.identity import PeerDirectory, PeerIdentity
from fondaco.transport.peering import (
    MAX_CALL,
    Budget,
    CallHandler,
    LostHandler,
    Stream,
    StreamHandler,
    Timings,
    answer_call,
    check_opening,
    make_call,
    pack_fault,
    too_late,
    unpack_fault,
)

_log = logging.getLogger(__name__)
WINDOW = 4 << 20
MAX_STREAMS = 256
_REACH = "check that the peer's node runs and can be reached"
_SEE_LEDGER = "see the ledger for the active nodes and their keys"


class MemoryStream:
    """One end of a stream; `twin` is the other."""

    def __init__(self, owner: MemoryEndpoint, peer: str, protocol: str, header: bytes) -> None:
        self._owner = owner
        self.budget = owner.budget_of(peer)
        self.peer = peer
        self.protocol = protocol
        self.header = header
        self.twin: MemoryStream = self
        self.fault: FondacoError | None = None
        self.finished = False
        self._ended = False
        self._parts: deque[bytes] = deque()
        self.held = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether nothing can happen any more."""
        return self.fault is not None or (self.finished and self._ended)

    async def send(self, data: bytes) -> None:
        """Send bytes; waits while the peer reads too slowly."""
        view = memoryview(bytes(data))
        while view:
            if self.fault is not None:
                raise self.fault
            if self.finished:
                raise TransportError("the stream has ended", remedy="open another", peer=self.peer)
            room = WINDOW - self.twin.held
            if room <= 0 or not self._owner.heard_by(self.peer):
                self._room.clear()
                await self._room.wait()
                continue
            self.twin.feed(bytes(view[:room]))
            view = view[room:]

    async def receive(self, deadline: float | None = None) -> bytes:
        """The next bytes; empty at the end."""
        try:
            async with asyncio.timeout(deadline):
                while not self._parts and not self._ended and self.fault is None:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError as late:
            raise DeadlineExceeded(
                "the peer sent nothing in time", remedy="look at the peer's log", peer=self.peer
            ) from late
        if self._parts:
            data = self._parts.popleft()
            self.held -= len(data)
            self.twin.wake()
            return data
        if self._ended:
            return b""
        raise self.fault or TransportError("the stream has no end", remedy="report this", peer=self.peer)

    async def finish(self) -> None:
        """No more bytes from this side."""
        if not self.finished and self.fault is None:
            self.finished = True
            self._owner.pass_on(self.peer, self.twin.end)

    async def abort(self, fault: FondacoError) -> None:
        """End both directions; the peer hears `fault`."""
        if self.fault is None:
            packed = pack_fault(fault)
            self._owner.pass_on(self.peer, lambda: self.twin.told(packed))
            self.fail(fault)

    def told(self, packed: bytes) -> None:
        """The peer broke the stream off."""
        if not self.over:
            self._owner.transcribe(packed)
            self.fail(unpack_fault(packed, peer=self.peer))

    def fail(self, fault: FondacoError) -> None:
        """The stream is over, with a cause."""
        if self.fault is None:
            self.fault = fault
            if not self._ended:
                self._parts.clear()
            self._news.set()
            self.wake()

    def wake(self) -> None:
        """There may be room to send, or a fault."""
        self._room.set()

    def feed(self, data: bytes) -> None:
        """Bytes came."""
        if self.fault is None:
            self._owner.transcribe(data)
            self._parts.append(data)
            self.held += len(data)
            self._news.set()

    def end(self) -> None:
        """The peer finished."""
        self._ended = self._ended or self.fault is None
        self._news.set()


class MemoryNetwork:
    """All nodes of a test, and what is wrong between them."""

    def __init__(self) -> None:
        self.endpoints: dict[str, MemoryEndpoint] = {}
        self._cut: set[frozenset[str]] = set()
        self._silent: set[str] = set()
        self._transcripts: dict[str, bytearray] = {}
        self._delayed: list[tuple[str, str, Callable[[], None]]] = []

    def endpoint(self, did: str, directory: PeerDirectory, timings: Timings | None = None) -> MemoryEndpoint:
        """A node; it can be reached once it has started."""
        self._transcripts.setdefault(did, bytearray())
        return MemoryEndpoint(self, did, directory, timings or Timings())

    def reaches(self, one: str, other: str) -> bool:
        """Whether bytes pass between the two now."""
        return frozenset((one, other)) not in self._cut and not self._silent & {one, other}

    def pass_on(self, one: str, other: str, news: Callable[[], None]) -> None:
        """Give news to a node, now or when it can be reached again."""
        if self.reaches(one, other):
            news()
        else:
            self._delayed.append((one, other, news))

    def received(self, did: str) -> bytes:
        """Every byte that a node has received."""
        return bytes(self._transcripts[did])

    def transcribe(self, did: str, data: bytes) -> None:
        """A node received bytes."""
        self._transcripts[did] += data

    def cut(self, one: str, other: str) -> None:
        """No byte passes between two nodes: each loses the other when its silence is over."""
        self._cut.add(frozenset((one, other)))
        self._notice(one, other)

    def heal(self, one: str, other: str) -> None:
        """End a cut, and the silence of both."""
        self._cut.discard(frozenset((one, other)))
        self._silent -= {one, other}
        self._stir()

    def silence(self, did: str) -> None:
        """A node hears and says nothing, as if it were stopped: the others lose it, and it them."""
        self._silent.add(did)
        for other in self.endpoints:
            if other != did:
                self._notice(did, other)

    async def kill(self, did: str) -> None:
        """A node's process ends with no farewell: the others hear at once that the connection broke."""
        gone = self.endpoints.pop(did, None)
        if gone is None:
            return
        for endpoint in self.endpoints.values():
            endpoint.lose(did, "the connection broke")
        await gone.halt(PeerLost("this node was killed", peer=did, remedy="start it again"))

    def _notice(self, one: str, other: str) -> None:
        loop = asyncio.get_running_loop()
        for who, whom in ((one, other), (other, one)):
            endpoint = self.endpoints.get(who)
            if endpoint is not None:
                loop.call_later(endpoint.timings.silence, endpoint.miss, whom)

    def _stir(self) -> None:
        held_up, self._delayed = self._delayed, []
        for one, other, news in held_up:
            self.pass_on(one, other, news)
        for endpoint in self.endpoints.values():
            endpoint.stir()


class MemoryEndpoint:
    """Peering in memory; see peering.Peering."""

    port = 0

    def __init__(self, network: MemoryNetwork, did: str, directory: PeerDirectory, timings: Timings) -> None:
        self.did = did
        self.timings = timings
        self._network = network
        self._directory = directory
        self._version = directory.version()
        self._handlers: dict[str, tuple[StreamHandler, bool]] = {}
        self._lost: list[LostHandler] = []
        self._linked: set[str] = set()
        self._budgets: dict[tuple[str, bool], Budget] = {}
        self._streams: dict[MemoryStream, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Be reachable."""
        self._network.endpoints[self.did] = self

    async def stop(self) -> None:
        """End all links."""
        self._network.endpoints.pop(self.did, None)
        for endpoint in tuple(self._network.endpoints.values()):
            endpoint.lose(self.did, "the peer is stopping")
        await self.halt(TransportError("this node is stopping", remedy="start it again"))

    async def halt(self, fault: FondacoError) -> None:
        """End all of this node's own work."""
        for stream in tuple(self._streams):
            stream.fail(fault)
        self._linked.clear()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def refresh(self) -> None:
        """Look at the directory again: drop links to peers that it trusts no more."""
        if self._version == self._directory.version():
            return
        self._version = self._directory.version()
        for peer in tuple(self._linked):
            if self.identity_of(peer) is None:
                other = self._network.endpoints.get(peer)
                self.lose(peer, "this peer's key is no longer trusted", refused=True)
                if other is not None:
                    other.lose(self.did, "your key is no longer trusted here", refused=True)

    def handle(self, protocol: str, handler: StreamHandler, *, guests: bool = False) -> None:
        """Serve streams of a protocol. A stream lives as long as its handler runs."""
        self._handlers[protocol] = (handler, guests)

    def serve_calls(
        self, protocol: str, handler: CallHandler, *, guests: bool = False, largest: int = MAX_CALL
    ) -> None:
        """Serve calls."""

        async def answer(stream: Stream) -> None:
            await answer_call(stream, handler, largest=largest, timings=self.timings)

        self.handle(protocol, answer, guests=guests)

    def on_lost(self, handler: LostHandler) -> None:
        """Hear of peers that go away."""
        self._lost.append(handler)

    # -- used by the network and by other endpoints -------------------------------------------------------------

    def identity_of(self, peer: str) -> PeerIdentity | None:
        """What this node's directory has of a peer."""
        return next((one for one in self._directory.trusted() if one.did == peer), None)

    def budget_of(self, peer: str) -> Budget:
        """What the unfinished calls of a peer may hold here."""
        identity = self.identity_of(peer)
        guest = identity is None or identity.guest
        return self._budgets.setdefault((peer, guest), Budget(guest=guest))

    def heard_by(self, peer: str) -> bool:
        """Whether bytes of this node reach a peer now."""
        return self._network.reaches(self.did, peer)

    def transcribe(self, data: bytes) -> None:
        """This node received bytes."""
        self._network.transcribe(self.did, data)

    def pass_on(self, peer: str, news: Callable[[], None]) -> None:
        """Give news to a peer."""
        self._network.pass_on(self.did, peer, news)

    def stir(self) -> None:
        """Senders look again whether they can send."""
        for stream in self._streams:
            stream.wake()

    def miss(self, peer: str) -> None:
        """The silence of a peer is over its limit, if it lasts still."""
        if not self.heard_by(peer):
            self.lose(peer, f"silent for {self.timings.silence:g} s")

    def lose(self, peer: str, cause: str, *, refused: bool = False) -> None:
        """The link with a peer has ended: its streams fail, and the owner hears it once."""
        if peer not in self._linked:
            return
        self._linked.discard(peer)
        kind = PeerRefused if refused else PeerLost
        for stream in tuple(self._streams):
            if stream.peer == peer:
                stream.fail(kind(cause, peer=peer, remedy=_SEE_LEDGER if refused else _REACH))
                self._streams.pop(stream, None)
        for handler in self._lost:
            asyncio.get_running_loop().call_soon(handler, peer, cause)

    def accept(self, peer: str, stream: MemoryStream) -> None:
        """A peer opened a stream; `stream` is our end of it."""
        self._linked.add(peer)
        self._streams[stream] = None
        self.transcribe(stream.protocol.encode() + stream.header)
        task = asyncio.get_running_loop().create_task(self._serve(stream))
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            _log.error("a handler broke: this is a defect", exc_info=fault)

    async def _serve(self, stream: MemoryStream) -> None:
        fault: FondacoError | None = TransportError("the peer's handler broke", remedy="look at the peer's log")
        try:
            await self._handler(stream)(stream)
            await stream.finish()
            fault = None
        except FondacoError as raised:
            _log.info("stream %s of %s: %s", stream.protocol, stream.peer, raised.cause)
            fault = raised
        finally:
            if fault is not None:
                await stream.abort(fault)
            elif not stream.over:
                await stream.abort(TransportError("the peer reads no more of this stream", remedy="open another"))
            self._streams.pop(stream, None)

    def _handler(self, stream: MemoryStream) -> StreamHandler:
        found = self._handlers.get(stream.protocol)
        identity = self.identity_of(stream.peer)
        if found is None or identity is None or (identity.guest and not found[1]):
            raise PeerRefused(
                "this node does not offer that to you",
                remedy="join the consortium, or use a version that offers it",
                protocol=stream.protocol,
            )
        return found[0]

    # -- calling ----------------------------------------------------------------------------------------------

    async def _reached(self, peer: str) -> MemoryEndpoint:
        self.refresh()
        if self.identity_of(peer) is None:
            raise PeerRefused("this peer is not trusted", remedy=_SEE_LEDGER, peer=peer)
        if not self.heard_by(peer):
            await asyncio.sleep(self.timings.connect)
        other = self._network.endpoints.get(peer)
        if other is None or not self.heard_by(peer):
            raise PeerLost("cannot be reached", peer=peer, remedy=_REACH)
        other.refresh()
        if other.identity_of(self.did) is None:
            raise PeerRefused("the peer ended the link (unknown key)", remedy=_SEE_LEDGER, peer=peer)
        self._linked.add(peer)
        return other

    async def open(self, peer: str, protocol: str, header: bytes = b"") -> Stream:
        """A new stream to a peer."""
        check_opening(protocol, header)
        other = await self._reached(peer)
        self._streams = {one: None for one in self._streams if not one.over}
        if sum(1 for one in self._streams if one.peer == peer) >= MAX_STREAMS:
            raise TransportError(
                "as many streams to this peer are open as it allows", remedy="wait for some to end", peer=peer
            )
        ours = MemoryStream(self, peer, protocol, header)
        theirs = MemoryStream(other, self.did, protocol, header)
        ours.twin, theirs.twin = theirs, ours
        self._streams[ours] = None
        other.accept(self.did, theirs)
        return ours

    async def call(self, peer: str, protocol: str, payload: bytes, *, deadline: float) -> bytes:
        """Ask a peer."""
        try:
            async with asyncio.timeout(deadline):
                return await make_call(await self.open(peer, protocol), payload)
        except TimeoutError as late:
            raise too_late(peer, protocol, deadline) from late

    async def probe(self, peer: str, *, deadline: float) -> float:
        """Ping a peer."""
        try:
            async with asyncio.timeout(deadline):
                await self._reached(peer)
        except TimeoutError as late:
            raise too_late(peer, "ping", deadline) from late
        return 0.0
