"""A task that came to no result, disputed under the second version of the rules: its receipt, in a bundle that verifies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ledger_world import key
from story_world import FIFTH, PRICE, SERVICE, Story

from fondaco.core.messages import from_value
from fondaco.ledger.audit.bundle import export
from fondaco.ledger.audit.format import Receipt
from fondaco.ledger.audit.verify import verify
from fondaco.ledger.contracts.disputes import messages as disputes
from fondaco.ledger.contracts.tasks import messages as t


@pytest.fixture
def story() -> Iterator[Story]:
    """The fifth has sold."""
    made = Story()
    made.admit()
    made.seat()
    made.reform()
    made.sell()
    yield made
    made.ledger.close()


def unfinished(story: Story) -> bytes:
    """A task of which the fifth began, and that then failed and was given up."""
    task = story.propose_task(story.grant)
    story.block(*(story.tx(t.Accept(task=task), f"{name}/node") for name in ("airline", FIFTH, "authority")))
    story.do(t.Run(task=task, attempt=1), "authority/node")
    story.do(t.Begin(task=task, attempt=1, step="statistics"), f"{FIFTH}/node")
    failed = t.Fail(task=task, attempt=1, step="statistics", party=FIFTH, reason="silent", cause="no answer")
    story.do(failed, "authority/node")
    story.do(t.Abandon(task=task), "authority/node")
    return task


def receipt(story: Story, task: bytes) -> Receipt:
    story.idle(2)
    report = verify(export(story.ledger, key("weather/node")), trust_root=story.ledger.genesis.hash.hex())
    assert report.complete
    (found,) = [one for one in report.receipts if one.task == task]
    return found


def test_an_unfinished_task_has_a_receipt_while_it_is_held_frozen_and_judged(story: Story) -> None:
    task, owed = unfinished(story), PRICE + SERVICE
    held = receipt(story, task)
    assert (held.status, held.owed, held.paid, held.held, held.settled) == ("abandoned", owed, 0, owed, None)
    story.do(disputes.Open(task=task, cause="it began and sent nothing"), "airline/user")
    frozen = receipt(story, task)
    assert (frozen.paid, frozen.held, frozen.certificates, len(frozen.dispute) > 1) == (0, owed, (), True)
    for name in from_value(disputes.Dispute, story.ledger.query("disputes/dispute", {"id": task})).arbiters:
        story.do(disputes.CastVote(by=name, task=task, refund=7_500, revoke=True), f"{name}/user")
    judged = receipt(story, task)
    assert (judged.outcome, judged.refunded, judged.paid) == ("split", owed * 3 // 4, owed - owed * 3 // 4)
    assert (judged.held, judged.certificates, judged.revoked) == (0, (), ())
