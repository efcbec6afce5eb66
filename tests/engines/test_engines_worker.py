"""What a worker leaves on the disk and in the log: nothing of any row."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from engines_world import column, jobs, together

from fondaco.engines import process
from fondaco.engines.base import EngineStopped, WorkerDied
from fondaco.engines.mpc import inputs
from fondaco.errors import PartyFailed

SECRET = "alice-4711"


def alone(job, table: pa.Table) -> BaseException:
    async def run() -> None:
        with tempfile.TemporaryDirectory(prefix="fe-") as folder:
            await process.run_job(job, {"data": table, "match": table}, Path(folder), deadline=30.0)

    with pytest.raises(PartyFailed) as caught:
        asyncio.run(run())
    return caught.value


def test_nothing_is_left_where_temporary_files_go(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    table = pa.table({"k": [SECRET, "b"]})
    first, second = together(
        jobs("psi", "intersection", {"keys": ["k"]}, ["x", "y"], [[], []], (0, 1)), [{"data": table}, {"data": table}]
    )
    assert first.tables["match"].num_rows == second.tables["match"].num_rows == 2
    assert list(tmp_path.iterdir()) == []


def test_a_worker_lives_in_its_scratch_folder_and_its_files_are_its_own(tmp_path, monkeypatch) -> None:
    """A stand-in for the worker says where it runs; the real one is started the same way."""
    told = tmp_path / "told"
    script = tmp_path / "worker"
    lines = ["#!/bin/sh", "for last; do :; done", f'echo "$PWD $TMPDIR $(umask) $last" > {told}', "exit 1", ""]
    script.write_text("\n".join(lines))
    script.chmod(0o700)
    monkeypatch.setattr(process.sys, "executable", str(script))
    job = jobs("psi", "intersection", {"keys": ["k"]}, ["x", "y"], [[], []], (0,))[0]

    async def run() -> None:
        with pytest.raises(EngineStopped):
            await process.run_job(job, {}, tmp_path, deadline=30.0)

    asyncio.run(run())
    where, temporary, mask, scratch = told.read_text().split()
    assert where == temporary == scratch
    assert int(mask, 8) == stat.S_IRWXG | stat.S_IRWXO
    assert not Path(scratch).exists()


def test_an_error_that_nobody_foresaw_is_told_by_its_type_and_place_alone(caplog, capfd) -> None:
    """The cell that Arrow cannot read stands in its own error message."""
    job = jobs(
        "mpc", "statistics",
        {"keys": ["k"], "value": {"party": "x", "column": "v"}, "group": {"party": "y", "column": "g"}, "groups": ["a"]},
        ["x", "y"], [[column("k", "text"), column("v", low=0, high=9)], [column("k", "text"), column("g", "text")]], (0,),
        seconds=5,
    )[0]  # fmt: skip
    table = pa.table({"k": pa.array([SECRET]), "v": pa.array([1])})
    broken = table.set_column(0, "k", pa.array([[SECRET]]))  # a list is no key: DuckDB's error shows it
    with caplog.at_level(logging.DEBUG):
        fault = raised_in_worker(job, broken)
    said = fault.diagnostics() + caplog.text + "".join(capfd.readouterr())
    assert SECRET not in said
    assert " at " in fault.cause


def raised_in_worker(job, table: pa.Table) -> PartyFailed:
    """What `main` tells of an exception: run in a process of its own, with a link that needs no peer."""
    program = (
        "import os, sys\n"
        "from fondaco.engines import worker\n"
        "def broken(job, tables, sockets, scratch):\n"
        "    raise ValueError(str(tables['data'].to_pylist()))\n"
        "worker._run = broken\n"
        "worker.main()\n"
    )
    from fondaco.core.faults import unpack_error
    from fondaco.core.messages import to_bytes
    from fondaco.engines import frames

    told, tell = os.pipe()
    fed = frames.frame(frames.JOB, to_bytes(job)) + b"".join(frames.table_frame("data", table))
    done = subprocess.run(
        [sys.executable, "-c", program, str(tell), "none", "none"], input=fed + frames.frame(frames.START, b""),
        pass_fds=(tell,), capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    os.close(tell)
    with os.fdopen(told, "rb") as source:
        said = source.read()
    sys.stderr.write(done.stderr.decode())
    assert said[:1] == frames.FAILURE, done.stderr
    return process._failure(unpack_error(said[frames.HEAD :]), job)


def test_a_worker_that_ends_without_a_word_blames_nobody_unless_it_was_killed(tmp_path, monkeypatch) -> None:
    job = jobs("psi", "intersection", {"keys": ["k"]}, ["x", "y"], [[], []], (0,))[0]
    script = tmp_path / "worker"
    for line, kind in (("exit 255", EngineStopped), ("kill -9 $$", WorkerDied)):
        script.write_text(f"#!/bin/sh\n{line}\n")
        script.chmod(0o700)
        monkeypatch.setattr(process.sys, "executable", str(script))

        async def run(kind=kind) -> None:
            with pytest.raises(kind):
                await process.run_job(job, {}, tmp_path, deadline=30.0)

        asyncio.run(run())


def test_the_database_of_a_worker_writes_nothing() -> None:
    with inputs.database() as db:
        assert db.sql("SELECT current_setting('temp_directory')").fetchall() == [("",)]
        assert db.sql("SELECT current_setting('enable_external_access')").fetchall() == [(False,)]
