"""State keys of the identity contract."""

from __future__ import annotations

ORGANISATIONS = b"identity/org/"
NODES = b"identity/node/"
USERS = b"identity/user/"
INVITATIONS = b"identity/invitation/"


def organisation(name: str) -> bytes:
    """Where an organisation is."""
    return ORGANISATIONS + name.encode()


def node(key: bytes) -> bytes:
    """Where a node is, by its raw key."""
    return NODES + key


def user(key: bytes) -> bytes:
    """Where a user is, by its raw key."""
    return USERS + key


def invitation(key: bytes) -> bytes:
    """Where an invitation is, by its raw key."""
    return INVITATIONS + key


def binding(key: bytes) -> bytes:
    """Where it stands what a key is bound to."""
    return b"identity/key/" + key
