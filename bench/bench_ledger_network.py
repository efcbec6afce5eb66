"""Four validators on one machine under a swept load, beside CometBFT's own kvstore on the same network and settings.

Offered: signed transactions, handed round-robin to the four nodes in batches at a fixed rate: to ours as a node hands
on what it took, in bundles, to kvstore as many calls of `broadcast_tx_async` in one request.
Counted: transactions in blocks that the application of the first node has committed, and the time from handing over to
that. The rate is what came into blocks from the first to the last block that was seen after the warming up: one
block has a tenth of all that so short a window sees, so a window that begins and ends between blocks says little. The
generator, the probe, four CometBFT processes and, on our side, four Python processes share the cores. Rates that fill
them are offered several times, ours and kvstore's in turns, and the median is told: single ratios were 0.40 to 0.53.
After lower rates kvstore does less at its highest than on a network begun anew, so `--anew`, a part of its own of the
same file, offers each side the rate alone at which it does best.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench_ledger import key
from fondaco.core.messages import to_bytes, to_value
from fondaco.ledger.blocks import Validator
from fondaco.ledger.cometbft.bundle import bundles
from fondaco.ledger.cometbft.home import Config, Home, node_id
from fondaco.ledger.cometbft.process import find_program
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.identity.messages import Move, NodeSpec, OrganisationSpec, UserSpec
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.transactions import build
from harness import Row, report

CHAIN = "bench-network"
NODES = 4
SENDERS = 64
RATES = (600, 1000, 1500, 2000, 3000, 6000)
ANEW = "begun anew: "
BEST, BEST_OF_KVSTORE = 3000, 6000
BESIDE = "CometBFT's built-in kvstore, unsigned"
FULL, RUNS = 2000, 3  # from this rate on, so many turns: what fills the cores differs most from run to run
SECONDS = 18.0
WARM = 3.0
TICK = 0.05
TX_BYTES = 300
START_SECONDS = 60.0
DRAIN_SECONDS = 20.0


def organisation(name: str) -> OrganisationSpec:
    node = NodeSpec(key=key(f"{name}/node").public.raw, certificate=b"c", address="host:1", seal_key=b"\x09" * 32)
    user = UserSpec(key=key(f"{name}/user").public.raw, roles=("governor",), seal_key=b"\x09" * 32)
    admins = (key(f"{name}/admin").public.raw,)
    return OrganisationSpec(name=name, title=name, kind="member", admins=admins, threshold=1, node=node, users=(user,))


@functools.cache
def genesis() -> Genesis:
    state = registry.GenesisState(organisations=tuple(organisation(f"org-{n}") for n in range(SENDERS)), allotments={})
    validators = tuple(Validator(key=key(f"validator-{n}").public.raw, power=10) for n in range(NODES))
    return Genesis(chain=CHAIN, time=time.time_ns(), validators=validators, state=to_value(state))


def signed(number: int, expires: int) -> bytes:
    """A transaction of about 300 bytes that no other has to come before: a node says where it is reached."""
    address = f"host-{number:010}.example".ljust(58, "0") + ":1"
    return build(
        genesis().chain_id,
        Move(address=address),
        (key(f"org-{number % SENDERS}/node"),),
        nonce=os.urandom(16),
        expires=expires,
    )


def plain(number: int, _expires: int) -> bytes:
    """What kvstore takes: a key and a value, as long as ours."""
    return f"{number:016}={os.urandom(200).hex()}"[:TX_BYTES].encode()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _n in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class Rpc:
    """One connection to a node."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, body: Any) -> Any:
        """Post; once more on a new connection when CometBFT has ended this one, as it does under overload."""
        try:
            return self._exchange(body)
        except (OSError, http.client.HTTPException):
            self._http.close()
            return self._exchange(body)

    def _exchange(self, body: Any) -> Any:
        self._http.request("POST", "/", json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(self._http.getresponse().read())

    def call(self, method: str, **params: str) -> Any:
        return self.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})["result"]


