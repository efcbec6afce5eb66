"""The node itself: status, stop, invitations."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fondaco.core.messages import from_value
from fondaco.errors import LedgerError
from fondaco.ledger.cometbft.driver import SAYS, CometLedger
from fondaco.ledger.contracts.governance.messages import Seat
from fondaco.ledger.contracts.identity.messages import Organisation
from fondaco.node import setup
from fondaco.node.control import Json, Progress, Verb
from fondaco.node.verbs.common import Group


class HouseVerbs(Group):
    """About the node and its ledger."""

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {
            "status": self.status,
            "stop": self.stop,
            "invite": self.invite,
        }

    async def status(self, _arguments: Json, _progress: Progress) -> Json:
        """Who, where, how far."""
        at = self._ledger.status()
        trouble = self._node.service.trouble
        ledger, said = self._ledger, "" if trouble is None else trouble.cause
        if isinstance(ledger, CometLedger):
            said = said or ledger.trouble or ""
            said = said or await asyncio.to_thread(self._standstill, ledger)
        signs = [validator.key for validator in ledger.validators_at(at.height + 1)]
        return {
            "organisation": self._org,
            "title": self._node.settings.title,
            "standing": self._standing(),
            "node": self._node.key.public.did,
            "port": self._node.endpoint.port,
            "chain": at.chain,
            "role": "validator" if self._node.settings.validator else "follower",
            # A follower of several validators follows what they decide, and itself decides nothing.
            "ledger": SAYS if len(signs) > 1 else at.says,
            "height": at.height,
            "app_hash": at.app_hash.hex(),
            "trust_root": self._ledger.genesis.hash.hex(),
            "validators": len(signs),
            "signs": self._node.settings.validator and self._node.folder.validator_key.public.raw in signs,
            "trouble": said,
            "datasets": [str(name) for name, _cid in self._node.vault.names()],
        }

    def _standstill(self, ledger: CometLedger) -> str:
        """Why no block comes, with the institutions that are not heard; empty where none is due."""
        try:
            found = ledger.standstill()
        except LedgerError as fault:
            return fault.cause
        if found is None:
            return ""
        since = f"no block for {found.seconds} s"
        if found.fault:
            return f"{since}: {found.fault}"
        places = ledger.validators_at(found.height)
        if not found.peers and len(places) > 1:
            return f"{since}: CometBFT is linked to no other node; check the links, and that the others run"
        if not found.lacks_votes:
            return f"{since}, in round {found.round} of block {found.height}; look at CometBFT's log"
        rows = ledger.query("governance/seats")
        seats = [from_value(Seat, row) for row in rows] if isinstance(rows, list) else []
        known = {seat.key: seat.organisation for seat in seats}
        silent = [known.get(places[at].key, places[at].key.hex()[:16]) for at in found.unheard if at < len(places)]
        return (
            f"{since}: of {found.total} of the validators' power {found.heard} votes on block {found.height}, and more "
            f"than two thirds must; not heard: {', '.join(silent)}; start their nodes, or check the links to them"
        )

    def _standing(self) -> str:
        """What the ledger has this institution as: active, or ended."""
        rows = self._ledger.query("identity/organisations")
        known = [from_value(Organisation, row) for row in rows] if isinstance(rows, list) else []
        return next((found.status for found in known if found.name == self._org), "not known yet")

    async def stop(self, _arguments: Json, _progress: Progress) -> Json:
        """End the node in good order."""
        self._node.stopping.set()
        return {"stopping": True}

    async def invite(self, arguments: Json, _progress: Progress) -> Json:
        """Invite an organisation; the file is written here."""
        folder = self._node.folder
        msg, secret, data = setup.make_invitation(
            folder, organisation=arguments["organisation"], kind=arguments.get("kind", "member")
        )
        with setup.new_invitation(Path(arguments["file"]), data):
            answer = await self._node.service.submit(msg, folder.admin_key, secret)
        return {"organisation": msg.organisation, "file": arguments["file"], "height": answer.height}
