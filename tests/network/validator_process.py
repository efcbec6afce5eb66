"""A validator as a process of its own: a ledger of the real contracts under CometBFT, asked over a unix socket.

Started by network_world.py; each line on the socket is a JSON request, each answer a JSON line. Ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import socketserver
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from fondaco.core.keys import SecretKey
from fondaco.core.messages import from_bytes
from fondaco.errors import FondacoError
from fondaco.ledger import application
from fondaco.ledger.blocks import MAX_WIRE_BYTES, Block
from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.cometbft.home import Home
from fondaco.ledger.cometbft.rpc import Rpc
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.points.messages import Transfer
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.transactions import build, open_transaction

CHAIN = "network-test"
REQUESTS = b"grants/request/"


def answer(ledger: CometLedger, asked: dict[str, Any], waiting: dict[str, Future[Any]], hands: Rpc) -> Any:
    """What a request gets."""
    match asked:
        case {"verb": "status"}:
            at = ledger.status()
            tip = ledger._tip
            return {
                "height": at.height,
                "app_hash": at.app_hash.hex(),
                "events": at.events,
                "trouble": ledger.trouble,
                "remedy": "" if ledger.failed is None else ledger.failed.remedy,
                "version": 0 if tip is None else tip.header.app_version,
                "waiting": ledger._backlog._of.copy(),
                "pid": ledger.supervisor.pid,
                "sealed": 0 if tip is None else tip.header.height,
                "header": "" if tip is None else tip.header.hash.hex(),
                "validators": len(ledger.validators_at(at.height + 1)),
                "oldest": next((h for h in range(1, at.height + 1) if ledger.block(h)), 0),
                "lies": getattr(ledger, "lies", []),
                "starts": ledger.supervisor.starts,
                "snapshots": [one.height for one in ledger.snapshots()],
            }
        case {"verb": "submit", "txs": [*txs]}:
            refused = []
            for text in txs:
                tx = bytes.fromhex(text)
                try:
                    waiting[text] = ledger.submit(tx)
                    refused.append("")
                except FondacoError as fault:
                    refused.append(fault.code)
            return refused
        case {"verb": "results", "txs": [*txs], "seconds": seconds}:
            found = []
            for text in txs:
                try:
                    done = waiting[text].result(seconds)
                    found.append([done.height, done.result.code, done.result.cause])
                except TimeoutError:
                    found.append(None)
                except FondacoError as fault:
                    found.append([0, -1, fault.cause])
            return found
        case {"verb": "hand over", "entries": [*entries]}:
            return hands.broadcast([bytes.fromhex(entry) for entry in entries])
        case {"verb": "authors", "height": height}:
            block = from_bytes(Block, ledger.block(height) or b"", limit=MAX_WIRE_BYTES)
            return [open_transaction(tx, ledger.chain_id).signers[0].hex() for tx in block.txs]
        case {"verb": "missing", "txs": [*hashes]}:
            return [one for one in hashes if ledger.value(REQUESTS + derive("request", bytes.fromhex(one))) is None]
        case {"verb": "query", "path": path, **named}:
            data = {name: bytes.fromhex(value) if name == "id" else value for name, value in named.items()}
            return json.loads(json.dumps(ledger.query(path, data), default=lambda value: value.hex()))
    raise ValueError(asked)


class Liar(CometLedger):
    """A validator that proposes what no block may hold, another lie each time, and accepts it itself."""

    lies: list[str]
    seen: list[bytes]

    def propose(self, txs: list[bytes], limit: int) -> list[bytes]:
        """A block that is garbage, forged, doubled, replayed, of another chain, too large or expired."""
        sound = super().propose(txs, limit)
        if not sound:
            return sound
        self.seen = [*self.seen[-50:], *sound]
        first = sound[0]
        stranger = SecretKey.generate()
        msg = Transfer(source="org-1", target="org-4", amount=10**6, sequence=1)
        lies = {
            "garbage": [*sound, os.urandom(200)],
            "empty": [b"", *sound],
            "forged": [*sound, first[:-3] + bytes((first[-3] ^ 1,)) + first[-2:]],
            "doubled": [*sound, first],
            "replayed": [self.seen[0], *sound] if self.seen[0] not in sound else [*sound, *sound],
            "foreign": [*sound, build("another", msg, (stranger,), nonce=os.urandom(16), expires=self.height + 9)],
            "expired": [*sound, build(self.chain_id, msg, (stranger,), nonce=os.urandom(16), expires=self.height)],
            "oversized": [*sound, os.urandom(70_000)],
            "full": [os.urandom(1000) for _n in range(1500)],
        }
        name = list(lies)[len(self.lies) % len(lies)]
        self.lies.append(name)
        return lies[name]

    def accept(self, txs: list[bytes]) -> None:
        """Anything."""


def main(folder: Path, *, lies: bool, rules: int) -> None:
    """Serve until SIGTERM, as software that has these rules."""
    application.APP_VERSION = rules
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    genesis = from_bytes(Genesis, (folder / "genesis").read_bytes())
    kind, home = Liar if lies else CometLedger, Home(folder / "c")
    ledger, hands = kind(folder, genesis, registry, home, snapshot_blocks=25), Rpc(home.rpc)
    if isinstance(ledger, Liar):
        ledger.lies, ledger.seen = [], []
    waiting: dict[str, Future[Any]] = {}

    class Answers(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                said = answer(ledger, json.loads(line), waiting, hands)
                self.wfile.write(json.dumps(said).encode() + b"\n")

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    control = folder / "control"
    control.unlink(missing_ok=True)
    with Server(str(control), Answers) as server:
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ledger.start()
        while not stop.wait(0.5):  # a signal that another thread was given does not wake this one
            pass
        server.shutdown()
        ledger.stop()


if __name__ == "__main__":
    said = argparse.ArgumentParser()
    said.add_argument("folder", type=Path)
    said.add_argument("--lies", action="store_true")
    said.add_argument("--rules", type=int, required=True)
    main(**vars(said.parse_args()))
