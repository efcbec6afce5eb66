"""What a steward gets wrong when publishing, asking and inviting is refused by name, before the ledger has it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from test_governance_verbs import Ask, alone

from fondaco.errors import DeadlineExceeded, FondacoError, NodeError, UsageError
from fondaco.node import ledgers, setup
from fondaco.node.verbs import words

NAME = "/port/calls/ships"
TERMS: dict[str, Any] = {"title": "ships", "operations": ["psi.intersection"], "purposes": ["research"]}
RULE: dict[str, Any] = {"organisations": ["*"], "operations": ["*"], "purposes": ["*"]}


async def imported(ask: Ask, folder: Path, *, times: int = 1) -> None:
    """The same ships, so many times under one name."""
    (folder / "ships.csv").write_text("imo,hours\n9074729,12\n9305623,40\n")
    for _ in range(times):
        await ask("import", source=str(folder / "ships.csv"), name=NAME)


@pytest.mark.parametrize(
    ("changed", "cause", "remedy"),
    [
        ({"operations": ["psi.intersectoin"]}, "no engine does psi.intersectoin", "did you mean psi.intersection"),
        ({"operations": ["sum"]}, "no engine does sum", "give some of"),
        ({"purposes": ["fraud check"]}, "'fraud check' cannot be a purpose", "one word"),
        ({"rules": [{"organisation": ["mill"], **RULE}]}, "permission 1: there is no field organisation", "lists"),
        ({"rules": [RULE, {"organisations": ["*"]}]}, "permission 2: operations is missing", "lists"),
        ({"rules": [RULE | {"organisations": "mill"}]}, "organisations is not a list of text", "lists"),
        ({"rules": [RULE | {"uses": "many"}]}, "uses is not a whole number", "whole numbers"),
        ({"rules": [RULE | {"days": 0}]}, "days is not a whole number of 1 or more", "whole numbers"),
        ({"rules": [RULE | {"operations": ["pir.lokup"]}]}, "no engine does pir.lokup", "pir.lookup"),
    ],
)
def test_terms_that_nobody_could_use_are_not_published(
    tmp_path: Path, changed: dict[str, Any], cause: str, remedy: str
) -> None:
    async def work(ask: Ask) -> None:
        await imported(ask, tmp_path)
        height = (await ask("status"))["height"]
        for verb in ("publish", "terms"):
            if verb == "terms":
                await ask("publish", name=NAME, **TERMS)
                height = (await ask("status"))["height"]
            with pytest.raises(UsageError) as caught:
                await ask(verb, name=NAME, **(TERMS | changed))
            assert cause in caught.value.cause
            assert remedy in caught.value.remedy
            assert (await ask("status"))["height"] == height

    alone(tmp_path / "port", work)


def test_a_rule_lasts_and_counts_as_it_says() -> None:
    (made,) = words.rules([RULE | {"keys": ["imo"], "uses": 3}])
    assert (made.organisations, made.keys, made.columns, made.uses) == (("*",), ("imo",), (), 3)


def test_who_imported_twice_is_told_which_version_is_next(tmp_path: Path) -> None:
    async def work(ask: Ask) -> None:
        await imported(ask, tmp_path, times=2)
        with pytest.raises(NodeError, match="in their order, and 1 is next") as caught:
            await ask("publish", name=NAME, **TERMS)
        assert f"{NAME}@1" in caught.value.remedy
        for version in (1, 2):
            assert (await ask("publish", name=f"{NAME}@{version}", **TERMS))["name"] == f"{NAME}@{version}"
        with pytest.raises(UsageError, match="a version is withdrawn"):
            await ask("withdraw", name=NAME)
        await ask("withdraw", name=f"{NAME}@1")

    alone(tmp_path / "port", work)


def test_what_is_not_published_is_named_as_it_was_written(tmp_path: Path) -> None:
    async def work(ask: Ask) -> None:
        for verb, arguments in (
            ("terms", {"name": NAME}),
            ("offer", {"dataset": NAME, "operations": ["psi.union"], "purposes": ["research"]}),
            ("request", {"datasets": [{"name": NAME}], "operations": ["psi.union"], "purpose": "x", "parties": []}),
        ):
            with pytest.raises(FondacoError) as caught:
                await ask(verb, **arguments)
            assert caught.value.cause == f"{NAME} is not published"
            assert "fondaco search" in caught.value.remedy

    alone(tmp_path / "port", work)


def test_an_invitation_whose_file_cannot_be_written_is_not_made(tmp_path: Path) -> None:
    async def work(ask: Ask) -> None:
        (tmp_path / "there").write_text("other")
        height = (await ask("status"))["height"]
        for file, cause in ((tmp_path / "there", "a file of this name"), (tmp_path / "no" / "x", "no such file")):
            with pytest.raises(NodeError, match=cause):
                await ask("invite", organisation="mill", file=str(file))
            with pytest.raises(NodeError, match=cause):
                await ask("governance-propose", kind="admit", body={"organisation": "mill", "file": str(file)})
        assert (tmp_path / "there").read_text() == "other"
        assert (await ask("status"))["height"] == height
        with pytest.raises(FondacoError, match="there already"):
            await ask("invite", organisation="port", file=str(tmp_path / "refused"))
        assert not (tmp_path / "refused").exists()
        with pytest.raises(UsageError, match="an institution is no judge"):
            await ask("invite", organisation="mill", kind="judge", file=str(tmp_path / "refused"))
        with pytest.raises(UsageError, match="an admission lacks organisation and file"):
            await ask("governance-propose", kind="admit", body={})

    alone(tmp_path / "port", work)


def test_a_transaction_that_no_block_takes_in_time_is_late_and_not_lost_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(ask: Ask) -> None:
        monkeypatch.setattr(ledgers, "SUBMIT_SECONDS", 0)
        with pytest.raises(DeadlineExceeded, match="no block has the transaction yet") as caught:
            await ask("mint", amounts={"port": 1})
        assert "validator" in caught.value.remedy

    alone(tmp_path / "port", work)


def test_a_refusal_says_what_to_do(tmp_path: Path) -> None:
    async def work(ask: Ask) -> None:
        with pytest.raises(ledgers.Rejected) as caught:
            await ask("vote", proposal="00" * 32)
        assert "give ids whole" in caught.value.remedy
        with pytest.raises(ledgers.Rejected) as caught:
            await ask("mint", amounts={"nobody": 1})
        assert "check the name" in caught.value.remedy

    alone(tmp_path / "port", work)


def test_a_used_invitation_is_named_as_such(tmp_path: Path) -> None:
    async def work(ask: Ask) -> None:
        await ask("invite", organisation="mill", file=str(tmp_path / "mill.invitation"))
        read = setup.read_invitation(tmp_path / "mill.invitation")
        folders = [
            setup.new_folder(tmp_path / name, org="mill", title="The Mill", kind="member", host="127.0.0.1", port=9)
            for name in ("first", "second")
        ]
        await asyncio.to_thread(setup.join, folders[0], read)
        with pytest.raises(FondacoError, match="the invitation was used before"):
            await asyncio.to_thread(setup.join, folders[1], read)
        other = setup.new_folder(
            tmp_path / "other", org="mill", title="The Mill", kind="regulator", host="127.0.0.1", port=9
        )
        with pytest.raises(NodeError, match=r"for mill \(member\), and this node is of mill \(regulator\)"):
            setup.join(other, read)

    alone(tmp_path / "port", work)


def test_a_column_that_is_not_there_is_named_when_it_is_asked_for(tmp_path: Path) -> None:
    async def work(ask: Ask) -> None:
        await imported(ask, tmp_path)
        await ask("publish", name=NAME, **TERMS)
        wanted: dict[str, Any] = {"operations": ["psi.intersection"], "purpose": "research", "parties": ["port"]}
        with pytest.raises(FondacoError, match="no such column") as caught:
            await ask("request", datasets=[{"name": NAME, "keys": ["imoo"]}], **wanted)
        assert caught.value.details["column"] == "imoo"
        assert "choose one of: imo, hours" in caught.value.remedy
        with pytest.raises(UsageError, match=f"no column of {NAME} is asked for"):
            await ask("request", datasets=[{"name": NAME}], **wanted)

    alone(tmp_path / "port", work)


@pytest.mark.parametrize(
    ("kind", "body", "cause", "remedy"),
    [
        ("expel", {"organisation": "mill"}, "missing fields ['forfeit']", "forfeit (bool)"),
        ("division", {"method": "price", "windows": 3}, "unknown fields ['windows']", "window (int)"),
        ("parameters", {"votign": 3}, "unknown fields ['votign']", "voting (int)"),
    ],
)
def test_a_body_of_other_fields_is_told_its_fields(
    tmp_path: Path, kind: str, body: dict[str, Any], cause: str, remedy: str
) -> None:
    async def work(ask: Ask) -> None:
        height = (await ask("status"))["height"]
        with pytest.raises(UsageError) as caught:
            await ask("governance-propose", kind=kind, body=body)
        assert cause in caught.value.cause
        assert remedy in caught.value.remedy
        assert (await ask("status"))["height"] == height

    alone(tmp_path / "port", work)


def test_a_question_that_nothing_can_answer_is_not_answered_with_no_events(tmp_path: Path) -> None:
    async def work(ask: Ask) -> None:
        for selection, cause in (
            ({"kind": "grantz.used"}, "no event is of the kind grantz.used"),
            ({"dataset": "ships"}, "not the name of a dataset"),
        ):
            with pytest.raises(FondacoError, match=cause):
                await ask("audit-query", **selection)
        assert (await ask("audit-query", kind="grants.used", dataset=NAME))["events"] == []
        assert (await ask("audit-query", kind="ledger"))["seen_as"] == "member port"

    alone(tmp_path / "port", work)


def test_the_status_says_what_the_ledger_has_the_institution_as(tmp_path: Path) -> None:
    async def work(ask: Ask) -> None:
        assert (await ask("status"))["standing"] == "active"

    alone(tmp_path / "port", work)
