"""State keys of the grants contract."""

from __future__ import annotations

REQUESTS = b"grants/request/"
GRANTS = b"grants/grant/"


def request(request_id: bytes) -> bytes:
    """Where a request is."""
    return REQUESTS + request_id


def active(organisation: str, grant_id: bytes) -> bytes:
    """Where it stands that a grant which an institution gave or holds is active; without an id the prefix of all."""
    return b"grants/active/" + organisation.encode() + b"/" + grant_id


def pending(organisation: str, request_id: bytes) -> bytes:
    """Where it stands that a request has an item which an institution asks for or must answer, unanswered."""
    return b"grants/pending/" + organisation.encode() + b"/" + request_id


def grant(grant_id: bytes) -> bytes:
    """Where a grant is."""
    return GRANTS + grant_id


def by_rule(dataset: str, rule: bytes, organisation: str) -> bytes:
    """How many uses a default permission of a dataset version has given to an organisation."""
    return b"grants/by-rule/" + rule + b"/" + dataset.encode() + b"/" + organisation.encode()


def limits_of_path(path: str) -> bytes:
    """What grants of a path's versions say of lookups."""
    return b"grants/path-limits" + path.encode()


def limits(grant_id: bytes) -> bytes:
    """What a grant says of lookups; nothing is there for one that does not say."""
    return b"grants/limits/" + grant_id
