"""The demo itself: every figure equal to DuckDB's, every refusal made, the bundle verified; and its audit bundle attacked."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.timeout(240)
def test_the_demo_tells_its_whole_story(tmp_path) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "fondaco.cli.main", "demo", "--dir", str(folder)],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "26 comparisons, 0 wrong" in done.stdout
    assert "DIFFERENT" not in done.stdout
    assert done.stdout.count("refused:") == 3
    bundle = folder / "audit.fondaco"
    assert bundle.exists()
    for org in ("regulator", "airline", "authority", "weather"):
        log = (folder / org / "node.log").read_text()
        assert "Traceback" not in log, log
    verify = [sys.executable, "-m", "fondaco.cli.main", "audit", "verify", str(bundle)]
    assert subprocess.run(verify, capture_output=True, timeout=60, check=False).returncode == 0
    pinned = subprocess.run(
        [*verify, "--trust-root", "00" * 32], capture_output=True, text=True, timeout=60, check=False
    )
    assert pinned.returncode == 5
    assert "trust-root" in pinned.stderr
