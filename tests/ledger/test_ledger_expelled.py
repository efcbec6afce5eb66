"""What an expelled institution's keys sign is refused at the door, by name; what old blocks hold of it is executed as ever."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_world import START, VALIDATOR, consortium_genesis, key, nonce
from ledger_world import organisation as spec_of
from story_world import FIFTH, FOUNDERS, RULES, Story, validator

from fondaco.core.messages import from_value, to_value
from fondaco.ledger.admission import Expelled, Stranger
from fondaco.ledger.contracts import registry
from fondaco.ledger.contracts.governance import messages as g
from fondaco.ledger.contracts.identity.messages import Join
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.points.messages import Transfer
from fondaco.ledger.embedded import EmbeddedLedger
from fondaco.ledger.follower import FollowerLedger
from fondaco.ledger.transactions import build

KEYS = ("admin", "node", "user", "validator")


@pytest.fixture(scope="module")
def expelled() -> Iterator[Story]:
    """Four institutions that have expelled a fifth, which had a validator."""
    story = Story()
    story.admit()
    story.seat()
    story.decide(g.Expel(organisation=FIFTH, forfeit=False), *FOUNDERS)
    yield story
    story.ledger.close()


def pay(story: Story, signer: str, source: str = FIFTH) -> bytes:
    """A payment of the source, signed by this key."""
    return story.tx(Transfer(source=source, target="authority", amount=1, sequence=1), signer)


@pytest.mark.parametrize("use", KEYS)
def test_no_key_of_an_expelled_institution_gets_a_transaction_into_a_block(expelled: Story, use: str) -> None:
    app, tx, other = expelled.ledger._app, pay(expelled, f"{FIFTH}/{use}"), pay(expelled, "weather/user", "weather")
    assert key(f"{FIFTH}/validator").public == validator(FIFTH).public
    with pytest.raises(Expelled, match=f"{FIFTH}, whose key") as caught:
        app.check_tx(tx)
    assert (caught.value.code, caught.value.details["organisation"]) == ("ledger.expelled", FIFTH)
    assert app.prepare_proposal([tx, other]) == [other]
    app.process_proposal([other])
    with pytest.raises(Expelled):
        app.process_proposal([other, tx])


def test_its_old_key_may_still_sign_a_join_by_an_open_invitation(expelled: Story) -> None:
    """As execution has it: whose hand an invitation comes to is not asked, and a new name is a new institution."""
    app, guest = expelled.ledger._app, key("second/invitation")
    body = g.Admit(organisation="second", kind="member", key=guest.public.raw, certificate=b"c", expires=START + 86_400)
    join = Join(invitation=guest.public.raw, organisation=spec_of("second"))
    signers = (f"{FIFTH}/admin", "second/invitation", "second/admin", "second/node", "second/user")
    with pytest.raises(Expelled):
        app.check_tx(expelled.tx(join, *signers))
    expelled.decide(body, *FOUNDERS[:3])
    app.check_tx(expelled.tx(join, *signers))
    with pytest.raises(Expelled):
        app.check_tx(expelled.tx(Transfer(source=FIFTH, target="second", amount=1, sequence=1), *signers))


def test_who_was_never_here_is_a_stranger_and_not_expelled(expelled: Story) -> None:
    with pytest.raises(Stranger, match="bound to nobody here") as caught:
        expelled.ledger._app.check_tx(pay(expelled, "nobody/user"))
    assert not isinstance(caught.value, Expelled)


def test_what_a_block_holds_of_an_expelled_institution_is_executed_as_before(expelled: Story) -> None:
    """The door is no rule of execution: blocks that earlier software made give the same results."""
    before = expelled.ledger.status().app_hash
    (result,) = expelled.block(pay(expelled, f"{FIFTH}/user"))
    assert (result.code, result.codespace, result.error) == (2, "identity", "ledger.identity.denied")
    assert expelled.ledger.status().app_hash != before, "that it was executed is noted"


def test_a_follower_takes_a_decided_block_that_holds_some(expelled: Story, tmp_path: Path) -> None:
    """An older release let it in, and more than two thirds signed: whoever comes later must be able to follow."""
    expelled.block(pay(expelled, f"{FIFTH}/node"), pay(expelled, "nobody/user"))
    ledger = expelled.ledger
    with contextlib.closing(FollowerLedger(tmp_path, ledger.genesis, registry)) as follower:
        for height in range(1, ledger.height + 1):
            follower.apply(ledger.block(height) or b"")
        assert follower.status().app_hash == ledger.status().app_hash
        with pytest.raises(Expelled):
            follower._app.process_proposal([pay(expelled, f"{FIFTH}/node")])


# -- the drivers -------------------------------------------------------------------------------------------------------


def test_what_waits_when_its_author_is_expelled_is_refused_with_that_cause(tmp_path: Path) -> None:
    found = consortium_genesis()
    seat = g.Seat(organisation="weather", key=key(VALIDATOR).public.raw, power=1)
    rules = dataclasses.replace(RULES, deliberation=0, execution=0, deposit=0)
    state = dataclasses.replace(from_value(registry.GenesisState, found.state), rules=rules, seats=(seat,))
    ledger = EmbeddedLedger(tmp_path, dataclasses.replace(found, state=to_value(state)), registry, key(VALIDATOR))

    def tx(msg: object, name: str) -> bytes:
        return build(ledger.chain_id, msg, (key(f"{name}/user"),), nonce=nonce(), expires=ledger.height + 100)

    body = to_value(g.Expel(organisation="airline", forfeit=False))
    made = ledger.submit(tx(g.Propose(by="weather", title="t", kind="governance.expel/1", body=body), "weather"))
    proposal = derive("proposal", made.result(30).tx)
    *votes, decisive = (
        tx(g.Vote(by=name, proposal=proposal, choice="yes", sequence=1), name)
        for name in ("airline", "weather", "authority")
    )
    assert [ledger.submit(vote).result(30).result.code for vote in votes] == [0, 0]
    late = tx(Transfer(source="airline", target="weather", amount=1, sequence=1), "airline")
    with ledger.lock:  # the block of the last vote is not made yet when the payment comes to wait for the next
        last = ledger.submit(decisive)
        deadline = time.monotonic() + 30
        while ledger._waiting:
            assert time.monotonic() < deadline, "the maker did not take the vote"
            time.sleep(0.01)
        waits = ledger.submit(late)
    assert last.result(30).result.code == 0
    with pytest.raises(Expelled, match="airline, whose key"):
        waits.result(30)
    with pytest.raises(Expelled):
        ledger.submit(tx(Transfer(source="airline", target="weather", amount=1, sequence=1), "airline"))
    ledger.stop()
