"""What the port does with strangers, impostors, old protocols and garbage."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import logging
import os
import socket
import ssl
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from h2.config import H2Configuration
from h2.connection import H2Connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transport_world import (
    HOST,
    QUICK,
    Directory,
    World,
    certificate_of,
    did_of,
    drain,
    echo,
    identity_of,
    secret_of,
)

from fondaco.core.keys import SecretKey
from fondaco.errors import PeerLost, PeerRefused, RemoteError, TransportError
from fondaco.transport.endpoint import MAX_HANDSHAKES, MAX_LINKS_IN, Endpoint
from fondaco.transport.handshakes import origin_of
from fondaco.transport.identity import PeerIdentity, make_certificate, private_key
from fondaco.transport.link import Link
from fondaco.transport.peering import Timings, unpack_fault
from fondaco.transport.tls import make_context


@pytest.fixture
def world() -> World:
    return World("tls")


async def _ok(_peer: str, _payload: bytes) -> bytes:
    return b"ok"


async def _serving(world: World) -> tuple[Any, Any]:
    ada, bob = await world.pair()
    bob.serve_calls("ok/1", _ok)
    bob.handle("echo/1", echo)
    return ada, bob


async def _still_serves(ada: Any) -> None:
    assert await ada.call(did_of("bob"), "ok/1", b"", deadline=5) == b"ok"


def _context(name: str, *, to: str = "bob") -> ssl.SSLContext:
    return make_context(secret_of(name), certificate_of(name), [certificate_of(to)], server=False)


async def _raw(port: int, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(HOST, port, ssl=context, server_hostname="")


async def _closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """What the port says until it closes; it must."""
    said = b""
    try:
        async with asyncio.timeout(10):
            while data := await reader.read(1 << 16):
                said += data
    except OSError:
        pass
    writer.close()
    return said


def _dialler(name: str, bob_port: int, *, did: str | None = None, certificate: bytes | None = None) -> Endpoint:
    """A node that the others do not know, and that knows bob's address."""
    bob = PeerIdentity(did or did_of("bob"), certificate or certificate_of("bob"), f"{HOST}:{bob_port}")
    return Endpoint(
        secret=secret_of(name),
        certificate=certificate_of(name),
        host=HOST,
        port=0,
        directory=Directory([bob]),
        timings=QUICK,
    )


# -- who may come in ----------------------------------------------------------------------------------------------


def test_a_stranger_is_refused_by_name_and_the_node_serves_on(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        ada, bob = await _serving(world)
        stranger = world.nodes["mallory"] = _dialler("mallory", bob.port)
        with caplog.at_level(logging.WARNING), pytest.raises(PeerRefused) as caught:
            await stranger.call(did_of("bob"), "ok/1", b"", deadline=5)
        assert caught.value.details["peer"] == did_of("bob")
        assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
        await _still_serves(ada)

    world.run(story)


def test_a_stranger_with_a_members_name_in_its_certificate_is_refused(world: World) -> None:
    async def story() -> None:
        ada, bob = await _serving(world)
        forged = make_certificate(secret_of("mallory"), name="ada")
        context = make_context(secret_of("mallory"), forged, [certificate_of("bob")], server=False)
        assert await _closed(*await _raw(bob.port, context)) == b""
        await _still_serves(ada)

    world.run(story)


def test_a_certificate_that_a_member_signed_for_another_key_is_refused(world: World) -> None:
    async def story() -> None:
        ada, bob = await _serving(world)
        issuer = x509.load_der_x509_certificate(certificate_of("ada"))
        issued = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "friend")]))
            .issuer_name(issuer.subject)
            .public_key(private_key(secret_of("mallory")).public_key())
            .serial_number(99)
            .not_valid_before(issuer.not_valid_before_utc)
            .not_valid_after(issuer.not_valid_after_utc)
            .sign(private_key(secret_of("ada")), None)
            .public_bytes(Encoding.DER)
        )
        context = make_context(secret_of("mallory"), issued, [certificate_of("bob")], server=False)
        assert await _closed(*await _raw(bob.port, context)) == b""
        await _still_serves(ada)

    world.run(story)


