"""How two sets meet: link, greetings, identifiers; then the kernel's intersection, part by part."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from fondaco import _kernel
from fondaco.core.codec import encode
from fondaco.engines.base import BadJob, Job, Outcome, Report
from fondaco.engines.channel import Channel, connect
from fondaco.engines.psi.keys import Array, key_columns
from fondaco.engines.psi.session import SECURITY, agree_key, agree_sizes, drive, message_limit
from fondaco.engines.psi.store import Part, Store, padded, part_size, parts_for


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a member works: the folder of its sockets, and one for files."""

    sockets: Path
    scratch: Path


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a step's parameters say."""

    keys: tuple[str, ...]
    security: str

    @property
    def malicious(self) -> bool:
        """Whether a member that does as it likes is withstood."""
        return self.security != SECURITY[0]


def terms(job: Job, known: frozenset[str]) -> Terms:
    """The terms of a step; `known` are the parameters that its operation has.

    Raises:
        BadJob: not two parties, an unknown parameter, no keys, or no such security.
    """
    parameters = job.parameters if isinstance(job.parameters, dict) else {}
    names, security = parameters.get("keys"), parameters.get("security", SECURITY[0])
    if len(job.parties) != 2 or job.helper is not None or not isinstance(names, list) or not names:
        raise BadJob("a set operation has two parties and one or more key columns", remedy="correct the step")
    unknown = sorted(parameters.keys() - known)
    if unknown:
        raise BadJob(f"unknown parameter {unknown[0]}", remedy=f"this operation has {', '.join(sorted(known))}")
    if not isinstance(security, str) or security not in SECURITY:
        raise BadJob(f"security is one of {', '.join(SECURITY)}", remedy="correct the step's parameters")
    return Terms(tuple(str(name) for name in names), security)


@dataclasses.dataclass
class Meeting:
    """One run between two members whose identifiers are made."""

    job: Job
    terms: Terms
    channel: Channel
    store: Store
    peer_rows: int
    started: float
    linked: float

    def outcome(self, configuration: str, tables: dict[str, pa.Table]) -> Outcome:
        """The outcome of this member: tables if it learns, and the report."""
        if self.terms.malicious:
            configuration = f"{configuration}-malicious"
        told = tables if self.job.learns else {}
        now = time.monotonic()
        report = Report(
            configuration=configuration,
            rows_in=self.store.rows,
            rows_out=sum(table.num_rows for table in told.values()),
            link_micros=int((self.linked - self.started) * 1e6),
            total_micros=int((now - self.started) * 1e6),
        )
        return Outcome(told, report)


@contextmanager
def meet(job: Job, inputs: dict[str, pa.Table], place: Place, what: Terms) -> Iterator[Meeting]:
    """Link up with the other member and make identifiers of this one's keys.

    Raises:
        BadJob: key columns that are not there; the other runs other terms.
        EngineStopped: the peer went away or does not follow the protocol.
    """
    started = time.monotonic()
    table = key_columns(inputs["data"], what.keys)
    agreed = hashlib.sha256(encode([*sorted(job.receivers), job.parameters])).digest()
    with connect(job, place.sockets) as channel:
        linked = time.monotonic()
        key = agree_key(channel, rank=job.rank, security=what.security, terms=agreed)
        with Store(table, key, scratch=place.scratch) as store:
            peer_rows = agree_sizes(channel, store.rows)
            yield Meeting(job, what, channel, store, peer_rows, started, linked)


def compares(job: Job, rows: int, peer_rows: int) -> bool:
    """Whether this member compares: the one that learns; where both do, the one with fewer keys sends less for it."""
    if len(job.receivers) == 1:
        return job.learns
    return (rows, job.rank) < (peer_rows, 1 - job.rank)


def shared_places(meeting: Meeting) -> Array:
    """Rows of the keys that both have, in one order for both members; none for a member that does not learn.

    Neither learns how many keys a part has, for parts are filled up (`store.part_size`).
    """
    rows, peer_rows = meeting.store.rows, meeting.peer_rows
    found = [np.empty(0, np.uint32)]
    if rows and peer_rows:
        parts = parts_for(rows, peer_rows)
        found += [_meet_part(meeting, meeting.store.part(index, parts), parts) for index in range(parts)]
    return np.concatenate(found)


def _meet_part(meeting: Meeting, part: Part, parts: int) -> Array:
    job = meeting.job
    size, peer_size = part_size(meeting.store.rows, parts), part_size(meeting.peer_rows, parts)
    party = _kernel.PsiParty(
        padded(part, size),
        compares=compares(job, meeting.store.rows, meeting.peer_rows),
        peer_keys=peer_size,
        both=len(job.receivers) == 2,
        malicious=meeting.terms.malicious,
    )
    drive(party, meeting.channel, limit=message_limit(size + peer_size))
    matched = party.matched()
    if matched is None or not job.learns:
        return np.empty(0, np.uint32)
    chosen = np.frombuffer(matched, "<u4")
    chosen = chosen[chosen < len(part.ids)]
    found: Array = part.places[chosen[_one_order(part.ids[chosen])]]
    return found


def _one_order(ids: Array) -> Array:
    """What sorts identifiers: so both members have one order of what they share, and no trace of the other's."""
    halves = ids.view(">u8").astype(np.uint64)
    order: Array = np.argsort(halves[:, 0])
    first = halves[order, 0]
    if (first[1:] == first[:-1]).any():
        order = np.lexsort((halves[:, 1], halves[:, 0]))
    return order
