"""A ledger with two institutions and a running task, a vault, and the gate of the one that holds the data."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

from fondaco.core.keys import SecretKey
from fondaco.core.messages import message, to_bytes, to_value
from fondaco.core.names import DatasetName
from fondaco.exchange.gate import Gate
from fondaco.flow.heads import heads
from fondaco.flow.journal import Journal
from fondaco.flow.model import Input, Step, Workflow
from fondaco.ledger.blocks import Validator
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.catalog import messages as catalog
from fondaco.ledger.contracts.grants import messages as grants
from fondaco.ledger.contracts.identity.messages import NodeSpec, OrganisationSpec, UserSpec
from fondaco.ledger.contracts.kit import Context, derive
from fondaco.ledger.contracts.tasks import messages as tasks
from fondaco.ledger.embedded import Committed, EmbeddedLedger
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.transactions import build
from fondaco.node.chain import NodeChain
from fondaco.node.directory import LedgerDirectory
from fondaco.node.ledgers import LedgerService
from fondaco.transport.identity import make_certificate
from fondaco.vault.sources import CsvSource
from fondaco.vault.store import Vault

ROLES = ("steward", "analyst", "reviewer", "governor")
PATHS = {"holder": "/holder/d/rows", "asker": "/asker/d/rows"}
PURPOSE = "study"
OPERATIONS = (
    "psi.intersection", "psi.unbalanced", "psi.union", "psi.threshold", "psi.difference", "mpc.statistics", "mpc.arithmetic", "mpc.intersection-sum", "mpc.circuit-statistics", "pir.lookup",
)  # fmt: skip


@message("test.forge/1")
class Forge:
    """A record put on the ledger without any contract's leave."""

    key: bytes
    value: bytes


class ForgingRegistry:
    """The contracts of a consortium whose validators let a record be anything: the gate must not lean on them."""

    def __getattr__(self, name: str) -> Any:
        return getattr(registry, name)

    def execute(self, ctx: Context, kind: str, payload: Any) -> None:
        """As the registry, and `Forge`."""
        if kind == "test.forge/1":
            ctx.store.set(payload["key"], payload["value"])
        else:
            registry.execute(ctx, kind, payload)


