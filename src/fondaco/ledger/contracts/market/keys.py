"""State keys of the market."""

from __future__ import annotations

DEMANDS = b"market/demand/"
OFFERS = b"market/offer/"
DEALS = b"market/deal/"


def demand(demand_id: bytes) -> bytes:
    """Where a demand is."""
    return DEMANDS + demand_id


def offer(offer_id: bytes) -> bytes:
    """Where an offer is."""
    return OFFERS + offer_id


def deal(deal_id: bytes) -> bytes:
    """Where a deal is."""
    return DEALS + deal_id


def open_count(kind: str, organisation: str) -> bytes:
    """Where the number of an organisation's open demands or offers is."""
    return b"market/open/" + kind.encode() + b"/" + organisation.encode()
