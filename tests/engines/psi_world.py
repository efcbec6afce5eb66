"""Two members of a set operation in two threads of this process, over a real unix socket."""

from __future__ import annotations

import concurrent.futures
import contextlib
import tempfile
from pathlib import Path

import pyarrow as pa
from engines_world import jobs

from fondaco.engines.base import Job, Outcome
from fondaco.engines.psi import meeting
from fondaco.engines.psi.choice import Choice
from fondaco.engines.psi.operations import run


@contextlib.contextmanager
def forced(protocol: str | None):
    """Make the choice of a protocol for a test: sets that are quick to test would all take one."""
    chosen = meeting.choose
    if protocol is not None:
        meeting.choose = lambda *_sizes, malicious, link_mbit: Choice("rr22" if malicious else protocol, "a test")
    try:
        yield
    finally:
        meeting.choose = chosen


def both(
    operation: str,
    ours: pa.Table,
    theirs: pa.Table,
    parameters: dict | None = None,
    receivers: tuple[int, ...] = (0, 1),
    columns: list | None = None,
    seconds: int = 30,
    protocol: str | None = None,
) -> tuple[Outcome, Outcome]:
    """Outcomes of both members, or the first error; by one protocol, whatever would be chosen."""
    parameters = {"keys": ["k"]} | (parameters or {})
    pair = jobs("psi", operation, parameters, ["x", "y"], columns or [[], []], receivers, seconds=seconds)
    with forced(protocol):
        first, second = attempt(pair, [ours, theirs])
    for outcome in (first, second):
        if isinstance(outcome, BaseException):
            raise outcome
    return first, second


def attempt(pair: list[Job], tables: list[pa.Table]) -> list[Outcome | BaseException]:
    """What each member ends with."""
    with (
        tempfile.TemporaryDirectory(prefix="fp-") as folder,
        concurrent.futures.ThreadPoolExecutor(len(pair)) as pool,
    ):
        work = [
            pool.submit(run, job, {"data": table}, Path(folder), Path(folder))
            for job, table in zip(pair, tables, strict=True)
        ]
        return [one.exception() or one.result() for one in work]
