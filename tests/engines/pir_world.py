"""Members of a hidden query: at once in threads of this process, or as workers with the test between their links."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from test_engines_killed import workers

from fondaco.engines.base import Job
from fondaco.engines.process import run_job

SECONDS = 90


def at_once(run: Callable[..., Any], all_jobs: list[Job], inputs: list[dict[str, pa.Table]]) -> list[Any]:
    """What each member ends with, outcome or error, in rank order."""
    with (
        tempfile.TemporaryDirectory(prefix="fe-") as folder,
        concurrent.futures.ThreadPoolExecutor(len(all_jobs)) as pool,
    ):
        work = [pool.submit(run, job, inputs[job.rank], Path(folder)) for job in all_jobs]
        return [future.exception(SECONDS) or future.result() for future in work]


async def _dialled(far: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, once a worker listens there: as an engine's own channel does."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await asyncio.open_unix_connection(str(far))
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(0.02)


class Between:
    """Carries the messages between an asker's worker and the others', and kills one when the asker says its n-th."""

    def __init__(self, victim: int, after: int, folders: list[Path]) -> None:
        self._victim = victim
        self._after = after
        self._folders = folders
        self.killed = False

    async def link(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: Path, *, victim: bool
    ) -> None:
        """One link of the asker's, to the socket `far`; messages of a link to the victim count."""
        other_reader, other_writer = await _dialled(far)
        await asyncio.gather(
            self._carry(reader, other_writer, counts=victim), self._carry(other_reader, writer, counts=False)
        )

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool) -> None:
        """Until one end is closed, or takes no more; that it takes no more closes nothing: its last word is underway."""
        said = 0
        while True:
            try:
                head = await reader.readexactly(8)
                last = head == b"\xff" * 8
                data = await (reader.read() if last else reader.readexactly(int.from_bytes(head, "big")))
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            if counts and said == self._after:
                self._kill()
                break
            said += 1
            try:
                writer.write(head + data)
                await writer.drain()
            except ConnectionError:
                return
        writer.close()

    def _kill(self) -> None:
        (process,) = workers(self._folders[self._victim])
        os.kill(process, signal.SIGKILL)
        self.killed = True


def killed_between(all_jobs: list[Job], inputs: list[dict[str, pa.Table]], victim: int, after: int) -> list[Any]:
    """How all members end where the worker of rank `victim` is killed when the asker (rank 0) says message `after`.

    Message 0 is the hello. The asker is killed at its own message to rank 1.
    """

    async def story(root: Path) -> list[Any]:
        folders = [root / str(job.rank) if job.rank == 0 else root / "others" for job in all_jobs]
        if len(all_jobs) > 2:
            # The servers link up by themselves, and each is killed alone: a folder for each, with the other's socket.
            folders = [root / str(job.rank) for job in all_jobs]
        for folder in dict.fromkeys(folders):
            folder.mkdir()
        between = Between(victim, after, folders)
        servers = []
        for job in all_jobs[1:]:
            name = f"{job.rank}.sock" if len(all_jobs) == 2 else f"{job.rank}-0.sock"
            far, counts = folders[job.rank] / name, job.rank == max(victim, 1)

            async def arrived(reader, writer, far=far, counts=counts) -> None:
                await between.link(reader, writer, far, victim=counts)

            servers.append(await asyncio.start_unix_server(arrived, str(folders[0] / name)))
        if len(all_jobs) > 2:
            (folders[1] / "2-1.sock").symlink_to(folders[2] / "2-1.sock")
        work = [run_job(job, inputs[job.rank], folders[job.rank], deadline=60) for job in all_jobs]
        ends = await asyncio.gather(*work, return_exceptions=True)
        for server in servers:
            server.close()
        assert between.killed
        assert not any(workers(folder) for folder in folders)
        return ends

    with tempfile.TemporaryDirectory(prefix="fe-") as folder:
        return asyncio.run(story(Path(folder)))
