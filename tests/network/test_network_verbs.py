"""`fondaco network`: a person makes a consortium of several validators, lets one in by vote, and sees how it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from network_node import until
from network_verbs import nodes, run

from fondaco.errors import LedgerError, NamingError, NodeError
from fondaco.node import network
from fondaco.node.folder import Folder


@pytest.fixture
def place(tmp_path: Path) -> Iterator[str]:
    """A folder for a network, which is stopped afterwards."""
    where = str(tmp_path / "net")
    yield where
    if (tmp_path / "net").exists():
        run("network", "stop", "--dir", where)


@pytest.mark.timeout(400)
def test_a_consortium_is_made_started_grown_by_vote_stopped_and_started_again(place: str) -> None:
    made = json.loads(run("network", "init", "--dir", place, "--validators", "2", "--chain", "harbour", "--json"))
    assert made["validators"] == ["org-1", "org-2"]
    assert not any(row["runs"] for row in nodes(place))
    assert "2 nodes started; 2 run" in run("network", "start", "--dir", place)
    said = json.loads(run("status", "--dir", f"{place}/org-2", "--json"))
    assert (said["chain"], said["role"], said["validators"]) == ("harbour", "validator", 2)
    assert "Byzantine fault tolerant" in said["ledger"]

    joined = json.loads(run("network", "add-validator", "late", "--dir", place, "--json"))
    assert joined["validators"] == 3
    rows = nodes(place)
    assert [row["organisation"] for row in rows] == ["org-1", "org-2", "late"]
    assert all(row["runs"] and row["validators"] == 3 for row in rows)
    again = json.loads(run("network", "add-validator", "late", "--dir", place, "--json"))
    assert again == joined, "what is done already is not done again"

    guest = f"{place}/guest"
    run("invite", "guest", "--file", f"{guest}.invitation", "--dir", f"{place}/org-1")
    run("init", "--org", "guest", "--title", "A guest", "--dir", guest)
    run("join", f"{guest}.invitation", "--dir", guest)
    run("start", "--background", "--dir", guest)
    try:
        said = json.loads(run("status", "--dir", guest, "--json"))
    finally:
        run("stop", "--dir", guest)
    assert (said["role"], said["standing"], said["validators"]) == ("follower", "active", 3)
    assert said["ledger"].startswith("Byzantine fault tolerant"), "three validators make the blocks that it follows"

    assert "3 nodes stopped" in run("network", "stop", "--dir", place)
    for name in ("org-1", "org-2", "late"):
        Folder(Path(place) / name).lock().close()  # nobody has it: the process has ended
    assert "3 nodes started; 3 run" in run("network", "start", "--dir", place)
    rows = nodes(place)
    assert all(row["validators"] == 3 for row in rows)
    until(lambda: {row["trouble"] for row in nodes(place)} == {""}, "blocks come again")


def no_port() -> int:
    """Nobody listens in these tests."""
    return next(PORTS)


PORTS = iter(range(40_000, 50_000))


def test_a_network_is_made_once_of_different_institutions(tmp_path: Path) -> None:
    network.init(tmp_path / "one", chain="harbour", names=("a", "b"), free_port=no_port)
    with pytest.raises(NodeError, match="already"):
        network.init(tmp_path / "one", chain="harbour", names=("a",), free_port=no_port)
    for names in ((), ("a", "a"), tuple(f"n{n}" for n in range(65))):
        with pytest.raises(NodeError, match="1 to 64 different"):
            network.init(tmp_path / "two", chain="harbour", names=names, free_port=no_port)
    with pytest.raises(NamingError):
        network.init(tmp_path / "two", chain="Not a name", names=("a",), free_port=no_port)


def test_all_begin_with_one_genesis_and_know_each_other(tmp_path: Path) -> None:
    genesis = network.init(tmp_path / "n", chain="harbour", names=("a", "b", "c"), free_port=no_port)
    found = network.load(tmp_path / "n")
    assert found.organisations == ("a", "b", "c")
    assert len(genesis.validators) == 3
    documents = {
        (found.folder(name).consensus / "config" / "genesis.json").read_bytes() for name in found.organisations
    }
    assert len(documents) == 1
    for name in found.organisations:
        settings = found.folder(name).settings()
        assert settings.genesis_hash == genesis.hash.hex()
        assert (settings.driver, settings.consensus_peers.count("@")) == ("cometbft", 2)
        assert found.folder(name).consensus.stat().st_mode & 0o077 == 0
        for secret in (found.folder(name).consensus / "config").glob("*key.json"):
            assert secret.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"chain": "c", "organisations": []}', '{"chain": 5, "organisations": ["a"]}', "x" * 99_999],
)
def test_a_damaged_network_file_is_named(text: str, tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="no network"):
        network.load(tmp_path)
    (tmp_path / "network.json").write_text(text)
    with pytest.raises(NodeError, match="damaged"):
        network.load(tmp_path)


def test_no_node_is_started_without_a_cometbft_that_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = str(tmp_path / "net")
    run("network", "init", "--dir", where, "--validators", "1")
    (tmp_path / "text").write_text("no program")
    for program in (tmp_path / "gone", tmp_path / "text", tmp_path):
        monkeypatch.setenv("FONDACO_COMETBFT", str(program))
        said = run("network", "start", "--dir", where, code=LedgerError.exit_code)
        assert "CometBFT cannot be run" in said
        assert str(program) in said
    assert not any(row["runs"] for row in nodes(where))
