"""A PostgreSQL server of the tests' own: a cluster in a temporary folder, on a free port of loopback, with a password."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

PASSWORD = "s3cret/with@signs"


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else Path(shutil.which("initdb") or "initdb").parent


def _as_server(command: list[str]) -> None:
    """Run as a user that PostgreSQL accepts: it refuses to run as root."""
    user = "postgres" if os.geteuid() == 0 else None
    subprocess.run(command, check=True, user=user, cwd="/", capture_output=True, text=True, timeout=60)


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The address of a running server's database, password included."""
    programs = _programs()
    with tempfile.TemporaryDirectory(prefix="fondaco-pg-") as name, socket.socket() as probe:
        folder = Path(name)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        word = folder / "word"
        word.write_text(PASSWORD)
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            for path in (folder, word):
                os.chown(path, account.pw_uid, account.pw_gid)
        data = folder / "data"
        _as_server(
            [str(programs / "initdb"), "-D", str(data), "-U", "steward", "-A", "scram-sha-256", "--pwfile", str(word)]
        )
        options = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -p {port} -c fsync=off"
        control = [str(programs / "pg_ctl"), "-D", str(data), "-w", "-t", "30"]
        _as_server([*control, "-l", str(folder / "log"), "-o", options, "start"])
        try:
            yield f"postgresql://steward:s3cret%2Fwith%40signs@127.0.0.1:{port}/postgres"
        finally:
            _as_server([*control, "-m", "immediate", "stop"])
