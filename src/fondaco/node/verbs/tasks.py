"""Tasks: explain, run, follow, open the result."""

from __future__ import annotations

import dataclasses
import time

from fondaco.core.contribution import METHODS
from fondaco.core.messages import from_value
from fondaco.errors import FlowError, UsageError
from fondaco.flow.heads import heads
from fondaco.flow.planner import Plan, Planner, explain
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.settlement.messages import Formula
from fondaco.ledger.contracts.tasks import messages as tasks
from fondaco.node.control import Json, Progress, Verb
from fondaco.node.market import records
from fondaco.node.verbs.common import Group, plain

_EXPIRY_SECONDS = 60.0


class TaskVerbs(Group):
    """Computing together."""

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {
            "explain": self.explain,
            "run": self.run,
            "again": self.again,
            "tasks": self.tasks,
            "task": self.task,
            "result": self.result,
        }

    def _plan(self, document: Json) -> Plan:
        key = self._node.folder.user_key("analyst").public.raw
        planner = Planner(
            org=self._org, key=key, coordinator=self._coordinator(), market=self._market, now=int(time.time())
        )
        return planner.plan(document)

    async def explain(self, arguments: Json, _progress: Progress) -> Json:
        """Before anything runs: what is missing, what it costs, who learns what."""
        return explain(self._plan(arguments["workflow"])) | {"division": self._division()}

    def _division(self) -> Json:
        """How what the task pays is shared, and what of the task that puts on the ledger."""
        found = from_value(Formula, self._ledger.query("settlement/formula"))
        told = "nothing of the data: the prices are known"
        if found.method in METHODS:
            told = "all members learn how many of the initiator's keys each set of the granted datasets covers"
        return dataclasses.asdict(found) | {"tells": told}

    async def run(self, arguments: Json, progress: Progress) -> Json:
        """Propose a workflow; waits for its end unless told not to."""
        plan = self._plan(arguments["workflow"])
        if plan.missing:
            lacks = ", ".join(f"{m.operation} on {m.dataset} from {m.provider}" for m in plan.missing)
            other = " and ".join(dict.fromkeys(m.other for m in plan.missing if m.other))
            granted = f", or name the version that a grant of yours covers: {other}" if other else ""
            keys = min((m.most_keys for m in plan.missing if m.most_keys), default=0)
            granted += f"; or set most_keys to {keys} or fewer, as many as a grant of yours allows" if keys else ""
            raise FlowError(
                f"no grant that can be used covers: {lacks}",
                remedy=f"ask for it, as `fondaco explain` says under ask{granted}",
                missing=len(plan.missing),
            )
        workflow = plan.workflow
        msg = tasks.Propose(
            workflow=workflow.bytes,
            coordinator=workflow.coordinator,
            parties=workflow.parties,
            steps=heads(workflow),
            purpose=workflow.purpose,
            deadline=int(time.time()) + int(arguments.get("seconds", 3600)),
        )
        answer = await self._node.service.submit(msg, self._node.folder.user_key("analyst"))
        task = derive("task", answer.tx).hex()
        progress({"task": task, "status": "proposed"})
        if not arguments.get("wait", True):
            return self._task(task)
        return await self._until_over(task, msg.deadline, progress)

    async def again(self, arguments: Json, progress: Progress) -> Json:
        """Ask the coordinator (this node) to start a failed task again."""
        task = arguments["task"]
        coordinator = self._node.chain.record(task).coordinator
        if coordinator != self._org:
            raise FlowError(
                f"{coordinator} coordinates this task, and its node alone starts it again",
                remedy=f"ask {coordinator}'s operator for: fondaco run --again {task}",
            )
        await self._node.coordinator.again(task)
        return await self._until_over(task, self._node.chain.record(task).deadline, progress)

    async def _until_over(self, task: str, until: int, progress: Progress) -> Json:
        """Until a task is settled, failed or ended otherwise, as it is soon after its deadline at the latest."""
        shown = ""
        deadline = time.monotonic() + until - time.time() + _EXPIRY_SECONDS
        while True:
            view = self._node.chain.task(task)
            state = f"{view.status} {len(view.reported)}"
            if state != shown:
                shown = state
                progress(
                    {
                        "task": task,
                        "status": view.status,
                        "attempt": view.attempt,
                        "reports": len(view.reported),
                    }
                )
            if view.status in ("settled", "failed", "abandoned", "expired"):
                return self._task(task)
            left = deadline - time.monotonic()
            await self._node.service.wait_height(self._ledger.height + 1, max(left, 0.0))

    def _task(self, task: str) -> Json:
        record = self._node.chain.record(task)
        failure = record.failure
        return {
            "task": task,
            "status": record.status,
            "attempt": record.attempt,
            "purpose": record.purpose,
            "initiator": record.initiator,
            "coordinator": record.coordinator,
            "parties": list(record.parties),
            "accepted": list(record.accepted),
            "failure": {}
            if failure is None
            else {
                "attempt": failure.attempt,
                "step": failure.step,
                "party": failure.party,
                "reason": failure.reason,
                "cause": failure.cause,
            },
            "result": "" if record.result is None else record.result.hex(),
        }

    async def tasks(self, _arguments: Json, _progress: Progress) -> Json:
        """The tasks that this institution has a part in, newest last; all for a regulator."""
        found = records(self._ledger, "tasks/tasks", tasks.Task)
        everything = self._node.settings.kind == "regulator"
        return {
            "tasks": [
                {
                    "task": t.id.hex(),
                    "status": t.status,
                    "attempt": t.attempt,
                    "purpose": t.purpose,
                    "initiator": t.initiator,
                    "coordinator": t.coordinator,
                    "steps": [step.id for step in t.steps],
                }
                for t in sorted(found, key=lambda t: (t.since, t.id))
                if everything or self._org in (*t.parties, t.initiator, t.coordinator)
            ]
        }

    async def task(self, arguments: Json, _progress: Progress) -> Json:
        """How far a task is, and what this node saw of it."""
        seen = [dataclasses.asdict(entry) for entry in self._node.journal.of(arguments["task"])]
        return self._task(arguments["task"]) | {"journal": seen}

    async def result(self, arguments: Json, _progress: Progress) -> Json:
        """Open what this institution received of a step."""
        task, step = arguments["task"], arguments["step"]
        record = self._node.chain.record(task)
        steps = [head.id for head in record.steps]
        if step not in steps:
            raise UsageError(f"the task has no step {step[:64]}", remedy=f"name one of: {', '.join(steps)}", task=task)
        folder = self._node.folder
        secret = folder.user_seal("analyst") if record.initiator == self._org else folder.seal_key
        committed = self._node.chain.outcome(task, record.attempt, step, self._org)
        tables = self._node.results.open(task, record.attempt, step, secret, committed=committed)
        limit = int(arguments.get("limit", 1000))
        return {
            "task": task,
            "step": step,
            "tables": {
                name: {
                    "columns": table.column_names,
                    "count": table.num_rows,
                    "rows": [[plain(v) for v in row.values()] for row in table.slice(0, limit).to_pylist()],
                }
                for name, table in tables.items()
            },
        }
