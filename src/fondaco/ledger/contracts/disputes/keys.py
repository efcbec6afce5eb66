"""State keys of the disputes contract."""

from __future__ import annotations

RULES = b"disputes/rules"
DISPUTES = b"disputes/dispute/"


def dispute(task: bytes) -> bytes:
    """Where the dispute about a task is."""
    return DISPUTES + task
