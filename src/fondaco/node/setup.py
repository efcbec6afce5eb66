"""Beginning: a new node's keys, a new consortium's genesis, invitations, and joining by one.

An invitation is a file with the genesis, where the validator is and the certificate that it will show, and a key
that admits one organisation once. It goes to the invited institution by hand; whoever has it can join as that
organisation, so it is as secret as a key until it is used.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import dataclasses
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from fondaco.core.keys import PublicKey, SecretKey
from fondaco.core.messages import from_bytes, message, to_bytes, to_value
from fondaco.core.names import check_part
from fondaco.errors import (
    CodecError,
    DeadlineExceeded,
    LedgerError,
    NodeError,
    PeerLost,
    PeerRefused,
    UsageError,
    not_allowed,
)
from fondaco.ledger.blocks import Validator
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.governance.messages import Seat
from fondaco.ledger.contracts.governance.parameters import DEFAULTS
from fondaco.ledger.contracts.identity.messages import KINDS, Invite, Join, NodeSpec, OrganisationSpec, UserSpec
from fondaco.ledger.contracts.kit import is_text
from fondaco.ledger.follower import FollowerLedger
from fondaco.ledger.genesis import Genesis
from fondaco.node import keystore
from fondaco.node.directory import StaticDirectory
from fondaco.node.folder import REGULATOR_ROLES, USER_ROLES, Folder, Settings
from fondaco.node.ledgers import LedgerService
from fondaco.node.node import GENESIS
from fondaco.transport.endpoint import Endpoint
from fondaco.transport.identity import PeerIdentity, make_certificate

_log = logging.getLogger(__name__)
POWER = 10
MAX_TITLE = 200
_JOIN_SECONDS = 20
_MAX_INVITATION = 1 << 20
INVITATION_SECONDS = 7 * 86400


@message("invitation/1")
class Invitation:
    """What is in an invitation file."""

    organisation: str
    kind: str
    seed: bytes
    genesis: bytes
    validator_key: bytes
    validator_address: str
    validator_certificate: bytes


def check_kind(kind: str) -> str:
    """The same kind if an institution can be of it.

    Raises:
        UsageError: it cannot.
    """
    if kind not in KINDS:
        raise UsageError(f"an institution is no {kind[:40]}", remedy=f"give one of: {', '.join(KINDS)}")
    return kind


def new_folder(path: Path, *, org: str, title: str, kind: str, host: str, port: int) -> Folder:
    """A node's folder with its keys and users, not yet of any consortium.

    Raises:
        NodeError: there is a node already. UsageError: no such kind, title or port. NamingError: not a name.
    """
    check_part(org)
    check_kind(kind)
    if not title.strip() or not is_text(title, MAX_TITLE):
        raise UsageError(
            f"not a title: it is one line of up to {MAX_TITLE} bytes", remedy="give the institution's full name"
        )
    if not 0 < port < 1 << 16:
        raise UsageError("a port is a number from 1 to 65535", remedy="give another, or 0 for one that is free")
    folder = Folder.create(path)
    for user in USER_ROLES | (REGULATOR_ROLES if kind == "regulator" else {}):
        folder.add_user(user)
    folder.save(Settings(org=org, title=title, kind=kind, chain="", host=host, port=port, validator=False))
    return folder


def organisation_spec(folder: Folder) -> OrganisationSpec:
    """What the ledger is told of the institution of this folder: public keys alone."""
    settings = folder.settings()
    roles = USER_ROLES | (REGULATOR_ROLES if settings.kind == "regulator" else {})
    users = tuple(
        UserSpec(key=folder.user_key(name).public.raw, roles=roles[name], seal_key=folder.user_seal(name).public)
        for name in folder.user_names()
        if name in roles
    )
    key = folder.node_key
    node = NodeSpec(
        key=key.public.raw,
        certificate=make_certificate(key, name=settings.org),
        address=f"{settings.host}:{settings.port}",
        seal_key=folder.seal_key.public,
    )
    return OrganisationSpec(
        name=settings.org,
        title=settings.title,
        kind=settings.kind,
        admins=(folder.admin_key.public.raw,),
        threshold=1,
        node=node,
        users=users,
    )


def _registered(folder: Folder) -> tuple[SecretKey, ...]:
    """The secrets of the keys that `organisation_spec` registers, beside the administrator's: each signs the join."""
    roles = USER_ROLES | (REGULATOR_ROLES if folder.settings().kind == "regulator" else {})
    return (folder.node_key, *(folder.user_key(name) for name in folder.user_names() if name in roles))


