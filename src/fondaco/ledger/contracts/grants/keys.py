"""State keys of the grants contract."""

from __future__ import annotations

REQUESTS = b"grants/request/"
GRANTS = b"grants/grant/"


def request(request_id: bytes) -> bytes:
    """Where a request is."""
    return REQUESTS + request_id


def grant(grant_id: bytes) -> bytes:
    """Where a grant is."""
    return GRANTS + grant_id


def by_rule(dataset: str, rule: bytes, organisation: str) -> bytes:
    """How many uses a default permission of a dataset version has given to an organisation."""
    return b"grants/by-rule/" + rule + b"/" + dataset.encode() + b"/" + organisation.encode()
