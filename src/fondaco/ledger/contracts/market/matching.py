"""How offers are matched with demands: one rule, in whole numbers, each match with its reasons.

An offer *fits* a demand when all of this holds: both are open and of different organisations; an offer for one demand
is for this one; its price is at most the demand's; it and the catalogue's terms allow the purpose and every
operation; the version is published and still the offerer's; and it has one or more of the wanted columns or words.

The *score*, at most 1,000, is the sum, each part rounded down, of 400 for the part of the wanted columns that is
offered, 300 for the part of the wanted words that stand in path, title, description or offered columns, 200 for how far
the price is below the most that is paid, 100 for an offer made for this demand. What is not wanted counts as found.

*Order*: higher score, lower price, earlier offer, lower id. Words are compared as ASCII letters and digits, without
case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fondaco.ledger.contracts.catalog.handlers import ANY
from fondaco.ledger.contracts.catalog.messages import Dataset
from fondaco.ledger.contracts.market.messages import Demand, Match, Offer

COLUMNS, WORDS, PRICE, MEANT = 400, 300, 200, 100
_TOKEN = re.compile(rb"[a-z0-9]+")


def tokens(*texts: str) -> dict[str, None]:
    """The words of texts: runs of ASCII letters and digits, lower-cased without regard to any locale."""
    found = (token for text in texts for token in _TOKEN.findall(text.encode("utf-8").lower()))
    return dict.fromkeys(token.decode("ascii") for token in found)


def _allows(words: tuple[str, ...], wanted: Iterable[str]) -> bool:
    return ANY in words or all(word in words for word in wanted)


def _part(most: int, found: int, wanted: int) -> int:
    return most if not wanted else most * found // wanted


def fits(demand: Demand, offer: Offer, dataset: Dataset) -> bool:
    """Whether all hard conditions but those of columns and words hold."""
    return (
        demand.status == offer.status == "open"
        and demand.organisation != offer.provider
        and offer.demand in (None, demand.id)
        and offer.price <= demand.max_price
        and _allows(offer.purposes, (demand.purpose,))
        and _allows(offer.operations, demand.operations)
        and _allows(dataset.terms.purposes, (demand.purpose,))
        and _allows(dataset.terms.operations, demand.operations)
        and dataset.status == "published"
        and dataset.owner == offer.provider
    )


def match(demand: Demand, offer: Offer, dataset: Dataset) -> Match | None:
    """The match of an offer with a demand, or None."""
    if not fits(demand, offer, dataset):
        return None
    text = tokens(offer.path, dataset.title, dataset.description, *offer.keys, *offer.columns)
    columns = tuple(column for column in demand.columns if column in (*offer.keys, *offer.columns))
    words = tuple(word for word in demand.words if all(token in text for token in tokens(word)))
    if not columns and not words:
        return None
    reasons: list[str] = []
    if demand.columns:
        reasons.append(f"{len(columns)} of {len(demand.columns)} columns: {', '.join(columns) or 'none'}")
    if demand.words:
        reasons.append(f"{len(words)} of {len(demand.words)} words: {', '.join(words) or 'none'}")
    reasons.append(f"price {offer.price} of at most {demand.max_price}")
    reasons.append(f"purpose {demand.purpose} and operations {', '.join(demand.operations)} are allowed")
    meant = offer.demand == demand.id
    if meant:
        reasons.append("offered for this demand")
    score = (
        _part(COLUMNS, len(columns), len(demand.columns))
        + _part(WORDS, len(words), len(demand.words))
        + _part(PRICE, demand.max_price - offer.price, demand.max_price)
        + (MEANT if meant else 0)
    )
    return Match(
        demand=demand.id,
        offer=offer.id,
        provider=offer.provider,
        path=offer.path,
        version=offer.version,
        price=offer.price,
        score=score,
        reasons=tuple(reasons),
    )


def ranked(demand: Demand, offers: Iterable[tuple[Offer, Dataset]]) -> tuple[Match, ...]:
    """All matches of a demand, best first."""
    found = [(made, offer) for offer, dataset in offers if (made := match(demand, offer, dataset)) is not None]
    found.sort(key=lambda pair: (-pair[0].score, pair[0].price, pair[1].since, pair[1].id))
    return tuple(made for made, _offer in found)
