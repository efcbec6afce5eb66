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
from fondaco.core.codec import Value, encode
from fondaco.engines.base import BadJob, EngineStopped, Job, Outcome, Report
from fondaco.engines.channel import Channel, connect
from fondaco.engines.checks import check_members
from fondaco.engines.keep import Keep
from fondaco.engines.psi.choice import LINK_MBIT, MAX_LINK_MBIT, Choice, choose
from fondaco.engines.psi.keys import Array, key_columns
from fondaco.engines.psi.progress import Head, Progress, kept_session
from fondaco.engines.psi.session import MAX_ROWS, SECURITY, agree_key, agree_sizes, drive, message_limit
from fondaco.engines.psi.store import Part, Store, padded, part_size, parts_for

CONFIGURATIONS = {"rr22": "rr22-exconv7x24", "ecdh": "rfc9497-ristretto255"}
COUNTING = "count-ristretto255"
MAX_KEY_BYTES = 4096
MOST_WHOLE = 1 << 26
"""Keys of a side, where sets are met whole."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a member works: the folder of its sockets, one for files of this run, a place for what outlives it."""

    sockets: Path
    scratch: Path
    keep: Keep | None = None


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a step's parameters say."""

    keys: tuple[str, ...]
    security: str
    link_mbit: int
    at_least: int
    key_bytes: int

    @property
    def malicious(self) -> bool:
        """Whether a member that does as it likes is withstood."""
        return self.security != SECURITY[0]


def terms(job: Job, known: frozenset[str]) -> Terms:
    """The terms of a step; `known` are the parameters that its operation has.

    Raises:
        BadJob: too few or too many parties, an unknown parameter, no keys, or no such security.
    """
    parameters = job.parameters if isinstance(job.parameters, dict) else {}
    names, security = parameters.get("keys"), parameters.get("security", SECURITY[0])
    check_members(job)
    if not isinstance(names, list) or not names:
        raise BadJob("a set operation has one or more key columns", remedy="correct the step")
    unknown = sorted(parameters.keys() - known)
    if unknown:
        raise BadJob(f"unknown parameter {unknown[0]}", remedy=f"this operation has {', '.join(sorted(known))}")
    if not isinstance(security, str) or security not in SECURITY:
        raise BadJob(f"security is one of {', '.join(SECURITY)}", remedy="correct the step's parameters")
    link = _whole(parameters, "link_mbit", LINK_MBIT, MAX_LINK_MBIT)
    at_least, key_bytes = (
        _whole(parameters, "at_least", 1, MAX_ROWS),
        _whole(parameters, "key_bytes", 64, MAX_KEY_BYTES),
    )
    return Terms(tuple(map(str, names)), security, link, at_least, key_bytes)


def _whole(parameters: dict[str, Value], name: str, default: int, most: int) -> int:
    """A parameter that is a number from 1 on."""
    found = parameters.get(name, default)
    if type(found) is not int or not 1 <= found <= most:
        raise BadJob(f"{name} is a number from 1 to {most}", remedy="correct the step's parameters")
    return found


