"""The worker: one process for one party's share of one step; `python -m fondaco.engines.worker FD SOCKETS SCRATCH`.

Reads the job and its tables from standard input, writes the outcome to the descriptor FD, and dies with its node.
It opens no network socket, only the unix sockets in its folder. What it prints goes to the node's log and holds no
data: SPU's own log is kept to errors, and an error that nobody foresaw is told by its type and place alone.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NoReturn

import pyarrow as pa

from fondaco.core.faults import pack_error
from fondaco.core.messages import from_bytes, to_bytes
from fondaco.engines import frames
from fondaco.engines.base import BadJob, EngineStopped, Job, Outcome, Told
from fondaco.engines.keep import Keep
from fondaco.errors import EngineError, FondacoError

_PR_SET_PDEATHSIG = 1
_TELL_SECONDS = 0.25


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        sys.exit("the node is gone")


def _read(source: BinaryIO) -> tuple[Job, dict[str, pa.Table], Keep | None]:
    job: Job | None = None
    keep: Keep | None = None
    tables: dict[str, pa.Table] = {}
    while True:
        kind, size = frames.head(source.read(frames.HEAD))
        data = source.read(size)
        if kind == frames.JOB:
            job = from_bytes(Job, data)
        elif kind == frames.TABLE:
            name, table = frames.unpack_table(data)
            tables[name] = table
        elif kind == frames.KEEP:
            keep = from_bytes(Keep, data)
        elif kind == frames.START and job is not None:
            return job, tables, keep
        else:
            raise EngineError("the node said something out of order", remedy="report this")


class _Teller:
    """Tells the node how far the work is, a few times a second; called from any thread."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._next = 0.0

    def __call__(self, what: str, done: int, whole: int) -> None:
        """Say it, unless something was said just now and there is more to come."""
        now = time.monotonic()
        if now >= self._next or done == whole:
            self._next = now + _TELL_SECONDS
            self._sink.write(frames.frame(frames.PROGRESS, frames.pack_progress(what, done, whole)))
            self._sink.flush()


def _run(job: Job, tables: dict[str, pa.Table], sockets: Path, scratch: Path, told: Told, keep: Keep | None) -> Outcome:
    if job.engine == "psi":
        from fondaco.engines.psi import operations as sets

        return sets.run(job, tables, sockets, scratch, keep, told)
    if job.engine == "pir":
        from fondaco.engines.pir import lookup, two

        if job.operation == two.OPERATION:
            return two.run(job, tables, sockets)
        return lookup.run(job, tables, sockets, told)
    if job.engine == "mpc":
        # SPU takes a second to load, which the other engines do not wait for.
        from spu import libspu

        from fondaco.engines.mpc import operations

        options = libspu.logging.LogOptions()
        options.log_level = libspu.logging.LogLevel.ERROR
        libspu.logging.setup_logging(options)
        return operations.run(job, tables, sockets)
    raise BadJob("no such engine", remedy="see docs/concepts/engines.md", engine=job.engine)


def _unforeseen(kind: type[BaseException], _fault: BaseException, trace: TracebackType | None) -> EngineError:
    """An error of a library by its type and place: its text and its traceback may hold cells of a table."""
    place = traceback.extract_tb(trace)[-1]
    where = f"{kind.__name__} at {Path(place.filename).name}:{place.lineno}"
    if issubclass(kind, RuntimeError):
        # SPU reports a broken link or a time-out as a bare RuntimeError.
        remedy = "look for the party that failed; start the task again"
        return EngineStopped(f"the secure engine stopped ({where})", remedy=remedy)
    return EngineError(f"the engine broke ({where})", remedy="report this, and say what kinds of columns were used")


def _tell(sink: BinaryIO, fault: FondacoError) -> NoReturn:
    _end(sink, frames.frame(frames.FAILURE, pack_error(fault)))


def _end(sink: BinaryIO, *said: bytes) -> NoReturn:
    sink.writelines(said)
    sink.flush()
    # SPU's link threads have nothing left to say; ending here avoids their slow goodbye.
    os._exit(0)


def main() -> None:
    """Run one job."""
    _die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out, sockets, scratch = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    sink = os.fdopen(out, "wb")
    sys.excepthook = lambda kind, fault, trace: _tell(sink, _unforeseen(kind, fault, trace))
    try:
        job, tables, keep = _read(sys.stdin.buffer)
        outcome = _run(job, tables, sockets, scratch, _Teller(sink), keep)
    except FondacoError as fault:
        _tell(sink, fault)
    for name, table in outcome.tables.items():
        sink.writelines(frames.table_frame(name, table))
    _end(sink, frames.frame(frames.OUTCOME, to_bytes(outcome.report)))


if __name__ == "__main__":
    main()
