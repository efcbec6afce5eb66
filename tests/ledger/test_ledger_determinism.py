"""The same blocks give the same hashes whatever the process around them is like: seed, locale, time zone, directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ledger_world import World

CHILD = """
import json, locale, sys, time
sys.path.insert(0, sys.argv[1])
locale.setlocale(locale.LC_ALL, "")
from ledger_world import consortium_genesis
from fondaco.ledger.contracts import registry
from fondaco.ledger.follower import FollowerLedger
follower = FollowerLedger(None, consortium_genesis(), registry)
found = [follower.status().app_hash.hex()]
for line in sys.stdin:
    follower.apply(bytes.fromhex(line))
    found.append(follower.status().app_hash.hex())
print(json.dumps({"hashes": found, "order": list({"a", "b", "c", "d", "e", "f"}), "hour": time.localtime(0).tm_hour}))
"""
SURROUNDINGS = (
    {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C"},
    {"PYTHONHASHSEED": "1", "TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8"},
    {"PYTHONHASHSEED": "4294967295", "TZ": "XYZ+11", "LC_ALL": "POSIX", "PYTHONOPTIMIZE": "2"},
    {"PYTHONHASHSEED": "random", "TZ": "UTC-14", "LC_ALL": "C", "PYTHONUTF8": "1"},
)


@pytest.fixture(scope="module")
def story() -> tuple[list[str], list[str]]:
    """The blocks of a consortium at work, and the app hash after each as their maker had it."""
    world = World()
    world.story()
    blocks = [data.hex() for data in world.ledger.blocks(1, 10_000, 1 << 30)]
    hashes = [world.ledger.status().app_hash.hex()]
    world.ledger.stop()
    return blocks, hashes


def replayed(blocks: list[str], surroundings: dict[str, str], where: Path) -> dict[str, object]:
    """What a process in these surroundings computes."""
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent)]
    environment = {**os.environ, **surroundings}
    lines = "\n".join(blocks)
    done = subprocess.run(
        command, check=False, input=lines, env=environment, cwd=where, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_surroundings_do_not_change_a_hash(story: tuple[list[str], list[str]], tmp_path: Path) -> None:
    blocks, (last,) = story
    found = [replayed(blocks, one, tmp_path) for one in SURROUNDINGS]
    assert all(one["hashes"] == found[0]["hashes"] for one in found)
    assert found[0]["hashes"][-1] == last  # type: ignore[index]
    assert len(found[0]["hashes"]) == len(blocks) + 1  # type: ignore[arg-type]
    assert len({str(one["order"]) for one in found}) > 1, "the seeds did not take"
    assert len({str(one["hour"]) for one in found}) > 1, "the time zones did not take"
