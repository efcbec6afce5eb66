"""What two members agree on before their sets meet, and the drive of the kernel's party over their channel."""

from __future__ import annotations

import hashlib
import os
from typing import Protocol, TypeVar

from fondaco import _kernel
from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.engines.base import BadJob, EngineStopped
from fondaco.engines.channel import Channel
from fondaco.errors import CodecError

T = TypeVar("T")
SHARE_BYTES = 32
SECURITY = ("semi-honest", "malicious")
MAX_ROWS = 1 << 30
_GREETING_LIMIT = 1024
# The longest message is the store's vector: 16 bytes a block, at most 4 blocks a key and a floor for tiny sets.
_MESSAGE_BYTES_A_KEY = 64
_MESSAGE_FLOOR = 4 << 20
_LABEL = b"fondaco/psi/session/1"
_PAST = b"fondaco/psi/past/1"


@message("psi.greeting/2")
class Greeting:
    """One member's first word: its share of the session key, what it withstands, a digest of what else must agree.

    `past` is a hash of the session key of an attempt of this step that was cut, or empty: the key that both name so is
    taken again.
    """

    share: bytes
    security: str
    terms: bytes
    past: bytes


@message("psi.size/1")
class Size:
    """How many different keys a member brings."""

    rows: int


def _said(kind: type[T], channel: Channel) -> T:
    try:
        return from_bytes(kind, channel.receive(_GREETING_LIMIT), limit=_GREETING_LIMIT)
    except CodecError as fault:
        raise EngineStopped(f"{channel.peer} sent no greeting", remedy="start the task again") from fault


def agree_key(channel: Channel, *, rank: int, security: str, terms: bytes, past: bytes | None = None) -> bytes:
    """The session key under which both make identifiers: SHA-256 over a share of each, 32 bytes.

    Where both bring the key of an attempt that was cut, `past`, and it is one key, it is that one.

    Raises:
        BadJob: the other side works with another security or other terms.
        EngineStopped: the link broke, or the greeting is not one.
    """
    share = os.urandom(SHARE_BYTES)
    name = b"" if past is None else hashlib.sha256(_PAST + past).digest()
    channel.send(to_bytes(Greeting(share=share, security=security, terms=terms, past=name)))
    theirs = _said(Greeting, channel)
    if (theirs.security, theirs.terms) != (security, terms):
        raise BadJob(
            f"{channel.peer} runs this step with other parameters",
            remedy="see that both run the same version of this software",
        )
    if len(theirs.share) != SHARE_BYTES:
        raise EngineStopped(f"{channel.peer} sent a greeting out of bounds", remedy="start the task again")
    if past is not None and theirs.past == name:
        return past
    shares = (share, theirs.share) if rank == 0 else (theirs.share, share)
    return hashlib.sha256(_LABEL + b"".join(shares)).digest()


def agree_sizes(channel: Channel, rows: int) -> int:
    """Tell how many different keys this member brings, and hear how many the other does.

    Raises:
        EngineStopped: the link broke, or the number is out of bounds.
    """
    tell_size(channel, rows)
    return hear_size(channel)


def tell_size(channel: Channel, rows: int) -> None:
    """Tell how many different keys this member brings."""
    channel.send(to_bytes(Size(rows=rows)))


def hear_size(channel: Channel) -> int:
    """Hear how many different keys the other brings.

    Raises:
        EngineStopped: the link broke, or the number is out of bounds.
    """
    theirs = _said(Size, channel).rows
    if not 0 <= theirs <= MAX_ROWS:
        raise EngineStopped(f"{channel.peer} sent a size out of bounds", remedy="start the task again")
    return theirs


class KernelParty(Protocol):
    """A protocol's party in the kernel."""

    def next(self, incoming: bytes | None = None) -> tuple[str, bytes]:
        """Go on one turn."""


def message_limit(rows: int) -> int:
    """Bytes that no message of a run over so many keys of both together exceeds."""
    return _MESSAGE_FLOOR + _MESSAGE_BYTES_A_KEY * rows


def engine_error(fault: _kernel.ProtocolFault, peer: str) -> EngineStopped:
    """The kernel's fault as this engine's error: what it says names the message or check, never a secret."""
    if isinstance(fault, _kernel.Cheated):
        return EngineStopped(
            f"{peer} does not follow the protocol: {fault}", remedy="do not run again; ask its operator"
        )
    if isinstance(fault, _kernel.Malformed):
        return EngineStopped(
            f"{peer} does not follow the protocol: {fault}", remedy="see that both run the same version"
        )
    return EngineStopped(f"the protocol with {peer} ended: {fault}", remedy="start the task again")


def drive(party: KernelParty, channel: Channel, *, limit: int) -> None:
    """Run a kernel's party to its end.

    Raises:
        EngineStopped: the link broke, or the peer does not follow the protocol; the cause names the peer.
    """
    incoming: bytes | None = None
    while True:
        try:
            turn, outgoing = party.next(incoming)
        except _kernel.ProtocolFault as fault:
            raise engine_error(fault, channel.peer) from fault
        incoming = None
        if turn == "finished":
            return
        if turn == "send":
            channel.send(outgoing)
        else:
            incoming = channel.receive(limit)