def test_two_members_whose_certificates_bear_one_name_are_told_apart(world: World) -> None:
    async def story() -> None:
        _ada, bob = await _serving(world)
        seen: list[str] = []

        async def who(peer: str, _payload: bytes) -> bytes:
            seen.append(peer)
            return b""

        bob.serve_calls("who/1", who)
        for key in ("twin-1", "twin-2"):
            secret = secret_of(key)
            certificate = make_certificate(secret, name="twin")
            world.directories["bob"].put(PeerIdentity(secret.public.did, certificate, None))
            node = world.nodes[key] = Endpoint(
                secret=secret,
                certificate=certificate,
                host=HOST,
                port=0,
                directory=Directory([world.members["bob"]]),
                timings=QUICK,
            )
            await node.call(did_of("bob"), "who/1", b"", deadline=5)
        assert seen == [did_of("twin-1"), did_of("twin-2")]

    world.run(story)


@pytest.mark.parametrize("authority", [False, True])
@pytest.mark.parametrize("until", [2001, 9999])
def test_a_member_cannot_lock_another_out_with_a_certificate_in_its_name(
    world: World, authority: bool, until: int
) -> None:
    name = x509.load_der_x509_certificate(certificate_of("ada")).subject
    hostile = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key(secret_of("eve")).public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(until, 1, 1, tzinfo=datetime.UTC))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(private_key(secret_of("eve")), None)
        .public_bytes(Encoding.DER)
    )

    async def story() -> None:
        ada, bob = await _serving(world)
        for one in ("ada", "bob"):
            world.directories[one].put(PeerIdentity(did_of("eve"), hostile, None))
        for members in (world.members, dict(reversed(world.members.items()))):
            for member in members.values():  # in either order of the anchors
                world.directories["bob"].remove(member.did)
                world.directories["bob"].put(member)
            bob.refresh()
            await _still_serves(ada)

    world.run(story)


def test_a_client_without_a_certificate_is_refused(world: World) -> None:
    async def story() -> None:
        ada, bob = await _serving(world)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["fondaco/1"])
        assert await _closed(*await _raw(bob.port, context)) == b""
        await _still_serves(ada)

    world.run(story)


def test_a_member_that_speaks_another_protocol_is_refused(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        ada, bob = await _serving(world)
        context = _context("ada")
        context.set_alpn_protocols(["h2"])
        with caplog.at_level(logging.WARNING):
            assert await _closed(*await _raw(bob.port, context)) == b""
        assert f"refused {did_of('ada')}: it does not speak fondaco/1" in caplog.text
        await _still_serves(ada)

    world.run(story)


def test_tls_before_1_3_is_refused(world: World) -> None:
    async def story() -> None:
        ada, bob = await _serving(world)
        context = _context("ada")
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await _raw(bob.port, context)
        await _still_serves(ada)

    world.run(story)


def test_the_link_is_tls_1_3_and_nothing_of_it_can_be_resumed(world: World) -> None:
    async def story() -> None:
        ada, bob = await _serving(world)
        context = _context("ada")
        reader, writer = await _raw(bob.port, context)
        found = writer.get_extra_info("ssl_object")
        assert found.version() == "TLSv1.3"
        assert await reader.read(1) == b"\x00"  # the server's SETTINGS came, and would have followed a ticket
        assert found.session is None or not found.session.has_ticket
        writer.close()
        await _still_serves(ada)

    world.run(story)


@pytest.mark.parametrize(
    "greeting", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes(500)]
)
def test_a_plaintext_client_is_refused(world: World, greeting: bytes) -> None:
    async def story() -> None:
        ada, bob = await _serving(world)
        reader, writer = await asyncio.open_connection(HOST, bob.port)
        writer.write(greeting)
        await _closed(reader, writer)
        await _still_serves(ada)

    world.run(story)


