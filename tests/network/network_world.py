"""A network of validators as processes, each in a network namespace of its own where the machine allows it.

The namespaces hang on a bridge in a hub namespace of their own, so nothing of the machine's network is touched; every
packet stays in them. Where namespaces cannot be made, all run on loopback ports, and a cut is made by pausing the
CometBFT process, whose links then are as silent as cut ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ledger_world import key, nonce, organisation

from fondaco.core.messages import kind_of, to_bytes, to_value
from fondaco.core.models import Column, Schema
from fondaco.ledger.application import APP_VERSION
from fondaco.ledger.blocks import Validator
from fondaco.ledger.cometbft.home import Config, Home, StateSync, node_id
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
DEADLINE = 90.0
TESTS = Path(__file__).parent
BATCH = 8


class Unreachable(Exception):
    """The process is not there, or does not answer."""


# -- where they run -----------------------------------------------------------------------------------------------------


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


def namespaces_allowed() -> bool:
    """Whether this process may make network namespaces."""
    name = f"fdc{os.getpid()}probe"
    try:
        _ip("netns", "add", name)
        _ip("netns", "del", name)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


class Wires:
    """Addresses, and cutting one off."""

    def __init__(self) -> None:
        self.namespaces = namespaces_allowed()
        self._hub = f"fdc{os.getpid()}hub"
        self._made: list[str] = []
        if self.namespaces:
            self._make(self._hub)
            _ip("-n", self._hub, "link", "add", "bridge0", "type", "bridge")
            _ip("-n", self._hub, "link", "set", "bridge0", "up")

    def _make(self, name: str) -> None:
        _ip("netns", "add", name)
        self._made.append(name)
        _ip("-n", name, "link", "set", "lo", "up")

    def attach(self, number: int) -> str:
        """Make the place of a validator; the address that it listens on."""
        if not self.namespaces:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                return f"127.0.0.1:{probe.getsockname()[1]}"
        name, wire = self.name(number), f"v{number}"
        self._make(name)
        _ip("-n", self._hub, "link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("-n", self._hub, "link", "set", wire, "master", "bridge0", "up")
        _ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        return f"10.77.0.{number}:26656"

    def name(self, number: int) -> str:
        """A validator's namespace."""
        return f"fdc{os.getpid()}v{number}"

    def inside(self, number: int, command: list[str]) -> list[str]:
        """A command, to be run in a validator's namespace."""
        return ["ip", "netns", "exec", self.name(number), *command] if self.namespaces else command

    def cut(self, number: int, *, on: bool) -> None:
        """Take a validator's wire away, or give it back."""
        _ip("-n", self._hub, "link", "set", f"v{number}", "down" if on else "up")

    def remove(self) -> None:
        """Remove every namespace that was made."""
        for name in reversed(self._made):
            with contextlib.suppress(subprocess.SubprocessError):
                _ip("netns", "del", name)


# -- one validator --------------------------------------------------------------------------------------------------------


class Node:
    """One validator's process and folder."""

    def __init__(self, network: Network, number: int) -> None:
        self.number = number
        self.name = f"org-{number}"
        self.folder = network.path / f"v{number}"
        self.address = network.wires.attach(number)
        self._wires = network.wires
        self._process: subprocess.Popen[bytes] | None = None
        self.lies, self.rules = False, APP_VERSION
        self.peer = key(f"{self.name}/peer")
        self.validator = key(f"{self.name}/validator")

    @property
    def peer_address(self) -> str:
        """How the others find it."""
        return f"{node_id(self.peer.public)}@{self.address}"

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def make(self, genesis: Genesis, peers: Iterable[str], state_sync: StateSync | None = None) -> None:
        """Write its folder."""
        self.folder.mkdir()
        (self.folder / "genesis").write_bytes(to_bytes(genesis))
        config = Config(
            moniker=self.name,
            listen=self.address,
            peers=tuple(peers),
            timeout_commit=200,
            timeout_propose=1000,
            heartbeat=2000,
            same_host=True,
            state_sync=state_sync,
        )
        Home(self.folder / "c").write(genesis, self.validator, self.peer, config)

    def start(self) -> None:
        """Start its process, and wait until it answers."""
        command = [sys.executable, str(TESTS / "validator_process.py"), str(self.folder)]
        command += ["--lies"] if self.lies else []
        command += ["--rules", str(self.rules)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._wires.inside(self.number, command), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(lambda: self.ask_or_none({"verb": "status"}) is not None, f"{self.name} answers")

    def stop(self) -> None:
        """Stop it in good order."""
        if self._process is not None:
            self.pause(on=False)
            self._process.terminate()
            assert self._process.wait(DEADLINE) == 0, (self.folder / "log").read_text()[-3000:]

    def kill(self) -> None:
        """SIGKILL; CometBFT ends when it finds its application gone."""
        assert self._process is not None
        pid = self._cometbft()
        self._process.kill()
        self._process.wait(DEADLINE)
        if pid is not None:
            until(lambda: not _alive(pid), "CometBFT ends with its application")

    def _cometbft(self) -> int | None:
        said = self.ask_or_none({"verb": "status"})
        found: int | None = None if said is None else said["pid"]
        return found

    def pause(self, *, on: bool) -> None:
        """SIGSTOP or SIGCONT to all of it."""
        assert self._process is not None
        pid = self._paused if not on else self._cometbft()
        self._paused = pid if on else None
        for one in (pid, self._process.pid):
            if one is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, signal.SIGSTOP if on else signal.SIGCONT)

    _paused: int | None = None

    def cut(self, *, on: bool) -> None:
        """Cut it off, or link it again."""
        if self._wires.namespaces:
            self._wires.cut(self.number, on=on)
            return
        pid = self._paused if not on else self._cometbft()
        self._paused = pid if on else None
        if pid is not None:
            os.kill(pid, signal.SIGSTOP if on else signal.SIGCONT)

    def ask(self, request: dict[str, Any], seconds: float = 30.0) -> Any:
        """Ask its process.

        Raises:
            Unreachable: it does not run, or does not answer in time.
        """
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(seconds)
                link.connect(str(self.folder / "control"))
                link.sendall(json.dumps(request).encode() + b"\n")
                with link.makefile("rb") as lines:
                    line = lines.readline()
        except OSError as fault:
            raise Unreachable(self.name) from fault
        if not line:
            raise Unreachable(self.name)
        return json.loads(line)

    def ask_or_none(self, request: dict[str, Any], seconds: float = 5.0) -> Any:
        """As `ask`; None when it is not reached."""
        with contextlib.suppress(Unreachable):
            return self.ask(request, seconds)
        return None

    @property
    def height(self) -> int:
        """Its last committed height."""
        return int(self.ask({"verb": "status"})["height"])


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def until(condition: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
    """Wait for a condition, with a deadline that names it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.1)


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
        self.nodes = [Node(self, number) for number in range(1, size + 1)]
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
        node = Node(self, number)
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
