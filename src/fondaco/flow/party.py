"""A party's share of a running task: take the order, pass the gate, run the worker, carry its links, report.

Trusts the ledger as this node verified it, and no peer: an order is taken from the coordinator that the ledger
names, a link only from a member of the step, and every byte of data comes through the gate. When a peer goes
silent its name becomes the cause of the failure here, the worker is ended, and nothing waits for it.
What leaves this node are the engine's protocol messages and a commitment; see the engine's own docstring for
what those tell.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import shutil
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from fondaco.core.messages import from_bytes, to_bytes
from fondaco.engines.base import LANES, MEMORY_MIB, PREPARED, Excessive, Job, Outcome, WorkerDied
from fondaco.engines.channel import socket_name
from fondaco.engines.process import run_job
from fondaco.errors import (
    ContractError,
    DeadlineExceeded,
    EngineError,
    FlowError,
    FondacoError,
    PartyFailed,
    PeerLost,
    TransportError,
)
from fondaco.flow import wire
from fondaco.flow.chain import Chain, Gate, Keeps, Opened, Results, TaskView
from fondaco.flow.contribution import measure
from fondaco.flow.journal import Journal
from fondaco.flow.model import Step
from fondaco.transport.peering import Peering, Stream
from fondaco.transport.tunnel import Tunnel, splice_to

_log = logging.getLogger(__name__)
_HEIGHT_SECONDS = 15.0
_LINK_SECONDS = 20.0
_AGAIN = "start the task again when the party is back: fondaco run --again TASK"
_Key = tuple[str, int, str]


def _lanes(step: Step, *members: str) -> tuple[str, ...]:
    """The lanes between two members; in the first of several a helper would be taken for a member with data."""
    lanes = LANES.get((step.engine, step.operation), ("",))
    return lanes[1:] if step.helper in members and len(lanes) > 1 else lanes


def _matched(step: Step, outcome: Outcome) -> int | None:
    """How many rows a receiver's outcome tells to be in a match; None where it tells of no rows."""
    if step.engine != "psi":
        return None
    if step.operation in ("intersection", "unbalanced"):
        return int(outcome.tables["match"].num_rows)
    if step.operation == "difference":
        return outcome.report.rows_in - int(outcome.tables["result"].num_rows)
    return None


@dataclasses.dataclass
class _Active:
    """A step that is being worked on here."""

    view: TaskView
    step: Step
    rank: int
    sockets: Path
    work: asyncio.Task[None] | None = None
    cause: FondacoError | None = None

    def end(self, cause: FondacoError) -> None:
        """End the work and remember the first cause."""
        if self.cause is None:
            self.cause = cause
        if self.work is not None:
            self.work.cancel()


