"""Unbalanced intersection: a large set that its owner prepared once, and a client's few keys looked up in it.

The kernel's part and what it withstands: `crates/kernel/src/unbalanced.rs` (after Kales et al., USENIX Security 2019).
The provider evaluates the oblivious function of RFC 9497 on every key under a key of its own and keeps that key and the
table of shortened outputs; the vault has both beside the dataset's version (`exchange.preparations`), so the next run
reads no row. It may do so ahead of any run (`PREPARE`): the same work with no peer, nothing of which leaves the node.
A client that has no table of this version, by its digest, is sent it once and keeps it.

**Learned.** The client: which of its keys the provider has, how many the provider has, and, from the table's digest,
whether the set was prepared anew. The provider: how many keys the client asks, and whether it had the table. With the
table nothing can be tested without asking: each key costs a point of a run. A use of the grant pays for one task: for a
run of each of its steps (16) in each of its attempts (five) at most, each of up to `MOST_ASKED` keys.
**Linked.** One key of the provider's serves all clients of a version, so two clients that put their results together
see what both found, as they would anyway; their questions are blinded afresh and link to nothing. Another version has
another key: its table has nothing in common with the last one's.
**Adversary.** A client may do as it likes. A provider that does can make the result wrong, and learns nothing.

Rounds: two. Bytes: 64 a key of the client's; the table, where it is sent, about 8 a key of the provider's.
Identifiers are made under a public key, so that they are the same for every client: the function hides them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa

from fondaco import _kernel
from fondaco.core.codec import Value, encode
from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.engines import checks
from fondaco.engines.base import PREPARED, BadJob, EngineStopped, Job, Outcome, Report, Told, untold
from fondaco.engines.channel import Channel, connect
from fondaco.engines.keep import Keep
from fondaco.engines.pir.parts import as_table, from_table
from fondaco.engines.psi.keys import Keys, identified, key_columns
from fondaco.engines.psi.meeting import Place, Terms
from fondaco.engines.psi.session import agree_key, drive
from fondaco.errors import CodecError

T = TypeVar("T")
PREPARE = "prepare"
"""The operation of a provider alone; no workflow can name it."""
CONFIGURATION = "rfc9497-ristretto255-prepared"
MOST_ASKED = 1 << 20
MAX_KEYS = 1 << 26
FORMAT = 1
_PUBLIC = hashlib.sha256(b"fondaco/psi/unbalanced/1").digest()
_TABLE = "table"
_COUNT_BYTES = 8
_LIMIT = 256
_POINT_BYTES = 32
_FLOOR = 1 << 12


@message("psi.prepared/1")
class Head:
    """A prepared set: how many keys, and the secret key that its table was made with."""

    keys: int
    secret: bytes = dataclasses.field(repr=False)


@message("psi.ask/1")
class Ask:
    """How many keys the client has, and the digest of the table that it keeps, or nothing."""

    rows: int
    table: bytes


@message("psi.offer/1")
class Offer:
    """How many keys the provider has, its table's digest, and whether the table comes next."""

    keys: int
    digest: bytes
    comes: bool


def set_label(columns: Sequence[str], keys: Sequence[str]) -> str:
    """The label under which a prepared set is kept beside its dataset."""
    described: Value = ["psi-unbalanced", FORMAT, list(columns), list(keys)]
    return f"psi-{hashlib.sha256(encode(described)).hexdigest()}"


def prepare(table: pa.Table, names: Sequence[str], told: Told = untold) -> list[bytes]:
    """A table's different keys without nulls, prepared: the head, a secret, and the table, which is none.

    Raises:
        BadJob: more keys than a set has.
    """
    keys = identified(key_columns(table, names), _PUBLIC)
    if len(keys) > MAX_KEYS:
        raise BadJob(f"a prepared set has at most {MAX_KEYS} keys", remedy="split the dataset")
    if not len(keys):
        return [to_bytes(Head(keys=0, secret=b"")), b""]
    secret, tags = _kernel.prepare_set(keys.ids.tobytes(), told)
    return [to_bytes(Head(keys=len(keys), secret=secret)), tags]


def _digest(keys: int, tags: bytes) -> bytes:
    return hashlib.sha256(keys.to_bytes(_COUNT_BYTES, "big") + tags).digest()


def _said(kind: type[T], channel: Channel) -> T:
    try:
        return from_bytes(kind, channel.receive(_LIMIT), limit=_LIMIT)
    except CodecError as fault:
        raise EngineStopped(f"{channel.peer} does not speak as this operation does", remedy="start again") from fault


def _out_of_bounds(peer: str, what: str) -> EngineStopped:
    return EngineStopped(f"{peer} sent {what} out of bounds", remedy="see that both run the same version")


def unbalanced(job: Job, inputs: dict[str, pa.Table], place: Place, what: Terms) -> Outcome:
    """One side of a run: the receiver is the client and gets `match`, its shared keys in the order of its rows.

    Raises:
        BadJob: not one receiver, too many keys, a prepared set that is damaged.
        EngineStopped: the peer went away or does not follow the protocol.
    """
    if len(job.receivers) != 1:
        raise BadJob("an unbalanced intersection has one receiver, the client", remedy="correct the step")
    agreed = hashlib.sha256(encode([*sorted(job.receivers), job.parameters])).digest()
    side = _ask if job.learns else _provide
    return side(job, inputs, place, what, agreed)


# -- the provider -------------------------------------------------------------------------------------------------


