"""All contracts together: which message goes to which handler, genesis, and queries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from fondaco.core.codec import Value, encode
from fondaco.core.messages import from_value, kind_of, message, to_value
from fondaco.errors import CodecError, ContractError, KeyMaterialError, NamingError, SealError
from fondaco.ledger.contracts import due
from fondaco.ledger.contracts.catalog import handlers as catalog
from fondaco.ledger.contracts.catalog.keys import DATASETS
from fondaco.ledger.contracts.catalog.messages import Dataset
from fondaco.ledger.contracts.certificates import handlers as certificates
from fondaco.ledger.contracts.certificates import keys as certificate_keys
from fondaco.ledger.contracts.certificates.messages import Certificate
from fondaco.ledger.contracts.disputes import handlers as disputes
from fondaco.ledger.contracts.disputes import keys as dispute_keys
from fondaco.ledger.contracts.disputes.messages import Dispute, Rules
from fondaco.ledger.contracts.governance import handlers as governance
from fondaco.ledger.contracts.governance import keys as governance_keys
from fondaco.ledger.contracts.governance import parameters
from fondaco.ledger.contracts.governance.messages import Parameters, Program, Proposal, Seat, Upgrade
from fondaco.ledger.contracts.governance.parameters import DEFAULTS
from fondaco.ledger.contracts.grants import handlers as grants
from fondaco.ledger.contracts.grants import keys as grant_keys
from fondaco.ledger.contracts.grants.messages import Grant, LookupLimits, Request
from fondaco.ledger.contracts.identity import authority
from fondaco.ledger.contracts.identity import handlers as identity
from fondaco.ledger.contracts.identity import keys as identity_keys
from fondaco.ledger.contracts.identity.errors import Unknown
from fondaco.ledger.contracts.identity.messages import (
    Binding,
    Invitation,
    Join,
    Node,
    Organisation,
    OrganisationSpec,
    User,
)
from fondaco.ledger.contracts.kit import VERSION, Context, Refused, load, records
from fondaco.ledger.contracts.market import handlers as market
from fondaco.ledger.contracts.market import keys as market_keys
from fondaco.ledger.contracts.market.messages import Deal, Demand, Offer
from fondaco.ledger.contracts.points import accounts
from fondaco.ledger.contracts.points import handlers as points
from fondaco.ledger.contracts.points import keys as point_keys
from fondaco.ledger.contracts.points.messages import Escrow
from fondaco.ledger.contracts.settlement import handlers as settlement
from fondaco.ledger.contracts.settlement import keys as settlement_keys
from fondaco.ledger.contracts.settlement import payments
from fondaco.ledger.contracts.settlement.messages import Formula, Measurement, Settlement
from fondaco.ledger.contracts.tasks import handlers as tasks
from fondaco.ledger.contracts.tasks import keys as task_keys
from fondaco.ledger.contracts.tasks.messages import Outcome, Task
from fondaco.ledger.state import Overlay, ReadStore

Handler = Callable[[Context, Any], None]
_ALL = (
    *identity.HANDLERS,
    *governance.HANDLERS,
    *points.HANDLERS,
    *catalog.HANDLERS,
    *grants.HANDLERS,
    *tasks.HANDLERS,
    *settlement.HANDLERS,
    *market.HANDLERS,
    *certificates.HANDLERS,
    *disputes.HANDLERS,
)
_JOIN = kind_of(Join)
HANDLERS: dict[str, tuple[type, Handler]] = {kind_of(cls): (cls, handler) for cls, handler in _ALL}
# What each contract does with its subjects in the queue of due work (contracts/due.py), at the end of a block.
DUE: dict[str, Callable[[Context, bytes], None]] = {
    grants.CONTRACT: grants.on_due,
    governance.CONTRACT: governance.on_due,
    payments.CONTRACT: payments.pay_due,
    disputes.CONTRACT: disputes.do_due,
    market.CONTRACT: market.do_due,
}


@message("genesis.contracts/2")
class GenesisState:
    """What the contracts begin with: organisations, points, how tasks are paid and disputed, rules, whose validators.

    A founding validator that no seat names belongs to nobody, and no vote can take it away. `version` is that of the
    rules that the chain begins with; `genesis.contracts/1` had none and meant the first.
    """

    organisations: tuple[OrganisationSpec, ...]
    allotments: dict[str, int]
    settlement: Formula = payments.DEFAULT
    disputes: Rules = disputes.DEFAULT
    rules: Parameters = DEFAULTS
    seats: tuple[Seat, ...] = ()
    version: int = VERSION


class UnknownKind(Refused):
    """A transaction of a kind that no contract has."""

    code = "ledger.unknown_kind"
    codespace = "ledger"
    number = 2


class Malformed(Refused):
    """A transaction whose payload is not a message of its kind."""

    code = "ledger.malformed"
    codespace = "ledger"
    number = 3


def kinds() -> tuple[str, ...]:
    """All kinds of transactions, sorted."""
    return tuple(sorted(HANDLERS))


def message_of(kind: str) -> type | None:
    """The class of a kind's messages."""
    found = HANDLERS.get(kind)
    return None if found is None else found[0]


