"""The worlds of the network's tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "ledger"))

from network_world import Network


@pytest.fixture
def network(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Network]:
    """Four validators under load; every process ends with the test."""
    made = Network(tmp_path)
    try:
        yield made
        made.end()
    finally:
        made.abandon()


@pytest.fixture
def network_with_a_liar(tmp_path: Path) -> Iterator[Network]:
    """Four validators, of whom the fourth proposes what no block may hold."""
    made = Network(tmp_path, liar=4)
    try:
        yield made
        made.end()
    finally:
        made.abandon()


@pytest.fixture
def network_with_newer(tmp_path: Path) -> Iterator[Network]:
    """Four validators, of whom all but the fourth have newer software, with one more version of the rules."""
    made = Network(tmp_path, newer=3)
    try:
        yield made
        made.end()
    finally:
        made.abandon()
