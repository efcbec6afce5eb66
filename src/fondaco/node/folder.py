"""A node's folder: where everything that one institution keeps is, and its settings.

Layout (folder 0700, files 0600): `node.json` settings, `keys/`, `ledger/`, `cometbft/`, `vault/`, `results/`, `kept/`,
`journal.sqlite`, `control.sock` (the socket's own folder keeps other users out), `node.log`, `node.lock`.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import time
from pathlib import Path
from typing import IO

from fondaco.core.keys import SecretKey
from fondaco.core.names import check_part
from fondaco.core.sealed import SealSecret
from fondaco.engines.base import MEMORY_MIB
from fondaco.errors import NodeError
from fondaco.node import keystore

SETTINGS = "node.json"
LOCK = "node.lock"
_LOOK_SECONDS = 0.2
_MAX_SETTINGS = 64 * 1024
_MOST_MEMORY_MIB = 2**20
USER_ROLES: dict[str, tuple[str, ...]] = {
    "steward": ("steward",),
    "analyst": ("analyst",),
    "reviewer": ("reviewer",),
    "officer": ("governor",),
}
REGULATOR_ROLES = {"auditor": ("regulator",)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What a node knows of itself and of where its consortium begins. Nothing here is secret.

    `driver` is embedded or cometbft; with CometBFT, `consensus_port` is its own port, and `consensus_peers` are the
    validators that it links to, `id@host:port` each, with commas between.
    """

    org: str
    title: str
    kind: str
    chain: str
    host: str
    port: int
    validator: bool
    genesis_hash: str = ""
    validator_did: str = ""
    validator_address: str = ""
    validator_certificate: str = ""
    driver: str = "embedded"
    consensus_port: int = 0
    consensus_peers: str = ""
    stale_seconds: int = 30
    step_seconds: int = 120
    most_keys: int = 100
    """For how many keys a hidden query of our data may ask where its grant does not say; 0: for none at all."""
    asker_memory_mib: int = MEMORY_MIB
    """The memory that each hidden query of ours may take here, by what a provider says; above, it is refused.

    In MiB, 1 to 2^20.
    """


class Folder:
    """The paths and the keys of one node."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys = path / "keys"
        self.users = self.keys / "users"
        self.ledger = path / "ledger"
        self.vault = path / "vault"
        self.results = path / "results"
        self.kept = path / "kept"
        self.consensus = path / "cometbft"
        self.control = path / "control.sock"
        self.log = path / "node.log"
        self.journal = path / "journal.sqlite"
        self.index = path / "index.sqlite"

    @classmethod
    def create(cls, path: Path) -> Folder:
        """Make the folders of a new node, all closed to others, with new keys.

        Raises:
            NodeError: there is a node already.
        """
        if (path / SETTINGS).exists():
            raise NodeError("there is a node in this folder already", remedy="choose another folder", folder=str(path))
        folder = cls(path)
        made = (path, folder.keys, folder.users, folder.ledger, folder.results)
        for one in made:
            one.mkdir(mode=0o700, parents=True, exist_ok=True)
            one.chmod(0o700)
        keystore.new_signing_key(folder.keys / "admin.key")
        keystore.new_signing_key(folder.keys / "node.key")
        keystore.new_seal_key(folder.keys / "seal.key")
        keystore.write_secret(folder.keys / "vault.key", os.urandom(keystore.KEY_BYTES))
        return folder

    def add_user(self, name: str) -> None:
        """Make the two keys of a user of this institution: one to sign, one to open results with."""
        check_part(name)
        keystore.new_signing_key(self.users / f"{name}.key")
        keystore.new_seal_key(self.users / f"{name}.seal.key")

    def user_key(self, name: str) -> SecretKey:
        """The signing key of a user."""
        return keystore.signing_key(self.users / f"{check_part(name)}.key")

    def user_seal(self, name: str) -> SealSecret:
        """The sealing key of a user."""
        return keystore.seal_key(self.users / f"{check_part(name)}.seal.key")

    def user_names(self) -> list[str]:
        """The users whose keys are kept here, sorted."""
        return sorted(p.name.removesuffix(".key") for p in self.users.glob("*.key") if ".seal." not in p.name)

    @property
    def admin_key(self) -> SecretKey:
        """The key of the institution's administrator."""
        return keystore.signing_key(self.keys / "admin.key")

    @property
    def node_key(self) -> SecretKey:
        """The key of the node, which its TLS certificate is made of."""
        return keystore.signing_key(self.keys / "node.key")

    @property
    def validator_key(self) -> SecretKey:
        """The key that signs blocks; only a validator has one."""
        return keystore.signing_key(self.keys / "validator.key")

    @property
    def consensus_key(self) -> SecretKey:
        """The key by which CometBFT's peers know this one."""
        return keystore.signing_key(self.keys / "consensus.key")

    @property
    def seal_key(self) -> SealSecret:
        """The key that results for this institution are sealed to."""
        return keystore.seal_key(self.keys / "seal.key")

    @property
    def vault_key(self) -> bytes:
        """The vault's master key, 32 bytes."""
        return keystore.read_secret(self.keys / "vault.key")

    def save(self, settings: Settings) -> None:
        """Write the settings, whole or not at all."""
        target = self.path / SETTINGS
        fresh = target.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(dataclasses.asdict(settings), file, indent=2, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(target)

    def settings(self) -> Settings:
        """Read the settings.

        Raises:
            NodeError: no node here, or the file is damaged, has fields that this version does not know, or a budget of
                memory that is none.
        """
        remedy = "run `fondaco init` for this folder first; then `fondaco join`, unless it founds a consortium"
        try:
            text = (self.path / SETTINGS).read_text("utf-8")
        except FileNotFoundError as fault:
            raise NodeError("there is no node in this folder", remedy=remedy, folder=str(self.path)) from fault
        if len(text) > _MAX_SETTINGS:
            raise NodeError("the settings file is far too large", remedy="restore node.json", folder=str(self.path))
        try:
            settings = Settings(**json.loads(text))
        except (ValueError, TypeError) as fault:
            raise NodeError(
                "the settings file is damaged",
                remedy="restore node.json from its backup",
                folder=str(self.path),
            ) from fault
        budget = settings.asker_memory_mib
        if type(budget) is not int or not 1 <= budget <= _MOST_MEMORY_MIB:  # a bool is an int to `isinstance`
            raise NodeError(
                "asker_memory_mib in the settings file is no budget of memory",
                remedy=f"set it to a whole number of MiB in node.json, from 1 to {_MOST_MEMORY_MIB}",
                folder=str(self.path),
            )
        return settings

    def held(self) -> bool:
        """Whether a process has the folder: one that starts, runs or has not ended yet."""
        try:
            with (self.path / LOCK).open("r", encoding="ascii") as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def lock(self) -> IO[str]:
        """Hold the folder for one process; keep the returned file open as long.

        Raises:
            NodeError: another process has it.
        """
        handle = (self.path / LOCK).open("w", encoding="ascii")
        deadline = time.monotonic() + _LOOK_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as fault:
                if time.monotonic() < deadline:  # `held` has it for as long as it looks
                    time.sleep(0.01)
                    continue
                handle.close()
                raise NodeError(
                    "this node is running already", remedy="stop it first: fondaco stop", folder=str(self.path)
                ) from fault
            return handle
