"""One party of a measured run: `psi_party.py` with a specification as JSON on its first line of input.

It says "ready" when everything is loaded, begins when a second line comes, and writes what it measured to a file. So
neither side's start-up counts, and nothing is shared between the two processes but their sockets.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fondaco import _kernel
from fondaco.core.codec import Value
from fondaco.core.models import Column
from fondaco.engines.base import Job
from fondaco.engines.channel import connect
from fondaco.engines.psi.operations import run
from fondaco.engines.psi.session import drive, message_limit

NAMES = ("one", "two", "three", "four", "five", "six", "seven", "eight")


def job(spec: dict[str, Any]) -> Job:
    return Job(
        task="bench", step="psi", attempt=1, engine="psi", operation=spec["operation"],
        parameters={"keys": ["id"]} | spec["parameters"], parties=NAMES[: spec["members"]], rank=spec["rank"],
        helper=None, receivers=tuple(spec["receivers"]), columns=(), peer_columns=(), peer_ranks=(),
        timeout_seconds=spec["seconds"],
    )  # fmt: skip


class Clock:
    """Started when the other party is ready too."""

    def __init__(self) -> None:
        print("ready", flush=True)
        sys.stdin.readline()
        self._wall, self._work = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, Any]:
        """Seconds that went by, and seconds of processor time that this process took."""
        return {"seconds": time.perf_counter() - self._wall, "cpu": time.process_time() - self._work}


def ours(spec: dict[str, Any]) -> dict[str, Any]:
    """From a Parquet file to a Parquet file: reading, identifiers, linking, protocol, writing."""
    clock = Clock()
    outcome = run(
        job(spec), {"data": pq.ParquetFile(spec["source"]).read()}, Path(spec["sockets"]), Path(spec["sockets"])
    )
    found = 0
    for table in outcome.tables.values():
        pq.write_table(table, spec["target"])
        found = table.num_rows
    return clock.read() | {"found": found}


def protocol(spec: dict[str, Any]) -> dict[str, Any]:
    """The kernel's protocol alone, on identifiers that are there."""
    ids = np.load(spec["source"]).tobytes()
    with connect(job(spec), Path(spec["sockets"])) as channel:
        clock = Clock()
        party = _kernel.PsiParty(
            ids,
            compares=spec["rank"] == 0,
            peer_keys=spec["peer_rows"],
            both=len(spec["receivers"]) == 2,
            malicious=spec["parameters"].get("security") == "malicious",
        )
        drive(party, channel, limit=message_limit(len(ids) // 16 + spec["peer_rows"]))
        return clock.read() | {"found": len(party.matched() or b"") // 4, "bytes": channel.sent + channel.received}


def declared(rank: int) -> tuple[Column, ...]:
    """What the first member brings beside the key: a value; the second: a group."""
    named = (("id", "int64", None), ("value", "int64", 1 << 20) if rank == 0 else ("group", "bool", None))
    return tuple(
        Column(
            name=name, type=kind, unit="", classification="internal", nullable=False, minimum=0 if most else None,
            maximum=most, scale=0,
        )
        for name, kind, most in named
    )  # fmt: skip


def hidden(spec: dict[str, Any]) -> dict[str, Any]:
    """From a Parquet file to figures over a hidden match, with a third member as SPU's helper."""
    from spu import libspu

    from fondaco.engines.mpc import operations

    quiet = libspu.logging.LogOptions()
    quiet.log_level = libspu.logging.LogLevel.ERROR
    libspu.logging.setup_logging(quiet)
    rank = spec["rank"]
    value: Value = {"party": "one", "column": "value"}
    group: Value = {"party": "two", "column": "group"}
    figures = spec["operation"] == "circuit-statistics"
    asked: dict[str, Value] = {"value": value, "group": group} if figures else {"values": [value]}
    asked |= {"keys": ["id"], "minimum_count": 10}
    own = () if rank == 2 else declared(rank)
    others = [(other, column) for other in range(2) if other != rank for column in declared(other)]
    work = Job(
        task="bench", step="hidden", attempt=1, engine="mpc", operation=spec["operation"],
        parameters=asked, parties=("one", "two", "helper"), rank=rank, helper=2,
        receivers=tuple(spec["receivers"]), columns=own, peer_columns=tuple(column for _rank, column in others),
        peer_ranks=tuple(other for other, _column in others), timeout_seconds=spec["seconds"],
    )  # fmt: skip
    clock = Clock()
    tables: dict[str, pa.Table] = {}
    if rank < 2:
        table = pq.ParquetFile(spec["source"]).read()
        ids = table["id"].to_numpy()
        column = pa.array(ids % 1000) if rank == 0 else pa.array(ids % 3 == 0)
        tables["data"] = table.append_column(own[1].name, column)
    outcome = operations.run(work, tables, Path(spec["sockets"]))
    counts = [table["count"].to_pylist() for table in outcome.tables.values()]
    return clock.read() | {"found": sum(counts[0]) if counts else 0}


def theirs(spec: dict[str, Any]) -> dict[str, Any]:
    """`spu.psi` from a CSV file to a CSV file; its link is made before the clock starts."""
    from spu import libspu, psi

    quiet = libspu.logging.LogOptions()
    quiet.log_level = libspu.logging.LogLevel.ERROR
    libspu.logging.setup_logging(quiet)
    description = libspu.link.Desc()
    description.recv_timeout_ms = description.http_timeout_ms = spec["seconds"] * 1000
    for rank in range(2):
        description.add_party(str(rank), f"unix:{spec['sockets']}/{rank}.sock")
    link = libspu.link.create_brpc(description, spec["rank"])
    config = psi.PsiExecuteConfig(
        protocol_conf=psi.PsiProtocolConfig(
            protocol=psi.PsiProtocol.PROTOCOL_RR22,
            receiver_rank=spec["receivers"][0],
            broadcast_result=len(spec["receivers"]) == 2,
        ),
        input_params=psi.InputParams(path=spec["source"], selected_keys=["id"], keys_unique=True),
        output_params=psi.OutputParams(path=spec["target"], disable_alignment=True),
    )
    clock = Clock()
    report = psi.psi_execute(config, link)
    measured = clock.read()
    link.stop_link()
    return measured | {"found": report.intersection_count}


def most_memory() -> int:
    """The most KiB that this program has had in memory.

    Not `getrusage`: its figure survives `exec`, so it is that of the bench, which made the sets, where that is larger.
    """
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def main() -> None:
    spec = json.loads(sys.stdin.readline())
    pa.set_cpu_count(2)
    measured = {"ours": ours, "protocol": protocol, "theirs": theirs, "hidden": hidden}[spec["kind"]](spec)
    measured["mib"] = most_memory() >> 10
    Path(spec["measured"]).write_text(json.dumps(measured))


if __name__ == "__main__":
    main()
