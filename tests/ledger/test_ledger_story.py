"""The story of a fifth institution, from its admission by vote to its expulsion: every point, at every height."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from ledger_world import key
from story_world import ALLOTMENT, FIFTH, FIXTURES, FOUNDERS, OWN, PATH, PRICE, SERVICE, Story, story_genesis, validator

from fondaco.core.codec import decode
from fondaco.core.messages import from_bytes
from fondaco.errors import ProofError
from fondaco.ledger.audit.bundle import export
from fondaco.ledger.audit.format import MAX_BUNDLE, Bundle
from fondaco.ledger.audit.verify import verify
from fondaco.ledger.blocks import Block
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.governance import keys as governance_keys
from fondaco.ledger.follower import FollowerLedger
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.light import trust_genesis, verify_proof

MEMBERS = {validator(name).public.raw for name in FOUNDERS}


@pytest.fixture(scope="module")
def told() -> Story:
    """The story, told once."""
    return Story().tell()


def signing(story: Story, height: int) -> set[bytes]:
    return {known.key for known in story.ledger.validators_at(height)}


def test_the_fifth_is_admitted_seated_and_expelled_and_the_set_follows_two_heights_on(told: Story) -> None:
    fifth = validator(FIFTH).public.raw
    heights = [height for height in range(1, told.ledger.height + 1) if fifth in signing(told, height)]
    assert heights == list(range(heights[0], heights[-1] + 1))
    assert signing(told, heights[0] - 1) == signing(told, heights[-1] + 1) == MEMBERS
    events = [event for _index, event in told.ledger.events(0, 10_000)]
    seats = [event["height"] for event in events if (event["contract"], event["kind"]) == ("governance", "seat")]
    assert [heights[0], heights[-1] + 1] == [height + 2 for height in seats]  # type: ignore[operator]
    blocks = [from_bytes(Block, data) for data in told.ledger.blocks(heights[0], 1)]
    assert len(blocks[0].commit.signatures) == 5


def test_every_point_is_where_the_rules_say(told: Story) -> None:
    """No use was paid in the end: the dispute gave all back, and what the fifth had went to the fund."""
    last = told.balances[-1]
    assert last["airline"] == ALLOTMENT
    assert last["authority"] == last["weather"] == last["regulator"] == ALLOTMENT
    assert (last[FIFTH], last["@fund"]) == (0, 50)
    supply = told.ledger.query("points/supply")
    assert supply == {"balances": 4 * ALLOTMENT + 50, "escrows": 0, "supply": 4 * ALLOTMENT + 50}
    lowest = min(at["airline"] for at in told.balances)
    assert lowest == ALLOTMENT - 4 * PRICE - SERVICE  # four uses and one task were set aside at once


def test_what_the_fifth_had_open_ended(told: Story) -> None:
    assert told.ledger.query("tasks/open") == []
    statuses = {row["path"]: row["status"] for row in told.ledger.query("catalog/datasets")}  # type: ignore[union-attr, index, call-overload]
    assert statuses == {PATH: "withdrawn", OWN: "published"}
    (grant,) = told.ledger.query("grants/grants")  # type: ignore[misc]
    assert grant["status"] == "revoked"  # type: ignore[index, call-overload]
    answers = sorted(row["answers"] for row in told.ledger.query("grants/requests"))  # type: ignore[union-attr, index, call-overload]
    assert answers == [["denied"], ["granted"]]
    names = [row["status"] for row in told.ledger.query("governance/proposals")]  # type: ignore[union-attr, index, call-overload]
    assert sorted(set(names)) == ["executed", "withdrawn"]


def test_a_bundle_of_the_whole_story_verifies_with_the_events_of_blocks_and_all_five_validators(told: Story) -> None:
    bundle = export(told.ledger, key("authority/node"))
    found = verify(bundle, trust_root=told.ledger.genesis.hash.hex())
    assert found.complete
    content = decode(from_bytes(Bundle, bundle, limit=MAX_BUNDLE).content, limit=MAX_BUNDLE)
    assert isinstance(content, dict)
    assert len(content["validators"]) == 2  # type: ignore[arg-type]
    assert {receipt.status for receipt in found.receipts} == {"settled", "abandoned"}


def test_a_bundle_of_one_task_verifies_too(told: Story) -> None:
    (first, *_rest) = told.ledger.query("tasks/tasks")  # type: ignore[misc]
    bundle = export(told.ledger, key("weather/node"), task=first["id"])  # type: ignore[index, call-overload, arg-type]
    assert not verify(bundle, trust_root=told.ledger.genesis.hash.hex()).complete


def test_a_light_client_proves_the_end_from_the_pinned_genesis(told: Story) -> None:
    proof = told.ledger.prove([governance_keys.seat(FIFTH), governance_keys.seat("weather")])
    now = verify_proof(trust_genesis(story_genesis()), proof)
    assert now.height == told.ledger.height
    assert [state.value is None for state in proof.states] == [True, False]
    with pytest.raises(ProofError):
        verify_proof(trust_genesis(Genesis(chain="other", time=1, validators=(), state=None)), proof)


def test_a_follower_replays_the_story_to_the_same_hashes(told: Story, tmp_path: Path) -> None:
    follower = FollowerLedger(tmp_path, story_genesis(), registry)
    for data, expected in zip(told.ledger.blocks(1, 1000), told.hashes, strict=True):
        follower.apply(data)
        assert follower.status().app_hash.hex() == expected
    follower.close()


def test_the_story_is_the_same_bytes_when_told_again(told: Story) -> None:
    again = Story().tell()
    assert again.ledger.blocks(1, 1000) == told.ledger.blocks(1, 1000)
    again.ledger.close()


# -- fixtures: ledgers of earlier commits ----------------------------------------------------------------------------


def ledgers() -> list[Path]:
    return sorted(FIXTURES.glob("*.ledger"))


def read(path: Path) -> tuple[Genesis, list[bytes], list[bytes]]:
    content = decode(zlib.decompress(path.read_bytes()), limit=1 << 30)
    assert isinstance(content, list)
    genesis, blocks, hashes = content
    return from_bytes(Genesis, genesis), blocks, hashes  # type: ignore[arg-type, return-value]


def replayed(path: Path, folder: Path) -> FollowerLedger:
    """A follower that has verified and re-executed a fixture."""
    genesis, blocks, hashes = read(path)
    follower = FollowerLedger(folder, genesis, registry)
    for data, expected in zip(blocks, hashes, strict=True):
        follower.apply(data)
        assert follower.status().app_hash == expected
    return follower


def test_there_is_a_fixture() -> None:
    assert ledgers()


@pytest.mark.parametrize("path", ledgers(), ids=lambda path: path.stem)
def test_a_ledger_of_an_earlier_commit_replays_and_verifies(path: Path, tmp_path: Path) -> None:
    follower = replayed(path, tmp_path)
    proof = follower.prove([b"points/supply"], [0])
    verify_proof(trust_genesis(follower.genesis), proof)
    verify(export(follower, key("authority/node")), trust_root=follower.genesis.hash.hex())
    follower.close()
    again = FollowerLedger(tmp_path, follower.genesis, registry)
    assert again.status().app_hash == read(path)[2][-1]
    again.close()


CHILD = """
import json, locale, sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
locale.setlocale(locale.LC_ALL, "")
from test_ledger_story import ledgers, read, replayed
from story_world import Story
found = {"told": Story().tell().hashes}
for path in ledgers():
    with tempfile.TemporaryDirectory() as folder:
        follower = replayed(path, Path(folder))
        found[path.stem] = follower.status().app_hash.hex()
        follower.close()
print(json.dumps(found))
"""
PLACES = (
    {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C"},
    {"PYTHONHASHSEED": "1", "TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8"},
    {"PYTHONHASHSEED": "4294967295", "TZ": "Pacific/Chatham", "LC_ALL": "POSIX", "PYTHONUTF8": "1"},
)


def test_hash_seed_time_zone_and_locale_change_no_app_hash(told: Story) -> None:
    """Each in a process of its own, which tells the story anew and replays every fixture."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(Path(__file__).parent)],
            env=os.environ | place,
            stdout=subprocess.PIPE,
            text=True,
        )
        for place in PLACES
    ]
    found = []
    for child in running:
        said, _nothing = child.communicate(timeout=300)
        assert child.returncode == 0
        found.append(json.loads(said))
    assert found[0] == found[1] == found[2]
    assert found[0]["told"] == told.hashes
    for path in ledgers():
        assert found[0][path.stem] == read(path)[2][-1].hex()
