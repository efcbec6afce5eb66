"""The guide to a first consortium is what happens: its commands run here, in their order, as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs/guides/first-consortium.md"
NODES = ("harbour", "customs", "regulator")


def blocks() -> list[str]:
    """The blocks of commands, in their order."""
    return re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def shell(tmp_path):
    """Runs a script where the command is on the path; no node outlives it."""
    places = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = os.environ | {"PATH": os.pathsep.join(places)}
    yield lambda script: subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=880, check=False,
    )  # fmt: skip
    for name in NODES:
        if (tmp_path / name / "control.sock").exists():
            subprocess.run(["fondaco", "stop", "--dir", str(tmp_path / name)], env=environment, check=False)


@pytest.mark.timeout(900)
def test_every_command_of_the_guide_does_what_it_says(shell, tmp_path) -> None:
    done = shell("\n".join(blocks()))
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
    out = re.sub(r" +", " ", done.stdout)
    for said in (
        "match: 2 rows",
        "9305623 True 40.0 ore",
        "9999999 False",
        "most_keys 3",
        "outcome split",
        "verified True",
        "pinned True",
        "verified: chain trial",
        "everything below the last header",
        "(pinned by you)",
    ):
        assert said in out, said
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("verb", "cause", "remedy"),
    [
        ("status", "there is no such folder of a node", "--dir or FONDACO_DIR"),
        ("search", "there is no such folder of a node", "--dir or FONDACO_DIR"),
        ("start --background --dir made", "has not joined a consortium", "an invitation"),
        ("join nothing --dir made", "invitation", "ask"),
        ("status --dir made", "the node is not running", "fondaco start --dir made"),
    ],
)
def test_a_verb_without_its_node_says_what_to_do(shell, verb, cause, remedy) -> None:
    done = shell(f"fondaco init --org made --title Made --dir made > made.txt; fondaco {verb}")
    assert done.returncode not in (0, 1, 2)
    assert "Traceback" not in done.stderr
    assert cause in done.stderr
    assert remedy in done.stderr
