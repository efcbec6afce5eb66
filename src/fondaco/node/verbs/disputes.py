"""Certificates of use, and disputes about tasks."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from pathlib import Path

from fondaco.errors import NodeError
from fondaco.ledger.audit.certificate import export
from fondaco.ledger.contracts.certificates import messages as certificates
from fondaco.ledger.contracts.disputes import messages as disputes
from fondaco.ledger.contracts.settlement.messages import Settlement
from fondaco.node.control import Json, Progress, Verb
from fondaco.node.market import records
from fondaco.node.verbs.common import PROOF_SECONDS, Group, parse_id

SALT_BYTES = 32
MAX_EVIDENCE = 64 << 20


def commitment(salt: bytes, document: bytes) -> bytes:
    """The salted hash of a piece of evidence: SHA-256("fondaco/evidence" 0 | salt | document), salt of 32 bytes."""
    return hashlib.sha256(b"fondaco/evidence\x00" + salt + document).digest()


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as source:
            document = source.read(MAX_EVIDENCE + 1)
    except OSError as fault:
        raise NodeError("the document cannot be read", remedy="check the path", file=str(file)) from fault
    if len(document) > MAX_EVIDENCE:
        raise NodeError("the document is over 64 MiB", remedy="commit to a digest of it", file=str(file))
    return document


class DisputeVerbs(Group):
    """What follows a task: certificates, settlements, disputes."""

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {
            "certificates": self.certificates,
            "certificate-export": self.export_certificate,
            "certificate-revoke": self.revoke_certificate,
            "dispute-open": self.open,
            "dispute-evidence": self.evidence,
            "dispute-vote": self.vote,
            "disputes": self.disputes,
        }

    async def certificates(self, _arguments: Json, _progress: Progress) -> Json:
        """The certificates of uses that this institution made or gave; a regulator sees all."""
        return {
            "certificates": [
                {
                    "certificate": c.id.hex(),
                    "holder": c.holder,
                    "provider": c.provider,
                    "dataset": f"{c.path}@{c.version}",
                    "operations": list(c.operations),
                    "purpose": c.purpose,
                    "time": c.time,
                    "cost": c.cost,
                    "task": c.task.hex(),
                    "status": c.status,
                    "cause": c.cause,
                }
                for c in records(self._ledger, "certificates/certificates", certificates.Certificate)
                if self._org in (c.holder, c.provider) or self._node.settings.kind == "regulator"
            ]
        }

    async def export_certificate(self, arguments: Json, _progress: Progress) -> Json:
        """Write a certificate with its proof, for somebody who has no node."""
        await asyncio.to_thread(self._ledger.wait_provable, PROOF_SECONDS)
        data = await asyncio.to_thread(export, self._ledger, parse_id(arguments["certificate"]))
        target = Path(arguments["file"])
        await asyncio.to_thread(target.write_bytes, data)
        return {"file": str(target), "bytes": len(data), "trust_root": self._ledger.genesis.hash.hex()}

    async def revoke_certificate(self, arguments: Json, _progress: Progress) -> Json:
        """Revoke a certificate of a use of this institution's data, for a cause."""
        msg = certificates.RevokeCertificate(certificate=parse_id(arguments["certificate"]), cause=arguments["cause"])
        answer = await self._node.service.submit(msg, self._node.folder.user_key("reviewer"))
        return {"certificate": arguments["certificate"], "status": "revoked", "height": answer.height}

    async def open(self, arguments: Json, _progress: Progress) -> Json:
        """Contest a task: what it pays is frozen."""
        msg = disputes.Open(task=parse_id(arguments["task"]), cause=arguments["cause"])
        answer = await self._node.service.submit(msg, self._node.folder.user_key("analyst"))
        return {"task": arguments["task"], "status": "opened", "height": answer.height}

    async def evidence(self, arguments: Json, _progress: Progress) -> Json:
        """Commit to a document; show it with its salt to the arbiters, off the ledger."""
        document = await asyncio.to_thread(_read, Path(arguments["file"]))
        salt = secrets.token_bytes(SALT_BYTES)
        made = commitment(salt, document)
        msg = disputes.PutEvidence(task=parse_id(arguments["task"]), evidence=made)
        answer = await self._node.service.submit(msg, self._node.folder.user_key("analyst"))
        return {"task": arguments["task"], "evidence": made.hex(), "salt": salt.hex(), "height": answer.height}

    async def vote(self, arguments: Json, _progress: Progress) -> Json:
        """As an arbiter: how much goes back, and whether certificates are revoked."""
        msg = disputes.CastVote(
            by=self._org,
            task=parse_id(arguments["task"]),
            refund=int(arguments["refund"]),
            revoke=bool(arguments.get("revoke", False)),
        )
        answer = await self._node.service.submit(msg, self._node.folder.user_key("officer"))
        return {"task": arguments["task"], "height": answer.height}

    async def disputes(self, _arguments: Json, _progress: Progress) -> Json:
        """All disputes: who judges, until when, what came of them, and where the points are."""
        pays = {s.task: s for s in records(self._ledger, "settlement/settlements", Settlement)}
        return {
            "disputes": [
                {
                    "task": d.task.hex(),
                    "opener": d.opener,
                    "cause": d.cause,
                    "arbiters": list(d.arbiters),
                    "voted": [vote.arbiter for vote in d.votes],
                    "deadline": d.deadline,
                    "evidence": len(d.evidence),
                    "status": d.status,
                    "outcome": d.outcome,
                    "silent": list(d.silent),
                    "total": pays[d.task].total,
                    "refunded": pays[d.task].refunded,
                    "points": pays[d.task].status,
                }
                for d in records(self._ledger, "disputes/disputes", disputes.Dispute)
            ]
        }
