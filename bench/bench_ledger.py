"""The embedded ledger: signed transfers end to end, replay, proofs, size; beside SQLite with PyNaCl and no ledger.

`theirs` is what nobody could do without: verify each Ed25519 signature and insert each transaction as one row, in
transactions of as many rows as our blocks had, in the same mode (WAL, synchronous=FULL), in the same run.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from nacl.bindings import crypto_sign_open

from fondaco.core.keys import SecretKey
from fondaco.core.messages import from_bytes, to_bytes, to_value
from fondaco.ledger.blocks import Validator
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.identity.messages import NodeSpec, OrganisationSpec, UserSpec
from fondaco.ledger.contracts.points.messages import Transfer
from fondaco.ledger.embedded import Committed, EmbeddedLedger
from fondaco.ledger.follower import FollowerLedger
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.light import Proof, trust_genesis, verify_proof
from fondaco.ledger.transactions import DOMAIN, Envelope, build
from harness import Row, report

CHAIN = "bench"
PROOFS = 50
CHUNK = 2000
EXPIRY = 30  # blocks: near, so that forgetting old nonces is measured too


def key(name: str) -> SecretKey:
    return SecretKey.from_seed(hashlib.sha256(name.encode()).digest())


def organisation(name: str) -> OrganisationSpec:
    node = NodeSpec(key=key(f"{name}/node").public.raw, certificate=b"c", address="host:1", seal_key=b"\x09" * 32)
    user = UserSpec(key=key(f"{name}/user").public.raw, roles=("governor",), seal_key=b"\x09" * 32)
    admins = (key(f"{name}/admin").public.raw,)
    return OrganisationSpec(name=name, title=name, kind="member", admins=admins, threshold=1, node=node, users=(user,))


def genesis() -> Genesis:
    state = registry.GenesisState(
        organisations=(organisation("payer"), organisation("payee")),
        allotments={"payer": 10**9},
    )
    validators = (Validator(key=key("validator").public.raw, power=1),)
    return Genesis(chain=CHAIN, time=1_700_000_000 * 10**9, validators=validators, state=to_value(state))


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def plain(folder: Path, txs: list[bytes], group: int) -> float:
    """Seconds to verify and insert without a ledger."""
    db = sqlite3.connect(folder / "plain.sqlite", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE tx (hash BLOB PRIMARY KEY, tx BLOB) WITHOUT ROWID")
    public = key("payer/user").public.raw
    opened = [from_bytes(Envelope, tx) for tx in txs]
    started = time.perf_counter()
    for at in range(0, len(txs), group):
        db.execute("BEGIN IMMEDIATE")
        for tx, envelope in zip(txs[at : at + group], opened[at : at + group], strict=True):
            message = b"fondaco\x00" + DOMAIN.encode() + b"\x00" + envelope.body
            crypto_sign_open(envelope.signatures[0] + message, public)
            db.execute("INSERT INTO tx VALUES (?, ?)", (hashlib.sha256(tx).digest(), tx))
        db.execute("COMMIT")
    seconds = time.perf_counter() - started
    db.close()
    return seconds


CHAIN_ID = genesis().chain_id


def transfer(sequence: int, expires: int) -> bytes:
    msg = Transfer(source="payer", target="payee", amount=1, sequence=sequence)
    return build(CHAIN_ID, msg, (key("payer/user"),), nonce=os.urandom(16), expires=expires)


def main(count: int) -> None:
    founding = genesis()
    with tempfile.TemporaryDirectory() as where:
        ours, theirs, copy = (Path(where) / name for name in ("ours", "theirs", "copy"))
        for folder in (ours, theirs, copy):
            folder.mkdir()
        ledger = EmbeddedLedger(ours, founding, registry, key("validator"))
        ledger.wait_provable(10)
        txs: list[bytes] = []
        done: list[Committed] = []
        seconds = 0.0
        while len(txs) < count:
            ledger.wait_provable(10)
            part = [transfer(len(txs) + n + 1, ledger.height + EXPIRY) for n in range(min(CHUNK, count - len(txs)))]
            started = time.perf_counter()
            done += [future.result(120) for future in [ledger.submit(tx) for tx in part]]
            seconds += time.perf_counter() - started
            txs += part
        assert all(committed.result.code == 0 for committed in done)
        blocks = len({committed.height for committed in done})
        bare = plain(theirs, txs, max(1, count // blocks))

        ledger.wait_provable(10)
        chain = ledger.blocks(1, ledger.height, 1 << 32)
        follower = FollowerLedger(copy, founding, registry)
        started = time.perf_counter()
        for block in chain:
            follower.apply(block)
        replay = time.perf_counter() - started
        assert follower.status().app_hash == ledger.status().app_hash
        follower.close()

        proof = to_bytes(ledger.prove([b"points/balance/payee"]))
        trusted = trust_genesis(founding)
        started = time.perf_counter()
        for _n in range(PROOFS):
            verify_proof(trusted, from_bytes(Proof, proof))
        light = (time.perf_counter() - started) / PROOFS
        envelope = from_bytes(Envelope, txs[0])
        signed = envelope.signatures[0] + b"fondaco\x00" + DOMAIN.encode() + b"\x00" + envelope.body
        started = time.perf_counter()
        for _n in range(PROOFS):
            crypto_sign_open(signed, key("payer/user").public.raw)
        signature = (time.perf_counter() - started) / PROOFS
        ledger.stop()
        disk, plain_disk = size_of(ours) / count, size_of(theirs) / count
    sqlite = "SQLite FULL + PyNaCl, no ledger"
    rows = [
        Row("signed transfers, durable", count / seconds, "tx/s", sqlite, count / bare, bare / seconds),
        Row("replay by a follower", count / replay, "tx/s", sqlite, count / bare, bare / replay),
        Row("light proof of one key", light * 1e3, "ms", "one Ed25519 signature", signature * 1e3, light / signature),
        Row(
            "size of that proof",
            float(len(proof)),
            "bytes",
            "one transfer",
            float(len(txs[0])),
            len(proof) / len(txs[0]),
        ),
        Row("on disk, a transaction", disk, "bytes", sqlite, plain_disk, disk / plain_disk),
    ]
    notes = [
        f"{count} transfers of {len(txs[0])} bytes in {blocks} blocks; target 2,000 tx/s on two cores",
        "the proof decodes, verifies header, commit and state root from the pinned genesis, and the key under it",
    ]
    report("ledger", rows, notes)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
