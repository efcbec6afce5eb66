"""How three and more members of a set operation come together: links, secrets, a session key, terms and sizes.

Every two members share a secret that no third has; all share the session key of the identifiers. A member that cannot
go on tells the others why before it goes. Rounds: two.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import time
from collections.abc import Collection, Iterator, Mapping

import pyarrow as pa

from fondaco.core.codec import encode
from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.engines.base import BadJob, EngineStopped, Job, Outcome, Report
from fondaco.engines.channel import Channel, connect_all
from fondaco.engines.psi.keys import ID_BYTES, key_columns
from fondaco.engines.psi.meeting import Place, Terms
from fondaco.engines.psi.session import SHARE_BYTES, hear_size, tell_size
from fondaco.engines.psi.store import Store
from fondaco.errors import CodecError

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
class Members:
    """One run whose members have agreed: `secrets` are those of this member with each other one by rank, 16 bytes each.

    `session` is the key of the identifiers, 32 bytes.
    """

    job: Job
    terms: Terms
    channels: dict[int, Channel]
    session: bytes = dataclasses.field(repr=False)
    secrets: dict[int, bytes] = dataclasses.field(repr=False)
    store: Store
    started: float
    linked: float

    def secrets_with(self, ranks: Collection[int]) -> bytes:
        """The secrets with those of `ranks` that are others, one after the other by rank."""
        return b"".join(secret for rank, secret in sorted(self.secrets.items()) if rank in ranks)

    def sizes(self) -> dict[int, int]:
        """How many different keys every member has, by rank: tells all others, and hears it of them."""
        for channel in self.channels.values():
            tell_size(channel, self.store.rows)
        heard = {rank: hear_size(channel) for rank, channel in self.channels.items()}
        return heard | {self.job.rank: self.store.rows}

    def outcome(self, configuration: str, tables: Mapping[str, pa.Table]) -> Outcome:
        """The outcome of this member: tables if it learns, the main one first, and the report."""
        told = dict(tables) if self.job.learns else {}
        report = Report(
            configuration=configuration,
            rows_in=self.store.rows,
            rows_out=next(iter(told.values())).num_rows if told else 0,
            link_micros=int((self.linked - self.started) * 1e6),
            total_micros=int((time.monotonic() - self.started) * 1e6),
        )
        return Outcome(told, report)


@contextlib.contextmanager
def gather(job: Job, inputs: dict[str, pa.Table], place: Place, what: Terms) -> Iterator[Members]:
    """Link up with all, agree on secrets and terms, and make identifiers.

    Raises:
        BadJob: key columns that are not there, or another member's other terms.
        EngineStopped: a member went away or does not follow the protocol.
    """
    started = time.monotonic()
    table = key_columns(inputs["data"], what.keys)
    agreed = hashlib.sha256(encode([*sorted(job.receivers), job.parameters])).digest()
    with connect_all(job, place.sockets) as channels:
        linked = time.monotonic()
        session, secrets = agree(job, channels, agreed)
        with Store(table, session, scratch=place.scratch) as store:
            yield Members(job, what, channels, session, secrets, store, started, linked)


def agree(job: Job, channels: dict[int, Channel], agreed: bytes) -> tuple[bytes, dict[int, bytes]]:
    """The session key of all (32 bytes), and this member's secrets with each other one, by rank, 16 bytes each.

    Raises:
        BadJob: another member has other terms. EngineStopped: a link broke, or what came is no such word.
    """
    share = os.urandom(SHARE_BYTES)
    pairs = {rank: os.urandom(SHARE_BYTES) for rank in channels}
    for rank, channel in channels.items():
        channel.send(to_bytes(Joining(share=share, pair=pairs[rank], terms=agreed)))
    shares, secrets = {job.rank: share}, {}
    for rank, channel in channels.items():
        told = heard(channel, agreed)
        shares[rank] = told.share
        both = (pairs[rank], told.pair) if job.rank < rank else (told.pair, pairs[rank])
        secrets[rank] = hashlib.sha256(_PAIR + b"".join(both)).digest()[:ID_BYTES]
    return hashlib.sha256(_SESSION + b"".join(shares[rank] for rank in sorted(shares))).digest(), secrets


def heard(channel: Channel, agreed: bytes) -> Joining:
    """What a member says first.

    Raises:
        BadJob: it has other terms. EngineStopped: the link broke, or it is no such word.
    """
    try:
        told = from_bytes(Joining, channel.receive(_JOINING_LIMIT), limit=_JOINING_LIMIT)
    except CodecError as fault:
        raise EngineStopped(f"{channel.peer} sent no greeting", remedy="start the task again") from fault
    if told.terms != agreed:
        raise BadJob(
            f"{channel.peer} runs this step with other parameters",
            remedy="see that all run the same version of this software",
        )
    if (len(told.share), len(told.pair)) != (SHARE_BYTES, SHARE_BYTES):
        raise EngineStopped(f"{channel.peer} sent a greeting out of bounds", remedy="start the task again")
    return told
