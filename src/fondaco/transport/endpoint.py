"""A node's endpoint: one inbound port, links dialled when needed, every peer known by its certificate.

After the handshake the peer's certificate must be, byte for byte, one of the directory's; a dialled peer must show
the very certificate of the one that was meant. When the directory changes, links to peers that are trusted no more
are dropped at once. A guest (the holder of an invitation) reaches only what was registered for guests. Strangers
hold at most 64 handshakes open, each for `handshake` seconds; which one gives way to a new one is in `handshakes`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Coroutine

from fondaco.core.keys import SecretKey
from fondaco.errors import FondacoError, PeerLost, PeerRefused, TransportError
from fondaco.transport.handshakes import Handshakes, origin_of
from fondaco.transport.identity import PeerDirectory, PeerIdentity, public_key_of
from fondaco.transport.link import MAX_GUEST_STREAMS, MAX_STREAMS, Link
from fondaco.transport.peering import (
    MAX_CALL,
    CallHandler,
    LostHandler,
    Stream,
    StreamHandler,
    Timings,
    answer_call,
    make_call,
    too_late,
)
from fondaco.transport.stream import LinkStream
from fondaco.transport.tls import ALPN, can_anchor, make_context

_log = logging.getLogger(__name__)
MAX_HANDSHAKES = 64
MAX_LINKS_IN = 4
BACKLOG = 128
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE = 0.1
_FAREWELL = 1.0
_REACH = "check that the peer's node runs and can be reached"
_SEE_LEDGER = "see the ledger for the active nodes and their keys"


class Endpoint:
    """Peering over TLS; see peering.Peering."""

    def __init__(
        self,
        *,
        secret: SecretKey,
        certificate: bytes,
        host: str,
        port: int,
        directory: PeerDirectory,
        timings: Timings | None = None,
    ) -> None:
        self._secret = secret
        self._certificate = certificate
        self._host = host
        self._port = port
        self._directory = directory
        self._timings = timings or Timings()
        self._handlers: dict[str, tuple[StreamHandler, bool]] = {}
        self._lost: list[LostHandler] = []
        self._told: set[str] = set()
        self._dialled: dict[str, Link] = {}
        self._dialling: dict[str, asyncio.Lock] = {}
        self._links: dict[Link, None] = {}
        self._origins: dict[str, str] = {}
        self._handshakes = Handshakes(MAX_HANDSHAKES, self._is_member_at)
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket: socket.socket | None = None
        self._stopping = False
        self._version: int | None = None
        self._refresh_contexts()

    # -- life -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen.

        Raises:
            TransportError: the address cannot be had.
        """
        try:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            self._socket = socket.create_server((self._host, self._port), family=family, backlog=BACKLOG)
        except OSError as fault:
            raise TransportError(
                f"cannot listen on {self._host}:{self._port} ({fault.strerror})", remedy="choose another port"
            ) from fault
        self._socket.setblocking(False)
        self._port = self._socket.getsockname()[1]
        self._spawn(self._accept(self._socket))

    async def stop(self) -> None:
        """Stop listening and end all links; peers hear that this node is stopping."""
        self._stopping = True
        stopping = TransportError("this node is stopping", remedy="start it again")
        links = tuple(self._links)
        for link in links:
            link.close(stopping, say=TransportError("the peer is stopping", remedy=_REACH))
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
        try:
            async with asyncio.timeout(_FAREWELL):
                for link in links:
                    await link.gone.wait()
        except TimeoutError:
            for link in links:
                link.drop()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._port

    def refresh(self) -> None:
        """Look at the directory again: drop links to peers that it trusts no more."""
        if self._version == self._directory.version():
            return
        self._refresh_contexts()
        for link in tuple(self._links):
            known = self._identities.get(link.certificate)
            if known is None or (known.did, known.guest) != (link.peer, link.guest):
                link.close(
                    PeerRefused("this peer's key is no longer trusted", remedy=_SEE_LEDGER, peer=link.peer),
                    say=PeerRefused("your key is no longer trusted here", remedy=_SEE_LEDGER),
                )

    def _refresh_contexts(self) -> None:
        self._version = self._directory.version()
        self._identities = {one.certificate: one for one in self._directory.trusted() if _is_sound(one)}
        self._by_did = {one.did: one for one in self._identities.values()}
        members = {did: one for did, one in self._by_did.items() if not one.guest}
        self._hosts = {origin_of((one.address or "").rpartition(":")[0].strip("[]")) for one in members.values()}
        self._origins = {did: origin for did, origin in self._origins.items() if did in members}
        anchors = [self._certificate, *self._identities]
        self._server_context = make_context(self._secret, self._certificate, anchors, server=True)
        self._client_context = make_context(self._secret, self._certificate, anchors, server=False)

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            _log.error("a handler broke: this is a defect", exc_info=fault)

    # -- being called -----------------------------------------------------------------------------------------

    def handle(self, protocol: str, handler: StreamHandler, *, guests: bool = False) -> None:
        """Serve streams of a protocol. A stream lives as long as its handler runs."""
        self._handlers[protocol] = (handler, guests)

    def serve_calls(
        self, protocol: str, handler: CallHandler, *, guests: bool = False, largest: int = MAX_CALL
    ) -> None:
        """Serve calls."""

        async def answer(stream: Stream) -> None:
            await answer_call(stream, handler, largest=largest, timings=self._timings)

        self.handle(protocol, answer, guests=guests)

    def on_lost(self, handler: LostHandler) -> None:
        """Hear of peers that go away: once, until a new link with the peer stands."""
        self._lost.append(handler)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(listener)
            except OSError as fault:
                _log.warning("accepting a connection failed: %s", fault.strerror)
                if fault.errno in _FULL:
                    # Nothing tells when another descriptor is free; without a pause this would spin.
                    await asyncio.sleep(_PAUSE)
                continue
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._handshakes.make_room()
            self.refresh()
            self._handshakes.add(self._spawn(self._welcome(accepted, str(address[0]))), str(address[0]))

    def _is_member_at(self, origin: str) -> bool:
        return origin in self._hosts or origin in self._origins.values()

    async def _welcome(self, accepted: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: self._link(dialled=False),
                accepted,
                ssl=self._server_context,
                ssl_handshake_timeout=self._timings.handshake,
                ssl_shutdown_timeout=_FAREWELL,
            )
        except ssl.SSLError as fault:
            _log.warning("refused a connection from %s: %s", address, fault.reason or "not TLS 1.3")
        except OSError as fault:
            _log.warning("a connection from %s ended in its handshake: %s", address, type(fault).__name__)

    def _link(self, *, dialled: bool, meant: PeerIdentity | None = None) -> Link:
        return Link(
            dialled=dialled,
            timings=self._timings,
            on_ready=lambda link: self._ready(link, meant),
            on_stream=self._arrived,
            on_closed=self._closed,
        )

    def _ready(self, link: Link, meant: PeerIdentity | None) -> None:
        """Know the peer of a link by its certificate, or end it."""
        identity = self._identities.get(link.certificate)
        if identity is None or self._stopping:
            _log.warning("refused a peer: its certificate is no longer in the directory")
            fault = PeerRefused("the peer's certificate is not in the directory", remedy=_SEE_LEDGER)
        elif link.application != ALPN:
            _log.warning("refused %s: it does not speak %s", identity.did, ALPN)
            fault = PeerRefused(
                f"the peer does not speak {ALPN}", remedy="use one version of fondaco", peer=identity.did
            )
        elif meant is not None and identity.did != meant.did:
            _log.warning("refused %s: it answered at the address of %s", identity.did, meant.did)
            fault = PeerRefused(
                f"{identity.did} answered at {meant.address}, the address of {meant.did}",
                remedy="check the address on the ledger",
                peer=meant.did,
                answered=identity.did,
            )
        else:
            link.peer, link.guest = identity.did, identity.guest
            self._links[link] = None
            self._told.discard(link.peer)
            if not link.guest and link.origin:
                self._origins[link.peer] = origin_of(link.origin)
            if meant is None:
                self._limit_links(link.peer)
            return
        link.close(fault, at_once=True)

    def _limit_links(self, peer: str) -> None:
        """A peer needs one link to us; one that died unnoticed may linger beside it, and no more."""
        inbound = [link for link in self._links if link.peer == peer and not link.dialled]
        for link in inbound[:-MAX_LINKS_IN]:
            link.close(link.lost("the peer opened too many links"), at_once=True)

    def _closed(self, link: Link, cause: str) -> None:
        known = link in self._links
        self._links.pop(link, None)
        if self._dialled.get(link.peer) is link:
            del self._dialled[link.peer]
        if not known or self._stopping:
            return
        _log.info("the link with %s ended: %s", link.peer, cause)
        if link.peer not in self._told:
            self._told.add(link.peer)
            for handler in self._lost:
                asyncio.get_running_loop().call_soon(handler, link.peer, cause)

    def _arrived(self, stream: LinkStream) -> None:
        if not self._stopping:
            stream.link.serving += 1
            self._spawn(self._serve(stream))

    async def _serve(self, stream: LinkStream) -> None:
        link = stream.link
        fault: FondacoError | None = TransportError("the peer's handler broke", remedy="look at the peer's log")
        try:
            await self._handler(stream)(stream)
            await stream.finish()
            fault = None
        except FondacoError as raised:
            _log.info("stream %s of %s: %s", stream.protocol, stream.peer, raised.cause)
            fault = raised
        finally:
            link.serving -= 1
            if fault is not None:
                await stream.abort(fault)
            link.release(stream)

    def _handler(self, stream: LinkStream) -> StreamHandler:
        link = stream.link
        found = self._handlers.get(stream.protocol)
        if found is None or (link.guest and not found[1]):
            raise PeerRefused(
                "this node does not offer that to you",
                remedy="join the consortium, or use a version that offers it",
                protocol=stream.protocol,
            )
        # A peer that resets its streams at once would otherwise start as many handlers as it likes.
        if link.serving > (MAX_GUEST_STREAMS if link.guest else MAX_STREAMS):
            raise PeerRefused("too many of your streams are being served", remedy="wait for some to end")
        return found[0]

    # -- calling ----------------------------------------------------------------------------------------------

    def _identity(self, peer: str) -> PeerIdentity:
        self.refresh()
        found = self._by_did.get(peer)
        if found is None:
            raise PeerRefused("this peer is not trusted", remedy=_SEE_LEDGER, peer=peer)
        return found

    async def _connected(self, peer: str) -> Link:
        identity = self._identity(peer)
        async with self._dialling.setdefault(peer, asyncio.Lock()):
            link = self._dialled.get(peer)
            if link is None or link.closed:
                link = await self._dial(identity)
            return link

    async def _dial(self, identity: PeerIdentity) -> Link:
        host, port = _place(identity)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timings.connect + self._timings.handshake):
                _transport, link = await loop.create_connection(
                    lambda: self._link(dialled=True, meant=identity),
                    host,
                    port,
                    ssl=self._client_context,
                    server_hostname="",
                    ssl_handshake_timeout=self._timings.handshake,
                    ssl_shutdown_timeout=_FAREWELL,
                )
                try:
                    await link.welcomed()
                except asyncio.CancelledError:
                    link.close(link.lost("not welcomed in time"), at_once=True)
                    raise
                except PeerLost as fault:
                    # In TLS 1.3 the server judges our certificate when our side of the handshake is over, and
                    # asyncio closes without the alert: this is how a refusal looks from here.
                    raise PeerRefused(
                        f"the node at {identity.address} closed the link before it welcomed us",
                        remedy="check that our own key is registered and active on the ledger",
                        peer=identity.did,
                    ) from fault
        except ssl.SSLError as fault:
            raise PeerRefused(
                f"the node at {identity.address} is not the peer that was meant ({fault.reason or 'no TLS 1.3'})",
                remedy="check the address on the ledger",
                peer=identity.did,
            ) from fault
        except (OSError, TimeoutError, UnicodeError) as fault:
            raise PeerLost(f"cannot be reached at {identity.address}", peer=identity.did, remedy=_REACH) from fault
        self._dialled[identity.did] = link
        return link

    async def open(self, peer: str, protocol: str, header: bytes = b"") -> Stream:
        """A new stream to a peer; dials when there is no link.

        Raises:
            PeerLost: it cannot be reached, or the link broke.
            PeerRefused: it is not trusted, is not the one that was meant, or does not trust us.
        """
        link = await self._connected(peer)
        return link.open(protocol, header)

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
                link = await self._connected(peer)
                return await link.probe(deadline)
        except TimeoutError as late:
            raise too_late(peer, "ping", deadline) from late


def _is_sound(identity: PeerIdentity) -> bool:
    """Whether the certificate is one, and of this did: the directory may hold what somebody else wrote."""
    try:
        ours = public_key_of(identity.certificate).did == identity.did
    except PeerRefused as fault:
        _log.warning("left %s out: %s", identity.did, fault.cause)
        return False
    if not ours:
        _log.warning("left %s out: its certificate is of another key", identity.did)
    elif not can_anchor(identity.certificate):
        _log.warning("left %s out: OpenSSL cannot read its certificate", identity.did)
        return False
    return ours


def _place(identity: PeerIdentity) -> tuple[str, int]:
    host, _colon, port = (identity.address or "").rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 1 << 16:
        raise PeerLost(
            f"the peer has no address that can be dialled ({identity.address})",
            peer=identity.did,
            remedy="wait until its host:port is on the ledger",
        )
    return host.strip("[]"), int(port)
