"""Audit: queries over the chain's events with their proofs, and bundles of everything, of a task or of a selection.

Who asks is this institution, as what the ledger has it as: a regulator is shown all events, a member those that are
public by kind and those that it is a party of (`fondaco.ledger.audit.dimensions.visible`).
"""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path

from fondaco.core.keys import PublicKey
from fondaco.core.messages import from_value
from fondaco.core.names import DatasetName
from fondaco.errors import NodeError, UsageError
from fondaco.index import audit
from fondaco.ledger.audit.answer import Shown
from fondaco.ledger.audit.bundle import export
from fondaco.ledger.audit.dimensions import DATASET, INSTITUTION, PURPOSE, TASK, Selection, Viewer
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.identity.messages import Organisation
from fondaco.node.control import Json, Progress, Verb
from fondaco.node.verbs.common import PROOF_SECONDS, Group, parse_id, plain

_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_NANOS = 1_000
_CONTRACTS = sorted({kind.partition(".")[0] for kind in registry.kinds()} | {"ledger"})


def parse_selection(arguments: Json) -> Selection:
    """What a person asks for.

    Raises:
        NodeError, KeyMaterialError, NamingError: an id, a key, a time, a kind or a dataset's name is none.
    """
    dataset, kind = str(arguments.get("dataset") or ""), str(arguments.get("kind") or "")
    if dataset:
        DatasetName.parse(dataset)
    # What nothing can be of would be found as "no events", and be read as "it did not happen".
    if kind and kind.partition(".")[0] not in _CONTRACTS:
        raise UsageError(
            f"no event is of the kind {kind[:80]}", remedy=f"give one of: {', '.join(_CONTRACTS)}, or KIND.EVENT"
        )
    heights: dict[str, int | None] = {}
    for name in ("since", "until"):
        text = str(arguments.get(name) or "")
        heights[f"{name}_height"] = int(text) if text.isdecimal() else None
        heights[f"{name}_time"] = None if not text or text.isdecimal() else _time(text)
    person = str(arguments.get("did") or "")
    key = PublicKey.from_did(person).raw if person.startswith("did:") else parse_id(person)
    return Selection(
        institution=arguments.get("institution") or None,
        dataset=dataset or None,
        key=key or None,
        task=parse_id(str(arguments.get("task") or "")) or None,
        purpose=arguments.get("purpose") or None,
        kind=kind or None,
        **heights,
    )


def _time(text: str) -> int:
    """Nanoseconds since 1970 of an ISO 8601 time, UTC where it says nothing else."""
    try:
        read = datetime.datetime.fromisoformat(text)
    except ValueError as fault:
        raise NodeError(
            "neither a height nor a time", remedy="give a height, or a time as 2026-01-31T12:00:00", given=text[:80]
        ) from fault
    aware = read if read.tzinfo is not None else read.replace(tzinfo=datetime.UTC)
    return (aware - _EPOCH) // _MICROSECOND * _NANOS


def time_text(time: int) -> str:
    """A block's time (nanoseconds since 1970) in ISO 8601, UTC, to the second."""
    return (_EPOCH + time // _NANOS * _MICROSECOND).isoformat(timespec="seconds")


def _row(shown: Shown) -> Json:
    """A proven event for a person; `institutions` and the like are those of its task or grant too."""

    def named(dimension: str) -> list[str]:
        return sorted(value for known, value in shown.marks if known == dimension)

    event = shown.event
    return {
        "number": event.number,
        "height": event.height,
        "time": time_text(shown.time),
        "kind": event.kind,
        "institutions": named(INSTITUTION),
        "datasets": [name for name in named(DATASET) if "@" in name],
        "tasks": named(TASK),
        "purposes": named(PURPOSE),
        "signers": [PublicKey(signer).did for signer in shown.signers],
        "says": {name: plain(value) for name, value in event.attributes.items()},
    }


class AuditVerbs(Group):
    """Looking back."""

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {"audit": self.audit, "audit-query": self.query}

    def _viewer(self) -> Viewer:
        rows = self._ledger.query("identity/organisations")
        known = [from_value(Organisation, row) for row in rows] if isinstance(rows, list) else []
        role = next((found.kind for found in known if found.name == self._org and found.status == "active"), "")
        return Viewer(self._org, regulator=role == "regulator")

    async def query(self, arguments: Json, _progress: Progress) -> Json:
        """A page of the events that are asked for, each proven against the pinned trust root."""
        selection, viewer = parse_selection(arguments), self._viewer()
        await asyncio.to_thread(self._ledger.wait_provable, PROOF_SECONDS)
        page = await asyncio.to_thread(
            audit.ask,
            self._ledger,
            self._node.history,
            selection,
            viewer,
            after=int(arguments.get("after", -1)),
            limit=int(arguments.get("limit", 50)),
        )
        if arguments.get("file"):
            await asyncio.to_thread(Path(arguments["file"]).write_bytes, page.proof)
        return {
            "events": [_row(shown) for shown in page.found.events],
            "next": page.next,
            "seen_as": "regulator" if viewer.regulator else f"member {viewer.organisation}",
            "proven_at": page.found.height,
            "proof_bytes": len(page.proof),
            "trust_root": self._ledger.genesis.hash.hex(),
        }

    async def audit(self, arguments: Json, _progress: Progress) -> Json:
        """Write an audit bundle of everything, of one task, or of what is selected."""
        await asyncio.to_thread(self._ledger.wait_provable, PROOF_SECONDS)
        data = await asyncio.to_thread(self._export, arguments)
        target = Path(arguments["file"])
        await asyncio.to_thread(target.write_bytes, data)
        return {"file": str(target), "bytes": len(data), "trust_root": self._ledger.genesis.hash.hex()}

    def _export(self, arguments: Json) -> bytes:
        cosigned = self._node.witness.cosigned()
        if arguments.get("select"):
            selection = parse_selection(arguments)
            chosen = audit.select(self._ledger, self._node.history, selection, self._viewer())
            return export(self._ledger, self._node.key, events=chosen, cosigned=cosigned)
        task = parse_id(arguments["task"]) if arguments.get("task") else None
        return export(self._ledger, self._node.key, task=task, cosigned=cosigned)
