"""The composition root: puts the parts of one institution's node together and runs them until it is told to stop."""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
from collections.abc import Coroutine
from typing import Any

from fondaco.core.messages import from_bytes
from fondaco.engines import process
from fondaco.errors import FondacoError, LedgerError, NodeError
from fondaco.exchange.gate import Gate
from fondaco.flow.coordinator import Coordinator
from fondaco.flow.journal import Journal
from fondaco.flow.party import Party
from fondaco.index.history import History
from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.cometbft.home import Home
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.identity.messages import Move
from fondaco.ledger.embedded import EmbeddedLedger
from fondaco.ledger.follower import FollowerLedger
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.reader import Ledger
from fondaco.node.chain import NodeChain
from fondaco.node.control import ControlServer
from fondaco.node.directory import LedgerDirectory
from fondaco.node.folder import Folder, Settings
from fondaco.node.keeps import KeepStore
from fondaco.node.ledgers import LedgerService
from fondaco.node.results import ResultStore
from fondaco.node.witness import WitnessService
from fondaco.transport.endpoint import Endpoint
from fondaco.transport.identity import make_certificate
from fondaco.vault.store import Vault

_log = logging.getLogger(__name__)
GENESIS = "genesis"
_MAX_GENESIS = 1 << 20


def open_ledger(folder: Folder, settings: Settings) -> Ledger:
    """The ledger in a node's folder, as validator or follower.

    Raises:
        NodeError: no genesis, or not the pinned one.
    """
    try:
        data = (folder.ledger / GENESIS).read_bytes()
    except FileNotFoundError as fault:
        raise NodeError(
            "this node has not joined a consortium", remedy="ask a member for an invitation and run `fondaco join FILE`"
        ) from fault
    genesis = from_bytes(Genesis, data, limit=_MAX_GENESIS)
    if genesis.hash.hex() != settings.genesis_hash:
        raise NodeError("the genesis file is not the pinned one", remedy="restore the node's folder")
    if settings.driver == "cometbft":
        return CometLedger(folder.ledger, genesis, registry, Home(folder.consensus))
    if settings.validator:
        return EmbeddedLedger(folder.ledger, genesis, registry, folder.validator_key)
    return FollowerLedger(folder.ledger, genesis, registry)


