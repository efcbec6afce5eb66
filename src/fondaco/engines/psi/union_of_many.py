"""The union of three to eight sets: each receiver gets every key that it lacks once, and not who has which.

For each receiver apart, the members stand in order, the receiver first. Every other member holds its keys in a table
and is tested by the receiver and by every member before it (`lacking`). A bin, or *slot*, begins as its key's row and
ten zero bytes, shared among all; the shares of all tests are added. So a slot's sum is the row where nobody before its
owner has the key, and noise where somebody has: of the members that have a key the first in order gives it. Empty bins
are noise. That is Liu and Gao's framework (ASIACRYPT 2023) with the tests and transfers of Dong, Chen, Zhang and Bai
(arXiv 2406.07011, from symmetric keys). The receiver's own shares are given to the others in parts that tell nothing
alone; the others put all slots into one order that they drew among themselves, add shares of zero, and send: one phase
of the shuffle by resharing of Laur, Willemson and Zhang (ISC 2011), its order hidden from the receiver alone. The
receiver adds up, keeps the sums that end in zeros, and sees rows in an order that says nothing.

**Adversary.** Semi-honest. The holder gives the strings in every test, else a receiver that tests could take the noise
out. **Learned.** A receiver: each key that any has and it lacks, once, in the spelling of one that has it; neither who
has it nor how many do. All: how many keys each has. A key with more text than `key_bytes` ends the step, which tells
that there is one. **Collusion.** Members without the receiver learn nothing together unless they are *all* others:
those learn which of their keys the receiver has. A receiver together with another member learns who gave which of the
rows, how many of each one's keys were not new, and which of the other's own keys those before it have. So it is secure
against any one member and, of three, not against two together, as ABY3 is. The shuffle of Dong et al., which withstands
any number, is not here.

**Rounds.** Two to agree, one for the sizes; then for each receiver those of the tests, of which such as have no member
in common go side by side, and three. **Bytes.** For each receiver the tests', and for each slot (1.306 a key of each
other member) the row and ten bytes as many times as there are members. Sizes depend on the numbers of keys and
parameters alone. **Failure.** Noise ends in zeros with probability at most 2**-55 over all slots; a test errs with
2**-40.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from fondaco import _kernel
from fondaco.engines.base import BadJob, Job, Outcome
from fondaco.engines.psi.gathering import Members, gather
from fondaco.engines.psi.keys import ID_BYTES, Array, rows_at
from fondaco.engines.psi.lacking import (
    FREE,
    check_sizes,
    examine,
    hold,
    noise,
    received_rows,
    received_secret,
    send_rows,
    slices,
)
from fondaco.engines.psi.meeting import Place, terms
from fondaco.engines.psi.moved import Form, canonical, encoded
from fondaco.engines.psi.union import PARAMETERS, lacking_rows

UNITING_MANY = "union-opprf-softspoken"
MOST_BYTES = 1 << 30
"""Of all slots of a run: each member has them in memory about three times."""
ZEROS = 10
_ZEROS, _GIVEN, _ORDER = 1, 2, 3


def union_of_many(job: Job, inputs: dict[str, pa.Table], place: Place) -> Outcome:
    """All keys that any has.

    Receivers get `result`: the key columns, each key once; first their own in the order of their rows and in their own
    spelling, then the others in no order and in the spelling of a member that has it.
    """
    with gather(job, inputs, place, terms(job, PARAMETERS)) as members:
        sizes = members.sizes()
        check_sizes(members, sizes)
        own = canonical(rows_at(members.store.table, members.store.places()))
        form = Form(own.schema, members.terms.key_bytes)
        united = own
        for receiver in sorted(job.receivers):
            run = Run(members, form, sizes, receiver)
            if run.slots * run.width > MOST_BYTES:
                raise BadJob(
                    f"a union of many moves at most {MOST_BYTES} bytes of keys",
                    remedy="lower key_bytes, or split the sets",
                )
            if receiver == job.rank:
                united = pa.concat_tables([own, _collect(run)])
            else:
                _contribute(run)
        return members.outcome(UNITING_MANY, {"result": united})


@dataclasses.dataclass(frozen=True)
class Run:
    """The run for one receiver: who stands where, and which slots are whose."""

    members: Members
    form: Form
    sizes: dict[int, int]
    receiver: int

    @property
    def others(self) -> tuple[int, ...]:
        """All but the receiver, in order; the first draws the order of the slots."""
        return tuple(rank for rank in sorted(self.sizes) if rank != self.receiver)

    @property
    def width(self) -> int:
        """Bytes of a slot."""
        return self.form.width + ZEROS

    @property
    def slots(self) -> int:
        """Of all others together."""
        return sum(map(self._bins, self.others))

    def _bins(self, rank: int) -> int:
        return _kernel.lack_bins(self.sizes[rank]) if self.sizes[rank] else 0

    def of(self, rank: int) -> slice:
        """The slots of one of the others."""
        begin = sum(self._bins(other) for other in self.others if other < rank)
        return slice(begin, begin + self._bins(rank))

    def tests(self) -> Iterator[tuple[int, int]]:
        """Tester and holder of each test, in one order for all, in which those of different members go side by side.

        Where one of the two has no keys nothing is to be tested.
        """
        order = (self.receiver, *self.others)
        pairs = [(early, late) for late in range(len(order)) for early in range(late)]
        for early, late in sorted(pairs, key=lambda pair: (sum(pair) % len(order), pair)):
            if self.sizes[order[early]] and self.sizes[order[late]]:
                yield order[early], order[late]

    def secret_of_zeros(self) -> bytes:
        """This member's secrets with all others but the receiver."""
        return self.members.secrets_with(self.others)


