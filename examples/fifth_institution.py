"""A fifth institution comes, sells, is disputed, loses and is expelled; every point is accounted for at every height.

Runs in one process with the keys of all institutions: `python examples/fifth_institution.py`. The rules, blocks, votes,
signatures and proofs are those of a real consortium; only the network between the validators is left out. Each block is
signed by the validator set of its height, which follows the votes two heights on.

An accountant keeps the books from the event log alone, and after every block they must be those of the ledger.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys

from fondaco.core.codec import Value
from fondaco.core.keys import SecretKey
from fondaco.core.messages import from_value, kind_of, to_value
from fondaco.core.models import Column, Schema
from fondaco.ledger.audit.bundle import export
from fondaco.ledger.audit.certificate import export as export_certificate
from fondaco.ledger.audit.certificate import verify as verify_certificate
from fondaco.ledger.audit.verify import verify
from fondaco.ledger.blocks import FLAG_COMMIT, Block, Commit, CommitSig, Validator, block_id, ordered, vote_bytes
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.catalog.messages import Publish, Terms
from fondaco.ledger.contracts.disputes.handlers import DEFAULT as DISPUTES
from fondaco.ledger.contracts.disputes.messages import CastVote, Open, PutEvidence
from fondaco.ledger.contracts.governance import messages as g
from fondaco.ledger.contracts.governance.parameters import DEFAULTS
from fondaco.ledger.contracts.identity.messages import Join, NodeSpec, OrganisationSpec, UserSpec
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.market.messages import AcceptOffer, PutDemand, PutOffer
from fondaco.ledger.contracts.points.keys import FUND
from fondaco.ledger.contracts.settlement.payments import DEFAULT as FORMULA
from fondaco.ledger.contracts.tasks import messages as t
from fondaco.ledger.contracts.tasks.handlers import result_hash
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.reader import Ledger
from fondaco.ledger.transactions import build

CHAIN = "five"
START = 1_700_000_000
FOUNDERS = ("airline", "authority", "university", "weather")
FIFTH = "harbour"
OPERATION, PURPOSE = "psi.intersection", "delay-study"
LATER = START + 80 * 86_400
WINDOW, VOTE_BLOCKS = 4, 12


def key(name: str) -> SecretKey:
    """The same key for the same name, so that the story ends with the same app hash on every machine."""
    return SecretKey.from_seed(hashlib.sha256(b"five/" + name.encode()).digest())


def organisation(name: str) -> OrganisationSpec:
    """An institution with one administrator, one node, and a user for each role."""
    node = NodeSpec(key=key(f"{name}/node").public.raw, certificate=b"cert", address="host:1", seal_key=b"\x09" * 32)
    users = tuple(
        UserSpec(key=key(f"{name}/{role}").public.raw, roles=(role,), seal_key=b"\x09" * 32)
        for role in ("steward", "analyst", "reviewer", "governor")
    )
    admin = key(f"{name}/admin").public.raw
    return OrganisationSpec(
        name=name, title=name.title(), kind="member", admins=(admin,), threshold=1, node=node, users=users
    )


def schema() -> Schema:
    """One column: the number of a ship or an aircraft."""
    column = Column(
        name="number", type="int64", unit="", classification="internal", nullable=False, minimum=0, maximum=9, scale=0
    )
    return Schema(columns=(column,), key=("number",))


class Accountant:
    """Books kept from the event log alone: who has what, and what each escrow holds."""

    def __init__(self) -> None:
        self.balances: dict[str, int] = {}
        self.escrows: dict[bytes, int] = {}
        self.supply = 0
        self._read = 0

    def _book(self, kind: str, said: dict[str, Value]) -> None:
        def give(who: object, amount: object) -> None:
            assert isinstance(who, str)
            assert isinstance(amount, int)
            self.balances[who] = self.balances.get(who, 0) + amount

        def hold(escrow: object, amount: object) -> None:
            assert isinstance(escrow, bytes)
            assert isinstance(amount, int)
            self.escrows[escrow] = self.escrows.get(escrow, 0) + amount

        amount = said.get("amount")
        lost = -amount if isinstance(amount, int) else 0
        match kind:
            case "points.minted":
                give(said["organisation"], amount)
                self.supply -= lost
            case "points.transferred":
                give(said["source"], lost)
                give(said["target"], amount)
            case "points.escrowed":
                give(said["organisation"], lost)
                hold(said["escrow"], amount)
            case "points.gathered":
                hold(said["escrow"], lost)
                hold(said["into"], amount)
            case "points.paid":
                hold(said["escrow"], lost)
                give(said["target"], amount)
            case "points.refunded":
                hold(said["escrow"], lost)
                give(said["organisation"], amount)
            case "settlement.fund-spent":
                give(FUND, lost)
                give(said["target"], amount)
            case "governance.expelled" if said["forfeit"]:
                gone = self.balances[str(said["organisation"])]
                give(said["organisation"], -gone)
                give(FUND, gone)

    def check(self, ledger: Ledger) -> None:
        """Read the events since last time; the books must be the ledger's."""
        while rows := ledger.events(self._read, 1_000):
            for number, leaf in rows:
                said = leaf["attributes"]
                assert isinstance(said, dict)
                self._book(f"{leaf['contract']!s}.{leaf['kind']!s}", said)
                self._read = number + 1
        balances = ledger.query("points/balances")
        assert isinstance(balances, dict)
        held = ledger.query("points/escrows")
        assert isinstance(held, list)
        escrows = {row["id"]: row["amount"] for row in held if isinstance(row, dict)}
        assert {n: b for n, b in balances.items() if b} == {n: b for n, b in self.balances.items() if b}
        assert escrows == self.escrows
        assert sum(self.balances.values()) + sum(self.escrows.values()) == self.supply