def test_no_key_is_in_the_log_of_any_refusal(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        _ada, bob = await _serving(world)
        stranger = world.nodes["mallory"] = _dialler("mallory", bob.port)
        with pytest.raises(PeerRefused):
            await stranger.call(did_of("bob"), "ok/1", b"", deadline=5)
        world.revoke("ada")

    with caplog.at_level(logging.DEBUG):
        world.run(story)
    for name in ("ada", "bob", "mallory"):
        assert secret_of(name).seed.hex() not in caplog.text
        assert repr(secret_of(name).seed)[2:-1] not in caplog.text


# -- who is at the other end --------------------------------------------------------------------------------------


def test_another_members_node_at_the_address_is_refused_and_both_are_named(world: World) -> None:
    async def story() -> None:
        ada, bob = await _serving(world)
        await world.node("eve")
        world.directories["ada"].put(identity_of("eve", f"{HOST}:{bob.port}"))
        with pytest.raises(PeerRefused) as caught:
            await ada.call(did_of("eve"), "ok/1", b"", deadline=5)
        assert caught.value.details == {"peer": did_of("eve"), "answered": did_of("bob")}
        assert did_of("eve") in caught.value.cause
        assert did_of("bob") in caught.value.cause
        await _still_serves(ada)

    world.run(story)


def test_a_stranger_at_a_members_address_is_refused(world: World) -> None:
    async def story() -> None:
        ada = await world.node("ada")
        impostor = world.nodes["mallory"] = _dialler("mallory", 1)
        await impostor.start()
        world.directories["ada"].put(identity_of("bob", f"{HOST}:{impostor.port}"))
        with pytest.raises(PeerRefused, match="not the peer that was meant") as caught:
            await ada.call(did_of("bob"), "ok/1", b"", deadline=5)
        assert caught.value.details["peer"] == did_of("bob")

    world.run(story)


@pytest.mark.parametrize(
    "address",
    [
        None,
        "",
        "nonsense",
        "host:",
        ":70",
        f"{HOST}:0",
        f"{HOST}:65536",
        f"{HOST}:-1",
        f"{HOST}:٣",
        "x" * 70 + ".example:1",
    ],
)
def test_an_address_that_cannot_be_dialled_names_the_peer(world: World, address: str | None) -> None:
    async def story() -> None:
        ada = await world.node("ada")
        world.directories["ada"].put(identity_of("bob", address))
        with pytest.raises(PeerLost) as caught:
            await ada.call(did_of("bob"), "ok/1", b"", deadline=10)
        assert caught.value.peer == did_of("bob")

    world.run(story)


def test_garbage_in_the_directory_hurts_nobody_but_its_owner(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        ada, _bob = await _serving(world)
        for name, certificate in (("eve", b"\x30\x03abc"), ("carol", certificate_of("mallory")), ("dan", b"")):
            for directory in world.directories.values():
                directory.put(PeerIdentity(did_of(name), certificate, f"{HOST}:1"))
        await _still_serves(ada)
        with pytest.raises(PeerRefused, match="not trusted"):
            await ada.call(did_of("carol"), "ok/1", b"", deadline=5)

    world.run(story)
    assert f"left {did_of('carol')} out: its certificate is of another key" in caplog.text


def test_a_port_that_is_taken_is_named(world: World) -> None:
    async def story() -> None:
        _ada, bob = await _serving(world)
        second = Endpoint(
            secret=secret_of("eve"), certificate=certificate_of("eve"), host=HOST, port=bob.port, directory=Directory()
        )
        with pytest.raises(TransportError, match=str(bob.port)):
            await second.start()

    world.run(story)


# -- bounds -------------------------------------------------------------------------------------------------------


def test_a_handshake_that_dawdles_is_ended_at_its_deadline(world: World) -> None:
    async def story() -> None:
        bob = await world.node("bob", timings=Timings(handshake=0.4))
        reader, writer = await asyncio.open_connection(HOST, bob.port)
        writer.write(b"\x16\x03\x01\x02\x00\x01")  # the first bytes of a ClientHello, and no more
        started = asyncio.get_running_loop().time()
        assert await _closed(reader, writer) == b""
        assert asyncio.get_running_loop().time() - started < 3

    world.run(story)


def test_a_crowd_of_idle_strangers_keeps_no_member_out(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair(Timings(handshake=30.0))
        bob.serve_calls("ok/1", _ok)
        crowd = [await asyncio.open_connection(HOST, bob.port) for _ in range(3 * MAX_HANDSHAKES)]
        await _still_serves(ada)
        for _reader, writer in crowd:
            writer.close()

    world.run(story)


async def _member_amid(port: int, strangers: list[str]) -> bytes:
    """A member that begins its handshake, then strangers, then the rest of it: the first byte it hears, if any."""
    loop = asyncio.get_running_loop()
    started = socket.socket()
    started.setblocking(False)
    await loop.sock_connect(started, (HOST, port))
    await asyncio.sleep(0.1)  # accepted, and in the handshake
    crowd = await _flood(port, strangers)
    try:
        reader, writer = await asyncio.open_connection(sock=started, ssl=_context("ada"), server_hostname="")
        said = await reader.read(1)
        writer.close()
    except OSError:
        said = b""
    for stranger in crowd:
        stranger.transport.abort()
    return said


async def _flood(port: int, sources: list[str]) -> list[asyncio.StreamWriter]:
    """Connections of strangers that say nothing, from many addresses of loopback."""
    opened = [await asyncio.open_connection(HOST, port, local_addr=(source, 0)) for source in sources]
    await asyncio.sleep(0.1)
    return [writer for _reader, writer in opened]


MANY_ADDRESSES = [f"127.0.{high}.{low}" for high in (1, 2) for low in range(1, 2 * MAX_HANDSHAKES)]


def test_a_flood_of_one_stranger_pushes_out_its_own_handshakes_alone(world: World) -> None:
    async def story() -> None:
        bob = await world.node("bob", timings=Timings(handshake=30.0))
        world.directories["bob"].put(identity_of("ada", None))  # a member whose address nobody knows
        world.directories["bob"].remove(did_of("bob"))
        assert await _member_amid(bob.port, ["127.0.0.2"] * (4 * MAX_HANDSHAKES)) == b"\x00"

    world.run(story)


def test_a_flood_from_many_addresses_pushes_out_no_known_member(world: World) -> None:
    async def story() -> None:
        bob = await world.node("bob", timings=Timings(handshake=30.0))
        world.directories["bob"].put(identity_of("ada", f"{HOST}:9"))
        assert await _member_amid(bob.port, MANY_ADDRESSES) == b"\x00"

    world.run(story)


def test_a_member_is_known_by_where_its_last_link_came_from(world: World) -> None:
    async def story() -> None:
        bob = await world.node("bob", timings=Timings(handshake=30.0))
        world.directories["bob"].put(identity_of("ada", "ada.example:9"))
        world.directories["bob"].remove(did_of("bob"))
        reader, writer = await _raw(bob.port, _context("ada"))
        assert await reader.read(1) == b"\x00"
        assert await _member_amid(bob.port, MANY_ADDRESSES) == b"\x00"
        writer.transport.abort()

    world.run(story)


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("node.example", "node.example"),
    ],
)
def test_one_sender_is_an_address_or_a_network_of_ipv6(address: str, origin: str) -> None:
    assert origin_of(address) == origin


def test_a_member_holds_no_more_than_a_few_links(world: World) -> None:
    async def story() -> None:
        ada, bob = await _serving(world)
        context = _context("ada")
        opened = [await _raw(bob.port, context) for _ in range(MAX_LINKS_IN + 3)]
        for reader, writer in opened[:3]:
            await _closed(reader, writer)
        for reader, writer in opened[3:]:
            assert await reader.read(1) == b"\x00"
            writer.close()
        await _still_serves(ada)

    world.run(story)


async def _half(on_closed: Any) -> tuple[Link, socket.socket]:
    """A link whose other end is a bare socket."""

    def ready(link: Link) -> None:
        link.peer = "did:key:zPeer"

    link = Link(
        dialled=True,
        timings=QUICK,
        on_ready=ready,
        on_stream=lambda _stream: None,
        on_closed=lambda _link, cause: on_closed(cause),
    )
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    await asyncio.get_running_loop().create_connection(lambda: link, sock=ours)
    return link, theirs


def test_a_peer_that_asks_and_never_reads_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fondaco.transport.link.MAX_BACKLOG", 1 << 18)

    async def story() -> None:
        closed: list[str] = []
        link, theirs = await _half(closed.append)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(theirs, b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00fondaco?"
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while not link.closed:
                    await loop.sock_sendall(theirs, ping * 1000)
        assert closed == ["the peer asks much and reads nothing"]
        theirs.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x00\x01\x01\x04\x00\x00\x00\x00x",  # HEADERS on stream 0
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x07",  # DATA on a stream that was never opened
        b"\x00\x00\x04\x01\x04\x00\x00\x00\x02\xff\xff\xff\xff",  # a header block that cannot be read
        b"\x00\x00\x01\x04\x00\x00\x00\x00\x00x",  # SETTINGS of an odd length
        b"\x10\x00\x01\x00\x00\x00\x00\x00\x01" + bytes(0x100001),  # a frame over 1 MiB
    ],
)
def test_a_link_that_breaks_the_protocol_is_closed_and_its_streams_hear_it(garbage: bytes) -> None:
    async def story() -> None:
        closed: list[str] = []
        link, theirs = await _half(closed.append)
        stream = link.open("x/1", b"")
        with contextlib.suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(theirs, b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + garbage)
        with pytest.raises(PeerLost, match="broke the protocol") as caught:
            await stream.receive()
        assert caught.value.peer == "did:key:zPeer"
        assert len(closed) == 1
        theirs.close()

    asyncio.run(story())


