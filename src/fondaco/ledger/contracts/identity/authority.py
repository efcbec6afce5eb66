"""Who may sign what: the checks that all contracts share. Deny by default."""

from __future__ import annotations

from fondaco.ledger.contracts.identity import keys
from fondaco.ledger.contracts.identity.errors import Denied
from fondaco.ledger.contracts.identity.messages import Node, Organisation, User
from fondaco.ledger.contracts.kit import Context, load
from fondaco.ledger.state import ReadStore

ACTIVE = "active"


def organisation(store: ReadStore, name: str) -> Organisation | None:
    """The organisation if it is active."""
    found = load(store, Organisation, keys.organisation(name))
    return found if found is not None and found.status == ACTIVE else None


def active_user(store: ReadStore, key: bytes) -> User | None:
    """The user of this key if key and organisation are active."""
    found = load(store, User, keys.user(key))
    active = found is not None and found.status == ACTIVE and organisation(store, found.organisation) is not None
    return found if active else None


def active_node(store: ReadStore, key: bytes) -> Node | None:
    """The node of this key if key and organisation are active."""
    found = load(store, Node, keys.node(key))
    active = found is not None and found.status == ACTIVE and organisation(store, found.organisation) is not None
    return found if active else None


def admins(ctx: Context, name: str) -> Organisation:
    """The organisation, signed for by enough of its administrators.

    Raises:
        Denied: not active, or fewer than the threshold signed.
    """
    found = organisation(ctx.store, name)
    if found is None:
        raise Denied(f"{name} is not an active organisation")
    signed = [key for key in found.admins if key in ctx.signers]
    if len(signed) < found.threshold:
        raise Denied(f"{len(signed)} administrators of {name} signed, {found.threshold} are needed")
    return found


def user(ctx: Context, role: str) -> User:
    """The author, an active user with this role.

    Raises:
        Denied: another role, a revoked key, or no user at all.
    """
    found = active_user(ctx.store, ctx.signers[0])
    if found is None or role not in found.roles:
        raise Denied(f"the author is no active user with the role of {role}")
    return found


def node(ctx: Context) -> Node:
    """The author, an active node.

    Raises:
        Denied: it is none.
    """
    found = active_node(ctx.store, ctx.signers[0])
    if found is None:
        raise Denied("the author is no active node")
    return found


def user_or_admins(ctx: Context, name: str, role: str) -> None:
    """Signed by a user of the organisation with this role, or by enough administrators.

    Raises:
        Denied: neither.
    """
    found = active_user(ctx.store, ctx.signers[0])
    if found is None or found.organisation != name or role not in found.roles:
        admins(ctx, name)
