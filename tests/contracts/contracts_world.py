"""Contracts on a plain dictionary: no ledger, no blocks, each call as if it were a transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from fondaco.core.keys import SecretKey
from fondaco.core.messages import kind_of, to_value
from fondaco.core.models import Column, Schema
from fondaco.errors import ContractError
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.catalog.messages import Publish, Rule, Terms
from fondaco.ledger.contracts.disputes import handlers as disputes
from fondaco.ledger.contracts.disputes.messages import Rules
from fondaco.ledger.contracts.governance import messages as g
from fondaco.ledger.contracts.governance.parameters import DEFAULTS
from fondaco.ledger.contracts.identity.messages import NodeSpec, OrganisationSpec, UserSpec
from fondaco.ledger.contracts.kit import VALIDATORS, VERSION, Context, Event, ValidatorUpdate, derive
from fondaco.ledger.contracts.settlement import payments
from fondaco.ledger.contracts.settlement.messages import Formula
from fondaco.ledger.state import Overlay

ROLES = ("steward", "analyst", "reviewer", "governor")


class DictStore:
    """A store in memory."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.data.get(key)

    def set(self, key: bytes, value: bytes) -> None:
        self.data[key] = value

    def delete(self, key: bytes) -> None:
        self.data.pop(key, None)

    def items(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((k, v) for k, v in self.data.items() if k.startswith(prefix)))

    def span(self, start: bytes, stop: bytes, most: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((k, v) for k, v in self.data.items() if start <= k < stop)[:most])


class Org:
    """An organisation with its keys."""

    def __init__(self, name: str, kind: str = "member") -> None:
        seed = lambda use: hashlib.sha256(f"{name}/{use}".encode()).digest()  # noqa: E731
        self.name = name
        self.kind = kind
        self.admin = SecretKey.from_seed(seed("admin")).public.raw
        self.node = SecretKey.from_seed(seed("node")).public.raw
        self.validator = SecretKey.from_seed(seed("validator")).public.raw
        self.users = {role: SecretKey.from_seed(seed(role)).public.raw for role in ROLES}

    @property
    def registered(self) -> tuple[bytes, ...]:
        """All keys that `spec` registers."""
        return (self.admin, self.node, *self.users.values())

    def spec(self, **changes) -> OrganisationSpec:
        node = NodeSpec(key=self.node, certificate=b"cert", address="host:1", seal_key=b"\x09" * 32)
        users = tuple(UserSpec(key=key, roles=(role,), seal_key=b"\x09" * 32) for role, key in self.users.items())
        fields = {
            "name": self.name,
            "title": self.name,
            "kind": self.kind,
            "admins": (self.admin,),
            "threshold": 1,
            "node": node,
            "users": users,
        }
        return OrganisationSpec(**(fields | changes))


class World:
    """A store, a clock and the founding organisations."""

    def __init__(
        self,
        *names: str,
        allotment: int = 1000,
        formula: Formula = payments.DEFAULT,
        rules: Rules = disputes.DEFAULT,
        voting: g.Parameters = DEFAULTS,
    ) -> None:
        self.store = DictStore()
        self.time = 1_800_000_000
        self.height = 1
        self.version = VERSION
        self.count = 0
        self.events: list[Event] = []
        self.updates: list[ValidatorUpdate] = []
        self.orgs = {name: Org(name) for name in names}
        for org in self.orgs.values():
            self.store.set(VALIDATORS + org.validator, (10).to_bytes(8, "big"))
        genesis = registry.GenesisState(
            organisations=tuple(org.spec() for org in self.orgs.values()),
            allotments=dict.fromkeys(names, allotment),
            settlement=formula,
            disputes=rules,
            rules=voting,
            seats=tuple(g.Seat(organisation=org.name, key=org.validator, power=10) for org in self.orgs.values()),
        )
        registry.init_genesis(self._context(self.store, (), []), to_value(genesis))

    def _context(self, store, signers, events) -> Context:
        self.count += 1
        tx = hashlib.sha256(self.count.to_bytes(8, "big")).digest()
        return Context(
            store=store,
            chain="test",
            height=self.height,
            time=self.time,
            signers=signers,
            tx=tx,
            events=events,
            entropy=hashlib.sha256(b"entropy" + tx).digest(),
            version=self.version,
        )

    def send(self, msg: object, *signers: bytes) -> bytes:
        """Execute as a transaction: all or nothing; its hash."""
        branch, events = Overlay(self.store), []
        ctx = self._context(branch, signers, events)
        registry.execute(ctx, kind_of(type(msg)), to_value(msg))
        branch.merge_into(self.store)
        self.events += events
        self.end_block()
        return ctx.tx

    def end_block(self) -> None:
        """End this block, with what is due, and begin the next."""
        branch, events = Overlay(self.store), []
        ctx = self._context(branch, (), events)
        registry.end_block(ctx)
        branch.merge_into(self.store)
        self.events += events
        for update in ctx.updates:
            if update.power:
                self.store.set(VALIDATORS + update.key, update.power.to_bytes(8, "big"))
            else:
                self.store.delete(VALIDATORS + update.key)
        self.updates += ctx.updates
        self.height += 1

    def pass_vote(self, body: object, by: str, *others: str) -> bytes:
        """Propose a body and vote yes until it is decided; the proposal's id."""
        msg = g.Propose(by=by, title="a proposal", kind=kind_of(type(body)), body=to_value(body))
        proposal = derive("proposal", self.send(msg, self.orgs[by].users["governor"]))
        for name in (by, *others):
            self.vote(proposal, name)
        return proposal

    def vote(self, proposal: bytes, name: str, choice: str = "yes") -> None:
        """Vote in the right sequence."""
        sequence = self.query("governance/votes", organisation=name) + 1
        msg = g.Vote(by=name, proposal=proposal, choice=choice, sequence=sequence)
        self.send(msg, self.orgs[name].users["governor"])

    def refused(self, msg: object, *signers: bytes) -> ContractError:
        """Must be refused, and must change nothing."""
        before = dict(self.store.data)
        try:
            self.send(msg, *signers)
        except ContractError as refusal:
            assert self.store.data == before
            assert refusal.codespace
            assert refusal.number > 1
            assert refusal.remedy
            return refusal
        raise AssertionError("it was not refused")

    def query(self, route: str, /, **data):
        return registry.query(self.store, route, data)


def column(name: str) -> Column:
    return Column(
        name=name, type="int64", unit="", classification="internal", nullable=True, minimum=0, maximum=10, scale=0
    )


SCHEMA = Schema(columns=(column("k"), column("v")), key=("k",))


def terms(**changes) -> Terms:
    fields = {
        "operations": ("psi.intersection", "mpc.statistics"),
        "purposes": ("study",),
        "price": 10,
        "minimum_rows": 0,
        "minimum_count": 0,
        "rules": (),
    }
    return Terms(**(fields | changes))


def rule(**changes) -> Rule:
    fields = {
        "organisations": ("*",),
        "operations": ("*",),
        "purposes": ("*",),
        "keys": ("k",),
        "columns": (),
        "uses": 5,
        "until": 1_900_000_000,
    }
    return Rule(**(fields | changes))


def publication(path: str, version: int = 1, **changes) -> Publish:
    fields = {
        "path": path, "version": version, "title": "a dataset", "description": "", "schema": SCHEMA,
        "commitment": bytes(32), "rows": 5, "terms": terms(),
    }  # fmt: skip
    return Publish(**(fields | changes))
