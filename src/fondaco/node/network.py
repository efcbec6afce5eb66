"""A consortium of several validators: their folders on this machine, and a further one that joins.

Layout: `network.json` (chain and institutions, in order), and a node's folder for each institution. The first
institution's node is the one that invitations name. All validators begin with the same genesis; each has its own keys,
which a real consortium would make on its own machines and show each other's public halves of.

With several validators a node has a second inbound port, CometBFT's, which is as closed as the first: CometBFT's links
are authenticated by the peers' keys, and a validator's vote by its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from fondaco.core.messages import from_bytes, to_value
from fondaco.core.names import check_part
from fondaco.errors import NodeError, UsageError
from fondaco.ledger.blocks import Validator
from fondaco.ledger.cometbft.home import Config, Home, node_id
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.governance.messages import Seat
from fondaco.ledger.genesis import Genesis
from fondaco.node import keystore, setup
from fondaco.node.folder import Folder
from fondaco.node.node import GENESIS
from fondaco.transport.identity import make_certificate

NAME = "network.json"
MOST = 64
_MAX_FILE = 64 << 10


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """The chain and the institutions of a network on this machine."""

    path: Path
    chain: str
    organisations: tuple[str, ...]

    def folder(self, name: str) -> Folder:
        """The node's folder of an institution."""
        return Folder(self.path / name)

    def save(self) -> None:
        """Write network.json."""
        content = {"chain": self.chain, "organisations": list(self.organisations)}
        fresh = self.path / (NAME + ".new")
        fresh.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
        fresh.replace(self.path / NAME)


def load(path: Path) -> Network:
    """The network in a folder.

    Raises:
        NodeError: none, or its file is damaged.
    """
    remedy = "run `fondaco network init` first"
    try:
        text = (path / NAME).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise NodeError("there is no network in this folder", remedy=remedy, folder=str(path)) from fault
    with contextlib.suppress(ValueError):
        match json.loads(text) if len(text) <= _MAX_FILE else None:
            case {"chain": str(chain), "organisations": [*names]} if names and all(type(one) is str for one in names):
                return Network(path, check_part(chain), tuple(map(check_part, names)))
    raise NodeError("network.json is damaged", remedy="restore it from its backup", folder=str(path))


def _port(free_port: Callable[[], int], taken: list[int]) -> int:
    port = free_port()
    while port in taken:
        port = free_port()
    taken.append(port)
    return port


def init(path: Path, *, chain: str, names: tuple[str, ...], free_port: Callable[[], int]) -> Genesis:
    """Make the folders of a new consortium, a validator each.

    Raises:
        NodeError: there is a network already. UsageError: not one to 64 different institutions.
        NamingError: not a name.
    """
    for one in (chain, *names):
        check_part(one)
    if (path / NAME).exists():
        raise NodeError("there is a network in this folder already", remedy="choose another folder", folder=str(path))
    if not 1 <= len(names) <= MOST or len(dict.fromkeys(names)) != len(names):
        raise UsageError(f"a network has 1 to {MOST} different institutions", remedy="name each once, or say how many")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    network = Network(path, chain, names)
    taken: list[int] = []
    for name in names:
        port, consensus = _port(free_port, taken), _port(free_port, taken)
        setup.new_folder(path / name, org=name, title=name, kind="member", host="127.0.0.1", port=port)
        _new_validator(network.folder(name), consensus)
    genesis = _genesis(network)
    first = network.folder(names[0])
    for name in names:
        folder = network.folder(name)
        setup.pin(
            folder,
            genesis,
            folder.settings(),
            validator=True,
            validator_key=first.node_key.public,
            address=f"{first.settings().host}:{first.settings().port}",
            certificate=make_certificate(first.node_key, name=names[0]),
        )
        join_consensus(network, name)
    network.save()
    return genesis


