"""Grants, tasks and points against a model that was written without looking: plain numbers and words.

Invariants after every step: points are conserved and equal the model's; no grant is used that is not active; uses
are never negative; a task runs only on active grants of its proposer; statuses move along allowed ways alone.
"""

from __future__ import annotations

from fractions import Fraction

import hypothesis.strategies as st
from contracts_world import World, publication, rule, terms
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple
from hypothesis.stateful import rule as step

from fondaco.ledger.application import APP_VERSION
from fondaco.ledger.contracts.grants import messages as g
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.points.messages import Transfer
from fondaco.ledger.contracts.tasks import messages as t
from fondaco.ledger.contracts.tasks.handlers import HELD_FROM, outcomes, result_hash
from fondaco.ledger.contracts.tasks.handlers import task as task_record

ORGS = ("alpha", "beta", "coord")
ALLOTMENT, FEE, RULE_USES = 500, Fraction(500, 10_000), 3
PATHS = {"alpha": "/alpha/d/one", "beta": "/beta/d/one"}
MOVES = {
    "proposed": {"running", "failed", "abandoned", "expired"},
    "running": {"failed", "finished", "expired"},
    "failed": {"running", "abandoned", "expired"},
    "finished": {"settled"},
}


class Market(RuleBasedStateMachine):
    grants = Bundle("grants")
    requests = Bundle("requests")
    tasks = Bundle("tasks")

    @initialize(auto=st.booleans(), price=st.integers(0, 60), version=st.integers(1, APP_VERSION))
    def begin(self, auto: bool, price: int, version: int) -> None:
        self.world = World(*ORGS, allotment=ALLOTMENT)
        self.world.version = version
        self.price = price
        rules = (rule(uses=RULE_USES, organisations=("beta", "coord")),) if auto else ()
        for owner, path in PATHS.items():
            self.world.send(
                publication(path, terms=terms(price=price, rules=rules)), self.world.orgs[owner].users["steward"]
            )
        self.auto = auto
        self.balance = dict.fromkeys(ORGS, ALLOTMENT)
        self.escrow: dict[bytes, int] = {}
        self.grant: dict[bytes, dict] = {}
        self.request: dict[bytes, dict] = {}
        self.task: dict[bytes, dict] = {}
        self.sent = dict.fromkeys(ORGS, 0)
        self.by_rule = 0

    def attempt(self, allowed: bool, msg, *signers: bytes) -> bytes | None:
        """Send; the contract must answer as the model says."""
        if not allowed:
            self.world.refused(msg, *signers)
            return None
        return self.world.send(msg, *signers)

    @step(
        source=st.sampled_from(ORGS),
        to=st.sampled_from(ORGS),
        amount=st.integers(-5, 600),
        skew=st.sampled_from([0, 0, 0, 1, -1]),
    )
    def transfer(self, source: str, to: str, amount: int, skew: int) -> None:
        allowed = source != to and 0 < amount <= self.balance[source] and skew == 0
        msg = Transfer(source=source, target=to, amount=amount, sequence=self.sent[source] + 1 + skew)
        if self.attempt(allowed, msg, self.world.orgs[source].users["governor"]) is not None:
            self.balance[source] -= amount
            self.balance[to] += amount
            self.sent[source] += 1

    @step(
        target=requests,
        asker=st.sampled_from(["alpha", "beta"]),
        uses=st.integers(0, 4),
        days=st.integers(-1, 3),
        purpose=st.sampled_from(["study", "study", "sale"]),
        most=st.integers(0, 80),
    )
    def ask(self, asker: str, uses: int, days: int, purpose: str, most: int):
        provider = "beta" if asker == "alpha" else "alpha"
        expires = self.world.time + days * 86400
        msg = g.RequestUse(
            items=(g.Item(path=PATHS[provider], version=1, keys=("k",), columns=("v",)),),
            operations=("psi.intersection",), purpose=purpose, parties=("alpha", "beta", "coord"), receivers=("alpha", "beta"),
            uses=uses, expires=expires, max_price=most,
        )  # fmt: skip
        allowed = (
            uses > 0
            and days > 0
            and purpose == "study"
            and most >= self.price
            and self.balance[asker] >= self.price * uses
        )
        tx = self.attempt(allowed, msg, self.world.orgs[asker].users["analyst"])
        if tx is None:
            return multiple()
        request = derive("request", tx)
        grant = derive("grant", request, (0).to_bytes(4, "big"))
        self.balance[asker] -= self.price * uses
        self.escrow[grant] = self.price * uses
        self.request[request] = {
            "asker": asker,
            "provider": provider,
            "uses": uses,
            "expires": expires,
            "answer": "pending",
            "grant": grant,
        }
        if self.auto and asker == "beta" and self.by_rule + uses <= RULE_USES:
            self.by_rule += uses
            self.give(request, uses, expires)
        return request

    def give(self, request: bytes, uses: int, expires: int) -> None:
        asked = self.request[request]
        asked["answer"] = "granted"
        self.grant[asked["grant"]] = {
            "holder": asked["asker"], "provider": asked["provider"], "left": uses, "status": "active", "expires": expires,
        }  # fmt: skip

    @step(target=grants, request=requests, by=st.sampled_from(ORGS), approve=st.booleans(), fewer=st.integers(0, 2))
    def review(self, request: bytes, by: str, approve: bool, fewer: int):
        asked = self.request[request]
        uses = asked["uses"] - fewer
        allowed = asked["answer"] == "pending" and by == asked["provider"]
        if approve:
            allowed = allowed and uses >= 1 and self.world.time < asked["expires"]
        msg = g.Review(request=request, item=0, approve=approve, reason="", uses=uses, expires=asked["expires"])
        if self.attempt(allowed, msg, self.world.orgs[by].users["reviewer"]) is None:
            return asked["grant"] if asked["answer"] == "granted" else multiple()
        back = self.price * fewer if approve else self.escrow[asked["grant"]]
        self.escrow[asked["grant"]] -= back
        self.balance[asked["asker"]] += back
        if not approve:
            asked["answer"] = "denied"
            return multiple()
        self.give(request, uses, asked["expires"])
        return asked["grant"]

    @step(grant=grants, by=st.sampled_from(ORGS))
    def revoke(self, grant: bytes, by: str) -> None:
        known = self.grant[grant]
        allowed = by == known["provider"] and known["status"] in ("active", "exhausted")
        if (
            self.attempt(allowed, g.RevokeGrant(grant=grant, reason=""), self.world.orgs[by].users["reviewer"])
            is not None
        ):
            self.end_grant(grant, "revoked")

    def end_grant(self, grant: bytes, status: str) -> None:
        known = self.grant[grant]
        known["status"] = status
        back = self.price * known["left"]
        self.escrow[grant] -= back
        self.balance[known["holder"]] += back

    @step(grant=grants)
    def expire(self, grant: bytes) -> None:
        known = self.grant[grant]
        allowed = known["status"] == "active" and self.world.time >= known["expires"]
        if self.attempt(allowed, g.Expire(grant=grant), self.world.orgs["coord"].node) is not None:
            self.end_grant(grant, "expired")

    @step(grant=grants, by=st.sampled_from(ORGS))
    def give_back(self, grant: bytes, by: str) -> None:
        known = self.grant[grant]
        allowed = by == known["holder"] and known["status"] == "active"
        if self.attempt(allowed, g.GiveBack(grant=grant), self.world.orgs[by].users["analyst"]) is not None:
            self.end_grant(grant, "returned")

    @step(request=requests, by=st.sampled_from(ORGS))
    def withdraw(self, request: bytes, by: str) -> None:
        asked = self.request[request]
        allowed = by == asked["asker"] and asked["answer"] == "pending"
        if self.attempt(allowed, g.WithdrawRequest(request=request), self.world.orgs[by].admin) is not None:
            self.close_request(asked, "withdrawn")

    def close_request(self, asked: dict, answer: str) -> None:
        asked["answer"] = answer
        self.balance[asked["asker"]] += self.escrow[asked["grant"]]
        self.escrow[asked["grant"]] = 0

    @step(hours=st.integers(1, 30))
    def pass_time(self, hours: int) -> None:
        self.world.time += hours * 3600
        self.world.end_block()
        for asked in self.request.values():
            if asked["answer"] == "pending" and self.world.time >= asked["expires"]:
                self.close_request(asked, "expired")

    @step(
        target=tasks,
        grant=grants,
        proposer=st.sampled_from(["alpha", "beta"]),
        operation=st.sampled_from(["psi.intersection", "psi.intersection", "mpc.statistics"]),
        columns=st.sampled_from([("k",), ("k",), ("k", "v")]),
    )
    def propose(self, grant: bytes, proposer: str, operation: str, columns: tuple[str, ...]):
        known = self.grant[grant]
        other = known["provider"]
        mine = "alpha" if other == "beta" else "beta"
        head = t.StepHead(
            id="one", program=bytes(32), operation=operation, members=("alpha", "beta"), receivers=("alpha",),
            inputs=(
                t.InputHead(organisation=mine, path=PATHS[mine], version=1, columns=("k", "v"), grant=None),
                t.InputHead(organisation=other, path=PATHS[other], version=1, columns=columns, grant=grant),
            ),
        )  # fmt: skip
        msg = t.Propose(
            workflow=b"w", coordinator="coord", parties=("alpha", "beta", "coord"), steps=(head,), purpose="study",
            deadline=self.world.time + 86400,
        )  # fmt: skip
        allowed = (
            known["holder"] == proposer and known["status"] == "active" and self.world.time < known["expires"]
            and operation == "psi.intersection" and columns == ("k",)
        )  # fmt: skip
        tx = self.attempt(allowed, msg, self.world.orgs[proposer].users["analyst"])
        if tx is None:
            return multiple()
        task = derive("task", tx)
        self.task[task] = {
            "grant": grant,
            "status": "proposed",
            "accepted": [],
            "attempt": 0,
            "reports": [],
            "consumed": False,
            "begun": False,
            "deadline": self.world.time + 86400,
            "by": proposer,
        }
        return task

    @step(task=tasks, by=st.sampled_from(ORGS))
    def accept(self, task: bytes, by: str) -> None:
        known = self.task[task]
        open_ = known["status"] == "proposed" or (known["status"] == "failed" and not known["consumed"])
        if (
            self.attempt(open_ and by not in known["accepted"], t.Accept(task=task), self.world.orgs[by].node)
            is not None
        ):
            known["accepted"].append(by)

    @step(task=tasks)
    def accept_all(self, task: bytes) -> None:
        for by in ORGS:
            self.accept(task, by)

    @step(task=tasks, by=st.sampled_from(["coord", "coord", "alpha"]))
    def run(self, task: bytes, by: str) -> None:
        known, grant = self.task[task], self.grant[self.task[task]["grant"]]
        usable = ("active", "exhausted") if known["consumed"] else ("active",)
        allowed = (
            by == "coord" and known["status"] in ("proposed", "failed") and len(known["accepted"]) == 3
            and known["attempt"] < 5 and self.world.time < known["deadline"]
            and grant["status"] in usable and self.world.time < grant["expires"]
        )  # fmt: skip
        msg = t.Run(task=task, attempt=known["attempt"] + 1)
        if self.attempt(allowed, msg, self.world.orgs[by].node) is not None:
            if not known["consumed"]:
                grant["left"] -= 1
                grant["status"] = "active" if grant["left"] else "exhausted"
            known.update(status="running", attempt=known["attempt"] + 1, consumed=True, reports=[])

    @step(task=tasks, by=st.sampled_from(ORGS))
    def begin_use(self, task: bytes, by: str) -> None:
        known = self.task[task]
        allowed = known["status"] == "running" and by == self.grant[known["grant"]]["provider"]
        msg = t.Begin(task=task, attempt=known["attempt"], step="one")
        if self.attempt(allowed, msg, self.world.orgs[by].node) is not None:
            known["begun"] = True

    @step(task=tasks, by=st.sampled_from(ORGS))
    def report(self, task: bytes, by: str) -> None:
        known = self.task[task]
        allowed = known["status"] == "running" and by != "coord" and by not in known["reports"]
        msg = t.Report(task=task, attempt=known["attempt"], step="one", outcome=bytes(32))
        if self.attempt(allowed, msg, self.world.orgs[by].node) is not None:
            known["reports"].append(by)

    @step(task=tasks, by=st.sampled_from(ORGS), party=st.sampled_from(ORGS))
    def fail(self, task: bytes, by: str, party: str) -> None:
        known = self.task[task]
        msg = t.Fail(
            task=task, attempt=known["attempt"], step="one", party=party, reason="engine.error", cause="it broke"
        )
        allowed = known["status"] == "proposed" or (known["status"] == "running" and len(known["reports"]) < 2)
        if self.attempt(allowed, msg, self.world.orgs[by].node) is not None:
            known["status"] = "failed"

    @step(task=tasks, wrong=st.booleans())
    def finish(self, task: bytes, wrong: bool) -> None:
        known = self.task[task]
        allowed = known["status"] == "running" and len(known["reports"]) == 2 and not wrong
        record = task_record(self.world.store, task)
        result = bytes(32) if wrong else result_hash(record, outcomes(self.world.store, record))
        if self.attempt(allowed, t.Finish(task=task, result=result), self.world.orgs["coord"].node) is not None:
            known["status"] = "finished"

    @step(task=tasks)
    def settle(self, task: bytes) -> None:
        known = self.task[task]
        if self.attempt(known["status"] == "finished", t.Settle(task=task), self.world.orgs["beta"].node) is not None:
            self.escrow[derive("settlement", task)] = 0
            self.pay_use(known["grant"])
            known["status"] = "settled"

    def pay_use(self, grant: bytes) -> None:
        exact = self.price * FEE
        part = int(exact) + (exact % 1 > Fraction(1, 2))  # the larger remainder, and the provider's on a tie
        self.escrow[grant] -= self.price
        self.balance[self.grant[grant]["provider"]] += self.price - part
        self.balance["coord"] += part

    @step(task=tasks, late=st.booleans())
    def give_up(self, task: bytes, late: bool) -> None:
        known = self.task[task]
        if late:
            allowed = known["status"] in ("proposed", "running", "failed") and self.world.time >= known["deadline"]
            msg, signer, status = t.ExpireTask(task=task), self.world.orgs["alpha"].node, "expired"
        else:
            allowed = known["status"] in ("proposed", "failed")
            msg, signer, status = t.Abandon(task=task), self.world.orgs["coord"].node, "abandoned"
        if self.attempt(allowed, msg, signer) is None:
            return
        known["status"] = status
        if not known["consumed"]:
            return
        grant = self.grant[known["grant"]]
        if known["begun"]:
            if self.world.version >= HELD_FROM:
                self.escrow[derive("settlement", task)] = 0
            self.pay_use(known["grant"])
        elif grant["status"] in ("active", "exhausted"):
            grant["left"] += 1
            grant["status"] = "active"
        else:
            self.escrow[known["grant"]] -= self.price
            self.balance[grant["holder"]] += self.price

    @invariant()
    def points_are_conserved(self) -> None:
        if not hasattr(self, "world"):
            return
        found = self.world.query("points/supply")
        assert found["balances"] + found["escrows"] == found["supply"] == ALLOTMENT * len(ORGS)
        balances = self.world.query("points/balances")
        assert balances == self.balance
        held = {row["id"]: row["amount"] for row in self.world.query("points/escrows")}
        assert held == self.escrow

    @invariant()
    def no_grant_no_use(self) -> None:
        if not hasattr(self, "world"):
            return
        for row in self.world.query("grants/grants"):
            known = self.grant[row["id"]]
            assert (row["uses_left"], row["status"]) == (known["left"], known["status"])
            assert 0 <= row["uses_left"] <= row["uses_total"]
            taken = sum(1 for task in self.task.values() if task["grant"] == row["id"] and task["consumed"])
            returned = sum(
                1 for task in self.task.values()
                if task["grant"] == row["id"] and task["consumed"] and task["status"] in ("abandoned", "expired") and not task["begun"]
            )  # fmt: skip
            assert row["uses_total"] - row["uses_left"] <= taken
            assert taken - returned <= row["uses_total"]

    @invariant()
    def statuses_move_along_allowed_ways(self) -> None:
        if not hasattr(self, "world"):
            return
        for row in self.world.query("tasks/tasks"):
            known = self.task[row["id"]]
            assert row["status"] == known["status"]
            last = known.setdefault("shown", "proposed")
            assert row["status"] == last or row["status"] in MOVES[last]
            known["shown"] = row["status"]
        ended = {task for task, known in self.task.items() if known["status"] in ("settled", "abandoned", "expired")}
        assert {row["id"] for row in self.world.query("tasks/open")} == set(self.task) - ended


Market.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMarket = Market.TestCase
