"""What two members agree on before their sets meet, and the drive of the kernel's party over their channel."""

from __future__ import annotations

import hashlib
import os
from typing import Protocol

from fondaco import _kernel
from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.engines.base import BadJob, EngineStopped
from fondaco.engines.channel import Channel
from fondaco.errors import CodecError

SHARE_BYTES = 32
SECURITY = ("semi-honest", "malicious")
MAX_ROWS = 1 << 32
_GREETING_LIMIT = 1024
# The longest message is the store's vector: 16 bytes a block, at most 4 blocks a key and a floor for tiny sets.
_MESSAGE_BYTES_A_KEY = 64
_MESSAGE_FLOOR = 4 << 20
_LABEL = b"fondaco/psi/session/1"


@message("psi.greeting/1")
class Greeting:
    """One member's part: how many different keys it brings, its share of the session key, what it withstands."""

    rows: int
    share: bytes
    security: str
    parameters: bytes


class Agreement:
    """What both hold after the greetings.

    `key` is the session key under which both make identifiers (32 bytes), `peer_rows` how many keys the other has.
    """

    def __init__(self, *, key: bytes, peer_rows: int) -> None:
        self.key = key
        self.peer_rows = peer_rows


def agree(channel: Channel, *, rank: int, rows: int, security: str, parameters: bytes) -> Agreement:
    """Exchange greetings.

    `parameters` is a digest of what else both must have the same.

    Raises:
        BadJob: the other side works with another security or other parameters.
        EngineStopped: the link broke, or the greeting is not one.
    """
    share = os.urandom(SHARE_BYTES)
    channel.send(to_bytes(Greeting(rows=rows, share=share, security=security, parameters=parameters)))
    try:
        theirs = from_bytes(Greeting, channel.receive(_GREETING_LIMIT), limit=_GREETING_LIMIT)
    except CodecError as fault:
        raise EngineStopped(f"{channel.peer} sent no greeting", remedy="start the task again") from fault
    if (theirs.security, theirs.parameters) != (security, parameters):
        raise BadJob(
            f"{channel.peer} runs this step with other parameters",
            remedy="see that both run the same version of this software",
        )
    if len(theirs.share) != SHARE_BYTES or not 0 <= theirs.rows <= MAX_ROWS:
        raise EngineStopped(f"{channel.peer} sent a greeting out of bounds", remedy="start the task again")
    shares = (share, theirs.share) if rank == 0 else (theirs.share, share)
    return Agreement(key=hashlib.sha256(_LABEL + b"".join(shares)).digest(), peer_rows=theirs.rows)


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
        return EngineStopped(f"{peer} does not follow the protocol: {fault}", remedy="do not run again; ask its operator")
    if isinstance(fault, _kernel.Malformed):
        return EngineStopped(f"{peer} does not follow the protocol: {fault}", remedy="see that both run the same version")
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
