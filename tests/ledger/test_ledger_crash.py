"""A ledger killed anywhere is, when opened again, at a whole height with the hash of that height."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ledger_world import Counter, adding, counter_genesis, counter_ledger

from fondaco.core.messages import from_bytes
from fondaco.ledger.blocks import MAX_WIRE_BYTES, Block
from fondaco.ledger.follower import Diverged, FollowerLedger

CHILD = """
import json, os, signal, sqlite3, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from ledger_world import adding, counter_ledger
from fondaco.ledger.application import Application
from fondaco.ledger.embedded import EmbeddedLedger
from fondaco.ledger.storage import Storage

point = sys.argv[2]
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
armed = []

def around(owner, name, when):
    inner = getattr(owner, name)
    def work(*args, **named):
        if armed and when == "before":
            die()
        found = inner(*args, **named)
        if armed and when == "after":
            die()
        return found
    setattr(owner, name, work)

POINTS = {
    "before-execution": (Application, "finalize_block", "before"),
    "after-execution": (Application, "finalize_block", "after"),
    "before-values": (Storage, "put_values", "before"),
    "after-values": (Storage, "put_values", "after"),
    "after-pages": (Storage, "put_pages", "after"),
    "after-commit": (Storage, "write", "after"),
    "before-answer": (EmbeddedLedger, "_announce", "before"),
}
if point in POINTS:
    around(*POINTS[point])
ledger = counter_ledger(Path(sys.argv[1]))
sent = 0
for n in range(3):
    done = ledger.submit(adding("n", 1, number=n.to_bytes(16, "big"))).result(10)
    sent += 1
ledger.wait_provable(10)
print(json.dumps({"height": ledger.height, "hash": ledger.status().app_hash.hex()}), flush=True)
armed.append(True)
future = ledger.submit(adding("n", 50, number=b"x" * 16))
if point == "any-moment":
    print("go", flush=True)
    while True:
        ledger.submit(adding("m", 1)).result(10)
future.result(10)
"""

POINTS = (
    "before-execution",
    "after-execution",
    "before-values",
    "after-values",
    "after-pages",
    "after-commit",
    "before-answer",
)


def _check_whole(folder: Path) -> dict[str, int]:
    """Reopen: each header carries the hash that re-execution gives, and the next block can be made."""
    ledger = counter_ledger(folder)
    ledger.wait_provable(10)
    blocks = [from_bytes(Block, data, limit=MAX_WIRE_BYTES) for data in ledger.blocks(1, 10_000, 1 << 30)]
    assert [block.header.height for block in blocks] == list(range(1, ledger.height + 1))
    assert blocks[-1].header.app_hash == ledger.status().app_hash
    assert ledger.submit(adding("after", 1)).result(10).result.code == 0
    found = ledger.query("all")
    ledger.stop()
    assert isinstance(found, dict)
    return {name: value for name, value in found.items() if isinstance(value, int)}


def _start(folder: Path, point: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHILD, str(folder), point, str(Path(__file__).parent)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("point", POINTS)
def test_a_ledger_killed_at_a_point_is_whole_again(point: str, tmp_path: Path) -> None:
    child = _start(tmp_path, point)
    out, err = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL, err
    before = json.loads(out)
    found = _check_whole(tmp_path)
    kept = point in ("after-commit", "before-answer")
    assert found["counter/n"] == (53 if kept else 3), before


@pytest.mark.parametrize("lines", [1, 2])
def test_a_ledger_killed_at_any_moment_is_whole_again(lines: int, tmp_path: Path) -> None:
    child = _start(tmp_path, "any-moment")
    assert child.stdout is not None
    for _n in range(lines):
        child.stdout.readline()
    child.kill()
    child.communicate(timeout=60)
    assert _check_whole(tmp_path)["counter/n"] in (3, 53)


FOLLOWER = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from ledger_world import Counter, counter_genesis
from fondaco.ledger.follower import FollowerLedger
from fondaco.ledger.storage import Storage

inner = Storage.write
def work(*args):
    if sys.argv[2] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    inner(*args)
    os.kill(os.getpid(), signal.SIGKILL)

follower = FollowerLedger(Path(sys.argv[1]), counter_genesis(), Counter())
blocks = [(Path(sys.argv[1]) / name).read_bytes() for name in ("true", "false")]
follower.apply(blocks[0])
Storage.write = work
follower.apply(blocks[1])
"""


@pytest.mark.parametrize("point", ["before", "after"])
def test_a_follower_killed_at_a_write_of_evidence_has_all_of_it_or_none(point: str, tmp_path: Path) -> None:
    """Evidence without the halt would let the next block through; the halt without evidence would prove nothing."""
    first, second = counter_ledger(), counter_ledger()
    for ledger, amount in ((first, 1), (second, 2)):
        ledger.submit(adding("n", amount)).result(10)
    true, false = first.blocks(1, 1)[0], second.blocks(1, 1)[0]
    for ledger in (first, second):
        ledger.stop()
    (tmp_path / "true").write_bytes(true)
    (tmp_path / "false").write_bytes(false)
    command = [sys.executable, "-c", FOLLOWER, str(tmp_path), point, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    follower = FollowerLedger(tmp_path, counter_genesis(), Counter())
    assert follower.evidence == (false if point == "after" else None)
    with pytest.raises(Diverged, match="halted" if point == "after" else "another block"):
        follower.apply(false)
    with pytest.raises(Diverged, match="halted"):
        follower.apply(true)
    follower.close()
