"""What market transactions do."""

from __future__ import annotations

from collections.abc import Iterator

from fondaco.core.messages import altered
from fondaco.core.models import MAX_NAME
from fondaco.core.names import is_plain
from fondaco.ledger.contracts import due
from fondaco.ledger.contracts.catalog import handlers as catalog
from fondaco.ledger.contracts.catalog.messages import Dataset
from fondaco.ledger.contracts.certificates import handlers as certificates
from fondaco.ledger.contracts.grants import handlers as grants
from fondaco.ledger.contracts.grants.messages import Item, RequestUse
from fondaco.ledger.contracts.identity import authority
from fondaco.ledger.contracts.kit import Context, derive, distinct, is_amount, is_word, load, records, save
from fondaco.ledger.contracts.market import keys, matching
from fondaco.ledger.contracts.market import messages as m
from fondaco.ledger.contracts.market.errors import Denied, Invalid, Unknown, WrongStatus
from fondaco.ledger.contracts.points import accounts
from fondaco.ledger.state import ReadStore

CONTRACT = "market"
MAX_WORDS = 16
MAX_COLUMNS = 64
MAX_OPEN = 64  # demands, and as many offers, of one organisation
MAX_SECONDS = 366 * 86400
OPEN, MET, TAKEN, WITHDRAWN, EXPIRED = "open", "met", "taken", "withdrawn", "expired"
_DEMAND, _OFFER = b"demand/", b"offer/"


def demand(store: ReadStore, demand_id: bytes) -> m.Demand:
    """The record of a demand.

    Raises:
        Unknown: there is none.
    """
    found = load(store, m.Demand, keys.demand(demand_id))
    if found is None:
        raise Unknown("no such demand")
    return found


def offer(store: ReadStore, offer_id: bytes) -> m.Offer:
    """The record of an offer.

    Raises:
        Unknown: there is none.
    """
    found = load(store, m.Offer, keys.offer(offer_id))
    if found is None:
        raise Unknown("no such offer")
    return found


def _named(words: tuple[str, ...], most: int) -> bool:
    return 1 <= len(words) <= most and distinct(words) and all(is_word(word) for word in words)


def _check_until(ctx: Context, until: int) -> None:
    if not ctx.time < until <= ctx.time + MAX_SECONDS:
        raise Invalid("it ends within a year")


def _count(ctx: Context, kind: str, organisation: str, step: int) -> None:
    where = keys.open_count(kind, organisation)
    count = accounts.read_number(ctx.store, where) + step
    if step > 0 and count > MAX_OPEN:
        raise WrongStatus(f"{organisation} has {MAX_OPEN} open {kind}s", remedy="withdraw one first")
    accounts.write_number(ctx.store, where, count)


def put_demand(ctx: Context, msg: m.PutDemand) -> None:
    """Say what is sought."""
    author = authority.user(ctx, "analyst")
    if not (msg.words or msg.columns) or not distinct(msg.columns) or len(msg.columns) > MAX_COLUMNS:
        raise Invalid(f"a demand names words or columns, up to {MAX_WORDS} and {MAX_COLUMNS}, each once")
    if msg.words and not _named(msg.words, MAX_WORDS):
        raise Invalid("words are short, lower-case, each once")
    if not all(1 <= len(column) <= MAX_NAME and is_plain(column) for column in msg.columns):
        raise Invalid("a column's name is not blank, and not too long")
    if not _named(msg.operations, MAX_WORDS) or not is_word(msg.purpose):
        raise Invalid("a demand names its operations, each once, and one purpose")
    if not is_amount(msg.max_price):
        raise Invalid("a price is not negative")
    _check_until(ctx, msg.until)
    _count(ctx, "demand", author.organisation, 1)
    made = m.Demand(
        id=derive("demand", ctx.tx),
        organisation=author.organisation,
        words=msg.words,
        columns=msg.columns,
        operations=msg.operations,
        purpose=msg.purpose,
        max_price=msg.max_price,
        until=msg.until,
        status=OPEN,
        since=ctx.height,
    )
    save(ctx.store, keys.demand(made.id), made)
    due.at_time(ctx.store, made.until, CONTRACT, _DEMAND + made.id)
    ctx.emit(CONTRACT, "demanded", demand=made.id, organisation=made.organisation, purpose=made.purpose)


