"""What each granted dataset of a task contributed, counted by the initiator from the matches that it received.

For workflows that match keys: v(S) is how many of the initiator's own keys the datasets of coalition S cover together.
The initiator knows the matches already, so it learns nothing by counting; what is *published* are the 2^n counts, or
n + 2 for leave-one-out; every member of the consortium reads them on the ledger. Where a count of keys that exactly
some of the datasets cover is above zero and below the largest `minimum_count` of their terms, nothing is published.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import pyarrow as pa

from fondaco.core.contribution import METHODS, MOST_DATASETS, SHAPLEY, coalitions, contributions, coverage
from fondaco.flow.model import Step, Workflow


@dataclasses.dataclass(frozen=True)
class Measured:
    """Coalitions as masks over the task's grants in order of appearance, what was counted, and what follows."""

    coalitions: tuple[int, ...]
    values: tuple[int, ...]
    contributions: tuple[int, ...]


def _sources(workflow: Workflow) -> tuple[tuple[Step, str], ...] | None:
    """(the one intersection, the dataset) of each grant in order of appearance; None where a grant has not just one.

    Nor where an intersection is of several grants: what each of them covers alone nobody knows.
    """
    found: dict[str, list[tuple[Step, str]]] = {}
    for step in workflow.steps:
        for item in step.inputs:
            if item.grant is not None:
                places = found.setdefault(item.grant, [])
                if step.operation == "intersection":
                    places.append((step, item.dataset))
    if not found or any(len(places) != 1 for places in found.values()):
        return None
    steps = [places[0][0].id for places in found.values()]
    if len(dict.fromkeys(steps)) != len(steps):
        return None
    return tuple(places[0] for places in found.values())


def _same_keys(workflow: Workflow, steps: tuple[Step, ...]) -> bool:
    """Whether all steps match the same columns of the same dataset of the initiator, who receives the match."""
    seen: list[tuple[object, object]] = []
    for step in steps:
        mine = step.input_of(workflow.initiator)
        if mine is None or workflow.initiator not in step.receivers or not isinstance(step.parameters, dict):
            return False
        seen.append((mine.dataset, step.parameters.get("keys")))
    return all(one == seen[0] for one in seen)


def cells(matches: tuple[pa.Table, ...]) -> dict[int, int]:
    """How many keys are in exactly the tables of a mask; each table holds different keys in the same columns."""
    names = matches[0].column_names
    tables = [
        table.append_column("mask", pa.array([1 << i] * len(table), pa.int64())) for i, table in enumerate(matches)
    ]
    sums = pa.concat_tables(tables).group_by(names).aggregate([("mask", "sum")])
    counted = sums.group_by("mask_sum").aggregate([("mask_sum", "count")])
    masks, counts = counted.column("mask_sum").to_pylist(), counted.column("mask_sum_count").to_pylist()
    return dict(zip(masks, counts, strict=True))


def measure(
    workflow: Workflow, matches: Mapping[str, pa.Table], method: str, minimum_count: Callable[[str], int]
) -> Measured | None:
    """The measurement of a task, or None where there is nothing to measure, or it may not be shown.

    Args:
        workflow: the task's.
        matches: the initiator's matches by step id.
        method: leave-one-out or shapley; any other measures nothing.
        minimum_count: the smallest group that a dataset's terms let be counted, by `/org/topic/name@version`.
    """
    sources = _sources(workflow)
    if method not in METHODS or sources is None or len(sources) > MOST_DATASETS[SHAPLEY]:
        return None
    steps = tuple(step for step, _dataset in sources)
    if not _same_keys(workflow, steps) or any(step.id not in matches for step in steps):
        return None
    count = len(sources)
    found = cells(tuple(matches[step.id] for step in steps))
    least = max(minimum_count(dataset) for _step, dataset in sources)
    if any(0 < keys < least for keys in found.values()):
        return None
    all_values = coverage(found, count)
    values = {mask: all_values[mask] for mask in coalitions(method, count)}
    return Measured(
        coalitions=tuple(values), values=tuple(values.values()), contributions=contributions(method, count, values)
    )
