"""Messages and records of the points contract."""

from __future__ import annotations

from fondaco.core.messages import message


@message("points.transfer/1")
class Transfer:
    """Signed by a governor or the administrators of `source`; `sequence` counts its transfers from 1."""

    source: str
    target: str
    amount: int
    sequence: int


@message("points.escrow/1")
class Escrow:
    """Record of points set aside: whose, and how many are left."""

    id: bytes
    owner: str
    amount: int
