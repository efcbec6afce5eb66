"""A running consortium, shared by the tests of this folder."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from consortium_world import provision, write_sources

from fondaco.cli.demo.cast import Cast

BEGIN_SECONDS = 400.0
"""Four nodes begin, join and publish in 20 s on an idle machine: this is for one with much else to do."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test's own deadline is its own: the consortium, which the first of them starts, has another."""
    for item in items:
        shared = Path(__file__).parent in item.path.parents and "world" in getattr(item, "fixturenames", ())
        if shared:
            marked = item.get_closest_marker("timeout")
            seconds = marked.args[0] if marked is not None else float(config.getini("timeout"))
            item.add_marker(pytest.mark.timeout(seconds, func_only=True), append=False)


class Beginning(threading.Thread):
    """What makes the consortium, in a thread, so that it can be waited for with a deadline."""

    def __init__(self, cast: Cast, sources: dict) -> None:
        super().__init__(daemon=True)
        self._cast = cast
        self._sources = sources
        self._done = False

    def run(self) -> None:
        """Begin; a fault is told by the thread's own trace, and the fixture fails."""
        self._cast.begin()
        provision(self._cast, self._sources)
        self._done = True

    def wait(self, seconds: float) -> None:
        """Until it has begun, or fail."""
        self.join(seconds)
        if not self._done:
            pytest.fail("the consortium has not begun" + (f" in {seconds:g} s" if self.is_alive() else ": see above"))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cast, dict]]:
    """Four nodes as processes, provisioned; stopped at the end."""
    folder = tmp_path_factory.mktemp("consortium")
    sources = write_sources(folder / "sources")
    cast = Cast(folder / "nodes")
    beginning = Beginning(cast, sources)
    beginning.start()
    try:
        beginning.wait(BEGIN_SECONDS)
        yield cast, sources
    finally:
        cast.end()
        beginning.join(60)  # where it had not begun: it finds its nodes gone, and what it started since is stopped
        cast.end()
