"""Private set operations beside `spu.psi` RR22: two processes over unix sockets, files in and files out, one run.

Ours reads and writes Parquet, SPU's reads and writes CSV, which is what it takes. Without options: 2^20 by 2^20 with
all targets, the other operations, and the curve from 10^3 to 10^7. `--part many` runs the operations of three alone,
`--part large` 10^8 by 10^8 (`make bench-psi-large`), for a machine with time; their rows stand in the same file and
leave the others as they are. Each run is told on stderr as it ends. Figures of a loaded machine say little: what counts
are the ratios of one run, and each figure is the best of a few, alternating, so that a neighbour's burst hits both
alike.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import datetime
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from curve import Points, draw
from fondaco import _kernel
from fondaco.engines.base import LANES
from fondaco.engines.channel import socket_name
from harness import RESULTS, Row, machine, report

MILLION = 1 << 20
CURVE = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
CLIENT = 1_000
TARGET_TIMES, TARGET_PROTOCOL, TARGET_MALICIOUS = 4.0, 1.0, 1.3
PARTY = Path(__file__).parent / "psi_party.py"
SECONDS, START_SECONDS = 3600, 60
# Above this many rows only ours runs: the other would take hours and more memory than there is.
ALONE_ABOVE, TARGET_MEMORY_MIB = 20_000_000, 4096
MIDDLE, MIDDLE_MEMORY_MIB = 10_000_000, 2048
LARGE = 100_000_000
PARTS = ("operations: ", "many: ", "large: ")
_SIZE = re.compile(r"(?:large: )?([0-9,]+) x \1, files")
HOW = "two processes, or one a member, two cores, unix sockets; best of a few, alternating; half of the keys shared"
Measured = dict[str, Any]


def make(folder: Path, rows: int) -> None:
    """Two sets of that many numbers, half of them shared, in every form that a side that runs reads."""
    drawn = np.random.default_rng(rows)
    numbers = drawn.permutation(np.arange(10**9, 10**9 + rows * 3 // 2))
    for rank, part in enumerate((numbers[:rows], numbers[rows // 2 :])):
        table = pa.table({"id": pa.array(drawn.permutation(part)[:rows])})
        pq.write_table(table, folder / f"{rank}.parquet")
        if rows > ALONE_ABOVE:
            continue
        pacsv.write_csv(table, folder / f"{rank}.csv")
        ids = np.zeros((table.num_rows, 2), np.uint64)
        ids[:, 1] = table["id"].to_numpy()
        ids[:, 0] = ids[:, 1] * np.uint64(0x9E3779B97F4A7C15)
        np.save(folder / f"{rank}.npy", ids)


async def far_side(there: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A link to a party that may not listen yet; there is nothing to wait on but its socket."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                return await asyncio.open_unix_connection(str(there))
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(0.005)


class Proxy:
    """Counts the bytes that pass between the members' folders of sockets, for a run that is not timed."""

    def __init__(self, folders: list[Path], engine: str, operation: str) -> None:
        self.bytes = 0
        self._folders, self._engine, self._operation = folders, engine, operation
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_ended: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        servers = []
        pairs, lanes = itertools.permutations(range(len(self._folders)), 2), LANES[self._engine, self._operation]
        for (rank, other), lane in itertools.product(pairs, lanes):
            name = socket_name(self._engine, len(self._folders), other, rank)
            here, there = (self._folders[at] / lane / name for at in (rank, other))
            here.parent.mkdir(exist_ok=True)

            async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, there: Path = there) -> None:
                far_reader, far_writer = await far_side(there)
                await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))

            servers.append(await asyncio.start_unix_server(accept, str(here)))
        self._ready.set()
        await self._stop.wait()
        for server in servers:
            server.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                self.bytes += len(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.close()


def meet(
    folder: Path,
    kind: str,
    *,
    counted: bool = False,
    receivers: tuple[int, ...] = (0, 1),
    members: int = 2,
    **more: Any,
) -> Measured:
    """Run all parties; the slowest one's seconds, the largest one's memory, and the bytes if they are counted."""
    forms = {"ours": "parquet", "protocol": "npy", "theirs": "csv", "hidden": "parquet"}
    members = 3 if kind == "hidden" else members
    with tempfile.TemporaryDirectory(prefix="bp-") as name:
        places = [Path(name) / ("abcdefgh"[rank] if counted else "a") for rank in range(members)]
        for place in places:
            place.mkdir(exist_ok=True)
        parties, measured = [], [Path(name) / f"measured{rank}" for rank in range(members)]
        for rank in range(members):
            spec = {
                "kind": kind, "rank": rank, "members": members, "receivers": receivers,
                "sockets": str(places[rank]), "seconds": SECONDS,
                "source": str(folder / f"{rank}.{forms[kind]}"), "target": f"{name}/out{rank}.{forms[kind]}",
                "operation": "intersection", "parameters": {}, "measured": str(measured[rank]),
            } | more  # fmt: skip
            party = subprocess.Popen(
                [sys.executable, str(PARTY)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert party.stdin is not None
            party.stdin.write(json.dumps(spec) + "\n")
            party.stdin.flush()
            parties.append(party)
        if not counted:
            return told(folder, kind, more, finish(parties, measured))
        with Proxy(places, "mpc" if kind == "hidden" else "psi", more.get("operation", "intersection")) as proxy:
            both = finish(parties, measured)
            return told(folder, kind, more, both | {"bytes": proxy.bytes})


def told(folder: Path, kind: str, more: dict[str, Any], both: Measured) -> Measured:
    """Say that a run has ended: a bench of half an hour that is silent looks like one that hangs."""
    what = " ".join([kind, str(more.get("operation", "intersection")), *map(str, more.get("parameters", {}).values())])
    rows = pq.ParquetFile(folder / "0.parquet").metadata.num_rows
    print(f"{rows:>11,} rows  {both['seconds']:9.3f} s  {both['mib']:6.0f} MiB  {what}", file=sys.stderr, flush=True)
    return both


def finish(parties: list[subprocess.Popen[str]], measured: list[Path]) -> Measured:
    for party in parties:
        assert party.stdout is not None
        # SPU prints too; only this line is ours.
        if not any(line == "ready\n" for line in party.stdout):
            raise SystemExit("a party did not start")
    for party in parties:
        assert party.stdin is not None
        party.stdin.write("go\n")
        party.stdin.flush()
    ended = [threading.Thread(target=party.wait) for party in parties]
    for thread in ended:
        thread.start()
    while any(thread.is_alive() for thread in ended):
        if any(party.poll() for party in parties):
            for party in parties:
                party.kill()
            raise SystemExit("a party ended with an error; run it by hand to see which")
        ended[0].join(0.02)
        ended[1].join(0.02)
    for party in parties:
        party.communicate()
    ends = [json.loads(path.read_text()) for path in measured]
    return {
        "seconds": max(end["seconds"] for end in ends),
        "cpu": sum(end["cpu"] for end in ends),
        "mib": max(end["mib"] for end in ends),
        "found": ends[0]["found"],
        "bytes": max(end.get("bytes", 0) for end in ends),
    }


def best(runs: list[Measured]) -> Measured:
    return min(runs, key=lambda one: one["seconds"])


def million(folder: Path, repeats: int) -> list[Row]:
    """The case that the targets are set for: 2^20 by 2^20."""
    make(folder, MILLION)
    secure: dict[str, Any] = {"parameters": {"security": "malicious"}}
    runs: dict[str, list[Measured]] = {
        "ours": [],
        "theirs": [],
        "malicious": [],
        "alone": [],
        "alone-malicious": [],
    }
    for _ in range(repeats):
        runs["ours"].append(meet(folder, "ours"))
        runs["theirs"].append(meet(folder, "theirs"))
        runs["malicious"].append(meet(folder, "ours", **secure))
        runs["alone"].append(meet(folder, "protocol", peer_rows=MILLION))
        runs["alone-malicious"].append(meet(folder, "protocol", peer_rows=MILLION, **secure))
    told = {name: best(found) for name, found in runs.items()}
    assert {one["found"] for one in told.values()} == {MILLION // 2}, told
    mine = meet(folder, "ours", counted=True)["bytes"] / 1e6
    other = meet(folder, "theirs", counted=True)["bytes"] / 1e6
    mal = meet(folder, "ours", counted=True, **secure)["bytes"] / 1e6
    seconds = {name: one["seconds"] for name, one in told.items()}
    beside = "spu.psi RR22"
    return [
        Row("2^20 x 2^20, files", seconds["ours"], "s", beside, seconds["theirs"], seconds["ours"] / seconds["theirs"]),
        Row("2^20 x 2^20, files, processor time of both", told["ours"]["cpu"], "s", beside, told["theirs"]["cpu"],
            told["ours"]["cpu"] / told["theirs"]["cpu"]),
        Row("2^20 x 2^20, bytes of both", mine, "MB", beside, other, mine / other),
        Row("2^20 x 2^20, memory of one", told["ours"]["mib"], "MiB", beside, told["theirs"]["mib"],
            told["ours"]["mib"] / told["theirs"]["mib"]),
        Row("2^20 x 2^20, protocol alone", seconds["alone"], "s", "target: under", TARGET_PROTOCOL,
            seconds["alone"] / TARGET_PROTOCOL),
        Row("malicious, files", seconds["malicious"], "s", "semi-honest", seconds["ours"],
            seconds["malicious"] / seconds["ours"]),
        Row("malicious, processor time of both", told["alone-malicious"]["cpu"], "s", "semi-honest",
            told["alone"]["cpu"], told["alone-malicious"]["cpu"] / told["alone"]["cpu"]),
        Row("malicious, protocol alone", seconds["alone-malicious"], "s", "semi-honest", seconds["alone"],
            seconds["alone-malicious"] / seconds["alone"]),
        Row("malicious, bytes of both", mal, "MB", "semi-honest", mine, mal / mine),
    ]  # fmt: skip


def others(folder: Path) -> list[Row]:
    """The other operations at 2^20, beside our intersection of the same sets: seconds, and bytes of both."""
    plain = meet(folder, "ours", counted=True)
    rows = []
    for operation, parameters in (("difference", {}), ("cardinality", {}), ("threshold", {"at_least": MILLION // 4})):
        told = meet(folder, "ours", counted=True, operation=operation, parameters=parameters)
        for what, unit, scale in (("seconds", "s", 1), ("bytes", "MB", 1e6)):
            mine, other = told[what] / scale, plain[what] / scale
            rows.append(Row(f"{operation}, 2^20 x 2^20", mine, unit, "intersection, same run", other, mine / other))
    found = meet(folder, "ours", counted=True, operation="union", receivers=(0,))
    rows += beside("union for one of two, 2^20 each", found, plain, "intersection, same run")
    return rows + hidden(folder, plain)


def many(folder: Path) -> list[Row]:
    """The operations of three, one receiver, at 2^20 each, beside the intersection of two of the same sets."""
    make(folder, MILLION)
    # The third has what the first has.
    shutil.copyfile(folder / "0.parquet", folder / "2.parquet")
    plain = meet(folder, "ours", counted=True)
    rows = []
    for operation in ("intersection", "difference", "union"):
        found = meet(folder, "ours", counted=True, operation=operation, members=3, receivers=(0,))
        case, what = f"many: {operation} of three, 2^20 each", "intersection of two, same run"
        rows += beside(case, found, plain, what)
        rows.append(Row(case, found["mib"], "MiB of one", what, plain["mib"], found["mib"] / plain["mib"]))
    return rows


def beside(case: str, found: Measured, plain: Measured, what: str) -> list[Row]:
    """Seconds, processor time and bytes of a run beside those of another."""
    made = []
    for name, unit, scale in (("seconds", "s", 1), ("cpu", "s, processor", 1), ("bytes", "MB", 1e6)):
        mine, other = found[name] / scale, plain[name] / scale
        made.append(Row(case, mine, unit, what, other, mine / other))
    return made


def hidden(folder: Path, plain: Measured) -> list[Row]:
    """The operations over a hidden match at 2^20, three members (ABY3), beside our intersection of the same sets."""
    rows = []
    for operation in ("intersection-sum", "circuit-statistics"):
        told = meet(folder, "hidden", receivers=(0,), counted=True, operation=operation)
        assert told["found"] == MILLION // 2, told
        for what, unit, scale in (("seconds", "s", 1), ("bytes", "MB", 1e6), ("mib", "MiB of one", 1)):
            mine, other = told[what] / scale, plain[what] / scale
            rows.append(Row(f"{operation}, 2^20 x 2^20", mine, unit, "intersection, same run", other, mine / other))
    return rows


def prepared(folder: Path) -> list[Row]:
    """A thousand keys of a client in a prepared set of 2^20, beside our intersection of the same two sets."""
    make(folder, MILLION)
    ids = [np.load(folder / f"{rank}.npy") for rank in range(2)]
    for name in ("0.parquet", "0.npy"):
        (folder / name).unlink()
    pq.write_table(pa.table({"id": ids[0][:CLIENT, 1].astype(np.int64)}), folder / "0.parquet")
    began = time.perf_counter()
    secret, table = _kernel.prepare_set(ids[1].tobytes())
    ready = time.perf_counter()
    client = _kernel.PreparedClient(ids[0][:CLIENT].tobytes(), table=table, table_keys=MILLION)
    server = _kernel.PreparedServer(secret, asked=CLIENT)
    _turn, asked = client.next()
    server.next()
    _turn, answer = server.next(asked)
    client.next()
    client.next(answer)
    ended = time.perf_counter()
    whole = meet(folder, "ours", counted=True, receivers=(0,))
    assert len(client.matched() or b"") == 4 * whole["found"]
    seconds, sent, what = ended - ready, (len(asked) + len(answer)) / 1e6, "RR22, files, same run"
    return [
        Row("unbalanced, 10^3 in a prepared 2^20", seconds, "s", what, whole["seconds"], seconds / whole["seconds"]),
        Row("unbalanced, table there already", sent, "MB", what, whole["bytes"] / 1e6, sent * 1e6 / whole["bytes"]),
        Row("unbalanced, preparing 2^20 and its table", ready - began, "s", "MB of the table", len(table) / 1e6,
            (ready - began) * 1e6 / len(table)),
    ]  # fmt: skip


def curve(folder: Path, sizes: list[int]) -> list[Row]:
    rows: list[Row] = []
    for size in sizes:
        make(folder, size)
        repeats = 3 if size < 10**6 else 1
        mine = best([meet(folder, "ours") for _ in range(repeats)])
        assert mine["found"] == size // 2
        if size > ALONE_ABOVE:
            rows.append(
                Row(f"{size:,} x {size:,}, files", mine["seconds"], "s", "nothing beside", mine["seconds"], 1.0)
            )
            rows.append(Row(f"{size:,} x {size:,}, memory of one", mine["mib"], "MiB", "target: under",
                            TARGET_MEMORY_MIB, mine["mib"] / TARGET_MEMORY_MIB))  # fmt: skip
            continue
        other = best([meet(folder, "theirs") for _ in range(repeats)])
        assert other["found"] == size // 2
        for what, unit in (("seconds", "s"), ("cpu", "s, processor"), ("mib", "MiB of one")):
            rows.append(Row(f"{size:,} x {size:,}, files", mine[what], unit, "spu.psi RR22", other[what],
                            mine[what] / other[what]))  # fmt: skip
        if size == MIDDLE:
            rows.append(Row(f"{size:,} x {size:,}, memory of one", mine["mib"], "MiB", "target: under",
                            MIDDLE_MEMORY_MIB, mine["mib"] / MIDDLE_MEMORY_MIB))  # fmt: skip
    return rows


def picture() -> None:
    """The curve of all sizes that the file has figures of."""
    lines: dict[str, Points] = {"fondaco": [], "spu.psi RR22": []}
    for row in json.loads((RESULTS / "psi.json").read_text(encoding="utf-8"))["rows"]:
        if row["unit"] == "s" and (found := _SIZE.fullmatch(row["case"])):
            size = int(found[1].replace(",", ""))
            lines["fondaco"].append((size, row["ours"]))
            if row["beside"] in lines:
                lines[row["beside"]].append((size, row["theirs"]))
    draw(RESULTS / "psi.svg", "Intersection of two sets, half shared, files in and out, two cores", lines)


def at_large(folder: Path) -> list[Row]:
    return [dataclasses.replace(row, case=f"large: {row.case}") for row in curve(folder, [LARGE])]


def machine_now() -> str:
    """What this part was measured on, and when."""
    facts = machine()
    return f"{datetime.datetime.now(datetime.UTC).date()}, {facts['cores']} cores, {facts['system']}, {processor()}"


def processor() -> str:
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\nflags")[2].partition("\n")[0].split()
    return "with AVX-512" if "avx512f" in flags else "without AVX-512"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=[part.removesuffix(": ") for part in PARTS], help="this part alone")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hidden", action="store_true", help="operations over a hidden match alone, nothing written")
    parser.add_argument("--operations", action=argparse.BooleanOptionalAction, default=True,
                        help="the other operations at 2^20 too: some minutes")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="2^20 alone, one repeat, nothing written")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-psi-") as name:
        folder = Path(name)
        if asked.hidden:
            make(folder, MILLION)
            for row in hidden(folder, meet(folder, "ours", counted=True)):
                print(row)
            return
        if asked.quick:
            for row in million(folder, 1):
                print(row)
            return
        if asked.part is None:
            rows = million(folder, asked.repeats)
            rows += curve(folder, sorted(CURVE))
            report("psi", rows, [HOW], parts=PARTS)
        if asked.part == "operations" or (asked.part is None and asked.operations):
            make(folder, MILLION)
            part = [
                dataclasses.replace(row, case=f"operations: {row.case}") for row in others(folder) + prepared(folder)
            ]
            report("psi", part, [f"operations: {HOW}; {machine_now()}"], part="operations: ", parts=PARTS)
        if asked.part == "many" or (asked.part is None and asked.operations):
            report("psi", many(folder), [f"many: {HOW}; {machine_now()}"], part="many: ", parts=PARTS)
        if asked.part == "large":
            report("psi", at_large(folder), [f"large: {HOW}; {machine_now()}"], part="large: ", parts=PARTS)
    picture()


if __name__ == "__main__":
    main()
