"""The example runs, tells its story, and ends with the same state wherever it runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def told(seed: str, zone: str, locale: str) -> str:
    script = (
        "import sys; sys.path.insert(0, 'examples'); import fifth_institution as story; chain = story.tell();"
        "print('app hash', chain.status().app_hash.hex(), chain.height)"
    )
    environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_point_is_accounted_for_at_every_height_of_the_fifth_institutions_story() -> None:
    first = told("1", "UTC", "C.UTF-8")
    for line in ("admitted by vote", "judged; 100 points went back", "was expelled", "complete, verified"):
        assert line in first
    assert re.search(r"verified offline at height \d+: revoked", first)
    assert "supply 4000: {'@fund': 50, 'airline': 900, 'authority': 1010" in first
    assert told("77", "Asia/Tokyo", "tr_TR.UTF-8") == first
