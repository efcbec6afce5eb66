"""The market: demands, offers, matches, acceptance, and what both sides have of a deal."""

from __future__ import annotations

import time

from fondaco.core.codec import Value
from fondaco.core.messages import from_value
from fondaco.core.names import DatasetName
from fondaco.errors import LedgerError
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.market import messages as market
from fondaco.node.control import Json, Progress, Verb
from fondaco.node.market import records
from fondaco.node.verbs import words
from fondaco.node.verbs.common import DAY, Group, parse_id


class MarketVerbs(Group):
    """Seeking and offering."""

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {
            "demand": self.demand,
            "demands": self.demands,
            "demand-withdraw": self.withdraw_demand,
            "offer": self.offer,
            "offers": self.offers,
            "offer-withdraw": self.withdraw_offer,
            "offer-accept": self.accept,
            "matches": self.matches,
            "deals": self.deals,
        }

    async def demand(self, arguments: Json, _progress: Progress) -> Json:
        """Say what is sought."""
        msg = market.PutDemand(
            words=tuple(arguments.get("words", [])),
            columns=tuple(arguments.get("columns", [])),
            operations=words.operations(arguments["operations"]),
            purpose=words.purposes([arguments["purpose"]])[0],
            max_price=int(arguments.get("max_price", 0)),
            until=int(time.time()) + int(arguments.get("days", 30)) * DAY,
        )
        answer = await self._node.service.submit(msg, self._node.folder.user_key("analyst"))
        return {"demand": derive("demand", answer.tx).hex(), "height": answer.height}

    async def demands(self, _arguments: Json, _progress: Progress) -> Json:
        """All open demands."""
        return {
            "demands": [
                {
                    "demand": d.id.hex(),
                    "organisation": d.organisation,
                    "words": list(d.words),
                    "columns": list(d.columns),
                    "operations": list(d.operations),
                    "purpose": d.purpose,
                    "max_price": d.max_price,
                    "until": d.until,
                }
                for d in records(self._ledger, "market/demands", market.Demand)
                if d.status == "open"
            ]
        }

    async def withdraw_demand(self, arguments: Json, _progress: Progress) -> Json:
        """Seek it no longer."""
        msg = market.WithdrawDemand(demand=parse_id(arguments["demand"]))
        answer = await self._node.service.submit(msg, self._node.folder.user_key("analyst"))
        return {"demand": arguments["demand"], "status": "withdrawn", "height": answer.height}

    async def offer(self, arguments: Json, _progress: Progress) -> Json:
        """Offer a published dataset, standing or for one demand."""
        dataset = self._market.newest(DatasetName.parse(arguments["dataset"]))
        for column in (*(arguments.get("keys") or ()), *(arguments.get("columns") or ())):
            dataset.schema.column(column)
        now = int(time.time())
        msg = market.PutOffer(
            path=dataset.path,
            version=dataset.version,
            keys=tuple(arguments.get("keys") or ()),
            columns=tuple(arguments.get("columns") or ()),
            operations=words.operations(arguments["operations"]),
            purposes=words.purposes(arguments["purposes"]),
            price=int(arguments.get("price", dataset.terms.price)),
            uses=int(arguments.get("uses", 1)),
            until=now + int(arguments.get("days", 30)) * DAY,
            expires=now + int(arguments.get("grant_days", 60)) * DAY,
            demand=parse_id(arguments["demand"]) if arguments.get("demand") else None,
        )
        answer = await self._node.service.submit(msg, self._node.folder.user_key("reviewer"))
        return {"offer": derive("offer", answer.tx).hex(), "height": answer.height}

    async def offers(self, _arguments: Json, _progress: Progress) -> Json:
        """All open offers."""
        return {
            "offers": [
                {
                    "offer": o.id.hex(),
                    "provider": o.provider,
                    "dataset": f"{o.path}@{o.version}",
                    "keys": list(o.keys),
                    "columns": list(o.columns),
                    "operations": list(o.operations),
                    "purposes": list(o.purposes),
                    "price": o.price,
                    "uses": o.uses,
                    "until": o.until,
                    "demand": "" if o.demand is None else o.demand.hex(),
                }
                for o in records(self._ledger, "market/offers", market.Offer)
                if o.status == "open"
            ]
        }

    async def withdraw_offer(self, arguments: Json, _progress: Progress) -> Json:
        """Offer it no longer."""
        msg = market.WithdrawOffer(offer=parse_id(arguments["offer"]))
        answer = await self._node.service.submit(msg, self._node.folder.user_key("reviewer"))
        return {"offer": arguments["offer"], "status": "withdrawn", "height": answer.height}

    def _offer(self, offer: bytes) -> market.Offer:
        found = self._ledger.query("market/offers")
        for row in found if isinstance(found, list) else []:
            made = from_value(market.Offer, row)
            if made.id == offer:
                return made
        raise LedgerError("there is no such offer", remedy="see `fondaco offer list`")

    async def accept(self, arguments: Json, _progress: Progress) -> Json:
        """Take an offer; what is not said is as it was offered."""
        found = self._offer(parse_id(arguments["offer"]))
        words.among(arguments.get("keys") or (), found.keys, "key")
        words.among(arguments.get("columns") or (), found.columns, "column")
        demand = arguments.get("demand") or (None if found.demand is None else found.demand.hex())
        msg = market.AcceptOffer(
            offer=found.id,
            demand=None if demand is None else parse_id(demand),
            keys=found.keys if arguments.get("keys") is None else tuple(arguments["keys"]),
            columns=found.columns if arguments.get("columns") is None else tuple(arguments["columns"]),
            operations=tuple(arguments.get("operations") or found.operations),
            purpose=arguments.get("purpose") or found.purposes[0],
            parties=tuple(
                dict.fromkeys([*(arguments.get("parties") or (self._org, found.provider)), self._coordinator()])
            ),
            receivers=tuple(arguments.get("receivers") or [self._org]),
            uses=int(arguments.get("uses", 1)),
            expires=found.expires,
        )
        answer = await self._node.service.submit(msg, self._node.folder.user_key("analyst"))
        made = derive("deal", answer.tx)
        (deal,) = [d for d in records(self._ledger, "market/deals", market.Deal) if d.id == made]
        return {
            "deal": made.hex(),
            "grant": deal.grant.hex(),
            "provider": deal.provider,
            "escrowed": deal.escrowed,
            "height": answer.height,
        }

    async def matches(self, arguments: Json, _progress: Progress) -> Json:
        """The offers that fit a demand, best first, with the reasons; without an id for all open demands."""
        wanted = arguments.get("demand")
        ids = (
            [parse_id(wanted)]
            if wanted
            else [d.id for d in records(self._ledger, "market/demands", market.Demand) if d.status == "open"]
        )
        found: list[Json] = []
        for demand in ids:
            rows: Value = self._ledger.query("market/matches", {"id": demand})
            for row in rows if isinstance(rows, list) else []:
                match = from_value(market.Match, row)
                found.append(
                    {
                        "demand": demand.hex(),
                        "offer": match.offer.hex(),
                        "provider": match.provider,
                        "dataset": f"{match.path}@{match.version}",
                        "price": match.price,
                        "score": match.score,
                        "reasons": list(match.reasons),
                    }
                )
        return {"matches": found}

    async def deals(self, _arguments: Json, _progress: Progress) -> Json:
        """What this institution bought and sold: transfer, grant, certificates of use."""
        rows = self._ledger.query("market/receipts", {"organisation": self._org})
        made = [from_value(market.Receipt, row) for row in rows] if isinstance(rows, list) else []
        return {
            "deals": [
                {
                    "deal": r.deal.hex(),
                    "side": r.side,
                    "other": r.other,
                    "dataset": f"{r.path}@{r.version}",
                    "escrowed": r.escrowed,
                    "held": r.held,
                    "grant": r.grant.hex(),
                    "status": r.status,
                    "uses_left": r.uses_left,
                    "certificates": [one.hex() for one in r.certificates],
                }
                for r in made
            ]
        }
