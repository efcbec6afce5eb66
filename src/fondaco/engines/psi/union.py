"""The union of two sets: each receiver gets the other's keys that it lacks, and not which of its own are shared.

The kernel's membership test and transfer (`crates/kernel/src/union.rs`: Chen et al., PKC 2024, eprint 2022/652), once
for each receiver. Sets are met whole and never in parts: how many keys of a part are shared would tell more than how
many are shared at all. Semi-honest. The sender learns how many keys the receiver has, the receiver how many the sender
has. A sender's key with more text than `key_bytes` ends the step, which tells that there is one.
"""

from __future__ import annotations

import os

import pyarrow as pa

from fondaco import _kernel
from fondaco.engines.base import BadJob, EngineStopped, Job, Outcome
from fondaco.engines.psi.keys import ID_BYTES, identified, rows_at
from fondaco.engines.psi.meeting import Meeting, Place, check_whole, meet, terms
from fondaco.engines.psi.moved import Form, canonical, decoded, encoded
from fondaco.engines.psi.session import drive, message_limit
from fondaco.engines.psi.store import Store

UNITING = "union-ristretto255"
MOST_BYTES = 1 << 31
PARAMETERS = frozenset({"keys", "key_bytes"})


def union(job: Job, inputs: dict[str, pa.Table], place: Place) -> Outcome:
    """All keys that either has.

    Receivers get `result`: the key columns, each key once; first their own in the order of their rows and in their own
    spelling, then the others in no order and in the other's spelling.
    """
    with meet(job, inputs, place, terms(job, PARAMETERS)) as meeting:
        check_whole(meeting)
        own = canonical(rows_at(meeting.store.table, meeting.store.places()))
        form = Form(own.schema, meeting.terms.key_bytes)
        _check_bytes(meeting, form)
        united = own
        for receiver in sorted(job.receivers):
            if receiver == job.rank:
                united = pa.concat_tables([own, _lacking(meeting, form)])
            else:
                _give(meeting, form)
        return meeting.outcome(UNITING, {"result": united})


def _check_bytes(meeting: Meeting, form: Form) -> None:
    """Before either side takes the memory that the parameter asks for: the party whose keys are too much is named."""
    if form.width * meeting.store.rows > MOST_BYTES:
        raise BadJob(f"a union moves at most {MOST_BYTES} bytes of keys", remedy="lower key_bytes, or split the set")
    if form.width * meeting.peer_rows > MOST_BYTES:
        raise EngineStopped(
            f"{meeting.channel.peer} brings more bytes of keys than a union moves", remedy="see its own cause"
        )


def _give(meeting: Meeting, form: Form) -> None:
    """Be the sender."""
    part = meeting.store.all()
    if not len(part.ids):
        return
    payloads = encoded(canonical(rows_at(meeting.store.table, part.places)), form)
    # A receiver without keys brings one that is none, so that nothing else is different.
    party = _kernel.UnionSender(part.ids.tobytes(), payloads, peer_keys=max(meeting.peer_rows, 1), width=form.width)
    drive(party, meeting.channel, limit=message_limit(len(part.ids) + meeting.peer_rows))


def _lacking(meeting: Meeting, form: Form) -> pa.Table:
    """Be the receiver: the other's keys that this member lacks.

    Raises:
        EngineStopped: what came are no keys, or keys that are ours or stand twice.
    """
    if not meeting.peer_rows:
        return pa.Table.from_batches([], schema=form.schema)
    ids = meeting.store.all().ids.tobytes()
    party = _kernel.UnionReceiver(ids or os.urandom(ID_BYTES), peer_keys=meeting.peer_rows, width=form.width)
    rows = meeting.store.rows + meeting.peer_rows
    drive(party, meeting.channel, limit=message_limit(rows) + form.width * meeting.peer_rows)
    return lacking_rows(party.received() or b"", form, meeting.store, meeting.session, meeting.channel.peer)


def lacking_rows(data: bytes, form: Form, store: Store, session: bytes, peer: str) -> pa.Table:
    """The rows that bytes hold of keys that a member lacks.

    Raises:
        EngineStopped: they are no rows, or of keys that it has or that stand twice; the cause names the peer.
    """
    found = decoded(data, form, peer)
    different = store.all().ids.tobytes() + identified(found, session).ids.tobytes()
    if len(_kernel.distinct_places(different)) // 4 != store.rows + found.num_rows:
        raise EngineStopped(f"{peer} sent keys that are not lacking", remedy="do not run again; ask its operator")
    return found
