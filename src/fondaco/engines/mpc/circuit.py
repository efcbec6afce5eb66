"""Circuit PSI: two members' keys meet, and which of them match stays on secret shares (eprint 2019/241, 2022/320).

The two members with data run the kernel's programmable function (`crates/kernel/src/opprf`) over a channel of their
own, beside SPU's link. For each bin of one member's table each of them has a comparison word, equal where the bin's
key is shared, and shares of the words that the other member brings for it. `share` puts them under SPU, where `Hidden`
makes of them 0/1 for each bin and the words of both members, all secret; what is computed of these is up to the
operation.

Adversary: semi-honest, and that of SPU's configuration (`fondaco.engines.mpc`). Learned: by each member the other's
number of different keys; by a helper the number of bins. Rounds: those of RR22 and one message for every two words.
Bytes: some 65 for every key of the member that programs and two words of its, 35 for every key of the one that places,
and what SPU takes for a comparison a bin.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fondaco import _kernel
from fondaco.core.codec import encode
from fondaco.engines.base import BadJob, EngineStopped, Job
from fondaco.engines.channel import Channel, connect
from fondaco.engines.mpc.runtime import Session
from fondaco.engines.psi.keys import key_columns, numbered
from fondaco.engines.psi.session import SECURITY, agree_key, agree_sizes, drive, engine_error, message_limit

CONFIGURATION = "rr22-circuit"
MAX_KEYS = 1 << 21
_FREE = 0xFFFF_FFFF
_MAX_BINS = 1 << 22
_MAX_WORDS = 255
_NONE = np.zeros((0, 0), dtype=np.int64)

Array = NDArray[Any]


def keyed_rows(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The rows that have no null in a key column, with all columns.

    Raises:
        BadJob: a key column that is not there, or is named twice.
    """
    whole = key_columns(table, names)
    if whole.num_rows == table.num_rows:
        return table
    there = pc.is_valid(table.column(names[0]))
    for name in names[1:]:
        there = pc.and_(there, pc.is_valid(table.column(name)))
    return table.filter(there)


