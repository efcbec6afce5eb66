"""The members of a step over a hidden match in threads of this process, with a clear SPU in the place of a secure one.

What the kernel and the members do is real, over real sockets; shares are not, so that hundreds of sets are quick. The
secure configurations run in `test_engines_circuit.py` as worker processes.
"""

from __future__ import annotations

import concurrent.futures
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fondaco.engines.base import EngineStopped, Job
from fondaco.engines.mpc import hidden

OPERATIONS = {"intersection-sum": hidden.intersection_sum, "circuit-statistics": hidden.circuit_statistics}


class Board:
    """What the members of a run put down for one another, in order."""

    def __init__(self) -> None:
        self._said: dict[tuple[int, int], Any] = {}
        self._changed = threading.Condition()
        self._broken = False

    def put(self, owner: int, at: int, value: Any) -> None:
        with self._changed:
            self._said[owner, at] = value
            self._changed.notify_all()

    def fail(self) -> None:
        """End the others' waiting: a member ended with an error."""
        with self._changed:
            self._broken = True
            self._changed.notify_all()

    def get(self, owner: int, at: int) -> Any:
        with self._changed:
            assert self._changed.wait_for(lambda: self._broken or (owner, at) in self._said, 30), "nobody said it"
            if (owner, at) not in self._said:
                raise EngineStopped("another member ended", remedy="see its error")
            return self._said[owner, at]


class ClearSession:
    """As `runtime.Session`, without secrets."""

    def __init__(self, board: Board, rank: int) -> None:
        self.rank, self._board = rank, board
        self._at = 0
        self._held: dict[str, Any] = {}

    def announce(self, owner: int, number: int) -> int:
        self._at += 1
        if self.rank == owner:
            self._board.put(owner, self._at, number)
        found: int = self._board.get(owner, self._at)
        return found

    def share(self, owner: int, name: str, array: Any, like: Any) -> None:
        self._at += 1
        if self.rank == owner:
            assert (array.shape, array.dtype) == (like.shape, like.dtype)
            self._board.put(owner, self._at, array)
        self._held[name] = self._board.get(owner, self._at)

    def run(self, program: Any, names: Sequence[str]) -> list[Any]:
        import jax

        jax.config.update("jax_enable_x64", True)
        return [np.asarray(program(*(self._held[name] for name in names)))]

    def open(self, found: Any, receivers: Sequence[int]) -> Any:
        return found if self.rank in receivers else None


def clear(all_jobs: list[Job], tables: list[dict[str, pa.Table]]) -> list[Any]:
    """What each member ends with: a table, None, or an error."""
    board = Board()

    def work(job: Job, folder: str) -> Any:
        session = ClearSession(board, job.rank)
        try:
            return OPERATIONS[job.operation](job, tables[job.rank], session, Path(folder))
        except BaseException:
            board.fail()
            raise

    with tempfile.TemporaryDirectory(prefix="fc-") as folder, concurrent.futures.ThreadPoolExecutor(3) as pool:
        ends = [pool.submit(work, job, folder) for job in all_jobs]
        return [one.exception() or one.result() for one in ends]
