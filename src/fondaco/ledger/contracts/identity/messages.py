"""Messages and records of the identity contract."""

from __future__ import annotations

from fondaco.core.messages import message

ROLES = ("steward", "analyst", "reviewer", "regulator", "governor")
KINDS = ("member", "regulator")


@message("identity.node-spec/1")
class NodeSpec:
    """A node as its organisation declares it: raw Ed25519 key, TLS certificate, host:port, X25519 seal key."""

    key: bytes
    certificate: bytes
    address: str
    seal_key: bytes


@message("identity.user-spec/1")
class UserSpec:
    """A user: raw Ed25519 key, roles, X25519 seal key. No name of a person goes on the ledger."""

    key: bytes
    roles: tuple[str, ...]
    seal_key: bytes


@message("identity.organisation-spec/1")
class OrganisationSpec:
    """An organisation as genesis or a join makes it."""

    name: str
    title: str
    kind: str
    admins: tuple[bytes, ...]
    threshold: int
    node: NodeSpec
    users: tuple[UserSpec, ...]


@message("identity.invite/1")
class Invite:
    """Signed by the administrators of an active organisation and by `key`: who holds it may join as `organisation`.

    The organisation's vote has no weight until a vote gives it one.
    """

    by: str
    key: bytes
    certificate: bytes
    organisation: str
    kind: str
    expires: int


@message("identity.join/1")
class Join:
    """Signed by the invitation's key and by every key that it registers: administrators, node and users."""

    invitation: bytes
    organisation: OrganisationSpec


@message("identity.cancel-invitation/1")
class CancelInvitation:
    """Signed by the administrators of who invited: this invitation, which nobody has used, is void."""

    invitation: bytes


@message("identity.put-node/1")
class PutNode:
    """Signed by the administrators and the node's key: add a node, or rotate one (`replaces` is its old key)."""

    organisation: str
    node: NodeSpec
    replaces: bytes | None


@message("identity.put-user/1")
class PutUser:
    """Signed by the administrators and the user's key: add a user, or rotate one's key (`replaces` is the old key)."""

    organisation: str
    user: UserSpec
    replaces: bytes | None


@message("identity.revoke/1")
class Revoke:
    """Signed by the administrators: this node's or user's key is void from now on."""

    organisation: str
    key: bytes


@message("identity.rotate-admins/1")
class RotateAdmins:
    """Signed by enough of the present administrators and by all the new ones."""

    organisation: str
    admins: tuple[bytes, ...]
    threshold: int


@message("identity.move/1")
class Move:
    """Signed by the node itself: it listens somewhere else now."""

    address: str


@message("identity.organisation/1")
class Organisation:
    """Record of an organisation; status active or expelled."""

    name: str
    title: str
    kind: str
    admins: tuple[bytes, ...]
    threshold: int
    status: str
    since: int


@message("identity.node/1")
class Node:
    """Record of a node; status active, rotated or revoked."""

    organisation: str
    key: bytes
    certificate: bytes
    address: str
    seal_key: bytes
    status: str
    since: int


@message("identity.user/1")
class User:
    """Record of a user; status active, rotated or revoked."""

    organisation: str
    key: bytes
    roles: tuple[str, ...]
    seal_key: bytes
    status: str
    since: int


@message("identity.invitation/1")
class Invitation:
    """Record of an invitation; status open, used or void. `voted`: a vote opened it, not one organisation."""

    by: str
    key: bytes
    certificate: bytes
    organisation: str
    kind: str
    expires: int
    voted: bool
    status: str


@message("identity.binding/1")
class Binding:
    """What a key is bound to, for ever: admin, node, user, validator or invitation, of which organisation."""

    use: str
    organisation: str
