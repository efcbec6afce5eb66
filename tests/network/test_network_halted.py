"""A consortium that lacks a quorum says so by itself, and whom it does not hear, before anything is submitted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from network_node import until
from network_verbs import nodes, run


@pytest.fixture
def place(tmp_path: Path) -> Iterator[str]:
    """A network of three validators that run; stopped afterwards."""
    where = str(tmp_path / "net")
    run("network", "init", "--dir", where, "--validators", "3", "--chain", "harbour")
    try:
        run("network", "start", "--dir", where)
        yield where
    finally:
        run("network", "stop", "--dir", where)


def troubles(where: str) -> list[str]:
    return [row["trouble"] for row in nodes(where) if row["runs"]]


@pytest.mark.timeout(300)
def test_validators_without_a_quorum_say_whom_they_do_not_hear(place: str) -> None:
    assert troubles(place) == ["", "", ""]
    run("stop", "--dir", f"{place}/org-3")
    until(lambda: all("not heard: org-3;" in said for said in troubles(place)), "the halt is told")
    for said in troubles(place):
        assert said.startswith("no block for ")
        assert "of 30 of the validators' power 20 votes on block" in said
    run("stop", "--dir", f"{place}/org-2")
    until(lambda: all("is linked to no other node" in said for said in troubles(place)), "the lost links are told")
    run("network", "start", "--dir", place)
    until(lambda: troubles(place) == ["", "", ""], "blocks come again")
