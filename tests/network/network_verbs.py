"""The command `fondaco network`, as a person gives it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

DEADLINE = 150


def run(*words: str, code: int = 0) -> str:
    """Run the command; its answer."""
    command = [sys.executable, "-m", "fondaco.cli.main", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def nodes(where: str) -> list[dict[str, Any]]:
    """The rows of `network status`."""
    rows: list[dict[str, Any]] = json.loads(run("network", "status", "--dir", where, "--json"))["nodes"]
    return rows
