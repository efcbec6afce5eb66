"""What four validators vote holds for all of them: a quota, an expulsion, and an upgrade that one of them lacks."""

from __future__ import annotations

import collections
import os
import threading
from typing import Any

import pytest
from ledger_world import key
from network_node import Node, until
from network_world import Network

from fondaco.core.codec import encode
from fondaco.core.messages import to_bytes
from fondaco.ledger.application import APP_VERSION
from fondaco.ledger.contracts.governance.messages import CancelUpgrade, Expel, Quota, Upgrade
from fondaco.ledger.transactions import Body, Envelope

QUOTA = 5
VOTERS = ("org-1", "org-2", "org-3", "org-4")
GREEDY = "org-4"
OUT = "org-5"
NEWER, PACKAGE = APP_VERSION + 1, b"\x0b" * 32


def submitted(node: Node, txs: list[bytes]) -> list[tuple[int, int, str]]:
    """Submit at a node and wait: height, code and cause of each."""
    texts = [tx.hex() for tx in txs]
    assert node.ask({"verb": "submit", "txs": texts}) == [""] * len(txs)
    found = node.ask({"verb": "results", "txs": texts, "seconds": 30.0}, seconds=60.0)
    assert None not in found
    return [(height, code, cause) for height, code, cause in found]


def status(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = node.ask({"verb": "status"})
    return found


# -- a quota --------------------------------------------------------------------------------------------------------------


class Flood:
    """An institution that gives every node others of its transactions at once, past the ledgers: more than its quota.

    By turns large ones, alone, and a bundle in which all but the first are over the quota.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._over = threading.Event()
        self.most: collections.Counter[int] = collections.Counter()
        self._threads = [threading.Thread(target=self._run, args=(node,), daemon=True) for node in network.nodes]
        for thread in self._threads:
            thread.start()

    def _junk(self, size: int, expires: int) -> bytes:
        """Signed and a message, of which a block does nothing."""
        secret = key(f"{GREEDY}/user")
        body = to_bytes(
            Body(
                chain=self._network.genesis.chain_id,
                kind="points.transfer/1",
                payload=encode({"x": os.urandom(size)}),
                nonce=os.urandom(16),
                expires=expires,
                signers=(secret.public.raw,),
            )
        )
        return to_bytes(Envelope(body=body, signatures=(secret.sign("tx", body),)))

    def _run(self, node: Node) -> None:
        seen = 0
        while not self._over.wait(0.01):
            said = status(node)
            self.most[node.number] = max(self.most[node.number], said["waiting"].get(GREEDY, 0))
            if said["height"] > seen:
                seen = said["height"]
                large = [self._junk(60_000, seen + 200) for _n in range(QUOTA)]
                filled = encode([*(self._junk(200, seen + 200) for _n in range(QUOTA)), *large[:4]])
                entries = [filled] if seen % 4 == 0 else large
                node.ask({"verb": "hand over", "entries": [entry.hex() for entry in entries]})

    def end(self) -> None:
        """Stop."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()


def check_quota(network: Network) -> None:
    """What is over a quota waits or is refused by name; who floods all nodes takes nobody's place."""
    one, two, three, _four = network.nodes
    network.decide(Quota(organisation=GREEDY, limit=QUOTA), VOTERS)
    first = network.nodes[0].height
    done = submitted(two, [network.request(two.height + 200, GREEDY) for _n in range(6 * QUOTA)])
    refused = [cause for _height, code, cause in done if code]
    assert len(done) - len(refused) >= QUOTA
    assert all(f"{GREEDY} may have {QUOTA} transactions in a block" in cause for cause in refused)

    flood = Flood(network)
    try:
        for at in (one, two, three, one, two):
            began = at.height
            ((height, code, _cause),) = submitted(at, [network.request(began + 200, "org-3")])
            assert code == 0
            assert height <= began + 10, "what others sent was in the way"
    finally:
        flood.end()
    assert sorted(flood.most) == [node.number for node in network.nodes]
    assert max(flood.most.values()) <= QUOTA
    greedy, now = key(f"{GREEDY}/user").public.raw.hex(), one.height
    until(lambda: status(one)["sealed"] >= now, "the blocks of the flood")
    counts = [one.ask({"verb": "authors", "height": h}).count(greedy) for h in range(first, now + 1)]
    assert max(counts) == QUOTA, counts
    network.decide(Quota(organisation=GREEDY, limit=0), VOTERS)


# -- an expulsion ---------------------------------------------------------------------------------------------------------


def check_expelled(network: Network) -> None:
    """What an expelled institution signs is in no block, whether a node is asked or CometBFT is handed it past all."""
    one, two, *_others = network.nodes
    first = one.height
    assert [code for _height, code, _cause in submitted(one, [network.request(first + 200, OUT)])] == [0]
    network.decide(Expel(organisation=OUT, forfeit=False), VOTERS)
    now = one.height
    until(lambda: min(node.height for node in network.nodes) >= now, "all know of the expulsion")
    junk = [network.request(now + 200, OUT) for _n in range(3)]
    texts = [tx.hex() for tx in junk]
    assert two.ask({"verb": "submit", "txs": texts}) == ["ledger.expelled"] * len(junk)
    for node in network.nodes:
        node.ask({"verb": "hand over", "entries": [*texts, encode(junk).hex()]})
    ((height, code, _cause),) = submitted(one, [network.request(one.height + 200, "org-3")])
    assert code == 0
    until(lambda: status(one)["sealed"] >= height, "the blocks after the expulsion")
    out = key(f"{OUT}/user").public.raw.hex()
    assert [one.ask({"verb": "authors", "height": h}).count(out) for h in range(now + 1, height + 1)] == [0] * (
        height - now
    )
    assert {status(node)["waiting"].get(OUT, 0) for node in network.nodes} == {0}


# -- an upgrade -----------------------------------------------------------------------------------------------------------


def cancelled_upgrade(network: Network) -> int:
    """An upgrade that is voted and taken back before its height, which comes back."""
    height = network.nodes[0].height + 15
    network.decide(Upgrade(height=height, version=NEWER, package=PACKAGE), VOTERS)
    network.decide(CancelUpgrade(height=height), VOTERS)
    assert network.nodes[0].height < height
    return height


def check_upgrade(network: Network) -> None:
    """Three have the newer software, one has not, and halts by name at the height; the others go on."""
    *newer, old = network.nodes
    assert [node.rules for node in network.nodes] == [NEWER, NEWER, NEWER, APP_VERSION]
    height = old.height + 8
    network.decide(Upgrade(height=height, version=NEWER, package=PACKAGE), VOTERS)
    until(lambda: status(old)["trouble"] is not None, "the old software halts")
    network.goes_on(without=[old], blocks=2)
    for again in (False, True):
        said = status(old)
        assert said["height"] == height - 1
        assert (
            said["trouble"] == f"from block {height} on the rules are version {NEWER}; this software has {APP_VERSION}"
        )
        assert PACKAGE.hex() in said["remedy"]
        if not again:
            old.stop()
            old.start()
            until(lambda: status(old)["trouble"] is not None, "the old software halts again")
    assert {status(node)["version"] for node in newer} == {NEWER}

    old.stop()
    old.rules = NEWER
    old.start()
    network.goes_on(blocks=2)
    network.check()


@pytest.mark.timeout(300)
def test_a_vote_binds_four_validators(network_with_newer: Network) -> None:
    network = network_with_newer
    height = cancelled_upgrade(network)
    check_quota(network)
    check_expelled(network)
    until(lambda: all(status(node)["sealed"] > height for node in network.nodes), "the height without its upgrade")
    assert {status(node)["version"] for node in network.nodes} == {APP_VERSION}
    check_upgrade(network)
