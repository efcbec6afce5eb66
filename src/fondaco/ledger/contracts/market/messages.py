"""Messages and records of the market."""

from __future__ import annotations

from fondaco.core.messages import message


@message("market.put-demand/1")
class PutDemand:
    """Signed by an analyst: words and columns that are sought, what for, for how much a use, until when (seconds)."""

    words: tuple[str, ...]
    columns: tuple[str, ...]
    operations: tuple[str, ...]
    purpose: str
    max_price: int
    until: int


@message("market.put-offer/1")
class PutOffer:
    """Signed by a reviewer of the owner: columns of a published dataset, at this price a use.

    Rows may be matched on the `keys`, and the `columns` be computed with. Standing, or for one `demand`. Whoever
    accepts it before `until` gets a grant at once, of up to `uses` uses, that ends at `expires` at the latest (both
    unix seconds).
    """

    path: str
    version: int
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    operations: tuple[str, ...]
    purposes: tuple[str, ...]
    price: int
    uses: int
    until: int
    expires: int
    demand: bytes | None


@message("market.withdraw-demand/1")
class WithdrawDemand:
    """Signed by an analyst of the organisation that seeks."""

    demand: bytes


@message("market.withdraw-offer/1")
class WithdrawOffer:
    """Signed by a reviewer of the organisation that offers."""

    offer: bytes


@message("market.accept/1")
class AcceptOffer:
    """Signed by an analyst, whose key becomes the holder of the grant: take an offer, perhaps for a demand of ours."""

    offer: bytes
    demand: bytes | None
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    operations: tuple[str, ...]
    purpose: str
    parties: tuple[str, ...]
    receivers: tuple[str, ...]
    uses: int
    expires: int


@message("market.demand/1")
class Demand:
    """Record of a demand; status open, met, withdrawn or expired."""

    id: bytes
    organisation: str
    words: tuple[str, ...]
    columns: tuple[str, ...]
    operations: tuple[str, ...]
    purpose: str
    max_price: int
    until: int
    status: str
    since: int


@message("market.offer/1")
class Offer:
    """Record of an offer; status open, taken, withdrawn or expired."""

    id: bytes
    provider: str
    path: str
    version: int
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    operations: tuple[str, ...]
    purposes: tuple[str, ...]
    price: int
    uses: int
    until: int
    expires: int
    demand: bytes | None
    status: str
    since: int


@message("market.deal/1")
class Deal:
    """Record of a deal: the offer, the demand it met (None: none), the grant, the points put into escrow."""

    id: bytes
    offer: bytes
    demand: bytes | None
    request: bytes
    grant: bytes
    holder: str
    provider: str
    path: str
    version: int
    price: int
    uses: int
    escrowed: int
    height: int
    time: int


@message("market.match/1")
class Match:
    """An offer that fits a demand: a score of at most 1,000, and the reasons for it in words."""

    demand: bytes
    offer: bytes
    provider: str
    path: str
    version: int
    price: int
    score: int
    reasons: tuple[str, ...]


@message("market.receipt/1")
class Receipt:
    """A deal as one of its sides has it: bought or sold, transfer, grant, and the certificates of the uses so far."""

    deal: bytes
    side: str
    other: str
    path: str
    version: int
    escrowed: int
    held: int
    grant: bytes
    status: str
    uses_total: int
    uses_left: int
    certificates: tuple[bytes, ...]
