"""The market: who may seek, offer and accept; how matches are found and explained; that a deal is what both signed."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from contracts_world import SCHEMA, World, publication, terms
from hypothesis import given, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple
from hypothesis.stateful import rule as step

from fondaco.ledger.contracts.catalog.messages import Dataset, Update, Withdraw
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.market import handlers as market
from fondaco.ledger.contracts.market import matching
from fondaco.ledger.contracts.market import messages as m

BUYER, SELLER, OTHER = "buyer", "seller", "other"
PATH = "/seller/data/rain"
OPERATION = "psi.intersection"


@pytest.fixture
def world() -> World:
    made = World(BUYER, SELLER, OTHER)
    made.send(publication(PATH, title="Rain by hour", terms=terms(price=50)), made.orgs[SELLER].users["steward"])
    return made


def demand(world: World, **changes) -> m.PutDemand:
    fields = {
        "words": ("rain",), "columns": ("k", "v"), "operations": (OPERATION,), "purpose": "study", "max_price": 40,
        "until": world.time + 1_000,
    }  # fmt: skip
    return m.PutDemand(**(fields | changes))


def offer(world: World, **changes) -> m.PutOffer:
    fields = {
        "path": PATH, "version": 1, "keys": ("k",), "columns": ("v",), "operations": (OPERATION,), "purposes": ("study",),
        "price": 30, "uses": 3, "until": world.time + 1_000, "expires": world.time + 5_000, "demand": None,
    }  # fmt: skip
    return m.PutOffer(**(fields | changes))


def acceptance(world: World, of: bytes, **changes) -> m.AcceptOffer:
    fields = {
        "offer": of, "demand": None, "keys": ("k",), "columns": (), "operations": (OPERATION,), "purpose": "study",
        "parties": (BUYER, SELLER), "receivers": (BUYER,), "uses": 2, "expires": world.time + 4_000,
    }  # fmt: skip
    return m.AcceptOffer(**(fields | changes))


def seek(world: World, by: str = BUYER, **changes) -> bytes:
    return derive("demand", world.send(demand(world, **changes), world.orgs[by].users["analyst"]))


def offered(world: World, **changes) -> bytes:
    return derive("offer", world.send(offer(world, **changes), world.orgs[SELLER].users["reviewer"]))


# -- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"words": (), "columns": ()},
        {"words": ("Rain",)},
        {"words": ("rain", "rain")},
        {"words": tuple(f"w{i}" for i in range(17))},
        {"columns": ("k", "k")},
        {"columns": ("",)},
        {"operations": ()},
        {"operations": ("*",)},
        {"purpose": "*"},
        {"max_price": -1},
        {"until": 0},
        {"until": 1_800_000_000 + 400 * 86_400},
    ],
)
def test_bad_demands_are_refused(world, changes) -> None:
    assert world.refused(demand(world, **changes), world.orgs[BUYER].users["analyst"]).codespace == "market"


@pytest.mark.parametrize(
    "changes",
    [
        {"keys": (), "columns": ()},
        {"columns": ("k", "v")},
        {"columns": ("v", "nothing")},
        {"keys": ("nothing",)},
        {"operations": ()},
        {"purposes": ("*",)},
        {"price": -1},
        {"uses": 0},
        {"until": 0},
        {"expires": 0},
        {"demand": bytes(32)},
        {"version": 2},
        {"path": "/seller/data/none"},
    ],
)
def test_bad_offers_are_refused(world, changes) -> None:
    world.refused(offer(world, **changes), world.orgs[SELLER].users["reviewer"])


def test_each_side_signs_for_itself_with_its_role(world) -> None:
    world.refused(demand(world), world.orgs[BUYER].users["reviewer"])
    world.refused(offer(world), world.orgs[SELLER].users["analyst"])
    world.refused(offer(world), world.orgs[OTHER].users["reviewer"])
    sought, given_ = seek(world), offered(world)
    world.refused(m.WithdrawDemand(demand=sought), world.orgs[OTHER].users["analyst"])
    world.refused(m.WithdrawOffer(offer=given_), world.orgs[OTHER].users["reviewer"])
    world.refused(acceptance(world, given_), world.orgs[BUYER].users["reviewer"])
    world.refused(acceptance(world, given_), world.orgs[SELLER].users["analyst"])  # its own data
    world.refused(acceptance(world, given_, demand=sought), world.orgs[OTHER].users["analyst"])


@pytest.mark.parametrize(
    "changes",
    [
        {"columns": ("nothing",)},
        {"keys": ("v",)},
        {"columns": ("k",), "keys": ()},
        {"keys": ()},
        {"operations": ("mpc.statistics",)},
        {"purpose": "sale"},
        {"uses": 4},
        {"uses": 0},
        {"expires": 1_800_005_001},
        {"expires": 0},
        {"parties": (BUYER,)},
        {"receivers": (OTHER,)},
        {"demand": bytes(32)},
    ],
)
def test_more_than_was_offered_cannot_be_accepted(world, changes) -> None:
    given_ = offered(world)
    world.refused(acceptance(world, given_, **changes), world.orgs[BUYER].users["analyst"])


@pytest.mark.parametrize(
    ("changes", "cause", "remedy"),
    [
        ({"keys": ("kk",)}, "the offer has no key kk", "it has of these: k"),
        ({"columns": ("v", "w")}, "the offer has no column w", "it has of these: v"),
        ({"keys": ("x" * 500,)}, "the offer has no key " + "x" * 80, "it has of these: k"),
    ],
)
def test_a_key_or_column_that_was_not_offered_is_named(world, changes, cause, remedy) -> None:
    told = world.refused(acceptance(world, offered(world), **changes), world.orgs[BUYER].users["analyst"])
    assert (told.cause, told.remedy) == (f"market: {cause}", remedy)


def test_an_offer_ends_with_its_time_its_dataset_and_its_owner(world) -> None:
    given_ = offered(world)
    world.refused(acceptance(world, given_, uses=3, expires=world.time), world.orgs[BUYER].users["analyst"])
    world.time += 1_000
    world.refused(acceptance(world, given_), world.orgs[BUYER].users["analyst"])
    world.end_block()
    assert world.query("market/offers")[0]["status"] == "expired"
    given_ = offered(world)
    world.send(Withdraw(path=PATH, version=1), world.orgs[SELLER].users["steward"])
    world.refused(acceptance(world, given_), world.orgs[BUYER].users["analyst"])
    world.refused(offer(world), world.orgs[SELLER].users["reviewer"])


def test_the_catalogues_terms_bind_an_offer(world) -> None:
    given_ = offered(world)
    narrow = Update(path=PATH, version=1, title="t", description="", terms=terms(purposes=("audit",)))
    world.send(narrow, world.orgs[SELLER].users["steward"])
    world.refused(acceptance(world, given_), world.orgs[BUYER].users["analyst"])


def test_who_cannot_pay_gets_nothing(world) -> None:
    given_ = offered(world, price=400)
    world.refused(acceptance(world, given_, uses=3), world.orgs[BUYER].users["analyst"])


def test_an_organisation_has_so_many_open_and_no_more(world) -> None:
    for _ in range(market.MAX_OPEN):
        last = seek(world)
    world.refused(demand(world), world.orgs[BUYER].users["analyst"])
    world.send(m.WithdrawDemand(demand=last), world.orgs[BUYER].users["analyst"])
    seek(world)


# -- deals ------------------------------------------------------------------------------------------------------


def test_an_accepted_offer_is_a_grant_at_its_price_and_both_have_a_receipt(world) -> None:
    sought = seek(world)
    given_ = offered(world, demand=sought)
    world.refused(acceptance(world, given_), world.orgs[BUYER].users["analyst"])  # it is for the demand
    world.send(acceptance(world, given_, demand=sought), world.orgs[BUYER].users["analyst"])
    (grant,) = world.query("grants/grants")
    assert (grant["price"], grant["uses_left"], grant["basis"], grant["status"]) == (30, 2, "offer", "active")
    assert grant["holder_key"] == world.orgs[BUYER].users["analyst"]
    assert world.query("points/balances")[BUYER] == 1_000 - 60
    (deal,) = world.query("market/deals")
    assert (deal["grant"], deal["escrowed"], deal["demand"]) == (grant["id"], 60, sought)
    (bought,), (sold,) = (world.query("market/receipts", organisation=name) for name in (BUYER, SELLER))
    assert (bought["side"], bought["other"], sold["side"], sold["other"]) == ("bought", SELLER, "sold", BUYER)
    same = ("deal", "grant", "escrowed", "held", "uses_left", "certificates")
    assert [bought[name] for name in same] == [sold[name] for name in same]
    assert world.query("market/receipts", organisation=OTHER) == []
    assert world.query("market/demands")[0]["status"] == "met"
    assert world.query("market/offers")[0]["status"] == "taken"
    world.refused(acceptance(world, given_, demand=sought), world.orgs[BUYER].users["analyst"])


def test_a_standing_offer_is_accepted_by_many(world) -> None:
    given_ = offered(world)
    for name in (BUYER, OTHER):
        msg = acceptance(world, given_, parties=(name, SELLER), receivers=(name,))
        world.send(msg, world.orgs[name].users["analyst"])
    assert [row["holder"] for row in world.query("market/deals")].count(BUYER) == 1
    assert world.query("market/offers")[0]["status"] == "open"


def test_matches_are_ranked_and_say_why(world) -> None:
    sought = seek(world)
    dear, partial, meant = offered(world, price=40), offered(world, columns=()), offered(world, demand=sought)
    offered(world, price=41)
    offered(world, purposes=("audit",))
    offered(world, demand=seek(world))
    found = world.query("market/matches", id=sought)
    assert [row["offer"] for row in found] == [meant, dear, partial]
    assert [row["score"] for row in found] == [400 + 300 + 50 + 100, 400 + 300, 200 + 300 + 50]
    assert found[0]["reasons"] == [
        "2 of 2 columns: k, v",
        "1 of 1 words: rain",
        "price 30 of at most 40",
        f"purpose study and operations {OPERATION} are allowed",
        "offered for this demand",
    ]


def test_equal_matches_stand_by_price_then_age_then_id(world) -> None:
    sought = seek(world, max_price=10_000)  # 200 * (10,000 - price) // 10,000 is the same for near prices
    later_cheap = [offered(world, price=price) for price in (33, 32, 32)]
    assert [row["offer"] for row in world.query("market/matches", id=sought)] == [
        later_cheap[1],
        later_cheap[2],
        later_cheap[0],
    ]


def dataset_of(**changes) -> Dataset:
    fields = {
        "path": PATH, "version": 1, "owner": SELLER, "title": "Rain", "description": "", "schema": SCHEMA,
        "commitment": bytes(32), "rows": None, "terms": terms(), "status": "published", "since": 1,
    }  # fmt: skip
    return Dataset(**(fields | changes))


WORDS = st.lists(st.sampled_from(["rain", "snow", "hour", "data"]), max_size=4, unique=True).map(tuple)
COLUMNS = st.lists(st.sampled_from(["k", "v", "w"]), max_size=3, unique=True).map(tuple)


@given(words=WORDS, wanted=COLUMNS, has=COLUMNS, price=st.integers(0, 60), most=st.integers(0, 60), meant=st.booleans())
def test_a_score_is_bounded_and_says_no_more_than_is_there(words, wanted, has, price, most, meant) -> None:
    sought = m.Demand(
        id=b"d" * 32, organisation=BUYER, words=words, columns=wanted, operations=(OPERATION,), purpose="study",
        max_price=most, until=9, status="open", since=1,
    )  # fmt: skip
    given_ = m.Offer(
        id=b"o" * 32, provider=SELLER, path=PATH, version=1, keys=(), columns=has, operations=(OPERATION,),
        purposes=("study",), price=price, uses=1, until=9, expires=9, demand=sought.id if meant else None,
        status="open", since=1,
    )  # fmt: skip
    found = matching.match(sought, given_, dataset_of())
    some = set(wanted) & set(has) or set(words) & {"rain", "data"}
    assert (found is not None) == bool(price <= most and some)
    if found is not None:
        assert 0 <= found.score <= 1_000
        cheaper = m.Offer(**{name: getattr(given_, name) for name in given_.__slots__} | {"price": 0})
        better = matching.match(sought, cheaper, dataset_of())
        assert better is not None
        assert better.score >= found.score
        assert matching.match(sought, given_, dataset_of(owner=OTHER)) is None
        assert matching.match(sought, given_, dataset_of(status="withdrawn")) is None


def test_words_are_compared_as_ascii_whatever_the_language() -> None:
    assert list(matching.tokens("Regen-Menge, İstanbul 2013")) == ["regen", "menge", "stanbul", "2013"]


# -- against a model ----------------------------------------------------------------------------------------------


class Trading(RuleBasedStateMachine):
    demands = Bundle("demands")
    offers = Bundle("offers")

    @initialize()
    def begin(self) -> None:
        self.world = World(BUYER, SELLER, OTHER, allotment=300)
        self.world.send(
            publication(PATH, title="Rain", terms=terms(price=50)), self.world.orgs[SELLER].users["steward"]
        )
        self.balance = dict.fromkeys((BUYER, SELLER, OTHER), 300)
        self.sought: dict[bytes, dict] = {}
        self.given: dict[bytes, dict] = {}
        self.deals = 0

    def tick(self) -> None:
        for known in (*self.sought.values(), *self.given.values()):
            if known["status"] == "open" and self.world.time >= known["until"]:
                known["status"] = "expired"

    def attempt(self, allowed: bool, msg, key: bytes) -> bytes | None:
        if not allowed:
            self.world.refused(msg, key)
            return None
        done = self.world.send(msg, key)
        self.tick()
        return done

    @step(target=demands, by=st.sampled_from([BUYER, OTHER]), most=st.integers(0, 60), lasts=st.integers(0, 4))
    def seek(self, by: str, most: int, lasts: int):
        until = self.world.time + 100 * lasts
        msg = demand(self.world, max_price=most, until=until)
        done = self.attempt(lasts > 0, msg, self.world.orgs[by].users["analyst"])
        if done is None:
            return multiple()
        made = derive("demand", done)
        self.sought[made] = {"by": by, "most": most, "until": until, "status": "open"}
        return made

    @step(
        target=offers,
        price=st.integers(0, 60),
        uses=st.integers(0, 3),
        lasts=st.integers(1, 4),
        meant=st.none() | demands,
    )
    def offer(self, price: int, uses: int, lasts: int, meant: bytes | None):
        until = self.world.time + 100 * lasts
        msg = offer(self.world, price=price, uses=uses, until=until, demand=meant)
        allowed = uses > 0 and (meant is None or self.sought[meant]["status"] == "open")
        done = self.attempt(allowed, msg, self.world.orgs[SELLER].users["reviewer"])
        if done is None:
            return multiple()
        made = derive("offer", done)
        self.given[made] = {"price": price, "uses": uses, "until": until, "meant": meant, "status": "open"}
        return made

    @step(of=offers, by=st.sampled_from([BUYER, OTHER]), uses=st.integers(1, 3), for_=st.none() | demands)
    def accept(self, of: bytes, by: str, uses: int, for_: bytes | None) -> None:
        known, sought = self.given[of], None if for_ is None else self.sought[for_]
        fits = sought is None or (
            sought["by"] == by and sought["status"] == "open" and known["price"] <= sought["most"]
            and known["meant"] in (None, for_)
        )  # fmt: skip
        allowed = (
            known["status"] == "open" and self.world.time < known["until"] and fits
            and known["meant"] in (None, for_) and uses <= known["uses"]
            and self.balance[by] >= known["price"] * uses
        )  # fmt: skip
        msg = acceptance(self.world, of, demand=for_, uses=uses, parties=(by, SELLER), receivers=(by,))
        if allowed:
            self.balance[by] -= known["price"] * uses
            self.deals += 1
            if sought is not None:
                sought["status"] = "met"
            if known["meant"] is not None:
                known["status"] = "taken"
        self.attempt(allowed, msg, self.world.orgs[by].users["analyst"])

    @step(of=offers)
    def withdraw_offer(self, of: bytes) -> None:
        known = self.given[of]
        allowed = known["status"] == "open"
        if allowed:
            known["status"] = "withdrawn"
        self.attempt(allowed, m.WithdrawOffer(offer=of), self.world.orgs[SELLER].users["reviewer"])

    @step(of=demands)
    def withdraw_demand(self, of: bytes) -> None:
        known = self.sought[of]
        allowed = known["status"] == "open"
        if allowed:
            known["status"] = "withdrawn"
        self.attempt(allowed, m.WithdrawDemand(demand=of), self.world.orgs[known["by"]].users["analyst"])

    @step(seconds=st.integers(1, 250))
    def pass_time(self, seconds: int) -> None:
        self.world.time += seconds
        self.world.end_block()
        self.tick()

    @invariant()
    def everything_is_as_the_model_has_it(self) -> None:
        if not hasattr(self, "world"):
            return
        assert self.world.query("points/balances") == self.balance
        found = self.world.query("points/supply")
        assert found["balances"] + found["escrows"] == found["supply"] == 900
        assert {r["id"]: r["status"] for r in self.world.query("market/demands")} == {
            made: known["status"] for made, known in self.sought.items()
        }
        assert {r["id"]: r["status"] for r in self.world.query("market/offers")} == {
            made: known["status"] for made, known in self.given.items()
        }

    @invariant()
    def each_deal_has_one_grant_at_the_offers_price(self) -> None:
        if not hasattr(self, "world"):
            return
        deals = {row["grant"]: row for row in self.world.query("market/deals")}
        grants = self.world.query("grants/grants")
        assert len(deals) == len(grants) == self.deals
        for grant in grants:
            deal = deals[grant["id"]]
            assert deal["price"] == grant["price"] == self.given[deal["offer"]]["price"]
            assert grant["uses_total"] <= self.given[deal["offer"]]["uses"]

    @invariant()
    def a_match_can_be_accepted_and_nothing_else_can(self) -> None:
        if not hasattr(self, "world"):
            return
        for made, known in self.sought.items():
            expected = {
                of
                for of, offer in self.given.items()
                if known["status"] == offer["status"] == "open"
                and offer["price"] <= known["most"]
                and offer["meant"] in (None, made)
            }
            assert {row["offer"] for row in self.world.query("market/matches", id=made)} == expected


Trading.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTrading = Trading.TestCase
