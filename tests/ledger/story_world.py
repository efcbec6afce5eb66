"""The story of a governed consortium on a chain of several validators: the same bytes each time it is told.

A fifth institution is admitted by vote, becomes a validator, has the shares changed by vote, sells a use, is disputed,
loses and is expelled. `python tests/ledger/story_world.py NAME` writes it as a fixture that later versions replay; a
fixture is written once, by the commit whose rules it keeps, and never again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path

from ledger_world import CHAIN, START, key, organisation

from fondaco.core.codec import Value, encode
from fondaco.core.keys import SecretKey
from fondaco.core.messages import from_value, kind_of, to_bytes, to_value
from fondaco.core.models import Column, Schema
from fondaco.ledger.application import TxResult
from fondaco.ledger.blocks import FLAG_COMMIT, Block, Commit, CommitSig, Validator, block_id, vote_bytes
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.catalog.messages import Publish, Terms
from fondaco.ledger.contracts.disputes import messages as disputes
from fondaco.ledger.contracts.governance import messages as g
from fondaco.ledger.contracts.grants.handlers import grant_id
from fondaco.ledger.contracts.grants.messages import Item, RequestUse, Review
from fondaco.ledger.contracts.identity.messages import Join
from fondaco.ledger.contracts.kit import VERSION, derive
from fondaco.ledger.contracts.tasks import messages as t
from fondaco.ledger.contracts.tasks.handlers import result_hash
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.reader import Ledger
from fondaco.ledger.registry import Registry
from fondaco.ledger.transactions import build

FOUNDERS = ("airline", "authority", "regulator", "weather")
FIFTH = "harbour"
INVITATION = "harbour/invitation"
PATH = f"/{FIFTH}/ships/arrivals"
OWN = "/airline/flights/delays"
ALLOTMENT = 1_000
PRICE, SERVICE, WINDOW = 100, 7, 8
FIXTURES = Path(__file__).parent / "fixtures"
RULES = g.Parameters(
    deliberation=1,
    voting=20,
    execution=1,
    quorum=6_667,
    threshold=6_667,
    veto=3_333,
    early=True,
    deposit=10,
    quota=100,
    most_validators=7,
    admission_by_vote=True,
    listed_programs_only=False,
)


def validator(name: str) -> SecretKey:
    """An institution's validator key."""
    return key(f"{name}/validator")


def story_genesis() -> Genesis:
    """Four institutions, each with a validator."""
    state = registry.GenesisState(
        organisations=tuple(organisation(name) for name in FOUNDERS),
        allotments=dict.fromkeys(FOUNDERS, ALLOTMENT),
        rules=RULES,
        seats=tuple(g.Seat(organisation=name, key=validator(name).public.raw, power=10) for name in FOUNDERS),
    )
    return Genesis(
        chain=CHAIN,
        time=START * 10**9,
        validators=tuple(Validator(key=validator(name).public.raw, power=10) for name in FOUNDERS),
        state=to_value(state),
    )


class Several(Ledger):
    """A driver with the keys of all validators, who sign whatever the set is."""

    def __init__(self, folder: Path | None, genesis: Genesis, registry: Registry, secrets: Iterable[SecretKey]) -> None:
        super().__init__(folder, genesis, registry)
        self._secrets = {secret.public.raw: secret for secret in secrets}

    def make(self, *txs: bytes) -> Block:
        """The next block, signed by those whose turn it is."""
        with self.lock:
            height, time = self.height + 1, self.genesis.time + (self.height + 1) * 10**9
            known = self.validators_at(height)
            header = self._next_header(time, txs, known[0].address)
            last = self._last_commit()
            unsigned = Commit(height=height, round=0, block=block_id(header, txs, last), signatures=())
            signatures = tuple(
                CommitSig(
                    flag=FLAG_COMMIT,
                    address=validator.address,
                    time=time,
                    signature=self._secrets[validator.key].sign_raw(vote_bytes(self.genesis.chain_id, unsigned, time)),
                )
                for validator in known
            )
            block = Block(
                header=header, txs=txs, last_commit=last, commit=dataclasses.replace(unsigned, signatures=signatures)
            )
            self._commit_block(block)
        return block