class Consortium(Ledger):
    """All validators in one process: each block is signed by the set of its height."""

    def __init__(self) -> None:
        keys = [Validator(key=key(f"{name}/validator").public.raw, power=10) for name in FOUNDERS]
        state = registry.GenesisState(
            organisations=tuple(organisation(name) for name in FOUNDERS),
            allotments=dict.fromkeys(FOUNDERS, 1_000),
            settlement=dataclasses.replace(FORMULA, window=WINDOW),
            disputes=dataclasses.replace(DISPUTES, blocks=VOTE_BLOCKS),
            rules=dataclasses.replace(DEFAULTS, admission_by_vote=True),
            seats=tuple(
                g.Seat(organisation=name, key=key(f"{name}/validator").public.raw, power=10) for name in FOUNDERS
            ),
        )
        genesis = Genesis(chain=CHAIN, time=START * 10**9, validators=ordered(keys), state=to_value(state))
        super().__init__(None, genesis, registry)
        self._secrets = {key(f"{name}/validator").public.raw: name for name in (*FOUNDERS, FIFTH)}
        self._count = 0
        self.books = Accountant()
        self.books.check(self)

    def signers(self) -> list[str]:
        """Whose validators sign the next block."""
        return sorted(self._secrets[validator.key] for validator in self.validators_at(self.height + 1))

    def make(self, *txs: bytes) -> None:
        """Make the next block, and check the books."""
        height = self.height + 1
        time = (START + height) * 10**9
        known = self.validators_at(height)
        header = self._next_header(time, txs, known[height % len(known)].address)
        last = self._last_commit()
        unsigned = Commit(height=height, round=0, block=block_id(header, txs, last), signatures=())
        said = vote_bytes(self.chain_id, unsigned, time)
        signatures = tuple(
            CommitSig(
                flag=FLAG_COMMIT,
                address=validator.address,
                time=time,
                signature=key(f"{self._secrets[validator.key]}/validator").sign_raw(said),
            )
            for validator in known
        )
        commit = dataclasses.replace(unsigned, signatures=signatures)
        with self.lock:
            results = self._commit_block(Block(header=header, txs=txs, last_commit=last, commit=commit))
        assert all(result.code == 0 for result in results), results
        self.books.check(self)

    def do(self, msg: object, *who: str) -> bytes:
        """A transaction of these keys, in a block of its own; its hash."""
        self._count += 1
        nonce = self._count.to_bytes(16, "big")
        tx = build(self.chain_id, msg, tuple(key(name) for name in who), nonce=nonce, expires=self.height + 50)
        self.make(tx)
        return hashlib.sha256(tx).digest()

    def wait(self, blocks: int) -> None:
        """Empty blocks."""
        for _ in range(blocks):
            self.make()

    def record(self, query: str, made: bytes) -> dict[str, Value]:
        """The record of an id."""
        found = self.query(query, {"id": made})
        assert isinstance(found, dict)
        return found

    def pass_vote(self, by: str, body: object, *, among: tuple[str, ...]) -> None:
        """Propose, and vote yes until it is decided."""
        msg = g.Propose(by=by, title="a proposal", kind=kind_of(type(body)), body=to_value(body))
        made = derive("proposal", self.do(msg, f"{by}/governor"))
        for name in among:
            if self.record("governance/proposal", made)["status"] != "open":
                break
            done = self.query("governance/votes", {"organisation": name})
            assert isinstance(done, int)
            self.do(g.Vote(by=name, proposal=made, choice="yes", sequence=done + 1), f"{name}/governor")
        found = self.record("governance/proposal", made)
        assert found["status"] == "executed", found["cause"]


def say(text: str) -> None:
    """A line of the story."""
    sys.stdout.write(text + "\n")


