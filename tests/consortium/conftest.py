"""A running consortium, shared by the tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from consortium_world import provision, write_sources

from fondaco.cli.demo.cast import Cast


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cast, dict]]:
    """Four nodes as processes, provisioned; stopped at the end."""
    folder = tmp_path_factory.mktemp("consortium")
    sources = write_sources(folder / "sources")
    cast = Cast(folder / "nodes")
    try:
        cast.begin()
        provision(cast, sources)
        yield cast, sources
    finally:
        cast.end()
