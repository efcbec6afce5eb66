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