def admit(chain: Consortium) -> None:
    """The founders vote the fifth in; it joins, gets a seat, and its validator signs two heights later."""
    guest = key("invitation")
    body = g.Admit(organisation=FIFTH, kind="member", key=guest.public.raw, certificate=b"cert", expires=LATER)
    chain.pass_vote("airline", body, among=FOUNDERS)
    join = Join(invitation=guest.public.raw, organisation=organisation(FIFTH))
    roles = ("steward", "analyst", "reviewer", "governor")
    registered = (f"{FIFTH}/{part}" for part in ("admin", "node", *roles))
    chain.do(join, "invitation", *registered)
    assert FIFTH not in chain.signers()
    seat = g.Seat(organisation=FIFTH, key=key(f"{FIFTH}/validator").public.raw, power=10)
    chain.pass_vote("weather", seat, among=(*FOUNDERS, FIFTH))
    chain.wait(1)
    assert chain.signers() == sorted((*FOUNDERS, FIFTH))
    say(f"height {chain.height}: {FIFTH} was admitted by vote; {len(chain.signers())} validators sign")


def change_shares(chain: Consortium) -> None:
    """The fifth proposes other shares, and the vote passes."""
    shares = g.Shares(providers=8_000, participants=500, coordinator=1_000, fund=500)
    chain.pass_vote(FIFTH, shares, among=(FIFTH, *FOUNDERS))
    formula = chain.query("settlement/formula")
    assert isinstance(formula, dict)
    assert (formula["providers"], formula["fund"], formula["window"]) == (8_000, 500, WINDOW)
    say(f"height {chain.height}: by its proposal the shares are 80 % providers, 5 % participants, 10 %, 5 % fund")


def sell(chain: Consortium) -> bytes:
    """The airline seeks, the harbour offers, the offer is matched and accepted; the grant's id."""
    terms = Terms(operations=(OPERATION,), purposes=(PURPOSE,), price=120, minimum_rows=0, minimum_count=0, rules=())
    for owner, name in ((FIFTH, "ships"), ("airline", "flights")):
        msg = Publish(
            path=f"/{owner}/data/{name}",
            version=1,
            title=f"Numbers of {name}",
            description="",
            schema=schema(),
            commitment=hashlib.sha256(name.encode()).digest(),
            rows=None,
            terms=terms,
        )
        chain.do(msg, f"{owner}/steward")
    demand = PutDemand(
        words=("ships",), columns=("number",), operations=(OPERATION,), purpose=PURPOSE, max_price=110, until=LATER
    )
    sought = derive("demand", chain.do(demand, "airline/analyst"))
    offer = PutOffer(
        path=f"/{FIFTH}/data/ships",
        version=1,
        columns=("number",),
        operations=(OPERATION,),
        purposes=(PURPOSE,),
        price=100,
        uses=2,
        until=LATER,
        expires=LATER,
        demand=sought,
    )
    chain.do(offer, f"{FIFTH}/reviewer")
    found = chain.query("market/matches", {"id": sought})
    assert isinstance(found, list)
    (best,) = found
    assert isinstance(best, dict)
    assert isinstance(best["reasons"], list)
    say(f"height {chain.height}: a match of {best['score']!s}: {'; '.join(str(reason) for reason in best['reasons'])}")
    made = best["offer"]
    assert isinstance(made, bytes)
    accept = AcceptOffer(
        offer=made,
        demand=sought,
        columns=("number",),
        operations=(OPERATION,),
        purpose=PURPOSE,
        parties=("airline", FIFTH, "authority"),
        receivers=("airline",),
        uses=2,
        expires=LATER,
    )
    chain.do(accept, "airline/analyst")
    deals = chain.query("market/deals")
    assert isinstance(deals, list)
    (deal,) = deals
    assert isinstance(deal, dict)
    grant = deal["grant"]
    assert isinstance(grant, bytes)
    say(f"height {chain.height}: the airline accepted; {deal['escrowed']!s} points for two uses are in escrow")
    return grant


