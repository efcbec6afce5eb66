"""Certificates: one for each use that was settled, saying what was used; once revoked, never valid again."""

from __future__ import annotations

import pytest
from deal_world import BUYER, COORDINATOR, Deals, formula, path_of

from fondaco.ledger.contracts.certificates import keys
from fondaco.ledger.contracts.certificates import messages as m


@pytest.fixture
def deals() -> Deals:
    return Deals()


def of(deals: Deals, task: bytes) -> list[dict]:
    return [row for row in deals.world.query("certificates/certificates") if row["task"] == task]


def test_a_task_that_has_not_settled_has_no_certificate(deals) -> None:
    assert of(deals, deals.finished("seller-a")) == []


def test_each_use_is_certified_with_all_that_was_used(deals) -> None:
    deals.set_formula(formula(window=2))
    task = deals.settled("seller-a", "seller-b")
    height = deals.world.height - 1
    by_provider = {row["provider"]: row for row in of(deals, task)}
    assert sorted(by_provider) == ["seller-a", "seller-b"]
    found = m.Certificate(**{k: tuple(v) if isinstance(v, list) else v for k, v in by_provider["seller-b"].items()})
    assert (found.holder, found.holder_key) == (BUYER, deals.key(BUYER, "analyst"))
    assert (found.path, found.version, found.commitment) == (path_of("seller-b"), 1, bytes(32))
    assert (found.columns, found.operations, found.programs) == (("k",), ("psi.intersection",), (b"\1" * 32,))
    assert (found.purpose, found.cost, found.height, found.time) == ("study", 20, height, deals.world.time)
    assert found.id == keys.certificate_id(task, found.grant)
    assert found.status == "valid"


def test_the_provider_alone_revokes_for_a_cause_and_once(deals) -> None:
    task = deals.settled("seller-a")
    (one,) = of(deals, task)
    revoke = m.RevokeCertificate(certificate=one["id"], cause="used for more than the study")
    before = deals.balances()
    for org, role in ((BUYER, "reviewer"), ("seller-b", "reviewer"), ("seller-a", "analyst"), (COORDINATOR, "node")):
        deals.world.refused(revoke, deals.key(org, role))
    reviewer = deals.key("seller-a", "reviewer")
    for cause in ("", "two\nlines", "x" * 201):
        deals.world.refused(m.RevokeCertificate(certificate=one["id"], cause=cause), reviewer)
    deals.world.refused(m.RevokeCertificate(certificate=bytes(32), cause="it"), reviewer)
    deals.world.send(revoke, reviewer)
    deals.world.refused(revoke, reviewer)
    (now,) = of(deals, task)
    assert now == one | {
        "status": "revoked",
        "revoked": deals.world.height - 1,
        "by": "seller-a",
        "cause": revoke.cause,
    }
    assert deals.balances() == before
