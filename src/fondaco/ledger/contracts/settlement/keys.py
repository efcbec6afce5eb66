"""State keys of the settlement contract."""

from __future__ import annotations

from fondaco.ledger.contracts.kit import derive

FORMULA = b"settlement/formula"
SETTLEMENTS = b"settlement/settlement/"


def settlement(task: bytes) -> bytes:
    """Where the settlement of a task is."""
    return SETTLEMENTS + task


def escrow(task: bytes) -> bytes:
    """The id of the escrow that holds what a task pays."""
    return derive("settlement", task)


def measurements(task: bytes, attempt: int) -> bytes:
    """The prefix of all measurements of an attempt."""
    return b"settlement/measurement/" + task + attempt.to_bytes(2, "big")


def measurement(task: bytes, attempt: int, organisation: str) -> bytes:
    """Where an organisation's measurement is."""
    return measurements(task, attempt) + b"/" + organisation.encode()
