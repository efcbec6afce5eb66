"""Hidden query: a million records of 256 bytes, by one key and by a hundred; the pass beside the memory's own speed.

Both sides run one after the other in this process, message by message, so a time is that of asker and provider
together without a link; bytes are those of all messages. `--records 10000000` runs the large case (about 12 GiB).
The kernel's threads are as many as this process may use.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import deque

import numpy as np

from fondaco._kernel import PirAsker, PirIndex, PirProvider
from harness import Row, report

WIDTH, BATCH, REPEATS = 256, 100, 7
SECONDS, MEGABYTE, SETUP = 0.5, 1_000_000, 60.0


class Side:
    """One party of a lookup, with its inbox."""

    def __init__(self, party: PirAsker | PirProvider) -> None:
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


def dataset(records: int) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """Keys and payloads as data and offsets; payloads are random."""
    keys = b"".join(map(key, range(records)))
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


def spread(count: int, records: int, offset: int = 0) -> list[int]:
    return [(7919 * number + 104_729 * offset) % records for number in range(count)]


def rows(records: int, batch: int) -> tuple[list[Row], list[str]]:
    keys, payloads = dataset(records)
    began, spent = time.perf_counter(), time.process_time()
    index = PirIndex.build(keys, payloads, batch)
    setup, spent = time.perf_counter() - began, time.process_time() - spent
    clear = memoryview(payloads[0])
    single = [lookup(index, clear, spread(1, records, repeat), 1) for repeat in range(REPEATS)]
    one = statistics.median(took for took, *_ in single)
    _, up, down = single[0]
    passes = [index.pass_seconds(1) for _ in range(REPEATS)]
    scanned, read = (index.scanned / statistics.median(p[which] for p in passes) / 1e9 for which in (0, 1))
    alone, whole = up + down, WIDTH * records
    name = f"{records:,} x {WIDTH} bytes"
    made = [
        Row(f"set-up of {name}", setup, "s", "limit", SETUP, setup / SETUP),
        Row("one key, both sides", one, "s", "limit", SECONDS, one / SECONDS),
        Row("one key, all bytes", alone, "bytes", "limit", MEGABYTE, alone / MEGABYTE),
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
    return made, [
        f"set-up took {spent:.1f} s of processor time; the rest of its time the cores were others'",
        f"medians of {REPEATS} lookups; load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores",
        f"the pass is over {index.scanned / 1e6:,.0f} MB; one key: {single[0][1]:,} bytes up, {single[0][2]:,} down",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=None, help="keys of one batch query; 0 leaves it out")
    options = parser.parse_args()
    large = options.records > 2_000_000
    batch = options.batch if options.batch is not None else (0 if large else BATCH)
    made, notes = rows(options.records, batch)
    report("pir-large" if large else "pir", made, notes)


if __name__ == "__main__":
    main()
