"""Messages and records of the catalogue."""

from __future__ import annotations

from fondaco.core.messages import message
from fondaco.core.models import Schema


@message("catalog.rule/1")
class Rule:
    """A default permission: who may do what without a review. `*` stands for any.

    `keys` are the columns that rows may be matched on, and none are unless they are named; `columns` those to
    compute with, and no columns means all of them.
    """

    organisations: tuple[str, ...]
    operations: tuple[str, ...]
    purposes: tuple[str, ...]
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    uses: int
    until: int


@message("catalog.terms/1")
class Terms:
    """On which terms: operations and purposes allowed at all, price of one use in points, smallest numbers.

    `minimum_rows`: a computation on fewer rows is refused at the gate; `minimum_count`: no figure about a group
    of fewer rows is opened.
    """

    operations: tuple[str, ...]
    purposes: tuple[str, ...]
    price: int
    minimum_rows: int
    minimum_count: int
    rules: tuple[Rule, ...]


@message("catalog.publish/1")
class Publish:
    """Signed by a steward of the owner. `commitment` is keyed, 32 bytes; `rows` is None where not told."""

    path: str
    version: int
    title: str
    description: str
    schema: Schema
    commitment: bytes
    rows: int | None
    terms: Terms


@message("catalog.update/1")
class Update:
    """Signed by a steward of the owner: new words and terms of a version; its content stays."""

    path: str
    version: int
    title: str
    description: str
    terms: Terms


@message("catalog.withdraw/1")
class Withdraw:
    """Signed by a steward of the owner."""

    path: str
    version: int


@message("catalog.hand-over/1")
class HandOver:
    """Signed by the administrators of both: all versions under `path` belong to `target`."""

    path: str
    target: str


@message("catalog.dataset/1")
class Dataset:
    """Record of a version; status published or withdrawn."""

    path: str
    version: int
    owner: str
    title: str
    description: str
    schema: Schema
    commitment: bytes
    rows: int | None
    terms: Terms
    status: str
    since: int