def _contribute(run: Run) -> None:
    """Be one of the others: have shares of all slots, put them into the hidden order, send them."""
    members, channel = run.members, run.members.channels[run.receiver]
    shares = _tested(run)
    first = members.job.rank == run.others[0]
    if first:
        secret = os.urandom(ID_BYTES)
        for rank in run.others[1:]:
            members.channels[rank].send(secret)
        for begin, rows in received_rows(channel, run.slots, run.width):
            shares[begin : begin + len(rows)] ^= rows
    else:
        secret = received_secret(members.channels[run.others[0]])
        given = received_secret(channel)
        for at in slices(run.slots):
            shares[at] ^= noise(given, (_GIVEN, run.receiver), at, run.width)
    order, zeros = drawn_order(secret, run.slots), run.secret_of_zeros()
    send_rows(
        channel,
        (shares[order[at]] ^ noise(zeros, (_ZEROS, run.receiver), at, run.width) for at in slices(run.slots)),
    )


def _tested(run: Run) -> Array:
    """This member's shares of all slots when all tests are done, (slots, width) uint8."""
    members, rank = run.members, run.members.job.rank
    shares = np.zeros((run.slots, run.width), np.uint8)
    part = members.store.all()
    ids, table = part.ids.tobytes(), None
    if rank != run.receiver and len(part.ids):
        table = _kernel.LackTable(ids)
        rows = encoded(canonical(rows_at(members.store.table, part.places)), run.form)
        shares[run.of(rank)] = payloads(rows, np.frombuffer(table.places(), "<u4"), run.form.width)
    for tester, holder in run.tests():
        if rank == holder and table is not None:
            found = hold(members.channels[tester], table, run.sizes[tester], run.width, gives=True)
        elif rank == tester:
            found = examine(members.channels[holder], ids, run.sizes[holder], run.width, gives=False)
        else:
            continue
        shares[run.of(holder)] ^= found
    return shares


def payloads(rows: bytes, slots: Array, width: int) -> Array:
    """What slots begin as, (slots, width + ZEROS) uint8: rows of that width and zeros; noise where a bin is empty.

    `slots` has for each the number of its row, or FREE.
    """
    taken = slots != FREE
    found = np.zeros((len(slots), width + ZEROS), np.uint8)
    found[taken, :width] = np.frombuffer(rows, np.uint8).reshape(-1, width)[slots[taken]]
    empty = int((~taken).sum())
    found[~taken] = np.frombuffer(os.urandom(empty * (width + ZEROS)), np.uint8).reshape(empty, width + ZEROS)
    return found


def drawn_order(secret: bytes, count: int) -> Array:
    """A uniformly random order of so many slots, the same for all that know the secret.

    By 64-bit numbers to sort by; where two are alike, which would favour one order, all are drawn anew.
    """
    for attempt in range(1 << 20):
        drawn = (
            noise(secret, (_ORDER, attempt), slice(0, -(-count // 2)), ID_BYTES).copy().view("<u8").reshape(-1)[:count]
        )
        order = np.argsort(drawn)
        sorted_ = drawn[order]
        if not (sorted_[1:] == sorted_[:-1]).any():
            return order
    raise AssertionError("64-bit numbers that are always alike")


def _collect(run: Run) -> pa.Table:
    """Be the receiver: give one's own shares away, add up what comes, read what is no noise.

    Raises:
        EngineStopped: what came are no keys, or keys that are ours or stand twice.
    """
    members, (first, *rest) = run.members, run.others
    secrets = {rank: os.urandom(ID_BYTES) for rank in rest}
    shares = _tested(run)
    for rank, secret in secrets.items():
        members.channels[rank].send(secret)
    masks = b"".join(secrets.values())
    send_rows(
        members.channels[first],
        (shares[at] ^ noise(masks, (_GIVEN, run.receiver), at, run.width) for at in slices(run.slots)),
    )
    shares[:] = 0
    for rank in run.others:
        for begin, rows in received_rows(members.channels[rank], run.slots, run.width):
            shares[begin : begin + len(rows)] ^= rows
    return lacking_rows(opened(shares, run.form.width), run.form, members.store, members.session, _one_of(run))


def opened(sums: Array, width: int) -> bytes:
    """The rows of sums that are no noise."""
    return sums[~sums[:, width:].any(axis=1), :width].tobytes()


def _one_of(run: Run) -> str:
    names = [run.members.job.parties[rank] for rank in run.others]
    return f"one of {', '.join(names)}"
