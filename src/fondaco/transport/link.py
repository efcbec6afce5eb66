"""One TLS connection with many streams: HTTP/2 framing by hyper-h2 (RFC 9113), sans I/O, on an asyncio protocol.

The side that dialled opens the streams. A stream starts with its protocol and header. An abort travels as an
extension frame (RFC 9113 section 5.5) with the error, then RST_STREAM: it arrives even after a half-close. A link
that is closed on purpose says why in its GOAWAY. Both sides ping; one that hears nothing for `silence` seconds ends
the link and names the peer.

The window of the link is as wide as the windows of all its streams, so readers that stall hold up nobody else; it
bounds what a peer can make this node hold unread to 1 GiB, a guest to 4 MiB. What calls hold once read is bounded by
the link's budget (see peering). Trusts h2 to bound frames, header blocks and
the count of streams; everything in them is checked here. Leaks sizes and times to who watches the wire.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import itertools
import ssl
import time
from collections.abc import Callable

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import DataFrame, ExtensionFrame

from fondaco.errors import DeadlineExceeded, FondacoError, PeerLost, PeerRefused, TransportError
from fondaco.transport.peering import MAX_HEADER, Budget, Timings, check_opening, pack_fault, unpack_fault
from fondaco.transport.stream import LinkStream

STREAM_WINDOW = 4 << 20
GUEST_WINDOW = 1 << 20
MAX_FRAME = 1 << 20
MAX_STREAMS = 256
MAX_GUEST_STREAMS = 4
MAX_BACKLOG = 32 << 20
_DEFAULT_WINDOW = 65_535
_HEADER = b"fondaco-header"
_ABORT = 0xF0
_BEAT = b"fondaco!"
_REACH = "check that the peer's node runs and can be reached"


def _in_brief(frame: DataFrame) -> str:
    return f"{len(frame.data)} bytes"


# h2 takes the repr of every frame that comes, for a log that is off, and hyperframe turns all of its bytes into hex
# for that: half of the time of receiving. Only the text of that repr changes.
DataFrame._body_repr = _in_brief  # type: ignore[assignment, method-assign]  # noqa: SLF001


class Link(asyncio.Protocol):
    """One connection to one peer.

    Args:
        dialled: whether this side opened the connection; then it is HTTP/2's client.
        timings: the deadlines.
        on_ready: identifies the peer (sets `peer` and `guest`) or closes the link; called before a byte is sent.
        on_stream: a peer opened a stream.
        on_closed: the link has ended, once, with the cause.
    """

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
        self.serving = 0
        self.budget = Budget(guest=True)
        self.fault: FondacoError | None = None
        self.gone = asyncio.Event()
        self.dialled = dialled
        self._timings = timings
        self._on_ready = on_ready
        self._on_stream = on_stream
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        config = h2.config.H2Configuration(client_side=dialled, header_encoding=None)
        self._h2 = h2.connection.H2Connection(config)
        self._streams: dict[int, LinkStream] = {}
        self._probes: dict[bytes, asyncio.Future[None]] = {}
        self._numbers = itertools.count(1)
        self._writable = asyncio.Event()
        self._writable.set()
        self._moved = asyncio.Event()
        self._settled = asyncio.Event()
        self._heard = time.monotonic()
        self._beat: asyncio.TimerHandle | None = None

    @property
    def closed(self) -> bool:
        """Whether the link has ended."""
        return self.fault is not None

    @property
    def certificate(self) -> bytes:
        """The DER certificate of the peer; empty before the handshake."""
        found = None if self._transport is None else self._transport.get_extra_info("ssl_object")
        return (found.getpeercert(binary_form=True) or b"") if found is not None else b""

    @property
    def origin(self) -> str:
        """The address that the peer's connection came from or went to; empty before there is one."""
        found = None if self._transport is None else self._transport.get_extra_info("peername")
        return str(found[0]) if isinstance(found, tuple) else ""

    @property
    def application(self) -> str | None:
        """The protocol that ALPN (RFC 7301) settled on."""
        found = None if self._transport is None else self._transport.get_extra_info("ssl_object")
        chosen: str | None = None if found is None else found.selected_alpn_protocol()
        return chosen

    # -- asyncio.Protocol -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is up: know the peer, then greet it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=4 * MAX_FRAME)
        self._on_ready(self)
        if self.closed:
            return
        self.budget = Budget(guest=self.guest)
        streams = MAX_GUEST_STREAMS if self.guest else MAX_STREAMS
        window = GUEST_WINDOW if self.guest else STREAM_WINDOW
        self._h2.local_settings = h2.settings.Settings(
            client=self.dialled,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window,
                h2.settings.SettingCodes.MAX_FRAME_SIZE: MAX_FRAME,
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: streams,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 4 * MAX_HEADER,
            },
        )
        self._h2.max_inbound_frame_size = MAX_FRAME
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(streams * window - _DEFAULT_WINDOW)
        self._flush()
        self._tick()

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer, already decrypted."""
        if self.closed:
            return
        self._heard = time.monotonic()
        try:
            for event in self._h2.receive_data(data):
                self._on_event(event)
                if self.closed:
                    return
        except h2.exceptions.ProtocolError as fault:
            self._flush()
            self.close(self.lost(f"the peer broke the protocol ({type(fault).__name__})"))
            return
        self._flush()

    def eof_received(self) -> bool | None:
        """The peer closed its side."""
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.gone.set()
        if isinstance(exc, ssl.SSLError):
            reason = str(exc.reason or "unknown").lower().replace("_", " ")
            self.close(
                PeerRefused(
                    f"the peer ended the TLS link ({reason})",
                    remedy="check that our own key is registered and active on the ledger",
                    peer=self.peer,
                )
            )
        self.close(self.lost("the connection broke" if exc is not None else "the peer closed the connection"))

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
            self._receive(event)
        elif isinstance(event, h2.events.UnknownFrameReceived):
            frame = event.frame
            if isinstance(frame, ExtensionFrame) and frame.type == _ABORT:
                self._fail(frame.stream_id, unpack_fault(frame.body, peer=self.peer))
        elif isinstance(event, h2.events.StreamEnded):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.end()
                self._forget(stream)
        elif isinstance(event, h2.events.StreamReset):
            fault = TransportError("the peer broke the stream off", remedy="look at the peer's log", peer=self.peer)
            self._fail(event.stream_id, fault)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.close(self._farewell(event))
        elif isinstance(event, h2.events.PingAckReceived):
            waiting = self._probes.pop(bytes(event.ping_data), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self._settled.set()
            self.wake()
        elif isinstance(event, h2.events.WindowUpdated):
            self.wake()

    def _accept(self, event: h2.events.RequestReceived) -> None:
        number = event.stream_id
        if self._h2_closed(number):
            return  # opened and broken off in one breath: h2 tells both at once
        fields = dict(event.headers)
        protocol = fields.get(b":path", b"/")[1:].decode("ascii", "replace")
        try:
            header = base64.b64decode(fields.get(_HEADER, b""), validate=True)
            check_opening(protocol, header)
        except (binascii.Error, TransportError):
            self._h2.reset_stream(number, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        stream = LinkStream(self, number, protocol, header)
        self._streams[number] = stream
        self._h2.send_headers(number, [(b":status", b"200")])
        self._on_stream(stream)

    def _receive(self, event: h2.events.DataReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.feed(event.data, event.flow_controlled_length)
        else:
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def _farewell(self, event: h2.events.ConnectionTerminated) -> TransportError:
        said = unpack_fault(event.additional_data or b"", peer=self.peer)
        if said.remote_code == PeerRefused.code:
            return PeerRefused(said.cause, remedy=said.remedy, peer=self.peer)
        return self.lost(said.cause)

    def _fail(self, number: int, fault: FondacoError) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None:
            stream.fail(fault)

    def _forget(self, stream: LinkStream) -> None:
        """Drop a stream that both sides have ended."""
        if stream.finished and stream.ended:
            self._streams.pop(stream.number, None)

    def _h2_closed(self, number: int) -> bool:
        state = self._h2.streams.get(number)
        return state is None or state.closed

    # -- sending ----------------------------------------------------------------------------------------------

    async def welcomed(self) -> None:
        """Wait until the peer has accepted this link (its SETTINGS came).

        Raises:
            TransportError: the link ended instead.
        """
        await self._settled.wait()
        if self.fault is not None:
            raise self.fault

    def open(self, protocol: str, header: bytes) -> LinkStream:
        """A new stream to the peer.

        Raises:
            TransportError: the link has ended, too many streams are open, or a header over the limit.
        """
        check_opening(protocol, header)
        if self.fault is not None:
            raise self.fault
        try:
            number = self._h2.get_next_available_stream_id()
        except h2.exceptions.NoAvailableStreamIDError as fault:
            # A link carries 2^30 streams (RFC 9113 section 5.1.1); the next one gets a new link.
            worn = TransportError("the link has carried all the streams it can", remedy="try again", peer=self.peer)
            self.close(worn)
            raise worn from fault
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
                "as many streams to this peer are open as it allows",
                remedy="wait for some to end",
                peer=self.peer,
            ) from fault
        stream = LinkStream(self, number, protocol, header)
        self._streams[number] = stream
        self._flush()
        return stream

    async def room(self, stream: LinkStream) -> int:
        """How many bytes may be sent now; waits until there are some."""
        while True:
            if stream.fault is not None:
                raise stream.fault
            if self.fault is not None:
                raise self.fault
            if stream.finished:
                raise self._ended()
            try:
                window = self._h2.local_flow_control_window(stream.number)
            except h2.exceptions.ProtocolError as fault:
                raise self._ended() from fault
            if window > 0 and self._writable.is_set():
                return min(window, self._h2.max_outbound_frame_size)
            if window > 0:
                await self._writable.wait()
            else:
                self._moved.clear()
                await self._moved.wait()

    def _ended(self) -> TransportError:
        return TransportError("the stream has ended", remedy="open another", peer=self.peer)

    def send_data(self, stream: LinkStream, data: bytes) -> None:
        """Send what `room` allowed."""
        try:
            self._h2.send_data(stream.number, data)
        except h2.exceptions.ProtocolError as fault:
            raise self._ended() from fault
        self._flush()

    def end(self, stream: LinkStream) -> None:
        """This side has sent everything."""
        if not self.closed and not self._h2_closed(stream.number):
            self._h2.end_stream(stream.number)
            self._flush()
        self._forget(stream)

    def abort(self, stream: LinkStream, fault: FondacoError) -> None:
        """End the stream; the cause goes ahead of the reset."""
        self._streams.pop(stream.number, None)
        if self.closed or self._h2_closed(stream.number):
            return
        frame = ExtensionFrame(_ABORT, stream.number, body=pack_fault(fault))
        frame.body_len = len(frame.body)
        self._flush()
        self._write(frame.serialize())
        self._h2.reset_stream(stream.number, h2.errors.ErrorCodes.CANCEL)
        self._flush()

    def release(self, stream: LinkStream) -> None:
        """Nobody will read or send on this stream any more."""
        stream.drop()
        if stream.number in self._streams:
            del self._streams[stream.number]
            if not self.closed and not self._h2_closed(stream.number):
                self._h2.reset_stream(stream.number, h2.errors.ErrorCodes.NO_ERROR)
                self._flush()

    def acknowledge(self, stream: LinkStream, credit: int) -> None:
        """Bytes were taken: the peer may send as many more."""
        if credit and not self.closed:
            self._h2.acknowledge_received_data(credit, stream.number)
            self._flush()

    def _flush(self) -> None:
        self._write(self._h2.data_to_send())

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if not data or transport is None or transport.is_closing():
            return
        transport.write(data)
        if transport.get_write_buffer_size() > MAX_BACKLOG and not self.closed:
            self.close(self.lost("the peer asks much and reads nothing"), at_once=True)

    # -- life -------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something changed that a sender may wait for."""
        self._moved.set()

    async def probe(self, deadline: float) -> float:
        """Ping the peer; the round trip in seconds.

        Raises:
            DeadlineExceeded: no answer in time.
            TransportError: the link ended.
        """
        if self.fault is not None:
            raise self.fault
        payload = next(self._numbers).to_bytes(8, "big")
        waiting = self._probes[payload] = asyncio.get_running_loop().create_future()
        started = time.monotonic()
        self._h2.ping(payload)
        self._flush()
        try:
            async with asyncio.timeout(deadline):
                await waiting
        except TimeoutError as late:
            raise DeadlineExceeded("the peer did not answer a ping", remedy=_REACH, peer=self.peer) from late
        finally:
            self._probes.pop(payload, None)
        if self.fault is not None:
            raise self.fault
        return time.monotonic() - started

    def _tick(self) -> None:
        if self.closed:
            return
        left = self._heard + self._timings.silence - time.monotonic()
        if left <= 0:
            self.close(self.lost(f"silent for {self._timings.silence:g} s"), at_once=True)
            return
        self._h2.ping(_BEAT)
        self._flush()
        self._beat = asyncio.get_running_loop().call_later(min(self._timings.heartbeat, left), self._tick)

    def lost(self, cause: str) -> PeerLost:
        """This link's peer is lost."""
        return PeerLost(cause, peer=self.peer, remedy=_REACH)

    def close(self, fault: TransportError, *, say: TransportError | None = None, at_once: bool = False) -> None:
        """End the link; every stream hears the cause, and the owner once.

        Args:
            fault: what this side's streams raise.
            say: what the peer is told, where it can still be told.
            at_once: drop the connection without a farewell.
        """
        if self.fault is not None:
            return
        self.fault = fault
        if self._beat is not None:
            self._beat.cancel()
        for stream in tuple(self._streams.values()):
            stream.fail(fault)
        self._streams.clear()
        for waiting in self._probes.values():
            if not waiting.done():
                waiting.set_result(None)
        self._settled.set()
        self._writable.set()
        self.wake()
        self._hang_up(say, at_once=at_once)
        self._on_closed(self, fault.cause)

    def _hang_up(self, say: TransportError | None, *, at_once: bool) -> None:
        if self._transport is None:
            return
        if at_once or not self._writable.is_set():
            self._transport.abort()
            return
        if say is not None:
            with contextlib.suppress(h2.exceptions.ProtocolError):  # h2 may have seen the end already
                self._h2.close_connection(additional_data=pack_fault(say))
            self._flush()
        self._transport.close()

    def drop(self) -> None:
        """Give up on a farewell."""
        if self._transport is not None:
            self._transport.abort()
