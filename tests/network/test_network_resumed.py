"""`fondaco network add-validator` breaks off wherever it may, and goes on when it is given again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from network_verbs import nodes, run

from fondaco.cli import growing, processes
from fondaco.cli import network as verbs
from fondaco.errors import NamingError, NodeError
from fondaco.node import control, network, setup

LATE = "late"


class Broken(Exception):
    """The call ends here, as if its process were killed."""


def breaks(after: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """What ends the call, after having done what stood in its place."""

    def ended(*given: Any, **named: Any) -> None:
        if after is not None:
            after(*given, **named)
        raise Broken

    return ended


def second_vote(asked: Callable[..., Any]) -> Callable[..., Any]:
    """As `control.ask`, until a second institution is to vote."""
    votes: list[Path] = []

    def ask(folder: Path, verb: str, arguments: dict[str, Any], **named: Any) -> Any:
        if verb == "governance-vote":
            votes.append(folder)
            if len(votes) > 1:
                raise Broken
        return asked(folder, verb, arguments, **named)

    return ask


# Where the call breaks off, in order, and what the next one says that it finds done.
PLACES: tuple[tuple[object, str, Callable[[Any], Any], str], ...] = (
    (setup, "new_folder", breaks, "was invited already"),
    (setup, "join", lambda _real: breaks(), "was invited already"),
    (setup, "pin", lambda _real: breaks(), "was invited already"),  # the ledger has it, the folder does not know
    (setup, "pin", breaks, "has joined the consortium already"),
    (network, "join_consensus", breaks, "has joined the consortium already"),
    (verbs, "launch", lambda _real: breaks(), "is in network.json already"),
    (verbs, "wait_ready", breaks, "the node of late runs already"),
    (growing, "_vote", lambda _real: breaks(), "the seat of late was proposed already"),
    (control, "ask", second_vote, "org-1 voted already"),
    (growing, "_vote", breaks, "late has been given its seat already"),
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A network of two validators that run; stopped afterwards, with what was launched from here."""
    where, launched = str(tmp_path / "net"), []

    def launch(folder: Path) -> subprocess.Popen[bytes]:
        launched.append(processes.launch(folder))
        return launched[-1]

    monkeypatch.setattr(verbs, "launch", launch)
    run("network", "init", "--dir", where, "--validators", "2", "--chain", "harbour")
    try:
        run("network", "start", "--dir", where)
        yield where
    finally:
        run("network", "stop", "--dir", where)
        assert [process.wait(60) for process in launched] == [0] * len(launched)


@pytest.mark.timeout(400)
def test_an_addition_that_breaks_off_anywhere_goes_on_when_it_is_given_again(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ""
    for module, name, broken, told in PLACES:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(module, name, broken(getattr(module, name)))
            with pytest.raises(Broken):
                verbs.add_validator(LATE, Path(place), as_json=True)
        assert found in capsys.readouterr().err
        found = told
    verbs.add_validator(LATE, Path(place), as_json=True)
    said = capsys.readouterr()
    assert found in said.err
    assert json.loads(said.out)["validators"] == 3
    rows = nodes(place)
    assert [row["organisation"] for row in rows] == ["org-1", "org-2", LATE]
    assert {row["validators"] for row in rows} == {3}
    assert [file.name for file in Path(place).iterdir() if LATE in file.name] == [LATE], "neither invitation nor draft"


def no_port() -> int:
    """Nobody listens in these tests."""
    return next(PORTS)


PORTS = iter(range(40_000, 50_000))


def test_a_folder_of_another_institution_or_chain_is_not_taken_for_a_broken_addition(tmp_path: Path) -> None:
    network.init(tmp_path / "one", chain="harbour", names=("a", "b"), free_port=no_port)
    network.init(tmp_path / "two", chain="harbour", names=("c", "d"), free_port=no_port)
    found = network.load(tmp_path / "one")
    (tmp_path / "two" / "c").rename(tmp_path / "one" / "c")
    (tmp_path / "two" / "d").rename(tmp_path / "one" / "x")
    for name in ("c", "x"):
        with pytest.raises(NodeError, match="another node's"):
            growing.joined(found, name)
    (tmp_path / "one" / "y").mkdir()
    with pytest.raises(NodeError, match="no node in this folder"):
        growing.joined(found, "y")
    with pytest.raises(NamingError):
        growing.joined(found, "../y")
    assert network.load(tmp_path / "one").organisations == ("a", "b")


def test_an_invitation_that_is_cut_is_made_anew_and_that_of_another_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network.init(tmp_path / "n", chain="harbour", names=("a", "b"), free_port=no_port)
    found, file = network.load(tmp_path / "n"), tmp_path / "n" / f"{LATE}.invitation"
    *_rest, data = setup.make_invitation(found.folder("a"), organisation=LATE, kind="member")
    file.write_bytes(data[:-9])
    with pytest.raises(NodeError, match="not running"):
        growing.joined(found, LATE)
    assert "is no whole invitation" in capsys.readouterr().err
    assert not file.exists()
    *_rest, data = setup.make_invitation(found.folder("a"), organisation="other", kind="member")
    file.write_bytes(data)
    with pytest.raises(NodeError, match="the invitation is for other"):
        growing.joined(found, LATE)
    assert file.read_bytes() == data