def core_seconds(roots: list[int]) -> float:
    """What processes and their children have used of the cores, and this one."""
    used, parents = dict[int, int](), dict[int, int]()
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                parents[int(place.name)], used[int(place.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    counted = dict.fromkeys([*roots, os.getpid()])
    for pid in used:
        above = pid
        while above and above not in counted:
            above = parents.get(above, 0)
        if above in roots:
            counted[pid] = None
    return sum(used.get(pid, 0) for pid in counted) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def network(folder: Path, *, ours: bool) -> Iterator[tuple[list[int], list[int]]]:
    """Four nodes; the ports of their RPC, and their processes."""
    founding = genesis()
    ports = free_ports(2 * NODES)
    listen, rpc = ports[:NODES], ports[NODES:]
    peers = [f"{node_id(key(f'peer-{n}').public)}@127.0.0.1:{listen[n]}" for n in range(NODES)]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for n in range(NODES):
            where = folder / f"n{n}"
            where.mkdir()
            (where / "genesis").write_bytes(to_bytes(founding))
            home = Home(where / "c")
            config = Config(
                moniker=f"n{n}",
                listen=f"127.0.0.1:{listen[n]}",
                peers=tuple(peer for m, peer in enumerate(peers) if m != n),
                same_host=True,
                rpc=f"tcp://127.0.0.1:{rpc[n]}",
            )
            home.write(founding, key(f"validator-{n}"), key(f"peer-{n}"), config)
            command = [sys.executable, str(Path(__file__).parent / "ledger_validator.py"), str(where), str(rpc[n])]
            if not ours:
                text = home.config / "config.toml"
                text.write_text(text.read_text().replace(f'proxy_app = "unix://{home.abci}"', 'proxy_app = "kvstore"'))
                command = [str(find_program()), "start", "--home", str(home.path), "--log_level", "error"]
            with (where / "log").open("wb") as log:
                processes.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, KeyError):
                if all(committed(Rpc(port)) >= 2 for port in rpc):
                    break
            if time.monotonic() > deadline:
                raise TimeoutError((folder / "n0" / "log").read_text()[-2000:])
            time.sleep(0.2)
        yield rpc, [process.pid for process in processes]
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(60)


def committed(link: Rpc) -> int:
    return int(link.call("abci_info")["response"].get("last_block_height", 0))


@dataclasses.dataclass
class Probe:
    """When each transaction was committed, as the first node's application says."""

    port: int
    done: dict[bytes, float] = dataclasses.field(default_factory=dict)
    blocks: list[tuple[float, int]] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self._link = Rpc(self.port)
        self._height = committed(self._link)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.03):
            height, now = committed(self._link), time.monotonic()
            for at in range(self._height + 1, height + 1):
                txs = self._link.call("block", height=str(at))["block"]["data"]["txs"] or []
                for tx in txs:
                    self.done[hashlib.sha256(base64.b64decode(tx)).digest()] = now
                self.blocks.append((now, len(txs)))
            self._height = height

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)


@dataclasses.dataclass(frozen=True)
class Outcome:
    offered: int
    rate: float
    p50: float
    p95: float
    committed: int
    sent: int
    blocks: int
    cores: float


def handed(number: int, entry: bytes) -> dict[str, Any]:
    """One entry for the mempool, as CometBFT's RPC takes it."""
    params = {"tx": base64.b64encode(entry).decode()}
    return {"jsonrpc": "2.0", "id": number, "method": "broadcast_tx_async", "params": params}


def steady(blocks: list[tuple[float, int]], since: float, until: float) -> float:
    """Transactions a second, from the first block that was seen in a window to the last."""
    seen = [(at, size) for at, size in blocks if since <= at <= until]
    if len(seen) < 2:
        return 0.0
    return sum(size for _at, size in seen[1:]) / (seen[-1][0] - seen[0][0])


def singly(txs: list[bytes]) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
    """Each as an entry of its own, as kvstore needs it."""
    return ((tx, (tx,)) for tx in txs)


