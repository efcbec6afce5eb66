"""What the gate adds to a use of data: all its checks and proofs, beside the bare read of the same rows."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harness import Row, report

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "exchange"))

from gate_world import GateWorld

from fondaco.vault.reader import read_table

REPEATS, TARGET_MS = 40, 50.0


def median_ms(work: Callable[[], object]) -> float:
    took = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        world = GateWorld(Path(name) / "world", rows=100_000)
        step = world.step(world.grant())
        # A step is opened once in an attempt, so each measurement has a task of its own.
        tasks = [world.running(world.workflow(step)) for _ in range(REPEATS)]
        views = iter([world.chain.task(task) for task in tasks])
        task = tasks[0]
        whole = median_ms(lambda: world.gate.open(next(views), step, None))
        bare = median_ms(lambda: read_table(world.vault, world.cid, columns=["k"]))
        task_ms = median_ms(lambda: world.chain.task(task))
        world.close()
    report(
        "gate",
        [
            Row("gate and read, 100,000 rows", whole, "ms", "bare read of the same rows", bare, whole / bare),
            Row("gate alone", whole - bare, "ms", "target: under", TARGET_MS, (whole - bare) / TARGET_MS),
            Row("task read from the ledger", task_ms, "ms", "target: under", TARGET_MS, task_ms / TARGET_MS),
        ],
        [f"medians of {REPEATS}; the gate verifies a signed header, the records of a use, and writes that it opened"],
    )


if __name__ == "__main__":
    main()