def execute(ctx: Context, kind: str, payload: Any) -> None:
    """Run one transaction's message, which is of its class already or as it was decoded.

    Raises:
        ContractError: refused; the caller drops all changes and events.
    """
    found = HANDLERS.get(kind)
    if found is None:
        raise UnknownKind(f"no contract has {kind[:64]}")
    cls, handler = found
    msg: Any = payload
    if type(payload) is not cls:
        try:
            msg = from_value(cls, payload)
        except CodecError as fault:
            raise Malformed(fault.cause) from fault
    handler(ctx, msg)


def end_block(ctx: Context) -> None:
    """Do what is due at the end of a block, each piece of work wholly or not at all.

    Work that a contract refuses leaves an event `ledger.due-refused` and nothing else: nobody is there to be told.
    """
    for item in due.due(ctx.store, ctx.height, ctx.time):
        ctx.store.delete(item.key)
        branch = Overlay(ctx.store)
        own = dataclasses.replace(ctx, store=branch, events=[], updates=list(ctx.updates))
        try:
            _work(own, item)
        except (ContractError, CodecError, NamingError, KeyMaterialError, SealError) as refusal:
            ctx.emit("ledger", "due-refused", contract=item.contract, subject=item.subject, error=refusal.code)
            continue
        branch.merge_into(ctx.store)
        ctx.events.extend(own.events)
        ctx.updates[:] = own.updates


def _work(ctx: Context, item: due.Due) -> None:
    """One piece of due work; its events are encoded here, so that none of them can stop the block later."""
    found = DUE.get(item.contract)
    if found is None:
        raise UnknownKind(f"no contract has work called {item.contract[:64]}")
    found(ctx, item.subject)
    for event in ctx.events:
        encode(dict(event.attributes))


def waiting(store: ReadStore) -> tuple[int | None, int | None]:
    """The next height and time (unix seconds) at which `end_block` has work; None where nothing waits."""
    return due.waiting(store)


def rules(store: ReadStore, height: int) -> Upgrade:
    """The version of the rules that hold at a height, and the package that has them."""
    return parameters.rules(store, height)


def admits(store: ReadStore, signers: tuple[bytes, ...], kind: str) -> bool:
    """Whether these keys, the author's first, may send a transaction of this kind at all.

    An author is bound to an active institution; a guest may join, signed by the key of an open invitation too.
    """
    author = _bound(store, signers[0])
    if author is not None and authority.organisation(store, author.organisation) is not None:
        return True
    if kind != _JOIN:
        return False
    invitations = (load(store, Invitation, identity_keys.invitation(key)) for key in signers)
    return any(found is not None and found.status == "open" for found in invitations)


def expelled(store: ReadStore, key: bytes) -> str:
    """The expelled institution whose administrator's, node's, user's or validator's key this is; empty: none."""
    author = _bound(store, key)
    gone = author is not None and authority.organisation(store, author.organisation) is None
    return author.organisation if author is not None and gone else ""


