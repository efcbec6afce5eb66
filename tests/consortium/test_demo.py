"""The demo itself: every figure equal to DuckDB's, every refusal made, the bundle verified; and its audit bundle attacked."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from consortium_world import wait_until
from wire_capture import capturing, check_tls

from fondaco.cli.demo import story
from fondaco.errors import NodeError, UsageError
from fondaco.node import control


@pytest.mark.timeout(240)
def test_the_demo_tells_its_whole_story(tmp_path) -> None:
    folder = tmp_path / "demo"
    capture = tmp_path / "loopback.pcap"
    with capturing(capture):
        done = subprocess.run(
            [sys.executable, "-m", "fondaco.cli.main", "demo", "--dir", str(folder)],
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "26 comparisons, 0 wrong" in done.stdout
    assert "DIFFERENT" not in done.stdout
    assert done.stdout.count("refused:") == 3
    assert f"audit bundle are in {folder}" in done.stdout
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
    ports = {int(port) for port in re.findall(r"port (\d+)", done.stdout)}
    assert len(ports) == 4, done.stdout
    # Tail numbers, a path and a contract's message: what a node says to another, were it in the clear.
    needles = (b"N10156", b"N102UW", b"/airline/ops", b"points.transfer", b"psi.intersection")
    begun, counted, size = check_tls(capture, ports, needles)
    assert begun >= 12, "each node dials the others, and each stream is seen from its handshake on"
    assert counted > 1000
    assert size > 5_000_000, "the engines' traffic is in the capture"


@pytest.mark.timeout(120)
def test_a_demo_that_is_ended_leaves_no_node_behind(tmp_path) -> None:
    folder = tmp_path / "demo"
    with subprocess.Popen(
        [sys.executable, "-m", "fondaco.cli.main", "demo", "--dir", str(folder)], stdout=subprocess.DEVNULL
    ) as demo:
        wait_until((folder / "regulator" / "control.sock").exists, "the first node", 60)
        assert control.ask(folder / "regulator", "status", {})["organisation"] == "regulator"
        demo.terminate()
        assert demo.wait(60) == 143
    with pytest.raises(NodeError, match="not running"):
        control.ask(folder / "regulator", "status", {})


def test_a_folder_that_is_not_empty_is_refused(tmp_path) -> None:
    (tmp_path / "other").touch()
    with pytest.raises(UsageError, match="not empty"):
        story.tell(tmp_path)
