"""A node takes no settings that it could not keep to."""

from __future__ import annotations

import json

import pytest

from fondaco.errors import NodeError
from fondaco.node.folder import SETTINGS, Folder, Settings


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def with_budget(folder: Folder, budget: object) -> Folder:
    """The folder with a settings file of this budget, written as a hand would."""
    folder.save(Settings(org="o", title="t", kind="k", chain="", host="h", port=1, validator=False))
    path = folder.path / SETTINGS
    path.write_text(json.dumps(json.loads(path.read_text()) | {"asker_memory_mib": budget}))
    return folder


@pytest.mark.parametrize("budget", [1, 1024, 2**20])
def test_a_budget_of_memory_is_read(folder, budget) -> None:
    assert with_budget(folder, budget).settings().asker_memory_mib == budget


@pytest.mark.parametrize("budget", [0, -1, 2**20 + 1, 2**64, True, False, 1.0, "1024", None, [1]])
def test_what_is_no_budget_of_memory_is_refused_by_its_name(folder, budget) -> None:
    with pytest.raises(NodeError, match="asker_memory_mib") as caught:
        with_budget(folder, budget).settings()
    assert "from 1 to 1048576" in caught.value.remedy
