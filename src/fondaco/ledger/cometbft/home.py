"""CometBFT's home folder: keys, genesis and configuration, written from our own genesis and settings.

Layout: `config/config.toml`, `config/genesis.json`, `config/node_key.json`, `config/priv_validator_key.json`,
`data/` (CometBFT's own). The application's state in CometBFT's genesis is the hash of ours, so a node whose CometBFT
and whose ledger began with different documents does not start. RPC and ABCI are unix sockets in the home folder,
which other users cannot enter; the one TCP port is that of the peers' links.

The validator's key signs votes: two processes with one key are two faces, which CometBFT proves to all.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import json
import os
import re
import tomllib
from pathlib import Path

from fondaco.core.keys import PublicKey, SecretKey
from fondaco.errors import LedgerError
from fondaco.ledger.blocks import MAX_BLOCK_BYTES, ordered
from fondaco.ledger.cometbft.bundle import MOST_BYTES
from fondaco.ledger.genesis import Genesis

MAX_SOCKET_PATH = 100  # bytes; Linux allows 107 in all
_NANOS = 1_000_000_000
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(h|ms|m|us|ns|s)")
_DURATION = re.compile(rf"0|(?:{_PART.pattern})+")
EVIDENCE_BLOCKS = 100_000
EVIDENCE_BYTES = 64 << 10
MEMPOOL_BYTES = 256 << 20  # 128 blocks' worth; CometBFT would keep 1 GiB, and its collector lets five times that grow


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StateSync:
    """Where a late joiner takes a snapshot from: two or more RPC addresses, and a header that it trusts."""

    servers: tuple[str, ...]
    height: int
    header_hash: bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What differs between nodes and networks. Times in milliseconds; `listen` is host:port of the peers' port.

    `rpc` opens a TCP port for the RPC beside the socket's place: for networks on one machine alone, it has no lock.
    """

    moniker: str
    listen: str
    peers: tuple[str, ...] = ()
    timeout_commit: int = 500
    timeout_propose: int = 3000
    heartbeat: int = 10_000
    mempool_size: int = 20_000
    same_host: bool = False
    rpc: str = ""
    state_sync: StateSync | None = None


def node_id(key: PublicKey) -> str:
    """How CometBFT names a peer: 20 bytes of its key's hash, in hex."""
    return hashlib.sha256(key.raw).digest()[:20].hex()


class Home:
    """The paths of one home folder."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.config = self.path / "config"
        self.data = self.path / "data"
        self.abci = self.path / "abci.sock"
        self.rpc = self.path / "rpc.sock"
        if len(str(self.abci).encode()) > MAX_SOCKET_PATH:
            raise LedgerError("the folder's path is too long for a socket", remedy="use a shorter folder")

    def write(self, genesis: Genesis, validator: SecretKey, peer: SecretKey, config: Config) -> None:
        """Write keys, genesis and configuration; data that is there stays."""
        for folder in (self.path, self.config, self.data):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        _write(self.config / "node_key.json", {"priv_key": _secret(peer)})
        _write(
            self.config / "priv_validator_key.json",
            {
                "address": hashlib.sha256(validator.public.raw).digest()[:20].hex().upper(),
                "pub_key": _public(validator.public.raw),
                "priv_key": _secret(validator),
            },
        )
        _write(self.config / "genesis.json", genesis_document(genesis))
        state = self.data / "priv_validator_state.json"
        if not state.exists():
            _write(state, {"height": "0", "round": 0, "step": 0})
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Write the configuration alone."""
        _write_text(self.config / "config.toml", config_text(self, config))

    def longest_pause(self) -> float | None:
        """Seconds after which an idle chain makes an empty block; None: by its configuration it may make none.

        Raises:
            LedgerError: the configuration cannot be read.
        """
        where = self.config / "config.toml"
        try:
            said = tomllib.loads(where.read_text("utf-8")).get("consensus", {})
            if not said.get("create_empty_blocks", True):
                return None
            return _seconds(said.get("create_empty_blocks_interval", "0s"))
        except (OSError, ValueError, AttributeError) as fault:
            raise LedgerError(
                "CometBFT's configuration cannot be read", remedy="write it again", file=str(where)
            ) from fault


def _seconds(duration: object) -> float:
    """A duration as Go writes it: 10s, 500ms, 1m30s."""
    if not isinstance(duration, str) or _DURATION.fullmatch(duration) is None:
        raise ValueError("not a duration")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(duration))