def _new_validator(folder: Folder, port: int) -> None:
    """The keys of a validator, unless they are there, and its port."""
    for name in ("validator.key", "consensus.key"):
        if not (folder.keys / name).exists():
            keystore.new_signing_key(folder.keys / name)
    folder.save(dataclasses.replace(folder.settings(), driver="cometbft", consensus_port=port))


def _genesis(network: Network) -> Genesis:
    folders = [network.folder(name) for name in network.organisations]
    keys = [folder.validator_key.public.raw for folder in folders]
    state = registry.GenesisState(
        organisations=tuple(setup.organisation_spec(folder) for folder in folders),
        allotments={},
        seats=tuple(
            Seat(organisation=name, key=key, power=setup.POWER)
            for name, key in zip(network.organisations, keys, strict=True)
        ),
    )
    return Genesis(
        chain=network.chain,
        time=time.time_ns(),
        validators=tuple(Validator(key=key, power=setup.POWER) for key in keys),
        state=to_value(state),
    )


def join_consensus(network: Network, name: str) -> None:
    """Write CometBFT's home of an institution: linked to all the others of the network."""
    folder = network.folder(name)
    peers = []
    for other in network.organisations:
        if other != name:
            theirs = network.folder(other)
            settings = theirs.settings()
            peers.append(f"{node_id(theirs.consensus_key.public)}@{settings.host}:{settings.consensus_port}")
    settings = dataclasses.replace(folder.settings(), consensus_peers=",".join(peers))
    folder.save(settings)
    config = Config(
        moniker=name,
        listen=f"{settings.host}:{settings.consensus_port}",
        peers=tuple(peers),
        same_host=True,
    )
    genesis = from_bytes(Genesis, (folder.ledger / GENESIS).read_bytes())
    Home(folder.consensus).write(genesis, folder.validator_key, folder.consensus_key, config)


def has_joined(network: Network, name: str) -> bool:
    """Whether the node's folder of an institution is there and has joined this network's chain: it needs no invitation.

    Raises:
        NodeError: the folder is another institution's, or of another chain.
    """
    folder = network.folder(check_part(name))
    if not folder.path.exists():
        return False
    settings, chain = folder.settings(), network.folder(network.organisations[0]).settings().genesis_hash
    if settings.org != name or settings.genesis_hash not in ("", chain):
        raise NodeError("this folder is another node's", remedy="choose another name", folder=str(folder.path))
    return bool(settings.genesis_hash)


def add(network: Network, name: str, invitation: Path, *, free_port: Callable[[], int]) -> Network:
    """Join by invitation, and get ready to run CometBFT: it will fetch every block and execute it again.

    What an earlier call did that broke off is found and kept: the folder with its keys, which the ledger may have
    already, and a join that the ledger has. An institution that has joined needs no invitation.

    Raises:
        NodeError: the institution is in the network already, its folder is another's, its node runs, or the
            invitation is not for it. PeerRefused: the invitation is no longer good.
    """
    if name in network.organisations:
        raise NodeError(f"{name} is in this network already", remedy="choose another name")
    taken: list[int] = []
    port, consensus = _port(free_port, taken), _port(free_port, taken)
    joined, folder = has_joined(network, name), network.folder(name)
    if not folder.path.exists():
        unfinished = network.path / f".{name}.new"
        if unfinished.exists():
            shutil.rmtree(unfinished)  # of a call that broke off before any of its keys was shown to anyone
        setup.new_folder(unfinished, org=name, title=name, kind="member", host="127.0.0.1", port=port)
        unfinished.rename(folder.path)
    with contextlib.closing(folder.lock()):
        if not joined:
            setup.join(folder, setup.read_invitation(invitation))
        _new_validator(folder, consensus)
        folder.save(dataclasses.replace(folder.settings(), validator=True))
        for leftover in folder.ledger.glob("ledger.sqlite*"):
            leftover.unlink()  # what was followed to join: CometBFT brings all blocks from the first on
        grown = dataclasses.replace(network, organisations=(*network.organisations, name))
        join_consensus(grown, name)
        grown.save()
    return grown
