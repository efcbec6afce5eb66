"""What the control socket can be asked: one class, a method a verb. Arguments and answers are JSON.

Users' keys are in the node's folder and sign here, each for its own role; who may use the socket may use them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path
from typing import Any

from fondaco.core.cid import Cid
from fondaco.core.names import DatasetName
from fondaco.errors import FlowError, NodeError
from fondaco.flow.heads import heads
from fondaco.flow.planner import Plan, Planner, explain
from fondaco.index.catalogue import Catalogue
from fondaco.ledger.audit.bundle import export
from fondaco.ledger.contracts.catalog import keys as catalog_keys
from fondaco.ledger.contracts.catalog import messages as catalog
from fondaco.ledger.contracts.grants import messages as grants
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.points import messages as points
from fondaco.ledger.contracts.tasks import messages as tasks
from fondaco.ledger.light import trust_genesis, verify_proof
from fondaco.node import setup
from fondaco.node.control import Json, Progress, Verb
from fondaco.node.market import LedgerMarket, records
from fondaco.node.node import Node
from fondaco.node.sources import open_source

_PROOF_SECONDS = 5.0
_DAY = 86400


class Verbs:
    """The verbs of one running node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ledger = node.ledger
        self._market = LedgerMarket(node.ledger)
        self._catalogue = Catalogue()
        self._org = node.settings.org

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {
            "status": self.status,
            "stop": self.stop,
            "invite": self.invite,
            "import": self.import_data,
            "name": self.name,
            "publish": self.publish,
            "withdraw": self.withdraw,
            "search": self.search,
            "request": self.request,
            "requests": self.requests,
            "review": self.review,
            "grants": self.grants,
            "revoke": self.revoke,
            "explain": self.explain,
            "run": self.run,
            "again": self.again,
            "task": self.task,
            "result": self.result,
            "points": self.points,
            "mint": self.mint,
            "vote": self.vote,
            "audit": self.audit,
        }

    # -- the node ---------------------------------------------------------------------------------------------

    async def status(self, _arguments: Json, _progress: Progress) -> Json:
        """Who, where, how far."""
        at = self._ledger.status()
        trouble = self._node.service.trouble
        return {
            "organisation": self._org,
            "title": self._node.settings.title,
            "node": self._node.key.public.did,
            "port": self._node.endpoint.port,
            "chain": at.chain,
            "role": "validator" if self._node.settings.validator else "follower",
            "ledger": at.says,
            "height": at.height,
            "app_hash": at.app_hash.hex(),
            "trust_root": self._ledger.genesis.hash.hex(),
            "trouble": "" if trouble is None else trouble.cause,
            "datasets": [str(name) for name, _cid in self._node.vault.names()],
        }

    async def stop(self, _arguments: Json, _progress: Progress) -> Json:
        """End the node in good order."""
        self._node.stopping.set()
        return {"stopping": True}

    async def invite(self, arguments: Json, _progress: Progress) -> Json:
        """Invite an organisation; the file is written here."""
        folder = self._node.folder
        msg, data = setup.make_invitation(
            folder, organisation=arguments["organisation"], kind=arguments.get("kind", "member")
        )
        answer = await self._node.service.submit(msg, folder.admin_key)
        setup.write_invitation(Path(arguments["file"]), data)
        return {"organisation": msg.organisation, "file": arguments["file"], "height": answer.height}

    # -- data -------------------------------------------------------------------------------------------------

    async def import_data(self, arguments: Json, progress: Progress) -> Json:
        """Import a file, table or query into the vault; name it if a name is given."""
        source = open_source(arguments)
        started = time.monotonic()
        loop = asyncio.get_running_loop()

        def report(rows: int, size: int) -> None:
            loop.call_soon_threadsafe(progress, {"rows": rows, "bytes": size})

        cid = await asyncio.to_thread(self._node.vault.import_source, source, progress=report)
        described = self._node.vault.describe(cid)
        named = ""
        if arguments.get("name"):
            named = str(self._node.vault.assign(cid, DatasetName.parse(arguments["name"])))
        return {
            "cid": str(cid),
            "name": named,
            "rows": described.rows,
            "columns": [column.name for column in described.schema.columns],
            "seconds": round(time.monotonic() - started, 2),
        }

    async def name(self, arguments: Json, _progress: Progress) -> Json:
        """Name what was imported."""
        name = DatasetName.parse(arguments["name"])
        if name.org != self._org:
            raise NodeError(f"a name of this node begins with /{self._org}/", remedy="name it so", name=str(name))
        return {"name": str(self._node.vault.assign(Cid.parse(arguments["cid"]), name))}

    async def publish(self, arguments: Json, _progress: Progress) -> Json:
        """Put a named dataset into the catalogue."""
        cid = self._node.vault.resolve(DatasetName.parse(arguments["name"]))
        described = self._node.vault.describe(cid)
        name = DatasetName.parse(arguments["name"])
        if name.version is None:
            name = next(n for n, c in reversed(self._node.vault.names()) if c == cid and n.path == name.path)
        rules = tuple(
            catalog.Rule(
                organisations=tuple(rule["organisations"]),
                operations=tuple(rule["operations"]),
                purposes=tuple(rule["purposes"]),
                columns=tuple(rule.get("columns", [])),
                uses=int(rule.get("uses", 1)),
                until=int(time.time()) + int(rule.get("days", 30)) * _DAY,
            )
            for rule in arguments.get("rules", [])
        )
        msg = catalog.Publish(
            path=name.path,
            version=name.version or 1,
            title=arguments["title"],
            description=arguments.get("description", ""),
            schema=described.schema,
            commitment=described.commitment,
            rows=described.rows if arguments.get("show_rows", True) else None,
            terms=catalog.Terms(
                operations=tuple(arguments["operations"]),
                purposes=tuple(arguments["purposes"]),
                price=int(arguments.get("price", 0)),
                minimum_rows=int(arguments.get("minimum_rows", 0)),
                minimum_count=int(arguments.get("minimum_count", 0)),
                rules=rules,
            ),
        )
        answer = await self._node.service.submit(msg, self._node.folder.user_key("steward"))
        return {"name": str(name), "commitment": described.commitment.hex(), "height": answer.height}

    async def withdraw(self, arguments: Json, _progress: Progress) -> Json:
        """Take a published version back."""
        name = DatasetName.parse(arguments["name"])
        msg = catalog.Withdraw(path=name.path, version=name.version or 0)
        answer = await self._node.service.submit(msg, self._node.folder.user_key("steward"))
        return {"name": str(name), "height": answer.height}

    async def search(self, arguments: Json, _progress: Progress) -> Json:
        """Find datasets; every hit is proven against the pinned trust root."""
        self._catalogue.refresh(self._ledger.height, self._market.datasets())
        found = self._catalogue.search(arguments.get("text", ""), int(arguments.get("limit", 20)))
        await asyncio.to_thread(self._ledger.wait_provable, _PROOF_SECONDS)
        proof = self._ledger.prove([catalog_keys.dataset(path, version) for path, version in found])
        trusted = verify_proof(trust_genesis(self._ledger.genesis), proof)
        hits: list[Json] = []
        for path, version in found:
            d = self._market.newest(DatasetName.parse(f"{path}@{version}"))
            hits.append(
                {
                    "name": f"{path}@{version}",
                    "owner": d.owner,
                    "title": d.title,
                    "rows": d.rows,
                    "price": d.terms.price,
                    "operations": list(d.terms.operations),
                    "purposes": list(d.terms.purposes),
                    "columns": [f"{c.name}: {c.type}{f' [{c.unit}]' if c.unit else ''}" for c in d.schema.columns],
                    "proven_at": trusted.height,
                }
            )
        return {"hits": hits}

    # -- grants -----------------------------------------------------------------------------------------------

    async def request(self, arguments: Json, _progress: Progress) -> Json:
        """Ask for the use of datasets."""
        items: list[grants.Item] = []
        for wanted in arguments["datasets"]:
            dataset = self._market.newest(DatasetName.parse(wanted["name"]))
            items.append(grants.Item(path=dataset.path, version=dataset.version, columns=tuple(wanted["columns"])))
        msg = grants.RequestUse(
            items=tuple(items),
            operations=tuple(arguments["operations"]),
            purpose=arguments["purpose"],
            parties=tuple(arguments["parties"]),
            receivers=tuple(arguments.get("receivers") or [self._org]),
            uses=int(arguments.get("uses", 1)),
            expires=int(time.time()) + int(arguments.get("days", 30)) * _DAY,
            max_price=int(arguments.get("max_price", 0)),
        )
        answer = await self._node.service.submit(msg, self._node.folder.user_key("analyst"))
        return self._request(self._market.request(derive("request", answer.tx)))

    def _request(self, found: grants.Request) -> Json:
        return {
            "request": found.id.hex(),
            "organisation": found.organisation,
            "purpose": found.purpose,
            "operations": list(found.operations),
            "parties": list(found.parties),
            "receivers": list(found.receivers),
            "uses": found.uses,
            "expires": found.expires,
            "items": [
                {
                    "item": index,
                    "dataset": f"{item.path}@{item.version}",
                    "columns": list(item.columns),
                    "provider": found.providers[index],
                    "price": found.prices[index],
                    "answer": found.answers[index],
                }
                for index, item in enumerate(found.items)
            ],
        }

    async def requests(self, arguments: Json, _progress: Progress) -> Json:
        """Requests that wait for this institution's answer, or all that it made."""
        everything = records(self._ledger, "grants/requests", grants.Request)
        if arguments.get("mine"):
            return {"requests": [self._request(r) for r in everything if r.organisation == self._org]}
        waiting = [
            r
            for r in everything
            if any(p == self._org and a == "pending" for p, a in zip(r.providers, r.answers, strict=True))
        ]
        return {"requests": [self._request(r) for r in waiting]}

    async def review(self, arguments: Json, _progress: Progress) -> Json:
        """Answer this institution's items of a request."""
        found = self._market.request(_hex(arguments["request"]))
        answered: list[int] = []
        for index, provider in enumerate(found.providers):
            if provider == self._org and found.answers[index] == "pending":
                msg = grants.Review(
                    request=found.id,
                    item=index,
                    approve=bool(arguments["approve"]),
                    reason=arguments.get("reason", ""),
                    uses=int(arguments.get("uses") or found.uses),
                    expires=found.expires,
                )
                await self._node.service.submit(msg, self._node.folder.user_key("reviewer"))
                answered.append(index)
        if not answered:
            raise NodeError("nothing in this request waits for this institution", remedy="see `fondaco review --list`")
        return self._request(self._market.request(found.id)) | {"answered": answered}

    async def grants(self, _arguments: Json, _progress: Progress) -> Json:
        """The grants that this institution holds or gave."""
        return {
            "grants": [
                {
                    "grant": g.id.hex(),
                    "provider": g.provider,
                    "holder": g.holder,
                    "dataset": f"{g.path}@{g.version}",
                    "columns": list(g.columns),
                    "operations": list(g.operations),
                    "purpose": g.purpose,
                    "uses_left": g.uses_left,
                    "uses_total": g.uses_total,
                    "price": g.price,
                    "expires": g.expires,
                    "status": g.status,
                    "basis": g.basis,
                }
                for g in records(self._ledger, "grants/grants", grants.Grant)
                if self._org in (g.holder, g.provider) or self._node.settings.kind == "regulator"
            ]
        }

    async def revoke(self, arguments: Json, _progress: Progress) -> Json:
        """Void a grant that this institution gave."""
        msg = grants.RevokeGrant(grant=_hex(arguments["grant"]), reason=arguments.get("reason", ""))
        answer = await self._node.service.submit(msg, self._node.folder.user_key("reviewer"))
        return {"grant": arguments["grant"], "status": "revoked", "height": answer.height}

    # -- tasks ------------------------------------------------------------------------------------------------

    def _plan(self, document: Json) -> Plan:
        key = self._node.folder.user_key("analyst").public.raw
        coordinator = self._node.chain.org_of(self._node.settings.validator_did)
        planner = Planner(org=self._org, key=key, coordinator=coordinator, market=self._market, now=int(time.time()))
        return planner.plan(document)

    async def explain(self, arguments: Json, _progress: Progress) -> Json:
        """Before anything runs: what is missing, what it costs, who learns what."""
        return explain(self._plan(arguments["workflow"]))

    async def run(self, arguments: Json, progress: Progress) -> Json:
        """Propose a workflow; waits for its end unless told not to."""
        plan = self._plan(arguments["workflow"])
        if plan.missing:
            lacks = ", ".join(f"{m.operation} on {m.dataset} from {m.provider}" for m in plan.missing)
            raise FlowError(
                f"no grant that can be used covers: {lacks}",
                remedy="ask for it: fondaco request",
                missing=len(plan.missing),
            )
        workflow = plan.workflow
        msg = tasks.Propose(
            workflow=workflow.bytes,
            coordinator=workflow.coordinator,
            parties=workflow.parties,
            steps=heads(workflow),
            purpose=workflow.purpose,
            deadline=int(time.time()) + int(arguments.get("seconds", 3600)),
        )
        answer = await self._node.service.submit(msg, self._node.folder.user_key("analyst"))
        task = derive("task", answer.tx).hex()
        progress({"task": task, "status": "proposed"})
        if not arguments.get("wait", True):
            return self._task(task)
        return await self._until_over(task, float(arguments.get("patience", 300)), progress)

    async def again(self, arguments: Json, progress: Progress) -> Json:
        """Ask the coordinator (this node) to start a failed task again."""
        task = arguments["task"]
        await self._node.coordinator.again(task)
        return await self._until_over(task, float(arguments.get("patience", 300)), progress)

    async def _until_over(self, task: str, seconds: float, progress: Progress) -> Json:
        """Until a task is settled, failed or ended otherwise."""
        shown = ""
        deadline = time.monotonic() + seconds
        while True:
            view = self._node.chain.task(task)
            state = f"{view.status} {len(view.reported)}"
            if state != shown:
                shown = state
                progress(
                    {
                        "task": task,
                        "status": view.status,
                        "attempt": view.attempt,
                        "reports": len(view.reported),
                    }
                )
            if view.status in ("settled", "failed", "abandoned", "expired"):
                return self._task(task)
            left = deadline - time.monotonic()
            await self._node.service.wait_height(self._ledger.height + 1, max(left, 0.0))

    def _task(self, task: str) -> Json:
        record = self._node.chain.record(task)
        failure = record.failure
        return {
            "task": task,
            "status": record.status,
            "attempt": record.attempt,
            "purpose": record.purpose,
            "initiator": record.initiator,
            "coordinator": record.coordinator,
            "parties": list(record.parties),
            "accepted": list(record.accepted),
            "failure": {}
            if failure is None
            else {
                "attempt": failure.attempt,
                "step": failure.step,
                "party": failure.party,
                "reason": failure.reason,
                "cause": failure.cause,
            },
            "result": "" if record.result is None else record.result.hex(),
        }

    async def task(self, arguments: Json, _progress: Progress) -> Json:
        """How far a task is, and what this node saw of it."""
        seen = [dataclasses.asdict(entry) for entry in self._node.journal.of(arguments["task"])]
        return self._task(arguments["task"]) | {"journal": seen}

    async def result(self, arguments: Json, _progress: Progress) -> Json:
        """Open what this institution received of a step."""
        task, step = arguments["task"], arguments["step"]
        record = self._node.chain.record(task)
        folder = self._node.folder
        secret = folder.user_seal("analyst") if record.initiator == self._org else folder.seal_key
        tables = self._node.results.open(task, record.attempt, step, secret)
        limit = int(arguments.get("limit", 1000))
        return {
            "task": task,
            "step": step,
            "tables": {
                name: {
                    "columns": table.column_names,
                    "count": table.num_rows,
                    "rows": [[_json(v) for v in row.values()] for row in table.slice(0, limit).to_pylist()],
                }
                for name, table in tables.items()
            },
        }

    # -- points and audit -------------------------------------------------------------------------------------

    async def points(self, _arguments: Json, _progress: Progress) -> Json:
        """Balances, escrows and supply; they add up."""
        conserved = self._ledger.query("points/supply")
        return {"balances": self._ledger.query("points/balances"), "conservation": conserved}

    async def mint(self, arguments: Json, _progress: Progress) -> Json:
        """Propose to mint points."""
        msg = points.ProposeMint(by=self._org, amounts=arguments["amounts"], expires=int(time.time()) + _DAY)
        answer = await self._node.service.submit(msg, self._node.folder.user_key("officer"))
        return {"proposal": derive("mint", answer.tx).hex(), "height": answer.height}

    async def vote(self, arguments: Json, _progress: Progress) -> Json:
        """Vote on minting points."""
        sequence = self._ledger.query("points/votes", {"organisation": self._org})
        msg = points.VoteMint(
            by=self._org,
            proposal=_hex(arguments["proposal"]),
            approve=bool(arguments.get("approve", True)),
            sequence=(sequence if isinstance(sequence, int) else 0) + 1,
        )
        answer = await self._node.service.submit(msg, self._node.folder.user_key("officer"))
        return {"proposal": arguments["proposal"], "height": answer.height}

    async def audit(self, arguments: Json, _progress: Progress) -> Json:
        """Write an audit bundle of everything, or of one settled task."""
        await asyncio.to_thread(self._ledger.wait_provable, _PROOF_SECONDS)
        task = _hex(arguments["task"]) if arguments.get("task") else None
        data = await asyncio.to_thread(export, self._ledger, self._node.key, task=task)
        target = Path(arguments["file"])
        await asyncio.to_thread(target.write_bytes, data)
        return {"file": str(target), "bytes": len(data), "trust_root": self._ledger.genesis.hash.hex()}


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as fault:
        raise NodeError("not an id", remedy="give the id in hexadecimal, whole") from fault


def _json(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)