def places(keys: tuple[int, int], words: tuple[int, int]) -> int:
    """The member that has the table, by the bytes that go over the wire; both find the same. The other programs."""

    def cost(rank: int) -> int:
        table, program = rank, 1 - rank
        bins = 13 * keys[table] // 10
        return bins * (200 + 24 * (words[table] + 2 * words[program])) + 62 * keys[program] * (words[program] // 2 + 1)

    return 0 if cost(0) <= cost(1) else 1


@dataclasses.dataclass(frozen=True)
class Meeting:
    """Two members whose keys have identifiers and who know each other's number of keys.

    `numbers`, of shape (rows,), says for each row which of the `keys` different keys it has.
    """

    job: Job
    channel: Channel
    ids: Array
    numbers: Array
    peer_keys: int

    @property
    def keys(self) -> int:
        """How many different keys this member has."""
        return len(self.ids)

    def summed(self, values: Array) -> Array:
        """For each key the sum of its rows' values: shape (keys,), int64; the caller has checked that it fits."""
        out = np.zeros(self.keys, dtype=np.int64)
        np.add.at(out, self.numbers, values)
        return out

    def labelled(self, labels: Array, column: str) -> Array:
        """For each key the label (0 or more; below: none) that all of its rows have which have one.

        Raises:
            BadJob: a key has rows of different labels.
        """
        low = np.full(self.keys, np.iinfo(np.int64).max, dtype=np.int64)
        high = np.full(self.keys, -1, dtype=np.int64)
        there = labels >= 0
        np.minimum.at(low, self.numbers[there], labels[there])
        np.maximum.at(high, self.numbers[there], labels[there])
        if ((low != high) & (high >= 0)).any():
            raise BadJob(
                "a key has rows of more than one group", remedy="group by a column that the key decides", column=column
            )
        return high


@contextmanager
def meet(job: Job, rows: pa.Table, names: Sequence[str], sockets: Path) -> Iterator[Meeting]:
    """Link up with the other member with data and make identifiers of the keys of `rows` (`keyed_rows`).

    Raises:
        BadJob: the other runs other parameters, or there are too many keys.
        EngineStopped: the peer went away or does not follow the protocol.
    """
    agreed = hashlib.sha256(encode([*sorted(job.receivers), job.parameters])).digest()
    with connect(job, sockets) as channel:
        session_key = agree_key(channel, rank=job.rank, security=SECURITY[0], terms=agreed)
        ids, numbers = numbered(rows.select(list(names)), session_key)
        peer_keys = agree_sizes(channel, len(ids))
        if len(ids) > MAX_KEYS:
            raise BadJob(f"a circuit takes at most {MAX_KEYS} keys of a party", remedy="split the set by a key column")
        if peer_keys > MAX_KEYS:
            raise EngineStopped(f"{channel.peer} brings more keys than a circuit takes", remedy="see its own cause")
        yield Meeting(job, channel, ids, numbers, peer_keys)


@dataclasses.dataclass(frozen=True)
class Bins:
    """One member's words of all bins: `compared` (bins,), `brought` (own words, bins), `shares` (other's words, bins).

    The member that programs has its own words as `shares` and brings none. int64, of which all bits count.
    """

    compared: Array
    brought: Array
    shares: Array


def bins_of(meeting: Meeting, own: Array, words: tuple[int, int]) -> Bins | None:
    """Run the programmable function on `own`, of shape (words, keys); None where a member has no keys.

    Raises:
        EngineStopped: the link broke, the peer does not follow the protocol, or it did not come out (2**-40).
    """
    if not meeting.keys or not meeting.peer_keys:
        return None
    rank = meeting.job.rank
    keys = (meeting.keys, meeting.peer_keys) if rank == 0 else (meeting.peer_keys, meeting.keys)
    table = places(keys, words)
    first = rank == table
    payload = b"" if first else np.ascontiguousarray(own.T).astype("<i8").tobytes()
    count = words[1 - table]
    try:
        party = _kernel.CircuitParty(
            meeting.ids.tobytes(), places=first, peer_keys=meeting.peer_keys, words=count, payload=payload
        )
    except _kernel.ProtocolFault as fault:
        raise engine_error(fault, meeting.channel.peer) from fault
    drive(party, meeting.channel, limit=message_limit(2 * sum(keys)))
    found, placed = party.words(), party.table()
    if found is None:
        raise EngineStopped("the protocol ended without its result", remedy="start the task again")
    all_words = np.frombuffer(found, "<i8").reshape(1 + count, party.bins)
    brought = _NONE
    if placed is not None:
        at = np.frombuffer(placed, "<u4")
        there = at != _FREE
        brought = np.zeros((len(own), party.bins), dtype=np.int64)
        brought[:, there] = own[:, at[there]]
    return Bins(all_words[0], brought, all_words[1:])


@dataclasses.dataclass(frozen=True)
class Hidden:
    """Shared bins: the names of the variables, and how a program makes matches and words of them."""

    names: tuple[str, ...]
    table: int
    words: tuple[int, int]

    def read(self, arguments: Sequence[Any]) -> tuple[Any, tuple[Any, Any]]:
        """In a program: for each bin 1 where its key is shared, else 0; and the words of both members, by rank.

        Words, of shape (words, bins), mean something only where the match is 1. None for a member that brings none.
        """
        import jax.numpy as jnp

        held = dict(zip(self.names, arguments, strict=True))
        match = jnp.equal(held["y"], held["t"]).astype(jnp.int64)
        mine, theirs = held.get("own"), held["z"] + held["r"] if "z" in held else None
        return match, ((mine, theirs) if self.table == 0 else (theirs, mine))


def share(session: Session, meeting: Meeting | None, bins: Bins | None, words: tuple[int, int]) -> Hidden | None:
    """Share the bins; a helper, who has none, gives None and no words. None where there are no bins.

    All members learn the number of bins, which member has the table, and the numbers of words.
    """
    keys = (0, 0)
    if meeting is not None:
        keys = (meeting.keys, meeting.peer_keys) if session.rank == 0 else (meeting.peer_keys, meeting.keys)
    count = session.announce(0, 0 if bins is None else len(bins.compared))
    words = (session.announce(0, words[0]), session.announce(0, words[1]))
    table = session.announce(0, places(keys, words))
    if not 0 <= count <= _MAX_BINS or not 0 <= min(words) <= max(words) <= _MAX_WORDS or table not in (0, 1):
        raise EngineStopped("a member announced a size out of bounds", remedy="start the task again")
    if not count:
        return None
    program = 1 - table
    owned: list[tuple[str, int, Array | None, tuple[int, ...]]] = [
        ("y", table, None if bins is None else bins.compared, (count,)),
        ("t", program, None if bins is None else bins.compared, (count,)),
    ]
    if words[table]:
        owned.append(("own", table, None if bins is None else bins.brought, (words[table], count)))
    if words[program]:
        owned.append(("z", table, None if bins is None else bins.shares, (words[program], count)))
        owned.append(("r", program, None if bins is None else bins.shares, (words[program], count)))
    for name, owner, array, shape in owned:
        session.share(owner, name, array if session.rank == owner else None, np.zeros(shape, dtype=np.int64))
    return Hidden(tuple(name for name, _owner, _array, _shape in owned), table, words)
