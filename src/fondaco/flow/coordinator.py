"""The coordinator: drives each task that names it from accepted to settled, by what the ledger says.

It keeps no state of its own that matters: on every new height, and after a restart, it looks at the ledger and
does what is due (run, order the steps, finish, settle, or name who failed). It holds no data and learns no
result. When a party fails, all others are told the same named cause, and the ledger keeps it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from fondaco.core.messages import to_bytes
from fondaco.errors import (
    ContractError,
    DeadlineExceeded,
    FlowError,
    FondacoError,
    PartyFailed,
    PeerLost,
    RemoteError,
    TransportError,
)
from fondaco.flow import wire
from fondaco.flow.chain import Chain, TaskView
from fondaco.flow.journal import Journal
from fondaco.flow.model import Step
from fondaco.flow.party import Party
from fondaco.transport.peering import Peering

_log = logging.getLogger(__name__)
_GRACE_SECONDS = 6.0
_CANCEL_SECONDS = 3.0
_HELD_SECONDS = 5.0
ACCEPT_SECONDS = 10.0


def named_failure(fault: FondacoError, org: str, step: str, members: Sequence[str]) -> PartyFailed:
    """The failure that `org` answered with, as one that names a party: a member of the step, or none ("").

    What `org` says of others is its word alone; whom it names beyond the step's members is not heard.
    """
    if isinstance(fault, PartyFailed):
        return fault
    if isinstance(fault, RemoteError):
        party = fault.details.get("party")
        said = isinstance(party, str) and fault.remote_code == PartyFailed.code and party in ("", *members)
        named = str(party) if said else org
        cause = f"{fault.cause} [{fault.remote_code}]" if named == org else fault.cause
        return PartyFailed(cause, party=named, step=step, remedy=fault.remedy)
    if isinstance(fault, PeerLost | TransportError):
        return PartyFailed(f"{org} went away: {fault.cause}", party=org, step=step, remedy=fault.remedy)
    return PartyFailed(f"{fault.cause} [{fault.code}]", party=org, step=step, remedy=fault.remedy)


class Coordinator:
    """Reconciles the tasks that name this institution as their coordinator."""

    def __init__(
        self, *, org: str, chain: Chain, peering: Peering, party: Party, journal: Journal, step_seconds: int
    ) -> None:
        self.org = org
        self._chain = chain
        self._peering = peering
        self._party = party
        self._journal = journal
        self._step_seconds = step_seconds
        self._running: dict[str, asyncio.Task[None]] = {}
        self._held: set[str] = set()
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look at the ledger again soon; cheap, from the event loop."""
        self._woken.set()

    async def run(self) -> None:
        """Reconcile until cancelled."""
        self._woken.set()
        try:
            while True:
                await self._woken.wait()
                self._woken.clear()
                self._look()
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _look(self) -> None:
        for view in self._chain.open_tasks():
            if view.workflow.coordinator != self.org or view.id in self._running or view.id in self._held:
                continue
            due = self._due(view)
            if due is None:
                continue
            task = asyncio.create_task(self._guarded(view, due))
            self._running[view.id] = task
            task.add_done_callback(functools.partial(self._over, view.id))

    def _over(self, task_id: str, _done: asyncio.Task[None]) -> None:
        self._running.pop(task_id, None)
        self.wake()

    def _due(self, view: TaskView) -> Callable[[TaskView], Awaitable[None]] | None:
        everyone = all(party in view.accepted for party in view.workflow.parties)
        if view.status in ("proposed", "accepted") and everyone:
            return self._drive
        if view.status == "proposed":
            return self._await_acceptance
        if view.status == "running":
            return self._finish if not view.missing_reports() else self._interrupted
        if view.status == "finished":
            return self._settle
        return None

    async def again(self, task: str) -> None:
        """Start a failed task again; waits until it has ended one way or the other.

        Raises:
            FlowError: it has not failed, or is being run.
            ContractError: the ledger refuses another attempt.
        """
        view = self._chain.task(task)
        if view.status != "failed" or task in self._running:
            raise FlowError(f"the task is {view.status}", remedy="only a failed task is started again", task=task)
        work = asyncio.create_task(self._drive(view))
        self._running[task] = work
        work.add_done_callback(functools.partial(self._over, task))
        await asyncio.shield(work)

    async def _guarded(self, view: TaskView, due: Callable[[TaskView], Awaitable[None]]) -> None:
        try:
            await due(view)
        except FondacoError as fault:
            _log.warning("task %s: %s", view.id, fault.diagnostics())
            self._journal.record(view.id, view.attempt, "", "coordinator stopped", party=self.org, cause=fault.cause)
            # What the ledger or a peer refused now it would refuse at once again: look at it anew in a while.
            self._held.add(view.id)
            asyncio.get_running_loop().call_later(_HELD_SECONDS, self._let_go, view.id)

    def _let_go(self, task_id: str) -> None:
        self._held.discard(task_id)
        self.wake()

    async def _interrupted(self, view: TaskView) -> None:
        """Running on the ledger, but not here: this coordinator went away in the middle and is back."""
        step = view.missing_reports()[0][0]
        cause = f"{self.org}, the coordinator, went away in the middle of the attempt and is back"
        await self._chain.fail(view.id, view.attempt, step, self.org, PartyFailed.code, cause)

    async def _await_acceptance(self, view: TaskView) -> None:
        """Give the parties their time; then name the one that has not accepted."""
        deadline = time.monotonic() + ACCEPT_SECONDS
        while True:
            now = self._chain.task(view.id)
            missing = [party for party in now.workflow.parties if party not in now.accepted]
            if now.status != "proposed" or not missing:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                await self._chain.wait_height(now.height + 1, left)
            except DeadlineExceeded:
                _log.info("task %s: %s has not accepted", view.id, missing[0])
        cause = f"{missing[0]} did not accept the task within {ACCEPT_SECONDS:.0f} s"
        first = view.workflow.steps[0].id
        await self._chain.fail(view.id, view.attempt, first, missing[0], DeadlineExceeded.code, cause)

    async def _drive(self, view: TaskView) -> None:
        try:
            await self._chain.run(view.id)
        except ContractError as refusal:
            # The ledger refused the run itself (a grant revoked since, no uses left): it stays refused.
            self._journal.record(view.id, view.attempt, "", "refused", party=self.org, cause=refusal.cause)
            if view.status == "failed":
                raise
            first = view.workflow.steps[0].id
            await self._chain.fail(view.id, view.attempt, first, self.org, refusal.code, refusal.cause)
            return
        running = self._chain.task(view.id)
        for step in view.workflow.steps:
            failure = await self._step(running, step)
            if failure is not None:
                await self._chain.fail(
                    view.id, running.attempt, step.id, failure.party, failure.code, failure.cause[:400]
                )
                return
        await self._finish(self._chain.task(view.id))

    async def _finish(self, view: TaskView) -> None:
        await self._chain.finish(view.id)
        await self._settle(view)

    async def _settle(self, view: TaskView) -> None:
        await self._chain.settle(view.id)

    async def _order(self, view: TaskView, step: Step, org: str) -> None:
        order = wire.Order(
            task=view.id, attempt=view.attempt, step=step.id, height=view.height, seconds=self._step_seconds
        )
        if org == self.org:
            await self._party.execute(view, order)
            return
        peer = self._chain.node_of(org)
        try:
            await self._peering.call(peer, wire.STEP, to_bytes(order), deadline=self._step_seconds + _GRACE_SECONDS)
        except DeadlineExceeded as fault:
            raise PartyFailed(
                f"{org} did not answer within {self._step_seconds} s",
                party=org,
                step=step.id,
                remedy="ask the party for its log; start the task again when it answers",
            ) from fault

    async def _step(self, view: TaskView, step: Step) -> PartyFailed | None:
        """Order the step at all its members; None, or the failure with the party named."""
        orders = {asyncio.create_task(self._order(view, step, org)): org for org in step.members}
        done, pending = await asyncio.wait(orders, return_when=asyncio.FIRST_EXCEPTION)
        failures = self._failures(orders, done, step)
        if not failures:
            return None
        if pending and not any(org == fault.party for org, fault in failures):
            # The first word is often of the one who noticed, not of the one who failed: hear the others out.
            late, pending = await asyncio.wait(pending, timeout=_GRACE_SECONDS)
            failures += self._failures(orders, late, step)
        worst = self._worst(failures)
        await self._cancel(view, step, worst)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        return worst

    def _failures(
        self, orders: dict[asyncio.Task[None], str], done: set[asyncio.Task[None]], step: Step
    ) -> list[tuple[str, PartyFailed]]:
        found: list[tuple[str, PartyFailed]] = []
        for task in done:
            fault = task.exception()
            if isinstance(fault, FondacoError):
                found.append((orders[task], named_failure(fault, orders[task], step.id, step.members)))
            elif fault is not None:
                raise fault
        return found

    def _worst(self, failures: list[tuple[str, PartyFailed]]) -> PartyFailed:
        """The failure that says most: a party of itself or as seen from here, else what most others say.

        Where nobody is named it is put down to who reported it: a failure on the ledger is some member's.
        """
        of_itself = [fault for org, fault in failures if fault.party == org]
        if of_itself:
            return of_itself[0]
        named = [fault.party for _org, fault in failures if fault.party]
        org, worst = max(failures, key=lambda failure: named.count(failure[1].party))
        if worst.party:
            return worst
        return PartyFailed(worst.cause, party=org, step=worst.step, remedy=worst.remedy)

    async def _cancel(self, view: TaskView, step: Step, failure: PartyFailed) -> None:
        cancel = to_bytes(
            wire.Cancel(
                task=view.id,
                attempt=view.attempt,
                step=step.id,
                party=failure.party,
                cause=failure.cause[:400],
            )
        )

        async def tell(org: str) -> None:
            try:
                await self._peering.call(self._chain.node_of(org), wire.CANCEL, cancel, deadline=_CANCEL_SECONDS)
            except (TransportError, RemoteError, DeadlineExceeded) as fault:
                _log.info("%s could not be told of the cancellation: %s", org, fault.cause)

        await asyncio.gather(*(tell(org) for org in step.members if org not in (self.org, failure.party)))
