"""What catalogue transactions do."""

from __future__ import annotations

from fondaco.core.messages import altered
from fondaco.core.models import check_schema
from fondaco.core.names import DatasetName
from fondaco.errors import NamingError
from fondaco.ledger.contracts.catalog import keys
from fondaco.ledger.contracts.catalog import messages as m
from fondaco.ledger.contracts.catalog.errors import Conflict, Denied, Invalid, Unknown, WrongStatus
from fondaco.ledger.contracts.identity import authority
from fondaco.ledger.contracts.kit import Context, distinct, is_amount, is_text, is_word, load, records, save
from fondaco.ledger.state import ReadStore

CONTRACT = "catalog"
MAX_WORDS = 32
MAX_RULES = 32
ANY = "*"


def dataset(store: ReadStore, path: str, version: int) -> m.Dataset:
    """The record of a version.

    Raises:
        Unknown: there is none.
    """
    found = load(store, m.Dataset, keys.dataset(path, version)) if 0 < version < 1 << 32 else None
    if found is None:
        raise Unknown(f"{path}@{version} is not published")
    return found


def _words(words: tuple[str, ...], *, none: bool) -> bool:
    return (
        (none or bool(words))
        and len(words) <= MAX_WORDS
        and distinct(words)
        and all(w == ANY or is_word(w) for w in words)
    )


def _check_terms(terms: m.Terms, columns: tuple[str, ...]) -> None:
    if not _words(terms.operations, none=False) or not _words(terms.purposes, none=False):
        raise Invalid("terms name the operations and the purposes that are allowed (`*`: any)")
    if not all(is_amount(n) for n in (terms.price, terms.minimum_rows, terms.minimum_count)):
        raise Invalid("price and smallest numbers are not negative")
    if len(terms.rules) > MAX_RULES:
        raise Invalid(f"at most {MAX_RULES} default permissions")
    for rule in terms.rules:
        named = (rule.organisations, rule.operations, rule.purposes)
        if not all(_words(words, none=False) for words in named):
            raise Invalid("a default permission names organisations, operations and purposes")
        if rule.uses < 1 or not is_amount(rule.uses) or rule.until < 0:
            raise Invalid("a default permission is for one use or more, until a time")
        if not distinct((*rule.keys, *rule.columns)) or any(c not in columns for c in (*rule.keys, *rule.columns)):
            raise Invalid("a default permission names columns of the dataset, each once as key or as column")


def _check_words(title: str, description: str) -> None:
    if not title or not is_text(title, 200) or not is_text(description, 4000):
        raise Invalid("a title has up to 200 bytes and a description up to 4,000, on one line each")


def _own(ctx: Context, path: str, version: int) -> m.Dataset:
    found = dataset(ctx.store, path, version)
    if authority.user(ctx, "steward").organisation != found.owner:
        raise Denied(f"{path} belongs to {found.owner}")
    return found


def publish(ctx: Context, msg: m.Publish) -> None:
    """Publish a version: the next one of its path."""
    owner = authority.user(ctx, "steward").organisation
    try:
        name = DatasetName.parse(msg.path)
        check_schema(msg.schema)
    except NamingError as fault:
        raise Invalid(fault.cause, remedy=fault.remedy) from fault
    if name.version is not None:
        raise Invalid("a path has no version in it")
    newest = latest(ctx.store, msg.path)
    holder = dataset(ctx.store, msg.path, newest).owner if newest else name.org
    if holder != owner:
        raise Denied(f"{msg.path} belongs to {holder}")
    if msg.version != newest + 1:
        raise Conflict(f"version {msg.version}, but {newest + 1} is next")
    if len(msg.commitment) != 32 or (msg.rows is not None and not is_amount(msg.rows)):
        raise Invalid("a commitment has 32 bytes and a number of rows is not negative")
    _check_words(msg.title, msg.description)
    _check_terms(msg.terms, tuple(c.name for c in msg.schema.columns))
    record = m.Dataset(
        path=msg.path,
        version=msg.version,
        owner=owner,
        title=msg.title,
        description=msg.description,
        schema=msg.schema,
        commitment=msg.commitment,
        rows=msg.rows,
        terms=msg.terms,
        status="published",
        since=ctx.height,
    )
    save(ctx.store, keys.dataset(msg.path, msg.version), record)
    ctx.store.set(keys.latest(msg.path), msg.version.to_bytes(4, "big"))
    ctx.emit(CONTRACT, "published", path=msg.path, version=msg.version, owner=owner, commitment=msg.commitment)


def latest(store: ReadStore, path: str) -> int:
    """The newest version of a path; 0 when there is none."""
    data = store.get(keys.latest(path))
    return 0 if data is None else int.from_bytes(data, "big")


def update(ctx: Context, msg: m.Update) -> None:
    """Change the words and terms of a version."""
    found = _own(ctx, msg.path, msg.version)
    if found.status != "published":
        raise WrongStatus("the version is withdrawn")
    _check_words(msg.title, msg.description)
    _check_terms(msg.terms, tuple(c.name for c in found.schema.columns))
    changed = altered(found, title=msg.title, description=msg.description, terms=msg.terms)
    save(ctx.store, keys.dataset(msg.path, msg.version), changed)
    ctx.emit(CONTRACT, "updated", path=msg.path, version=msg.version, owner=found.owner)


def withdraw(ctx: Context, msg: m.Withdraw) -> None:
    """Take a version back: no new requests, no new tasks."""
    found = _own(ctx, msg.path, msg.version)
    if found.status != "published":
        raise WrongStatus("the version is withdrawn already")
    save(ctx.store, keys.dataset(msg.path, msg.version), altered(found, status="withdrawn"))
    ctx.emit(CONTRACT, "withdrawn", path=msg.path, version=msg.version, owner=found.owner)


def hand_over(ctx: Context, msg: m.HandOver) -> None:
    """Give a dataset to another organisation, all versions of it."""
    newest = latest(ctx.store, msg.path)
    if not newest:
        raise Unknown(f"{msg.path} is not published")
    owner = dataset(ctx.store, msg.path, newest).owner
    authority.admins(ctx, owner)
    authority.admins(ctx, msg.target)
    for found in list(records(ctx.store, m.Dataset, keys.versions(msg.path))):
        changed = altered(found, owner=msg.target)
        save(ctx.store, keys.dataset(found.path, found.version), changed)
    ctx.emit(CONTRACT, "handed-over", path=msg.path, source=owner, target=msg.target)


HANDLERS = ((m.Publish, publish), (m.Update, update), (m.Withdraw, withdraw), (m.HandOver, hand_over))