def put_offer(ctx: Context, msg: m.PutOffer) -> None:
    """Offer a published dataset, to all or for one demand."""
    author = authority.user(ctx, "reviewer")
    dataset = catalog.dataset(ctx.store, msg.path, msg.version)
    if dataset.owner != author.organisation:
        raise Denied(f"{msg.path} belongs to {dataset.owner}")
    if dataset.status != "published":
        raise WrongStatus("the dataset is withdrawn")
    known = [column.name for column in dataset.schema.columns]
    named = (*msg.keys, *msg.columns)
    if not named or not distinct(named) or any(column not in known for column in named):
        raise Invalid("name one or more columns of the dataset, each once, as a key or to compute with")
    if not _named(msg.operations, MAX_WORDS) or not _named(msg.purposes, MAX_WORDS):
        raise Invalid("an offer names its operations and purposes, each once")
    if not is_amount(msg.price) or not 1 <= msg.uses <= grants.MAX_USES:
        raise Invalid("a price is not negative, uses are 1 to a million")
    _check_until(ctx, msg.until)
    if not ctx.time < msg.expires <= ctx.time + MAX_SECONDS:
        raise Invalid("grants of an offer end within a year")
    if msg.demand is not None and demand(ctx.store, msg.demand).status != OPEN:
        raise WrongStatus("the demand is no longer open")
    _count(ctx, "offer", author.organisation, 1)
    made = m.Offer(
        id=derive("offer", ctx.tx),
        provider=author.organisation,
        path=msg.path,
        version=msg.version,
        keys=msg.keys,
        columns=msg.columns,
        operations=msg.operations,
        purposes=msg.purposes,
        price=msg.price,
        uses=msg.uses,
        until=msg.until,
        expires=msg.expires,
        demand=msg.demand,
        status=OPEN,
        since=ctx.height,
    )
    save(ctx.store, keys.offer(made.id), made)
    ctx.store.set(keys.open_offer(made.id), b"\x01")
    due.at_time(ctx.store, made.until, CONTRACT, _OFFER + made.id)
    ctx.emit(CONTRACT, "offered", offer=made.id, provider=made.provider, path=made.path, price=made.price)


def _close_demand(ctx: Context, found: m.Demand, status: str) -> None:
    save(ctx.store, keys.demand(found.id), altered(found, status=status))
    due.not_at_time(ctx.store, found.until, CONTRACT, _DEMAND + found.id)
    _count(ctx, "demand", found.organisation, -1)
    ctx.emit(CONTRACT, f"demand-{status}", demand=found.id, organisation=found.organisation)


def _close_offer(ctx: Context, found: m.Offer, status: str) -> None:
    save(ctx.store, keys.offer(found.id), altered(found, status=status))
    ctx.store.delete(keys.open_offer(found.id))
    due.not_at_time(ctx.store, found.until, CONTRACT, _OFFER + found.id)
    _count(ctx, "offer", found.provider, -1)
    ctx.emit(CONTRACT, f"offer-{status}", offer=found.id, provider=found.provider)


def withdraw_demand(ctx: Context, msg: m.WithdrawDemand) -> None:
    """Seek it no longer."""
    found = demand(ctx.store, msg.demand)
    if authority.user(ctx, "analyst").organisation != found.organisation:
        raise Denied("the demand is another organisation's")
    if found.status != OPEN:
        raise WrongStatus(f"the demand is {found.status}")
    _close_demand(ctx, found, WITHDRAWN)


def withdraw_offer(ctx: Context, msg: m.WithdrawOffer) -> None:
    """Offer it no longer; grants that came of it stay."""
    found = offer(ctx.store, msg.offer)
    if authority.user(ctx, "reviewer").organisation != found.provider:
        raise Denied("the offer is another organisation's")
    if found.status != OPEN:
        raise WrongStatus(f"the offer is {found.status}")
    _close_offer(ctx, found, WITHDRAWN)


def _check_demand(ctx: Context, msg: m.AcceptOffer, found: m.Offer, organisation: str) -> m.Demand | None:
    """The demand that an acceptance meets, if it names one: ours, and matched with the offer by the rule."""
    if msg.demand is None:
        return None
    sought = demand(ctx.store, msg.demand)
    if sought.organisation != organisation:
        raise Denied("the demand is another organisation's")
    if matching.match(sought, found, catalog.dataset(ctx.store, found.path, found.version)) is None:
        raise Invalid("the offer does not match this demand", remedy="see the query market/matches")
    return sought


def _check_offered(what: str, wanted: tuple[str, ...], offered: tuple[str, ...]) -> None:
    """Raise Denied, with its name, for what the offer does not have."""
    lacking = next((name for name in wanted if name not in offered), None)
    if lacking is not None:
        has = ", ".join(offered) or "none"
        raise Denied(f"the offer has no {what} {lacking[:80]}", remedy=f"it has of these: {has[:200]}")


