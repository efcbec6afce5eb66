"""A node's endpoint: one inbound port, links dialled when needed, every peer known by its certificate.

After the handshake the peer's certificate must be, byte for byte, one of the directory's; a dialled peer must show
the very certificate of the one that was meant. When the directory changes, links to peers that are trusted no more
are dropped at once. A guest (the holder of an invitation) reaches only what was registered for guests.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl

from fondaco.core.keys import SecretKey
from fondaco.errors import FondacoError, PeerLost, PeerRefused, TransportError
from fondaco.transport.identity import PeerDirectory, PeerIdentity
from fondaco.transport.link import Link, LinkStream
from fondaco.transport.peering import (
    CallHandler,
    LostHandler,
    Stream,
    StreamHandler,
    Timings,
    answer_call,
    make_call,
    too_late,
)
from fondaco.transport.tls import make_context

_log = logging.getLogger(__name__)
MAX_HANDSHAKES = 64
BACKLOG = 128
_REACH = "check that the peer's node runs and can be reached"


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
        self._dialled: dict[str, Link] = {}
        self._dialling: dict[str, asyncio.Lock] = {}
        self._links: dict[Link, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket: socket.socket | None = None
        self._version: int | None = None
        self._handshakes = asyncio.Semaphore(MAX_HANDSHAKES)
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
        """End all links and stop listening."""
        if self._socket is not None:
            self._socket.close()
        for link in tuple(self._links):
            link.close("this node is stopping")
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._port

    def refresh(self) -> None:
        """Look at the directory again: drop links to peers that it trusts no more."""
        if self._version == self._directory.version():
            return
        self._refresh_contexts()
        known = {identity.did: identity for identity in self._directory.trusted()}
        for link in tuple(self._links):
            if link.peer and (link.peer not in known or known[link.peer].guest != link.guest):
                link.close("this peer's key is no longer trusted")

    def _refresh_contexts(self) -> None:
        self._version = self._directory.version()
        self._identities = {identity.certificate: identity for identity in self._directory.trusted()}
        anchors = [self._certificate, *self._identities]
        self._server_context = make_context(self._secret, self._certificate, anchors, server=True)

    def _spawn(self, work: asyncio.Future[None] | object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- being called -----------------------------------------------------------------------------------------

    def handle(self, protocol: str, handler: StreamHandler, *, guests: bool = False) -> None:
        """Serve streams of a protocol."""
        self._handlers[protocol] = (handler, guests)

    def serve_calls(self, protocol: str, handler: CallHandler, *, guests: bool = False) -> None:
        """Serve calls."""
        self.handle(protocol, lambda stream: answer_call(stream, handler), guests=guests)

    def on_lost(self, handler: LostHandler) -> None:
        """Hear of peers that go away."""
        self._lost.append(handler)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._handshakes.acquire()
            try:
                accepted, address = await loop.sock_accept(listener)
            except OSError as fault:
                self._handshakes.release()
                _log.warning("accepting a connection failed: %s", fault.strerror)
                return
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(self._welcome(accepted, str(address[0])))

    async def _welcome(self, accepted: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: self._link(dialled=False),
                accepted,
                ssl=self._server_context,
                ssl_handshake_timeout=self._timings.handshake,
            )
        except (ssl.SSLError, OSError, TimeoutError) as fault:
            _log.warning("refused a connection from %s: %s", address, type(fault).__name__)
        finally:
            self._handshakes.release()

    def _link(self, *, dialled: bool) -> Link:
        return Link(
            dialled=dialled,
            timings=self._timings,
            on_ready=self._ready,
            on_stream=self._stream,
            on_closed=self._closed,
        )

    def _ready(self, link: Link) -> None:
        identity = self._identities.get(_certificate(link))
        if identity is None:
            _log.warning("refused a peer whose certificate is not in the directory")
            link.close("your certificate is not trusted here")
            return
        link.peer, link.guest = identity.did, identity.guest
        self._links[link] = None

    def _closed(self, link: Link, cause: str) -> None:
        self._links.pop(link, None)
        if self._dialled.get(link.peer) is link:
            del self._dialled[link.peer]
        if link.peer:
            _log.info("link with %s ended: %s", link.peer, cause)
            for handler in self._lost:
                handler(link.peer, cause)

    def _stream(self, stream: LinkStream) -> None:
        self._spawn(self._serve(stream))

    async def _serve(self, stream: LinkStream) -> None:
        found = self._handlers.get(stream.protocol)
        guest = any(link.guest for link in self._links if link.peer == stream.peer)
        try:
            if found is None or (guest and not found[1]):
                raise PeerRefused(
                    "this node does not offer that to you", remedy="see the protocol", protocol=stream.protocol
                )
            await found[0](stream)
        except FondacoError as fault:
            _log.info("stream %s of %s: %s", stream.protocol, stream.peer, fault.cause)
            await stream.abort(fault)

    # -- calling ----------------------------------------------------------------------------------------------

    def _identity(self, peer: str) -> PeerIdentity:
        self.refresh()
        for identity in self._identities.values():
            if identity.did == peer:
                return identity
        raise PeerRefused("this peer is not trusted", remedy="see the ledger for the active nodes", peer=peer)

    async def _connected(self, peer: str) -> Link:
        lock = self._dialling.setdefault(peer, asyncio.Lock())
        async with lock:
            link = self._dialled.get(peer)
            if link is None or link.closed:
                link = await self._dial(self._identity(peer))
                self._dialled[peer] = link
            return link

    async def _dial(self, identity: PeerIdentity) -> Link:
        if identity.address is None:
            raise PeerLost("the peer has no address", peer=identity.did, remedy="wait until it is on the ledger")
        host, _colon, port = identity.address.rpartition(":")
        context = make_context(self._secret, self._certificate, [identity.certificate], server=False)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timings.connect + self._timings.handshake):
                _transport, link = await loop.create_connection(
                    lambda: self._link(dialled=True),
                    host.strip("[]"),
                    int(port),
                    ssl=context,
                    server_hostname="",
                    ssl_handshake_timeout=self._timings.handshake,
                )
        except ssl.SSLError as fault:
            raise PeerRefused(
                f"the node at {identity.address} is not the peer that was meant, or refused us ({fault.reason})",
                remedy="check the address on the ledger, and that our own key is registered",
                peer=identity.did,
            ) from fault
        except (OSError, TimeoutError) as fault:
            raise PeerLost(f"cannot be reached at {identity.address}", peer=identity.did, remedy=_REACH) from fault
        if link.peer != identity.did:
            link.close("not the peer that was meant")
            raise PeerRefused("another peer answered", remedy="check the address on the ledger", peer=identity.did)
        return link

    async def open(self, peer: str, protocol: str, header: bytes = b"") -> Stream:
        """A new stream to a peer; dials when there is no link."""
        link = await self._connected(peer)
        return link.open(protocol, header)

    async def call(self, peer: str, protocol: str, payload: bytes, *, deadline: float) -> bytes:
        """Ask a peer."""
        try:
            async with asyncio.timeout(deadline):
                stream = await self.open(peer, protocol)
                try:
                    return await make_call(stream, payload)
                except asyncio.CancelledError:
                    await stream.abort(too_late(peer, protocol, deadline))
                    raise
        except TimeoutError as late:
            raise too_late(peer, protocol, deadline) from late


def _certificate(link: Link) -> bytes:
    transport = link._transport  # noqa: SLF001 - the link's own half of this module
    found = None if transport is None else transport.get_extra_info("ssl_object")
    return (found.getpeercert(binary_form=True) or b"") if found is not None else b""
