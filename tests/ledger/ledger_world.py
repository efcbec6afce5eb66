"""A small consortium on an embedded ledger, and a counter contract, for the tests of the ledger."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from pathlib import Path

from fondaco.core.codec import Value
from fondaco.core.keys import SecretKey
from fondaco.core.messages import message, to_value
from fondaco.core.models import Column, Schema
from fondaco.errors import ContractError
from fondaco.ledger.blocks import Validator
from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.contracts import registry as contracts
from fondaco.ledger.contracts.catalog.messages import Publish, Rule, Terms
from fondaco.ledger.contracts.governance.messages import Upgrade
from fondaco.ledger.contracts.governance.parameters import FIRST
from fondaco.ledger.contracts.grants.handlers import grant_id
from fondaco.ledger.contracts.grants.messages import Item, RequestUse, Review, RevokeGrant
from fondaco.ledger.contracts.identity.messages import NodeSpec, OrganisationSpec, UserSpec
from fondaco.ledger.contracts.kit import Context, derive
from fondaco.ledger.contracts.points.messages import Transfer
from fondaco.ledger.contracts.tasks.handlers import outcomes, result_hash
from fondaco.ledger.contracts.tasks.handlers import task as load_task
from fondaco.ledger.contracts.tasks.messages import (
    Accept,
    Begin,
    Finish,
    InputHead,
    Propose,
    Report,
    Run,
    Settle,
    StepHead,
)
from fondaco.ledger.embedded import Committed, EmbeddedLedger
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.state import ReadStore
from fondaco.ledger.transactions import build

CHAIN = "test-chain"
START = 1_700_000_000
LATER = int(time.time()) + 10**7  # an embedded ledger has the time of the clock
VALIDATOR = "validator"


def key(name: str) -> SecretKey:
    """The same key for the same name, in tests alone."""
    return SecretKey.from_seed(hashlib.sha256(b"test/" + name.encode()).digest())


def nonce() -> bytes:
    """A nonce that no other call gives."""
    return os.urandom(16)


# -- a counter, where the rules of a consortium would be in the way ------------------------------------------------


@message("counter.add/1")
class Add:
    """Add to the counter of a name."""

    name: str
    amount: int


class TooMuch(ContractError):
    """The counter's one refusal."""

    code = "ledger.counter.too_much"
    codespace = "counter"
    number = 7


class Counter:
    """Contracts of one kind: `counter.add/1`."""

    def message_of(self, kind: str) -> type | None:
        """Its messages have no class."""

    def execute(self, ctx: Context, kind: str, payload: Value) -> None:
        """Add; refuse over 100, after having written and emitted."""
        if kind != "counter.add/1" or not isinstance(payload, dict):
            raise TooMuch("no such kind", remedy="add")
        name, amount = payload.get("name"), payload.get("amount")
        if not isinstance(name, str) or not isinstance(amount, int):
            raise TooMuch("no such message", remedy="add")
        where = b"counter/" + name.encode()
        total = int.from_bytes(ctx.store.get(where) or b"", "big") + abs(amount)
        ctx.store.set(where, total.to_bytes(16, "big"))
        ctx.emit("counter", "added", name=name, total=total, time=ctx.time)
        if abs(amount) > 100:
            raise TooMuch("over 100 at once", remedy="add less")

    def init_genesis(self, ctx: Context, document: Value) -> None:
        """Begin with what the document says."""
        for name, amount in sorted((document if isinstance(document, dict) else {}).items()):
            ctx.store.set(b"counter/" + name.encode(), int(str(amount)).to_bytes(16, "big"))
            ctx.emit("counter", "begun", name=name)

    def end_block(self, ctx: Context) -> None:
        """Nothing is ever due."""

    def rules(self, store: ReadStore, height: int) -> Upgrade:
        """The first rules, always."""
        return FIRST

    def admits(self, store: ReadStore, signers: tuple[bytes, ...], kind: str) -> bool:
        """Anybody may count."""
        return True

    def expelled(self, store: ReadStore, key: bytes) -> str:
        """Nobody is."""
        return ""

    def quota(self, store: ReadStore, key: bytes) -> tuple[str, int]:
        """One quota for all, that nobody reaches."""
        return "", 1 << 30

    def waiting(self, store: ReadStore) -> tuple[int | None, int | None]:
        """Nothing waits."""
        return None, None

    def query(self, store: ReadStore, path: str, data: dict[str, Value]) -> Value:
        """All counters."""
        return {where.decode(): int.from_bytes(value, "big") for where, value in store.items(b"counter/")}


