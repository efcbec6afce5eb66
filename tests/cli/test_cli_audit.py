"""The command's own refusals about audits, before any node is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from fondaco.cli import audit
from fondaco.errors import NodeError


def test_filters_without_select_do_not_pass_for_a_selection(tmp_path: Path) -> None:
    """Whoever forgets the flag would hand out the whole chain, and believe that it was a part."""
    with pytest.raises(NodeError, match="without --select"):
        audit.export(tmp_path / "bundle", dir_=tmp_path, institution="weather")
    assert not (tmp_path / "bundle").exists()
