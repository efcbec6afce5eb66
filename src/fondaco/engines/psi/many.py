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

import os
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from fondaco import _kernel
from fondaco.engines.base import EngineStopped, Job, Outcome
from fondaco.engines.channel import Channel
from fondaco.engines.psi.gathering import Members, gather
from fondaco.engines.psi.keys import ID_BYTES, Array, rows_at
from fondaco.engines.psi.meeting import Place, one_order, terms
from fondaco.engines.psi.session import drive, hear_size, message_limit, tell_size
from fondaco.engines.psi.store import Part, Store, padded, part_size, parts_for

STAR = "kmprt17-rr22-exconv7x24"
_PARAMETERS = frozenset({"keys", "security"})


def intersection_of_many(job: Job, inputs: dict[str, pa.Table], place: Place) -> Outcome:
    """The keys that all have: `match` for each receiver, in one order for all, in its own spelling."""
    with gather(job, inputs, place, terms(job, _PARAMETERS)) as members:
        leader, *followers = sorted(job.receivers)
        places = _lead(members, followers) if job.rank == leader else _follow(members, leader)
        return members.outcome(STAR, {"match": rows_at(members.store.table, places)})


def _lead(members: Members, followers: Sequence[int]) -> Array:
    """Be in the middle: the rows of the keys that all have; `followers` are the other receivers."""
    store, rows = members.store, {}
    secrets = members.secrets_with(members.channels)
    for rank, channel in members.channels.items():
        tell_size(channel, store.rows)
        rows[rank] = hear_size(channel)
    sums = np.zeros((store.table.num_rows, 2), np.uint64)
    parts = parts_for(store.rows, store.rows)
    for part in (store.part(index, parts) for index in range(parts)):
        sums[part.places] ^= _words(_kernel.zero_shares(part.ids.tobytes(), secrets))
    for rank, channel in members.channels.items():
        # Whoever has no keys adds no share, and no sum comes out.
        if store.rows and rows[rank]:
            _ask(store, channel, rows[rank], sums)
    places = store.places()
    found = places[~sums[places].any(axis=1)]
    ids = _ids(store, found)
    order = one_order(ids)
    for rank in followers:
        fill = os.urandom(ID_BYTES * (min(store.rows, rows[rank]) - len(found)))
        members.channels[rank].send(ids[order].tobytes() + fill)
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


def _follow(members: Members, leader: int) -> Array:
    """Be outside: give shares; the rows of the keys that all have, if this member learns them."""
    store, channel = members.store, members.channels[leader]
    tell_size(channel, store.rows)
    peer_rows = hear_size(channel)
    if store.rows and peer_rows:
        _give(members, channel, peer_rows)
    if not members.job.learns:
        return np.empty(0, np.uint32)
    told = channel.receive(ID_BYTES * min(store.rows, peer_rows))
    if len(told) != ID_BYTES * min(store.rows, peer_rows):
        raise EngineStopped(f"{channel.peer} sent no result", remedy="see that all run the same version")
    return _told(store, told, channel.peer)


def _give(members: Members, channel: Channel, peer_rows: int) -> None:
    store, secrets = members.store, members.secrets_with(members.channels)
    parts = parts_for(store.rows, peer_rows)
    size, peer_size = part_size(store.rows, parts), part_size(peer_rows, parts)
    for index in range(parts):
        ids = padded(store.part(index, parts), size)
        party = _kernel.StarMember(ids, _kernel.zero_shares(ids, secrets), peer_keys=peer_size)
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
