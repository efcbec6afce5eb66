"""What goes wrong at the command line: every refusal has a cause, a remedy and an exit code, and no traceback."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fondaco.cli import network, output
from fondaco.errors import FondacoError, NodeError, UsageError
from fondaco.node import control

DEADLINE = 60


def command(*words: str) -> list[str]:
    """The command as a process."""
    return [sys.executable, "-m", "fondaco.cli.main", *words]


def run(*words: str, code: int) -> str:
    """Run the command; what it said on stderr, or its answer when that must be good."""
    done = subprocess.run(command(*words), check=False, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr if code else done.stdout


def test_the_version_is_told() -> None:
    assert run("--version", code=0).startswith("fondaco ")


@pytest.mark.parametrize("verb", [("network", "init"), ("init", "--org", "bank", "--title", "The bank")])
def test_a_folder_that_cannot_be_made_is_named(verb: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = run(*verb, "--dir", str(tmp_path / "file"), code=NodeError.exit_code)
    assert "this machine refused" in said
    assert str(tmp_path / "file") in said
    assert "remedy:" in said


@pytest.mark.parametrize(
    ("words", "code", "cause"),
    [
        (("--org", "Bank", "--title", "x"), 3, "lower-case letters, digits and hyphens"),
        (("--org", "bank", "--title", " "), 2, "not a title"),
        (("--org", "bank", "--title", "two\nlines"), 2, "not a title"),
        (("--org", "bank", "--title", "x", "--kind", "judge"), 2, "give one of: member, regulator"),
        (("--org", "bank", "--title", "x", "--port", "70000"), 2, "1 to 65535"),
    ],
)
def test_a_node_that_no_consortium_would_take_is_refused_at_init(
    words: tuple[str, ...], code: int, cause: str, tmp_path: Path
) -> None:
    assert cause in run("init", *words, "--dir", str(tmp_path / "node"), code=code)
    assert not (tmp_path / "node").exists()


def test_names_and_a_number_of_validators_agree(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 are named and 3 validators wanted"):
        network.init(tmp_path / "net", validators=3, name=["a", "b"])
    for wanted in (0, -1):
        with pytest.raises(UsageError, match="1 to 64"):
            network.init(tmp_path / "net", validators=wanted)
    with pytest.raises(FondacoError, match="not a short name"):
        network.init(tmp_path / "net", name=["a", "The Bank"])
    assert not (tmp_path / "net").exists()


def test_a_network_in_which_no_validator_may_fail_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network.init(tmp_path / "three", validators=3)
    assert "with 3 validators every one must run" in capsys.readouterr().err
    network.init(tmp_path / "four")
    said = capsys.readouterr()
    assert not said.err
    assert "org-4" in said.out


def test_an_invitation_that_is_cut_is_named(tmp_path: Path) -> None:
    run("init", "--org", "bank", "--title", "The bank", "--dir", str(tmp_path / "node"), code=0)
    for text in ("", "AAAA", "not base64!"):
        (tmp_path / "cut").write_text(text)
        said = run("join", str(tmp_path / "cut"), "--dir", str(tmp_path / "node"), code=NodeError.exit_code)
        assert "invitation" in said
        assert "ask for the invitation file again" in said


def test_lists_that_are_empty_say_so() -> None:
    assert output.fields({"hits": []}) == "hits  (none)"
    assert output.fields({"helper": [], "trouble": ""}).splitlines() == ["helper", "trouble"]


Verb = control.Verb


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    """A node's local door with the verbs of a test behind it, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    servers: list[control.ControlServer] = []

    def start(**verbs: Verb) -> Path:
        server = control.ControlServer(tmp_path / "control.sock", verbs)
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(DEADLINE)
        servers.append(server)
        return tmp_path

    yield start
    for server in servers:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(DEADLINE)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(DEADLINE)
    loop.close()


def failing(fault: BaseException) -> Verb:
    """A verb that ends so."""

    async def verb(_arguments: control.Json, _progress: control.Progress) -> None:
        raise fault

    return verb


@pytest.mark.parametrize(
    ("fault", "cause", "code"),
    [
        (FileNotFoundError(2, "No such file or directory", "/gone/x"), "no such file or directory", 9),
        (PermissionError(13, "Permission denied", "/root/x"), "permission denied", 9),
        (TimeoutError(), "did not end in time", 8),
        (KeyError("organisations"), "'organisations' is missing", 2),
        (ValueError("invalid literal for int()"), "invalid literal", 2),
        (TypeError("not iterable"), "not iterable", 2),
    ],
)
def test_what_escapes_a_verb_is_an_error_with_a_cause(serve: Any, fault: BaseException, cause: str, code: int) -> None:
    """The node did not go away, and the person's line was JSON: neither may be said."""
    folder = serve(fails=failing(fault))
    with pytest.raises(control.ControlError, match=cause) as caught:
        control.ask(folder, "fails", {})
    assert caught.value.answer_exit_code == code
    assert "VERB" not in caught.value.remedy


def test_who_stops_waiting_is_told_that_the_node_goes_on(serve: Any) -> None:
    ended = threading.Event()

    async def tasks(_arguments: control.Json, progress: control.Progress) -> dict[str, Any]:
        progress({"status": "running"})
        await asyncio.to_thread(ended.wait, DEADLINE)
        return {"tasks": []}

    folder = serve(tasks=tasks)
    with subprocess.Popen(
        command("tasks", "--dir", str(folder)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert "running" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _out, said = process.communicate(timeout=DEADLINE)
    ended.set()
    assert "Traceback" not in said
    assert "the node goes on with what it was asked for" in said
    assert process.returncode == 130


@pytest.mark.parametrize("root", ["", "00", "zz" * 32, "0" * 65])
@pytest.mark.parametrize("verb", ["audit", "certificate"])
def test_a_trust_root_that_is_cut_does_not_pass_for_another_chain(verb: str, root: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    said = run(verb, "verify", str(tmp_path / "file"), "--trust-root", root, code=UsageError.exit_code)
    assert "64 hexadecimal digits" in said


def test_an_answer_without_its_request_is_refused() -> None:
    assert "say which request" in run("review", "--approve", code=UsageError.exit_code)
    run("search", "x", "--limit", "0", code=2)
    run("result", "00", "step", "--limit", "-1", code=2)