# -- garbage ------------------------------------------------------------------------------------------------------


class _Fuzzed:
    """One live node, and a member that sends it anything."""

    def __init__(self) -> None:
        self.world = World("tls")
        self.runner = asyncio.Runner()
        self.ada, self.bob = self.runner.run(_serving(self.world))

    def send(self, data: bytes, context: ssl.SSLContext | None) -> None:
        self.runner.run(self._send(data, context))

    async def _send(self, data: bytes, context: ssl.SSLContext | None) -> None:
        if context is None:
            reader, writer = await asyncio.open_connection(HOST, self.bob.port)
        else:
            reader, writer = await _raw(self.bob.port, context)
        writer.write(data)
        try:
            await writer.drain()
            async with asyncio.timeout(0.02):
                while await reader.read(1 << 16):
                    pass
        except (OSError, TimeoutError):
            pass
        writer.transport.abort()
        await _still_serves(self.ada)

    def close(self) -> None:
        for node in (self.ada, self.bob):
            self.runner.run(node.stop())
        self.runner.close()


@pytest.fixture(scope="module")
def fuzzed() -> Any:
    made = _Fuzzed()
    yield made
    made.close()


_FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAMES = st.lists(
    st.tuples(st.integers(0, 12) | st.just(0xF0), st.integers(0, 255), st.integers(0, 5), st.binary(max_size=80)),
    max_size=8,
)


