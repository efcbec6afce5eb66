"""Indexes for hidden queries and sets for unbalanced intersections, prepared before anyone asks."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from fondaco.core.names import DatasetName
from fondaco.engines.base import PREPARED, Told
from fondaco.engines.process import run_job
from fondaco.errors import NodeError
from fondaco.exchange.preparations import AHEAD, LOOKUP, Preparation
from fondaco.ledger.contracts.catalog.messages import Dataset
from fondaco.node.control import Json, Progress, Verb
from fondaco.node.verbs.common import Group

_MOST_SECONDS = 24 * 3600


def _teller(progress: Progress) -> Told:
    """Says how far each piece of the work is, and about how long the rest of it will take."""
    began: dict[str, float] = {}

    def told(what: str, done: int, whole: int) -> None:
        spent = time.monotonic() - began.setdefault(what, time.monotonic())
        left = spent * (whole - done) / done if done else 0.0
        progress({"work": what, "done": done, "of": whole, "seconds left": abs(round(left, 1))})

    return told


class PrepareVerbs(Group):
    """What a provider's steward does so that the first lookup or run need not wait."""

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {"prepare": self.prepare}

    async def prepare(self, arguments: Json, progress: Progress) -> Json:
        """Prepare a published dataset for an operation by its keys: an index (renewed from an earlier one), or a set.

        Raises:
            NodeError: no such operation is prepared for, or what was said does not belong to it.
            GateRefused: the dataset is not one that we publish, or has not these columns.
            EngineError: it cannot be asked by these keys. DeadlineExceeded: it took too long.
        """
        keys = tuple(dict.fromkeys(arguments["keys"]))
        operation, most = arguments.get("operation") or LOOKUP, arguments.get("most_keys")
        if operation not in AHEAD:
            raise NodeError(f"nothing is prepared ahead for {operation}", remedy=f"give one of {', '.join(AHEAD)}")
        if operation != LOOKUP and most is not None:
            raise NodeError("a prepared set answers any number of keys", remedy="leave --most-keys out")
        dataset = self._market.newest(DatasetName.parse(arguments["name"]))
        wanted = Preparation(
            operation=operation,
            dataset=DatasetName.parse(f"{dataset.path}@{dataset.version}"),
            columns=tuple(arguments.get("columns") or self._columns(operation, keys, dataset)),
            keys=keys,
            most_keys=1 if most is None else int(most),
        )
        seconds = int(arguments.get("seconds", 3600))
        if not 1 <= seconds <= _MOST_SECONDS:
            raise NodeError("a dataset is prepared within a day", remedy="give --seconds of 1 to 86400")
        gate, steward = self._node.gate, self._node.folder.user_key("steward").public.raw
        started = time.monotonic()
        opened = await asyncio.to_thread(gate.open_own, wanted, steward)
        inputs = {"data": opened.table} | opened.prepared
        job = wanted.job(self._org, opened.columns, seconds)
        with tempfile.TemporaryDirectory(prefix="fondaco-") as sockets:
            outcome = await run_job(job, inputs, Path(sockets), deadline=float(seconds), told=_teller(progress))
        made = outcome.tables.get(PREPARED)
        if made is not None:
            await asyncio.to_thread(gate.keep_own, wanted, made)
        answer = {
            "dataset": str(wanted.dataset),
            "operation": operation,
            "columns": list(wanted.columns),
            "keys": list(keys),
            "made": made is not None,
            "records": outcome.report.rows_in,
            "sealed": outcome.report.rows_out,
            "seconds": round(time.monotonic() - started, 2),
        }
        return answer | ({"most_keys": wanted.most_keys} if operation == LOOKUP else {})

    def _columns(self, operation: str, keys: tuple[str, ...], dataset: Dataset) -> tuple[str, ...]:
        """What steps most likely name: of a lookup all columns, of a set its keys."""
        return tuple(column.name for column in dataset.schema.columns) if operation == LOOKUP else keys
