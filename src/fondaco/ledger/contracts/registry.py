"""All contracts together: which message goes to which handler, genesis, and queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fondaco.core.codec import Value
from fondaco.core.messages import from_value, kind_of, message, to_value
from fondaco.errors import CodecError, ContractError
from fondaco.ledger.contracts.catalog import handlers as catalog
from fondaco.ledger.contracts.catalog.keys import DATASETS
from fondaco.ledger.contracts.catalog.messages import Dataset
from fondaco.ledger.contracts.grants import handlers as grants
from fondaco.ledger.contracts.grants import keys as grant_keys
from fondaco.ledger.contracts.grants.messages import Grant, Request
from fondaco.ledger.contracts.identity import handlers as identity
from fondaco.ledger.contracts.identity import keys as identity_keys
from fondaco.ledger.contracts.identity.messages import Invitation, Node, Organisation, OrganisationSpec, User
from fondaco.ledger.contracts.kit import Context, Refused, is_amount, load, records
from fondaco.ledger.contracts.points import accounts
from fondaco.ledger.contracts.points import handlers as points
from fondaco.ledger.contracts.points import keys as point_keys
from fondaco.ledger.contracts.points.messages import Escrow, MintProposal
from fondaco.ledger.contracts.tasks import handlers as tasks
from fondaco.ledger.contracts.tasks import keys as task_keys
from fondaco.ledger.contracts.tasks.messages import Outcome, Task
from fondaco.ledger.state import ReadStore

Handler = Callable[[Context, Any], None]
_ALL = (*identity.HANDLERS, *points.HANDLERS, *catalog.HANDLERS, *grants.HANDLERS, *tasks.HANDLERS)
HANDLERS: dict[str, tuple[type, Handler]] = {kind_of(cls): (cls, handler) for cls, handler in _ALL}


@message("genesis.contracts/1")
class GenesisState:
    """What the contracts begin with: the founding organisations, points, and the coordinator's part."""

    organisations: tuple[OrganisationSpec, ...]
    allotments: dict[str, int]
    coordinator_fee: int


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


def execute(ctx: Context, kind: str, payload: Value) -> None:
    """Run one transaction's message.

    Raises:
        ContractError: refused; the caller drops all changes and events.
    """
    found = HANDLERS.get(kind)
    if found is None:
        raise UnknownKind(f"no contract has {kind[:64]}")
    cls, handler = found
    try:
        msg: Any = from_value(cls, payload)
    except CodecError as fault:
        raise Malformed(fault.cause) from fault
    handler(ctx, msg)


def init_genesis(ctx: Context, document: Value) -> None:
    """Make the founding state.

    Raises:
        ContractError: a founding organisation that is not sound.
        CodecError: not a genesis document.
    """
    genesis = from_value(GenesisState, document)
    for spec in genesis.organisations:
        identity.create(ctx, spec)
    for name, amount in sorted(genesis.allotments.items()):
        accounts.mint(ctx, name, amount)
    if not is_amount(genesis.coordinator_fee) or genesis.coordinator_fee > tasks.BASIS_POINTS:
        raise ContractError("the coordinator's part is 0 to 10,000 basis points", remedy="correct the genesis")
    accounts.write_number(ctx.store, task_keys.FEE, genesis.coordinator_fee)


def end_block(_ctx: Context) -> tuple[tuple[bytes, int], ...]:
    """What is due after a block: no contract changes the validators yet."""
    return ()


def _listing(cls: type, prefix: bytes) -> Callable[[ReadStore, dict[str, Value]], Value]:
    def query(store: ReadStore, _data: dict[str, Value]) -> Value:
        found: Iterator[Any] = records(store, cls, prefix)
        return [to_value(record) for record in found]

    return query


def _one(cls: type, where: Callable[[bytes], bytes]) -> Callable[[ReadStore, dict[str, Value]], Value]:
    def query(store: ReadStore, data: dict[str, Value]) -> Value:
        wanted = data.get("id")
        if not isinstance(wanted, bytes):
            raise Malformed("the query needs an id of bytes")
        found: Any = load(store, cls, where(wanted))
        return None if found is None else to_value(found)

    return query


def _named(text: Value) -> str:
    if not isinstance(text, str):
        raise Malformed("the query needs a name")
    return text


def _number(number: Value) -> int:
    if not isinstance(number, int):
        raise Malformed("the query needs a number")
    return number


def _outcomes(store: ReadStore, data: dict[str, Value]) -> Value:
    wanted = data.get("id")
    if not isinstance(wanted, bytes):
        raise Malformed("the query needs an id of bytes")
    prefix = task_keys.outcomes(wanted, _number(data.get("attempt")))
    return [to_value(record) for record in records(store, Outcome, prefix)]


def _open_tasks(store: ReadStore, _data: dict[str, Value]) -> Value:
    found = (key[-32:] for key, _value in store.items(task_keys.OPEN))
    return [to_value(tasks.task(store, task_id)) for task_id in found]


def _balances(store: ReadStore, _data: dict[str, Value]) -> Value:
    prefix = point_keys.BALANCES
    return {key[len(prefix) :].decode(): int.from_bytes(value, "big") for key, value in store.items(prefix)}


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
    "points/balances": _balances,
    "points/escrows": _listing(Escrow, point_keys.ESCROWS),
    "points/supply": _conserved,
    "points/mints": _listing(MintProposal, point_keys.PROPOSALS),
    "points/transfers": lambda store, data: accounts.read_number(
        store, point_keys.transfers(_named(data.get("organisation")))
    ),
    "points/votes": lambda store, data: accounts.read_number(store, point_keys.votes(_named(data.get("organisation")))),
    "catalog/datasets": _listing(Dataset, DATASETS),
    "catalog/latest": lambda store, data: catalog.latest(store, _named(data.get("path"))),
    "catalog/dataset": lambda store, data: to_value(
        catalog.dataset(store, _named(data.get("path")), _number(data.get("version")))
    ),
    "grants/requests": _listing(Request, grant_keys.REQUESTS),
    "grants/grants": _listing(Grant, grant_keys.GRANTS),
    "grants/request": _one(Request, grant_keys.request),
    "grants/grant": _one(Grant, grant_keys.grant),
    "tasks/tasks": _listing(Task, task_keys.TASKS),
    "tasks/open": _open_tasks,
    "tasks/task": _one(Task, task_keys.task),
    "tasks/outcomes": _outcomes,
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