class Story:
    """A consortium at work; after each block its points are counted, and its app hash is noted."""

    def __init__(self, folder: Path | None = None, genesis: Genesis | None = None) -> None:
        names = (*FOUNDERS, FIFTH)
        self.ledger = Several(folder, genesis or story_genesis(), registry, [validator(name) for name in names])
        self.hashes: list[str] = []
        self.balances: list[dict[str, int]] = []
        self.grant = b""
        self._count = 0

    # -- blocks ------------------------------------------------------------------------------------------------

    def tx(self, msg: object, *signers: str) -> bytes:
        """A signed transaction whose nonce is a count."""
        self._count += 1
        nonce = self._count.to_bytes(16, "big")
        expires = self.ledger.height + 100
        return build(self.ledger.chain_id, msg, tuple(key(name) for name in signers), nonce=nonce, expires=expires)

    def block(self, *txs: bytes) -> list[TxResult]:
        """Make a block, and see that no point was created or lost."""
        self.ledger.make(*txs)
        conserved = self.ledger.query("points/supply")
        assert isinstance(conserved, dict)
        assert conserved["balances"] + conserved["escrows"] == conserved["supply"]  # type: ignore[operator]
        self.hashes.append(self.ledger.status().app_hash.hex())
        self.balances.append(self.ledger.query("points/balances"))  # type: ignore[arg-type]
        return self.ledger.results(self.ledger.height)

    def idle(self, blocks: int) -> None:
        """Blocks without transactions."""
        for _ in range(blocks):
            self.block()

    def do(self, msg: object, *signers: str) -> bytes:
        """A block with one transaction that must do what it says; its hash."""
        tx = self.tx(msg, *signers)
        (result,) = self.block(tx)
        assert result.code == 0, result
        return hashlib.sha256(tx).digest()

    # -- voting ------------------------------------------------------------------------------------------------

    def propose(self, body: object, by: str) -> bytes:
        """Put a body to the vote; the proposal's id."""
        msg = g.Propose(by=by, title="a proposal", kind=kind_of(type(body)), body=to_value(body))
        return derive("proposal", self.do(msg, f"{by}/user"))

    def vote(self, proposal: bytes, *names: str, choice: str = "yes") -> None:
        """Votes of several institutions in one block."""
        txs = []
        for name in names:
            done = self.ledger.query("governance/votes", {"organisation": name})
            assert isinstance(done, int)
            msg = g.Vote(by=name, proposal=proposal, choice=choice, sequence=done + 1)
            txs.append(self.tx(msg, f"{name}/user"))
        assert [result.code for result in self.block(*txs)] == [0] * len(txs)

    def decide(self, body: object, *voters: str) -> dict[str, Value]:
        """Propose, deliberate, vote yes, wait for the execution; what became of it."""
        proposal = self.propose(body, voters[0])
        self.vote(proposal, *voters)
        self.idle(RULES.execution)
        shown = self.ledger.query("governance/proposal", {"id": proposal})
        assert isinstance(shown, dict)
        assert shown["status"] == "executed", shown
        return shown

    # -- the story ---------------------------------------------------------------------------------------------

    def admit(self) -> None:
        """The four admit a fifth by vote; it joins with the key that the vote named."""
        invitation = key(INVITATION).public.raw
        body = g.Admit(
            organisation=FIFTH, kind="member", key=invitation, certificate=b"certificate", expires=START + 86_400
        )
        self.decide(body, *FOUNDERS[:3])
        join = Join(invitation=invitation, organisation=organisation(FIFTH))
        self.do(join, INVITATION, f"{FIFTH}/admin", f"{FIFTH}/node", f"{FIFTH}/user")
        self.decide(g.Mint(amounts={FIFTH: 50}), *FOUNDERS)

    def seat(self) -> None:
        """The fifth becomes a validator, two heights after the vote is executed."""
        self.decide(g.Seat(organisation=FIFTH, key=validator(FIFTH).public.raw, power=10), *FOUNDERS)
        self.idle(2)

    def reform(self) -> None:
        """On its motion the shares change, a window for disputes opens, and services get a price."""
        for body in (
            g.Shares(providers=8_000, participants=1_000, coordinator=500, fund=500),
            g.Division(method="price", window=WINDOW),
            disputes.Rules(arbiters=3, blocks=10),
            g.Prices(prices={"mpc.statistics": SERVICE}),
        ):
            self.decide(body, FIFTH, *FOUNDERS[:3])

    def publish(self, owner: str, path: str) -> None:
        """The first version of a dataset."""
        column = Column(
            name="value", type="int64", unit="", classification="internal", nullable=False, minimum=0, maximum=100,
            scale=0,
        )  # fmt: skip
        terms = Terms(
            operations=("mpc.statistics",), purposes=("delay-study",), price=PRICE, minimum_rows=1, minimum_count=1,
            rules=(),
        )  # fmt: skip
        msg = Publish(
            path=path, version=1, title="a dataset", description="", schema=Schema(columns=(column,), key=()),
            commitment=bytes(32), rows=None, terms=terms,
        )  # fmt: skip
        self.do(msg, f"{owner}/user")

    def ask(self, uses: int) -> bytes:
        """The airline asks for uses of the fifth's data; the request."""
        msg = RequestUse(
            items=(Item(path=PATH, version=1, keys=("value",), columns=()),), operations=("mpc.statistics",),
            purpose="delay-study", parties=("airline", FIFTH, "authority"), receivers=("airline",), uses=uses,
            expires=START + 10**6, max_price=PRICE,
        )  # fmt: skip
        return derive("request", self.do(msg, "airline/user"))

    def sell(self) -> None:
        """The fifth sells three uses to the airline; a task takes one, and is paid when its window is over."""
        self.publish(FIFTH, PATH)
        self.publish("airline", OWN)
        request = self.ask(3)
        self.do(
            Review(request=request, item=0, approve=True, reason="", uses=3, expires=START + 10**6), f"{FIFTH}/user"
        )
        self.ask(1)  # and one more request that is never answered
        self.grant = grant_id(request, 0)
        self.compute(self.grant)
        self.idle(WINDOW)

    def propose_task(self, grant: bytes) -> bytes:
        """The airline proposes statistics over its own and the fifth's data."""
        step = t.StepHead(
            id="statistics", program=bytes(32), operation="mpc.statistics", members=("airline", FIFTH),
            receivers=("airline",),
            inputs=(
                t.InputHead(organisation="airline", path=OWN, version=1, columns=("value",), grant=None),
                t.InputHead(organisation=FIFTH, path=PATH, version=1, columns=("value",), grant=grant),
            ),
        )  # fmt: skip
        msg = t.Propose(
            workflow=b"a workflow", coordinator="authority", parties=("airline", FIFTH, "authority"), steps=(step,),
            purpose="delay-study", deadline=self.ledger.status().time // 10**9 + 3600,
        )  # fmt: skip
        return derive("task", self.do(msg, "airline/user"))

    def compute(self, grant: bytes) -> bytes:
        """A task from proposal to settlement."""
        task = self.propose_task(grant)
        accepts = [self.tx(t.Accept(task=task), f"{name}/node") for name in ("airline", FIFTH, "authority")]
        assert [result.code for result in self.block(*accepts)] == [0, 0, 0]
        self.do(t.Run(task=task, attempt=1), "authority/node")
        self.do(t.Begin(task=task, attempt=1, step="statistics"), f"{FIFTH}/node")
        for name in ("airline", FIFTH):
            outcome = hashlib.sha256(name.encode()).digest()
            self.do(t.Report(task=task, attempt=1, step="statistics", outcome=outcome), f"{name}/node")
        record = from_value(t.Task, self.ledger.query("tasks/task", {"id": task}))
        rows = self.ledger.query("tasks/outcomes", {"id": task, "attempt": 1})
        reports = tuple(from_value(t.Outcome, row) for row in rows) if isinstance(rows, list) else ()
        self.do(t.Finish(task=task, result=result_hash(record, reports)), "authority/node")
        self.do(t.Settle(task=task), "airline/node")
        return task

    def dispute(self) -> None:
        """The airline disputes the second use within its window; those who are no party decide against the fifth."""
        task = self.compute(self.grant)
        self.do(disputes.Open(task=task, cause="the rows were of another year"), "airline/user")
        self.do(disputes.PutEvidence(task=task, evidence=bytes(31) + b"\x01"), "airline/user")
        shown = self.ledger.query("disputes/dispute", {"id": task})
        arbiters = from_value(disputes.Dispute, shown).arbiters
        assert sorted(arbiters) == ["regulator", "weather"]
        for name in arbiters:
            self.do(disputes.CastVote(by=name, task=task, refund=10_000, revoke=True), f"{name}/user")

    def expel(self) -> None:
        """The four expel the fifth while another task of it is under way, and its motion is open."""
        self.propose_task(self.grant)
        self.propose(g.Mint(amounts={FIFTH: 1_000}), FIFTH)
        self.decide(g.Expel(organisation=FIFTH, forfeit=True), *FOUNDERS)
        self.idle(3)

    def upgrade(self) -> None:
        """An upgrade is voted and cancelled before its height."""
        height = self.ledger.height + 50
        self.decide(g.Upgrade(height=height, version=VERSION + 1, package=bytes(32)), *FOUNDERS)
        self.decide(g.CancelUpgrade(height=height), *FOUNDERS)

    def tell(self) -> Story:
        """All of it."""
        self.admit()
        self.seat()
        self.reform()
        self.sell()
        self.dispute()
        self.expel()
        self.upgrade()
        self.idle(2)
        return self


def as_fixture(story: Story) -> bytes:
    """A whole ledger in one file: genesis, blocks, and the app hash after each."""
    ledger = story.ledger
    content: list[Value] = [
        to_bytes(ledger.genesis),
        list(ledger.blocks(1, ledger.height, most_bytes=1 << 30)),
        [bytes.fromhex(text) for text in story.hashes],
    ]
    return zlib.compress(encode(content), 9)


if __name__ == "__main__":
    (FIXTURES / f"{sys.argv[1]}.ledger").write_bytes(as_fixture(Story().tell()))