def found(folder: Folder, *, chain: str) -> Genesis:
    """Found a consortium: this node is its validator and first organisation.

    Raises:
        NamingError: not a name for a chain.
    """
    check_part(chain)
    settings = folder.settings()
    validator = keystore.new_signing_key(folder.keys / "validator.key")
    state = registry.GenesisState(
        organisations=(organisation_spec(folder),),
        allotments={},
        # An embedded ledger has one validator; the vote may replace it, and no vote can add one that cannot join.
        rules=dataclasses.replace(DEFAULTS, most_validators=1),
        seats=(Seat(organisation=settings.org, key=validator.public.raw, power=POWER),),
    )
    genesis = Genesis(
        chain=chain,
        time=time.time_ns(),
        validators=(Validator(key=validator.public.raw, power=POWER),),
        state=to_value(state),
    )
    key = folder.node_key
    pin(
        folder,
        genesis,
        settings,
        validator=True,
        validator_key=key.public,
        address=f"{settings.host}:{settings.port}",
        certificate=make_certificate(key, name=settings.org),
    )
    return genesis


def pin(
    folder: Folder,
    genesis: Genesis,
    settings: Settings,
    *,
    validator: bool,
    validator_key: PublicKey,
    address: str,
    certificate: bytes,
) -> None:
    """Fix which chain this node is of, and where it finds the node that admits to it."""
    (folder.ledger / GENESIS).write_bytes(to_bytes(genesis))
    folder.save(
        dataclasses.replace(
            settings,
            chain=genesis.chain,
            validator=validator,
            genesis_hash=genesis.hash.hex(),
            validator_did=validator_key.did,
            validator_address=address,
            validator_certificate=base64.b64encode(certificate).decode(),
        )
    )


def make_invitation(folder: Folder, *, organisation: str, kind: str) -> tuple[Invite, SecretKey, bytes]:
    """The transaction that opens an invitation, the invitation's key, which signs it, and the bytes of the file."""
    check_part(organisation)
    check_kind(kind)
    settings = folder.settings()
    secret = SecretKey.generate()
    invite = Invite(
        by=settings.org,
        key=secret.public.raw,
        certificate=make_certificate(secret, name=organisation),
        organisation=organisation,
        kind=kind,
        expires=int(time.time()) + INVITATION_SECONDS,
    )
    invitation = Invitation(
        organisation=organisation,
        kind=kind,
        seed=secret.seed,
        genesis=(folder.ledger / GENESIS).read_bytes(),
        validator_key=PublicKey.from_did(settings.validator_did).raw,
        validator_address=settings.validator_address,
        validator_certificate=base64.b64decode(settings.validator_certificate),
    )
    return invite, secret, base64.b64encode(to_bytes(invitation))


