"""What identity transactions do."""

from __future__ import annotations

from fondaco.core.messages import altered
from fondaco.core.sealed import is_seal_key
from fondaco.ledger.contracts.governance import keys as governance_keys
from fondaco.ledger.contracts.governance.errors import VoteNeeded
from fondaco.ledger.contracts.governance.parameters import parameters
from fondaco.ledger.contracts.identity import authority, keys
from fondaco.ledger.contracts.identity import messages as m
from fondaco.ledger.contracts.identity.errors import Conflict, Denied, Invalid, Unknown, WrongStatus
from fondaco.ledger.contracts.kit import Context, distinct, is_name, is_text, load, save

CONTRACT = "identity"
MAX_CERTIFICATE = 2048
MAX_ADMINS = 16
MAX_USERS = 64
MAX_INVITATION_SECONDS = 90 * 86400


def bind(ctx: Context, key: bytes, use: str, organisation: str) -> None:
    """Bind a key to one use, for ever."""
    if len(key) != 32:
        raise Invalid("a key is 32 bytes")
    if ctx.store.get(keys.binding(key)) is not None:
        raise Conflict("this key was registered before; a key serves one thing, once")
    save(ctx.store, keys.binding(key), m.Binding(use=use, organisation=organisation))


def _check_possession(ctx: Context, *registered: bytes) -> None:
    """Whoever registers a key holds it: else a key that was seen elsewhere could be taken from its holder for ever."""
    if any(key not in ctx.signers for key in registered):
        raise Denied("a key that is registered signs its registration", remedy="sign with each of the new keys too")


def _check_node(node: m.NodeSpec) -> None:
    if not 1 <= len(node.certificate) <= MAX_CERTIFICATE or not is_seal_key(node.seal_key):
        raise Invalid("a node has a certificate of at most 2 KiB and a seal key that can be sealed to")
    _check_address(node.address)


def _check_address(address: str) -> None:
    host, colon, port = address.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    if not colon or not host or not is_text(address, 256) or not 1 <= number <= 65535:
        raise Invalid("an address is host:port")


def _check_user(user: m.UserSpec) -> None:
    known = user.roles and distinct(user.roles) and all(role in m.ROLES for role in user.roles)
    if not known or not is_seal_key(user.seal_key):
        raise Invalid("a user has a seal key that can be sealed to and one or more known roles, each once")


def _put_node(ctx: Context, organisation: str, node: m.NodeSpec) -> None:
    _check_node(node)
    bind(ctx, node.key, "node", organisation)
    record = m.Node(
        organisation=organisation,
        key=node.key,
        certificate=node.certificate,
        address=node.address,
        seal_key=node.seal_key,
        status=authority.ACTIVE,
        since=ctx.height,
    )
    save(ctx.store, keys.node(node.key), record)


def _put_user(ctx: Context, organisation: str, user: m.UserSpec) -> None:
    _check_user(user)
    bind(ctx, user.key, "user", organisation)
    record = m.User(
        organisation=organisation,
        key=user.key,
        roles=user.roles,
        seal_key=user.seal_key,
        status=authority.ACTIVE,
        since=ctx.height,
    )
    save(ctx.store, keys.user(user.key), record)


def _check_admins(admins: tuple[bytes, ...], threshold: int) -> None:
    if not 1 <= len(admins) <= MAX_ADMINS or not distinct(admins) or not 1 <= threshold <= len(admins):
        raise Invalid("an organisation has 1 to 16 different administrators and a threshold within their number")


def create(ctx: Context, spec: m.OrganisationSpec) -> None:
    """Make an organisation with its first node and users; used by genesis and by joining."""
    if not is_name(spec.name) or not is_text(spec.title, 200) or spec.kind not in m.KINDS:
        raise Invalid("an organisation has a name in lower-case letters, a short title and a known kind")
    if ctx.store.get(keys.organisation(spec.name)) is not None:
        raise Conflict(f"{spec.name} is there already")
    _check_admins(spec.admins, spec.threshold)
    if len(spec.users) > MAX_USERS:
        raise Invalid("too many users at once")
    for key in spec.admins:
        bind(ctx, key, "admin", spec.name)
    record = m.Organisation(
        name=spec.name,
        title=spec.title,
        kind=spec.kind,
        admins=spec.admins,
        threshold=spec.threshold,
        status=authority.ACTIVE,
        since=ctx.height,
    )
    save(ctx.store, keys.organisation(spec.name), record)
    _put_node(ctx, spec.name, spec.node)
    for user in spec.users:
        _put_user(ctx, spec.name, user)
    ctx.emit(CONTRACT, "joined", organisation=spec.name, organisation_kind=spec.kind, node=spec.node.key)


def invite(ctx: Context, msg: m.Invite) -> None:
    """Open an invitation."""
    authority.admins(ctx, msg.by)
    if parameters(ctx.store).admission_by_vote:
        raise VoteNeeded("an institution is admitted by a vote here", remedy="propose to admit it")
    _check_possession(ctx, msg.key)
    open_invitation(ctx, msg, voted=False)


def check_invitation(ctx: Context, msg: m.Invite) -> None:
    """Raise unless an invitation is sound."""
    if not is_name(msg.organisation) or msg.kind not in m.KINDS:
        raise Invalid("an invitation names an organisation and a known kind")
    if not 1 <= len(msg.certificate) <= MAX_CERTIFICATE:
        raise Invalid("an invitation has a certificate of at most 2 KiB")
    if not ctx.time < msg.expires <= ctx.time + MAX_INVITATION_SECONDS:
        raise Invalid("an invitation ends within 90 days")
    if ctx.store.get(keys.organisation(msg.organisation)) is not None:
        raise Conflict(f"{msg.organisation} is there already")


