"""State keys of the points contract."""

from __future__ import annotations

BALANCES = b"points/balance/"
ESCROWS = b"points/escrow/"
PROPOSALS = b"points/mint/"
SUPPLY = b"points/supply"


def balance(organisation: str) -> bytes:
    """Where a balance is."""
    return BALANCES + organisation.encode()


def escrow(escrow_id: bytes) -> bytes:
    """Where an escrow is."""
    return ESCROWS + escrow_id


def proposal(proposal_id: bytes) -> bytes:
    """Where a proposal to mint is."""
    return PROPOSALS + proposal_id


def transfers(organisation: str) -> bytes:
    """Where the count of an organisation's transfers is."""
    return b"points/transfers/" + organisation.encode()


def votes(organisation: str) -> bytes:
    """Where the count of an organisation's votes is."""
    return b"points/votes/" + organisation.encode()