@_FUZZ
@given(st.binary(max_size=400))
def test_the_port_survives_random_bytes(fuzzed: _Fuzzed, data: bytes) -> None:
    fuzzed.send(data, None)


@_FUZZ
@given(st.binary(max_size=400), st.booleans())
def test_the_port_survives_random_bytes_of_a_member(fuzzed: _Fuzzed, data: bytes, preface: bool) -> None:
    fuzzed.send((_PREFACE if preface else b"") + data, _context("ada"))


@_FUZZ
@given(_FRAMES)
def test_the_port_survives_random_frames_of_a_member(
    fuzzed: _Fuzzed, frames: list[tuple[int, int, int, bytes]]
) -> None:
    body = b"".join(
        len(data).to_bytes(3, "big") + bytes([kind, flags]) + number.to_bytes(4, "big") + data
        for kind, flags, number, data in frames
    )
    fuzzed.send(_PREFACE + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + body, _context("ada"))


@settings(_FUZZ, max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"/ok/1", b"/echo/1", b"/nothing", b"", b"*", b"/" + b"x" * 300, b"/\xff\x00"]),
            st.sampled_from([b"", b"!!!!", b"AA==", b"A" * 30_000, b"\xff"]),
            st.binary(max_size=200),
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_the_port_survives_well_framed_nonsense_of_a_member(fuzzed: _Fuzzed, asked: list[Any]) -> None:
    client = H2Connection(
        H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding=None)
    )
    client.initiate_connection()
    for path, header, data, end in asked:
        number = client.get_next_available_stream_id()
        client.send_headers(
            number,
            [
                (b":method", b"POST"),
                (b":scheme", b"https"),
                (b":authority", b"x"),
                (b":path", path),
                (b"fondaco-header", header),
            ],
        )
        client.send_data(number, data, end_stream=end)
    fuzzed.send(client.data_to_send(), _context("ada"))


@given(st.binary(max_size=300))
def test_an_unreadable_error_of_a_peer_is_one_that_says_so(data: bytes) -> None:
    fault = unpack_fault(data, peer="did:key:zPeer")
    assert fault.details["told_by"] == "did:key:zPeer"
    assert fault.cause


