"""Requests, reviews, grants."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from fondaco.core.names import DatasetName
from fondaco.errors import NodeError, UsageError
from fondaco.ledger.contracts.grants import messages as grants
from fondaco.ledger.contracts.kit import derive
from fondaco.node.control import Json, Progress, Verb
from fondaco.node.market import records
from fondaco.node.verbs import words
from fondaco.node.verbs.common import DAY, Group, parse_id


def _limits(arguments: Json) -> grants.LookupLimits | None:
    """The limits of lookups in a verb's arguments; without most_keys there are none.

    Raises:
        NodeError: keys a day alone.
    """
    most, a_day = int(arguments.get("most_keys") or 0), int(arguments.get("keys_a_day") or 0)
    if a_day and not most:
        raise NodeError("keys a day are told with the most keys of one lookup", remedy="give --most-keys too")
    return grants.LookupLimits(most_keys=most, keys_a_day=a_day) if most else None


def _shown(limits: grants.LookupLimits | None) -> Json:
    return {
        "most_keys": None if limits is None else limits.most_keys,
        "keys_a_day": None if limits is None or not limits.keys_a_day else limits.keys_a_day,
    }


def _path_limits(path: str, limits: grants.LookupLimits | None) -> Json:
    return {"path": path, "limited": limits is not None} | _shown(limits)


class GrantVerbs(Group):
    """Asking for the use of data, and answering."""

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {
            "request": self.request,
            "requests": self.requests,
            "review": self.review,
            "limit": self.limit,
            "grants": self.grants,
            "revoke": self.revoke,
            "take-back": self.take_back,
            "give-back": self.give_back,
        }

    async def request(self, arguments: Json, _progress: Progress) -> Json:
        """Ask for the use of datasets."""
        items: list[grants.Item] = []
        for wanted in arguments["datasets"]:
            dataset = self._market.newest(DatasetName.parse(wanted["name"]))
            named = [*wanted.get("keys", []), *wanted.get("columns", [])]
            if not named:
                raise UsageError(
                    f"no column of {dataset.path} is asked for", remedy="write the name, then =KEY,… or =KEY,…/COLUMN,…"
                )
            for column in named:
                dataset.schema.column(column)
            items.append(
                grants.Item(
                    path=dataset.path,
                    version=dataset.version,
                    keys=tuple(wanted.get("keys", [])),
                    columns=tuple(wanted.get("columns", [])),
                )
            )
        msg = grants.RequestUse(
            items=tuple(items),
            operations=words.operations(arguments["operations"]),
            purpose=words.purposes([arguments["purpose"]])[0],
            parties=tuple(dict.fromkeys([*arguments["parties"], arguments.get("coordinator") or self._coordinator()])),
            receivers=tuple(arguments.get("receivers") or [self._org]),
            uses=int(arguments.get("uses", 1)),
            expires=int(time.time()) + int(arguments.get("days", 30)) * DAY,
            max_price=int(arguments.get("max_price", 0)),
        )
        answer = await self._node.service.submit(msg, self._node.folder.user_key("analyst"))
        return self._request(self._market.request(derive("request", answer.tx)))

    def _request(self, found: grants.Request) -> Json:
        return {
            "request": found.id.hex(),
            "organisation": found.organisation,
            "purpose": found.purpose,
            "operations": list(found.operations),
            "parties": list(found.parties),
            "receivers": list(found.receivers),
            "uses": found.uses,
            "expires": found.expires,
            "items": [
                {
                    "item": index,
                    "dataset": f"{item.path}@{item.version}",
                    "keys": list(item.keys),
                    "columns": list(item.columns),
                    "provider": found.providers[index],
                    "price": found.prices[index],
                    "answer": found.answers[index],
                }
                for index, item in enumerate(found.items)
            ],
        }

    async def requests(self, arguments: Json, _progress: Progress) -> Json:
        """Requests that wait for this institution's answer, or all that it made."""
        everything = records(self._ledger, "grants/requests", grants.Request)
        if arguments.get("mine"):
            return {"requests": [self._request(r) for r in everything if r.organisation == self._org]}
        waiting = [
            r
            for r in everything
            if any(p == self._org and a == "pending" for p, a in zip(r.providers, r.answers, strict=True))
        ]
        return {"requests": [self._request(r) for r in waiting]}

    async def review(self, arguments: Json, _progress: Progress) -> Json:
        """Answer this institution's items of a request."""
        found = self._market.request(parse_id(arguments["request"]))
        answered: list[int] = []
        said = _limits(arguments)
        for index, provider in enumerate(found.providers):
            if provider == self._org and found.answers[index] == "pending":
                answer: dict[str, Any] = {
                    "request": found.id,
                    "item": index,
                    "approve": bool(arguments["approve"]),
                    "reason": arguments.get("reason", ""),
                    "uses": int(arguments.get("uses") or found.uses),
                    "expires": found.expires,
                }
                msg: grants.Review | grants.ReviewLimits = grants.Review(**answer)
                if said is not None:
                    owners = self._market.limits_of_path(found.items[index].path)
                    if arguments.get("keys_a_day") is None and owners is not None:
                        said = dataclasses.replace(said, keys_a_day=owners.keys_a_day)
                    msg = grants.ReviewLimits(**answer, limits=said)
                await self._node.service.submit(msg, self._node.folder.user_key("reviewer"))
                answered.append(index)
        if not answered:
            raise NodeError(
                "nothing in this request waits for this institution", remedy="`fondaco review` lists what does"
            )
        return self._request(self._market.request(found.id)) | {"answered": answered}

    async def limit(self, arguments: Json, _progress: Progress) -> Json:
        """Show or say how many keys lookups may ask under grants to come of a path; `remove` takes that back.

        Raises:
            NodeError: a limit of nothing, keys a day alone, or limits together with their removal.
        """
        path = DatasetName.parse(arguments["name"]).path
        most, a_day = arguments.get("most_keys"), arguments.get("keys_a_day")
        remove = bool(arguments.get("remove", False))
        if most is None and a_day is None and not remove:
            return _path_limits(path, self._market.limits_of_path(path))
        if remove and (most is not None or a_day is not None):
            raise NodeError("limits are either said or removed", remedy="give --none alone, or leave it out")
        if most == 0:
            raise NodeError(
                "no lookup is for 0 keys", remedy="give --most-keys of 1 or more, or --none to remove limits"
            )
        limits = _limits(arguments)
        msg = grants.SetLookupLimits(path=path, limits=limits)
        answer = await self._node.service.submit(msg, self._node.folder.user_key("steward"))
        return _path_limits(path, limits) | {"height": answer.height}

    async def grants(self, _arguments: Json, _progress: Progress) -> Json:
        """The grants that this institution holds or gave."""
        return {
            "grants": [
                {
                    "grant": g.id.hex(),
                    "provider": g.provider,
                    "holder": g.holder,
                    "dataset": f"{g.path}@{g.version}",
                    "keys": list(g.keys),
                    "columns": list(g.columns),
                    "operations": list(g.operations),
                    "purpose": g.purpose,
                    "uses_left": g.uses_left,
                    "uses_total": g.uses_total,
                    "price": g.price,
                    "expires": g.expires,
                    "status": g.status,
                    "basis": g.basis,
                }
                | _shown(self._market.limits_of(g.id))
                for g in records(self._ledger, "grants/grants", grants.Grant)
                if self._org in (g.holder, g.provider) or self._node.settings.kind == "regulator"
            ]
        }

    async def revoke(self, arguments: Json, _progress: Progress) -> Json:
        """Void a grant that this institution gave."""
        msg = grants.RevokeGrant(grant=parse_id(arguments["grant"]), reason=arguments.get("reason", ""))
        answer = await self._node.service.submit(msg, self._node.folder.user_key("reviewer"))
        return {"grant": arguments["grant"], "status": "revoked", "height": answer.height}

    async def take_back(self, arguments: Json, _progress: Progress) -> Json:
        """Take back what is not answered yet of a request of this institution; its points are free again."""
        found = self._market.request(parse_id(arguments["request"]))
        if found.organisation != self._org:
            raise NodeError(f"the request is {found.organisation}'s", remedy="`fondaco requests` lists this one's own")
        answer = await self._node.service.submit(
            grants.WithdrawRequest(request=found.id), self._node.folder.user_key("analyst")
        )
        return self._request(self._market.request(found.id)) | {"height": answer.height}

    async def give_back(self, arguments: Json, _progress: Progress) -> Json:
        """End a grant that this institution holds; the points of the uses that are left are free again."""
        msg = grants.GiveBack(grant=parse_id(arguments["grant"]))
        held = next((g for g in records(self._ledger, "grants/grants", grants.Grant) if g.id == msg.grant), None)
        if held is not None and held.holder != self._org:
            raise NodeError(f"{held.holder} holds this grant", remedy="who gave a grant ends it with `fondaco revoke`")
        answer = await self._node.service.submit(msg, self._node.folder.user_key("analyst"))
        return {"grant": arguments["grant"], "status": "returned", "height": answer.height}
