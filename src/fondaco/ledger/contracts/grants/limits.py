"""How many keys hidden queries under a grant may ask: said by the owner or a reviewer, kept with the grant.

A grant's limits are those that held when it was given, and change no more. A grant without a record says nothing:
so are all that earlier versions gave. The ledger sees no step's parameters, so the provider's gate keeps to them.
"""

from __future__ import annotations

from fondaco.core.names import DatasetName
from fondaco.errors import NamingError
from fondaco.ledger.contracts.catalog import handlers as catalog
from fondaco.ledger.contracts.grants import keys
from fondaco.ledger.contracts.grants import messages as m
from fondaco.ledger.contracts.grants.errors import Denied, Invalid
from fondaco.ledger.contracts.identity import authority
from fondaco.ledger.contracts.kit import Context, load, save
from fondaco.ledger.state import ReadStore

CONTRACT = "grants"
MAX_KEYS = 4096
MAX_A_DAY = 1_000_000_000


def of_path(store: ReadStore, path: str) -> m.LookupLimits | None:
    """What the owner of a path says of grants to come."""
    return load(store, m.LookupLimits, keys.limits_of_path(path))


def of_grant(store: ReadStore, grant_id: bytes) -> m.LookupLimits | None:
    """What a grant says."""
    return load(store, m.LookupLimits, keys.limits(grant_id))


def check(limits: m.LookupLimits, within: m.LookupLimits | None) -> None:
    """Refuse limits that are none, or wider than others.

    Raises:
        Invalid: numbers that make no sense, or more than `within` allows.
    """
    if not 1 <= limits.most_keys <= MAX_KEYS:
        raise Invalid(f"a lookup is for 1 to {MAX_KEYS} keys")
    if limits.keys_a_day and not limits.most_keys <= limits.keys_a_day <= MAX_A_DAY:
        raise Invalid("keys a day are as many as one lookup may ask, or more; 0 sets no bound")
    if within is None:
        return
    more_a_day = within.keys_a_day and not 1 <= limits.keys_a_day <= within.keys_a_day
    if limits.most_keys > within.most_keys or more_a_day:
        raise Invalid("a review allows lookups what the owner allows grants, or less")


def set_limits(ctx: Context, msg: m.SetLookupLimits) -> None:
    """Say what grants of a path allow from now on; before it is published too, so that no grant comes first."""
    owner = authority.user(ctx, "steward").organisation
    try:
        name = DatasetName.parse(msg.path)
    except NamingError as fault:
        raise Invalid(fault.cause, remedy=fault.remedy) from fault
    if name.version is not None:
        raise Invalid("a path has no version in it")
    newest = catalog.latest(ctx.store, msg.path)
    holder = catalog.dataset(ctx.store, msg.path, newest).owner if newest else name.org
    if holder != owner:
        raise Denied(f"{msg.path} belongs to {holder}")
    where = keys.limits_of_path(msg.path)
    if msg.limits is None:
        ctx.store.delete(where)
        ctx.emit(CONTRACT, "lookups-unlimited", path=msg.path, owner=owner)
        return
    check(msg.limits, None)
    save(ctx.store, where, msg.limits)
    ctx.emit(
        CONTRACT,
        "lookups-limited",
        path=msg.path,
        owner=owner,
        most_keys=msg.limits.most_keys,
        keys_a_day=msg.limits.keys_a_day,
    )


def attach(ctx: Context, made: m.Grant, limits: m.LookupLimits | None) -> None:
    """Keep with a new grant what it says: `limits`, else what the owner says of the path, else nothing."""
    said = of_path(ctx.store, made.path) if limits is None else limits
    if said is None:
        return
    save(ctx.store, keys.limits(made.id), said)
    ctx.emit(CONTRACT, "limited", grant=made.id, most_keys=said.most_keys, keys_a_day=said.keys_a_day)
