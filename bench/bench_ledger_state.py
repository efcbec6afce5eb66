"""How a block's time grows with the state, from 10^4 keys to 10^6; and what a light verifier pays for one grant.

A block holds 1,000 signed transfers and goes the whole way: signatures, contracts, tree, log, one durable transaction.
The state is filled beforehand with records under a prefix that no contract reads, through the application itself, so
tree, file and caches are those of a state of that size. `theirs` writes as many rows into a SQLite table of that size,
as durably, and verifies and proves nothing. The grant is the one that is sold in examples/fifth_institution.py.
"""

from __future__ import annotations

import hashlib
import io
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

from bench_ledger import CHAIN_ID, genesis, transfer
from curve import Points, draw
from fondaco.core.messages import from_bytes, to_bytes
from fondaco.ledger.application import Application
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.grants import keys as grant_keys
from fondaco.ledger.light import Proof, trust_genesis, verify_proof
from fondaco.ledger.storage import Storage
from harness import RESULTS, Row, report

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import fifth_institution as story

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
TXS, BLOCKS, STEP = 1000, 7, 50_000
PROOFS, TARGET_MS = 200, 5.0
SECOND = 10**9


def fill(app: Application, size: int) -> None:
    """Commit records until the state has `size` keys, many in a block."""
    founding = genesis()
    have, height = 0, app.height
    while have < size:
        height += 1
        for number in range(have, min(size, have + STEP)):
            name = number.to_bytes(8, "big")
            app._changes.set(b"bench/filler/" + name, hashlib.sha256(name).digest() * 4)
        have = min(size, have + STEP)
        app.finalize_block(height, founding.time + height * SECOND, [])
        app.commit(None)


def ours(folder: Path, size: int) -> float:
    """The median seconds of a block over a state of that size."""
    storage = Storage(folder / "ledger.sqlite")
    app = Application(storage, registry)
    founding = genesis()
    app.init_chain(CHAIN_ID, founding.time, founding.state, validators=founding.validators)
    fill(app, size)
    seconds = []
    for block in range(BLOCKS):
        height = app.height + 1
        txs = [transfer(block * TXS + n + 1, height + 100) for n in range(TXS)]
        started = time.perf_counter()
        done = app.finalize_block(height, founding.time + height * SECOND, txs)
        app.commit(None)
        seconds.append(time.perf_counter() - started)
        assert all(result.code == 0 for result in done.results)
    storage.close()
    return statistics.median(seconds)


def theirs(folder: Path, size: int) -> float:
    """The median seconds of as many rows into a table of that size."""
    db = sqlite3.connect(folder / "plain.sqlite", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE kv (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")

    def put(start: int, count: int) -> float:
        rows = [(hashlib.sha256(n.to_bytes(8, "big")).digest(), bytes(128)) for n in range(start, start + count)]
        started = time.perf_counter()
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO kv VALUES (?, ?)", rows)
        db.execute("COMMIT")
        return time.perf_counter() - started

    put(0, size)
    seconds = [put(size + block * TXS, TXS) for block in range(BLOCKS)]
    db.close()
    return statistics.median(seconds)


def grant_rows() -> list[Row]:
    """What one who trusts the genesis alone pays to see that a grant is on the ledger."""
    chain = story.Consortium()
    with redirect_stdout(io.StringIO()):
        story.admit(chain)
        grant = story.sell(chain)
        chain.wait(2)
    proof = to_bytes(chain.prove([grant_keys.grant(grant)]))
    trusted = trust_genesis(chain.genesis)
    seconds = []
    for _n in range(PROOFS):
        started = time.perf_counter()
        verify_proof(trusted, from_bytes(Proof, proof))
        seconds.append(time.perf_counter() - started)
    record = chain.value(grant_keys.grant(grant)) or b""
    validators = len(chain.signers())
    chain.close()
    milliseconds = statistics.median(seconds) * 1e3
    return [
        Row(f"light verification of a grant, {validators} validators", milliseconds, "ms", "target: under", TARGET_MS,
            milliseconds / TARGET_MS),
        Row("size of that proof", float(len(proof)), "bytes", "the grant alone", float(len(record)),
            len(proof) / len(record)),
    ]  # fmt: skip


def main(sizes: tuple[int, ...]) -> None:
    rows = grant_rows()
    lines: dict[str, Points] = {"a block of 1,000 transfers": [], "1,000 rows into SQLite, no ledger": []}
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="bench-state-") as name:
            mine, other = ours(Path(name), size), theirs(Path(name), size)
        rows.append(
            Row(
                f"block of {TXS:,} over {size:,} keys",
                mine * 1e3,
                "ms",
                "SQLite FULL, as many rows",
                other * 1e3,
                mine / other,
            )
        )
        for line, seconds in zip(lines.values(), (mine, other), strict=True):
            line.append((size, seconds))
        print(rows[-1], flush=True)
    draw(
        RESULTS / "ledger-state.svg",
        "Seconds of a block against the keys of the state",
        lines,
        across="keys of the state",
    )
    report(
        "ledger-state", rows, [f"median of {BLOCKS} blocks; signatures, contracts, tree, log, one durable transaction"]
    )


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or SIZES)
