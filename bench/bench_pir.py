"""Hidden query: a million records of 256 bytes, by one key and by a hundred; the pass beside the memory's own speed.

Both sides run one after the other in this process, message by message, so a time is that of asker and provider
together without a link; bytes are those of all messages. At two servers both do in turn what they would do at once.
`--records 10000000` runs the large case, without batches and the two servers, whose rows stand in the same file; memory
is the process's most, the data themselves among it, and a large run that takes more than 14 GB is ended. The kernel's
threads are as many as this process may use.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import resource
import statistics
import time
from collections import deque
from pathlib import Path

import numpy as np

from fondaco._kernel import PirAsker, PirIndex, PirProvider, PirTwoAsker, PirTwoPreparation, PirTwoServer
from harness import Row, machine, report

WIDTH, BATCH, REPEATS = 256, 100, 7
SECONDS, MEGABYTE, SETUP = 0.5, 1_000_000, 60.0
LARGE, LARGE_FROM, MOST_MEMORY = "large: ", 2_000_000, 14 * 10**9
Buffers = tuple[bytes, bytes]
Party = PirAsker | PirProvider | PirTwoPreparation | PirTwoServer


class Side:
    """One party of a lookup, with its inbox."""

    def __init__(self, party: Party) -> None:
        self.party = party
        self.inbox: deque[bytes] = deque()
        self.waits = False
        self.sent = 0

    def advance(self, other: Side) -> bool:
        """Go on until a message is missing; whether anything was sent."""
        moved = False
        while not self.waits or self.inbox:
            incoming = self.inbox.popleft() if self.waits else None
            what, message = self.party.next(incoming)
            self.waits = what == "receive"
            if what == "finished":
                return moved
            if message is not None:
                other.inbox.append(message)
                self.sent += len(message)
                moved = True
        return moved


def key(number: int) -> bytes:
    return b"key-%012d" % number


def dataset(records: int) -> tuple[Buffers, Buffers]:
    """Keys and payloads as data and offsets; payloads are random."""
    # A piece at a time: ten million keys as objects would take more than all that is measured.
    pieces = (b"".join(map(key, range(at, min(at + 100_000, records)))) for at in range(0, records, 100_000))
    keys = b"".join(pieces)
    payloads = np.random.default_rng(1).bytes(WIDTH * records)
    offsets = [np.arange(0, width * records + 1, width, dtype="<i8").tobytes() for width in (16, WIDTH)]
    return (keys, offsets[0]), (payloads, offsets[1])


def lookup(index: PirIndex, payloads: memoryview, numbers: list[int], most: int) -> tuple[float, int, int]:
    """Seconds of both sides, bytes of the asker, bytes of the provider; the answers are checked."""
    began = time.perf_counter()
    asker_party = PirAsker([key(number) for number in numbers], most)
    asker, provider = Side(asker_party), Side(PirProvider(index, most))
    while provider.advance(asker) | asker.advance(provider):
        pass
    found = asker_party.payloads()
    took = time.perf_counter() - began
    for number, payload in zip(numbers, found, strict=True):
        assert payload == bytes(payloads[WIDTH * number : WIDTH * (number + 1)]), number
    return took, asker.sent, provider.sent


def between(one: Party, other: Party) -> int:
    """Drive two parties to their end; all bytes."""
    first, second = Side(one), Side(other)
    while first.advance(second) | second.advance(first):
        pass
    return first.sent + second.sent


def at_two(servers: list[PirTwoServer], payloads: memoryview, numbers: list[int]) -> tuple[float, float, int, int]:
    """Seconds of the asker and both servers, of the slower server, bytes of the asker, of the servers; checked."""
    began = time.perf_counter()
    asker = PirTwoAsker([key(number) for number in numbers], len(numbers))
    up = down = 0
    spent = [0.0, 0.0]
    incoming: tuple[bytes, bytes] | None = None
    while True:
        what, messages = asker.next(incoming)
        if what == "finished":
            break
        incoming = None
        if what == "receive":
            answers = []
            for number, server in enumerate(servers):
                at = time.perf_counter()
                _send, answer = server.next()
                assert answer is not None
                server.next()
                spent[number] += time.perf_counter() - at
                answers.append(answer)
            incoming = answers[0], answers[1]
            down += len(answers[0]) + len(answers[1])
        elif messages is not None:
            up += len(messages[0]) + len(messages[1])
            pending = []
            for number, (server, message) in enumerate(zip(servers, messages, strict=True)):
                at = time.perf_counter()
                _send, answer = server.next(message)
                assert answer is not None
                spent[number] += time.perf_counter() - at
                pending.append(answer)
                server.next()
            down += len(pending[0]) + len(pending[1])
            asker.next()
            incoming = pending[0], pending[1]
    took = time.perf_counter() - began
    for number, payload in zip(numbers, asker.payloads(), strict=True):
        assert payload == bytes(payloads[WIDTH * number : WIDTH * (number + 1)]), number
    return took, max(spent), up, down


def two_servers(records: int, keys: Buffers, payloads: Buffers, one_server: tuple[float, int]) -> list[Row]:
    """The rows of a lookup at two servers, beside one server's seconds and bytes."""
    seconds, alone = one_server
    began = time.perf_counter()
    parties = [PirTwoPreparation(first, keys, payloads, None, b"bench") for first in (True, False)]
    exchanged = between(parties[0], parties[1])
    setup = time.perf_counter() - began
    indexes = [party.index()[0] for party in parties]
    clear = memoryview(payloads[0])

    def ask(numbers: list[int]) -> tuple[float, float, int, int]:
        servers = [PirTwoServer(number, index, len(numbers)) for number, index in enumerate(indexes)]
        return at_two(servers, clear, numbers)

    single = [ask(spread(1, records, repeat)) for repeat in range(REPEATS)]
    many = [ask(spread(BATCH, records, repeat)) for repeat in range(3)]
    whole, server = (statistics.median(one[which] for one in single) for which in (0, 1))
    hundred = statistics.median(one[0] for one in many)
    up, down = single[0][2], single[0][3]
    passes = [indexes[0].pass_seconds(3) for _ in range(REPEATS)]
    scanned, read = (indexes[0].scanned / statistics.median(p[which] for p in passes) / 1e9 for which in (0, 1))
    return [
        Row("two servers: set-up of both on this machine", setup, "s", "limit", 2 * SETUP, setup / (2 * SETUP)),
        Row(
            "two servers: bytes between them",
            exchanged,
            "bytes",
            "the records",
            WIDTH * records,
            exchanged / (WIDTH * records),
        ),
        Row("two servers: one key, all sides in turn", whole, "s", "one server", seconds, whole / seconds),
        Row("two servers: one key, the slower server", server, "s", "limit", SECONDS, server / SECONDS),
        Row("two servers: one key, up", up, "bytes", "one server, all", alone, up / alone),
        Row("two servers: one key, all bytes", up + down, "bytes", "one server, all", alone, (up + down) / alone),
        Row(f"two servers: {BATCH} keys at once", hundred, "s", "10 x one key", 10 * whole, hundred / (10 * whole)),
        Row("two servers: pass for three sums", scanned, "GB/s", "merely reading it", read, scanned / read),
    ]


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """Bytes of memory that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def spread(count: int, records: int, offset: int = 0) -> list[int]:
    return [(7919 * number + 104_729 * offset) % records for number in range(count)]


def rows(records: int, batch: int, *, two: bool) -> tuple[list[Row], list[str]]:
    keys, payloads = dataset(records)
    held = resident()
    began, spent = time.perf_counter(), time.process_time()
    index = PirIndex.build(keys, payloads, batch)
    setup, spent = time.perf_counter() - began, time.process_time() - spent
    most = peak()
    clear = memoryview(payloads[0])
    single = [lookup(index, clear, spread(1, records, repeat), 1) for repeat in range(REPEATS)]
    one = statistics.median(took for took, *_ in single)
    _, up, down = single[0]
    passes = [index.pass_seconds(1) for _ in range(REPEATS)]
    scanned, read = (index.scanned / statistics.median(p[which] for p in passes) / 1e9 for which in (0, 1))
    alone, whole = up + down, WIDTH * records
    name = f"{records:,} x {WIDTH} bytes"
    # What must hold is said of a million records; ten million stand beside it.
    limit = "limit" if records <= LARGE_FROM else "a million's limit"
    made = [
        Row(f"set-up of {name}", setup, "s", limit, SETUP, setup / SETUP),
        Row("one key, both sides", one, "s", limit, SECONDS, one / SECONDS),
        Row("one key, all bytes", alone, "bytes", limit, MEGABYTE, alone / MEGABYTE),
        Row("one key, all bytes", alone, "bytes", "sending every record", whole, alone / whole),
        Row("pass over the matrix", scanned, "GB/s", "merely reading it", read, scanned / read),
    ]
    if batch:
        many = [lookup(index, clear, spread(batch, records, repeat), batch) for repeat in range(3)]
        hundred = statistics.median(took for took, *_ in many)
        _, up, down = many[0]
        made += [
            Row(f"{batch} keys at once", hundred, "s", "10 x one key", 10 * one, hundred / (10 * one)),
            Row(
                f"{batch} keys at once",
                (up + down) / batch,
                "bytes a key",
                "one key",
                alone,
                (up + down) / batch / alone,
            ),
        ]
    made += [
        Row("memory of the set-up beside the data", most - held, "bytes", "the records", whole, (most - held) / whole),
        Row("most memory of the process", peak(), "bytes", "the records", whole, peak() / whole),
    ]
    notes = [
        f"set-up took {spent:.1f} s of processor time; the rest of its time the cores were others'",
        f"medians of {REPEATS} lookups; load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores",
        f"the pass is over {index.scanned / 1e6:,.0f} MB; one key: {single[0][1]:,} bytes up, {single[0][2]:,} down",
    ]
    del index
    return made + (two_servers(records, keys, payloads, (one, alone)) if two else []), notes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=None, help="keys of one batch query; 0 leaves it out")
    options = parser.parse_args()
    large = options.records > LARGE_FROM
    batch = options.batch if options.batch is not None else (0 if large else BATCH)
    if large:
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    made, notes = rows(options.records, batch, two=not large)
    if large:
        made = [dataclasses.replace(row, case=LARGE + row.case) for row in made]
        notes = [LARGE + note for note in (*notes, measured())]
    report("pir", made, notes, part=LARGE if large else "", parts=[LARGE])


def measured() -> str:
    """When and on what: the file's own date and machine are those of the main part."""
    facts = machine()
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    return f"{day}, {facts['cores']} cores, {facts['memory_mib']} MiB, {facts['system']}"


if __name__ == "__main__":
    main()
