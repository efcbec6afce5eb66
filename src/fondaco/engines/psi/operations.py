"""The set operations: each says what it gives to whom; `base.LEAKAGE` says the same to people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.engines.base import BadJob, EngineStopped, Job, Outcome, Told, untold
from fondaco.engines.keep import Keep
from fondaco.engines.psi import unbalanced as prepared_side
from fondaco.engines.psi.keys import rows_at
from fondaco.engines.psi.lacking import difference_of_many
from fondaco.engines.psi.many import intersection_of_many
from fondaco.engines.psi.meeting import COUNTING, Meeting, Place, meet, shared_count, shared_places, terms
from fondaco.engines.psi.union import union as union_of_two
from fondaco.engines.psi.union_of_many import union_of_many
from fondaco.errors import CodecError

_INTERSECTING = frozenset({"keys", "security", "link_mbit"})
_COUNTING = frozenset({"keys"})
_THRESHOLD = _INTERSECTING - {"security"} | {"at_least"}
_ANSWER_LIMIT = 256
_Operation = Callable[[Job, dict[str, pa.Table], Place], Outcome]


@message("psi.enough/1")
class Enough:
    """Whether the one that counted found enough."""

    enough: bool


def intersection(job: Job, inputs: dict[str, pa.Table], place: Place) -> Outcome:
    """The keys that all have.

    Receivers get `match`: the key columns, each key once, in one order for all, in this member's own spelling.
    """
    if len(job.parties) > 2:
        return intersection_of_many(job, inputs, place)
    with meet(job, inputs, place, terms(job, _INTERSECTING)) as meeting:
        configuration, places = shared_places(meeting)
        return meeting.outcome(configuration, {"match": rows_at(meeting.store.table, places)})


def difference(job: Job, inputs: dict[str, pa.Table], place: Place) -> Outcome:
    """The receiver's own keys that no other has.

    Receivers get `result`: the key columns, each key once, in the order of their rows. Between two it is the complement
    of the intersection within the receiver's own keys, so it is computed and tells exactly as that does.
    """
    if len(job.parties) > 2:
        return difference_of_many(job, inputs, place)
    with meet(job, inputs, place, terms(job, _INTERSECTING)) as meeting:
        configuration, shared = shared_places(meeting)
        rest = np.empty(0, np.uint32)
        if job.learns:
            rest = np.setdiff1d(meeting.store.places(), shared, assume_unique=True)
        return meeting.outcome(configuration, {"result": rows_at(meeting.store.table, rest)})


def _counted(count: int | None) -> pa.Table:
    # Not `pa.array`, which would load pandas where it is installed.
    held = np.array([] if count is None else [count], "<i8")
    counts = pa.Array.from_buffers(pa.int64(), len(held), [None, pa.py_buffer(held)])
    return pa.Table.from_arrays([counts], names=["count"])


def cardinality(job: Job, inputs: dict[str, pa.Table], place: Place) -> Outcome:
    """How many keys both have: `result`, one row with `count`.

    By Ion et al. (EuroS&P 2020, eprint 2019/723), semi-honest: nobody learns which keys are shared.
    """
    with meet(job, inputs, place, terms(job, _COUNTING)) as meeting:
        return meeting.outcome(COUNTING, {"result": _counted(shared_count(meeting))})


def threshold(job: Job, inputs: dict[str, pa.Table], place: Place) -> Outcome:
    """The keys that both have, if they are at least `at_least`: `match` as an intersection's, and `result`, the count.

    The number is computed first, as `cardinality` does, then the intersection or nothing. So receivers learn the number
    even where it is too small, and a party that does not receive learns whether it was large enough. Protocols that
    hide the number too (Ghosh and Simkin, CRYPTO 2019) are not here. Semi-honest.
    """
    with meet(job, inputs, place, terms(job, _THRESHOLD)) as meeting:
        count = shared_count(meeting)
        configuration, places = COUNTING, np.empty(0, np.uint32)
        if _enough(meeting, count):
            second, places = shared_places(meeting)
            configuration = f"{configuration}+{second}"
        match = rows_at(meeting.store.table, places)
        return meeting.outcome(configuration, {"match": match, "result": _counted(count)})


def _enough(meeting: Meeting, count: int | None) -> bool:
    """Whether to go on: the members that learn the number decide, the other is told."""
    if count is not None:
        enough = count >= meeting.terms.at_least
        if not meeting.both:
            meeting.channel.send(to_bytes(Enough(enough=enough)))
        return enough
    try:
        return from_bytes(Enough, meeting.channel.receive(_ANSWER_LIMIT), limit=_ANSWER_LIMIT).enough
    except CodecError as fault:
        raise EngineStopped(f"{meeting.channel.peer} said no decision", remedy="start the task again") from fault


def union(job: Job, inputs: dict[str, pa.Table], place: Place) -> Outcome:
    """All keys that any has: `result`, first the receiver's own in their order, then the others in none."""
    if len(job.parties) > 2:
        return union_of_many(job, inputs, place)
    return union_of_two(job, inputs, place)


def unbalanced(job: Job, inputs: dict[str, pa.Table], place: Place) -> Outcome:
    """The client's keys that a large prepared set has; see `engines.psi.unbalanced`. Semi-honest."""
    return prepared_side.unbalanced(job, inputs, place, terms(job, _COUNTING))


_OPERATIONS: dict[str, _Operation] = {
    "intersection": intersection,
    "difference": difference,
    "cardinality": cardinality,
    "threshold": threshold,
    "union": union,
    "unbalanced": unbalanced,
}


def run(
    job: Job,
    inputs: dict[str, pa.Table],
    sockets: Path,
    scratch: Path,
    keep: Keep | None = None,
    told: Told = untold,
) -> Outcome:
    """Run one member's share of a set operation, linked in the folder `sockets`, with files in `scratch` if need be.

    Or prepare a set for runs to come, with no peer. With `keep` a large meeting that was cut goes on where it was.

    Raises:
        BadJob: no such operation, or one that cannot be done as asked.
        EngineStopped: the peer went away or does not follow the protocol.
    """
    if job.operation == prepared_side.PREPARE and len(job.parties) == 1:
        return prepared_side.prepare_alone(job, inputs, told)
    operation = _OPERATIONS.get(job.operation)
    if operation is None:
        raise BadJob("no such set operation", remedy="see docs/concepts/engines.md", operation=job.operation)
    return operation(job, inputs, Place(sockets, scratch, keep))