def test_an_answer_that_is_garbage_is_an_error_of_the_peer(world: World) -> None:
    async def story() -> None:
        ada, bob = await world.pair()

        async def garbage(stream: Any) -> None:
            await drain(stream)
            await stream.send(b"\x01" + os.urandom(50))

        async def empty(stream: Any) -> None:
            await drain(stream)

        bob.handle("garbage/1", garbage)
        bob.handle("empty/1", empty)
        for protocol in ("garbage/1", "empty/1"):
            with pytest.raises(RemoteError) as caught:
                await ada.call(did_of("bob"), protocol, b"", deadline=5)
            assert "no readable cause" in str(caught.value)

    world.run(story)


def test_a_burst_of_resets_does_not_start_more_handlers_than_streams_are_allowed(world: World) -> None:
    async def story() -> None:
        ada, bob = await _serving(world)
        running, most = 0, 0

        async def slow(_stream: Any) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                await asyncio.sleep(2)
            finally:
                running -= 1

        bob.handle("slow/1", slow)
        first = await ada.open(did_of("bob"), "slow/1")
        for _ in range(1500):
            stream = await ada.open(did_of("bob"), "slow/1")
            await asyncio.sleep(0)
            await stream.abort(TransportError("never mind", remedy="none"))
        await first.finish()
        await ada.probe(did_of("bob"), deadline=5)
        assert most <= 256

    world.run(story)


def test_what_passes_on_the_wire_shows_nothing_of_what_is_said(world: World) -> None:
    async def story() -> None:
        ada, bob = await _serving(world)
        seen = bytearray()

        async def tap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there_reader, there_writer = await asyncio.open_connection(HOST, bob.port)

            async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(1 << 16):
                    seen.extend(data)
                    sink.write(data)
                sink.close()

            await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))

        proxy = await asyncio.start_server(tap, HOST, 0)
        port = proxy.sockets[0].getsockname()[1]
        world.directories["ada"].put(identity_of("bob", f"{HOST}:{port}"))
        stream = await ada.open(did_of("bob"), "echo/1", b"a header that is secret")
        await stream.send(b"a body that is secret" * 1000)
        await stream.finish()
        assert await drain(stream) == b"a body that is secret" * 1000
        proxy.close()
        assert len(seen) > 40_000
        assert seen[:3] == b"\x16\x03\x01"
        assert b"secret" not in seen
        assert b"echo" not in seen
        assert certificate_of("ada")[:60] not in seen  # TLS 1.3 hides certificates too

    world.run(story)


def test_a_directory_that_changes_back_and_forth_keeps_the_port_open(world: World) -> None:
    async def story() -> None:
        ada, bob = await _serving(world)
        port = bob.port
        for _ in range(5):
            world.directories["bob"].remove(did_of("ada"))
            bob.refresh()
            with pytest.raises(PeerRefused):
                await ada.call(did_of("bob"), "ok/1", b"", deadline=5)
            world.directories["bob"].put(world.members["ada"])
            bob.refresh()
            await _still_serves(ada)
        assert bob.port == port

    world.run(story)


def test_a_new_certificate_of_the_same_key_ends_the_link_of_the_old_one(world: World) -> None:
    async def story() -> None:
        ada, bob = await _serving(world)
        stream = await ada.open(did_of("bob"), "echo/1")
        renewed = make_certificate(SecretKey.from_seed(secret_of("ada").seed), name="renewed")
        world.directories["bob"].put(PeerIdentity(did_of("ada"), renewed, None))
        bob.refresh()
        with pytest.raises(PeerRefused, match="no longer trusted"):
            await stream.receive(5)

    world.run(story)


def test_a_link_that_has_carried_all_its_streams_is_replaced(world: World) -> None:
    async def story() -> None:
        ada, _bob = await _serving(world)
        await _still_serves(ada)
        (link,) = ada._links
        link._h2.highest_outbound_stream_id = (1 << 31) - 1
        with pytest.raises(TransportError, match="all the streams it can"):
            await ada.open(did_of("bob"), "echo/1")
        await _still_serves(ada)

    world.run(story)


def test_a_node_that_runs_out_of_descriptors_serves_again_when_it_has_some(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = asyncio.SelectorEventLoop.sock_accept
    faults = [OSError(errno.EMFILE, "too many open files"), OSError(errno.ECONNABORTED, "aborted")]

    async def failing(loop: Any, listener: socket.socket) -> Any:
        if faults:
            raise faults.pop()
        return await accept(loop, listener)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_accept", failing)

    async def story() -> None:
        ada, _bob = await _serving(world)
        await _still_serves(ada)
        assert faults == []

    world.run(story)
