"""One validator of the benchmark's network, as a process: the real contracts under CometBFT, until SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path

from fondaco.core.collector import collect_seldom
from fondaco.core.messages import from_bytes
from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.cometbft.home import Home
from fondaco.ledger.contracts import registry
from fondaco.ledger.genesis import Genesis


def main(folder: Path, port: int) -> None:
    logging.basicConfig(level=logging.WARNING)
    genesis = from_bytes(Genesis, (folder / "genesis").read_bytes())
    ledger = CometLedger(folder, genesis, registry, Home(folder / "c"), rpc=("127.0.0.1", port))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    collect_seldom()
    ledger.start()
    stop.wait()
    ledger.stop()
    if profile := os.environ.get("BENCH_CPU"):
        times = os.times()
        Path(profile).write_text(f"{times.user + times.system:.2f}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
