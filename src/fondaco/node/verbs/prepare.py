"""Indexes for hidden queries, made before anyone asks."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from fondaco.core.names import DatasetName
from fondaco.engines.base import PREPARED, Told
from fondaco.engines.process import run_job
from fondaco.errors import NodeError
from fondaco.exchange.preparations import Preparation
from fondaco.node.control import Json, Progress, Verb
from fondaco.node.verbs.common import Group

_MOST_SECONDS = 24 * 3600


def _teller(progress: Progress) -> Told:
    """Says how far each piece of the work is, and about how long the rest of it will take."""
    began: dict[str, float] = {}

    def told(what: str, done: int, whole: int) -> None:
        spent = time.monotonic() - began.setdefault(what, time.monotonic())
        left = spent * (whole - done) / done if done else 0.0
        progress({"work": what, "done": done, "of": whole, "seconds left": round(left, 1)})

    return told


class PrepareVerbs(Group):
    """What a provider's steward does so that the first lookup need not wait."""

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {"prepare": self.prepare}

    async def prepare(self, arguments: Json, progress: Progress) -> Json:
        """Make the index of a published dataset for lookups by its keys, or renew that of an earlier version.

        Raises:
            GateRefused: the dataset is not one that we publish, or has not these columns.
            EngineError: it cannot be asked by these keys. DeadlineExceeded: it took too long.
        """
        keys = tuple(dict.fromkeys(arguments["keys"]))
        dataset = self._market.newest(DatasetName.parse(arguments["name"]))
        wanted = Preparation(
            dataset=DatasetName.parse(f"{dataset.path}@{dataset.version}"),
            columns=tuple(arguments.get("columns") or [column.name for column in dataset.schema.columns]),
            keys=keys,
            most_keys=int(arguments.get("most_keys", 1)),
        )
        seconds = int(arguments.get("seconds", 3600))
        if not 1 <= seconds <= _MOST_SECONDS:
            raise NodeError("an index is made within a day", remedy="give --seconds of 1 to 86400")
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
        return {
            "dataset": str(wanted.dataset),
            "columns": list(wanted.columns),
            "keys": list(keys),
            "most_keys": wanted.most_keys,
            "made": made is not None,
            "records": outcome.report.rows_in,
            "sealed": outcome.report.rows_out,
            "seconds": round(time.monotonic() - started, 2),
        }
