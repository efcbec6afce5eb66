"""The intersection of three and more sets: a star around one receiver, the leader.

Kolesnikov, Matania, Pinkas, Rosulek, Trieu (CCS 2017, eprint 2017/799, section 5) in its form with unconditional shares
of zero, on the function and the stores of RR22 (`crates/kernel/src/star.rs`). Every two members share a secret that
no third has; from its secrets a member derives a share for each of its keys, and the shares of all members for one key
add up to zero. Each member gives the leader, by an oblivious programmable function, its share for every key that both
have and noise for every other; the leader adds its own. Where the sum is zero all have the key.

**Adversary.** Semi-honest. **Leader.** The receiver of the lowest rank. It learns which of its keys all others have,
and how many keys each has. Alone it learns nothing of what it shares with some: one missing share hides the others.
Other receivers learn the result from the leader. All others learn how many keys the leader has, and nothing else.
**Collusion.** Any members without the leader learn nothing together but their results. A leader together with others
learns which of its keys all members *outside* that circle have, be it among its fellows' keys or not: what it would
learn if its fellows had brought its own keys (the paper's augmented semi-honest model). So two colluding members of
three learn the leader's intersection with the third.
**Rounds.** Two to agree, then for each other member in turn those of the function and one, and one to tell the result.
**Bytes.** About 21 for each of the leader's keys and 21 for each of the other's, for each of the others; 16 for each
key of the smaller set for each receiver more. Sizes depend on the numbers of keys alone.
**Failure.** A member that cannot go on tells the others why before it goes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from fondaco import _kernel
from fondaco.core.codec import encode
from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.engines.base import BadJob, EngineStopped, Job, Outcome, Report
from fondaco.engines.channel import Channel, connect_all
from fondaco.engines.psi.keys import ID_BYTES, Array, key_columns, rows_at
from fondaco.engines.psi.meeting import Place, one_order, terms
from fondaco.engines.psi.session import SHARE_BYTES, drive, hear_size, message_limit, tell_size
from fondaco.engines.psi.store import Part, Store, padded, part_size, parts_for
from fondaco.errors import CodecError

STAR = "kmprt17-rr22-exconv7x24"
_PARAMETERS = frozenset({"keys", "security"})
_JOINING_LIMIT = 1024
_SESSION, _PAIR = b"fondaco/psi/star/1", b"fondaco/psi/pair/1"


@message("psi.joining/1")
class Joining:
    """A member's first word to each other: its share of the session key, one of the pair's secret, a digest of terms.

    `share` is the same for all; `pair` is for this one peer and goes to nobody else.
    """

    share: bytes
    pair: bytes
    terms: bytes


@dataclasses.dataclass
class Star:
    """One run whose members have agreed: `secrets` are those of this member with each other one, 16 bytes each."""

    job: Job
    channels: dict[int, Channel]
    secrets: bytes = dataclasses.field(repr=False)
    store: Store
    started: float
    linked: float

    @property
    def leader(self) -> int:
        """The rank in the middle."""
        return min(self.job.receivers)

    @property
    def followers(self) -> tuple[int, ...]:
        """The other receivers, to whom the leader tells the result."""
        return tuple(sorted(self.job.receivers))[1:]

    def outcome(self, places: Array) -> Outcome:
        """The outcome of this member: the rows at `places` if it learns, and the report."""
        tables = {"match": rows_at(self.store.table, places)} if self.job.learns else {}
        report = Report(
            configuration=STAR,
            rows_in=self.store.rows,
            rows_out=len(places) if tables else 0,
            link_micros=int((self.linked - self.started) * 1e6),
            total_micros=int((time.monotonic() - self.started) * 1e6),
        )
        return Outcome(tables, report)


def intersection_of_many(job: Job, inputs: dict[str, pa.Table], place: Place) -> Outcome:
    """The keys that all have: `match` for each receiver, in one order for all, in its own spelling."""
    with _join(job, inputs, place) as star:
        if job.rank == star.leader:
            return star.outcome(_lead(star))
        return star.outcome(_follow(star))


@contextlib.contextmanager
def _join(job: Job, inputs: dict[str, pa.Table], place: Place) -> Iterator[Star]:
    """Link up with all, agree on secrets and terms, and make identifiers.

    Raises:
        BadJob: parameters that make no sense, key columns that are not there, or another member's other terms.
        EngineStopped: a member went away or does not follow the protocol.
    """
    started = time.monotonic()
    what = terms(job, _PARAMETERS)
    table = key_columns(inputs["data"], what.keys)
    agreed = hashlib.sha256(encode([*sorted(job.receivers), job.parameters])).digest()
    with connect_all(job, place.sockets) as channels:
        linked = time.monotonic()
        key, secrets = agree(job, channels, agreed)
        with Store(table, key, scratch=place.scratch) as store:
            yield Star(job, channels, secrets, store, started, linked)


def agree(job: Job, channels: dict[int, Channel], agreed: bytes) -> tuple[bytes, bytes]:
    """The session key of all (32 bytes), and this member's secrets with each other one, by rank, 16 bytes each.

    Raises:
        BadJob: another member has other terms. EngineStopped: a link broke, or what came is no such word.
    """
    share = os.urandom(SHARE_BYTES)
    pairs = {rank: os.urandom(SHARE_BYTES) for rank in channels}
    for rank, channel in channels.items():
        channel.send(to_bytes(Joining(share=share, pair=pairs[rank], terms=agreed)))
    shares, secrets = {job.rank: share}, []
    for rank, channel in channels.items():
        heard = _heard(channel, agreed)
        shares[rank] = heard.share
        both = (pairs[rank], heard.pair) if job.rank < rank else (heard.pair, pairs[rank])
        secrets.append(hashlib.sha256(_PAIR + b"".join(both)).digest()[:ID_BYTES])
    return hashlib.sha256(_SESSION + b"".join(shares[rank] for rank in sorted(shares))).digest(), b"".join(secrets)


def _heard(channel: Channel, agreed: bytes) -> Joining:
    try:
        heard = from_bytes(Joining, channel.receive(_JOINING_LIMIT), limit=_JOINING_LIMIT)
    except CodecError as fault:
        raise EngineStopped(f"{channel.peer} sent no greeting", remedy="start the task again") from fault
    if heard.terms != agreed:
        raise BadJob(
            f"{channel.peer} runs this step with other parameters",
            remedy="see that all run the same version of this software",
        )
    if (len(heard.share), len(heard.pair)) != (SHARE_BYTES, SHARE_BYTES):
        raise EngineStopped(f"{channel.peer} sent a greeting out of bounds", remedy="start the task again")
    return heard


def _lead(star: Star) -> Array:
    """Be in the middle: the rows of the keys that all have."""
    store, rows = star.store, {}
    for rank, channel in star.channels.items():
        tell_size(channel, store.rows)
        rows[rank] = hear_size(channel)
    sums = np.zeros((store.table.num_rows, 2), np.uint64)
    parts = parts_for(store.rows, store.rows)
    for part in (store.part(index, parts) for index in range(parts)):
        sums[part.places] ^= _words(_kernel.zero_shares(part.ids.tobytes(), star.secrets))
    for rank, channel in star.channels.items():
        # Whoever has no keys adds no share, and no sum comes out.
        if store.rows and rows[rank]:
            _ask(store, channel, rows[rank], sums)
    places = store.places()
    found = places[~sums[places].any(axis=1)]
    ids = _ids(store, found)
    order = one_order(ids)
    for rank in star.followers:
        fill = os.urandom(ID_BYTES * (min(store.rows, rows[rank]) - len(found)))
        star.channels[rank].send(ids[order].tobytes() + fill)
    ordered: Array = found[order]
    return ordered


def _words(values: bytes) -> Array:
    return np.frombuffer(values, "<u8").astype(np.uint64).reshape(-1, 2)


def _ask(store: Store, channel: Channel, peer_rows: int, sums: Array) -> None:
    """Add the values of one other member to the sums of this member's rows, part by part."""
    parts = parts_for(store.rows, peer_rows)
    size, peer_size = part_size(store.rows, parts), part_size(peer_rows, parts)
    for index in range(parts):
        part = store.part(index, parts)
        party = _kernel.StarLeader(padded(part, size), peer_keys=peer_size)
        drive(party, channel, limit=message_limit(size + peer_size))
        sums[part.places] ^= _words(party.values() or b"")[: len(part.ids)]