def counter_genesis(*validators: SecretKey) -> Genesis:
    """A chain of counters."""
    known = validators or (key(VALIDATOR),)
    return Genesis(
        chain=CHAIN,
        time=START * 10**9,
        validators=tuple(Validator(key=v.public.raw, power=10) for v in known),
        state={"first": 1},
    )


def counter_ledger(folder: Path | None = None) -> EmbeddedLedger:
    """An embedded ledger of counters."""
    return EmbeddedLedger(folder, counter_genesis(), Counter(), key(VALIDATOR))


COUNTERS = counter_genesis().chain_id


def adding(
    name: str, amount: int, *, expires: int = 900, signer: str = "anyone", number: bytes = b"", chain: str = COUNTERS
) -> bytes:
    """A signed addition."""
    secrets = (key(signer),)
    return build(chain, Add(name=name, amount=amount), secrets, nonce=number or nonce(), expires=expires)


# -- a consortium ---------------------------------------------------------------------------------------------------


def organisation(name: str) -> OrganisationSpec:
    """An organisation with one administrator, one node, one user with every role it needs."""
    return OrganisationSpec(
        name=name,
        title=name.title(),
        kind="member",
        admins=(key(f"{name}/admin").public.raw,),
        threshold=1,
        node=NodeSpec(
            key=key(f"{name}/node").public.raw, certificate=b"certificate", address="localhost:1", seal_key=b"\x09" * 32
        ),
        users=(
            UserSpec(
                key=key(f"{name}/user").public.raw,
                roles=("steward", "analyst", "reviewer", "governor"),
                seal_key=b"\x09" * 32,
            ),
        ),
    )


def consortium_genesis() -> Genesis:
    """Three organisations: who provides, who asks, who coordinates."""
    state = contracts.GenesisState(
        organisations=tuple(organisation(name) for name in ("weather", "airline", "authority")),
        allotments={"airline": 1_000_000, "weather": 10, "authority": 10},
    )
    return Genesis(
        chain=CHAIN,
        time=START * 10**9,
        validators=(Validator(key=key(VALIDATOR).public.raw, power=1),),
        state=to_value(state),
    )


CONSORTIUM = consortium_genesis().chain_id


def transfer(sequence: int, *, amount: int = 1, expires: int = 900) -> bytes:
    """A signed payment of the airline to the weather service."""
    msg = Transfer(source="airline", target="weather", amount=amount, sequence=sequence)
    return build(CONSORTIUM, msg, (key("airline/user"),), nonce=nonce(), expires=expires)