class Node:
    """Everything of one running node."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.settings = folder.settings()
        self.key = folder.node_key
        self.certificate = make_certificate(self.key, name=self.settings.org)
        self.ledger = open_ledger(folder, self.settings)
        self.history = History(folder.index, self.ledger)
        self.directory = LedgerDirectory(self.ledger)
        self.service = LedgerService(self.ledger, validator=self.settings.validator_did, own=self.key.public.did)
        self.witness = WitnessService(self.ledger, self.key, peers=self.directory.members, on_fault=self._halt)
        self.endpoint = Endpoint(
            secret=self.key,
            certificate=self.certificate,
            host=self.settings.host,
            port=self.settings.port,
            directory=self.directory,
        )
        self.chain = NodeChain(self.service, self.directory, self.key)
        self.vault = Vault(folder.vault, folder.vault_key)
        self.journal = Journal(folder.journal)
        self.results = ResultStore(
            folder.results,
            org=self.settings.org,
            chain_id=self.ledger.chain_id,
            chain=self.chain,
            own_key=folder.seal_key.public,
        )
        self.gate = Gate(
            org=self.settings.org,
            ledger=self.ledger,
            vault=self.vault,
            journal=self.journal,
            contact=self.service.contact,
            stale_seconds=self.settings.stale_seconds,
            most_keys=self.settings.most_keys,
        )
        self.keeps = KeepStore(folder.kept, master=folder.vault_key, org=self.settings.org, chain=self.chain)
        self.party = Party(
            org=self.settings.org,
            chain=self.chain,
            peering=self.endpoint,
            gate=self.gate,
            results=self.results,
            journal=self.journal,
            step_seconds=self.settings.step_seconds,
            keeps=self.keeps,
            asker_memory_mib=self.settings.asker_memory_mib,
        )
        self.coordinator = Coordinator(
            org=self.settings.org,
            chain=self.chain,
            peering=self.endpoint,
            party=self.party,
            journal=self.journal,
            step_seconds=self.settings.step_seconds,
        )
        self.stopping = asyncio.Event()
        self._accepting: dict[str, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def _on_height(self, _height: int) -> None:
        if self.directory.update():
            self.endpoint.refresh()
        self.party.forget_ended()
        self.keeps.forget_ended()
        self.coordinator.wake()
        self.witness.wake()
        self._accept_tasks()

    def _accept_tasks(self) -> None:
        """Take part in tasks that name us. The ledger has checked the grants; the gate will check everything."""
        for view in self.chain.open_tasks():
            mine = self.settings.org in view.workflow.parties and self.settings.org not in view.accepted
            due = view.status == "proposed" or (view.status == "failed" and not view.attempt)
            if due and mine and view.id not in self._accepting:
                task = asyncio.create_task(self._accept(view.id))
                self._accepting[view.id] = task
                task.add_done_callback(functools.partial(self._accepted, view.id))

    def _accepted(self, task: str, _done: asyncio.Task[None]) -> None:
        self._accepting.pop(task, None)

    async def _accept(self, task: str) -> None:
        try:
            await self.chain.accept(task)
        except FondacoError as fault:
            _log.warning("task %s was not accepted: %s", task, fault.cause)
            self.journal.record(task, 0, "", "not accepted", party=self.settings.org, cause=fault.cause)

    async def _guarded(self, work: Coroutine[Any, Any, None], what: str) -> None:
        """A part that must not end while the node runs; when it does, the node stops and says why."""
        try:
            await work
        except FondacoError as fault:
            _log.exception("%s halted: %s", what, fault.diagnostics())
            self.service.trouble = fault
            self.stopping.set()

    def _halt(self, fault: LedgerError) -> None:
        """The ledger cannot go on: say why and stop."""
        _log.error("the ledger halted: %s", fault.diagnostics())
        self.service.trouble = fault
        self.stopping.set()

    async def run(self, verbs: ControlServer) -> None:
        """Serve until SIGTERM, SIGINT or the verb `stop`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        process.sweep()
        self.party.serve()
        self.service.start(self.endpoint)
        self.witness.start(self.endpoint)
        self.service.on_height(self._on_height)
        if isinstance(self.ledger, EmbeddedLedger | CometLedger):
            self.ledger.when_failed(lambda fault: loop.call_soon_threadsafe(self._halt, fault))
        if isinstance(self.ledger, CometLedger):
            self.ledger.start()
        await self.endpoint.start()
        if not self.settings.validator:
            self._tasks.append(asyncio.create_task(self._guarded(self.service.follow(), "following the ledger")))
        self._tasks.append(asyncio.create_task(self._guarded(self.coordinator.run(), "coordinating")))
        self._tasks.append(asyncio.create_task(self._guarded(self._announce(), "announcing the address")))
        self._tasks.append(asyncio.create_task(self._guarded(self.witness.run(), "witnessing")))
        await verbs.start()
        self._on_height(self.ledger.height)
        _log.info("%s serves on port %d", self.settings.org, self.endpoint.port)
        try:
            await self.stopping.wait()
        finally:
            await verbs.stop()
            for task in (*self._tasks, *self._accepting.values()):
                task.cancel()
            await asyncio.gather(*self._tasks, *self._accepting.values(), return_exceptions=True)
            await self.witness.tell_evidence()
            await self.endpoint.stop()
            self.history.close()
            if isinstance(self.ledger, EmbeddedLedger | CometLedger):
                await asyncio.to_thread(self.ledger.stop)
            else:
                self.ledger.close()
            self.vault.close()
            self.journal.close()

    async def _announce(self) -> None:
        """Tell the ledger when this node listens somewhere else than it says."""
        address = f"{self.settings.host}:{self.endpoint.port}"
        for row in self.ledger.query("identity/nodes") or []:  # type: ignore[union-attr]
            if isinstance(row, dict) and row["key"] == self.key.public.raw and row["address"] != address:
                await self.service.submit(Move(address=address), self.key)
