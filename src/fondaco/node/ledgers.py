"""The node's ledger and its link to the others: the validator serves blocks and takes transactions, followers follow.

A follower asks for the next blocks and the validator answers when there are some, or after a few seconds with none;
so a follower hears within that time that the validator is there, and knows how old its view is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable

from fondaco.core.keys import SecretKey
from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.errors import (
    ContractError,
    DeadlineExceeded,
    FondacoError,
    PeerLost,
    RemoteError,
    TransportError,
)
from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.contracts.kit import Refused
from fondaco.ledger.embedded import EmbeddedLedger, Overtaken
from fondaco.ledger.follower import Behind, FollowerLedger
from fondaco.ledger.light import SignedHeader
from fondaco.ledger.reader import Ledger, TooEarly
from fondaco.ledger.transactions import MAX_AHEAD, MAX_BYTES, NONCE_BYTES, build
from fondaco.transport.peering import Peering

_log = logging.getLogger(__name__)
SUBMIT, BLOCKS = "ledger.submit", "ledger.blocks"
POLL_SECONDS = 3.0
SUBMIT_SECONDS = 20.0
_CALL_SECONDS = 10.0
_RETRY_SECONDS = 0.5
_MOST = 200
_MAX_ASK = 64 << 10


_REMEDIES = {
    "unknown": "check the name or id, and give ids whole",
    "denied": "keep to what the cause says, or ask whoever may do this",
    "status": "look what became of it: it may be done, decided or over already",
    "conflict": "look what is there: it may be done already",
    "invalid": "correct what the cause names",
}


class Rejected(ContractError):
    """The ledger executed a transaction and refused it; keeps the contract's own code.

    A contract says what is wrong in its cause; where it has no remedy of its own, the kind of its refusal gives one.
    """

    def __init__(self, answer: Answer) -> None:
        kind = _REMEDIES.get(answer.error.rpartition(".")[2])
        general = answer.remedy == Refused.remedy_text and kind
        remedy = f"{kind}; {answer.remedy}" if general else answer.remedy
        super().__init__(answer.cause, remedy=remedy, height=answer.height)
        self.contract_code = answer.error

    def to_dict(self) -> dict[str, object]:
        """With the contract's code."""
        return super().to_dict() | {"code": self.contract_code}

    def diagnostics(self) -> str:
        """With the contract's code."""
        return super().diagnostics().replace(self.code, self.contract_code, 1)


@message("ledger.answer/1")
class Answer:
    """What became of a submitted transaction."""

    height: int
    tx: bytes
    code: int
    error: str
    cause: str
    remedy: str


@message("ledger.ask/1")
class Ask:
    """A follower asks for blocks from a height on; `tip` is its newest header, None before the first block."""

    start: int
    limit: int
    tip: SignedHeader | None


@message("ledger.blocks/1")
class Blocks:
    """The blocks, in order; none when there were none in time. `tip` is the newest header of who answers."""

    blocks: tuple[bytes, ...]
    tip: SignedHeader | None


