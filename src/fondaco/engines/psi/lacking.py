"""Which of one member's keys others lack, as shares that tell nothing alone; and the difference of three to eight sets.

**A test.** A *holder* puts its keys into a cuckoo table, a *tester* programs its own, and for each bin the two have a
share each: equal ones where the tester lacks the bin's key, unrelated noise otherwise (`crates/kernel/src/lack`: a
batch of secret-shared membership tests, then a random oblivious transfer a bin). That is the pattern of Liu and Gao
(ASIACRYPT 2023) and of Dong, Chen, Zhang and Bai (arXiv 2406.07011). In the transfer one side gives two strings and the
other chooses one: **who will see sums of shares must be the one that chooses**, for to who gives them the noise is no
noise.

**The difference of many.** For each receiver apart: it holds, every other tests and gives. Each other adds a share of
zero, from secrets that only the others have, and sends the receiver its shares; the receiver adds all of them to its
own. A bin's sum is zero where all lack its key. So a difference is the case "in none" of Dong et al., *Multi-Party
Private Set Operations from Predicative Zero-Sharing* (arXiv 2504.20050).

**Adversary.** Semi-honest. **Learned.** The receiver: which of its keys nobody else has, and how many keys each has;
alone it learns nothing of who has one that somebody has. Each other: how many keys the receiver has. **Collusion.** Any
members without the receiver learn nothing together. The receiver with others learns which of its keys no member
*outside* that circle has: what it would learn if its fellows had brought no keys. So two colluding members of three
learn the receiver's intersection with the third. **Rounds.** Two to agree, then for each receiver one for the sizes,
for each other in turn those of a test, and one. **Bytes.** Those of the tests, then 8 for each bin (1.306 a key of the
receiver's) of each other. Sizes depend on the numbers of keys alone. **Failure.** A key is wrongly said to be lacking
with probability at most 2**-42 over all bins, and wrongly found by a test with 2**-40 a test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from fondaco import _kernel
from fondaco.engines.base import BadJob, EngineStopped, Job, Outcome
from fondaco.engines.channel import Channel
from fondaco.engines.psi.gathering import Members, gather
from fondaco.engines.psi.keys import ID_BYTES, Array, rows_at
from fondaco.engines.psi.meeting import Place, terms
from fondaco.engines.psi.session import drive, hear_size, message_limit, tell_size

LACKING = "lacking-opprf-softspoken"
MOST_KEYS = 1 << 21
"""Keys of a member: one table holds them."""
FREE = (1 << 32) - 1
_ZERO_BYTES = 8
_ROWS = 1 << 18
_PARAMETERS = frozenset({"keys", "security"})
_ZEROS = 0


def difference_of_many(job: Job, inputs: dict[str, pa.Table], place: Place) -> Outcome:
    """The receiver's own keys that no other has.

    Receivers get `result`: the key columns, each key once, in the order of their rows.
    """
    with gather(job, inputs, place, terms(job, _PARAMETERS)) as members:
        places = np.empty(0, np.uint32)
        for receiver in sorted(job.receivers):
            if receiver == job.rank:
                places = _lead(members)
            else:
                _follow(members, receiver)
        return members.outcome(LACKING, {"result": rows_at(members.store.table, places)})


def _lead(members: Members) -> Array:
    """Receive: the rows of the keys that no other has, in ascending order."""
    store, sizes = members.store, {}
    for rank, channel in members.channels.items():
        tell_size(channel, store.rows)
        sizes[rank] = hear_size(channel)
    check_sizes(members, sizes | {members.job.rank: store.rows})
    if not store.rows:
        return np.empty(0, np.uint32)
    part = store.all()
    table = _kernel.LackTable(part.ids.tobytes())
    sums = np.zeros((table.bins, _ZERO_BYTES), np.uint8)
    for rank, channel in members.channels.items():
        # Whoever has no keys lacks them all: its share is that of zero alone.
        if sizes[rank]:
            sums ^= hold(channel, table, sizes[rank], _ZERO_BYTES, gives=False)
    for channel in members.channels.values():
        for begin, rows in received_rows(channel, table.bins, _ZERO_BYTES):
            sums[begin : begin + len(rows)] ^= rows
    slots = np.frombuffer(table.places(), "<u4")
    found: Array = np.sort(part.places[slots[(slots != FREE) & ~sums.any(axis=1)]])
    return found


def _follow(members: Members, receiver: int) -> None:
    """Help a receiver: test, and send the shares under a share of zero."""
    store, channel = members.store, members.channels[receiver]
    tell_size(channel, store.rows)
    rows = hear_size(channel)
    check_sizes(members, {receiver: rows, members.job.rank: store.rows})
    if not rows:
        return
    bins = _kernel.lack_bins(rows)
    shares = np.zeros((bins, _ZERO_BYTES), np.uint8)
    if store.rows:
        shares = examine(channel, store.all().ids.tobytes(), rows, _ZERO_BYTES, gives=True)
    secrets = members.secrets_with(set(members.channels) - {receiver})
    send_rows(channel, (shares[at] ^ noise(secrets, (_ZEROS, receiver), at, _ZERO_BYTES) for at in slices(bins)))


def check_sizes(members: Members, sizes: dict[int, int]) -> None:
    """Refuse sets that are too large for one table; whose it is hears so of itself, the others of it.

    Raises:
        BadJob: this member's. EngineStopped: another's.
    """
    for rank, rows in sorted(sizes.items()):
        if rows <= MOST_KEYS:
            continue
        if rank == members.job.rank:
            raise BadJob(
                f"among more than two parties this operation takes at most {MOST_KEYS} keys of a party",
                remedy="split the set by a key column",
            )
        raise EngineStopped(
            f"{members.job.parties[rank]} brings more keys than this operation takes", remedy="see its own cause"
        )


def hold(channel: Channel, table: _kernel.LackTable, peer_keys: int, width: int, *, gives: bool) -> Array:
    """Be the holder of a test: this side's share of each bin, (bins, width) uint8. `gives`: it gives the strings."""
    party = _kernel.LackHolder(table, peer_keys=peer_keys, width=width, gives=gives)
    drive(party, channel, limit=message_limit(table.bins + peer_keys))
    return _shares(party.shares(), table.bins, width)


