"""The lookup: an asker brings a table of keys, a provider a table of records or its prepared index.

The receiver of the step is the asker. It gets `result`: its different keys without nulls, in their order, whether
each was found, and the provider's other columns (null where it was not). Rows of the provider with a null in the key
are never found; a key that stands twice is refused by the provider before anything is sent. The provider's outcome
is `prepared`, the parts of its index, when it had to make one: for its own vault, not for anyone to see.

A provider may make it ahead (`PREPARE`): the same work with no peer, nothing of which leaves the node.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from fondaco._kernel import PirAsker, PirFault, PirHead, PirIndex, PirProvider, PirTwoPreparation, PirTwoServer
from fondaco.core.models import Column
from fondaco.engines import checks
from fondaco.engines.base import PREPARED, BadJob, EngineStopped, Excessive, Job, Outcome, Report, Told, untold
from fondaco.engines.channel import Channel, connect
from fondaco.engines.pir.label import batch_size
from fondaco.engines.pir.parts import BEFORE, as_table, from_table
from fondaco.engines.pir.records import Buffers, buffers, columns_of, key_bytes, payload_bytes, read_payload

FOUND = "found"
PREPARE = "prepare"
"""The operation of a provider alone; no workflow can name it."""
CONFIGURATION = "ypir-inspiring-voprf"


_Side = PirAsker | PirProvider | PirTwoPreparation | PirTwoServer


@dataclasses.dataclass(frozen=True)
class Question:
    """What an asker brings: its rows without null keys, and the different keys with the first row of each."""

    rows: pa.Table
    places: dict[bytes, int]

    @property
    def wanted(self) -> list[bytes]:
        """The different keys, in their order."""
        return list(self.places)

    def answered(self, payloads: list[bytes | None], declared: Sequence[Column]) -> pa.Table:
        """The result: the keys' columns, whether each was found, and the columns that were asked for."""
        found = [None if payload is None else _readable(payload, declared) for payload in payloads]
        table = self.rows.take(pa.array(self.places.values(), pa.int64()))
        table = table.append_column(FOUND, pa.array([row is not None for row in found], pa.bool_()))
        for column, values in zip(declared, columns_of(found, declared), strict=True):
            table = table.append_column(column.name, values)
        return table


def _readable(payload: bytes, declared: Sequence[Column]) -> list[object] | None:
    """The values of a record; None for one that is not of the declared columns, as for one that is absent.

    A step that ended by such a record would tell its provider, who alone can seal one, that its key was asked for.
    """
    try:
        row = read_payload(payload, declared)
        columns_of([row], declared)
    except EngineStopped:
        return None
    return row


def question(job: Job, inputs: dict[str, pa.Table]) -> Question:
    """What the asker brings to a lookup.

    Raises:
        BadJob: more keys than the step is for.
    """
    names, most = checks.key_columns(job), checks.most_keys(job)
    rows = with_keys(inputs["data"].select(names), names)
    places: dict[bytes, int] = {}
    for place, key in enumerate(key_bytes(rows, names)):
        places.setdefault(key.as_py(), place)
    if len(places) > most:
        raise BadJob(
            # Not how many: the cause goes to the provider too.
            f"more keys are brought than the {most} that the step asks for",
            remedy="ask for fewer, or raise most_keys as far as the provider allows",
        )
    return Question(rows, places)


@dataclasses.dataclass(frozen=True)
class Kept:
    """An index and whether it is new."""

    index: PirIndex
    fresh: bool


def with_keys(table: pa.Table, names: list[str]) -> pa.Table:
    """The rows that have all of these columns, in one chunk."""
    rows = table
    for name in names:
        if rows.column(name).null_count:
            rows = rows.filter(rows.column(name).is_valid())
    return rows.combine_chunks()


def _damaged() -> BadJob:
    return BadJob("the prepared index is damaged", remedy="remove it; the next lookup makes it anew")


def records_of(table: pa.Table, names: list[str], columns: tuple[Column, ...]) -> tuple[Buffers, Buffers]:
    """Keys and payloads of a provider's rows, as the kernel takes them; rows with a null in the key are left out."""
    rows = with_keys(table, names)
    payload = [column for column in columns if column.name not in names]
    return buffers(key_bytes(rows, names)), buffers(payload_bytes(rows, payload))


