"""Governance: what can be proposed, who votes, when it counts, and what each body does."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from contracts_world import Org, World, publication, terms

from fondaco.core.messages import kind_of, to_value
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.disputes.messages import Rules
from fondaco.ledger.contracts.governance import messages as g
from fondaco.ledger.contracts.governance.effects import BODIES
from fondaco.ledger.contracts.governance.parameters import DEFAULTS
from fondaco.ledger.contracts.identity import messages as identity
from fondaco.ledger.contracts.kit import ValidatorUpdate, derive
from fondaco.ledger.contracts.tasks import messages as t

NAMES = ("alpha", "beta", "gamma", "delta")
SLOW = dataclasses.replace(DEFAULTS, deliberation=3, voting=4, execution=2, early=False)


@pytest.fixture
def world() -> World:
    """Four institutions whose votes end as soon as they are certain."""
    return World(*NAMES)


@pytest.fixture
def slow() -> World:
    """Four institutions that deliberate 3 blocks, vote for 4, and execute 2 later."""
    return World(*NAMES, voting=SLOW)


def proposal(world: World, proposal_id: bytes) -> dict:
    return world.query("governance/proposal", id=proposal_id)


def proposing(body: object, by: str = "alpha", **changes) -> g.Propose:
    fields = {"by": by, "title": "a proposal", "kind": kind_of(type(body)), "body": to_value(body)}
    return g.Propose(**(fields | changes))


def propose(world: World, body: object, by: str = "alpha") -> bytes:
    return derive("proposal", world.send(proposing(body, by), world.orgs[by].users["governor"]))


def to_height(world: World, height: int) -> None:
    while world.height < height:
        world.end_block()


MINT = g.Mint(amounts={"beta": 5})


def bodies() -> dict[str, object]:
    """One sound body of each kind."""
    made = (
        g.Admit(organisation="omega", kind="member", key=bytes(32), certificate=b"c", expires=1_800_000_100),
        g.Expel(organisation="delta", forfeit=False),
        g.Seat(organisation="delta", key=b"\x05" * 32, power=3),
        g.Shares(providers=9000, participants=500, coordinator=400, fund=100),
        g.Division(method="shapley", window=5),
        Rules(arbiters=3, blocks=20),
        g.Quota(organisation="beta", limit=7),
        g.Prices(prices={"mpc.statistics": 12}),
        MINT,
        g.Spend(target="beta", amount=4),
        g.Program(program=b"\x07" * 32, operation="wasm.mean", title="mean", admitted=True),
        g.Upgrade(height=10_000, version=2, package=b"\x08" * 32),
        g.CancelUpgrade(height=10_000),
        g.Weights(weights={"beta": 3}),
        dataclasses.replace(DEFAULTS, voting=9),
    )
    return {kind_of(type(body)): body for body in made}


def test_every_kind_of_body_can_be_proposed_by_a_governor_or_the_administrators_alone(world) -> None:
    assert bodies().keys() == BODIES.keys()
    alpha = world.orgs["alpha"]
    for body in bodies().values():
        for signer in (alpha.users["analyst"], alpha.node, world.orgs["beta"].users["governor"]):
            world.refused(proposing(body), signer)
        shown = proposal(world, derive("proposal", world.send(proposing(body), alpha.admin)))
        assert (shown["status"], shown["kind"], shown["body"]) == ("open", kind_of(type(body)), to_value(body))


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_a_body_is_read_strictly(world, kind) -> None:
    governor = world.orgs["alpha"].users["governor"]
    good = to_value(bodies()[kind])
    name, value = next(iter(good.items()))
    for bad in (
        None, [], {}, 5, good | {"more": 1}, {k: v for k, v in good.items() if k != name}, good | {name: [value]},
    ):  # fmt: skip
        world.refused(g.Propose(by="alpha", title="x", kind=kind, body=bad), governor)
    world.refused(g.Propose(by="alpha", title="x", kind=kind + "0", body=good), governor)


@pytest.mark.parametrize(
    "body",
    [
        g.Admit(organisation="alpha", kind="member", key=bytes(32), certificate=b"c", expires=1_800_000_100),
        g.Admit(organisation="omega", kind="guest", key=bytes(32), certificate=b"c", expires=1_800_000_100),
        g.Admit(organisation="omega", kind="member", key=bytes(32), certificate=b"c", expires=1),
        g.Expel(organisation="omega", forfeit=False),
        g.Seat(organisation="omega", key=bytes(32), power=1),
        g.Seat(organisation="alpha", key=b"short", power=1),
        g.Seat(organisation="alpha", key=bytes(32), power=-1),
        g.Seat(organisation="alpha", key=bytes(32), power=1 << 60),
        g.Shares(providers=10_000, participants=0, coordinator=0, fund=1),
        g.Shares(providers=10_001, participants=-1, coordinator=0, fund=0),
        g.Division(method="dice", window=0),
        g.Division(method="price", window=-1),
        Rules(arbiters=0, blocks=20),
        g.Quota(organisation="omega", limit=1),
        g.Quota(organisation="alpha", limit=-1),
        g.Prices(prices={}),
        g.Prices(prices={"Not a word": 1}),
        g.Prices(prices={"mpc.statistics": -1}),
        g.Mint(amounts={}),
        g.Mint(amounts={"alpha": 0}),
        g.Mint(amounts={"omega": 1}),
        g.Mint(amounts={"alpha": 1 << 62}),
        g.Program(program=b"short", operation="wasm.mean", title="", admitted=True),
        g.Upgrade(height=0, version=2, package=bytes(32)),
        g.Upgrade(height=99, version=1, package=bytes(32)),
        g.Upgrade(height=99, version=2, package=b""),
        g.CancelUpgrade(height=-1),
        g.Weights(weights={"omega": 1}),
        g.Weights(weights={"alpha": -1}),
        dataclasses.replace(DEFAULTS, voting=0),
        dataclasses.replace(DEFAULTS, deliberation=-1),
        dataclasses.replace(DEFAULTS, threshold=4_999),
        dataclasses.replace(DEFAULTS, threshold=10_000),
        dataclasses.replace(DEFAULTS, quorum=0),
        dataclasses.replace(DEFAULTS, veto=10_001),
        dataclasses.replace(DEFAULTS, quota=0),
        dataclasses.replace(DEFAULTS, most_validators=0),
        dataclasses.replace(DEFAULTS, deposit=-1),
    ],
    ids=lambda body: kind_of(type(body)),
)
def test_what_could_never_be_executed_cannot_be_proposed(world, body) -> None:
    world.refused(proposing(body), world.orgs["alpha"].users["governor"])


def test_a_vote_is_an_institutions_own_once_in_sequence_and_in_its_time(world) -> None:
    alpha, beta = world.orgs["alpha"], world.orgs["beta"]
    one = propose(world, MINT)
    vote = lambda **changes: g.Vote(  # noqa: E731
        **({"by": "alpha", "proposal": one, "choice": "yes", "sequence": 1} | changes)
    )
    for bad in (
        vote(sequence=0), vote(sequence=2), vote(choice="maybe"), vote(proposal=bytes(32)), vote(by="nobody"),
    ):  # fmt: skip
        world.refused(bad, alpha.users["governor"])
    world.refused(vote(), alpha.users["reviewer"])
    world.refused(vote(), beta.users["governor"])
    world.send(vote(), alpha.users["governor"])
    world.refused(vote(sequence=2), alpha.users["governor"])
    assert proposal(world, one)["votes"] == {"alpha": "yes"}


def test_points_are_minted_by_more_than_two_thirds_at_the_end_of_the_deciding_block(world) -> None:
    one = propose(world, MINT)
    world.vote(one, "alpha")
    world.vote(one, "beta")
    assert world.query("points/balances")["beta"] == 1000
    world.vote(one, "gamma")
    assert world.query("points/balances")["beta"] == 1005
    shown = proposal(world, one)
    assert (shown["status"], shown["decided"]) == ("executed", world.height - 1)
    assert world.query("points/supply")["supply"] == 4005
    world.refused(g.Vote(by="delta", proposal=one, choice="no", sequence=1), world.orgs["delta"].users["governor"])


def test_the_periods_are_counted_in_blocks_and_nothing_happens_outside_them(slow) -> None:
    one = propose(slow, MINT)
    shown = proposal(slow, one)
    opens, closes = shown["opens"], shown["closes"]
    assert (opens - shown["since"], closes - opens + 1) == (3, 4)
    governor = slow.orgs["alpha"].users["governor"]
    early = g.Vote(by="alpha", proposal=one, choice="yes", sequence=1)
    assert "deliberate" in slow.refused(early, governor).cause
    to_height(slow, opens)
    for name in NAMES[:3]:
        slow.vote(one, name)
    assert proposal(slow, one)["status"] == "open"
    assert slow.height == closes
    slow.vote(one, "delta", "no")
    shown = proposal(slow, one)
    assert (shown["status"], shown["decided"], shown["executes"]) == ("passed", closes, closes + 2)
    to_height(slow, closes + 2)
    assert slow.query("points/balances")["beta"] == 1000
    slow.end_block()
    assert slow.query("points/balances")["beta"] == 1005
    assert proposal(slow, one)["status"] == "executed"


def test_without_a_quorum_nothing_passes(slow) -> None:
    one = propose(slow, MINT)
    to_height(slow, proposal(slow, one)["opens"])
    slow.vote(one, "alpha")
    slow.vote(one, "beta")
    to_height(slow, proposal(slow, one)["closes"] + 10)
    assert proposal(slow, one)["status"] == "rejected"
    late = g.Vote(by="gamma", proposal=one, choice="yes", sequence=1)
    slow.refused(late, slow.orgs["gamma"].users["governor"])
    assert slow.query("points/supply")["supply"] == 4000


def test_a_veto_of_more_than_a_third_ends_it_and_takes_the_deposit_for_the_fund() -> None:
    world = World(*NAMES, voting=dataclasses.replace(DEFAULTS, deposit=100))
    lost, kept = propose(world, MINT), propose(world, MINT, "beta")
    assert world.query("points/balances")["alpha"] == 900
    for name, choice in (("alpha", "yes"), ("beta", "veto"), ("gamma", "veto")):
        world.vote(lost, name, choice)
    for name in ("alpha", "beta", "gamma"):
        world.vote(kept, name, "no")
    assert (proposal(world, lost)["status"], proposal(world, kept)["status"]) == ("vetoed", "rejected")
    balances = world.query("points/balances")
    assert (balances["alpha"], balances["beta"], balances["@fund"]) == (900, 1000, 100)
    assert world.query("points/supply")["supply"] == 4000


def test_who_proposed_withdraws_before_anyone_voted(world) -> None:
    one, two = propose(world, MINT), propose(world, MINT)
    alpha, beta = world.orgs["alpha"], world.orgs["beta"]
    world.refused(g.Withdraw(proposal=one), beta.users["governor"])
    world.send(g.Withdraw(proposal=one), alpha.users["governor"])
    world.refused(g.Withdraw(proposal=one), alpha.users["governor"])
    world.vote(two, "beta")
    world.refused(g.Withdraw(proposal=two), alpha.users["governor"])
    assert proposal(world, one)["status"] == "withdrawn"
    to_height(world, proposal(world, two)["closes"] + 2)
    assert proposal(world, one)["status"] == "withdrawn"


def test_an_institution_has_a_bounded_number_of_open_proposals(world) -> None:
    for _ in range(16):
        propose(world, MINT)
    world.refused(proposing(MINT), world.orgs["alpha"].users["governor"])
    propose(world, MINT, "beta")


def test_what_can_no_longer_be_executed_changes_nothing_and_says_why(slow) -> None:
    first = propose(slow, g.Upgrade(height=500, version=3, package=bytes(32)))
    second = propose(slow, g.Upgrade(height=600, version=4, package=bytes(32)))
    to_height(slow, proposal(slow, second)["opens"])
    for one in (first, second):
        for name in NAMES[:3]:
            if slow.height <= proposal(slow, one)["closes"]:
                slow.vote(one, name)
    to_height(slow, 40)
    slow_again = propose(slow, g.Upgrade(height=600, version=4, package=bytes(32)))
    to_height(slow, proposal(slow, slow_again)["opens"])
    for name in NAMES[:3]:
        slow.vote(slow_again, name)
    to_height(slow, 60)
    assert proposal(slow, first)["status"] == "executed"
    shown = proposal(slow, slow_again)
    assert (shown["status"], "block 500" in shown["cause"]) == ("failed", True)
    assert [step["height"] for step in slow.query("governance/upgrades")] == [0, 500]


def test_the_rules_of_a_proposal_are_those_of_when_it_was_made(world) -> None:
    old = propose(world, MINT)
    all_must = dataclasses.replace(DEFAULTS, quorum=10_000, threshold=9_999)
    world.pass_vote(all_must, *NAMES[:3])
    assert world.query("governance/parameters") == to_value(all_must)
    new = propose(world, MINT)
    for name in NAMES[:3]:
        world.vote(old, name)
        world.vote(new, name)
    assert (proposal(world, old)["status"], proposal(world, new)["status"]) == ("executed", "open")
    world.vote(new, "delta")
    assert proposal(world, new)["status"] == "executed"


@pytest.mark.parametrize("attempt", range(4))
def test_a_vote_that_is_no_longer_certain_at_the_end_of_its_block_goes_on(attempt) -> None:
    """An expulsion in the same block takes a decisive yes away: the others may still vote, in either order of ids."""
    world = World(*NAMES, voting=dataclasses.replace(DEFAULTS, execution=1))
    for _ in range(attempt):
        world.end_block()
        world.count += 1  # another id, and so another order at the end of the block
    expel = propose(world, g.Expel(organisation="alpha", forfeit=False), "beta")
    mint = propose(world, MINT, "beta")
    for name in ("alpha", "beta"):
        world.vote(mint, name)
    for name in ("beta", "gamma", "delta"):
        world.vote(expel, name)
    assert proposal(world, expel)["executes"] == world.height
    world.vote(mint, "gamma")
    if proposal(world, mint)["status"] == "open":  # the expulsion came first
        world.vote(mint, "delta")
    world.end_block()
    assert proposal(world, mint)["status"] == "executed"


def test_weights_are_voted_and_somebody_always_has_one(world) -> None:
    world.pass_vote(g.Weights(weights={"alpha": 7, "delta": 0}), *NAMES[:3])
    assert world.query("governance/weights") == {"alpha": 7, "beta": 1, "gamma": 1, "delta": 0}
    one = propose(world, MINT)
    world.vote(one, "alpha")
    assert proposal(world, one)["status"] == "executed"
    none = world.pass_vote(g.Weights(weights=dict.fromkeys(NAMES, 0)), "alpha")
    assert proposal(world, none)["status"] == "failed"
    assert world.query("governance/weights")["alpha"] == 7


def test_an_institution_is_admitted_by_vote_alone_once_the_vote_says_so(world) -> None:
    invite = identity.Invite(
        by="alpha", key=b"\x01" * 32, certificate=b"c", organisation="omega", kind="member", expires=world.time + 60
    )
    world.pass_vote(dataclasses.replace(DEFAULTS, admission_by_vote=True), *NAMES[:3])
    assert world.refused(invite, world.orgs["alpha"].admin, invite.key).code == "ledger.governance.vote_needed"
    omega = Org("omega")
    body = g.Admit(organisation="omega", kind="member", key=b"\x01" * 32, certificate=b"c", expires=world.time + 60)
    join = identity.Join(invitation=b"\x01" * 32, organisation=omega.spec())
    world.refused(join, b"\x01" * 32, *omega.registered)
    world.pass_vote(body, *NAMES[:3])
    world.send(join, b"\x01" * 32, *omega.registered)
    world.orgs["omega"] = omega
    assert world.query("governance/weights")["omega"] == 1
    one = propose(world, MINT, "omega")
    for name in ("omega", "alpha", "beta", "gamma"):
        world.vote(one, name)
    assert proposal(world, one)["status"] == "executed"


def test_one_institution_alone_can_invite_but_neither_vote_nor_mint_with_its_guests(world) -> None:
    """Ten guests of one member among four: whatever they propose and vote, nothing comes of it."""
    guests = [Org(f"guest-{number}") for number in range(10)]
    for number, guest in enumerate(guests):
        key = bytes([0x40 + number]) * 32
        msg = identity.Invite(
            by="alpha", key=key, certificate=b"c", organisation=guest.name, kind="member", expires=world.time + 60
        )
        world.send(msg, world.orgs["alpha"].admin, key)
        world.send(identity.Join(invitation=key, organisation=guest.spec()), key, *guest.registered)
        world.orgs[guest.name] = guest
    names = [guest.name for guest in guests]
    shown = world.query("governance/weights")
    assert [shown[name] for name in names] == [0] * 10
    for body in (g.Mint(amounts={"alpha": 10**9}), g.Weights(weights=dict.fromkeys(names, 9))):
        one = propose(world, body, names[0])
        for name in (*names, "alpha"):
            world.vote(one, name)
        while proposal(world, one)["status"] == "open":
            world.end_block()
        assert proposal(world, one)["status"] == "rejected"
    assert world.query("points/balances")["alpha"] == 1000
    assert world.query("governance/weights") == shown
    world.pass_vote(g.Weights(weights={names[0]: 1}), *NAMES[:3])  # admitted by vote, it has one
    assert world.query("governance/weights")[names[0]] == 1


def test_a_seat_is_given_reweighed_replaced_and_taken(world) -> None:
    omega = b"\x05" * 32
    world.pass_vote(g.Seat(organisation="delta", key=world.orgs["delta"].validator, power=30), *NAMES[:3])
    assert world.updates == [ValidatorUpdate(world.orgs["delta"].validator, 30)]
    world.updates.clear()
    world.pass_vote(g.Seat(organisation="delta", key=omega, power=20), *NAMES[:3])
    assert world.updates == [ValidatorUpdate(world.orgs["delta"].validator, 0), ValidatorUpdate(omega, 20)]
    world.updates.clear()
    for wrong in (
        g.Seat(organisation="gamma", key=omega, power=5),
        g.Seat(organisation="gamma", key=omega, power=0),
        g.Seat(organisation="gamma", key=world.orgs["gamma"].node, power=5),
        g.Seat(organisation="delta", key=world.orgs["delta"].validator, power=5),
    ):
        assert proposal(world, world.pass_vote(wrong, *NAMES[:3]))["status"] == "failed"
    assert world.updates == []
    world.pass_vote(g.Seat(organisation="delta", key=omega, power=0), *NAMES[:3])
    assert world.updates == [ValidatorUpdate(omega, 0)]
    assert [seat["organisation"] for seat in world.query("governance/seats")] == ["alpha", "beta", "gamma"]


def test_there_is_always_a_validator_and_never_too_many() -> None:
    world = World("alpha", voting=dataclasses.replace(DEFAULTS, most_validators=1))
    gone = world.pass_vote(g.Seat(organisation="alpha", key=world.orgs["alpha"].validator, power=0), "alpha")
    assert proposal(world, gone)["status"] == "failed"
    replaced = world.pass_vote(g.Seat(organisation="alpha", key=b"\x05" * 32, power=1), "alpha")
    assert proposal(world, replaced)["status"] == "executed"
    many = World(*NAMES, voting=dataclasses.replace(DEFAULTS, most_validators=4))
    many.pass_vote(g.Seat(organisation="delta", key=many.orgs["delta"].validator, power=0), *NAMES[:3])
    few = many.pass_vote(dataclasses.replace(DEFAULTS, most_validators=3), *NAMES[:3])
    assert proposal(many, few)["status"] == "executed"
    more = many.pass_vote(g.Seat(organisation="delta", key=b"\x05" * 32, power=1), *NAMES[:3])
    assert "1 to 3 validators" in proposal(many, more)["cause"]


def test_two_seats_decided_in_one_block_see_each_other() -> None:
    world = World(*NAMES, voting=dataclasses.replace(SLOW, most_validators=4, deliberation=0, voting=12, execution=0))
    for name in ("gamma", "delta"):
        world.store.delete(b"validators/" + world.orgs[name].validator)
        world.store.delete(b"governance/seat/" + name.encode())
    heights = []
    for name, key in (("gamma", b"\x05" * 32), ("delta", b"\x06" * 32)):
        heights.append(propose(world, g.Seat(organisation=name, key=key, power=10)))
    for one, name in itertools.product(heights, NAMES[:3]):
        world.vote(one, name)
    to_height(world, 40)
    assert [proposal(world, one)["status"] for one in heights] == ["executed", "executed"]
    assert len([key for key, _ in world.store.items(b"validators/")]) == 4


def test_shares_prices_quotas_and_programs_are_as_voted(world) -> None:
    shares = g.Shares(providers=9000, participants=500, coordinator=400, fund=100)
    world.pass_vote(shares, *NAMES[:3])
    found = world.query("settlement/formula")
    assert found == to_value(shares) | {"method": "price", "window": 0}
    world.pass_vote(g.Division(method="shapley", window=5), *NAMES[:3])
    assert world.query("settlement/formula") == found | {"method": "shapley", "window": 5}
    world.pass_vote(Rules(arbiters=1, blocks=20), *NAMES[:3])
    assert world.query("disputes/rules") == {"arbiters": 1, "blocks": 20}
    world.pass_vote(g.Prices(prices={"mpc.statistics": 12, "psi.intersection": 3}), *NAMES[:3])
    world.pass_vote(g.Prices(prices={"psi.intersection": 0}), *NAMES[:3])
    assert world.query("governance/prices") == {"mpc.statistics": 12}
    key = world.orgs["beta"].users["analyst"]
    assert registry.quota(world.store, key) == ("beta", DEFAULTS.quota)
    world.pass_vote(g.Quota(organisation="beta", limit=7), *NAMES[:3])
    assert registry.quota(world.store, key) == ("beta", 7)
    assert registry.quota(world.store, world.orgs["alpha"].admin) == ("alpha", DEFAULTS.quota)
    assert registry.quota(world.store, bytes(32)) == ("", DEFAULTS.quota)
    world.pass_vote(g.Quota(organisation="beta", limit=0), *NAMES[:3])
    assert registry.quota(world.store, key) == ("beta", DEFAULTS.quota)
    program = g.Program(program=b"\x07" * 32, operation="wasm.mean", title="mean", admitted=True)
    never = world.pass_vote(dataclasses.replace(program, admitted=False), *NAMES[:3])
    assert proposal(world, never)["status"] == "failed"
    world.pass_vote(program, *NAMES[:3])
    world.pass_vote(dataclasses.replace(program, admitted=False), *NAMES[:3])
    assert [row["admitted"] for row in world.query("governance/programs")] == [False]


def test_rules_follow_the_voted_upgrades_by_height_until_one_is_cancelled(world) -> None:
    later = g.Upgrade(height=500, version=3, package=b"\x08" * 32)
    world.pass_vote(later, *NAMES[:3])
    found = [registry.rules(world.store, height).version for height in (1, 499, 500, 9_999)]
    assert found == [2, 2, 3, 3]
    busy = world.pass_vote(dataclasses.replace(later, height=600, version=4), *NAMES[:3])
    assert proposal(world, busy)["status"] == "failed"
    wrong = world.pass_vote(g.CancelUpgrade(height=600), *NAMES[:3])
    assert proposal(world, wrong)["status"] == "failed"
    world.pass_vote(g.CancelUpgrade(height=500), *NAMES[:3])
    assert registry.rules(world.store, 500).version == 2
    world.pass_vote(dataclasses.replace(later, height=world.height + 10), *NAMES[:3])
    to_height(world, world.height + 20)
    past = world.pass_vote(g.CancelUpgrade(height=world.query("governance/upgrades")[-1]["height"]), *NAMES[:3])
    assert proposal(world, past)["status"] == "failed"
    same = world.pass_vote(dataclasses.replace(later, version=3), *NAMES[:3])
    assert proposal(world, same)["status"] == "failed"
    world.pass_vote(dataclasses.replace(later, version=4), *NAMES[:3])
    assert registry.rules(world.store, 500).version == 4


def own_task(world: World, operation: str = "mpc.statistics") -> t.Propose:
    """A task of alpha's over alpha's own data, with beta as the other member."""
    step = t.StepHead(
        id="one", program=b"\x07" * 32, operation=operation, members=("alpha", "beta"), receivers=("alpha",),
        inputs=(t.InputHead(organisation="alpha", path="/alpha/d/one", version=1, columns=("v",), grant=None),),
    )  # fmt: skip
    return t.Propose(
        workflow=b"w", coordinator="gamma", parties=("alpha", "beta", "gamma"), steps=(step,), purpose="study",
        deadline=world.time + 3600,
    )  # fmt: skip


def test_only_listed_programs_run_once_the_vote_says_so(world) -> None:
    analyst = world.orgs["alpha"].users["analyst"]
    world.send(publication("/alpha/d/one", terms=terms()), world.orgs["alpha"].users["steward"])
    world.pass_vote(dataclasses.replace(DEFAULTS, listed_programs_only=True), *NAMES[:3])
    assert "not on the consortium's list" in world.refused(own_task(world), analyst).cause
    program = g.Program(program=b"\x07" * 32, operation="mpc.statistics", title="s", admitted=True)
    world.pass_vote(program, *NAMES[:3])
    world.refused(own_task(world, "psi.intersection"), analyst)
    world.send(own_task(world), analyst)
    world.pass_vote(dataclasses.replace(program, admitted=False), *NAMES[:3])
    world.refused(own_task(world), analyst)


def test_the_price_of_a_service_is_set_aside_and_goes_to_the_coordinator_or_back(world) -> None:
    from fondaco.ledger.contracts.tasks.handlers import outcomes, result_hash, task

    world.send(publication("/alpha/d/one", terms=terms()), world.orgs["alpha"].users["steward"])
    world.pass_vote(g.Prices(prices={"mpc.statistics": 12}), *NAMES[:3])
    done, dropped, spoilt = (
        derive("task", world.send(own_task(world), world.orgs["alpha"].users["analyst"])) for _ in range(3)
    )
    assert world.query("points/balances")["alpha"] == 1000 - 36
    for one in (done, spoilt):
        for name in ("alpha", "beta", "gamma"):
            world.send(t.Accept(task=one), world.orgs[name].node)
        world.send(t.Run(task=one, attempt=1), world.orgs["gamma"].node)
        world.send(t.Report(task=one, attempt=1, step="one", outcome=bytes(32)), world.orgs["alpha"].node)
    world.send(t.Report(task=done, attempt=1, step="one", outcome=bytes(32)), world.orgs["beta"].node)
    record = task(world.store, done)
    result = result_hash(record, outcomes(world.store, record))
    world.send(t.Finish(task=done, result=result), world.orgs["gamma"].node)
    world.send(t.Settle(task=done), world.orgs["beta"].node)
    world.send(t.Abandon(task=dropped), world.orgs["gamma"].node)
    assert world.query("points/balances")["alpha"] == 1000 - 24
    world.time += 4000
    world.send(t.ExpireTask(task=spoilt), world.orgs["beta"].node)
    balances = world.query("points/balances")
    assert (balances["alpha"], balances["gamma"]) == (1000 - 12, 1000 + 12)  # nobody else's data were used for it
    assert world.query("points/supply")["escrows"] == 0