def open_invitation(ctx: Context, msg: m.Invite, *, voted: bool) -> None:
    """Open an invitation; `invite` comes here, and the vote that admits."""
    check_invitation(ctx, msg)
    bind(ctx, msg.key, "invitation", msg.organisation)
    record = m.Invitation(
        by=msg.by,
        key=msg.key,
        certificate=msg.certificate,
        organisation=msg.organisation,
        kind=msg.kind,
        expires=msg.expires,
        voted=voted,
        status="open",
    )
    save(ctx.store, keys.invitation(msg.key), record)
    ctx.emit(CONTRACT, "invited", organisation=msg.organisation, by=msg.by, invitation=msg.key)


def join(ctx: Context, msg: m.Join) -> None:
    """Use an invitation, once. Who was not admitted by vote has no weight in votes until a vote gives it one."""
    found = load(ctx.store, m.Invitation, keys.invitation(msg.invitation))
    spec = msg.organisation
    if found is None or msg.invitation not in ctx.signers:
        raise Denied("the holder of the invitation did not sign")
    if found.status != "open" or ctx.time >= found.expires:
        raise WrongStatus("the invitation was used or has expired", remedy="ask for a new invitation")
    if (found.organisation, found.kind) != (spec.name, spec.kind):
        raise Denied("the invitation is for another organisation")
    _check_possession(ctx, *spec.admins, spec.node.key, *(user.key for user in spec.users))
    save(ctx.store, keys.invitation(msg.invitation), altered(found, status="used"))
    create(ctx, spec)
    if not found.voted:
        # One institution alone invites whom it likes, as often as it likes: its guests must not outvote the others.
        governance_keys.put_weight(ctx.store, spec.name, 0)


def cancel_invitation(ctx: Context, msg: m.CancelInvitation) -> None:
    """Take an invitation back that nobody has used."""
    found = load(ctx.store, m.Invitation, keys.invitation(msg.invitation))
    if found is None:
        raise Unknown("no such invitation")
    authority.admins(ctx, found.by)
    if found.status != "open":
        raise WrongStatus(f"the invitation is {found.status}")
    save(ctx.store, keys.invitation(msg.invitation), altered(found, status="void"))
    ctx.emit(CONTRACT, "invitation-void", organisation=found.organisation, by=found.by, invitation=found.key)


def _retire(ctx: Context, organisation: str, key: bytes, status: str) -> str:
    for record, where in (
        (load(ctx.store, m.Node, keys.node(key)), keys.node(key)),
        (load(ctx.store, m.User, keys.user(key)), keys.user(key)),
    ):
        if record is not None:
            if record.organisation != organisation:
                raise Denied("the key is another organisation's")
            if record.status != authority.ACTIVE:
                raise WrongStatus("the key is retired already")
            save(ctx.store, where, altered(record, status=status))
            return "node" if isinstance(record, m.Node) else "user"
    raise Unknown("no node or user has this key")


def put_node(ctx: Context, msg: m.PutNode) -> None:
    """Add or rotate a node."""
    authority.admins(ctx, msg.organisation)
    _check_possession(ctx, msg.node.key)
    if msg.replaces is not None and _retire(ctx, msg.organisation, msg.replaces, "rotated") != "node":
        raise Invalid("a node replaces a node")
    _put_node(ctx, msg.organisation, msg.node)
    ctx.emit(CONTRACT, "node", organisation=msg.organisation, key=msg.node.key, replaces=msg.replaces or b"")


def put_user(ctx: Context, msg: m.PutUser) -> None:
    """Add or rotate a user."""
    authority.admins(ctx, msg.organisation)
    _check_possession(ctx, msg.user.key)
    if msg.replaces is not None and _retire(ctx, msg.organisation, msg.replaces, "rotated") != "user":
        raise Invalid("a user replaces a user")
    _put_user(ctx, msg.organisation, msg.user)
    ctx.emit(CONTRACT, "user", organisation=msg.organisation, key=msg.user.key, replaces=msg.replaces or b"")


def revoke(ctx: Context, msg: m.Revoke) -> None:
    """Void a key."""
    authority.admins(ctx, msg.organisation)
    use = _retire(ctx, msg.organisation, msg.key, "revoked")
    ctx.emit(CONTRACT, "revoked", organisation=msg.organisation, key=msg.key, use=use)


def rotate_admins(ctx: Context, msg: m.RotateAdmins) -> None:
    """Change the administrators; keys that stay are kept, the others never come back."""
    found = authority.admins(ctx, msg.organisation)
    _check_admins(msg.admins, msg.threshold)
    for key in msg.admins:
        if key not in ctx.signers:
            raise Denied("every new administrator signs too")
        if key not in found.admins:
            bind(ctx, key, "admin", msg.organisation)
    changed = altered(found, admins=msg.admins, threshold=msg.threshold)
    save(ctx.store, keys.organisation(msg.organisation), changed)
    ctx.emit(CONTRACT, "admins", organisation=msg.organisation, count=len(msg.admins), threshold=msg.threshold)


def move(ctx: Context, msg: m.Move) -> None:
    """A node listens somewhere else."""
    found = authority.node(ctx)
    _check_address(msg.address)
    save(ctx.store, keys.node(found.key), altered(found, address=msg.address))
    ctx.emit(CONTRACT, "moved", organisation=found.organisation, node=found.key)


HANDLERS = (
    (m.Invite, invite),
    (m.Join, join),
    (m.CancelInvitation, cancel_invitation),
    (m.PutNode, put_node),
    (m.PutUser, put_user),
    (m.Revoke, revoke),
    (m.RotateAdmins, rotate_admins),
    (m.Move, move),
)
