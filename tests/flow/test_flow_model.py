"""What a workflow may not say."""

from __future__ import annotations

import dataclasses

import pytest

from fondaco.errors import FlowError
from fondaco.flow.model import Input, Step, Workflow, check_workflow


def bring(*columns: str) -> tuple[Input, Input]:
    return (
        Input(party="us", dataset="/us/d/rows@1", columns=columns, grant=None),
        Input(party="them", dataset="/them/d/rows@1", columns=columns, grant="00" * 32),
    )


MATCH = Step(
    id="match", engine="psi", operation="intersection", parameters={"keys": ["a", "b"]}, parties=("us", "them"),
    helper=None, inputs=bring("a", "b"), match=None, receivers=("us", "them"),
)  # fmt: skip
PARAMETERS = {
    "keys": ["a", "b"], "value": {"party": "us", "column": "v"}, "group": {"party": "them", "column": "g"},
}  # fmt: skip
NUMBERS = dataclasses.replace(
    MATCH, id="numbers", engine="mpc", operation="statistics", parameters=PARAMETERS, helper="coord",
    inputs=(dataclasses.replace(bring("a", "b", "v")[0]), bring("a", "b", "g")[1]), match="match", receivers=("us",),
)  # fmt: skip


def workflow(*steps: Step) -> Workflow:
    return Workflow(title="", purpose="study", initiator="us", coordinator="coord", steps=steps)


def test_statistics_over_a_match_are_sound() -> None:
    assert check_workflow(workflow(MATCH, NUMBERS))


@pytest.mark.parametrize("keys", [["a"], ["a", "b", "v"], ["b", "a"], [], None])
def test_rows_are_aligned_by_the_very_keys_that_were_matched(keys) -> None:
    """By fewer keys, rows that did not match would be counted with those that did."""
    step = dataclasses.replace(NUMBERS, parameters=PARAMETERS | {"keys": keys})
    with pytest.raises(FlowError, match="same keys"):
        check_workflow(workflow(MATCH, step))


def test_an_intersection_takes_no_match() -> None:
    again = dataclasses.replace(MATCH, id="again", match="match")
    with pytest.raises(FlowError, match="no match"):
        check_workflow(workflow(MATCH, again))


@pytest.mark.parametrize(
    "grant", ["AB" * 32, "aB" * 32, " " + "ab" * 32, "ab" * 16 + " " + "ab" * 16, "ab" * 31, "zz" * 32, ""]
)
def test_a_grant_has_one_name(grant) -> None:
    """By two names of one grant what is counted for it would be counted twice, or its uses be taken for two grants'."""
    ours, theirs = MATCH.inputs
    step = dataclasses.replace(MATCH, inputs=(ours, dataclasses.replace(theirs, grant=grant)))
    with pytest.raises(FlowError, match="64 hexadecimal digits"):
        check_workflow(workflow(step))


def other(**changes) -> Step:
    return dataclasses.replace(NUMBERS, id="other", **changes)


@pytest.mark.parametrize(
    "step",
    [
        other(parameters=PARAMETERS | {"group": {"party": "them", "column": "h"}}),
        other(parameters=PARAMETERS | {"groups": ["x"]}),
        other(parameters=PARAMETERS | {"minimum_count": 3}),
        other(match="again"),
        other(operation="pooled-statistics", match=None, parameters={"value": "v"}),
        other(),
    ],
)
def test_figures_of_one_task_cannot_be_subtracted_from_one_another(step) -> None:
    again = dataclasses.replace(MATCH, id="again")
    with pytest.raises(FlowError, match="subtracted"):
        check_workflow(workflow(MATCH, again, NUMBERS, step))


def test_figures_of_other_values_by_the_same_groups_are_sound() -> None:
    more = other(parameters=PARAMETERS | {"value": {"party": "us", "column": "w"}})
    assert check_workflow(workflow(MATCH, NUMBERS, more))


HIDDEN = dataclasses.replace(
    NUMBERS, id="hidden", operation="intersection-sum", match=None,
    parameters={"keys": ["a", "b"], "minimum_count": 5, "values": [{"party": "them", "column": "g"}]},
)  # fmt: skip


def hidden(**changes) -> Step:
    return dataclasses.replace(HIDDEN, id="other", **changes)


def test_a_hidden_match_takes_no_match() -> None:
    assert check_workflow(workflow(HIDDEN))
    with pytest.raises(FlowError, match="no match"):
        check_workflow(workflow(MATCH, dataclasses.replace(HIDDEN, match="match")))


@pytest.mark.parametrize(
    "step",
    [
        hidden(),
        hidden(parameters=HIDDEN.parameters | {"keys": ["a"]}),
        hidden(parameters=HIDDEN.parameters | {"minimum_count": 4}),
        hidden(parameters=PARAMETERS, operation="circuit-statistics"),
        hidden(
            parameters=HIDDEN.parameters | {"values": []},
            inputs=(dataclasses.replace(HIDDEN.inputs[0], dataset="/us/d/fewer@1"), HIDDEN.inputs[1]),
        ),
    ],
)
def test_sums_of_one_task_cannot_be_subtracted_from_one_another(step) -> None:
    """Of other rows of the asker's, or by other keys, another match is made: the difference would be of few."""
    with pytest.raises(FlowError, match="subtracted"):
        check_workflow(workflow(HIDDEN, step))


def test_sums_of_other_values_over_one_hidden_match_are_sound() -> None:
    values = [{"party": "us", "column": "v"}]
    assert check_workflow(workflow(HIDDEN, hidden(parameters=HIDDEN.parameters | {"values": values})))
