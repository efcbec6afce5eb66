"""What a person hears at `explain`, before anything runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from fondaco.core.models import Column, Schema
from fondaco.engines.base import BadJob, OutOfRange, leakage
from fondaco.errors import FlowError, FondacoError
from fondaco.flow.planner import Planner, explain, read_document
from fondaco.ledger.contracts.catalog.messages import Dataset, Terms
from fondaco.ledger.contracts.grants.messages import Grant, LookupLimits


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


def summing(shop: list[str], bank: list[str], values: Any, **changes: Any) -> dict[str, Any]:
    return step("mpc", "intersection-sum", shop, bank, parameters={"keys": ["email"], "values": values} | changes)


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
    ("values that are no list", summing(["email"], ["email", "score"], "score"), BadJob, "values is a list"),
    (
        "a value that is not brought",
        summing(["email"], ["email"], [{"party": "bank", "column": "score"}]),
        BadJob,
        "not among those",
    ),
    ("a value that is no reference", summing(["email"], ["email"], ["score"]), BadJob, "each of values must name"),
    (
        "a value without a range",
        summing(["email"], ["email", "income"], [{"party": "bank", "column": "income"}]),
        OutOfRange,
        "no range is declared",
    ),
    (
        "a value that is text",
        summing(["email"], ["email", "city"], [{"party": "bank", "column": "city"}]),
        BadJob,
        "not a number",
    ),
    (
        "a value twice",
        summing(["email"], ["email", "score"], [{"party": "bank", "column": "score"}] * 2),
        BadJob,
        "named twice",
    ),
    ("a minimum that is no number", summing(["email"], ["email"], [], minimum_count="5"), BadJob, "minimum_count"),
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


def test_a_sum_over_a_hidden_match_names_its_keys_and_values_apart_and_what_is_learned() -> None:
    explained = explain(plan(summing(["email"], ["email", "score"], [{"party": "bank", "column": "score"}])))
    (missing,) = explained["missing"]
    assert (missing["keys"], missing["columns"]) == (["email"], ["score"])
    assert missing["operation"] == "mpc.intersection-sum"
    assert "reg" in missing["parties"], "the helper"
    told = explained["steps"][0]
    assert any("not which keys" in line for line in told["learns"])
    assert told["network_mib"] > 100


class Crowd(Market):
    """Many published datasets, all like the bank's or the shop's, and no grants."""

    def newest(self, name) -> Dataset:
        found = super().newest(name if name.org == "shop" else dataclasses.replace(name, org="bank"))
        return dataclasses.replace(found, path=name.path, owner=name.org)


CROWD = [f"bank{i}" for i in range(7)]
EXAMPLES = Path(__file__).parents[2] / "examples"


def many(operation: str, *others: str, **parameters: Any) -> dict[str, Any]:
    """A set operation of the shop, the bank and `others`, which have what the shop has."""
    document = step("psi", operation, ["email"], ["email"], parameters={"keys": ["email"]} | parameters)
    document["parties"] = ["shop", "bank", *others]
    for name in others:
        document["inputs"][name] = {"dataset": f"/{name}/clients/income", "columns": ["email"]}
    return document


def crowded(document: dict[str, Any]):
    planner = Planner(org="shop", key=b"", coordinator="reg", market=Crowd(), now=0)
    return planner.plan({"purpose": "research", "steps": [document]})


@pytest.mark.parametrize("count", [1, 6])
def test_an_intersection_of_many_is_explained_with_what_it_tells(count) -> None:
    found = explain(crowded(many("intersection", *CROWD[:count])))
    (told,) = found["steps"]
    assert "leads" in told["learns"][0]
    assert told["reason"].startswith("star")
    assert told["seconds"] > explain(plan(many("intersection")))["steps"][0]["seconds"]
    assert [m["provider"] for m in found["missing"]] == ["bank", *CROWD[:count]]


@pytest.mark.parametrize("operation", ["difference", "union"])
@pytest.mark.parametrize("count", [1, 6])
def test_a_difference_and_a_union_of_many_are_explained_with_what_they_tell(operation, count) -> None:
    (told,) = explain(crowded(many(operation, *CROWD[:count])))["steps"]
    assert told["learns"] == list(leakage("psi", operation, members=2 + count))
    assert told["learns"] != list(leakage("psi", operation))
    assert told["reason"].startswith("tests on shares")
    (two,) = explain(plan(many(operation)))["steps"]
    assert told["network_mib"] > two["network_mib"]


def test_what_is_not_for_many_is_refused_at_once() -> None:
    for document, cause in (
        (many("intersection", *CROWD), "2 to 8 parties"),
        (many("union", *CROWD), "2 to 8 parties"),
        (many("difference", *CROWD), "2 to 8 parties"),
        (many("cardinality", CROWD[0]), "cardinality is between two"),
        (many("threshold", CROWD[0], at_least=2), "threshold is between two"),
        (many("difference", CROWD[0], security="malicious"), "all must follow the protocol"),
        (many("intersection", CROWD[0], security="malicious"), "all must follow the protocol"),
    ):
        with pytest.raises(BadJob, match=cause):
            crowded(document)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_workflows_of_the_examples_are_sound(path, monkeypatch) -> None:
    document = read_document(path)
    keys = document["steps"][0]["parameters"]["keys"]
    monkeypatch.setattr(f"{__name__}.BANK", tuple(column(name, "text") for name in keys))
    planner = Planner(org=document["steps"][0]["receivers"][0], key=b"", coordinator="reg", market=Crowd(), now=0)
    found = explain(planner.plan(document))
    assert len(found["missing"]) == len(document["steps"][0]["parties"]) - 1
    assert found["steps"][0]["learns"]
    assert found["steps"][0]["reason"]


def test_what_is_missing_comes_with_the_request_that_asks_for_it() -> None:
    (missing,) = explain(plan(statistics("score", "member")))["missing"]
    assert missing["ask"] == (
        "fondaco request /bank/clients/income@1=email/score --operation mpc.statistics --purpose research "
        "--party shop --party bank --party reg --receiver shop --coordinator reg --max-price 7"
    )
    assert missing["granted_version"] == ""


def test_a_grant_for_another_version_is_named() -> None:
    grant = Grant(
        id=bytes(32), request=bytes(32), provider="bank", holder="shop", holder_key=b"", path="/bank/clients/income",
        version=3, commitment=b"", keys=("email",), columns=("score",), operations=("mpc.statistics",),
        purpose="research", parties=("shop", "bank", "reg"), receivers=("shop",), uses_total=1, uses_left=1, price=7,
        expires=10, status="active", basis="review", since=1,
    )  # fmt: skip

    def told(held: Grant) -> str:
        market = Market()
        market.grants_of = lambda _key: [held]
        planner = Planner(org="shop", key=b"", coordinator="reg", market=market, now=0)
        found = planner.plan({"purpose": "research", "steps": [statistics("score", "member")]})
        return explain(found)["missing"][0]["granted_version"]

    assert told(grant) == "/bank/clients/income@3"
    for spent in ({"uses_left": 0}, {"expires": 0}, {"columns": ("rate",)}, {"path": "/bank/clients/other"}):
        assert told(dataclasses.replace(grant, **spent)) == ""


def test_a_workflow_that_could_never_run_is_refused_before_anyone_is_asked_for_a_grant() -> None:
    """Else the points for its requests are set aside, and only then does it turn out."""
    helped = statistics("score", "member")
    planner = Planner(org="shop", key=b"", coordinator="bank", market=Market(), now=0)
    with pytest.raises(FlowError, match="bank brings data to this step and cannot help with it too") as caught:
        planner.plan({"purpose": "research", "steps": [helped]})
    assert 'helper = "none"' in caught.value.remedy
    with pytest.raises(FlowError, match="receivers of a step are one or more"):
        plan(helped | {"receivers": []})
    with pytest.raises(FlowError, match="step ids are 1 to 64"):
        plan(helped | {"id": "s" * 65})
    with pytest.raises(FlowError, match=r"a workflow has 1 to \d+ steps"):
        Planner(org="shop", key=b"", coordinator="reg", market=Market(), now=0).plan(
            {"purpose": "research", "steps": []}
        )


def test_a_grant_for_fewer_keys_than_a_lookup_asks_is_named() -> None:
    grant = Grant(
        id=bytes(32), request=bytes(32), provider="bank", holder="shop", holder_key=b"", path="/bank/clients/income",
        version=1, commitment=b"", keys=("email", "income"), columns=(), operations=("pir.lookup",),
        purpose="research", parties=("shop", "bank", "reg"), receivers=("shop",), uses_total=1, uses_left=1, price=7,
        expires=10, status="active", basis="review", since=1,
    )  # fmt: skip
    market = Market()
    market.grants_of = lambda _key: [grant]
    market.limits_of = lambda _grant: LookupLimits(most_keys=3, keys_a_day=0)

    def missing(most_keys: int) -> list[dict[str, Any]]:
        planner = Planner(org="shop", key=b"", coordinator="reg", market=market, now=0)
        parameters = {"keys": ["email"], "most_keys": most_keys}
        asked = step("pir", "lookup", ["email"], ["email", "income"], parameters=parameters)
        found: list[dict[str, Any]] = explain(planner.plan({"purpose": "research", "steps": [asked]}))["missing"]
        return found

    assert missing(3) == []
    (one,) = missing(4)
    assert one["granted_keys"] == 3
