"""The intersection itself: identifiers to a file of the worker's own folder, SPU's protocol, rows back."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
from spu import libspu, psi

from fondaco.engines.base import BadJob, Job, Outcome, Report
from fondaco.engines.link import connect
from fondaco.engines.psi.keys import distinct_keys, identifiers

SESSION_BYTES = 32


def _session_key(job: Job, link: libspu.link.Context) -> bytes:
    """A fresh key that rank 0 makes and rank 1 is told."""
    if job.rank == 0:
        key = os.urandom(SESSION_BYTES)
        link.send(1, key)
        return key
    key = bytes(link.recv(0))
    if len(key) != SESSION_BYTES:
        raise BadJob("the other party sent no session key", remedy="see that both run the same version")
    return key


def _config(job: Job, source: Path, target: Path) -> psi.PsiExecuteConfig:
    both = len(job.receivers) == 2
    protocol = psi.PsiProtocolConfig(
        protocol=psi.PsiProtocol.PROTOCOL_RR22,
        receiver_rank=job.receivers[0],
        broadcast_result=both,
    )
    return psi.PsiExecuteConfig(
        protocol_conf=protocol,
        input_params=psi.InputParams(path=str(source), selected_keys=["id"], keys_unique=True),
        output_params=psi.OutputParams(path=str(target), disable_alignment=False),
    )


def run(job: Job, inputs: dict[str, pa.Table], sockets: Path, scratch: Path) -> Outcome:
    """Intersect; receivers get `match`: the shared keys, in one order for both.

    Raises:
        BadJob: not two parties, or key columns that are not there.
    """
    started = time.monotonic()
    parameters = job.parameters
    names = parameters.get("keys") if isinstance(parameters, dict) else None
    if len(job.parties) != 2 or job.helper is not None or not isinstance(names, list) or not names:
        raise BadJob("an intersection has two parties and one or more key columns", remedy="correct the step")
    keys = distinct_keys(inputs["data"], [str(name) for name in names])
    link = connect(job, sockets)
    linked = time.monotonic()
    ids = identifiers(keys, _session_key(job, link))
    # Both must have something to intersect: SPU's protocol is not defined for an empty set.
    empty = bytes(1) if keys.num_rows else bytes((1,))
    link.send(1 - job.rank, empty)
    matched = keys.slice(0, 0)
    if bytes(link.recv(1 - job.rank)) == bytes(1) and keys.num_rows:
        matched = _intersect(job, keys, ids.tobytes(), link, scratch)
    link.barrier()
    link.stop_link()
    now = time.monotonic()
    report = Report(
        configuration="spu-rr22",
        rows_in=keys.num_rows,
        rows_out=matched.num_rows if job.learns else 0,
        link_micros=int((linked - started) * 1e6),
        total_micros=int((now - started) * 1e6),
    )
    return Outcome({"match": matched} if job.learns else {}, report)


def _intersect(job: Job, keys: pa.Table, ids: bytes, link: libspu.link.Context, scratch: Path) -> pa.Table:
    source, target = scratch / "in.csv", scratch / "out.csv"
    hexed = ids.hex()
    column = pa.array([hexed[at : at + 32] for at in range(0, len(hexed), 32)])
    rows = pa.table({"id": column, "row": pa.array(range(keys.num_rows), pa.int64())})
    pacsv.write_csv(rows, source)
    psi.psi_execute(_config(job, source, target), link)
    if not job.learns:
        return keys.slice(0, 0)
    types = {"id": pa.string(), "row": pa.int64()}
    found = pacsv.read_csv(target, convert_options=pacsv.ConvertOptions(column_types=types))
    return keys.take(found.sort_by("id").column("row"))
