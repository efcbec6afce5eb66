"""The example's story as a file: `python tests/ledger/story_world.py NAME` writes a fixture that later versions replay.

A fixture is written once, by the commit whose rules it keeps, and never again.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

from fondaco.core.codec import Value, encode
from fondaco.core.messages import to_bytes

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from fifth_institution import Story

FIXTURES = Path(__file__).parent / "fixtures"


def as_fixture(story: Story) -> bytes:
    """A whole ledger in one file: genesis, blocks, and the app hash after each."""
    ledger = story.ledger
    content: list[Value] = [
        to_bytes(ledger.genesis),
        list(ledger.blocks(1, ledger.height, most_bytes=1 << 30)),
        [bytes.fromhex(text) for text in story.hashes],
    ]
    return zlib.compress(encode(content), 9)


if __name__ == "__main__":
    (FIXTURES / f"{sys.argv[1]}.ledger").write_bytes(as_fixture(Story().tell()))