def _bound(store: ReadStore, key: bytes) -> Binding | None:
    """What a key is bound to; an invitation's is nobody's yet."""
    found = load(store, Binding, identity_keys.binding(key))
    return None if found is None or found.use == "invitation" else found


def quota(store: ReadStore, key: bytes) -> tuple[str, int]:
    """Whose transactions a signer's are, and how many of them a block may hold; strangers share one quota."""
    bound = load(store, Binding, identity_keys.binding(key))
    name = "" if bound is None else bound.organisation
    return name, parameters.quota(store, name)


def init_genesis(ctx: Context, document: Value) -> None:
    """Make the founding state.

    Raises:
        ContractError: a founding organisation that is not sound.
        CodecError: not a genesis document.
    """
    if isinstance(document, dict) and "version" not in document:
        document = {**document, "version": 1}
    genesis = from_value(GenesisState, document)
    for spec in genesis.organisations:
        identity.create(ctx, spec)
    for name, amount in sorted(genesis.allotments.items()):
        if authority.organisation(ctx.store, name) is None:
            raise Unknown(f"{name}, to whom the genesis allots points, is not a founding organisation")
        accounts.mint(ctx, name, amount)
    payments.set_shares(ctx, genesis.settlement)
    disputes.set_rules(ctx, genesis.disputes)
    governance.init_genesis(ctx, genesis.rules, genesis.seats, genesis.version)


def _listing(cls: type, prefix: bytes) -> Callable[[ReadStore, dict[str, Value]], Value]:
    def query(store: ReadStore, _data: dict[str, Value]) -> Value:
        found: Iterator[Any] = records(store, cls, prefix)
        return [to_value(record) for record in found]

    return query


def _one(cls: type, where: Callable[[bytes], bytes]) -> Callable[[ReadStore, dict[str, Value]], Value]:
    def query(store: ReadStore, data: dict[str, Value]) -> Value:
        found: Any = load(store, cls, where(_id(data)))
        return None if found is None else to_value(found)

    return query


def _id(data: dict[str, Value]) -> bytes:
    wanted = data.get("id")
    if not isinstance(wanted, bytes):
        raise Malformed("the query needs an id of bytes")
    return wanted


def _named(text: Value) -> str:
    if not isinstance(text, str):
        raise Malformed("the query needs a name")
    return text


def _number(number: Value, size: int) -> int:
    """A number that a key has in so many bytes."""
    if not isinstance(number, int) or not 0 <= number < 1 << 8 * size:
        raise Malformed(f"the query needs a number of at most {size} bytes")
    return number


def _outcomes(store: ReadStore, data: dict[str, Value]) -> Value:
    prefix = task_keys.outcomes(_id(data), _number(data.get("attempt"), 2))
    return [to_value(record) for record in records(store, Outcome, prefix)]


def _measurements(store: ReadStore, data: dict[str, Value]) -> Value:
    prefix = settlement_keys.measurements(_id(data), _number(data.get("attempt"), 2))
    return [to_value(record) for record in records(store, Measurement, prefix)]


def _path_limits(store: ReadStore, data: dict[str, Value]) -> Value:
    found = load(store, LookupLimits, grant_keys.limits_of_path(_named(data.get("path"))))
    return None if found is None else to_value(found)


def _open_tasks(store: ReadStore, _data: dict[str, Value]) -> Value:
    found = (key[-32:] for key, _value in store.items(task_keys.OPEN))
    return [to_value(tasks.task(store, task_id)) for task_id in found]


def _numbers(prefix: bytes) -> Callable[[ReadStore, dict[str, Value]], Value]:
    """A query for the numbers under a prefix, by name."""

    def query(store: ReadStore, _data: dict[str, Value]) -> Value:
        return {key[len(prefix) :].decode(): int.from_bytes(value, "big") for key, value in store.items(prefix)}

    return query


def _conserved(store: ReadStore, _data: dict[str, Value]) -> Value:
    balances, escrows, total = points.check_conservation(store)
    return {"balances": balances, "escrows": escrows, "supply": total}


