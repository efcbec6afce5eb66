"""One TLS connection with many streams: HTTP/2 framing by hyper-h2 (RFC 9113), sans I/O, on an asyncio protocol.

The side that dialled opens the streams. A stream starts with its protocol and header; an error travels as trailers.
Both sides ping; one that hears nothing for `silence` seconds ends the link and names the peer. Windows are 4 MiB a
stream and wide for the connection, so a reader that stalls holds up nobody else. Trusts h2 to bound frames and
header blocks; everything in them is checked here.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
from collections import deque
from collections.abc import Callable

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from fondaco.core.faults import MAX_ERROR, pack_error, unpack_error
from fondaco.errors import DeadlineExceeded, FondacoError, PeerLost, TransportError
from fondaco.transport.peering import MAX_HEADER, Timings

_log = logging.getLogger(__name__)
STREAM_WINDOW = 4 << 20
LINK_WINDOW = (1 << 30) - 65_535
MAX_FRAME = 1 << 20
MAX_STREAMS = 256
_HEADER = b"fondaco-header"
_ERROR = b"fondaco-error"


class LinkStream:
    """One stream; see peering.Stream."""

    def __init__(self, link: Link, number: int, protocol: str, header: bytes) -> None:
        self._link = link
        self.number = number
        self.protocol = protocol
        self.header = header
        self._parts: deque[tuple[bytes, int]] = deque()
        self._news = asyncio.Event()
        self._ended = False
        self._finished = False
        self.fault: FondacoError | None = None

    @property
    def peer(self) -> str:
        """The did of the node at the other end."""
        return self._link.peer

    async def send(self, data: bytes) -> None:
        """Send bytes; waits while the peer reads too slowly."""
        view = memoryview(data)
        while view:
            room = await self._link.room(self)
            self._link.send_data(self, bytes(view[:room]))
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
            data, credit = self._parts.popleft()
            self._link.acknowledge(self, credit)
            return data
        if self.fault is not None:
            raise self.fault
        return b""

    async def finish(self) -> None:
        """No more bytes from this side."""
        if not self._finished and self.fault is None:
            self._finished = True
            self._link.end(self)

    async def abort(self, fault: FondacoError) -> None:
        """End both directions."""
        if self.fault is None:
            self._link.abort(self, fault)
            self.fail(fault)

    # -- called by the link -----------------------------------------------------------------------------------

    def feed(self, data: bytes, credit: int) -> None:
        """Bytes came."""
        self._parts.append((data, credit))
        self._news.set()

    def end(self) -> None:
        """The peer finished."""
        self._ended = True
        self._news.set()

    def fail(self, fault: FondacoError) -> None:
        """The stream is over, with a cause."""
        if self.fault is None:
            self.fault = fault
            self._news.set()
            self._link.wake()

    @property
    def finished(self) -> bool:
        """Whether this side has ended."""
        return self._finished


class Link(asyncio.Protocol):
    """One connection to one peer."""

    def __init__(
        self,
        *,
        dialled: bool,
        timings: Timings,
        on_ready: Callable[[Link], None],
        on_stream: Callable[[LinkStream], None],
        on_closed: Callable[[Link, str], None],
    ) -> None:
        self.peer = ""
        self.guest = False
        self._dialled = dialled
        self._timings = timings
        self._on_ready = on_ready
        self._on_stream = on_stream
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        config = h2.config.H2Configuration(client_side=dialled, header_encoding=None)
        self._h2 = h2.connection.H2Connection(config)
        self._streams: dict[int, LinkStream] = {}
        self._writable = asyncio.Event()
        self._writable.set()
        self._moved = asyncio.Event()
        self._heard = time.monotonic()
        self._beat: asyncio.TimerHandle | None = None
        self.closed = False

    # -- asyncio.Protocol -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is up on both sides."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=4 * MAX_FRAME)
        self._h2.local_settings = h2.settings.Settings(
            client=self._dialled,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                h2.settings.SettingCodes.MAX_FRAME_SIZE: MAX_FRAME,
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 4 * MAX_HEADER,
            },
        )
        self._h2.max_inbound_frame_size = MAX_FRAME
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(LINK_WINDOW)
        self._flush()
        self._on_ready(self)
        self._tick()

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer, already decrypted."""
        self._heard = time.monotonic()
        try:
            for event in self._h2.receive_data(data):
                self._on_event(event)
        except h2.exceptions.ProtocolError as fault:
            self._flush()
            self.close(f"the peer broke the protocol ({type(fault).__name__})")
            return
        self._flush()

    def eof_received(self) -> bool | None:
        """The peer closed its side."""
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.close("the connection broke" if exc is not None else "the peer closed the connection")

    def pause_writing(self) -> None:
        """The socket is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The socket has room."""
        self._writable.set()

    # -- events -----------------------------------------------------------------------------------------------

    def _on_event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._accept(event)
        elif isinstance(event, h2.events.DataReceived):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.feed(event.data, event.flow_controlled_length)
            else:
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self._fail(event.stream_id, unpack_error(_decoded(dict(event.headers).get(_ERROR, b""), MAX_ERROR)))
        elif isinstance(event, h2.events.StreamEnded):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.end()
                self._forget(stream)
        elif isinstance(event, h2.events.StreamReset):
            fault = TransportError("the peer broke the stream off", remedy="look at the peer's log", peer=self.peer)
            self._fail(event.stream_id, fault)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.close("the peer ended the link")
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self.wake()

    def _accept(self, event: h2.events.RequestReceived) -> None:
        fields = dict(event.headers)
        path = fields.get(b":path", b"")
        header = _decoded(fields.get(_HEADER, b""), MAX_HEADER)
        if self._dialled or not path.startswith(b"/") or not path.isascii() or len(path) > 100:
            self._h2.reset_stream(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        stream = LinkStream(self, event.stream_id, path[1:].decode(), header)
        self._streams[event.stream_id] = stream
        self._h2.send_headers(event.stream_id, [(b":status", b"200")])
        self._on_stream(stream)

    def _fail(self, number: int, fault: FondacoError) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None:
            stream.fail(fault)

    def _forget(self, stream: LinkStream) -> None:
        """Drop a stream that both sides have ended."""
        if stream.finished and stream.number in self._streams and self._h2_closed(stream):
            del self._streams[stream.number]

    def _h2_closed(self, stream: LinkStream) -> bool:
        state = self._h2.streams.get(stream.number)
        return state is None or state.closed

    # -- sending ----------------------------------------------------------------------------------------------

    def open(self, protocol: str, header: bytes) -> LinkStream:
        """A new stream to the peer."""
        if self.closed:
            raise self._lost("the link is closed")
        number = self._h2.get_next_available_stream_id()
        stream = LinkStream(self, number, protocol, header)
        fields = [
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", b"fondaco"),
            (b":path", b"/" + protocol.encode()),
            (_HEADER, base64.b64encode(header)),
        ]
        try:
            self._h2.send_headers(number, fields)
        except h2.exceptions.TooManyStreamsError as fault:
            raise TransportError(
                f"{MAX_STREAMS} streams to this peer are open", remedy="wait for some to end", peer=self.peer
            ) from fault
        self._streams[number] = stream
        self._flush()
        return stream

    async def room(self, stream: LinkStream) -> int:
        """How many bytes may be sent now; waits until there are some."""
        while True:
            if stream.fault is not None:
                raise stream.fault
            if self.closed:
                raise self._lost("the link is closed")
            try:
                window = self._h2.local_flow_control_window(stream.number)
            except h2.exceptions.ProtocolError as fault:
                raise TransportError("the stream is closed", remedy="open it again", peer=self.peer) from fault
            if window > 0 and self._writable.is_set():
                return min(window, self._h2.max_outbound_frame_size)
            self._moved.clear()
            if window > 0:
                await self._writable.wait()
            else:
                await self._moved.wait()

    def send_data(self, stream: LinkStream, data: bytes) -> None:
        """Send what `room` allowed."""
        try:
            self._h2.send_data(stream.number, data)
        except h2.exceptions.ProtocolError as fault:
            raise TransportError("the stream is closed", remedy="open it again", peer=self.peer) from fault
        self._flush()

    def end(self, stream: LinkStream) -> None:
        """This side has sent everything."""
        if not self.closed and not self._h2_closed(stream):
            self._h2.end_stream(stream.number)
            self._flush()
            self._forget(stream)

    def abort(self, stream: LinkStream, fault: FondacoError) -> None:
        """End the stream with a cause that the peer can read, then for good."""
        self._streams.pop(stream.number, None)
        if self.closed or self._h2_closed(stream):
            return
        if not stream.finished:
            cause = base64.b64encode(pack_error(fault))
            self._h2.send_headers(stream.number, [(_ERROR, cause)], end_stream=True)
        if not self._h2_closed(stream):
            self._h2.reset_stream(stream.number, h2.errors.ErrorCodes.CANCEL)
        self._flush()

    def acknowledge(self, stream: LinkStream, credit: int) -> None:
        """The reader took bytes: the peer may send as many more."""
        if not self.closed and credit:
            if stream.number in self._h2.streams:
                self._h2.acknowledge_received_data(credit, stream.number)
            else:
                self._h2.increment_flow_control_window(credit)
            self._flush()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    # -- life -------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something changed that a sender may wait for."""
        self._moved.set()

    def _tick(self) -> None:
        if self.closed:
            return
        silent = time.monotonic() - self._heard
        if silent > self._timings.silence:
            self.close(f"silent for {silent:.0f} s")
            return
        self._h2.ping(b"fondaco!")
        self._flush()
        self._beat = asyncio.get_running_loop().call_later(self._timings.heartbeat, self._tick)

    def _lost(self, cause: str) -> PeerLost:
        return PeerLost(cause, peer=self.peer, remedy="check that the peer's node runs and can be reached")

    def close(self, cause: str) -> None:
        """End the link; every stream hears the cause, and the owner once."""
        if self.closed:
            return
        self.closed = True
        if self._beat is not None:
            self._beat.cancel()
        for stream in tuple(self._streams.values()):
            stream.fail(self._lost(cause))
        self._streams.clear()
        self.wake()
        self._writable.set()
        if self._transport is not None:
            self._transport.abort()
        self._on_closed(self, cause)


def _decoded(text: bytes, limit: int) -> bytes:
    """Base64 of at most `limit` bytes; anything else is empty."""
    if len(text) > limit * 4 // 3 + 4:
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
