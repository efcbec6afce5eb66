"""One real CometBFT process under a ledger, for tests."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

from ledger_world import VALIDATOR, Counter, counter_genesis, key

from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.cometbft.home import Config, Home
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.registry import Registry


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def comet_ledger(
    folder: Path,
    genesis: Genesis | None = None,
    registry: Registry | None = None,
    *,
    snapshot_blocks: int = 1000,
    program: Path | None = None,
    environment: Mapping[str, str] | None = None,
    start: bool = True,
) -> CometLedger:
    """A ledger with a validator of its own; blocks come a tenth of a second after one another."""
    founding = genesis or counter_genesis()
    home = Home(folder / "cometbft")
    config = Config(moniker="one", listen=f"127.0.0.1:{free_port()}", timeout_commit=100, same_host=True)
    home.write(founding, key(VALIDATOR), key("peer"), config)
    ledger = CometLedger(
        folder,
        founding,
        registry or Counter(),
        home,
        snapshot_blocks=snapshot_blocks,
        program=program,
        environment=environment,
    )
    if start:
        ledger.start()
    return ledger
