"""Audit queries: each answer is proven, is for who may see it, and finds what a search through all events finds."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from changes_world import changes, places, replaced
from ledger_world import World, key
from story_world import Story

from fondaco.core.codec import decode, encode
from fondaco.errors import LedgerError, ProofError
from fondaco.index.audit import Page, ask, select
from fondaco.index.history import History
from fondaco.ledger.audit.answer import MAX_ANSWER, verify
from fondaco.ledger.audit.bundle import export
from fondaco.ledger.audit.dimensions import Selection, Viewer
from fondaco.ledger.audit.verify import verify as verify_bundle
from fondaco.ledger.reader import Ledger

REGULATOR = Viewer("regulator", regulator=True)
OUTSIDER = Viewer("stranger", regulator=False)
RAIN = "/weather/data/rain"


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[World, bytes, History]]:
    """A consortium after one settled task and a revoked grant."""
    made = World()
    task = made.story()
    history = History(None, made.ledger)
    yield made, task, history
    history.close()
    made.ledger.stop()


def _all(ledger: Ledger, history: History, viewer: Viewer = REGULATOR, limit: int = 100, **asked: Any) -> list[Page]:
    """All pages."""
    pages = [ask(ledger, history, Selection(**asked), viewer, limit=limit)]
    while (after := pages[-1].next) is not None:
        pages.append(ask(ledger, history, Selection(**asked), viewer, after=after, limit=limit))
    return pages


def _kinds(pages: list[Page]) -> list[str]:
    return [shown.event.kind for page in pages for shown in page.found.events]


def _numbers(pages: list[Page]) -> list[int]:
    return [shown.event.number for page in pages for shown in page.found.events]


# -- what is refused ----------------------------------------------------------------------------------------------


def test_a_member_sees_nothing_of_a_deal_that_it_has_no_part_in(world: tuple[World, bytes, History]) -> None:
    made, task, history = world
    assert _kinds(_all(made.ledger, history, OUTSIDER, task=task)) == []
    assert {kind.split(".")[0] for kind in _kinds(_all(made.ledger, history, OUTSIDER))} <= {
        "catalog",
        "disputes",
        "identity",
        "points",
        "settlement",
    }
    assert "points.minted" in _kinds(_all(made.ledger, history, OUTSIDER, kind="points"))
    assert "points.escrowed" not in _kinds(_all(made.ledger, history, OUTSIDER, kind="points"))


def test_an_answer_for_a_regulator_does_not_verify_for_a_member(world: tuple[World, bytes, History]) -> None:
    made, task, history = world
    asked = Selection(task=task)
    page = ask(made.ledger, history, asked, REGULATOR)
    root = made.genesis.hash.hex()
    assert verify(page.proof, trust_root=root, selection=asked, viewer=REGULATOR) == page.found
    for viewer, selection, trust_root, check in (
        (OUTSIDER, asked, root, "selection"),
        (REGULATOR, Selection(task=bytes(32)), root, "selection"),
        (REGULATOR, Selection(institution="harbour"), root, "selection"),
        (REGULATOR, asked, "00" * 32, "trust-root"),
    ):
        with pytest.raises(ProofError) as caught:
            verify(page.proof, trust_root=trust_root, selection=selection, viewer=viewer)
        assert caught.value.check == check


def test_no_changed_field_of_an_answer_shows_something_else(world: tuple[World, bytes, History]) -> None:
    """Every place of the proof changed once: it is refused, or shows the same events."""
    made, _task, history = world
    asked = Selection(kind="grants.used", dataset=f"{RAIN}@1", purpose="delay-study", institution="airline")
    page = ask(made.ledger, history, asked, REGULATOR)
    assert len(page.found.events) == 1
    tree = decode(page.proof, limit=MAX_ANSWER)
    tried = 0
    for place, value in places(tree):
        for new in changes(value):
            data = encode(replaced(tree, place, new))
            tried += 1
            try:
                found = verify(data, trust_root=made.genesis.hash.hex(), selection=asked, viewer=REGULATOR)
            except ProofError:
                continue
            assert found.events == (() if place == ("shown",) else page.found.events), place
    assert tried > 250


def test_a_page_has_at_most_a_hundred_events(world: tuple[World, bytes, History]) -> None:
    made, _task, history = world
    for limit in (0, 101):
        with pytest.raises(LedgerError, match="1 to 100"):
            ask(made.ledger, history, Selection(), REGULATOR, limit=limit)


def test_numbers_beyond_all_heights_and_times_find_what_they_say(world: tuple[World, bytes, History]) -> None:
    made, _task, history = world
    everything = _numbers(_all(made.ledger, history))
    for far in (1 << 63, 1 << 200):
        assert _numbers(_all(made.ledger, history, until_height=far, until_time=far)) == everything
        assert _numbers(_all(made.ledger, history, since_height=-far, since_time=-far)) == everything
        assert _numbers(_all(made.ledger, history, since_time=far)) == []
        assert ask(made.ledger, history, Selection(), REGULATOR, after=far).found.events == ()


# -- what is found ------------------------------------------------------------------------------------------------


def test_a_regulator_sees_every_event_page_by_page(world: tuple[World, bytes, History]) -> None:
    made, _task, history = world
    size = made.ledger.anchor().log_size
    assert _numbers(_all(made.ledger, history, limit=7)) == list(range(size))


def test_events_are_found_by_what_they_do_not_say_themselves(world: tuple[World, bytes, History]) -> None:
    """A use names no holder, an acceptance no dataset, a payment no task: their grants and tasks do."""
    made, task, history = world
    ledger = made.ledger
    assert "grants.used" in _kinds(_all(ledger, history, dataset=RAIN, institution="airline"))
    assert "tasks.accepted" in _kinds(_all(ledger, history, dataset=f"{RAIN}@1", purpose="delay-study"))
    assert _kinds(_all(ledger, history, dataset=f"{RAIN}@2")) == []
    about = _kinds(_all(ledger, history, task=task))
    for kind in ("grants.requested", "grants.granted", "points.escrowed", "points.paid", "tasks.settled"):
        assert kind in about
    assert "grants.revoked" not in about
    assert "catalog.published" in _kinds(_all(ledger, history, key=key("weather/user").public.raw))
    assert "tasks.accepted" in _kinds(_all(ledger, history, key=key("weather/node").public.raw, kind="tasks"))


def test_a_party_sees_its_own_deal_and_not_the_others(world: tuple[World, bytes, History]) -> None:
    made, task, history = world
    for party in ("airline", "weather", "authority"):
        seen = _kinds(_all(made.ledger, history, Viewer(party, regulator=False), task=task, kind="tasks"))
        assert seen == _kinds(_all(made.ledger, history, task=task, kind="tasks"))


def test_filters_together_are_what_each_finds_alone(world: tuple[World, bytes, History]) -> None:
    made, task, history = world
    ledger = made.ledger
    middle = ledger.height // 2
    times = [
        s.time for page in _all(ledger, history, since_height=middle, until_height=middle) for s in page.found.events
    ]
    filters: dict[str, Any] = {
        "institution": "weather",
        "dataset": RAIN,
        "key": key("airline/user").public.raw,
        "task": task,
        "purpose": "delay-study",
        "kind": "grants",
        "since_height": middle,
        "until_time": times[0] if times else 1 << 61,
    }
    alone = {name: set(_numbers(_all(ledger, history, **{name: value}))) for name, value in filters.items()}
    for some in itertools.chain(itertools.combinations(filters, 2), itertools.combinations(filters, 3)):
        found = _numbers(_all(ledger, history, **{name: filters[name] for name in some}))
        assert found == sorted(set.intersection(*(alone[name] for name in some))), some


# -- the projection -----------------------------------------------------------------------------------------------


def test_the_projection_catches_up_and_another_ledgers_file_is_rebuilt(tmp_path: Path) -> None:
    made = World()
    made.publish("weather", "rain")
    made.ledger.wait_provable(10)
    history = History(tmp_path / "history.sqlite", made.ledger)
    first = _numbers(_all(made.ledger, history))
    history.close()
    history = History(tmp_path / "history.sqlite", made.ledger)
    made.publish("weather", "wind")
    made.ledger.wait_provable(10)
    later = _numbers(_all(made.ledger, history))
    assert (len(later), later[: len(first)]) == (len(first) + 1, first)
    history.close()
    made.ledger.stop()
    other = World()
    other.publish("airline", "flights")
    other.ledger.wait_provable(10)
    history = History(tmp_path / "history.sqlite", other.ledger)
    assert [
        s.event.attributes["path"] for p in _all(other.ledger, history, kind="catalog") for s in p.found.events
    ] == ["/airline/data/flights"]
    history.close()
    other.ledger.stop()


def test_a_damaged_projection_is_begun_anew(tmp_path: Path, world: tuple[World, bytes, History]) -> None:
    made, _task, _history = world
    file = tmp_path / "history.sqlite"
    file.write_bytes(b"this is no database" * 100)
    history = History(file, made.ledger)
    assert _numbers(_all(made.ledger, history)) == list(range(made.ledger.anchor().log_size))
    history.close()


def test_a_governed_chain_of_several_validators_is_queried_across_their_changes() -> None:
    story = Story().tell()
    history = History(None, story.ledger)
    pages = _all(story.ledger, history, limit=40)
    assert _numbers(pages) == list(range(story.ledger.anchor().log_size))
    assert "disputes.opened" in _kinds(
        _all(story.ledger, history, Viewer("harbour", regulator=False), institution="harbour")
    )
    history.close()
    story.ledger.close()


# -- bundles of a selection -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        {"institution": "weather"},
        {"dataset": RAIN},
        {"purpose": "delay-study", "kind": "grants.used"},
        {"kind": "catalog"},
        {"kind": "points.paid"},
        {"kind": "tasks.settled"},
        {"until_height": 4},
        {},
    ],
)
def test_a_bundle_covers_a_selection_and_the_verifier_still_verifies_it(
    world: tuple[World, bytes, History], asked: dict[str, Any]
) -> None:
    made, _task, history = world
    chosen = select(made.ledger, history, Selection(**asked), REGULATOR)
    assert chosen
    data = export(made.ledger, key("authority/node"), events=chosen)
    found = verify_bundle(data, trust_root=made.genesis.hash.hex())
    assert not found.complete
    assert found.events >= len(chosen)
    if asked == {"kind": "tasks.settled"}:
        assert [receipt.status for receipt in found.receipts] == ["settled"]


def test_any_selection_of_a_governed_story_makes_a_bundle_that_verifies() -> None:
    story = Story().tell()
    size = story.ledger.anchor().log_size
    root = story.ledger.genesis.hash.hex()
    for number in range(size):
        data = export(story.ledger, key("authority/node"), events=(number,))
        assert verify_bundle(data, trust_root=root).events >= 1, number
    story.ledger.close()


def test_an_empty_selection_is_refused(world: tuple[World, bytes, History]) -> None:
    made, _task, _history = world
    with pytest.raises(LedgerError, match="nothing"):
        export(made.ledger, key("authority/node"), events=())


def test_a_shown_event_says_when_and_who_signed(world: tuple[World, bytes, History]) -> None:
    made, task, history = world
    page = ask(made.ledger, history, Selection(task=task, kind="tasks.proposed"), REGULATOR)
    (shown,) = page.found.events
    assert shown.signers == (key("airline/user").public.raw,)
    assert made.genesis.time < shown.time <= page.found.time
    assert dataclasses.replace(shown) == shown
