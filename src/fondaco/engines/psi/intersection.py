"""The intersection: identifiers under a session key, the kernel's protocol, rows back."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from fondaco import _kernel
from fondaco.core.codec import encode
from fondaco.engines.base import BadJob, Job, Outcome, Report
from fondaco.engines.channel import Channel, connect
from fondaco.engines.psi.keys import Array, distinct_keys, identifiers
from fondaco.engines.psi.session import SECURITY, agree, drive, message_limit

CONFIGURATION = "rr22-exconv7x24"
_PARAMETERS = {"keys", "security"}


def _parameters(job: Job) -> tuple[list[str], str]:
    parameters = job.parameters if isinstance(job.parameters, dict) else {}
    names, security = parameters.get("keys"), parameters.get("security", SECURITY[0])
    if len(job.parties) != 2 or job.helper is not None or not isinstance(names, list) or not names:
        raise BadJob("an intersection has two parties and one or more key columns", remedy="correct the step")
    if parameters.keys() - _PARAMETERS:
        raise BadJob("an intersection has the parameters keys and security", remedy="correct the step")
    if security not in SECURITY or not isinstance(security, str):
        raise BadJob(f"security is one of {', '.join(SECURITY)}", remedy="correct the step's parameters")
    return [str(name) for name in names], security


def run(job: Job, inputs: dict[str, pa.Table], sockets: Path) -> Outcome:
    """Intersect; receivers get `match`: the shared keys, in one order for both.

    Raises:
        BadJob: not two parties, wrong parameters, or key columns that are not there.
        EngineStopped: the peer went away or does not follow the protocol.
    """
    started = time.monotonic()
    names, security = _parameters(job)
    keys = distinct_keys(inputs["data"], names)
    with connect(job, sockets) as channel:
        linked = time.monotonic()
        matched = _intersect(job, keys, channel, security)
    now = time.monotonic()
    report = Report(
        configuration=CONFIGURATION if security == SECURITY[0] else f"{CONFIGURATION}-{security}",
        rows_in=keys.num_rows,
        rows_out=matched.num_rows if job.learns else 0,
        link_micros=int((linked - started) * 1e6),
        total_micros=int((now - started) * 1e6),
    )
    return Outcome({"match": matched} if job.learns else {}, report)


def compares(job: Job, rows: int, peer_rows: int) -> bool:
    """Whether this member compares: the one that learns; where both do, the one with fewer keys sends less for it."""
    if len(job.receivers) == 1:
        return job.learns
    return (rows, job.rank) < (peer_rows, 1 - job.rank)


def _intersect(job: Job, keys: pa.Table, channel: Channel, security: str) -> pa.Table:
    same = hashlib.sha256(encode(sorted(job.receivers))).digest()
    agreement = agree(channel, rank=job.rank, rows=keys.num_rows, security=security, parameters=same)
    ids = identifiers(keys, agreement.key)
    if not keys.num_rows or not agreement.peer_rows:
        return keys.slice(0, 0)
    party = _kernel.PsiParty(
        ids.tobytes(),
        compares=compares(job, keys.num_rows, agreement.peer_rows),
        peer_keys=agreement.peer_rows,
        both=len(job.receivers) == 2,
        malicious=security != SECURITY[0],
    )
    drive(party, channel, limit=message_limit(keys.num_rows + agreement.peer_rows))
    places = party.matched()
    if places is None or not job.learns:
        return keys.slice(0, 0)
    return keys.take(pa.array(_one_order(ids, np.frombuffer(places, dtype="<u4"))))


def _one_order(ids: Array, places: Array) -> Array:
    """Places sorted by their identifiers: the same order at both members."""
    halves = ids[places].view(">u8")
    return places[np.lexsort((halves[:, 1], halves[:, 0]))]
