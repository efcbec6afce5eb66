"""A network of validators as processes, under load, and what must hold of it whatever happens to them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ledger_world import key, nonce, organisation
from network_node import DEADLINE, Node, Unreachable, Wires, until

from fondaco.core.messages import kind_of, to_value
from fondaco.core.models import Column, Schema
from fondaco.ledger.application import APP_VERSION
from fondaco.ledger.blocks import Validator
from fondaco.ledger.cometbft.home import Home, StateSync
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.catalog.messages import Publish, Terms
from fondaco.ledger.contracts.governance.messages import Propose, Seat, Vote
from fondaco.ledger.contracts.grants.messages import Item, RequestUse
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.points.messages import Transfer
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.transactions import build

CHAIN = "network-test"
POWER = 10
BATCH = 8

# -- the load -------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Load:
    """Requests from one institution, and a payer who tries to spend twice; what was committed is remembered."""

    network: Network
    committed: dict[str, None] = dataclasses.field(default_factory=dict)
    sent: int = 0
    doubles: int = 0
    spent_twice: list[int] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin."""
        self._running = threading.Event()
        self._ending = threading.Event()
        self._idle = [threading.Event(), threading.Event(), threading.Event()]
        work = (self._requests, self._requests, self._double_spends)
        self._threads = [
            threading.Thread(target=self._loop, args=(one, idle), daemon=True)
            for one, idle in zip(work, self._idle, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def go(self) -> None:
        """Let it run."""
        for idle in self._idle:
            idle.clear()
        self._running.set()

    def rest(self) -> None:
        """Stop it, and wait until nothing that was sent waits for its answer."""
        self._running.clear()
        for idle in self._idle:
            assert idle.wait(DEADLINE)

    def end(self) -> None:
        """End its threads."""
        self._ending.set()
        self._running.set()
        for thread in self._threads:
            thread.join(DEADLINE)

    def _loop(self, work: Callable[[random.Random], None], idle: threading.Event) -> None:
        dice = random.Random(7)
        while not self._ending.is_set():
            if not self._running.is_set():
                idle.set()
                self._running.wait()
                continue
            with contextlib.suppress(Unreachable):
                work(dice)

    def _expires(self, node: Node) -> int:
        return node.height + 300

    def _requests(self, dice: random.Random) -> None:
        node = dice.choice(self.network.nodes)
        if not node.running:
            time.sleep(0.05)
            return
        expires = self._expires(node)
        txs = [self.network.request(expires) for _n in range(BATCH)]
        texts = [tx.hex() for tx in txs]
        refused = node.ask({"verb": "submit", "txs": texts})
        taken = [text for text, code in zip(texts, refused, strict=True) if not code]
        self.sent += len(taken)
        for text, done in zip(taken, node.ask({"verb": "results", "txs": taken, "seconds": 3.0}), strict=True):
            if done is not None and done[1] == 0:
                self.committed[hashlib.sha256(bytes.fromhex(text)).hexdigest()] = None

    def _double_spends(self, dice: random.Random) -> None:
        one, other = dice.sample(self.network.nodes, 2)
        if not (one.running and other.running):
            time.sleep(0.05)
            return
        sequence = int(one.ask({"verb": "query", "path": "points/transfers", "organisation": "org-3"})) + 1
        expires = self._expires(one)
        pair = [
            (one, self.network.transfer("org-3", "org-1", sequence, expires).hex()),
            (other, self.network.transfer("org-3", "org-2", sequence, expires).hex()),
        ]
        taken = [(node, tx) for node, tx in pair if node.ask({"verb": "submit", "txs": [tx]}) == [""]]
        done = [node.ask({"verb": "results", "txs": [tx], "seconds": 3.0})[0] for node, tx in taken]
        self.doubles += 1
        if sum(1 for result in done if result is not None and result[1] == 0) > 1:
            self.spent_twice.append(sequence)


# -- the network ----------------------------------------------------------------------------------------------------------


class Network:
    """Validators on wires, under load."""

    def __init__(self, path: Path, size: int = 4, further: int = 1, liar: int = 0, newer: int = 0) -> None:
        self.path = path
        self.wires = Wires()
        self.nodes: list[Node] = []
        names = [f"org-{number}" for number in range(1, size + further + 1)]
        self.genesis = Genesis(
            chain=CHAIN,
            time=time.time_ns(),
            validators=tuple(Validator(key=key(f"{name}/validator").public.raw, power=POWER) for name in names[:size]),
            state=to_value(
                registry.GenesisState(
                    organisations=tuple(organisation(name) for name in names),
                    allotments=dict.fromkeys(names, 10**9),
                    seats=tuple(
                        Seat(organisation=name, key=key(f"{name}/validator").public.raw, power=POWER)
                        for name in names[:size]
                    ),
                )
            ),
        )
        self.nodes = [Node(self.wires, path, number) for number in range(1, size + 1)]
        for node in self.nodes:
            node.lies = node.number == liar
            node.rules = APP_VERSION + (node.number <= newer)
            node.make(self.genesis, [other.peer_address for other in self.nodes if other is not node])
        for node in self.nodes:
            node.start()
        until(lambda: all(node.height >= 2 for node in self.nodes), "the first blocks")
        self.do(self._publish(), "org-1")
        self.load = Load(self)
        self.load.go()

    def end(self) -> None:
        """Stop everything."""
        if hasattr(self, "load"):
            self.load.end()
        for node in self.nodes:
            if node.running:
                node.stop()
        self.wires.remove()

    def abandon(self) -> None:
        """End everything that a failed test has left."""
        for node in self.nodes:
            if node._process is not None and node.running:
                with contextlib.suppress(Unreachable, AssertionError):
                    node.pause(on=False)
                node._process.kill()
                node._process.wait(DEADLINE)
        self.wires.remove()

    # -- transactions

    def do(self, msg: object, org: str, node: Node | None = None) -> bytes:
        """Commit a message of an institution's user; the transaction's hash."""
        at = node or next(one for one in self.nodes if one.running)
        tx = build(self.genesis.chain_id, msg, (key(f"{org}/user"),), nonce=nonce(), expires=at.height + 500)
        assert at.ask({"verb": "submit", "txs": [tx.hex()]}) == [""]
        (done,) = at.ask({"verb": "results", "txs": [tx.hex()], "seconds": 30.0}, seconds=60.0)
        assert done is not None, msg
        assert done[1] == 0, done
        return hashlib.sha256(tx).digest()

    def _publish(self) -> Publish:
        column = Column(
            name="value",
            type="int64",
            unit="",
            classification="internal",
            nullable=False,
            minimum=0,
            maximum=9,
            scale=0,
        )
        terms = Terms(
            operations=("mpc.statistics",), purposes=("study",), price=0, minimum_rows=1, minimum_count=1, rules=()
        )
        return Publish(
            path="/org-1/data/rain",
            version=1,
            title="rain",
            description="",
            schema=Schema(columns=(column,), key=()),
            commitment=bytes(32),
            rows=None,
            terms=terms,
        )

    def request(self, expires: int, org: str = "org-2") -> bytes:
        """A signed request of an institution."""
        msg = RequestUse(
            items=(Item(path="/org-1/data/rain", version=1, keys=("value",), columns=()),),
            operations=("mpc.statistics",),
            purpose="study",
            parties=("org-1", org),
            receivers=(org,),
            uses=1,
            expires=int(time.time()) + 10**6,
            max_price=0,
        )
        return build(self.genesis.chain_id, msg, (key(f"{org}/user"),), nonce=nonce(), expires=expires)

    def transfer(self, source: str, target: str, sequence: int, expires: int) -> bytes:
        """A signed payment."""
        msg = Transfer(source=source, target=target, amount=1, sequence=sequence)
        return build(self.genesis.chain_id, msg, (key(f"{source}/user"),), nonce=nonce(), expires=expires)

    def seat(self, org: str, power: int, voters: Iterable[str]) -> None:
        """Vote a validator in, or out with power 0."""
        self.decide(Seat(organisation=org, key=key(f"{org}/validator").public.raw, power=power), voters)

    def decide(self, body: object, voters: Iterable[str]) -> None:
        """Propose and vote until it is decided."""
        names = list(voters)
        msg = Propose(by=names[0], title="a vote", kind=kind_of(type(body)), body=to_value(body))
        proposal = derive("proposal", self.do(msg, names[0]))
        asked = self.nodes[0]
        for name in names:
            voted = asked.ask({"verb": "query", "path": "governance/votes", "organisation": name})
            self.do(Vote(by=name, proposal=proposal, choice="yes", sequence=int(voted) + 1), name)
            found = asked.ask({"verb": "query", "path": "governance/proposal", "id": proposal.hex()})
            if found["status"] != "open":
                return
        raise AssertionError("the vote was not decided")

    # -- what must hold

    def goes_on(self, *, without: Iterable[Node] = (), blocks: int = 4) -> None:
        """The others make blocks."""
        left = [node for node in self.nodes if node not in list(without)]
        start = max(node.height for node in left)
        until(lambda: min(node.height for node in left) >= start + blocks, f"{blocks} blocks after {start}")

    @staticmethod
    def stands_still_for(seconds: float) -> None:
        """What is paused stays so for this long: the length of the pause is what is tested."""
        time.sleep(seconds)

    def stands(self, nodes: Iterable[Node], seconds: float) -> None:
        """These make no block: what was under way may end, and then nothing comes."""
        watched = list(nodes)
        time.sleep(1.0)
        before = [node.height for node in watched]
        time.sleep(seconds)
        assert [node.height for node in watched] == before

    def check(self) -> None:
        """All app hashes equal, no committed transaction lost, no double spend, no point made or lost."""
        self.load.rest()
        until(self._equal, "all nodes at one height")
        committed = list(self.load.committed)
        assert len(committed) > 0
        supplies = []
        for node in self.nodes:
            for at in range(0, len(committed), 500):
                assert node.ask({"verb": "missing", "txs": committed[at : at + 500]}) == [], node.name
            supply = node.ask({"verb": "query", "path": "points/supply"})
            assert supply["balances"] + supply["escrows"] == supply["supply"], supply
            supplies.append((supply, node.ask({"verb": "query", "path": "points/balances"})))
        assert all(supply == supplies[0] for supply in supplies)
        assert self.load.spent_twice == []
        self.load.go()

    def _equal(self) -> bool:
        said = [node.ask({"verb": "status"}) for node in self.nodes]
        by_height = {(one["height"], one["app_hash"], one["events"]) for one in said}
        assert len({one["height"] for one in said}) == len(by_height), said
        return len(by_height) == 1 and all(one["sealed"] == one["height"] for one in said)

    # -- growing, and going back

    def join_by_state_sync(self, number: int) -> Node:
        """A late joiner, which takes a snapshot from the others."""
        serving = self.nodes[:2]
        until(lambda: all(node.ask({"verb": "status"})["snapshots"] for node in serving), "a snapshot")
        said = serving[0].ask({"verb": "status"})
        until(lambda: serving[0].ask({"verb": "status"})["sealed"] > said["sealed"], "the next header")
        sync = StateSync(
            servers=tuple(f"unix://{Home(node.folder / 'c').rpc}" for node in serving),
            height=said["sealed"],
            header_hash=bytes.fromhex(said["header"]),
        )
        node = Node(self.wires, self.path, number)
        node.make(self.genesis, [other.peer_address for other in self.nodes], sync)
        self.nodes.append(node)
        node.start()
        until(lambda: node.height > 0, "the snapshot restored")
        return node

    def copy(self, node: Node, where: Path) -> None:
        """A copy of a stopped node's disk, as a backup has it."""
        assert not node.running
        shutil.copytree(node.folder, where, ignore=shutil.ignore_patterns("*.sock", "control"))

    def restore(self, node: Node, where: Path) -> None:
        """The disk of a stopped node as it was when it was copied."""
        assert not node.running
        shutil.rmtree(node.folder)
        shutil.copytree(where, node.folder)
