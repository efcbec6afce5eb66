"""What grants transactions do."""

from __future__ import annotations

from fondaco.core.messages import altered, to_bytes
from fondaco.ledger.contracts import due
from fondaco.ledger.contracts.catalog import handlers as catalog
from fondaco.ledger.contracts.catalog.messages import Dataset, Rule
from fondaco.ledger.contracts.grants import keys, limits
from fondaco.ledger.contracts.grants import messages as m
from fondaco.ledger.contracts.grants.errors import Denied, Invalid, Unknown, WrongStatus
from fondaco.ledger.contracts.identity import authority
from fondaco.ledger.contracts.kit import Context, derive, distinct, is_amount, is_text, is_word, load, save
from fondaco.ledger.contracts.points import accounts
from fondaco.ledger.state import ReadStore

CONTRACT = "grants"
MAX_ITEMS = 16
MAX_USES = 1_000_000
MAX_REASON = 200
MAX_SECONDS = 5 * 366 * 86400


def grant(store: ReadStore, grant_id: bytes) -> m.Grant:
    """The record of a grant.

    Raises:
        Unknown: there is none.
    """
    found = load(store, m.Grant, keys.grant(grant_id))
    if found is None:
        raise Unknown("no such grant")
    return found


def _request(store: ReadStore, request_id: bytes) -> m.Request:
    found = load(store, m.Request, keys.request(request_id))
    if found is None:
        raise Unknown("no such request")
    return found


def _put_request(ctx: Context, record: m.Request) -> None:
    """Write a request, and who has an unanswered item in it."""
    save(ctx.store, keys.request(record.id), record)
    waiting = [p for p, answer in zip(record.providers, record.answers, strict=True) if answer == "pending"]
    for name in dict.fromkeys((record.organisation, *record.providers)):
        if name in waiting or (waiting and name == record.organisation):
            ctx.store.set(keys.pending(name, record.id), b"\x01")
        else:
            ctx.store.delete(keys.pending(name, record.id))


def _put_grant(ctx: Context, record: m.Grant) -> None:
    """Write a grant, and whose it is while it is active."""
    save(ctx.store, keys.grant(record.id), record)
    for name in (record.provider, record.holder):
        if record.status == "active":
            ctx.store.set(keys.active(name, record.id), b"\x01")
        else:
            ctx.store.delete(keys.active(name, record.id))


def end_all(ctx: Context, organisation: str, reason: str) -> None:
    """End what an institution gave, holds, asks for and is asked for: grants are revoked, open items closed."""
    for key, _value in list(ctx.store.items(keys.active(organisation, b""))):
        end(ctx, grant(ctx.store, key[-32:]), "revoked", reason)
    for key, _value in list(ctx.store.items(keys.pending(organisation, b""))):
        record = _request(ctx.store, key[-32:])
        for item, answer in enumerate(record.answers):
            if answer == "pending" and organisation in (record.organisation, record.providers[item]):
                status = "withdrawn" if organisation == record.organisation else "denied"
                close_item(ctx, record.id, item, status, reason)


def grant_id(request_id: bytes, item: int) -> bytes:
    """The id of the grant that answers an item; also of its escrow."""
    return derive("grant", request_id, item.to_bytes(4, "big"))


def _check_request(ctx: Context, msg: m.RequestUse, organisation: str) -> None:
    if not 1 <= len(msg.items) <= MAX_ITEMS or not distinct(tuple((i.path, i.version) for i in msg.items)):
        raise Invalid(f"a request names 1 to {MAX_ITEMS} datasets, each once")
    if not msg.operations or not distinct(msg.operations) or not all(is_word(o) for o in msg.operations):
        raise Invalid("a request names its operations, each once")
    if catalog.ANY in msg.operations or not is_word(msg.purpose) or msg.purpose == catalog.ANY:
        raise Invalid("a request names its operations and one purpose, not any")
    if not distinct(msg.parties) or organisation not in msg.parties or len(msg.parties) > MAX_ITEMS:
        raise Invalid("the parties are named each once, the asker among them")
    if not msg.receivers or not distinct(msg.receivers) or any(r not in msg.parties for r in msg.receivers):
        raise Invalid("the receivers are one or more of the parties")
    for name in msg.parties:
        if authority.organisation(ctx.store, name) is None:
            raise Unknown(f"{name} is not an active organisation")
    if not 1 <= msg.uses <= MAX_USES or not is_amount(msg.max_price):
        raise Invalid("uses are 1 to a million, a price is not negative")
    if not ctx.time < msg.expires <= ctx.time + MAX_SECONDS:
        raise Invalid("the request asks for a grant that has expired, or for more than five years")


