"""The set operations: each says what it gives to whom; `base.LEAKAGE` says the same to people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from fondaco.engines.base import BadJob, Job, Outcome
from fondaco.engines.psi.keys import rows_at
from fondaco.engines.psi.meeting import Place, meet, shared_places, terms

RR22 = "rr22-exconv7x24"
_BOTH_SECURITIES = frozenset({"keys", "security"})
_Operation = Callable[[Job, dict[str, pa.Table], Place], Outcome]


def intersection(job: Job, inputs: dict[str, pa.Table], place: Place) -> Outcome:
    """The keys that both have.

    Receivers get `match`: the key columns, each key once, in one order for both, in this member's own spelling.
    """
    with meet(job, inputs, place, terms(job, _BOTH_SECURITIES)) as meeting:
        places = shared_places(meeting)
        return meeting.outcome(RR22, {"match": rows_at(meeting.store.table, places)})


def difference(job: Job, inputs: dict[str, pa.Table], place: Place) -> Outcome:
    """The receiver's own keys that the other has not.

    Receivers get `result`: the key columns, each key once, in the order of their rows. It is the complement of the
    intersection within the receiver's own keys, so it is computed and tells exactly as that does.
    """
    with meet(job, inputs, place, terms(job, _BOTH_SECURITIES)) as meeting:
        shared = shared_places(meeting)
        rest = np.empty(0, np.uint32)
        if job.learns:
            rest = np.setdiff1d(meeting.store.places(), shared, assume_unique=True)
        return meeting.outcome(RR22, {"result": rows_at(meeting.store.table, rest)})


_OPERATIONS: dict[str, _Operation] = {"intersection": intersection, "difference": difference}


def run(job: Job, inputs: dict[str, pa.Table], sockets: Path, scratch: Path) -> Outcome:
    """Run one member's share of a set operation, linked in the folder `sockets`, with files in `scratch` if need be.

    Raises:
        BadJob: no such operation, or one that cannot be done as asked.
        EngineStopped: the peer went away or does not follow the protocol.
    """
    operation = _OPERATIONS.get(job.operation)
    if operation is None:
        raise BadJob("no such set operation", remedy="see docs/concepts/engines.md", operation=job.operation)
    return operation(job, inputs, Place(sockets, scratch))
