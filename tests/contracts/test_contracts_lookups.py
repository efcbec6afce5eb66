"""How many keys hidden queries may ask is said on the ledger: by the owner, by a reviewer, and kept with each grant."""

from __future__ import annotations

import pytest
from contracts_world import terms
from deal_world import BUYER, COORDINATOR, FOREVER, Deals, path_of

from fondaco.ledger.contracts.catalog import messages as c
from fondaco.ledger.contracts.grants import messages as g
from fondaco.ledger.contracts.grants.handlers import grant_id
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.market import messages as k

SELLER, OTHER = "seller-a", "seller-b"
PATH = path_of(SELLER)
LIMITS = g.LookupLimits(most_keys=50, keys_a_day=200)


@pytest.fixture
def deals() -> Deals:
    return Deals()


def reviewed(deals: Deals) -> None:
    """From here on the seller's grants need a review."""
    msg = c.Update(path=PATH, version=1, title="rows", description="", terms=terms(price=1, operations=("*",)))
    deals.world.send(msg, deals.key(SELLER, "steward"))


def limit(deals: Deals, limits: g.LookupLimits | None = LIMITS, by: str = SELLER, role: str = "steward", path=PATH):
    return g.SetLookupLimits(path=path, limits=limits), deals.key(by, role)


def said(deals: Deals, grant: bytes) -> tuple[int, int] | None:
    found = deals.world.query("grants/limits", id=grant)
    return None if found is None else (found["most_keys"], found["keys_a_day"])


def asked(deals: Deals) -> bytes:
    """A request that waits for a review."""
    msg = g.RequestUse(
        items=(g.Item(path=PATH, version=1, keys=("k",), columns=()),),
        operations=("psi.intersection",),
        purpose="study",
        parties=(BUYER, SELLER, COORDINATOR),
        receivers=(BUYER,),
        uses=1,
        expires=FOREVER,
        max_price=1_000,
    )
    return derive("request", deals.world.send(msg, deals.key(BUYER, "analyst")))


def review(request: bytes, limits: g.LookupLimits, *, approve: bool = True) -> g.ReviewLimits:
    return g.ReviewLimits(request=request, item=0, approve=approve, reason="", uses=1, expires=FOREVER, limits=limits)


def test_a_grant_says_nothing_where_its_owner_does_not(deals) -> None:
    assert said(deals, deals.grant(SELLER)) is None


def test_a_grant_says_what_its_owner_said_when_it_was_given(deals) -> None:
    before = deals.grant(SELLER)
    deals.world.send(*limit(deals))
    during = deals.grant(SELLER)
    deals.world.send(*limit(deals, g.LookupLimits(most_keys=1, keys_a_day=0)))
    after = deals.grant(SELLER)
    deals.world.send(*limit(deals, None))
    at_last = deals.grant(SELLER)
    assert [said(deals, one) for one in (before, during, after, at_last)] == [None, (50, 200), (1, 0), None]
    assert said(deals, deals.grant(OTHER)) is None


def test_the_grant_of_an_accepted_offer_says_it_too(deals) -> None:
    deals.world.send(*limit(deals))
    offer = k.PutOffer(
        path=PATH, version=1, keys=("k",), columns=(), operations=("psi.intersection",), purposes=("study",),
        price=1, uses=1, until=deals.world.time + 5_000, expires=deals.world.time + 9_000, demand=None,
    )  # fmt: skip
    made = derive("offer", deals.world.send(offer, deals.key(SELLER, "reviewer")))
    accept = k.AcceptOffer(
        offer=made, demand=None, keys=("k",), columns=(), operations=("psi.intersection",), purpose="study",
        parties=(BUYER, SELLER, COORDINATOR), receivers=(BUYER,), uses=1, expires=deals.world.time + 4_000,
    )  # fmt: skip
    deals.world.send(accept, deals.key(BUYER, "analyst"))
    (grant,) = deals.world.query("grants/grants")
    assert said(deals, grant["id"]) == (50, 200)


def test_a_reviewer_may_allow_less_and_no_more(deals) -> None:
    reviewed(deals)
    deals.world.send(*limit(deals))
    request, key = asked(deals), deals.key(SELLER, "reviewer")
    for most, a_day in ((51, 200), (50, 201), (50, 0), (0, 0), (10, 9), (-1, 5)):
        deals.world.refused(review(request, g.LookupLimits(most_keys=most, keys_a_day=a_day)), key)
    deals.world.send(review(request, g.LookupLimits(most_keys=10, keys_a_day=10)), key)
    assert said(deals, grant_id(request, 0)) == (10, 10)


def test_a_reviewer_says_it_where_the_owner_says_nothing(deals) -> None:
    reviewed(deals)
    request, key = asked(deals), deals.key(SELLER, "reviewer")
    deals.world.refused(review(request, g.LookupLimits(most_keys=4097, keys_a_day=0)), key)
    deals.world.refused(review(request, LIMITS), deals.key(OTHER, "reviewer"))
    deals.world.send(review(request, LIMITS), key)
    assert said(deals, grant_id(request, 0)) == (50, 200)
    denied = asked(deals)
    deals.world.send(review(denied, LIMITS, approve=False), key)
    assert said(deals, grant_id(denied, 0)) is None


def test_a_review_without_limits_leaves_those_of_the_owner(deals) -> None:
    reviewed(deals)
    deals.world.send(*limit(deals))
    request = asked(deals)
    msg = g.Review(request=request, item=0, approve=True, reason="", uses=1, expires=FOREVER)
    deals.world.send(msg, deals.key(SELLER, "reviewer"))
    assert said(deals, grant_id(request, 0)) == (50, 200)


@pytest.mark.parametrize("role", ["analyst", "reviewer", "node", "admin"])
def test_only_a_steward_of_the_owner_says_it(deals, role) -> None:
    deals.world.refused(*limit(deals, role=role))
    deals.world.refused(*limit(deals, by=OTHER))


@pytest.mark.parametrize("path", ["/seller-a/data/rows@1", "rows", "/seller-b/data/rows", "/seller-b/not/yet"])
def test_it_is_said_of_ones_own_paths(deals, path) -> None:
    deals.world.refused(*limit(deals, path=path))


def test_it_can_be_said_before_anything_is_published(deals) -> None:
    deals.world.send(*limit(deals, path="/seller-a/not/yet"))
    assert deals.world.query("grants/path-limits", path="/seller-a/not/yet") == {"most_keys": 50, "keys_a_day": 200}
    assert deals.world.query("grants/path-limits", path="/seller-a/nor/this") is None


def test_a_path_that_was_handed_over_is_the_new_owners_to_limit(deals) -> None:
    hand_over = c.HandOver(path=PATH, target=OTHER)
    deals.world.send(hand_over, deals.key(SELLER, "admin"), deals.key(OTHER, "admin"))
    deals.world.refused(*limit(deals))
    deals.world.send(*limit(deals, by=OTHER))


def test_limits_of_a_path_stay_when_it_is_handed_over_so_that_no_grant_comes_between(deals) -> None:
    deals.world.send(*limit(deals))
    hand_over = c.HandOver(path=PATH, target=OTHER)
    deals.world.send(hand_over, deals.key(SELLER, "admin"), deals.key(OTHER, "admin"))
    assert deals.world.query("grants/path-limits", path=PATH) == {"most_keys": 50, "keys_a_day": 200}
    deals.world.send(*limit(deals, None, by=OTHER))
    assert deals.world.query("grants/path-limits", path=PATH) is None