def examine(channel: Channel, ids: bytes, peer_keys: int, width: int, *, gives: bool) -> Array:
    """Be the tester of a test: this side's share of each of the holder's bins. `gives`: it gives the strings."""
    party = _kernel.LackTester(ids, peer_keys=peer_keys, width=width, gives=gives)
    drive(party, channel, limit=message_limit(peer_keys + len(ids) // ID_BYTES))
    return _shares(party.shares(), party.bins, width)


def _shares(raw: bytes | None, bins: int, width: int) -> Array:
    found: Array = np.frombuffer(raw or b"", np.uint8).reshape(bins, width)
    return found


def noise(secrets: bytes, label: tuple[int, int], at: slice, width: int) -> Array:
    """Rows `at` of a pseudorandom matrix of that width under each of the secrets (16 bytes each), added up: uint8.

    Where every two of a group have one secret, what each makes of its own adds up to zero over the group: shares of
    zero as those of Kolesnikov et al. (eprint 2017/799, section 5). A label is used once under a secret.
    """
    blocks = -(-width // ID_BYTES)
    ids = np.empty(((at.stop - at.start) * blocks, 2), "<u8")
    ids[:, 0] = np.arange(at.start * blocks, at.stop * blocks)
    ids[:, 1] = label[0] << 32 | label[1]
    raw = _kernel.zero_shares(ids.tobytes(), secrets)
    found: Array = np.frombuffer(raw, np.uint8).reshape(-1, blocks * ID_BYTES)[:, :width]
    return found


def slices(count: int) -> Iterator[slice]:
    """`count` rows in pieces that memory does not feel."""
    for begin in range(0, count, _ROWS):
        yield slice(begin, min(count, begin + _ROWS))


def send_rows(channel: Channel, pieces: Iterable[Array]) -> None:
    """Send the rows of a matrix, a message for each piece."""
    for piece in pieces:
        channel.send(piece.tobytes())


def received_rows(channel: Channel, count: int, width: int) -> Iterator[tuple[int, Array]]:
    """Rows of a matrix of (count, width) uint8 as they come, and which is the first of them.

    Raises:
        EngineStopped: the link broke, or what came is not as long as it must be.
    """
    for at in slices(count):
        due = (at.stop - at.start) * width
        data = channel.receive(due)
        if len(data) != due:
            raise EngineStopped(
                f"{channel.peer} sent shares of a wrong length", remedy="see that both run the same version"
            )
        yield at.start, np.frombuffer(data, np.uint8).reshape(-1, width)


def received_secret(channel: Channel) -> bytes:
    """A secret for `noise` that another drew.

    Raises:
        EngineStopped: the link broke, or it is not 16 bytes.
    """
    secret = channel.receive(ID_BYTES)
    if len(secret) != ID_BYTES:
        raise EngineStopped(f"{channel.peer} sent a secret of a wrong length", remedy="start the task again")
    return secret