def offer(
    ports: list[int],
    pids: list[int],
    make: Callable[[int, int], bytes],
    pack: Callable[[list[bytes]], Iterator[tuple[bytes, tuple[bytes, ...]]]],
    rate: int,
    start: int,
) -> Outcome:
    """Offer a rate for a while, and wait until what was taken is committed."""
    expires = committed(Rpc(ports[0])) + 200
    count = int(rate * SECONDS)
    txs = [make(start + n, expires) for n in range(count)]
    hashes = [hashlib.sha256(tx).digest() for tx in txs]
    links = [Rpc(port) for port in ports]  # after the signing: CometBFT ends a link that was silent for long
    probe = Probe(ports[0])
    sent: list[float] = []
    before_all = core_seconds(pids)
    began = time.monotonic()
    turn = 0
    while len(sent) < count:
        due = min(count, int((time.monotonic() - began) * rate) + 1)
        if due > len(sent):
            part = [entry for entry, _held in pack(txs[len(sent) : due])]
            now = time.monotonic()
            links[turn % NODES].post([handed(number, entry) for number, entry in enumerate(part)])
            turn += 1
            sent += [now] * (due - len(sent))
        time.sleep(max(0.0, TICK / NODES - (time.monotonic() - began) % (TICK / NODES)))
    ended = time.monotonic()
    quiet = ended
    while time.monotonic() - quiet < 2.5 and time.monotonic() - ended < DRAIN_SECONDS:
        before = len(probe.done)
        time.sleep(0.25)
        if len(probe.done) > before:
            quiet = time.monotonic()
    probe.stop()
    cores = core_seconds(pids) - before_all
    waits = sorted(
        probe.done[one] - at for one, at in zip(hashes, sent, strict=True) if one in probe.done and at >= began + WARM
    )
    return Outcome(
        offered=rate,
        rate=steady(probe.blocks, began + WARM, ended),
        p50=waits[len(waits) // 2] if waits else 0.0,
        p95=waits[int(len(waits) * 0.95)] if waits else 0.0,
        committed=sum(1 for one in hashes if one in probe.done),
        sent=count,
        blocks=sum(1 for _at, size in probe.blocks if size),
        cores=cores / max(1, len(probe.done)),
    )


def sweep(*, ours: bool, rates: tuple[int, ...]) -> list[Outcome]:
    with tempfile.TemporaryDirectory(prefix="bench") as where, network(Path(where), ours=ours) as (ports, pids):
        found, start = [], 0
        for rate in rates:
            made = (signed, bundles) if ours else (plain, singly)
            found.append(offer(ports, pids, made[0], made[1], rate, start))
            start += found[-1].sent
            print("ours   " if ours else "kvstore", found[-1], flush=True)
        return found


def middle(runs: list[Outcome]) -> Outcome:
    """The run of the median rate."""
    return sorted(runs, key=lambda one: one.rate)[len(runs) // 2]


def in_turns(rates: tuple[int, ...], runs: int) -> tuple[list[list[Outcome]], list[list[Outcome]]]:
    """Ours and theirs, one after the other, so often; for each turn an outcome of each rate."""
    mine, theirs = [], []
    for _turn in range(runs):
        mine.append(sweep(ours=True, rates=rates))
        theirs.append(sweep(ours=False, rates=rates))
    return mine, theirs


def main(rates: tuple[int, ...]) -> None:
    busy = os.getloadavg()[0]
    low, high = tuple(rate for rate in rates if rate < FULL), tuple(rate for rate in rates if rate >= FULL)
    parts = [in_turns(part, runs) for part, runs in ((low, 1), (high, RUNS)) if part]
    mine = [middle(list(of_rate)) for ours, _theirs in parts for of_rate in zip(*ours, strict=True)]
    theirs = [middle(list(of_rate)) for _ours, other in parts for of_rate in zip(*other, strict=True)]
    rows, beside = [], BESIDE
    for one, other in zip(mine, theirs, strict=True):
        rows.append(
            Row(f"committed at {one.offered:,} offered", one.rate, "tx/s", beside, other.rate, one.rate / other.rate)
        )
        rows.append(
            Row(f"p95 of commit at {one.offered:,} offered", one.p95, "s", beside, other.p95, one.p95 / other.p95)
        )
    kept = max((one.rate for one in mine if one.p95 < 2.0), default=0.0)
    best = max(one.rate for one in theirs)
    rows.append(Row("sustained with p95 under 2 s", kept, "tx/s", beside, best, kept / best))
    spent, least = min(one.cores for one in mine), min(one.cores for one in theirs)
    rows.append(Row("cores' time for a transaction, all nodes", spent * 1e6, "µs", beside, least * 1e6, spent / least))
    rows += saturation(*parts[-1])
    last = mine[-1]
    notes = [
        f"{NODES} validators, 500 ms timeout_commit, null indexer, batched broadcast_tx_async; {SECONDS:g} s a rate",
        f"from {FULL:,} offered on the median of {RUNS} turns of ours and kvstore one after the other",
        f"ours: signed transactions of {len(signed(1, 100))} bytes; kvstore: {TX_BYTES} bytes, no signature",
        f"at {last.offered:,} offered ours took {last.committed:,} of {last.sent:,} and refused the rest (ledger.full)",
        f"load of the machine before the run: {busy:.1f}; a fair figure needs it near 0",
        "targets: 1,500/s sustained with p95 under 2 s; ratio at saturation 0.5",
    ]
    report("ledger-network", rows, notes, parts=[ANEW])


def saturation(mine: list[list[Outcome]], theirs: list[list[Outcome]], part: str = "") -> list[Row]:
    """The most of ours and of kvstore's in turns that each offered some rates: the least, most and median ratio."""
    turns = [
        (max(one.rate for one in ours), max(one.rate for one in other))
        for ours, other in zip(mine, theirs, strict=True)
    ]
    turns.sort(key=lambda turn: turn[0] / turn[1])
    chosen = (("the least", turns[0]), ("the most", turns[-1]), ("median", turns[len(turns) // 2]))
    return [
        Row(f"{part}at saturation, {name} of {len(turns)} turns", most, "tx/s", BESIDE, top, most / top)
        for name, (most, top) in chosen
    ]


def anew() -> None:
    """Each side's best rate on a network of its own, in turns."""
    mine, theirs = [], []
    for _turn in range(RUNS):
        mine.append(sweep(ours=True, rates=(BEST,)))
        theirs.append(sweep(ours=False, rates=(BEST_OF_KVSTORE,)))
    note = f"{ANEW}a network for each rate, ours at {BEST:,} and kvstore at {BEST_OF_KVSTORE:,} offered"
    report("ledger-network", saturation(mine, theirs, ANEW), [note], part=ANEW, parts=[ANEW])


if __name__ == "__main__":
    if sys.argv[1:] == ["--anew"]:
        anew()
    else:
        main(tuple(map(int, sys.argv[1:])) or RATES)
