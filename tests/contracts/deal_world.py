"""A consortium that deals: published datasets, grants, tasks up to any status, for the tests of what follows them."""

from __future__ import annotations

from contracts_world import World, publication, rule, terms

from fondaco.ledger.contracts.grants import messages as g
from fondaco.ledger.contracts.grants.handlers import grant_id
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.settlement import payments
from fondaco.ledger.contracts.settlement.messages import Formula
from fondaco.ledger.contracts.tasks import messages as t
from fondaco.ledger.contracts.tasks.handlers import outcomes, result_hash
from fondaco.ledger.contracts.tasks.handlers import task as task_record

BUYER, SELLERS, COORDINATOR = "buyer", ("seller-a", "seller-b", "seller-c"), "coord"
OTHERS = ("other-a", "other-b", "other-c", "other-d")
EVERYONE = (BUYER, *SELLERS, COORDINATOR, *OTHERS)
FOREVER = 1_900_000_000


def formula(providers=9_500, participants=0, coordinator=500, fund=0, method="price", window=0) -> Formula:
    return Formula(
        providers=providers,
        participants=participants,
        coordinator=coordinator,
        fund=fund,
        method=method,
        window=window,
    )


def path_of(owner: str) -> str:
    return f"/{owner}/data/rows"


class Deals:
    """Everyone, with a dataset of the buyer and one of each seller; default permissions grant at once."""

    def __init__(self, *, prices=(30, 20, 7), allotment: int = 10_000, **world) -> None:
        self.world = World(*EVERYONE, allotment=allotment, **world)
        for owner, price in zip((BUYER, *SELLERS), (0, *prices), strict=True):
            offered = terms(price=price, rules=(rule(uses=1_000, organisations=("*",), until=FOREVER),))
            self.world.send(publication(path_of(owner), terms=offered), self.key(owner, "steward"))

    def key(self, org: str, role: str) -> bytes:
        found = self.world.orgs[org]
        return {"node": found.node, "admin": found.admin}.get(role) or found.users[role]

    def set_formula(self, changed: Formula) -> None:
        """As governance does."""
        payments.set_shares(self.world._context(self.world.store, (), []), changed)

    def grant(self, seller: str, uses: int = 1) -> bytes:
        msg = g.RequestUse(
            items=(g.Item(path=path_of(seller), version=1, keys=("k",), columns=("v",)),),
            operations=("psi.intersection",),
            purpose="study",
            parties=(BUYER, *SELLERS, COORDINATOR),
            receivers=(BUYER,),
            uses=uses,
            expires=FOREVER,
            max_price=1_000,
        )
        return grant_id(derive("request", self.world.send(msg, self.key(BUYER, "analyst"))), 0)

    def propose(self, grants: dict[str, bytes]) -> bytes:
        """A step with each seller that a grant is given for; the task's id."""
        mine = t.InputHead(organisation=BUYER, path=path_of(BUYER), version=1, columns=("k",), grant=None)
        steps = tuple(
            t.StepHead(
                id=f"with-{seller}",
                program=bytes([number]) * 32,
                operation="psi.intersection",
                members=(BUYER, seller),
                receivers=(BUYER,),
                inputs=(
                    mine,
                    t.InputHead(organisation=seller, path=path_of(seller), version=1, columns=("k",), grant=grant),
                ),
            )
            for number, (seller, grant) in enumerate(grants.items())
        )
        msg = t.Propose(
            workflow=b"a workflow",
            coordinator=COORDINATOR,
            parties=(BUYER, *grants, COORDINATOR),
            steps=steps,
            purpose="study",
            deadline=self.world.time + 86_400,
        )
        return derive("task", self.world.send(msg, self.key(BUYER, "analyst")))

    def running(self, *sellers: str) -> bytes:
        """A task that runs."""
        task = self.propose({seller: self.grant(seller) for seller in sellers})
        for party in (BUYER, *sellers, COORDINATOR):
            self.world.send(t.Accept(task=task), self.key(party, "node"))
        self.world.send(t.Run(task=task, attempt=1), self.key(COORDINATOR, "node"))
        return task

    def finish(self, task: bytes) -> None:
        """All report, and the coordinator finishes."""
        record = task_record(self.world.store, task)
        for step in record.steps:
            for party in step.members:
                msg = t.Report(task=task, attempt=record.attempt, step=step.id, outcome=bytes(32))
                self.world.send(msg, self.key(party, "node"))
        record = task_record(self.world.store, task)
        result = result_hash(record, outcomes(self.world.store, record))
        self.world.send(t.Finish(task=task, result=result), self.key(COORDINATOR, "node"))

    def finished(self, *sellers: str) -> bytes:
        """A task that has finished and is not settled."""
        task = self.running(*sellers)
        self.finish(task)
        return task

    def settle(self, task: bytes) -> None:
        self.world.send(t.Settle(task=task), self.key(COORDINATOR, "node"))

    def settled(self, *sellers: str) -> bytes:
        task = self.finished(*sellers)
        self.settle(task)
        return task

    def blocks(self, count: int) -> None:
        """Empty blocks."""
        for _ in range(count):
            self.world.end_block()

    def balances(self) -> dict[str, int]:
        return self.world.query("points/balances")

    def conserved(self) -> None:
        found = self.world.query("points/supply")
        assert found["balances"] + found["escrows"] == found["supply"]
