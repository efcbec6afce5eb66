"""The supervisor: starts a worker for a job, hands it the tables over a pipe, and ends it when it must.

No clear data touches the disk: tables go through pipes, and what a protocol needs as a file (identifiers of large
sets under a session key, never keys) lies in a folder of mode 0700, removed whatever happens; if the node itself is
killed, by `sweep` when a node next starts. What is to outlive a worker is sealed (`engines.keep`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pyarrow as pa

from fondaco.core.faults import unpack_error
from fondaco.core.messages import from_bytes, to_bytes
from fondaco.engines import frames
from fondaco.engines.base import EngineStopped, Excessive, Job, Outcome, Report, Told, WorkerDied, untold
from fondaco.engines.keep import Keep
from fondaco.errors import DeadlineExceeded, EngineError, PartyFailed, RemoteError

_log = logging.getLogger(__name__)
_KEEP = ("PATH", "HOME", "LANG", "LC_ALL", "VIRTUAL_ENV")
_STDERR = 4000
_CHUNK = 1 << 20
_OWNED = re.compile(r"fondaco-(\d{1,10})-(\d{1,20})-[a-z0-9_]+")


def _environment(scratch: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEEP if name in os.environ}
    return kept | {
        "TMPDIR": str(scratch),
        "PYTHONDONTWRITEBYTECODE": "1",
        "JAX_PLATFORMS": "cpu",
        "OMP_NUM_THREADS": "2",
    }


def _root() -> Path:
    # Not in memory: sets are put here because they do not fit there.
    return Path(tempfile.gettempdir())


def _born(pid: int) -> str | None:
    """When a process began, in the kernel's ticks, or None if there is none: with its number it names one process."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return after_name.split()[19]


def _scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix=f"fondaco-{os.getpid()}-{_born(os.getpid())}-", dir=_root()))


def sweep() -> None:
    """Remove what nodes that were killed have left: folders of this user whose process is no more."""
    for folder in _root().glob("fondaco-*-*-*"):
        found = _OWNED.fullmatch(folder.name)
        with contextlib.suppress(FileNotFoundError):  # another node sweeps too
            if found and folder.stat().st_uid == os.getuid() and _born(int(found[1])) != found[2]:
                shutil.rmtree(folder)


async def run_job(
    job: Job,
    inputs: dict[str, pa.Table],
    sockets: Path,
    *,
    deadline: float,
    told: Told = untold,
    keep: Keep | None = None,
) -> Outcome:
    """Run a job in a worker of its own, which may keep files that outlive it where `keep` says.

    `told` hears of what takes long and says how far it is.

    Raises:
        EngineError: the worker's own error, or that it died.
        DeadlineExceeded: it did not end within `deadline` seconds.
    """
    scratch = _scratch()
    try:
        async with asyncio.timeout(deadline):
            return await _supervise(job, inputs, sockets, scratch, told, keep)
    except TimeoutError as late:
        raise DeadlineExceeded(
            "the engine did not end in time",
            remedy="allow the step more time",
            step=job.step,
            seconds=int(deadline),
        ) from late
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


async def _supervise(
    job: Job, inputs: dict[str, pa.Table], sockets: Path, scratch: Path, told: Told, keep: Keep | None
) -> Outcome:
    read_end, write_end = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "fondaco.engines.worker",
            str(write_end),
            str(sockets),
            str(scratch),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(write_end,),
            start_new_session=True,
            env=_environment(scratch),
            cwd=scratch,
            umask=0o077,
        )
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    assert process.stdin is not None
    assert process.stderr is not None
    reader = asyncio.StreamReader(limit=_CHUNK)
    loop = asyncio.get_running_loop()
    pipe, _protocol = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb")
    )
    feeding = asyncio.create_task(_feed(process.stdin, job, inputs, keep))
    errors = asyncio.create_task(process.stderr.read())
    try:
        return await _outcome(reader, job, told)
    except asyncio.IncompleteReadError as fault:
        code = await process.wait()
        said = (await errors).decode("utf-8", "replace")[-_STDERR:]
        _log.warning("worker of step %s ended with %s: %s", job.step, code, said)
        raise _silent(code, job) from fault
    finally:
        _kill(process)
        pipe.close()
        feeding.cancel()
        await asyncio.gather(feeding, errors, process.wait(), return_exceptions=True)


def _silent(code: int, job: Job) -> EngineError:
    """A worker that was killed is this party's; one that ended by itself without a word had its link broken by SPU."""
    if code >= 0:
        remedy = "look for the party that failed; start the task again"
        return EngineStopped(f"the secure engine stopped (exit code {code})", remedy=remedy, step=job.step)
    return WorkerDied(
        f"the engine's worker died ({signal.Signals(-code).name})",
        party=job.parties[job.rank],
        step=job.step,
        remedy="look at this node's log; start the task again",
    )


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


async def _feed(stdin: asyncio.StreamWriter, job: Job, inputs: dict[str, pa.Table], keep: Keep | None) -> None:
    try:
        stdin.write(frames.frame(frames.JOB, to_bytes(job)))
        if keep is not None:
            stdin.write(frames.frame(frames.KEEP, to_bytes(keep)))
        for name, table in inputs.items():
            for piece in frames.table_frame(name, table):
                for at in range(0, len(piece), _CHUNK):
                    stdin.write(piece[at : at + _CHUNK])
                    await stdin.drain()
        stdin.write(frames.frame(frames.START, b""))
        await stdin.drain()
    except ConnectionError:
        # The worker died before it had read everything; its end of the other pipe tells.
        _log.info("the worker of step %s stopped reading", job.step)


async def _exactly(reader: asyncio.StreamReader, size: int) -> bytearray:
    """So many bytes, each of which lies in memory once."""
    data, at = bytearray(size), 0
    while at < size:
        piece = await reader.read(min(size - at, _CHUNK))
        if not piece:
            raise asyncio.IncompleteReadError(bytes(data[:at][:_STDERR]), size)
        data[at : at + len(piece)] = piece
        at += len(piece)
    return data


async def _outcome(reader: asyncio.StreamReader, job: Job, told: Told) -> Outcome:
    tables: dict[str, pa.Table] = {}
    while True:
        kind, size = frames.head(await reader.readexactly(frames.HEAD))
        data = await _exactly(reader, size)
        if kind == frames.TABLE:
            name, table = frames.unpack_table(data)
            tables[name] = table
        elif kind == frames.PROGRESS:
            told(*frames.unpack_progress(bytes(data)))
        elif kind == frames.OUTCOME:
            return Outcome(tables, from_bytes(Report, bytes(data)))
        elif kind == frames.FAILURE:
            raise _failure(unpack_error(bytes(data)), job)
        else:
            raise EngineError("the worker said something out of order", remedy="report this", step=job.step)


def _failure(fault: RemoteError, job: Job) -> EngineError:
    if fault.remote_code == EngineStopped.code:
        return EngineStopped(fault.cause, remedy=fault.remedy, step=job.step)
    if fault.remote_code == Excessive.code:
        return Excessive(fault.cause, remedy=fault.remedy, step=job.step)
    return PartyFailed(fault.cause, party=job.parties[job.rank], step=job.step, remedy=fault.remedy)
