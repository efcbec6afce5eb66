"""Points: balances and transfers."""

from __future__ import annotations

from fondaco.ledger.contracts.points import messages as points
from fondaco.node.control import Json, Progress, Verb
from fondaco.node.verbs.common import Group


class PointVerbs(Group):
    """What institutions pay each other with."""

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {
            "points": self.points,
            "transfer": self.transfer,
        }

    async def points(self, _arguments: Json, _progress: Progress) -> Json:
        """Balances, escrows and supply; they add up."""
        conserved = self._ledger.query("points/supply")
        return {"balances": self._ledger.query("points/balances"), "conservation": conserved}

    def _next(self, path: str) -> int:
        done = self._ledger.query(path, {"organisation": self._org})
        return (done if isinstance(done, int) else 0) + 1

    async def transfer(self, arguments: Json, _progress: Progress) -> Json:
        """Pay another organisation."""
        msg = points.Transfer(
            source=self._org,
            target=arguments["target"],
            amount=int(arguments["amount"]),
            sequence=self._next("points/transfers"),
        )
        answer = await self._node.service.submit(msg, self._node.folder.user_key("officer"))
        return {"target": msg.target, "amount": msg.amount, "height": answer.height}