def use(chain: Consortium, grant: bytes) -> bytes:
    """A task with the harbour's data, from proposal to settlement; its id."""
    step = t.StepHead(
        id="match",
        program=bytes(32),
        operation=OPERATION,
        members=("airline", FIFTH),
        receivers=("airline",),
        inputs=(
            t.InputHead(
                organisation="airline", path="/airline/data/flights", version=1, columns=("number",), grant=None
            ),
            t.InputHead(organisation=FIFTH, path=f"/{FIFTH}/data/ships", version=1, columns=("number",), grant=grant),
        ),
    )
    parties = ("airline", FIFTH, "authority")
    propose = t.Propose(
        workflow=b"match ships and flights",
        coordinator="authority",
        parties=parties,
        steps=(step,),
        purpose=PURPOSE,
        deadline=START + chain.height + 3_600,
    )
    task = derive("task", chain.do(propose, "airline/analyst"))
    for name in parties:
        chain.do(t.Accept(task=task), f"{name}/node")
    chain.do(t.Run(task=task, attempt=1), "authority/node")
    chain.do(t.Begin(task=task, attempt=1, step="match"), f"{FIFTH}/node")
    for name in ("airline", FIFTH):
        outcome = hashlib.sha256(task + name.encode()).digest()
        chain.do(t.Report(task=task, attempt=1, step="match", outcome=outcome), f"{name}/node")
    rows = chain.query("tasks/outcomes", {"id": task, "attempt": 1})
    assert isinstance(rows, list)
    record = from_value(t.Task, chain.record("tasks/task", task))
    result = result_hash(record, tuple(from_value(t.Outcome, row) for row in rows))
    chain.do(t.Finish(task=task, result=result), "authority/node")
    chain.do(t.Settle(task=task), "authority/node")
    return task


def dispute(chain: Consortium, task: bytes) -> None:
    """The airline contests; two institutions that are no party judge; the harbour loses."""
    before = dict(chain.books.balances)
    chain.do(Open(task=task, cause="the ships are of another year"), "airline/analyst")
    evidence = hashlib.sha256(b"salt" + b"a list of ships").digest()
    chain.do(PutEvidence(task=task, evidence=evidence), "airline/analyst")
    chain.wait(WINDOW + 2)
    assert chain.record("settlement/settlement", task)["status"] == "frozen"
    found = chain.record("disputes/dispute", task)
    assert found["arbiters"] in (["university", "weather"], ["weather", "university"])
    for name in ("university", "weather"):
        chain.do(CastVote(by=name, task=task, refund=10_000, revoke=True), f"{name}/governor")
    ended = chain.record("disputes/dispute", task)
    assert (ended["status"], ended["outcome"], ended["silent"]) == ("ended", "refund", [])
    assert chain.books.balances == before | {"airline": before["airline"] + 100}
    say(f"height {chain.height}: university and weather judged; 100 points went back")


def certificate_of(chain: Consortium, task: bytes) -> bytes:
    """The id of the certificate of a task's one use."""
    rows = chain.query("certificates/certificates")
    assert isinstance(rows, list)
    (made,) = (row["id"] for row in rows if isinstance(row, dict) and row["task"] == task)
    assert isinstance(made, bytes)
    return made


def expel(chain: Consortium) -> None:
    """The founders vote the fifth out: its grants end, its validator leaves, its points go to the fund."""
    had, fund = chain.books.balances[FIFTH], chain.books.balances[FUND]
    chain.pass_vote("airline", g.Expel(organisation=FIFTH, forfeit=True), among=FOUNDERS)
    chain.wait(1)
    assert chain.signers() == sorted(FOUNDERS)
    assert (chain.books.balances[FIFTH], chain.books.balances[FUND]) == (0, fund + had)
    say(f"height {chain.height}: {FIFTH} was expelled; {had} points went to the fund; four validators sign again")


def tell() -> Consortium:
    """The whole story; the chain at its end."""
    chain = Consortium()
    admit(chain)
    change_shares(chain)
    grant = sell(chain)
    first = use(chain, grant)
    chain.wait(WINDOW)
    paid = {name: points for name, points in chain.books.balances.items() if points != 1_000}
    assert paid == {"airline": 800, FIFTH: 85, "authority": 1_010, FUND: 5}
    say(f"height {chain.height}: a use was sold; of 100 points {FIFTH} got 85, the coordinator 10, the fund 5")
    second = use(chain, grant)
    dispute(chain, second)
    expel(chain)
    chain.pass_vote("weather", g.Spend(target="university", amount=40), among=FOUNDERS)
    say(f"height {chain.height}: by vote the fund paid the university 40 points")
    root = chain.genesis.hash.hex()
    chain.wait(2)
    for task, status in ((first, "valid"), (second, "revoked")):
        found = verify_certificate(export_certificate(chain, certificate_of(chain, task)), trust_root=root)
        assert found.certificate.status == status
        say(f"a certificate of {found.certificate.path}, verified offline at height {found.height}: {status}")
    report = verify(export(chain, key("weather/node")), trust_root=root)
    assert report.complete
    assert [receipt.outcome for receipt in report.receipts] == ["", "refund"]
    say(f"audit: {report.headers} headers, {report.events} events, {len(report.receipts)} tasks; complete, verified")
    say(f"supply {chain.books.supply}: {dict(sorted(chain.books.balances.items()))}")
    return chain


if __name__ == "__main__":
    tell().close()
