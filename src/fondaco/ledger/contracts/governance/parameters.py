"""What the consortium has voted, for whoever needs it: parameters, prices, quotas, programs, rules by height.

Reads alone, so that every contract may import it; a chain that has not voted has the defaults of its genesis.
"""

from __future__ import annotations

from fondaco.ledger.contracts.governance import keys
from fondaco.ledger.contracts.governance.messages import Parameters, Program, Upgrade, Upgrades
from fondaco.ledger.contracts.kit import load
from fondaco.ledger.state import ReadStore

BASIS_POINTS = 10_000
FIRST = Upgrade(height=0, version=1, package=b"")
DEFAULTS = Parameters(
    deliberation=0,
    voting=600,
    execution=0,
    quorum=6_667,
    threshold=6_667,
    veto=3_333,
    early=True,
    deposit=0,
    quota=50_000,
    most_validators=64,
    admission_by_vote=False,
    listed_programs_only=False,
)


def parameters(store: ReadStore) -> Parameters:
    """The parameters in force."""
    return load(store, Parameters, keys.PARAMETERS) or DEFAULTS


def number(store: ReadStore, key: bytes, default: int) -> int:
    """A voted number, or what holds without a vote."""
    data = store.get(key)
    return default if data is None else int.from_bytes(data, "big")


def price(store: ReadStore, operation: str) -> int:
    """What a step of an operation costs its initiator."""
    return number(store, keys.price(operation), 0)


def quota(store: ReadStore, organisation: str) -> int:
    """How many transactions of an organisation a block may hold."""
    own = number(store, keys.quota(organisation), 0)
    return own or parameters(store).quota


def weight(store: ReadStore, organisation: str) -> int:
    """How much an active organisation's vote counts."""
    return number(store, keys.weight(organisation), 1)


def program(store: ReadStore, program_hash: bytes) -> Program | None:
    """A program that is on the consortium's list, or None."""
    found = load(store, Program, keys.program(program_hash))
    return found if found is not None and found.admitted else None


def upgrades(store: ReadStore) -> tuple[Upgrade, ...]:
    """All upgrades, in order of height and of version."""
    found = load(store, Upgrades, keys.UPGRADES)
    return () if found is None else found.steps


def rules(store: ReadStore, height: int) -> Upgrade:
    """The rules that hold at a height: the last upgrade that is not after it."""
    return next((step for step in reversed(upgrades(store)) if step.height <= height), FIRST)