@dataclasses.dataclass
class Meeting:
    """One run between two members whose identifiers are made under the key `session`."""

    job: Job
    terms: Terms
    channel: Channel
    store: Store
    session: bytes = dataclasses.field(repr=False)
    keep: Keep | None
    peer_rows: int
    started: float
    linked: float

    @property
    def empty(self) -> bool:
        """Whether a side has no keys, so that all is known."""
        return not self.store.rows or not self.peer_rows

    @property
    def both(self) -> bool:
        """Whether both members learn."""
        return len(self.job.receivers) == 2

    def choice(self) -> Choice:
        """The protocol of this meeting's intersection: the same at both members."""
        sides = self.store.rows, self.peer_rows
        comparing, sending = sides if compares(self.job, *sides) else sides[::-1]
        return choose(comparing, sending, malicious=self.terms.malicious, link_mbit=self.terms.link_mbit)

    def outcome(self, configuration: str, tables: dict[str, pa.Table]) -> Outcome:
        """The outcome of this member: tables if it learns, the main one first, and the report."""
        if self.terms.malicious:
            configuration = f"{configuration}-malicious"
        told = tables if self.job.learns else {}
        now = time.monotonic()
        report = Report(
            configuration=configuration,
            rows_in=self.store.rows,
            rows_out=next(iter(told.values())).num_rows if told else 0,
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
        past = kept_session(place.keep)
        key = agree_key(channel, rank=job.rank, security=what.security, terms=agreed, past=past)
        with Store(table, key, scratch=place.scratch) as store:
            peer_rows = agree_sizes(channel, store.rows)
            yield Meeting(job, what, channel, store, key, place.keep, peer_rows, started, linked)


def compares(job: Job, rows: int, peer_rows: int) -> bool:
    """Whether this member compares: the one that learns; where both do, the one with fewer keys sends less for it."""
    if len(job.receivers) == 1:
        return job.learns
    return (rows, job.rank) < (peer_rows, 1 - job.rank)


def shared_places(meeting: Meeting) -> tuple[str, Array]:
    """The configuration, and rows of the keys that both have, in one order for both members; none for no learner.

    Neither learns how many keys a part has, for parts are filled up (`store.part_size`). Parts that an earlier attempt
    finished at both members are not met again.
    """
    protocol = meeting.choice().protocol
    if meeting.empty:
        return CONFIGURATIONS[protocol], np.empty(0, np.uint32)
    parts = parts_for(meeting.store.rows, meeting.peer_rows)
    if parts == 1:
        return CONFIGURATIONS[protocol], _meet_part(meeting, meeting.store.all(), 1)
    head = Head(session=meeting.session, rows=meeting.store.rows, peer_rows=meeting.peer_rows, parts=parts)
    progress = Progress(meeting.keep, head, meeting.store)
    done = progress.agree(meeting.channel)
    found = [progress.places(index) if index in done else _new_part(meeting, progress, index) for index in range(parts)]
    return CONFIGURATIONS[protocol], np.concatenate(found)


def _new_part(meeting: Meeting, progress: Progress, index: int) -> Array:
    part = meeting.store.part(index, progress.head.parts)
    places = _meet_part(meeting, part, progress.head.parts)
    progress.finish(index, part, places)
    return places


def _meet_part(meeting: Meeting, part: Part, parts: int) -> Array:
    job = meeting.job
    size, peer_size = part_size(meeting.store.rows, parts), part_size(meeting.peer_rows, parts)
    first = compares(job, meeting.store.rows, meeting.peer_rows)
    ids = padded(part, size)
    party: _kernel.PsiParty | _kernel.DhParty
    protocol = meeting.choice().protocol
    if protocol == "ecdh":
        party = _kernel.DhParty(ids, compares=first, peer_keys=peer_size, both=meeting.both)
    else:
        party = _kernel.PsiParty(
            ids, compares=first, peer_keys=peer_size, both=meeting.both, malicious=meeting.terms.malicious
        )
    drive(party, meeting.channel, limit=message_limit(size + peer_size))
    matched = party.matched()
    if matched is None or not job.learns:
        return np.empty(0, np.uint32)
    chosen = np.frombuffer(matched, "<u4")
    if size > len(part.ids):
        chosen = chosen[chosen < len(part.ids)]
    if protocol == "ecdh" or parts > 1:
        # The order of the tags is one for both, but of this run alone: what is kept of a part may be of an earlier one.
        chosen = chosen[one_order(part.ids[chosen])]
    found: Array = part.places[chosen]
    return found


def check_whole(meeting: Meeting) -> None:
    """Refuse sets that are too large to be met whole; the party whose it is hears so of both.

    Raises:
        BadJob: this member's. EngineStopped: the other's, or what it says of it.
    """
    if meeting.store.rows > MOST_WHOLE:
        raise BadJob(
            f"this operation takes at most {MOST_WHOLE} keys of a party", remedy="split the set by a key column"
        )
    if meeting.peer_rows > MOST_WHOLE:
        raise EngineStopped(
            f"{meeting.channel.peer} brings more keys than this operation takes", remedy="see its own cause"
        )


def shared_count(meeting: Meeting) -> int | None:
    """How many keys both have; None for a member that does not learn it."""
    job = meeting.job
    check_whole(meeting)
    if meeting.empty:
        return 0 if job.learns else None
    party = _kernel.CountParty(
        meeting.store.all().ids.tobytes(),
        counts=compares(job, meeting.store.rows, meeting.peer_rows),
        peer_keys=meeting.peer_rows,
        both=meeting.both,
    )
    drive(party, meeting.channel, limit=message_limit(meeting.store.rows + meeting.peer_rows))
    return party.count()


def one_order(ids: Array) -> Array:
    """What sorts identifiers: so both members have one order of what they share, and no trace of the other's."""
    halves = ids.view(">u8").astype(np.uint64)
    order: Array = np.argsort(halves[:, 0])
    first = halves[order, 0]
    if (first[1:] == first[:-1]).any():
        order = np.lexsort((halves[:, 1], halves[:, 0]))
    return order