def _prepared(inputs: dict[str, pa.Table], names: Sequence[str], told: Told = untold) -> tuple[Head, list[bytes], bool]:
    """The head, all parts, and whether they are new."""
    fresh = PREPARED not in inputs
    parts = prepare(inputs["data"], names, told) if fresh else from_table(inputs[PREPARED])
    try:
        head = from_bytes(Head, parts[0], limit=_LIMIT)
        whole = len(parts) == 2 and len(parts[1]) == (_kernel.prepared_table_size(head.keys) if head.keys else 0)
    except (CodecError, IndexError) as fault:
        raise BadJob("the prepared set is damaged", remedy="remove it; the next run makes it anew") from fault
    if not whole:
        raise BadJob("the prepared set is damaged", remedy="remove it; the next run makes it anew")
    return head, parts, fresh


def prepare_alone(job: Job, inputs: dict[str, pa.Table], told: Told) -> Outcome:
    """Prepare a provider's set and send nothing to anyone; the report's rows are its keys, and those evaluated now.

    Raises:
        BadJob: no such columns, too many keys, a prepared set that is damaged.
    """
    started = time.monotonic()
    head, parts, fresh = _prepared(inputs, checks.key_columns(job), told)
    done = _report(head.keys, head.keys if fresh else 0, started, started)
    return Outcome({PREPARED: as_table(parts)} if fresh else {}, done)


def _provide(job: Job, inputs: dict[str, pa.Table], place: Place, what: Terms, agreed: bytes) -> Outcome:
    started = time.monotonic()
    head, parts, fresh = _prepared(inputs, what.keys)
    with connect(job, place.sockets) as channel:
        linked = time.monotonic()
        agree_key(channel, rank=job.rank, security=what.security, terms=agreed)
        asked = _said(Ask, channel)
        if not 0 <= asked.rows <= MOST_ASKED:
            raise _out_of_bounds(channel.peer, "a number of keys")
        digest, meets = _digest(head.keys, parts[1]), bool(asked.rows and head.keys)
        comes = meets and asked.table != digest
        channel.send(to_bytes(Offer(keys=head.keys, digest=digest, comes=comes)))
        if comes:
            channel.send(parts[1])
        if meets:
            server = _kernel.PreparedServer(head.secret, asked=asked.rows)
            drive(server, channel, limit=_FLOOR + _POINT_BYTES * asked.rows)
    told = {PREPARED: as_table(parts)} if fresh else {}
    return Outcome(told, _report(head.keys, 0, started, linked))


# -- the client ---------------------------------------------------------------------------------------------------


def _cached(keep: Keep | None) -> tuple[int, bytes] | None:
    """The table that is kept and for how many keys it is."""
    kept = None if keep is None else keep.read(_TABLE)
    if kept is None or len(kept) < _COUNT_BYTES:
        return None
    return int.from_bytes(kept[:_COUNT_BYTES], "big"), kept[_COUNT_BYTES:]


def _table(channel: Channel, offer: Offer, cached: tuple[int, bytes] | None, keep: Keep | None) -> bytes:
    """The provider's table: the one that is kept, or the one that comes, which is kept then."""
    if not offer.comes:
        if cached is None or _digest(*cached) != offer.digest:
            raise _out_of_bounds(channel.peer, "no table where none is here")
        return cached[1]
    tags = channel.receive(_kernel.prepared_table_size(offer.keys))
    if _digest(offer.keys, tags) != offer.digest:
        raise _out_of_bounds(channel.peer, "another table than it named")
    if keep is not None:
        keep.write(_TABLE, offer.keys.to_bytes(_COUNT_BYTES, "big") + tags)
    return tags


def _ask(job: Job, inputs: dict[str, pa.Table], place: Place, what: Terms, agreed: bytes) -> Outcome:
    started = time.monotonic()
    keys = identified(key_columns(inputs["data"], what.keys), _PUBLIC)
    if len(keys) > MOST_ASKED:
        raise BadJob(
            f"a client of a prepared set brings at most {MOST_ASKED} keys", remedy="use intersection, or split the set"
        )
    cached = _cached(place.keep)
    with connect(job, place.sockets) as channel:
        linked = time.monotonic()
        agree_key(channel, rank=job.rank, security=what.security, terms=agreed)
        channel.send(to_bytes(Ask(rows=len(keys), table=b"" if cached is None else _digest(*cached))))
        offer = _said(Offer, channel)
        if not 0 <= offer.keys <= MAX_KEYS:
            raise _out_of_bounds(channel.peer, "a number of keys")
        found = np.empty(0, np.uint32)
        if len(keys) and offer.keys:
            found = _looked_up(keys, offer, channel, _table(channel, offer, cached, place.keep))
    match = keys.rows(found)
    return Outcome({"match": match}, _report(len(keys), match.num_rows, started, linked))


def _looked_up(keys: Keys, offer: Offer, channel: Channel, tags: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """The numbers of the keys that the provider has, ascending."""
    try:
        client = _kernel.PreparedClient(keys.ids.tobytes(), table=tags, table_keys=offer.keys)
    except _kernel.Malformed as fault:
        raise _out_of_bounds(channel.peer, "a table") from fault
    drive(client, channel, limit=_FLOOR + _POINT_BYTES * len(keys))
    matched = client.matched()
    return np.sort(np.frombuffer(matched or b"", "<u4"))


def _report(rows_in: int, rows_out: int, started: float, linked: float) -> Report:
    return Report(
        configuration=CONFIGURATION,
        rows_in=rows_in,
        rows_out=rows_out,
        link_micros=int((linked - started) * 1e6),
        total_micros=int((time.monotonic() - started) * 1e6),
    )