class World:
    """A consortium at work."""

    def __init__(self, folder: Path | None = None, ledger: EmbeddedLedger | CometLedger | None = None) -> None:
        self.genesis = consortium_genesis()
        self.ledger = ledger or EmbeddedLedger(folder, self.genesis, contracts, key(VALIDATOR))
        self.purpose = "delay-study"
        self.operation = "mpc.statistics"

    def do(self, msg: object, *signers: str) -> Committed:
        """Submit a message, the author's key first, and wait for its block."""
        expires = self.ledger.height + 500
        tx = build(CONSORTIUM, msg, tuple(map(key, signers)), nonce=nonce(), expires=expires)
        return self.ledger.submit(tx).result(30)

    def must(self, msg: object, *signers: str) -> Committed:
        """As `do`, and it did what it says."""
        done = self.do(msg, *signers)
        assert done.result.code == 0, done.result
        return done

    def publish(self, owner: str, name: str, *, rules: tuple[Rule, ...] = (), columns: int = 1) -> str:
        """Publish the first version of a dataset; its path. Its column is "value", and there may be more."""
        path = f"/{owner}/data/{name}"
        column = Column(
            name="value",
            type="int64",
            unit="",
            classification="internal",
            nullable=False,
            minimum=0,
            maximum=100,
            scale=0,
        )
        terms = Terms(
            operations=("mpc.statistics",),
            purposes=("delay-study",),
            price=100,
            minimum_rows=1,
            minimum_count=1,
            rules=rules,
        )
        msg = Publish(
            path=path,
            version=1,
            title=name,
            description="",
            schema=Schema(
                columns=(column, *(dataclasses.replace(column, name=f"more{n}") for n in range(1, columns))), key=()
            ),
            commitment=bytes(32),
            rows=None,
            terms=terms,
        )
        self.must(msg, f"{owner}/user")
        return path

    def request(self, path: str, *, uses: int = 1) -> bytes:
        """The airline asks for a dataset; the request's id."""
        msg = RequestUse(
            items=(Item(path=path, version=1, keys=("value",), columns=()),),
            operations=(self.operation,),
            purpose=self.purpose,
            parties=("airline", "weather", "authority"),
            receivers=("airline",),
            uses=uses,
            expires=LATER,
            max_price=100,
        )
        return derive("request", self.must(msg, "airline/user").tx)

    def review(self, request: bytes, *, uses: int = 1) -> bytes:
        """The weather service says yes; the grant's id."""
        msg = Review(request=request, item=0, approve=True, reason="", uses=uses, expires=LATER)
        self.must(msg, "weather/user")
        return grant_id(request, 0)

    def propose(self, theirs: str, mine: str, grant: bytes) -> Committed:
        """The airline proposes a task over both datasets."""
        step = StepHead(
            id="statistics",
            program=bytes(32),
            operation=self.operation,
            members=("airline", "weather"),
            receivers=("airline",),
            inputs=(
                InputHead(organisation="airline", path=mine, version=1, columns=("value",), grant=None),
                InputHead(organisation="weather", path=theirs, version=1, columns=("value",), grant=grant),
            ),
        )
        msg = Propose(
            workflow=b"a workflow",
            coordinator="authority",
            parties=("airline", "weather", "authority"),
            steps=(step,),
            purpose=self.purpose,
            deadline=self.ledger.status().time // 10**9 + 3600,
        )
        return self.do(msg, "airline/user")

    def run(self, task: bytes) -> None:
        """Accept, run, report, finish, settle."""
        for party in ("airline", "weather", "authority"):
            self.must(Accept(task=task), f"{party}/node")
        self.must(Run(task=task, attempt=1), "authority/node")
        self.must(Begin(task=task, attempt=1, step="statistics"), "weather/node")
        for party in ("airline", "weather"):
            msg = Report(task=task, attempt=1, step="statistics", outcome=hashlib.sha256(party.encode()).digest())
            self.must(msg, f"{party}/node")
        store = self.ledger._storage
        record = load_task(store, task)
        self.must(Finish(task=task, result=result_hash(record, outcomes(store, record))), "authority/node")
        self.must(Settle(task=task), "airline/node")

    def story(self) -> bytes:
        """Publish, request, review, run, settle; then a revoked grant, and a use too many. The task's id."""
        theirs, mine = self.publish("weather", "rain"), self.publish("airline", "flights")
        grant = self.review(self.request(theirs, uses=2), uses=1)
        proposed = self.propose(theirs, mine, grant)
        assert proposed.result.code == 0, proposed.result
        task = derive("task", proposed.tx)
        self.run(task)
        assert self.propose(theirs, mine, grant).result.code != 0
        rule = Rule(
            organisations=("airline", "authority"),
            operations=("mpc.statistics",),
            purposes=("delay-study",),
            keys=("value",),
            columns=(),
            uses=5,
            until=START + 10**9,
        )
        free = self.publish("weather", "wind", rules=(rule,))
        second = grant_id(self.request(free), 0)
        self.must(RevokeGrant(grant=second, reason="no longer"), "weather/user")
        assert self.propose(free, mine, second).result.code != 0
        self.ledger.wait_provable(10)
        return task
