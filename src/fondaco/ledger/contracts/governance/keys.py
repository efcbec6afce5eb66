"""State keys of the governance contract."""

from __future__ import annotations

from fondaco.ledger.state import Store

PROPOSALS = b"governance/proposal/"
OPEN = b"governance/open/"
PARAMETERS = b"governance/parameters"
UPGRADES = b"governance/upgrades"
PRICES = b"governance/price/"
PROGRAMS = b"governance/program/"
QUOTAS = b"governance/quota/"
SEATS = b"governance/seat/"
WEIGHTS = b"governance/weight/"


def proposal(proposal_id: bytes) -> bytes:
    """Where a proposal is."""
    return PROPOSALS + proposal_id


def opened(proposal_id: bytes) -> bytes:
    """Where it stands that a proposal is not decided; its value is who proposed."""
    return OPEN + proposal_id


def votes(organisation: str) -> bytes:
    """Where the count of an organisation's votes is."""
    return b"governance/votes/" + organisation.encode()


def price(operation: str) -> bytes:
    """Where the price of a service is."""
    return PRICES + operation.encode()


def program(program_hash: bytes) -> bytes:
    """Where a program of the consortium's list is."""
    return PROGRAMS + program_hash


def quota(organisation: str) -> bytes:
    """Where an organisation's own quota is."""
    return QUOTAS + organisation.encode()


def seat(organisation: str) -> bytes:
    """Where an organisation's validator is."""
    return SEATS + organisation.encode()


def weight(organisation: str) -> bytes:
    """Where the weight of an organisation's vote is."""
    return WEIGHTS + organisation.encode()


def put_weight(store: Store, organisation: str, weight: int) -> None:
    """Write how much an organisation's vote counts."""
    store.set(WEIGHTS + organisation.encode(), weight.to_bytes(8, "big"))
