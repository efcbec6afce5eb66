"""State keys of the tasks contract."""

from __future__ import annotations

TASKS = b"tasks/task/"
OUTCOMES = b"tasks/outcome/"
OPEN = b"tasks/open/"


def task(task_id: bytes) -> bytes:
    """Where a task is."""
    return TASKS + task_id


def opened(height: int, task_id: bytes) -> bytes:
    """Where it stands that a task has not ended; in order of age."""
    return OPEN + height.to_bytes(8, "big") + task_id


def outcomes(task_id: bytes, attempt: int) -> bytes:
    """The prefix of all reports of an attempt."""
    return OUTCOMES + task_id + attempt.to_bytes(2, "big")


def outcome(task_id: bytes, attempt: int, step: str, organisation: str) -> bytes:
    """Where a report is."""
    return outcomes(task_id, attempt) + b"/" + step.encode() + b"/" + organisation.encode()
