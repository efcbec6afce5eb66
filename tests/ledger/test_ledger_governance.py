"""What governance asks of the application and the drivers: quotas, versions of the rules, the end of an upgrade."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest
from ledger_world import COUNTERS, Counter, adding, consortium_genesis, counter_genesis, key, nonce
from story_world import FOUNDERS, RULES, Story, story_genesis

from fondaco.core.codec import Value
from fondaco.core.messages import from_value, to_value
from fondaco.errors import LedgerError
from fondaco.ledger import application
from fondaco.ledger.admission import Stale
from fondaco.ledger.application import Application, UpgradeNeeded
from fondaco.ledger.audit.bundle import export
from fondaco.ledger.audit.verify import verify
from fondaco.ledger.blocks import Validator
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.governance import messages as g
from fondaco.ledger.contracts.kit import VERSION, Context, derive
from fondaco.ledger.contracts.points.messages import Transfer
from fondaco.ledger.embedded import EmbeddedLedger
from fondaco.ledger.follower import Diverged, FollowerLedger
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.quotas import QuotaExceeded
from fondaco.ledger.state import ReadStore
from fondaco.ledger.storage import Storage
from fondaco.ledger.transactions import BadTransaction, build

NOW = counter_genesis().time
NEWER = application.APP_VERSION + 1


class Counted(Counter):
    """A counter where each signer is an organisation with room for three transactions in a block."""

    def quota(self, store: ReadStore, key: bytes) -> tuple[str, int]:
        """Three."""
        return key.hex()[:8], 3


@pytest.fixture
def app() -> Application:
    """A counter with quotas."""
    made = Application(Storage(None), Counted())
    made.init_chain(COUNTERS, NOW, {})
    return made


def test_check_tx_admits_a_quota_of_each_organisation_until_the_next_block(app: Application) -> None:
    for _ in range(3):
        app.check_tx(adding("n", 1, signer="one"))
    with pytest.raises(QuotaExceeded, match="may have 3 transactions in a block"):
        app.check_tx(adding("n", 1, signer="one"))
    app.check_tx(adding("n", 1, signer="two"))
    app.finalize_block(1, NOW + 1, [])
    app.commit(None)
    app.check_tx(adding("n", 1, signer="one"))


def test_what_is_bad_does_not_count(app: Application) -> None:
    for _ in range(5):
        with pytest.raises(BadTransaction):
            app.check_tx(adding("n", 1, signer="one", expires=5_000))
    app.check_tx(adding("n", 1, signer="one"))


def test_a_proposal_keeps_within_quotas_and_one_that_does_not_is_refused_by_name(app: Application) -> None:
    ones = [adding("n", 1, signer="one") for _ in range(5)]
    twos = [adding("n", 1, signer="two") for _ in range(2)]
    kept = app.prepare_proposal([*ones, *twos])
    assert kept == [*ones[:3], *twos]
    app.process_proposal(kept)
    with pytest.raises(QuotaExceeded, match="may have 3"):
        app.process_proposal([*ones[:4], *twos])


def test_an_embedded_ledger_takes_what_is_over_a_quota_into_later_blocks() -> None:
    ledger = EmbeddedLedger(None, counter_genesis(), Counted(), key("validator"))
    found = []
    while len(found) < 9:
        try:
            found.append(ledger.submit(adding("n", 1, signer="one")))
        except QuotaExceeded:
            ledger.wait_height(ledger.height + 1, 10)
    places = [future.result(30) for future in found]
    assert all(place.result.code == 0 for place in places)
    heights = [place.height for place in places]
    assert max(heights.count(height) for height in heights) <= 3
    ledger.stop()


def test_quotas_are_voted_for_one_institution() -> None:
    story = Story()
    story.decide(g.Quota(organisation="weather", limit=2), *FOUNDERS)
    app = story.ledger._app
    pay = lambda source, sequence: story.tx(  # noqa: E731
        Transfer(source=source, target="authority", amount=1, sequence=sequence), f"{source}/user"
    )
    weather = [pay("weather", n + 1) for n in range(3)]
    airline = [pay("airline", n + 1) for n in range(3)]
    with pytest.raises(QuotaExceeded, match="weather may have 2"):
        app.process_proposal([*weather, *airline])
    assert app.prepare_proposal([*weather, *airline]) == [*weather[:2], *airline]
    assert [result.code for result in story.block(*weather[:2], *airline)] == [0] * 5
    story.ledger.close()


# -- upgrades ----------------------------------------------------------------------------------------------------------


def upgraded() -> tuple[Story, int]:
    """A chain that is to follow newer rules from a height on, three blocks ahead."""
    story = Story()
    height = story.ledger.height + 8
    story.decide(g.Upgrade(height=height, version=NEWER, package=b"\x0b" * 32), *FOUNDERS)
    while story.ledger.height < height - 1:
        story.block()
    return story, height


def test_a_node_without_the_voted_version_halts_at_the_height_and_says_what_to_install() -> None:
    story, height = upgraded()
    before = story.ledger.status()
    with pytest.raises(UpgradeNeeded) as caught:
        story.block(story.tx(Transfer(source="weather", target="airline", amount=1, sequence=1), "weather/user"))
    assert f"from block {height} on the rules are version {NEWER}" in caught.value.cause
    assert "0b" * 32 in caught.value.remedy
    assert caught.value.code == "ledger.upgrade_needed"
    assert story.ledger.status() == before
    story.ledger.close()


def test_a_node_with_the_version_goes_on_and_its_header_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    story, height = upgraded()
    blocks = story.ledger.blocks(1, 1000)
    old = FollowerLedger(tmp_path, story_genesis(), registry)
    for data in blocks:
        old.apply(data)
    with monkeypatch.context() as newer:
        newer.setattr(application, "APP_VERSION", NEWER)
        story.block()
        story.block()
    after = story.ledger.blocks(height, 10)
    assert [story.ledger._link(at).header.app_version for at in (height - 1, height, height + 1)] == [
        VERSION,
        NEWER,
        NEWER,
    ]
    with pytest.raises(UpgradeNeeded):
        old.apply(after[0])
    assert old.evidence is None  # not a divergence: the block is applied once the package is installed
    old.close()
    monkeypatch.setattr(application, "APP_VERSION", NEWER)
    new = FollowerLedger(tmp_path, story_genesis(), registry)
    for data in after:
        new.apply(data)
    assert new.status().app_hash == story.ledger.status().app_hash
    new.close()
    story.ledger.close()


def test_a_cancelled_upgrade_halts_nobody() -> None:
    story = Story()
    height = story.ledger.height + 15
    story.decide(g.Upgrade(height=height, version=NEWER, package=bytes(32)), *FOUNDERS)
    story.decide(g.CancelUpgrade(height=height), *FOUNDERS)
    while story.ledger.height <= height:
        story.block()
    assert story.ledger._link(height).header.app_version == VERSION
    story.ledger.close()


def test_a_chain_of_the_first_rules_is_upgraded_by_vote_and_what_it_executed_stays_executed(tmp_path: Path) -> None:
    founding = story_genesis()
    assert isinstance(founding.state, dict)
    first = {name: value for name, value in founding.state.items() if name != "version"}  # as they were written then
    story = Story(genesis=dataclasses.replace(founding, state=first))
    pay = Transfer(source="weather", target="airline", amount=1, sequence=1)
    old = story.tx(pay, "weather/user")
    assert [result.code for result in story.block(old)] == [0]
    height = story.ledger.height + 15
    story.decide(g.Upgrade(height=height, version=VERSION, package=b"\x0b" * 32), *FOUNDERS)
    while story.ledger.height < height - 1:
        story.block()
    app = story.ledger._app
    new = story.tx(dataclasses.replace(pay, sequence=2), "weather/user")
    # The first block of the new rules, the next, the one after: what may be in it of the two.
    for sound in ([], [new], []):
        assert app.prepare_proposal([old, new] if story.ledger.height >= height else [old]) == sound
        with pytest.raises(Stale):
            app.process_proposal([*sound, old])
        assert [result.code for result in story.block(*sound)] == [0] * len(sound)
    assert [story.ledger._link(at).header.app_version for at in (height - 1, height)] == [1, VERSION]
    blocks = story.ledger.blocks(1, 1000)
    for part in (
        blocks[at : at + 5] for at in range(0, len(blocks), 5)
    ):  # begun anew on either side of the upgrade, and close to it
        with contextlib.closing(FollowerLedger(tmp_path, story.ledger.genesis, registry)) as follower:
            for data in part:
                follower.apply(data)
    with contextlib.closing(FollowerLedger(tmp_path, story.ledger.genesis, registry)) as follower:
        assert follower.status().app_hash == story.ledger.status().app_hash
        verify(export(follower, key("authority/node")), trust_root=follower.genesis.hash.hex())
    story.ledger.close()


class Versioned(Counter):
    """Rules that change at block 3: the version is what an addition leaves behind."""

    def rules(self, store: ReadStore, height: int) -> g.Upgrade:
        """Version 2 from block 3 on."""
        return g.Upgrade(height=3, version=2 if height >= 3 else 1, package=bytes(32))

    def execute(self, ctx: Context, kind: str, payload: Value) -> None:
        """Note the version."""
        super().execute(ctx, kind, payload)
        ctx.store.set(b"counter/version", ctx.version.to_bytes(16, "big"))


def test_contracts_see_the_version_of_the_height_so_that_old_rules_stay() -> None:
    made = Application(Storage(None), Versioned())
    made.init_chain(COUNTERS, NOW, {})
    seen = []
    for height in range(1, 5):
        done = made.finalize_block(height, NOW + height, [adding("n", 1)])
        made.commit(None)
        seen.append((made.query("all", {})["counter/version"], done.next_version))  # type: ignore[index, call-overload]
    assert seen == [(1, 1), (1, 2), (2, 2), (2, 2)]


# -- the set and the embedded ledger -----------------------------------------------------------------------------------


def embedded_genesis() -> Genesis:
    """The small consortium, with its one validator owned by the weather service."""
    found = consortium_genesis()
    seat = g.Seat(organisation="weather", key=key("validator").public.raw, power=1)
    state = from_value(registry.GenesisState, found.state)
    rules = dataclasses.replace(RULES, deliberation=0, execution=0, deposit=0, most_validators=1)
    return dataclasses.replace(found, state=to_value(dataclasses.replace(state, rules=rules, seats=(seat,))))


def test_on_an_embedded_ledger_proposals_are_decided_at_once_and_a_second_validator_is_refused(tmp_path: Path) -> None:
    ledger = EmbeddedLedger(tmp_path, embedded_genesis(), registry, key("validator"))

    def do(msg: object, name: str) -> bytes:
        tx = build(ledger.chain_id, msg, (key(f"{name}/user"),), nonce=nonce(), expires=ledger.height + 100)
        done = ledger.submit(tx).result(30)
        assert done.result.code == 0, done.result
        return done.tx

    for sequence, (kind, body, expected) in enumerate(
        (
            ("governance.mint/1", {"amounts": {"airline": 5}}, "executed"),
            ("governance.seat/1", {"key": b"\x05" * 32, "organisation": "airline", "power": 1}, "failed"),
        ),
        1,
    ):
        proposal = derive("proposal", do(g.Propose(by="airline", title="t", kind=kind, body=body), "airline"))
        for name in ("airline", "weather", "authority"):
            do(g.Vote(by=name, proposal=proposal, choice="yes", sequence=sequence), name)
        shown = ledger.query("governance/proposal", {"id": proposal})
        assert isinstance(shown, dict)
        assert shown["status"] == expected
    ledger.wait_provable(10)
    verify(export(ledger, key("weather/node")), trust_root=ledger.genesis.hash.hex())
    ledger.stop()


def test_a_founding_seat_must_be_a_validator_of_the_genesis() -> None:
    good = story_genesis()
    stranger = dataclasses.replace(
        good, validators=(Validator(key=key("stranger").public.raw, power=10), *good.validators[1:])
    )
    with pytest.raises(LedgerError, match="seat"):
        Story(genesis=stranger)


def test_a_follower_that_runs_other_rules_diverges(tmp_path: Path) -> None:
    """The set is part of what all compute: a header with another next set than the vote made is evidence."""
    story = Story()
    story.admit()
    story.seat()

    class Deaf:
        """The contracts, without what is due."""

        def __getattr__(self, name: str) -> object:
            return getattr(registry, name)

        def end_block(self, ctx: Context) -> None:
            """Nothing."""

    follower = FollowerLedger(tmp_path, story_genesis(), Deaf())  # type: ignore[arg-type]

    def apply_all() -> None:
        for data in story.ledger.blocks(1, 1000):
            follower.apply(data)

    with pytest.raises(Diverged):
        apply_all()
    assert follower.evidence is not None
    follower.close()
    story.ledger.close()
