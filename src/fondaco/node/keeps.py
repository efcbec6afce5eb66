"""Where workers of this node may keep what outlives them: parts of a meeting that was cut, and tables of peers.

A folder of its own for each step of a task, or for each published dataset whose table is kept. Its key and what it is
bound to are made of the node's master key and of all that must not have changed: our institution, the task, the whole
pinned workflow (steps, datasets with versions, parameters, receivers), the step, and the nodes of its members; for a
table the provider, its node, the dataset's version and the columns. So what was kept of anything else does not open.

Forgotten: of a step when its task can have no other attempt (finished, settled, expired: at its deadline at the
latest); of a table when it was not used for 30 days. Holds no key and no row in the clear; leaks to a thief of the disk
which tasks were cut, and lengths and dates.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from blake3 import blake3

from fondaco.core.codec import Value, encode
from fondaco.engines.keep import Keep
from fondaco.errors import LedgerError
from fondaco.flow.chain import TaskView
from fondaco.flow.model import Step

TABLE_SECONDS = 30 * 24 * 3600
_TABLE = "table-"
_OPEN = ("proposed", "accepted", "running", "failed")
_RESUMING = ("intersection", "difference", "threshold")


class _Tasks(Protocol):
    """What of the ledger is asked."""

    def task(self, task: str) -> TaskView:
        """The task; LedgerError when there is none."""

    def node_of(self, org: str) -> str:
        """The did of the active node of an institution."""


class KeepStore:
    """The folders of one node; see flow.chain.Keeps."""

    def __init__(
        self, folder: Path, *, master: bytes, org: str, chain: _Tasks, now: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._master = master
        self._org = org
        self._chain = chain
        self._now = now

    def of(self, task: TaskView, step: Step) -> Keep | None:
        """The place for a step, the same at each attempt of it, or None where its operation keeps nothing."""
        if step.engine != "psi":
            return None
        if step.operation in _RESUMING:
            return self._of_step(task, step)
        return self._of_table(step) if step.operation == "unbalanced" and self._org in step.receivers else None

    def _of_step(self, task: TaskView, step: Step) -> Keep:
        nodes: list[Value] = [self._chain.node_of(member) for member in step.members]
        bound = self._bound(["step", task.id, task.workflow.bytes, step.id, nodes])
        return self._keep(f"{task.id}-{bound.hex()[:32]}", bound)

    def _of_table(self, step: Step) -> Keep | None:
        for item in step.inputs:
            if item.party != self._org:
                node = self._chain.node_of(item.party)
                bound = self._bound(["table", item.party, node, item.dataset, list(item.columns), step.parameters])
                keep = self._keep(f"{_TABLE}{bound.hex()[:32]}", bound)
                if Path(keep.folder).exists():
                    os.utime(keep.folder)
                return keep
        return None

    def _bound(self, described: list[Value]) -> bytes:
        return hashlib.sha256(encode(["fondaco/kept", self._org, *described])).digest()

    def _keep(self, name: str, bound: bytes) -> Keep:
        key = blake3(b"fondaco/kept\x00" + bound, key=self._master).digest()
        return Keep(folder=str(self._folder / name), key=key, bound=bound)

    def forget_ended(self) -> None:
        """Remove what was kept for tasks that can have no other attempt, and tables that were not used for long."""
        if not self._folder.is_dir():
            return
        for folder in self._folder.iterdir():
            if folder.name.startswith(_TABLE):
                over = self._now() - folder.stat().st_mtime > TABLE_SECONDS
            else:
                over = self._is_over(folder.name.partition("-")[0])
            if over:
                shutil.rmtree(folder, ignore_errors=True)

    def _is_over(self, task: str) -> bool:
        try:
            view = self._chain.task(task)
        except LedgerError:
            return True
        return view.status not in _OPEN or self._now() >= view.deadline
