"""Run all members of a job as real worker processes on this machine."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pyarrow as pa

from fondaco.core.models import Column
from fondaco.engines.base import Job, Outcome
from fondaco.engines.process import run_job


def column(name: str, kind: str = "int64", low: int | None = None, high: int | None = None, scale: int = 0) -> Column:
    return Column(
        name=name, type=kind, unit="", classification="internal", nullable=True, minimum=low, maximum=high, scale=scale
    )


def jobs(engine, operation, parameters, parties, columns, receivers, helper=None, seconds=60) -> list[Job]:
    return [
        Job(
            task="t", step="s", attempt=1, engine=engine, operation=operation, parameters=parameters,
            parties=tuple(parties), rank=rank, helper=helper, receivers=receivers, columns=tuple(columns[rank]),
            peer_columns=tuple(c for other in range(len(parties)) if other != rank for c in columns[other]),
            peer_ranks=tuple(other for other in range(len(parties)) if other != rank for _column in columns[other]),
            timeout_seconds=seconds,
        )
        for rank in range(len(parties))
    ]  # fmt: skip


def together(all_jobs: list[Job], inputs: list[dict[str, pa.Table]]) -> list[Outcome | BaseException]:
    """Run the jobs of all members at once; outcomes or errors in rank order."""

    async def run() -> list[Outcome | BaseException]:
        with tempfile.TemporaryDirectory(prefix="fe-") as folder:
            work = (run_job(job, inputs[job.rank], Path(folder), deadline=60.0) for job in all_jobs)
            return list(await asyncio.gather(*work, return_exceptions=True))

    return asyncio.run(run())