def prepare(job: Job, inputs: dict[str, pa.Table], told: Told = untold) -> Kept:
    """The index that a provider's inputs have or make: `prepared`, or `before` updated, or anew from `data`.

    What is large is taken out of `inputs` as soon as it is used, so that it need not lie in memory longer.

    Raises:
        BadJob: the data cannot be asked by key: a key stands twice, or there is too much of it.
    """
    if PREPARED in inputs:
        try:
            return Kept(PirIndex.from_parts(from_table(inputs.pop(PREPARED))), fresh=False)
        except ValueError as fault:
            raise _damaged() from fault
    before = None
    if BEFORE in inputs:
        try:
            before = PirHead(from_table(inputs.pop(BEFORE))[0])
        except (ValueError, IndexError) as fault:
            raise _damaged() from fault
    keys, payloads = records_of(inputs.pop("data"), checks.key_columns(job), job.columns)
    try:
        if before is not None:
            return Kept(PirIndex.renew(before, keys, payloads, told), fresh=True)
        return Kept(PirIndex.build(keys, payloads, batch_size(checks.most_keys(job)), told), fresh=True)
    except ValueError as fault:
        raise BadJob(
            f"the dataset cannot be asked by these keys: {fault}", remedy="choose key columns that tell rows apart"
        ) from fault


_SAME = "see that both servers published the same data, by the same keys"


def excessive(who: str, cause: str) -> Excessive:
    """The refusal of a description by `who` that comes to more than is allowed here."""
    return Excessive(
        f"{who}: {cause}",
        remedy="ask for fewer keys or columns in a step; if the dataset is as large as its provider says, "
        "allow more memory (asker_memory_mib in node.json) and start the task again",
    )


def drive(party: _Side, channel: Channel) -> None:
    """Carry a side's messages over its channel until it has finished.

    Raises:
        EngineStopped: the peer went away or does not follow the protocol. Excessive: it says of its data what this side
            allows no memory for. BadJob: the sides do not fit together.
    """
    incoming: bytes | None = None
    try:
        while True:
            what, message = party.next(incoming)
            incoming = None
            if what == "finished":
                return
            if what == "receive":
                incoming = channel.receive(party.limit)
            elif message is not None:
                channel.send(message)
    except PirFault as fault:
        kind, cause = fault.args
        if kind == "differ":
            # Of two servers: each would be the liar to itself, and none is known to be one.
            raise EngineStopped(f"{cause}: no one can tell which are right", remedy=_SAME) from fault
        if kind == "excessive":
            raise excessive(channel.peer, cause) from fault
        raise EngineStopped(
            f"{channel.peer}: {cause}" if kind in ("malformed", "cheated") else str(cause),
            remedy="see that both run the same version, then start the task again",
        ) from fault
    except ValueError as fault:
        raise BadJob(str(fault), remedy="see that the same data were published, and by which keys") from fault


def _prepare_alone(job: Job, inputs: dict[str, pa.Table], told: Told, started: float) -> Outcome:
    """Make the index and send nothing to anyone; the report's rows are those of the index, and those sealed anew."""
    kept = prepare(job, inputs, told)
    sealed = kept.index.fresh if kept.fresh else 0
    done = report(CONFIGURATION, kept.index.records, sealed, started, started)
    return Outcome({PREPARED: as_table(kept.index.parts())} if kept.fresh else {}, done)


def _provide(job: Job, inputs: dict[str, pa.Table], sockets: Path, told: Told, started: float) -> Outcome:
    kept = prepare(job, inputs, told)
    with connect(job, sockets) as channel:
        linked = time.monotonic()
        drive(PirProvider(kept.index, checks.most_keys(job)), channel)
    done = report(CONFIGURATION, kept.index.records, 0, started, linked)
    return Outcome({PREPARED: as_table(kept.index.parts())} if kept.fresh else {}, done)


def _ask(job: Job, inputs: dict[str, pa.Table], sockets: Path, started: float) -> Outcome:
    asked = question(job, inputs)
    provider = 1 - job.rank
    asker = PirAsker(asked.wanted, checks.most_keys(job), records=job.rows_of(provider), memory=job.memory_mib << 20)
    with connect(job, sockets) as channel:
        linked = time.monotonic()
        drive(asker, channel)
    names = checks.key_columns(job)
    table = asked.answered(asker.payloads(), [column for column in job.peer_columns if column.name not in names])
    return Outcome({"result": table}, report(CONFIGURATION, asked.rows.num_rows, table.num_rows, started, linked))


def report(configuration: str, rows_in: int, rows_out: int, started: float, linked: float) -> Report:
    """How a run went, that began and was linked at these times of the monotonic clock."""
    return Report(
        configuration=configuration,
        rows_in=rows_in,
        rows_out=rows_out,
        link_micros=int((linked - started) * 1e6),
        total_micros=int((time.monotonic() - started) * 1e6),
    )


def run(job: Job, inputs: dict[str, pa.Table], sockets: Path, told: Told = untold) -> Outcome:
    """Run one side of a lookup, or prepare for lookups to come.

    Raises:
        BadJob: a step that cannot be done as asked. EngineStopped: the peer went away or does not follow the protocol.
    """
    started = time.monotonic()
    if job.operation == PREPARE and len(job.parties) == 1:
        return _prepare_alone(job, inputs, told, started)
    checks.check_job(job)
    if job.learns:
        return _ask(job, inputs, sockets, started)
    return _provide(job, inputs, sockets, told, started)
