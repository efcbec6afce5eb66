"""What a person hears at `explain`, before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from fondaco.core.models import Column, Schema
from fondaco.engines.base import BadJob, OutOfRange
from fondaco.errors import FlowError, FondacoError
from fondaco.flow.planner import Planner, explain
from fondaco.ledger.contracts.catalog.messages import Dataset, Terms


def column(name: str, kind: str, low: int | None = None, high: int | None = None, scale: int = 0) -> Column:
    return Column(
        name=name, type=kind, unit="", classification="internal", nullable=True, minimum=low, maximum=high, scale=scale
    )


SHOP = (column("email", "text"), column("member", "bool"), column("city", "text"), column("spend", "int64", 1, 500))
BANK = (
    column("email", "text"),
    column("customer", "int64"),
    column("income", "int64"),
    column("score", "int64", 0, 1000),
    column("city", "text"),
    column("rate", "int64", -5, 5),
    column("wide", "int64", -(1 << 61), 1 << 61),
)


class Market:
    """Two published datasets and no grants."""

    def newest(self, name) -> Dataset:
        terms = Terms(operations=("*",), purposes=("*",), price=7, minimum_rows=0, minimum_count=0, rules=())
        columns = {"shop": SHOP, "bank": BANK}[name.org]
        return Dataset(
            path=name.path, version=1, owner=name.org, title="", description="", terms=terms, commitment=b"", since=1,
            schema=Schema(columns=columns, key=()), rows=1_000_000, status="published",
        )  # fmt: skip

    def grants_of(self, _key: bytes) -> list:
        return []

    def limits_of(self, _grant: bytes) -> None:
        return None


def plan(step: dict[str, Any]):
    planner = Planner(org="shop", key=b"", coordinator="reg", market=Market(), now=0)
    return planner.plan({"purpose": "research", "steps": [step]})


def step(engine: str, operation: str, shop: list[str], bank: list[str], **changes: Any) -> dict[str, Any]:
    return {
        "id": "one", "engine": engine, "operation": operation, "parties": ["shop", "bank"], "receivers": ["shop"],
        "inputs": {
            "shop": {"dataset": "/shop/sales/buyers", "columns": shop},
            "bank": {"dataset": "/bank/clients/income", "columns": bank},
        },
    } | changes  # fmt: skip


def statistics(value: str, group: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    named = {
        "keys": ["email"],
        "value": {"party": "bank", "column": value},
        "group": {"party": "shop", "column": group},
    }
    return step("mpc", "statistics", ["email", group], ["email", value], parameters=named | (parameters or {}))


def arithmetic(operation: str, right: str) -> dict[str, Any]:
    parameters = {
        "operation": operation,
        "left": {"party": "shop", "column": "spend"},
        "right": {"party": "bank", "column": right},
    }
    return step("mpc", "arithmetic", ["spend"], [right], parameters=parameters)


REFUSED: list[tuple[str, dict[str, Any], type[FondacoError], str]] = [
    ("no range", statistics("income", "member"), OutOfRange, "no range is declared"),
    ("no groups", statistics("score", "city"), BadJob, "groups of a column of type text are not named"),
    ("not a number", statistics("city", "member"), BadJob, "is not a number"),
    ("a count that is none", statistics("score", "member", {"minimum_count": True}), BadJob, "minimum_count is a number"),
    ("no column", statistics("score", "member", {"value": {"party": "bank", "column": "x"}}), BadJob, "not among those"),
    ("no party", statistics("score", "member", {"value": {"party": "reg", "column": "x"}}), BadJob, "must name a party"),
    ("no keys", step("psi", "intersection", ["email"], ["email"]), BadJob, "no key columns"),
    (
        "a key that one lacks",
        step("psi", "intersection", ["email", "member"], ["email"], parameters={"keys": ["member"]}),
        BadJob,
        "not brought by every party",
    ),
    (
        "a value beside the keys",
        step("psi", "intersection", ["email"], ["email", "score"], parameters={"keys": ["email"]}),
        BadJob,
        "brings its keys alone",
    ),
    (
        "a receiver that is no party",
        step("psi", "intersection", ["email"], ["email"], parameters={"keys": ["email"]}, receivers=["reg"]),
        FlowError,
        "reg receives but is no party",
    ),
    ("overflow", arithmetic("multiply", "wide"), OutOfRange, "could overflow the ring"),
    ("a divisor that may be zero", arithmetic("divide", "rate"), OutOfRange, "holds zero"),
    ("an unknown operation", arithmetic("power", "score"), BadJob, "operation is one of"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "error", "cause"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
def test_what_the_engine_would_refuse_is_refused_at_once(document, error, cause) -> None:
    with pytest.raises(error, match=cause):
        plan(document)


def test_keys_that_never_match_by_their_types_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(f"{__name__}.SHOP", (column("customer", "text"),))
    document = step("psi", "intersection", ["customer"], ["customer"], parameters={"keys": ["customer"]})
    with pytest.raises(BadJob, match="int64 and text, which never match"):
        plan(document)


def test_sound_steps_are_explained_with_their_price_and_cost() -> None:
    three = explain(plan(statistics("score", "member")))
    two = explain(plan(statistics("score", "member") | {"helper": "none"}))
    assert three["price"] == two["price"] == 7
    assert [m["provider"] for m in three["missing"]] == ["bank"]
    assert (three["steps"][0]["helper"], two["steps"][0]["helper"]) == ("reg", "")
    assert two["steps"][0]["seconds"] > three["steps"][0]["seconds"], "two parties without a helper pay for it in time"
    assert explain(plan(arithmetic("multiply", "score")))["ready"] is False