class Party:
    """Keys of one institution."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.admin, self.node = SecretKey.generate(), SecretKey.generate()
        self.users = {role: SecretKey.generate() for role in ROLES}

    def spec(self) -> OrganisationSpec:
        """What genesis is told."""
        node = NodeSpec(
            key=self.node.public.raw,
            certificate=make_certificate(self.node, name=self.name),
            address="127.0.0.1:1",
            seal_key=b"\x09" * 32,
        )
        users = tuple(UserSpec(key=k.public.raw, roles=(r,), seal_key=b"\x09" * 32) for r, k in self.users.items())
        return OrganisationSpec(
            name=self.name,
            title=self.name,
            kind="member",
            admins=(self.admin.public.raw,),
            threshold=1,
            node=node,
            users=users,
        )


class GateWorld:
    """Everything up to a running task; then `gate.open`."""

    def __init__(
        self,
        folder: Path,
        *,
        rows: int = 200,
        minimum_rows: int = 0,
        minimum_count: int = 0,
        most_keys: int = 10,
        operations: tuple[str, ...] = OPERATIONS,
    ) -> None:
        self.folder = folder
        self.parties = {name: Party(name) for name in ("holder", "asker", "coord")}
        validator = SecretKey.generate()
        state = registry.GenesisState(
            organisations=tuple(p.spec() for p in self.parties.values()),
            allotments=dict.fromkeys(self.parties, 10_000),
        )
        genesis = Genesis(
            chain="gate",
            time=time.time_ns(),
            validators=(Validator(key=validator.public.raw, power=10),),
            state=to_value(state),
        )
        (folder / "ledger").mkdir(parents=True)
        self.ledger = EmbeddedLedger(folder / "ledger", genesis, ForgingRegistry(), validator)
        self.vault = Vault(folder / "vault", os.urandom(32))
        self.journal = Journal(folder / "journal.sqlite")
        source = folder / "rows.csv"
        source.write_text("k,v,w\n" + "".join(f"key{i},{i},{i % 2}\n" for i in range(rows)))
        self.cid = self.vault.import_source(CsvSource(source))
        self.vault.assign(self.cid, DatasetName.parse(PATHS["holder"]))
        described = self.vault.describe(self.cid)
        for name, path in PATHS.items():
            terms = catalog.Terms(
                operations=operations,
                purposes=(PURPOSE, "other"),
                price=1,
                minimum_rows=minimum_rows,
                minimum_count=minimum_count,
                rules=(
                    catalog.Rule(
                        organisations=("*",),
                        operations=("*",),
                        purposes=("*",),
                        keys=("k",),
                        columns=(),
                        uses=1000,
                        until=int(time.time()) + 10**7,
                    ),
                    catalog.Rule(
                        organisations=("*",),
                        operations=("pir.lookup",),
                        purposes=("*",),
                        keys=("k", "v"),
                        columns=(),
                        uses=1000,
                        until=int(time.time()) + 10**7,
                    ),
                ),
            )
            msg = catalog.Publish(
                path=path,
                version=1,
                title=name,
                description="",
                schema=described.schema,
                commitment=described.commitment if name == "holder" else bytes(32),
                rows=None,
                terms=terms,
            )
            self.send(msg, self.parties[name].users["steward"])
        self.now = time.time
        service = LedgerService(self.ledger, validator="", own="")
        self.chain = NodeChain(service, LedgerDirectory(self.ledger), self.parties["holder"].node)
        self.heard = time.monotonic
        self._most_keys = most_keys
        self.gate = self.gate_of("holder")

    def gate_of(self, org: str) -> Gate:
        """The gate of an institution; only the holder's vault holds anything."""
        return Gate(
            org=org,
            ledger=self.ledger,
            vault=self.vault,
            journal=self.journal,
            contact=self._contact,
            stale_seconds=30,
            most_keys=self._most_keys,
            now=self._clock,
        )

    def restart(self) -> None:
        """As when the holder's node is killed and starts again: what is not on disk is gone."""
        self.journal.close()
        self.journal = Journal(self.folder / "journal.sqlite")
        self.gate = self.gate_of("holder")

    def _contact(self) -> float:
        """When the chain was last heard of, by whatever the test put in place of the clock."""
        return self.heard()

    def _clock(self) -> float:
        """The time now, likewise."""
        return self.now()

    def send(self, msg: object, *secrets: SecretKey) -> Committed:
        """Execute; fails on a refusal."""
        tx = build(self.ledger.chain_id, msg, secrets, nonce=os.urandom(16), expires=self.ledger.height + 500)
        done = self.ledger.submit(tx).result(20)
        assert done.result.code == 0, done.result.cause
        return done

    def forge(self, key: bytes, record: Any, **changes: Any) -> None:
        """Change a record where it stands, past every contract."""
        changed = to_bytes(dataclasses.replace(record, **changes))
        self.send(Forge(key=key, value=changed), self.parties["coord"].node)

    def report(self, task: str, step: str, by: str = "holder") -> None:
        """A member's report."""
        msg = tasks.Report(task=bytes.fromhex(task), attempt=1, step=step, outcome=bytes(32))
        self.send(msg, self.parties[by].node)

    def matched(self, grant: str, **changes: Any) -> tuple[Step, Step]:
        """An intersection told to both, and statistics over it."""
        whole = Input(party="holder", dataset=PATHS["holder"] + "@1", columns=("k", "v"), grant=grant)
        first = self.step(grant, receivers=("asker", "holder"))
        fields: dict[str, Any] = {
            "id": "two", "engine": "mpc", "operation": "statistics", "helper": "coord", "match": "one",
            "parameters": {"keys": ["k"], "value": {"party": "holder", "column": "v"}},
            "inputs": (first.inputs[0], whole),
        }  # fmt: skip
        return first, self.step(grant, **(fields | changes))

    def hidden(self, grant: str, **changes: Any) -> Step:
        """A step over a hidden match: the sum of the holder's values."""
        brought = Input(party="holder", dataset=PATHS["holder"] + "@1", columns=("k", "v"), grant=grant)
        asking = Input(party="asker", dataset=PATHS["asker"] + "@1", columns=("k",), grant=None)
        fields: dict[str, Any] = {
            "engine": "mpc", "operation": "intersection-sum", "helper": "coord", "inputs": (asking, brought),
            "parameters": {"keys": ["k"], "values": [{"party": "holder", "column": "v"}]},
        }  # fmt: skip
        return self.step(grant, **(fields | changes))

    def grant(self, **changes: Any) -> str:
        """A grant of the holder's rows for the asker; its id."""
        fields: dict[str, Any] = {
            "items": (grants.Item(path=PATHS["holder"], version=1, keys=("k",), columns=("v",)),),
            "operations": OPERATIONS,
            "purpose": PURPOSE,
            "parties": ("holder", "asker", "coord"),
            "receivers": ("asker", "holder"),
            "uses": 50,
            "expires": int(time.time()) + 3600,
            "max_price": 5,
        }
        done = self.send(grants.RequestUse(**(fields | changes)), self.parties["asker"].users["analyst"])
        return derive("grant", derive("request", done.tx), (0).to_bytes(4, "big")).hex()

    def step(self, grant: str, **changes: Any) -> Step:
        """A step that brings the holder's and the asker's keys."""
        fields: dict[str, Any] = {
            "id": "one",
            "engine": "psi",
            "operation": "intersection",
            "parameters": {"keys": ["k"]},
            "parties": ("asker", "holder"),
            "helper": None,
            "inputs": (
                Input(party="asker", dataset=PATHS["asker"] + "@1", columns=("k",), grant=None),
                Input(party="holder", dataset=PATHS["holder"] + "@1", columns=("k",), grant=grant),
            ),
            "match": None,
            "receivers": ("asker",),
        }
        return Step(**(fields | changes))

    def workflow(self, *steps: Step, **changes: Any) -> Workflow:
        """A workflow of the asker's."""
        fields: dict[str, Any] = {
            "title": "t",
            "purpose": PURPOSE,
            "initiator": "asker",
            "coordinator": "coord",
            "steps": steps,
        }
        return Workflow(**(fields | changes))

    def propose(self, workflow: Workflow) -> str:
        """Propose; the task's id."""
        msg = tasks.Propose(
            workflow=workflow.bytes,
            coordinator=workflow.coordinator,
            parties=workflow.parties,
            steps=heads(workflow),
            purpose=workflow.purpose,
            deadline=int(time.time()) + 3000,
        )
        return derive("task", self.send(msg, self.parties["asker"].users["analyst"]).tx).hex()

    def running(self, workflow: Workflow) -> str:
        """Propose, have all accept, run."""
        task = self.propose(workflow)
        for name in workflow.parties:
            self.send(tasks.Accept(task=bytes.fromhex(task)), self.parties[name].node)
        self.send(tasks.Run(task=bytes.fromhex(task), attempt=1), self.parties["coord"].node)
        return task

    def close(self) -> None:
        """Close all files."""
        self.ledger.stop()
        self.vault.close()
        self.journal.close()
