"""State keys of the points contract."""

from __future__ import annotations

BALANCES = b"points/balance/"
ESCROWS = b"points/escrow/"
SUPPLY = b"points/supply"
FUND = "@fund"  # the consortium's own account; no organisation can have this name


def balance(organisation: str) -> bytes:
    """Where a balance is."""
    return BALANCES + organisation.encode()


def escrow(escrow_id: bytes) -> bytes:
    """Where an escrow is."""
    return ESCROWS + escrow_id


def transfers(organisation: str) -> bytes:
    """Where the count of an organisation's transfers is."""
    return b"points/transfers/" + organisation.encode()
