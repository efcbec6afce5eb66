"""Messages and records of the grants contract."""

from __future__ import annotations

from fondaco.core.messages import message


@message("grants.item/1")
class Item:
    """One dataset that is asked for: the `keys` that its rows may be matched on, the `columns` to compute with.

    No column is both: who may match on a value can look for values that it guesses.
    """

    path: str
    version: int
    keys: tuple[str, ...]
    columns: tuple[str, ...]


@message("grants.request/1")
class RequestUse:
    """Signed by an analyst, whose key becomes the holder of the grants.

    `operations` are names such as `psi.intersection`, or program hashes in hex; `parties` all organisations that
    take part; `max_price` the most that one use of one dataset may cost; `expires` unix seconds.
    """

    items: tuple[Item, ...]
    operations: tuple[str, ...]
    purpose: str
    parties: tuple[str, ...]
    receivers: tuple[str, ...]
    uses: int
    expires: int
    max_price: int


@message("grants.review/1")
class Review:
    """Signed by a reviewer of the provider: the answer to one item of a request, perhaps for less."""

    request: bytes
    item: int
    approve: bool
    reason: str
    uses: int
    expires: int


@message("grants.lookup-limits/1")
class LookupLimits:
    """Record: for how many keys one lookup under a grant may be, and all lookups under it together in 24 hours.

    `keys_a_day` 0 sets no such bound. Also what a dataset's owner says of grants to come, and a reviewer of one.
    """

    most_keys: int
    keys_a_day: int


@message("grants.set-lookup-limits/1")
class SetLookupLimits:
    """Signed by a steward of the owner: what grants of a path allow from now on; None: they do not say."""

    path: str
    limits: LookupLimits | None


@message("grants.review/2")
class ReviewLimits:
    """As `Review`, with limits of lookups: no more than the dataset's owner allows grants."""

    request: bytes
    item: int
    approve: bool
    reason: str
    uses: int
    expires: int
    limits: LookupLimits


@message("grants.revoke/1")
class RevokeGrant:
    """Signed by a reviewer of the provider: void from now on."""

    grant: bytes
    reason: str


@message("grants.expire/1")
class Expire:
    """Signed by anyone: the grant's time is over; what is left goes back."""

    grant: bytes


@message("grants.withdraw-request/1")
class WithdrawRequest:
    """Signed by an analyst of who asked, or its administrators: items that were not answered are taken back."""

    request: bytes


@message("grants.give-back/1")
class GiveBack:
    """Signed by an analyst of the holder, or its administrators: the uses that are left are not wanted."""

    grant: bytes


@message("grants.request-record/1")
class Request:
    """Record of a request; each item is pending, granted, denied, withdrawn or expired."""

    id: bytes
    organisation: str
    key: bytes
    items: tuple[Item, ...]
    providers: tuple[str, ...]
    prices: tuple[int, ...]
    answers: tuple[str, ...]
    operations: tuple[str, ...]
    purpose: str
    parties: tuple[str, ...]
    receivers: tuple[str, ...]
    uses: int
    expires: int
    since: int


@message("grants.grant/1")
class Grant:
    """Record of a grant; status active, exhausted, revoked, returned or expired. `basis` tells what granted it."""

    id: bytes
    request: bytes
    provider: str
    holder: str
    holder_key: bytes
    path: str
    version: int
    commitment: bytes
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    operations: tuple[str, ...]
    purpose: str
    parties: tuple[str, ...]
    receivers: tuple[str, ...]
    uses_total: int
    uses_left: int
    price: int
    expires: int
    status: str
    basis: str
    since: int