def accept(ctx: Context, msg: m.AcceptOffer) -> None:
    """Take an offer: the price goes into escrow, and the grant is there, for both have signed."""
    author = authority.user(ctx, "analyst")
    found = offer(ctx.store, msg.offer)
    if found.status != OPEN or ctx.time >= found.until:
        raise WrongStatus(f"the offer is {found.status}, or its time is over")
    if found.demand is not None and found.demand != msg.demand:
        raise Denied("the offer is for one demand, and not for another")
    sought = _check_demand(ctx, msg, found, author.organisation)
    _check_offered("key", msg.keys, found.keys)
    _check_offered("column", msg.columns, found.columns)
    if msg.uses > found.uses:
        raise Denied("the offer is of fewer uses")
    if any(word not in found.operations for word in msg.operations) or msg.purpose not in found.purposes:
        raise Denied("the offer is for other operations or purposes")
    if msg.expires > found.expires:
        raise Denied("a grant of this offer ends sooner")
    wanted = RequestUse(
        items=(Item(path=found.path, version=found.version, keys=msg.keys, columns=msg.columns),),
        operations=msg.operations,
        purpose=msg.purpose,
        parties=msg.parties,
        receivers=msg.receivers,
        uses=msg.uses,
        expires=msg.expires,
        max_price=found.price,
    )
    made = grants.buy(ctx, wanted, provider=found.provider, price=found.price)
    deal = m.Deal(
        id=derive("deal", ctx.tx),
        offer=found.id,
        demand=msg.demand,
        request=made.request,
        grant=made.id,
        holder=made.holder,
        provider=made.provider,
        path=made.path,
        version=made.version,
        price=made.price,
        uses=msg.uses,
        escrowed=made.price * msg.uses,
        height=ctx.height,
        time=ctx.time,
    )
    save(ctx.store, keys.deal(deal.id), deal)
    ctx.emit(
        CONTRACT,
        "dealt",
        deal=deal.id,
        offer=found.id,
        request=made.request,
        grant=made.id,
        holder=made.holder,
        provider=made.provider,
        price=made.price,
        uses=msg.uses,
    )
    if sought is not None:
        _close_demand(ctx, sought, MET)
    if found.demand is not None:
        _close_offer(ctx, found, TAKEN)


def do_due(ctx: Context, subject: bytes) -> None:
    """The time of a demand or an offer is over."""
    if subject.startswith(_DEMAND):
        sought = demand(ctx.store, subject[len(_DEMAND) :])
        if sought.status == OPEN:
            _close_demand(ctx, sought, EXPIRED)
        return
    found = offer(ctx.store, subject[len(_OFFER) :])
    if found.status == OPEN:
        _close_offer(ctx, found, EXPIRED)


def close_all(ctx: Context, organisation: str) -> None:
    """Withdraw all that an organisation seeks and offers; governance comes here when it expels one."""
    for sought in list(records(ctx.store, m.Demand, keys.DEMANDS)):
        if sought.organisation == organisation and sought.status == OPEN:
            _close_demand(ctx, sought, WITHDRAWN)
    for found in list(_open_offers(ctx.store)):
        if found.provider == organisation:
            _close_offer(ctx, found, WITHDRAWN)


def _open_offers(store: ReadStore) -> Iterator[m.Offer]:
    """The open offers, in order of id; those that have closed cost nothing."""
    return (offer(store, key[len(keys.OPEN_OFFERS) :]) for key, _value in store.items(keys.OPEN_OFFERS))


def matches(store: ReadStore, demand_id: bytes) -> tuple[m.Match, ...]:
    """The offers that fit a demand, best first."""
    sought = demand(store, demand_id)
    datasets: dict[tuple[str, int], Dataset] = {}
    pairs: list[tuple[m.Offer, Dataset]] = []
    for one in _open_offers(store):
        place = (one.path, one.version)
        if place not in datasets:
            datasets[place] = catalog.dataset(store, *place)
        pairs.append((one, datasets[place]))
    return matching.ranked(sought, pairs)


def receipts(store: ReadStore, organisation: str) -> tuple[m.Receipt, ...]:
    """The deals of an organisation, on either side, with transfer, grant and receipts of use."""
    found: list[m.Receipt] = []
    for deal in records(store, m.Deal, keys.DEALS):
        if organisation not in (deal.holder, deal.provider):
            continue
        bought = organisation == deal.holder
        grant = grants.grant(store, deal.grant)
        found.append(
            m.Receipt(
                deal=deal.id,
                side="bought" if bought else "sold",
                other=deal.provider if bought else deal.holder,
                path=deal.path,
                version=deal.version,
                escrowed=deal.escrowed,
                held=accounts.held(store, deal.grant),
                grant=deal.grant,
                status=grant.status,
                uses_total=grant.uses_total,
                uses_left=grant.uses_left,
                certificates=tuple(one.id for one in certificates.of_grant(store, deal.grant)),
            )
        )
    return tuple(found)


HANDLERS = (
    (m.PutDemand, put_demand),
    (m.PutOffer, put_offer),
    (m.WithdrawDemand, withdraw_demand),
    (m.WithdrawOffer, withdraw_offer),
    (m.AcceptOffer, accept),
)
