"""The lookup at two servers: an asker, and two institutions that hold the same records and do not collude.

Point functions (Boyle, Gilboa, Ishai, eprint 2018/707) ask both servers for sums of rows, in which neither sees what is
asked for; rows carry proofs (Colombo et al., eprint 2023/297), so a false answer is caught, whether the key is there or
not; records are sealed under the outputs of both servers' functions (RFC 9497), so each server's own limit holds.
Parameters are in the kernel (`crates/kernel/src/pir/two`).

Adversary: either server alone, whatever it does to the asker's messages; while they make their index together the
servers follow the protocol, and one that does not makes records look absent. Collusion: both servers together learn
which rows, and so which records, are asked for. Learned: see `base.LEAKAGE`. Rounds: two, and one for each 16 records.
Bytes: for a million records of 256 bytes, 0.9 KB up and 1.7 KB down a key and server, and 0.14 MB once.

The first party asks and alone receives. The servers make their index when they first need it, or one of them has lost
it; that is new secrets and all of the work, whatever changed. Each one's outcome is then `prepared`, for its own vault.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from fondaco._kernel import PirFault, PirTwoAsker, PirTwoIndex, PirTwoPreparation, PirTwoServer
from fondaco.engines import checks
from fondaco.engines.base import PREPARED, BadJob, EngineStopped, Job, Outcome
from fondaco.engines.channel import Channel, connect_all, run_digest
from fondaco.engines.pir.lookup import drive, excessive, question, records_of, report
from fondaco.engines.pir.parts import as_table, from_table

OPERATION = "two-server-lookup"
CONFIGURATION = "two-server-dpf-voprf"
_ASKER = 0
_AGAIN = "see that all run the same version, then start the task again"


def _kept(inputs: dict[str, pa.Table]) -> PirTwoIndex | None:
    if PREPARED not in inputs:
        return None
    try:
        return PirTwoIndex.from_parts(from_table(inputs.pop(PREPARED)))
    except ValueError as fault:
        raise BadJob("the prepared index is damaged", remedy="remove it; the next lookup makes it anew") from fault


def _preparation(job: Job, inputs: dict[str, pa.Table]) -> PirTwoPreparation:
    keys, payloads = records_of(inputs.pop("data"), checks.key_columns(job), job.columns)
    try:
        return PirTwoPreparation(job.rank == 1, keys, payloads, _kept(inputs), run_digest(job))
    except ValueError as fault:
        raise BadJob(
            f"the dataset cannot be asked by these keys: {fault}", remedy="choose key columns that tell rows apart"
        ) from fault


def _serve(job: Job, inputs: dict[str, pa.Table], channels: Mapping[int, Channel]) -> tuple[dict[str, pa.Table], int]:
    preparation = _preparation(job, inputs)
    drive(preparation, channels[3 - job.rank])
    index, fresh = preparation.index()
    drive(PirTwoServer(job.rank - 1, index, checks.most_keys(job)), channels[_ASKER])
    return {PREPARED: as_table(index.parts())} if fresh else {}, index.records


def _drive_both(asker: PirTwoAsker, servers: tuple[Channel, Channel]) -> None:
    incoming: tuple[bytes, bytes] | None = None
    first, second = servers
    try:
        while True:
            what, messages = asker.next(incoming)
            incoming = None
            if what == "finished":
                return
            if what == "receive":
                limits = asker.limits
                incoming = first.receive(limits[0]), second.receive(limits[1])
            elif messages is not None:
                first.send(messages[0])
                second.send(messages[1])
    except PirFault as fault:
        kind, cause, server = fault.args
        who = f"{first.peer} or {second.peer}" if server is None else servers[server].peer
        if kind == "excessive":
            # Both said it, or they had been found to differ.
            raise excessive(f"{first.peer} and {second.peer}", cause) from fault
        raise EngineStopped(f"{who}: {cause}" if kind in ("malformed", "cheated") else cause, remedy=_AGAIN) from fault


def _ask(job: Job, inputs: dict[str, pa.Table], channels: Mapping[int, Channel]) -> tuple[pa.Table, int]:
    asked = question(job, inputs)
    # Both hold the same records, so neither has more than the ledger says of either.
    known = [rows for rows in map(job.rows_of, (1, 2)) if rows is not None]
    asker = PirTwoAsker(
        asked.wanted, checks.most_keys(job), records=min(known, default=None), memory=job.memory_mib << 20
    )
    _drive_both(asker, (channels[1], channels[2]))
    names = checks.key_columns(job)
    of_first = zip(job.peer_ranks, job.peer_columns, strict=True)
    declared = [column for rank, column in of_first if rank == 1 and column.name not in names]
    return asked.answered(asker.payloads(), declared), asked.rows.num_rows


def run(job: Job, inputs: dict[str, pa.Table], sockets: Path) -> Outcome:
    """Run one member's part.

    Raises:
        BadJob: a step that cannot be done as asked.
        EngineStopped: a member went away or does not follow the protocol; the servers do not hold the same records.
        Excessive: the servers say of their records what this asker allows no memory for.
    """
    checks.check_job(job)
    started = time.monotonic()
    with connect_all(job, sockets) as channels:
        linked = time.monotonic()
        if job.rank == _ASKER:
            table, rows = _ask(job, inputs, channels)
            return Outcome({"result": table}, report(CONFIGURATION, rows, table.num_rows, started, linked))
        tables, rows = _serve(job, inputs, channels)
        return Outcome(tables, report(CONFIGURATION, rows, 0, started, linked))
