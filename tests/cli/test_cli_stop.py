"""`fondaco stop` returns when the node has ended, not when it was asked to; what does not end is named."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from fondaco.cli import main, processes
from fondaco.errors import DeadlineExceeded, NodeError
from fondaco.node.folder import Folder


class Door(socketserver.ThreadingUnixStreamServer):
    """A node's local door that says yes to everything; what it was asked is kept."""

    daemon_threads = True

    def __init__(self, path: str, on_stop: Callable[[], object]) -> None:
        self.asked: list[str] = []
        self.on_stop = on_stop
        super().__init__(path, Answer)


class Answer(socketserver.StreamRequestHandler):
    """One request."""

    def handle(self) -> None:
        """Answer, then stop."""
        assert isinstance(self.server, Door)
        self.server.asked.append(json.loads(self.rfile.readline())["verb"])
        self.wfile.write(b'{"result": {"stopping": true}}\n')
        self.server.on_stop()


class Slow:
    """A node that takes its time to end, and closes its door at once."""

    def __init__(self, path: Path, ends: bool = True) -> None:
        self.folder = Folder(path)
        path.mkdir()
        self.held: IO[str] | None = self.folder.lock()
        self.door: Door | None = None
        self._ends = ends
        self.ended = 0.0

    def open(self) -> None:
        """Answer from now on."""
        self.door = Door(str(self.folder.control), self._on_stop)
        threading.Thread(target=self.door.serve_forever, daemon=True).start()

    def _on_stop(self) -> None:
        self.folder.control.unlink()
        if self._ends:
            threading.Timer(0.7, self.end).start()

    def end(self) -> None:
        """Let go of the folder."""
        if self.held is not None:
            self.ended = time.monotonic()
            self.held.close()
            self.held = None


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., Slow]]:
    """Make a node; all end with the test."""
    nodes: list[Slow] = []

    def make(name: str, *, ends: bool = True, opens: bool = True) -> Slow:
        nodes.append(Slow(tmp_path / name, ends))
        if opens:
            nodes[-1].open()
        return nodes[-1]

    yield make
    for node in nodes:
        node.end()
        if node.door is not None:
            node.door.shutdown()
            node.door.server_close()


def test_stop_waits_until_the_node_has_let_go_of_its_folder(made: Callable[..., Slow]) -> None:
    one, two = made("one"), made("two")
    processes.stop([one.folder.path, two.folder.path])
    assert 0 < max(one.ended, two.ended) <= time.monotonic()
    assert [node.door.asked for node in (one, two) if node.door is not None] == [["stop"], ["stop"]]
    for node in (one, two):
        assert not node.folder.held()
        node.folder.lock().close()


def test_a_node_that_does_not_end_is_named_at_the_deadline(made: Callable[..., Slow]) -> None:
    one, two = made("one"), made("two", ends=False)
    with pytest.raises(DeadlineExceeded, match=r"^two did not end in time") as caught:
        processes.stop([one.folder.path, two.folder.path], seconds=1.5)
    assert "node.log" in caught.value.remedy
    assert not one.folder.held()


def test_a_node_that_is_ending_already_is_waited_for_and_not_called_stopped(made: Callable[..., Slow]) -> None:
    one = made("one", opens=False)
    threading.Timer(0.5, one.end).start()
    processes.stop([one.folder.path])
    assert one.ended > 0


def test_a_node_that_is_starting_is_asked_once_it_answers(made: Callable[..., Slow]) -> None:
    one = made("one", opens=False)
    threading.Timer(0.5, one.open).start()
    processes.stop([one.folder.path])
    assert one.door is not None
    assert one.door.asked == ["stop"]


def test_a_node_that_does_not_run_is_said_not_to(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="no such folder"):
        main.stop(tmp_path / "none")
    (tmp_path / "one").mkdir()
    with pytest.raises(NodeError, match="not running"):
        main.stop(tmp_path / "one")
    (tmp_path / "one" / "node.lock").touch()
    with pytest.raises(NodeError, match="not running"):
        main.stop(tmp_path / "one")
    processes.stop([tmp_path / "one"])
