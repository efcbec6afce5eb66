"""The receipt of a disputed task: certificate, dispute and money linked to it, and nothing of it can be changed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_audit_bundle import _every_change

from fondaco.core.codec import encode
from fondaco.errors import ProofError
from fondaco.ledger.audit.__main__ import to_text
from fondaco.ledger.audit.bundle import export
from fondaco.ledger.audit.format import DOMAIN
from fondaco.ledger.audit.verify import CHECKS, Verified, verify
from fondaco.ledger.contracts.disputes.messages import Open

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import fifth_institution as story

EXPORTER = "weather/node"


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[story.Consortium, bytes, bytes]]:
    """The fifth institution's two uses: one that was paid, one whose dispute is open still."""
    chain = story.Consortium()
    story.admit(chain)
    grant = story.sell(chain)
    first = story.use(chain, grant)
    chain.wait(story.WINDOW)
    second = story.use(chain, grant)
    yield chain, first, second
    chain.close()


def bundle(chain: story.Consortium, task: bytes | None = None) -> tuple[bytes, Verified]:
    chain.wait(2)
    data = export(chain, story.key(EXPORTER), task=task)
    return data, verify(data, trust_root=chain.genesis.hash.hex())


def test_held_frozen_and_judged_each_have_their_receipt(told) -> None:
    chain, first, second = told
    held = bundle(chain, second)[1].receipts[0]
    assert (held.owed, held.paid, held.held, held.dispute, held.outcome) == (100, 0, 100, (), "")
    chain.do(Open(task=second, cause="it is of another year"), "airline/analyst")
    frozen = bundle(chain, second)[1].receipts[0]
    assert (frozen.paid, frozen.held, len(frozen.dispute), frozen.outcome) == (0, 100, 3, "")  # opened, two drawn
    record = chain.record("disputes/dispute", second)
    for name in record["arbiters"]:
        vote = story.CastVote(by=str(name), task=second, refund=2_500, revoke=True)
        chain.do(vote, f"{name}/governor")
    data, report = bundle(chain)
    assert report.complete
    paid, judged = report.receipts
    assert (paid.owed, paid.paid, paid.refunded, paid.outcome, len(paid.certificates)) == (100, 100, 0, "", 1)
    assert (judged.owed, judged.paid, judged.refunded, judged.held) == (100, 75, 25, 0)
    assert (judged.outcome, len(judged.dispute), len(judged.revoked)) == ("split", 6, 1)
    assert judged.certificates[0] < judged.settled < judged.dispute[0] < judged.revoked[0]
    text = to_text(report)
    assert "100 of 100 points paid by price, 1 uses certified" in text
    assert "disputed: split, 1 certificates revoked" in text
    one = bundle(chain, second)[1].receipts[0]
    places = ("settlement", "dispute", "certificates", "revoked", "outcome", "paid", "refunded")
    assert [getattr(one, name) for name in places] == [getattr(judged, name) for name in places]
    tried = 0
    for place, changed in _every_change(data):
        if place == ("complete",) or tried % 12:
            tried += 1
            continue
        tried += 1
        body = encode(changed)
        forged = encode({"content": body, "signature": story.key(EXPORTER).sign(DOMAIN, body)})
        with pytest.raises(ProofError) as caught:
            verify(forged, trust_root=chain.genesis.hash.hex())
        assert caught.value.check in CHECKS, place
    assert tried > 1_000