def _ids(store: Store, places: Array) -> Array:
    """The identifiers of some rows, (n, 16) uint8, in the order of the ascending `places`."""
    ids = np.empty((len(places), ID_BYTES), np.uint8)
    parts = parts_for(store.rows, store.rows)
    for part in (store.part(index, parts) for index in range(parts)):
        wanted = np.isin(part.places, places, assume_unique=True)
        ids[np.searchsorted(places, part.places[wanted])] = part.ids[wanted]
    return ids


def _follow(star: Star) -> Array:
    """Be outside: give shares; the rows of the keys that all have, if this member learns them."""
    store, channel = star.store, star.channels[star.leader]
    tell_size(channel, store.rows)
    peer_rows = hear_size(channel)
    if store.rows and peer_rows:
        _give(star, channel, peer_rows)
    if star.job.rank not in star.followers:
        return np.empty(0, np.uint32)
    told = channel.receive(ID_BYTES * min(store.rows, peer_rows))
    if len(told) != ID_BYTES * min(store.rows, peer_rows):
        raise EngineStopped(f"{channel.peer} sent no result", remedy="see that all run the same version")
    return _told(store, told, channel.peer)


def _give(star: Star, channel: Channel, peer_rows: int) -> None:
    store = star.store
    parts = parts_for(store.rows, peer_rows)
    size, peer_size = part_size(store.rows, parts), part_size(peer_rows, parts)
    for index in range(parts):
        ids = padded(store.part(index, parts), size)
        party = _kernel.StarMember(ids, _kernel.zero_shares(ids, star.secrets), peer_keys=peer_size)
        drive(party, channel, limit=message_limit(size + peer_size))


def _told(store: Store, told: bytes, peer: str) -> Array:
    """The rows whose identifiers a leader names, in their one order.

    Raises:
        EngineStopped: it names one twice.
    """
    parts = parts_for(store.rows, store.rows)
    count = len(told) // ID_BYTES
    found: list[Part] = []
    for part in (store.part(index, parts) for index in range(parts)):
        first = np.frombuffer(_kernel.distinct_places(told + part.ids.tobytes()), "<u4")
        if (first < count).sum() != count:
            raise EngineStopped(f"{peer} sent a result that names a key twice", remedy="start the task again")
        named = np.ones(len(part.ids), bool)
        named[first[first >= count] - count] = False
        found.append(Part(part.ids[named], part.places[named]))
    ids, places = (np.concatenate([getattr(part, what) for part in found]) for what in ("ids", "places"))
    ordered: Array = places[one_order(ids)]
    return ordered