def _secret(key: SecretKey) -> dict[str, str]:
    return {"type": "tendermint/PrivKeyEd25519", "value": _base64(key.seed + key.public.raw)}


def _public(raw: bytes) -> dict[str, str]:
    return {"type": "tendermint/PubKeyEd25519", "value": _base64(raw)}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _write(path: Path, content: object) -> None:
    _write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def _write_text(path: Path, text: str) -> None:
    """Whole or not at all, for this user alone."""
    fresh = path.with_name(path.name + ".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def rfc3339(time: int) -> str:
    """Unix nanoseconds as CometBFT writes times."""
    seconds, nanos = divmod(time, _NANOS)
    whole = datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{nanos:09d}Z"


def genesis_document(genesis: Genesis) -> dict[str, object]:
    """CometBFT's genesis of ours."""
    return {
        "genesis_time": rfc3339(genesis.time),
        "chain_id": genesis.chain_id,
        "initial_height": "1",
        "consensus_params": {
            "block": {"max_bytes": str(MAX_BLOCK_BYTES), "max_gas": "-1"},
            "evidence": {
                "max_age_num_blocks": str(EVIDENCE_BLOCKS),
                "max_age_duration": str(EVIDENCE_BLOCKS * _NANOS),
                "max_bytes": str(EVIDENCE_BYTES),
            },
            "validator": {"pub_key_types": ["ed25519"]},
            "version": {"app": str(genesis.version)},
            "abci": {"vote_extensions_enable_height": "0"},
        },
        "validators": [
            {
                "address": one.address.hex().upper(),
                "pub_key": _public(one.key),
                "power": str(one.power),
                "name": "",
            }
            for one in ordered(genesis.validators)
        ],
        "app_hash": "",
        "app_state": app_state(genesis),
    }


def app_state(genesis: Genesis) -> dict[str, str]:
    """What CometBFT hands back in InitChain: the hash of our genesis, which the ledger compares with its own."""
    return {"fondaco": genesis.hash.hex()}


def config_text(home: Home, config: Config) -> str:
    """config.toml: what differs from CometBFT's defaults."""

    def text(value: str) -> str:
        return json.dumps(value)

    def milliseconds(value: int) -> str:
        return text(f"{value}ms")

    sync = config.state_sync
    strict = "false" if config.same_host else "true"
    lines = [
        f"proxy_app = {text(f'unix://{home.abci}')}",
        f"moniker = {text(config.moniker)}",
        'abci = "socket"',
        'db_backend = "goleveldb"',
        'log_level = "info"',
        'log_format = "json"',
        "[rpc]",
        f"laddr = {text(config.rpc or f'unix://{home.rpc}')}",
        "max_request_batch_size = 0",
        "max_body_bytes = 16000000",
        "[p2p]",
        f"laddr = {text(f'tcp://{config.listen}')}",
        f"persistent_peers = {text(','.join(config.peers))}",
        f"addr_book_strict = {strict}",
        f"allow_duplicate_ip = {'true' if config.same_host else 'false'}",
        "pex = false",
        'persistent_peers_max_dial_period = "5s"',
        'flush_throttle_timeout = "10ms"',
        "send_rate = 20480000",
        "recv_rate = 20480000",
        "[mempool]",
        f"size = {config.mempool_size}",
        f"cache_size = {4 * config.mempool_size}",
        f"max_tx_bytes = {MOST_BYTES}",
        f"max_txs_bytes = {MEMPOOL_BYTES}",
        "[statesync]",
        f"enable = {'true' if sync else 'false'}",
        *(
            [
                f"rpc_servers = {text(','.join(sync.servers))}",
                f"trust_height = {sync.height}",
                f"trust_hash = {text(sync.header_hash.hex().upper())}",
                'trust_period = "168h0m0s"',
                'discovery_time = "5s"',
            ]
            if sync
            else []
        ),
        "[consensus]",
        f"timeout_propose = {milliseconds(config.timeout_propose)}",
        f"timeout_commit = {milliseconds(config.timeout_commit)}",
        "create_empty_blocks = true",
        f"create_empty_blocks_interval = {milliseconds(config.heartbeat)}",
        "[tx_index]",
        'indexer = "null"',
    ]
    return "\n".join(lines) + "\n"
