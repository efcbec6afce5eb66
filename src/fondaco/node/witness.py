"""The nodes' talk about checkpoints: each tells the others its newest signed header, cosigned, and compares theirs.

A header at a height that is here is compared at once; a later one is kept, one of each peer, until this ledger is
there. Another header than ours that the validators signed halts this ledger with the evidence, and both headers go to
all peers, each of which judges for itself. A peer can make nobody halt: only the validators' signatures can.

At most a note a second goes out, one of each peer is read in that time, and what is kept is bounded by the number of
the consortium's nodes. Trusts no peer; leaks to them which height this node has.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from fondaco.core.codec import decode
from fondaco.core.keys import PublicKey, SecretKey
from fondaco.core.messages import from_bytes, to_bytes
from fondaco.errors import DeadlineExceeded, LedgerError, PeerLost, ProofError, RemoteError, TransportError
from fondaco.ledger.blocks import MAX_WIRE_BYTES, Block
from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.embedded import EmbeddedLedger, Overtaken
from fondaco.ledger.follower import Diverged, FollowerLedger
from fondaco.ledger.light import SignedHeader
from fondaco.ledger.reader import Ledger
from fondaco.ledger.witness import MAX_NOTE, Cosigned, Note, check_note, checkpoint, cosign
from fondaco.transport.peering import Peering

_log = logging.getLogger(__name__)
PROTOCOL = "ledger.witness"
EVERY_SECONDS = 1.0
_CALL_SECONDS = 5.0
_TWO = 2
_LEAST_SECONDS = 0.2  # between two cosigned notes of one peer that are read


def evidence_headers(ledger: Ledger) -> tuple[SignedHeader, ...]:
    """The signed headers for which a ledger halted, none while it goes on.

    The one that is not ours, and before it ours of that height, or our newest where we are not there yet.
    """
    data = ledger.evidence
    if data is None:
        return ()
    found = decode(data, limit=MAX_WIRE_BYTES, items=len(data))
    if isinstance(found, list):  # two faces
        first, second = (from_bytes(SignedHeader, item, limit=MAX_NOTE) for item in found if isinstance(item, bytes))
        return first, second
    if isinstance(found, dict) and "txs" in found:
        block = from_bytes(Block, data, limit=MAX_WIRE_BYTES)
        other = SignedHeader(header=block.header, commit=block.commit)
    else:
        other = from_bytes(SignedHeader, data, limit=MAX_NOTE)
    ours = _signed_at(ledger, other.header.height) or ledger.signed_tip()
    return (other,) if ours is None or ours.header == other.header else (ours, other)


def _signed_at(ledger: Ledger, height: int) -> SignedHeader | None:
    found = ledger.block(height) if 0 < height <= ledger.height else None
    if found is None:
        return None
    block = from_bytes(Block, found, limit=MAX_WIRE_BYTES)
    return SignedHeader(header=block.header, commit=block.commit)


class WitnessService:
    """Cosigning and comparing for one node."""

    def __init__(
        self,
        ledger: Ledger,
        secret: SecretKey,
        *,
        peers: Callable[[], Iterable[str]],
        on_fault: Callable[[LedgerError], None],
    ) -> None:
        self._ledger = ledger
        self._secret = secret
        self._own = secret.public.did
        self._peers = peers
        self._on_fault = on_fault
        self._peering: Peering | None = None
        self._grew = asyncio.Event()
        self._read: dict[tuple[str, bool], float] = {}
        self._later: dict[str, SignedHeader] = {}
        self._kept: dict[bytes, Cosigned] = {}
        self._told = False

    def start(self, peering: Peering) -> None:
        """Serve the protocol."""
        self._peering = peering
        peering.serve_calls(PROTOCOL, self._on_note)

    def cosigned(self) -> tuple[Cosigned, ...]:
        """The newest cosignature of each node, this one's own with them, in the order of their keys."""
        own = self._own_note()
        kept = dict(self._kept)
        if own is not None and own.cosigned is not None:
            kept[own.cosigned.node] = own.cosigned
        return tuple(kept[node] for node in sorted(kept))

    # -- telling ----------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """There is a new height."""
        self._grew.set()

    async def run(self) -> None:
        """Tell the peers of new heights, until cancelled or until this ledger has halted."""
        while True:
            await self._grew.wait()
            self._grew.clear()
            try:
                await self.once()
            except (Diverged, Overtaken) as fault:
                self._on_fault(fault)
                return
            await asyncio.sleep(EVERY_SECONDS)

    async def once(self) -> None:
        """Compare what was kept for this height, and tell all peers the newest header.

        Raises:
            Diverged, Overtaken: a second signed history; the peers were told.
        """
        height = self._ledger.height
        for peer, signed in tuple(self._later.items()):
            if signed.header.height <= height:
                del self._later[peer]
                try:
                    await self._judge(signed)
                except ProofError:
                    _log.warning("%s showed a header that nobody signed", peer)
        note = await asyncio.to_thread(self._own_note)
        if note is not None:
            await self._tell(note)

    def _own_note(self) -> Note | None:
        """The newest header, cosigned; None before the first, just after a start, and for good once halted."""
        with self._ledger.lock:
            if self._ledger.evidence is not None:
                return None
            try:
                anchor = self._ledger.anchor()
            except LedgerError:
                return None
            signed = SignedHeader(header=anchor.header, commit=anchor.commit)
        return Note(headers=(signed,), cosigned=cosign(checkpoint(anchor), self._secret))

    async def _tell(self, note: Note) -> None:
        known = [peer for peer in self._peers() if peer != self._own]
        # What is kept of an expelled node goes.
        self._kept = {node: kept for node, kept in self._kept.items() if PublicKey(node).did in known}
        self._later = {peer: kept for peer, kept in self._later.items() if peer in known}
        self._read = {at: when for at, when in self._read.items() if at[0] in known}
        data = to_bytes(note)
        await asyncio.gather(*(self._send(peer, data) for peer in known))

    async def tell_evidence(self) -> None:
        """Tell all peers, once, of the signed headers for which this ledger halted."""
        headers = await asyncio.to_thread(evidence_headers, self._ledger)
        if headers and not self._told:
            self._told = True
            await self._tell(Note(headers=headers, cosigned=None))

    async def _send(self, peer: str, data: bytes) -> None:
        assert self._peering is not None
        try:
            await self._peering.call(peer, PROTOCOL, data, deadline=_CALL_SECONDS)
        except (PeerLost, TransportError, DeadlineExceeded, RemoteError) as fault:
            _log.debug("%s did not take a note: %s", peer, fault.cause)

    # -- hearing ----------------------------------------------------------------------------------------------

    async def _on_note(self, peer: str, payload: bytes) -> bytes:
        note = from_bytes(Note, payload, limit=MAX_NOTE)
        self._check_rate(peer, evidence=note.cosigned is None)
        await asyncio.to_thread(check_note, note, PublicKey.from_did(peer).raw)
        try:
            await self._judge(*note.headers)
        except (Diverged, Overtaken) as fault:
            self._on_fault(fault)
            raise
        if note.cosigned is not None:
            if note.headers[0].header.height > self._ledger.height:
                self._later[peer] = note.headers[0]
            self._kept[note.cosigned.node] = note.cosigned
        return b""

    def _check_rate(self, peer: str, *, evidence: bool) -> None:
        """Evidence has a measure of its own: an honest node sends it once, perhaps right after a note."""
        now = time.monotonic()
        if now - self._read.get((peer, evidence), float("-inf")) < _LEAST_SECONDS:
            raise TransportError("notes come too often", remedy=f"send one in {EVERY_SECONDS:.0f} s", peer=peer)
        self._read[peer, evidence] = now

    async def _judge(self, *headers: SignedHeader) -> None:
        """Compare signed headers with ours and with each other; tell everybody of a second history."""
        try:
            await asyncio.to_thread(self._compare, headers)
        except (Diverged, Overtaken):
            await self.tell_evidence()
            raise

    def _compare(self, headers: tuple[SignedHeader, ...]) -> None:
        ledger = self._ledger
        assert isinstance(ledger, EmbeddedLedger | FollowerLedger | CometLedger)
        if len(headers) == _TWO:
            ledger.judge(headers[0], headers[1])
        for signed in headers:
            if isinstance(ledger, EmbeddedLedger):
                ledger.hear(signed)
            else:
                ledger.compare(signed)
