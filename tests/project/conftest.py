"""Let the tests of this folder import the rules and the bench harness."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
for folder in (HERE, HERE.parents[1] / "bench"):
    sys.path.insert(0, str(folder))