QUERIES: dict[str, Callable[[ReadStore, dict[str, Value]], Value]] = {
    "identity/organisations": _listing(Organisation, identity_keys.ORGANISATIONS),
    "identity/nodes": _listing(Node, identity_keys.NODES),
    "identity/users": _listing(User, identity_keys.USERS),
    "identity/invitations": _listing(Invitation, identity_keys.INVITATIONS),
    "identity/node": _one(Node, identity_keys.node),
    "identity/user": _one(User, identity_keys.user),
    "points/balances": _numbers(point_keys.BALANCES),
    "points/escrows": _listing(Escrow, point_keys.ESCROWS),
    "points/supply": _conserved,
    "points/transfers": lambda store, data: accounts.read_number(
        store, point_keys.transfers(_named(data.get("organisation")))
    ),
    "governance/proposals": _listing(Proposal, governance_keys.PROPOSALS),
    "governance/proposal": _one(Proposal, governance_keys.proposal),
    "governance/parameters": lambda store, _data: to_value(parameters.parameters(store)),
    "governance/shares": lambda store, _data: to_value(payments.formula(store)),
    "governance/prices": _numbers(governance_keys.PRICES),
    "governance/quotas": _numbers(governance_keys.QUOTAS),
    "governance/programs": _listing(Program, governance_keys.PROGRAMS),
    "governance/seats": _listing(Seat, governance_keys.SEATS),
    "governance/upgrades": lambda store, _data: [to_value(step) for step in parameters.upgrades(store)],
    "governance/weights": lambda store, _data: dict(governance.weights(store)),
    "governance/votes": lambda store, data: parameters.number(
        store, governance_keys.votes(_named(data.get("organisation"))), 0
    ),
    "catalog/datasets": _listing(Dataset, DATASETS),
    "catalog/latest": lambda store, data: catalog.latest(store, _named(data.get("path"))),
    "catalog/dataset": lambda store, data: to_value(
        catalog.dataset(store, _named(data.get("path")), _number(data.get("version"), 4))
    ),
    "grants/requests": _listing(Request, grant_keys.REQUESTS),
    "grants/grants": _listing(Grant, grant_keys.GRANTS),
    "grants/request": _one(Request, grant_keys.request),
    "grants/grant": _one(Grant, grant_keys.grant),
    "grants/limits": _one(LookupLimits, grant_keys.limits),
    "grants/path-limits": _path_limits,
    "tasks/tasks": _listing(Task, task_keys.TASKS),
    "tasks/open": _open_tasks,
    "tasks/task": _one(Task, task_keys.task),
    "tasks/outcomes": _outcomes,
    "settlement/formula": lambda store, _data: to_value(payments.formula(store)),
    "settlement/settlements": _listing(Settlement, settlement_keys.SETTLEMENTS),
    "settlement/settlement": _one(Settlement, settlement_keys.settlement),
    "settlement/measurements": _measurements,
    "market/demands": _listing(Demand, market_keys.DEMANDS),
    "market/offers": _listing(Offer, market_keys.OFFERS),
    "market/deals": _listing(Deal, market_keys.DEALS),
    "market/matches": lambda store, data: [to_value(one) for one in market.matches(store, _id(data))],
    "market/receipts": lambda store, data: [
        to_value(one) for one in market.receipts(store, _named(data.get("organisation")))
    ],
    "certificates/certificates": _listing(Certificate, certificate_keys.CERTIFICATES),
    "certificates/certificate": _one(Certificate, certificate_keys.certificate),
    "disputes/rules": lambda store, _data: to_value(disputes.rules(store)),
    "disputes/disputes": _listing(Dispute, dispute_keys.DISPUTES),
    "disputes/dispute": _one(Dispute, dispute_keys.dispute),
}


def query(store: ReadStore, path: str, data: dict[str, Value]) -> Value:
    """Answer a read.

    Raises:
        ContractError: no such query, or it does not find what it needs.
    """
    found = QUERIES.get(path)
    if found is None:
        raise UnknownKind(f"no contract answers {path[:64]}")
    return found(store, data)