class Party:
    """Runs this institution's share of the steps it is ordered to."""

    def __init__(
        self,
        *,
        org: str,
        chain: Chain,
        peering: Peering,
        gate: Gate,
        results: Results,
        journal: Journal,
        step_seconds: int,
        keeps: Keeps | None = None,
        asker_memory_mib: int = MEMORY_MIB,
    ) -> None:
        self.org = org
        self._keeps = keeps
        self._chain = chain
        self._peering = peering
        self._gate = gate
        self._results = results
        self._journal = journal
        self._step_seconds = step_seconds
        self._asker_memory_mib = asker_memory_mib
        self._active: dict[_Key, _Active] = {}
        self._arrived = asyncio.Condition()
        self._matches: dict[tuple[str, int, str], pa.Table] = {}

    def serve(self) -> None:
        """Take orders, cancellations and engine links from peers; hear of lost ones."""
        self._peering.serve_calls(wire.STEP, self._on_order, largest=wire.MAX_BYTES)
        self._peering.serve_calls(wire.CANCEL, self._on_cancel, largest=wire.MAX_BYTES)
        self._peering.handle(wire.ENGINE, self._on_link)
        self._peering.on_lost(self._on_lost)

    # -- what peers ask -------------------------------------------------------------------------------------

    async def _on_order(self, peer: str, payload: bytes) -> bytes:
        order = from_bytes(wire.Order, payload, limit=wire.MAX_BYTES)
        await self._chain.wait_height(order.height, _HEIGHT_SECONDS)
        view = self._chain.task(order.task)
        if self._chain.org_of(peer) != view.workflow.coordinator:
            raise FlowError("only the task's coordinator gives orders", remedy="see the task on the ledger", peer=peer)
        await self.execute(view, order)
        return b""

    async def _on_cancel(self, peer: str, payload: bytes) -> bytes:
        cancel = from_bytes(wire.Cancel, payload, limit=wire.MAX_BYTES)
        active = self._active.get((cancel.task, cancel.attempt, cancel.step))
        if active is not None:
            if self._chain.org_of(peer) != active.view.workflow.coordinator:
                raise FlowError("only the task's coordinator cancels", remedy="see the task on the ledger", peer=peer)
            active.end(PartyFailed(cancel.cause, party=cancel.party, step=cancel.step, remedy=_AGAIN))
        return b""

    async def _on_link(self, stream: Stream) -> None:
        link = from_bytes(wire.Link, stream.header, limit=wire.MAX_BYTES)
        key = (link.task, link.attempt, link.step)
        try:
            async with asyncio.timeout(_LINK_SECONDS), self._arrived:
                await self._arrived.wait_for(lambda: key in self._active)
        except TimeoutError as fault:
            raise DeadlineExceeded(
                f"{self.org} was not ordered to run this step in time", remedy=_AGAIN, step=link.step
            ) from fault
        active = self._active[key]
        members = active.step.members
        fits = 0 <= link.sender < len(members) and link.receiver == active.rank != link.sender
        if not fits or members[link.sender] != self._chain.org_of(stream.peer):
            raise FlowError("this peer has no link in this step", remedy="see the task on the ledger", peer=stream.peer)
        if link.lane not in _lanes(active.step, members[link.sender], self.org):
            raise FlowError("this step has no such lane", remedy="see that all run one version", peer=stream.peer)
        name = socket_name(active.step.engine, len(members), active.rank, link.sender)
        await splice_to(stream, active.sockets / link.lane / name, deadline=_LINK_SECONDS)

    def _on_lost(self, peer: str, cause: str) -> None:
        try:
            org = self._chain.org_of(peer)
        except FondacoError:  # a peer that is on the ledger no more takes part in nothing of ours
            return
        for active in tuple(self._active.values()):
            if org in active.step.members or org == active.view.workflow.coordinator:
                active.end(PartyFailed(f"{org} went away: {cause}", party=org, step=active.step.id, remedy=_AGAIN))

    # -- the work -------------------------------------------------------------------------------------------

    async def execute(self, view: TaskView, order: wire.Order) -> None:
        """Run this institution's share of one step and report it on the ledger.

        Raises:
            FlowError: the ledger does not have this attempt running, or we have no share in the step.
            GateRefused: the gate refused.
            PartyFailed: a party (perhaps this one) failed; it is named.
        """
        step = view.workflow.step(order.step)
        key = (order.task, order.attempt, order.step)
        if view.status != "running" or view.attempt != order.attempt or self.org not in step.members:
            raise FlowError(
                f"the ledger has attempt {view.attempt} of this task as {view.status}",
                remedy="ask again once the ledger agrees",
                task=order.task,
                step=order.step,
            )
        order = dataclasses.replace(order, seconds=self._allowed(view, order))
        if key in self._active:
            raise FlowError("this step is being run already", remedy="wait for it to end", step=order.step)
        sockets = Path(tempfile.mkdtemp(prefix="fondaco-"))
        active = _Active(view, step, step.members.index(self.org), sockets)
        self._journal.record(order.task, order.attempt, order.step, "started")
        started = time.monotonic()
        try:
            active.work = asyncio.create_task(self._work(active, order))
            async with self._arrived:
                self._active[key] = active
                self._arrived.notify_all()
            await self._ended(active, order)
        except FondacoError as fault:
            party = fault.party if isinstance(fault, PartyFailed) else self.org
            self._journal.record(order.task, order.attempt, order.step, "failed", party=party, cause=fault.cause)
            raise
        finally:
            self._active.pop(key, None)
            shutil.rmtree(sockets, ignore_errors=True)
        micros = int((time.monotonic() - started) * 1e6)
        self._journal.record(order.task, order.attempt, order.step, "reported", micros=micros)

    def _allowed(self, view: TaskView, order: wire.Order) -> int:
        """The seconds for a step: what was ordered, but no more than we set and than the task has left."""
        seconds = min(order.seconds, self._step_seconds, view.deadline - int(time.time()))
        if seconds <= 0:
            raise FlowError("there is no time left for this step", remedy="propose the task again", step=order.step)
        return seconds

    async def _ended(self, active: _Active, order: wire.Order) -> None:
        work = active.work
        assert work is not None
        try:
            async with asyncio.timeout(order.seconds):
                await work
        except TimeoutError as fault:
            raise DeadlineExceeded(
                f"{self.org} did not end the step within its {order.seconds} s",
                remedy="allow the step more time, or ask the parties for their logs",
                step=order.step,
            ) from fault
        except asyncio.CancelledError:
            if active.cause is None:
                work.cancel()
                raise
            raise active.cause from None
        except (PeerLost, TransportError) as fault:
            raise active.cause or self._blame(fault, order.step) from fault
        except PartyFailed as fault:
            raise active.cause or fault from fault

    def _blame(self, fault: FondacoError, step: str) -> FondacoError:
        """Name the institution behind a broken link, as this node saw it; a peer's word names nobody."""
        told_by = fault.details.get("told_by")
        if isinstance(told_by, str):
            cause = f"{self._chain.org_of(told_by)} ended the link: {fault.cause}"
            return PartyFailed(cause, party="", step=step, remedy=fault.remedy)
        peer = fault.details.get("peer")
        if isinstance(peer, str):
            org = self._chain.org_of(peer)
            return PartyFailed(f"{org} went away: {fault.cause}", party=org, step=step, remedy=_AGAIN)
        return fault

    async def _work(self, active: _Active, order: wire.Order) -> None:
        view, step = active.view, active.step
        key = (order.task, order.attempt)
        match = None if step.match is None else self._matches.get((*key, step.match))
        opened = await asyncio.to_thread(self._open, active, match)
        item = step.input_of(self.org)
        if item is not None and item.grant is not None:
            await self._chain.begin(order.task, order.attempt, order.step)
        outcome = await self._compute(active, opened, match, order)
        prepared = outcome.tables.pop(PREPARED, None)
        if prepared is not None:
            await asyncio.to_thread(self._gate.keep, view, step, prepared)
        learns = self.org in step.receivers
        matched = _matched(step, outcome) if learns else None
        if matched is not None:
            await asyncio.to_thread(self._gate.check_match, view, step, matched)
        if learns and step.operation == "intersection":
            self._matches[(*key, step.id)] = outcome.tables["match"]
            await self._measure(view, order)
        keep = self._results.keep if learns else lambda v, s, _tables: self._results.nothing(v, s)
        commitment = await asyncio.to_thread(keep, view, step, outcome.tables)
        await self._chain.report(order.task, order.attempt, order.step, commitment)

    async def _measure(self, view: TaskView, order: wire.Order) -> None:
        """As the initiator, with the last match that is needed: report what each dataset contributed.

        Before the step is reported, so that the task cannot be settled without it. Where the ledger refuses it, the
        price divides, as without a measurement.
        """
        if self.org != view.workflow.initiator:
            return
        matches = {
            step: table
            for (task, attempt, step), table in self._matches.items()
            if (task, attempt) == (order.task, order.attempt)
        }
        found = measure(view.workflow, matches, self._chain.method(), self._chain.minimum_count)
        if found is None:
            return
        try:
            await self._chain.measure(order.task, order.attempt, found.coalitions, found.values, found.contributions)
        except ContractError as refusal:
            self._journal.record(
                order.task, order.attempt, order.step, "not measured", party=self.org, cause=refusal.cause
            )

    def _open(self, active: _Active, match: pa.Table | None) -> Opened | None:
        started = time.monotonic()
        if self.org == active.step.helper:
            self._gate.check_program(active.view, active.step)
            opened = None
        else:
            opened = self._gate.open(active.view, active.step, match)
        micros = int((time.monotonic() - started) * 1e6)
        self._journal.record(active.view.id, active.view.attempt, active.step.id, "gate passed", micros=micros)
        return opened

    async def _compute(
        self, active: _Active, opened: Opened | None, match: pa.Table | None, order: wire.Order
    ) -> Outcome:
        step = active.step
        job = self._job(active, opened, order)
        inputs: dict[str, pa.Table] = {}
        if opened is not None:
            inputs |= {"data": opened.table} | opened.prepared
        if match is not None and opened is not None:
            inputs["match"] = match
        tunnels: list[Tunnel] = []
        try:
            for rank, member in enumerate(step.members):
                for lane in _lanes(step, member, self.org) if rank != active.rank else ():
                    (active.sockets / lane).mkdir(mode=0o700, exist_ok=True)
                    tunnels.append(await self._tunnel(active, rank, member, lane))
            keep = None if self._keeps is None else self._keeps.of(active.view, step)
            return await run_job(job, inputs, active.sockets, deadline=float(order.seconds), keep=keep)
        except EngineError as fault:
            raise self._by_name(fault, step, active, tunnels) from fault
        finally:
            for tunnel in tunnels:
                await tunnel.close()

    def _by_name(self, fault: EngineError, step: Step, active: _Active, tunnels: list[Tunnel]) -> FondacoError:
        """The same failure with the party named: the one whose link broke, else ourselves."""
        if active.cause is not None:
            return active.cause
        if isinstance(fault, PartyFailed) and not isinstance(fault, WorkerDied):
            return fault  # the engine here said itself why it cannot go on; that its links broke is what followed
        if isinstance(fault, Excessive):
            # Refused here, by what a peer says: that its link broke is what followed. Who is right nobody here knows;
            # where no member is named the coordinator puts down who reported it, and the cause says of whom it was.
            return PartyFailed(f"{fault.cause} [{fault.code}]", party="", step=step.id, remedy=fault.remedy)
        for tunnel in tunnels:
            if tunnel.failure is not None and not {"peer", "told_by"}.isdisjoint(tunnel.failure.details):
                return self._blame(tunnel.failure, step.id)
        if isinstance(fault, PartyFailed):
            return fault
        # Nobody here knows whose fault it was: the coordinator hears the others before it names a party.
        return PartyFailed(fault.cause, party="", step=step.id, remedy=fault.remedy)

    async def _tunnel(self, active: _Active, rank: int, member: str, lane: str) -> Tunnel:
        link = wire.Link(
            task=active.view.id,
            attempt=active.view.attempt,
            step=active.step.id,
            sender=active.rank,
            receiver=rank,
            lane=lane,
        )
        peer, header = self._chain.node_of(member), to_bytes(link)
        tunnel = Tunnel(lambda: self._peering.open(peer, wire.ENGINE, header))
        name = socket_name(active.step.engine, len(active.step.members), rank, active.rank)
        await tunnel.listen(active.sockets / lane / name)
        return tunnel

    def _job(self, active: _Active, opened: Opened | None, order: wire.Order) -> Job:
        declared = {item.party: self._chain.columns(item.dataset, item.columns) for item in active.step.inputs}
        if opened is not None:
            declared[self.org] = opened.columns
        return active.step.job(
            declared,
            party=self.org,
            task=order.task,
            attempt=order.attempt,
            seconds=order.seconds,
            rows={item.party: self._chain.rows(item.dataset) for item in active.step.inputs},
            memory_mib=self._asker_memory_mib,
        )

    def remembers(self, task: str) -> bool:
        """Whether matched keys of a task are kept here for its later steps."""
        return any(key[0] == task for key in self._matches)

    def forget_ended(self) -> None:
        """Drop the matched keys of attempts that the ledger has no longer running; called on every new height."""
        for key in tuple(self._matches):
            view = self._chain.task(key[0])
            if (view.status, view.attempt) != ("running", key[1]):
                del self._matches[key]
