"""Governance: proposals with typed bodies, votes, and the short ways to mint and to vote yes or no."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from fondaco.core.codec import Value
from fondaco.core.messages import to_value
from fondaco.errors import NodeError, UsageError
from fondaco.ledger.contracts.governance import messages as governance
from fondaco.ledger.contracts.governance.effects import BODIES
from fondaco.ledger.contracts.kit import derive
from fondaco.node import setup
from fondaco.node.control import Json, Progress, Verb
from fondaco.node.verbs.common import Group, parse_id, plain

PREFIX = "governance."


def full_kind(kind: str) -> str:
    """The kind of a body that a person named: `mint` is `governance.mint/1`.

    Raises:
        NodeError: there is none of this name.
    """
    for known in BODIES:
        if kind in (known, known.removeprefix(PREFIX).partition("/")[0]):
            return known
    names = ", ".join(known.removeprefix(PREFIX).partition("/")[0] for known in BODIES)
    raise NodeError(f"nothing of the kind {kind} can be proposed", remedy=f"propose one of {names}")


def to_body(value: Any) -> Value:
    """The body that JSON describes: text that begins with `hex:` stands for bytes.

    Raises:
        NodeError: a number that is not whole, or hex that is none.
    """
    match value:
        case dict():
            return {str(name): to_body(item) for name, item in value.items()}
        case list():
            return [to_body(item) for item in value]
        case str() if value.startswith("hex:"):
            return parse_id(value.removeprefix("hex:"))
        case str() | bool() | int() | None:
            return value
    raise NodeError("a proposal holds text and whole numbers", remedy="write amounts in minor units")


def shown(value: Any) -> Any:
    """A record as JSON has it; bytes are hex."""
    match value:
        case dict():
            return {name: shown(item) for name, item in value.items()}
        case list():
            return [shown(item) for item in value]
    return plain(value)


class GovernanceVerbs(Group):
    """What the institutions vote on."""

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {
            "governance-propose": self.propose,
            "governance-vote": self.cast,
            "governance-list": self.list,
            "governance-show": self.show,
            "governance-withdraw": self.withdraw,
            "mint": self.mint,
            "vote": self.vote,
        }

    async def _propose(self, kind: str, body: dict[str, Value], title: str) -> Json:
        fields = {field.name: field for field in dataclasses.fields(BODIES[kind][0])}
        unknown, missing = sorted(set(body) - set(fields)), [name for name in fields if name not in body]
        if unknown or missing:
            told = ", ".join(f"{name} ({field.type})" for name, field in fields.items())
            raise UsageError(
                f"unknown fields {unknown}, missing fields {missing}",
                remedy=f"write each as name=value: {told}",
                kind=kind,
            )
        msg = governance.Propose(by=self._org, title=title, kind=kind, body=body)
        answer = await self._node.service.submit(msg, self._node.folder.user_key("officer"))
        return {"proposal": derive("proposal", answer.tx).hex(), "height": answer.height}

    async def propose(self, arguments: Json, _progress: Progress) -> Json:
        """Put a body to the vote; to admit an institution also writes its invitation file."""
        kind = full_kind(arguments["kind"])
        title = arguments.get("title") or kind.removeprefix(PREFIX).partition("/")[0]
        given = arguments["body"]
        if kind == "governance.admit/1" and "key" not in given:
            return await self._admit(given, title)
        body = to_body(given)
        if not isinstance(body, dict):
            raise NodeError("a proposal's body is an object", remedy="see docs/reference/contracts.md for its fields")
        if kind == "governance.parameters/1":  # what is not named stays
            now = self._ledger.query("governance/parameters")
            body = (now if isinstance(now, dict) else {}) | body
        return await self._propose(kind, body, title)

    async def _admit(self, given: Json, title: str) -> Json:
        lacks = [name for name in ("organisation", "file") if not isinstance(given.get(name), str)]
        if lacks:
            raise UsageError(
                f"an admission lacks {' and '.join(lacks)}",
                remedy="write: propose admit organisation=NAME file=WHERE, and kind=regulator for one",
            )
        file = Path(given["file"])
        invite, _secret, data = setup.make_invitation(
            self._node.folder, organisation=given["organisation"], kind=given.get("kind", "member")
        )
        body = governance.Admit(
            organisation=invite.organisation,
            kind=invite.kind,
            key=invite.key,
            certificate=invite.certificate,
            expires=invite.expires,
        )
        with setup.new_invitation(file, data):
            answer = await self._propose("governance.admit/1", to_value(body), title)
        return answer | {"file": str(file)}

    async def cast(self, arguments: Json, _progress: Progress) -> Json:
        """Vote on a proposal: yes, no, abstain or veto."""
        done = self._ledger.query("governance/votes", {"organisation": self._org})
        msg = governance.Vote(
            by=self._org,
            proposal=parse_id(arguments["proposal"]),
            choice=arguments["choice"],
            sequence=(done if isinstance(done, int) else 0) + 1,
        )
        answer = await self._node.service.submit(msg, self._node.folder.user_key("officer"))
        found = self._ledger.query("governance/proposal", {"id": msg.proposal})
        status = found["status"] if isinstance(found, dict) else ""
        weights = self._ledger.query("governance/weights")
        weight = weights.get(self._org, 0) if isinstance(weights, dict) else 0
        return {"proposal": arguments["proposal"], "height": answer.height, "status": status, "weight": weight}

    async def withdraw(self, arguments: Json, _progress: Progress) -> Json:
        """Take a proposal back before anyone has voted."""
        msg = governance.Withdraw(proposal=parse_id(arguments["proposal"]))
        answer = await self._node.service.submit(msg, self._node.folder.user_key("officer"))
        return {"proposal": arguments["proposal"], "height": answer.height}

    async def list(self, _arguments: Json, _progress: Progress) -> Json:
        """All proposals, in order of when they were made."""
        found = self._ledger.query("governance/proposals")
        rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
        names = ("id", "kind", "title", "by", "status", "opens", "closes", "decided")
        ordered = sorted(rows, key=lambda row: (row["since"], row["id"]))
        return {"proposals": [{name: plain(row[name]) for name in names} for row in ordered]}

    async def show(self, arguments: Json, _progress: Progress) -> Json:
        """One proposal with its votes; without an id all that is in force."""
        if arguments.get("proposal"):
            found = self._ledger.query("governance/proposal", {"id": parse_id(arguments["proposal"])})
            if found is None:
                raise NodeError("there is no such proposal", remedy="list the proposals")
            return {"proposal": shown(found)}
        parts = ("parameters", "shares", "prices", "quotas", "programs", "seats", "upgrades", "weights")
        return {part: shown(self._ledger.query(f"governance/{part}")) for part in parts}

    async def mint(self, arguments: Json, _progress: Progress) -> Json:
        """Propose to mint points."""
        return await self._propose("governance.mint/1", {"amounts": to_body(arguments["amounts"])}, "mint points")

    async def vote(self, arguments: Json, progress: Progress) -> Json:
        """Vote yes or no on a proposal."""
        choice = "yes" if arguments.get("approve", True) else "no"
        return await self.cast({"proposal": arguments["proposal"], "choice": choice}, progress)
