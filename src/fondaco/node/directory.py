"""Who may connect: the active nodes of the ledger, and as guests the holders of open invitations."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypeVar

from fondaco.core.keys import PublicKey
from fondaco.core.messages import from_value
from fondaco.errors import PeerRefused
from fondaco.ledger.contracts.identity.messages import Invitation, Node, Organisation
from fondaco.ledger.reader import Ledger
from fondaco.transport.identity import PeerIdentity, public_key_of

_log = logging.getLogger(__name__)
T = TypeVar("T")


class StaticDirectory:
    """Peers that were told, not read: for joining, before there is a ledger here."""

    def __init__(self, identities: Sequence[PeerIdentity]) -> None:
        self._identities = tuple(identities)

    def trusted(self) -> Sequence[PeerIdentity]:
        """Those peers."""
        return self._identities

    def version(self) -> int:
        """Never changes."""
        return 0


class LedgerDirectory:
    """The peers that the ledger has now."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._identities: tuple[PeerIdentity, ...] = ()
        self._organisations: dict[str, str] = {}
        self._nodes: dict[str, str] = {}
        self._version = 0
        self.update()

    def trusted(self) -> Sequence[PeerIdentity]:
        """All peers that may connect."""
        return self._identities

    def version(self) -> int:
        """Counts the changes."""
        return self._version

    def node_of(self, org: str) -> str:
        """The did of an institution's active node.

        Raises:
            PeerRefused: it has none.
        """
        found = self._nodes.get(org)
        if found is None:
            raise PeerRefused("this institution has no active node", remedy="see the ledger", organisation=org)
        return found

    def org_of(self, did: str) -> str:
        """The institution of an active node.

        Raises:
            PeerRefused: there is no such node.
        """
        found = self._organisations.get(did)
        if found is None:
            raise PeerRefused("this is no active node", remedy="see the ledger", peer=did)
        return found

    def members(self) -> tuple[str, ...]:
        """The dids of all active nodes."""
        return tuple(self._organisations)

    def update(self) -> bool:
        """Read the ledger again; whether anything changed."""
        active = [
            org.name for org in _read(self._ledger, "identity/organisations", Organisation) if org.status == "active"
        ]
        nodes = [
            node
            for node in _read(self._ledger, "identity/nodes", Node)
            if node.status == "active" and node.organisation in active
        ]
        now = self._ledger.status().time // 1_000_000_000
        guests = [
            invitation
            for invitation in _read(self._ledger, "identity/invitations", Invitation)
            if invitation.status == "open" and now < invitation.expires
        ]
        found = [
            *(self._identity(n.key, n.certificate, n.address, guest=False) for n in nodes),
            *(self._identity(g.key, g.certificate, None, guest=True) for g in guests),
        ]
        identities = tuple(identity for identity in found if identity is not None)
        if identities == self._identities:
            return False
        self._identities = identities
        self._organisations = {PublicKey(n.key).did: n.organisation for n in nodes}
        self._nodes = {n.organisation: PublicKey(n.key).did for n in nodes}
        self._version += 1
        return True

    def _identity(self, key: bytes, certificate: bytes, address: str | None, *, guest: bool) -> PeerIdentity | None:
        public = PublicKey(key)
        try:
            certified = public_key_of(certificate)
        except PeerRefused as fault:
            _log.warning("the ledger has a certificate that is none, for %s: %s", public.did, fault.cause)
            return None
        if certified != public:
            _log.warning("the ledger has a certificate of another key for %s", public.did)
            return None
        return PeerIdentity(public.did, certificate, address, guest)


def _read(ledger: Ledger, path: str, cls: type[T]) -> list[T]:
    rows = ledger.query(path)
    return [from_value(cls, row) for row in rows] if isinstance(rows, list) else []