def _check_terms(dataset: Dataset, item: m.Item, msg: m.RequestUse, price: int) -> None:
    where = f"{item.path}@{item.version}"
    terms = dataset.terms
    if dataset.status != "published":
        raise WrongStatus(f"{where} is withdrawn")
    known = [c.name for c in dataset.schema.columns]
    named = (*item.keys, *item.columns)
    if not named or not distinct(named) or any(c not in known for c in named):
        raise Invalid(f"name one or more columns of {where}, each once, as a key or to compute with")
    if catalog.ANY not in terms.operations and any(o not in terms.operations for o in msg.operations):
        raise Denied(f"{where} allows no such operation")
    if catalog.ANY not in terms.purposes and msg.purpose not in terms.purposes:
        raise Denied(f"{where} may not be used for {msg.purpose}")
    if dataset.owner not in msg.parties:
        raise Invalid(f"{dataset.owner}, who holds {where}, is not among the parties")
    if price > msg.max_price:
        raise Denied(f"one use of {where} costs {price} points")


def _named(words: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    return catalog.ANY in words or all(w in words for w in wanted)


def _matches(rule: Rule, request: m.Request, provider: str, item: m.Item, now: int) -> bool:
    """Whether a default permission covers an item. Who takes part, helps or learns is among whom the rule names."""
    others = tuple(name for name in request.parties if name != provider)
    return (
        _named(rule.organisations, others)
        and _named(rule.operations, request.operations)
        and _named(rule.purposes, (request.purpose,))
        and all(c in rule.keys for c in item.keys)
        and (not rule.columns or all(c in rule.columns for c in item.columns))
        and request.expires <= rule.until
        and now < rule.until
    )


def _take_of_rule(ctx: Context, dataset: Dataset, rule: Rule, request: m.Request) -> bool:
    """Count the uses that a default permission gives to one organisation; False where they would be too many."""
    where = keys.by_rule(f"{dataset.path}@{dataset.version}", derive("rule", to_bytes(rule)), request.organisation)
    given = accounts.read_number(ctx.store, where) + request.uses
    if given > rule.uses:
        return False
    accounts.write_number(ctx.store, where, given)
    return True


def _ask(ctx: Context, msg: m.RequestUse, datasets: list[Dataset], prices: tuple[int, ...]) -> m.Request:
    """Check and put a request, with the prices of its uses in escrow."""
    author = authority.user(ctx, "analyst")
    _check_request(ctx, msg, author.organisation)
    request_id = derive("request", ctx.tx)
    for item, dataset, price in zip(msg.items, datasets, prices, strict=True):
        _check_terms(dataset, item, msg, price)
        if dataset.owner == author.organisation:
            raise Invalid(f"{item.path} is the asker's own; its use needs no grant")
    record = m.Request(
        id=request_id,
        organisation=author.organisation,
        key=author.key,
        items=msg.items,
        providers=tuple(d.owner for d in datasets),
        prices=prices,
        answers=("pending",) * len(msg.items),
        operations=msg.operations,
        purpose=msg.purpose,
        parties=msg.parties,
        receivers=msg.receivers,
        uses=msg.uses,
        expires=msg.expires,
        since=ctx.height,
    )
    ctx.emit(CONTRACT, "requested", request=request_id, organisation=author.organisation, holder=author.key)
    for index, price in enumerate(prices):
        accounts.lock(ctx, grant_id(request_id, index), author.organisation, price * msg.uses)
    _put_request(ctx, record)
    due.at_time(ctx.store, record.expires, CONTRACT, request_id)
    return record


def on_due(ctx: Context, request_id: bytes) -> None:
    """The time of a request is over: what was not answered goes back."""
    record = _request(ctx.store, request_id)
    for index, answer in enumerate(record.answers):
        if answer == "pending":
            close_item(ctx, request_id, index, "expired", "its time is over")


def request(ctx: Context, msg: m.RequestUse) -> None:
    """Ask: escrow the price, and grant at once what default permissions grant."""
    datasets = [catalog.dataset(ctx.store, item.path, item.version) for item in msg.items]
    record = _ask(ctx, msg, datasets, tuple(dataset.terms.price for dataset in datasets))
    for index, dataset in enumerate(datasets):
        for number, rule in enumerate(dataset.terms.rules):
            covered = _matches(rule, record, dataset.owner, msg.items[index], ctx.time)
            if covered and _take_of_rule(ctx, dataset, rule, record):
                record = _issue(ctx, record, index, msg.uses, msg.expires, f"rule {number + 1}")
                break


def buy(ctx: Context, msg: m.RequestUse, *, provider: str, price: int) -> m.Grant:
    """Request one dataset at the price of an offer and grant it at once; the market contract alone calls this.

    The provider's reviewer signed the offer and the analyst its acceptance, so nothing is left to review; the
    catalogue's operations and purposes bind both.
    """
    dataset = catalog.dataset(ctx.store, msg.items[0].path, msg.items[0].version)
    if dataset.owner != provider:
        raise Denied(f"{dataset.path} is no longer {provider}'s")
    record = _ask(ctx, msg, [dataset], (price,))
    _issue(ctx, record, 0, msg.uses, msg.expires, "offer")
    return grant(ctx.store, grant_id(record.id, 0))


def close_item(ctx: Context, request_id: bytes, item: int, answer: str, reason: str) -> None:
    """End a pending item without its reviewer; what was set aside for it goes back to who asked."""
    record = _answered(_request(ctx.store, request_id), item, answer)
    _put_request(ctx, record)
    escrow = grant_id(record.id, item)
    accounts.refund(ctx, escrow, accounts.held(ctx.store, escrow))
    ctx.emit(CONTRACT, "item-closed", request=record.id, item=item, answer=answer, reason=reason)


def _answered(record: m.Request, item: int, answer: str) -> m.Request:
    answers = (*record.answers[:item], answer, *record.answers[item + 1 :])
    return altered(record, answers=answers)


def _issue(
    ctx: Context,
    record: m.Request,
    item: int,
    uses: int,
    expires: int,
    basis: str,
    lookups: m.LookupLimits | None = None,
) -> m.Request:
    asked = record.items[item]
    dataset = catalog.dataset(ctx.store, asked.path, asked.version)
    made = m.Grant(
        id=grant_id(record.id, item),
        request=record.id,
        provider=record.providers[item],
        holder=record.organisation,
        holder_key=record.key,
        path=asked.path,
        version=asked.version,
        commitment=dataset.commitment,
        keys=asked.keys,
        columns=asked.columns,
        operations=record.operations,
        purpose=record.purpose,
        parties=record.parties,
        receivers=record.receivers,
        uses_total=uses,
        uses_left=uses,
        price=record.prices[item],
        expires=expires,
        status="active",
        basis=basis,
        since=ctx.height,
    )
    _put_grant(ctx, made)
    changed = _answered(record, item, "granted")
    _put_request(ctx, changed)
    ctx.emit(
        CONTRACT,
        "granted",
        grant=made.id,
        request=record.id,
        provider=made.provider,
        holder=made.holder,
        path=made.path,
        version=made.version,
        purpose=made.purpose,
        uses=uses,
        expires=expires,
        basis=basis,
    )
    limits.attach(ctx, made, lookups)
    return changed


def review(ctx: Context, msg: m.Review) -> None:
    """Answer one item of a request."""
    _review(ctx, msg, None)


def review_limits(ctx: Context, msg: m.ReviewLimits) -> None:
    """Answer one item of a request, with limits of lookups."""
    _review(ctx, msg, msg.limits)


def _review(ctx: Context, msg: m.Review | m.ReviewLimits, lookups: m.LookupLimits | None) -> None:
    author = authority.user(ctx, "reviewer")
    record = _request(ctx.store, msg.request)
    if not 0 <= msg.item < len(record.items):
        raise Unknown("the request has no such item")
    asked = record.items[msg.item]
    dataset = catalog.dataset(ctx.store, asked.path, asked.version)
    if author.organisation != record.providers[msg.item] or dataset.owner != author.organisation:
        raise Denied(f"{asked.path} is not {author.organisation}'s")
    if record.answers[msg.item] != "pending":
        raise WrongStatus(f"this item is {record.answers[msg.item]}")
    if not is_text(msg.reason, MAX_REASON):
        raise Invalid("a reason is one short line")
    escrow = grant_id(record.id, msg.item)
    ctx.emit(
        CONTRACT,
        "reviewed",
        request=record.id,
        item=msg.item,
        provider=author.organisation,
        reviewer=author.key,
        approve=int(msg.approve),
        reason=msg.reason,
    )
    if not msg.approve:
        _put_request(ctx, _answered(record, msg.item, "denied"))
        accounts.refund(ctx, escrow, accounts.held(ctx.store, escrow))
        return
    if dataset.status != "published":
        raise WrongStatus("the dataset is withdrawn")
    if not 1 <= msg.uses <= record.uses or not ctx.time < msg.expires <= record.expires:
        raise Invalid("a review grants what was asked for or less, for a time that is not over")
    if lookups is not None:
        limits.check(lookups, limits.of_path(ctx.store, asked.path))
    accounts.refund(ctx, escrow, record.prices[msg.item] * (record.uses - msg.uses))
    _issue(ctx, record, msg.item, msg.uses, msg.expires, "review", lookups)


def end(ctx: Context, found: m.Grant, status: str, reason: str) -> None:
    """End a grant; uses in escrow that no task has taken go back to the holder."""
    _put_grant(ctx, altered(found, status=status))
    accounts.refund(ctx, found.id, found.price * found.uses_left)
    ctx.emit(CONTRACT, status, grant=found.id, provider=found.provider, holder=found.holder, reason=reason)


def revoke(ctx: Context, msg: m.RevokeGrant) -> None:
    """Void a grant; uses in escrow that no task has taken go back."""
    found = grant(ctx.store, msg.grant)
    owner = catalog.dataset(ctx.store, found.path, found.version).owner
    if authority.user(ctx, "reviewer").organisation not in (found.provider, owner):
        raise Denied("the grant is another provider's")
    if found.status not in ("active", "exhausted"):
        raise WrongStatus(f"the grant is {found.status}")
    if not is_text(msg.reason, MAX_REASON):
        raise Invalid("a reason is one short line")
    end(ctx, found, "revoked", msg.reason)


def expire(ctx: Context, msg: m.Expire) -> None:
    """End a grant whose time is over."""
    found = grant(ctx.store, msg.grant)
    if found.status != "active" or ctx.time < found.expires:
        raise WrongStatus("the grant has not expired, or has ended otherwise")
    end(ctx, found, "expired", "its time is over")


def give_back(ctx: Context, msg: m.GiveBack) -> None:
    """End a grant that the holder does not want; uses in escrow that no task has taken go back."""
    found = grant(ctx.store, msg.grant)
    authority.user_or_admins(ctx, found.holder, "analyst")
    if found.status != "active":
        raise WrongStatus(f"the grant is {found.status}")
    end(ctx, found, "returned", "its holder gave it back")


def withdraw_request(ctx: Context, msg: m.WithdrawRequest) -> None:
    """Take back what was not answered."""
    record = _request(ctx.store, msg.request)
    authority.user_or_admins(ctx, record.organisation, "analyst")
    if "pending" not in record.answers:
        raise WrongStatus("every item was answered")
    for index, answer in enumerate(record.answers):
        if answer == "pending":
            record = _answered(record, index, "withdrawn")
            escrow = grant_id(record.id, index)
            accounts.refund(ctx, escrow, accounts.held(ctx.store, escrow))
    _put_request(ctx, record)
    ctx.emit(CONTRACT, "request-withdrawn", request=record.id, organisation=record.organisation)


def take_use(ctx: Context, found: m.Grant, task: bytes) -> None:
    """Consume one use for a task; the tasks contract alone calls this, after its checks."""
    if found.status != "active" or found.uses_left < 1:
        raise WrongStatus(f"the grant is {found.status} with {found.uses_left} uses left")
    left = found.uses_left - 1
    status = "active" if left else "exhausted"
    _put_grant(ctx, altered(found, uses_left=left, status=status))
    ctx.emit(CONTRACT, "used", grant=found.id, task=task, provider=found.provider, uses_left=left)


def return_use(ctx: Context, found: m.Grant, task: bytes) -> None:
    """Give a use back that a task took and never started to compute with."""
    if found.status in ("active", "exhausted"):
        back = altered(found, uses_left=found.uses_left + 1, status="active")
        _put_grant(ctx, back)
    else:
        accounts.refund(ctx, found.id, found.price)
    ctx.emit(CONTRACT, "use-returned", grant=found.id, task=task, provider=found.provider)


HANDLERS = (
    (m.RequestUse, request),
    (m.Review, review),
    (m.ReviewLimits, review_limits),
    (m.SetLookupLimits, limits.set_limits),
    (m.RevokeGrant, revoke),
    (m.Expire, expire),
    (m.WithdrawRequest, withdraw_request),
    (m.GiveBack, give_back),
)