class LedgerService:
    """Submitting, serving and following for one node."""

    def __init__(self, ledger: Ledger, *, validator: str, own: str) -> None:
        self.ledger = ledger
        self.validator = validator
        self._own = own
        self._peering: Peering | None = None
        self._grew = asyncio.Condition()
        self._heard = time.monotonic() if validator == own else float("-inf")
        self._listeners: list[Callable[[int], None]] = []
        self.trouble: FondacoError | None = None

    def contact(self) -> float:
        """When this node last heard the validator, or of a block of several validators (monotonic seconds)."""
        alone = self.validator == self._own and not isinstance(self.ledger, CometLedger)
        return time.monotonic() if alone else self._heard

    def on_height(self, listener: Callable[[int], None]) -> None:
        """Call with each new height, in the event loop."""
        self._listeners.append(listener)

    def start(self, peering: Peering) -> None:
        """Attach to the network and to the event loop."""
        self._peering = peering
        loop = asyncio.get_running_loop()
        self.ledger.watch(lambda height: _soon(loop, self._on_height, height))
        if isinstance(self.ledger, EmbeddedLedger | CometLedger):
            peering.serve_calls(SUBMIT, lambda _peer, tx: self._on_submit(tx), guests=True, largest=MAX_BYTES)
        peering.serve_calls(BLOCKS, self._on_ask, guests=True, largest=_MAX_ASK)

    def _on_height(self, height: int) -> None:
        if isinstance(self.ledger, CometLedger):
            self._heard = time.monotonic()
        for listener in self._listeners:
            listener(height)
        self._notifying = asyncio.ensure_future(self._notify())

    async def _notify(self) -> None:
        async with self._grew:
            self._grew.notify_all()

    # -- serving ----------------------------------------------------------------------------------------------

    async def _on_submit(self, tx: bytes) -> bytes:
        return to_bytes(await self._commit(tx))

    async def _commit(self, tx: bytes) -> Answer:
        assert isinstance(self.ledger, EmbeddedLedger | CometLedger)
        try:
            async with asyncio.timeout(SUBMIT_SECONDS):
                waiting = await asyncio.to_thread(self.ledger.submit, tx)  # signatures are verified there
                done = await asyncio.wrap_future(waiting)
        except TimeoutError as late:
            raise DeadlineExceeded(
                "no block has the transaction yet; it may still come into one, so look before you try again",
                remedy=self._remedy(),
                seconds=int(SUBMIT_SECONDS),
            ) from late
        result = done.result
        return Answer(
            height=done.height,
            tx=done.tx,
            code=result.code,
            error=result.error,
            cause=result.cause,
            remedy=result.remedy,
        )

    async def _on_ask(self, _peer: str, payload: bytes) -> bytes:
        ask = from_bytes(Ask, payload, limit=_MAX_ASK)
        if isinstance(self.ledger, EmbeddedLedger):
            try:
                await asyncio.to_thread(self.ledger.hear, ask.tip)
            except Overtaken as fault:
                self.trouble = fault
                raise
        try:
            async with asyncio.timeout(POLL_SECONDS), self._grew:
                await self._grew.wait_for(lambda: self.ledger.height >= ask.start)
        except TimeoutError:
            _log.debug("no block for a follower within the poll's time")
        return await asyncio.to_thread(self._blocks, ask)

    def _blocks(self, ask: Ask) -> bytes:
        tip = self.ledger.signed_tip()
        most = 0 if tip is None else tip.header.height + 1 - ask.start  # none newer than the tip that goes with them
        found = self.ledger.blocks(ask.start, max(min(ask.limit, most, _MOST), 0))
        return to_bytes(Blocks(blocks=tuple(found), tip=tip))

    # -- following --------------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Apply the validator's blocks until cancelled; a ledger that diverged halts here with its cause.

        Raises:
            LedgerError, ProofError: the validator's blocks are not what this node computes.
        """
        while True:
            try:
                await self.catch_up_once()
                self.trouble = None
            except (PeerLost, TransportError, DeadlineExceeded, RemoteError, Behind, TooEarly) as fault:
                if self.trouble is None or self.trouble.cause != fault.cause:
                    _log.warning("the validator cannot be heard: %s", fault.cause)
                self.trouble = fault
                await asyncio.sleep(_RETRY_SECONDS)

    async def catch_up_once(self) -> int:
        """Ask once for what is new and apply it; the height after it.

        The validator counts as heard only once this node has its newest block, and the two agree on it.
        """
        assert self._peering is not None
        assert isinstance(self.ledger, FollowerLedger)
        ask = to_bytes(Ask(start=self.ledger.height + 1, limit=_MOST, tip=self.ledger.signed_tip()))
        answer = await self._peering.call(self.validator, BLOCKS, ask, deadline=_CALL_SECONDS)
        found = from_bytes(Blocks, answer, limit=16 << 20)
        for block in found.blocks:
            await asyncio.to_thread(self.ledger.apply, block)
        if await asyncio.to_thread(self.ledger.hear, found.tip):
            self._heard = time.monotonic()
        return self.ledger.height

    async def wait_height(self, height: int, seconds: float) -> None:
        """Until the ledger here has that height.

        Raises:
            DeadlineExceeded: not in time.
        """
        try:
            async with asyncio.timeout(seconds), self._grew:
                await self._grew.wait_for(lambda: self.ledger.height >= height)
        except TimeoutError as late:
            raise DeadlineExceeded(
                f"the ledger stands at {self.ledger.height} and did not reach {height} in time",
                remedy=self._remedy(),
                seconds=int(seconds),
            ) from late

    def _remedy(self) -> str:
        """What to do where no block comes."""
        if isinstance(self.ledger, CometLedger):
            return "more than two thirds of the validators must run and see each other: see `fondaco network status`"
        return "check that the validator's node runs, and the link to it"

    # -- submitting -------------------------------------------------------------------------------------------

    async def send(self, msg: object, *secrets: SecretKey) -> Answer:
        """Sign a message and have it executed.

        Raises:
            Rejected: the contract refused it.
            PeerLost, DeadlineExceeded: the validator cannot be reached; the transaction may still come through.
        """
        expires = self.ledger.height + MAX_AHEAD // 2
        tx = build(self.ledger.chain_id, msg, secrets, nonce=os.urandom(NONCE_BYTES), expires=expires)
        if isinstance(self.ledger, EmbeddedLedger | CometLedger):
            answer = await self._commit(tx)
        else:
            assert self._peering is not None
            data = await self._peering.call(self.validator, SUBMIT, tx, deadline=SUBMIT_SECONDS)
            answer = from_bytes(Answer, data)
        if answer.code:
            raise Rejected(answer)
        return answer

    async def submit(self, msg: object, *secrets: SecretKey) -> Answer:
        """As `send`, and wait until this node sees the result."""
        answer = await self.send(msg, *secrets)
        await self.wait_height(answer.height, SUBMIT_SECONDS)
        return answer


def _soon(loop: asyncio.AbstractEventLoop, work: Callable[[int], None], height: int) -> None:
    """From the thread that makes blocks into the event loop, unless that has ended."""
    try:
        loop.call_soon_threadsafe(work, height)
    except RuntimeError:
        _log.debug("height %d came after the node had stopped", height)