@contextlib.contextmanager
def new_invitation(path: Path, data: bytes) -> Iterator[None]:
    """Write an invitation to a new file, mode 0600, never over another, before the ledger hears of it.

    Where the work within is refused, the file is gone again; where it is only late, it may still be done.

    Raises:
        NodeError: there is a file of this name, or none can be made there.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data + b"\n")
    except FileExistsError as fault:
        raise NodeError("there is a file of this name", remedy="choose another name", file=str(path)) from fault
    except OSError as fault:
        raise not_allowed(fault) from fault
    try:
        yield
    except LedgerError:
        path.unlink()
        raise


def read_invitation(path: Path) -> Invitation:
    """The invitation in a file.

    Raises:
        NodeError: missing, or not an invitation.
    """
    remedy = "ask for the invitation file again"
    try:
        text = path.read_bytes()
    except OSError as fault:
        raise NodeError("the invitation cannot be read", remedy=remedy, file=str(path)) from fault
    if len(text) > _MAX_INVITATION:
        raise NodeError("not an invitation", remedy=remedy, file=str(path))
    try:
        data = base64.b64decode(text.strip(), validate=True)
    except binascii.Error as fault:
        raise NodeError("not an invitation", remedy=remedy, file=str(path)) from fault
    try:
        return from_bytes(Invitation, data, limit=_MAX_INVITATION)
    except CodecError as fault:
        raise NodeError("an invitation that is cut or changed", remedy=remedy, file=str(path)) from fault


def _service(folder: Folder, ledger: FollowerLedger, secret: SecretKey, validator: PeerIdentity) -> _Attached:
    endpoint = Endpoint(
        secret=secret,
        certificate=make_certificate(secret, name=folder.settings().org),
        host="127.0.0.1",
        port=0,
        directory=StaticDirectory([validator]),
    )
    service = LedgerService(ledger, validator=validator.did, own=secret.public.did)
    service.start(endpoint)
    return _Attached(service, endpoint)


@dataclasses.dataclass(frozen=True)
class _Attached:
    service: LedgerService
    endpoint: Endpoint


async def _join(folder: Folder, invitation: Invitation) -> int:
    """As a guest, with the invitation's key: catch up and send the join; as a node, with our own: see it done.

    The validator ends a guest's link when its invitation is used, so the answer may not arrive; the ledger tells.
    """
    secret = SecretKey.from_seed(invitation.seed)
    did = PublicKey(invitation.validator_key).did
    validator = PeerIdentity(did, invitation.validator_certificate, invitation.validator_address)
    ledger = FollowerLedger(folder.ledger, from_bytes(Genesis, invitation.genesis), registry)
    try:
        guest = _service(folder, ledger, secret, validator)
        try:
            await _catch_up(guest.service)
            msg = Join(invitation=secret.public.raw, organisation=organisation_spec(folder))
            await guest.service.send(msg, folder.admin_key, secret, *_registered(folder))
        except (PeerLost, PeerRefused) as fault:
            _log.info("the link of the invitation ended: %s", fault.cause)
        finally:
            await guest.endpoint.stop()
        member = _service(folder, ledger, folder.node_key, validator)
        try:
            return await _until_joined(member.service, folder.node_key.public.raw)
        except PeerRefused as fault:
            raise PeerRefused(
                "the consortium does not know this node: the invitation was used before, is over or was cancelled",
                remedy="ask for a new invitation",
                **fault.details,
            ) from fault
        finally:
            await member.endpoint.stop()
    finally:
        ledger.close()


async def _catch_up(service: LedgerService) -> None:
    height = -1
    while height != service.ledger.height:
        height = service.ledger.height
        await service.catch_up_once()


async def _until_joined(service: LedgerService, key: bytes) -> int:
    deadline = time.monotonic() + _JOIN_SECONDS
    while service.ledger.query("identity/node", {"id": key}) is None:
        if time.monotonic() > deadline:
            raise DeadlineExceeded(
                "the ledger does not have this organisation",
                remedy="ask for a new invitation",
                seconds=_JOIN_SECONDS,
            )
        await service.catch_up_once()
    return service.ledger.height


def join(folder: Folder, invitation: Invitation) -> int:
    """Join by an invitation; the height at which the ledger has this organisation.

    Raises:
        NodeError: the invitation is for another organisation.
        PeerLost, PeerRefused: the validator cannot be reached, or the invitation is no longer good.
    """
    settings = folder.settings()
    if (invitation.organisation, invitation.kind) != (settings.org, settings.kind):
        raise NodeError(
            f"the invitation is for {invitation.organisation} ({invitation.kind}), "
            f"and this node is of {settings.org} ({settings.kind})",
            remedy="ask for one of your own, or make another folder with the --org and --kind of the invitation",
        )
    genesis = from_bytes(Genesis, invitation.genesis)
    height = asyncio.run(_join(folder, invitation))
    pin(
        folder,
        genesis,
        settings,
        validator=False,
        validator_key=PublicKey(invitation.validator_key),
        address=invitation.validator_address,
        certificate=invitation.validator_certificate,
    )
    return height
