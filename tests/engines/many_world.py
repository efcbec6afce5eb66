"""Three to eight members of a set operation in threads of this process: honest ones, watched ones, a stranger among them."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import tempfile
import threading
import time
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from engines_world import jobs
from hypothesis import strategies as st
from psi_world import attempt

from fondaco.engines.base import EngineStopped, Job, Outcome
from fondaco.engines.channel import connect_all, socket_name
from fondaco.engines.psi import gathering
from fondaco.engines.psi.operations import run

# No NUL: the vault takes none, and pandas holds it for the end of a text.
WORDS = ["a", "b", "é", "e\u0301", "ß", "", " ", "日本", "\U0001f600", "a" * 200, "key"]
texts = st.one_of(
    st.none(),
    st.sampled_from(WORDS),
    st.text(st.characters(min_codepoint=1, blacklist_categories=["Cs", "Cn"]), max_size=2),
)
numbers = st.one_of(st.none(), st.integers(-1, 1), st.integers(-(1 << 63), (1 << 63) - 1))
rows = st.lists(st.tuples(texts, numbers), max_size=30)
NAMES = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def table(rows: list[tuple]) -> pa.Table:
    return pa.table({"k": pa.array([r[0] for r in rows], pa.string()), "n": pa.array([r[1] for r in rows], pa.int64())})


def frame(rows: list[tuple]) -> pd.DataFrame:
    """The different keys without nulls, text in one normal form."""
    clean = [(unicodedata.normalize("NFD", t), str(n)) for t, n in rows if t is not None and n is not None]
    return pd.DataFrame(clean, columns=["k", "n"], dtype="object").drop_duplicates()


def steps(operation: str, count: int, receivers: tuple[int, ...], seconds: int = 60, **parameters) -> list[Job]:
    """The jobs of so many members with equal keys."""
    parameters = {"keys": ["k"]} | parameters
    return jobs("psi", operation, parameters, NAMES[:count], [[]] * count, receivers, seconds=seconds)


def all_met(operation: str, tables: list[pa.Table], receivers: tuple[int, ...], **parameters) -> list[Outcome]:
    """The outcomes of all, or the first error."""
    ends = attempt(steps(operation, len(tables), receivers, **parameters), tables)
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    return ends


FAREWELL = b"\xff" * 8
"""What is in the place of a length before a last word: its own length follows in two bytes."""


class Wire:
    """Proxies between all pairs of members: each works in a folder of its own, and every message is counted.

    The link on which the way `cut` has carried `after` messages breaks.
    """

    def __init__(self, root: Path, members: int, cut: tuple[int, int] | None = None, after: int = 0) -> None:
        self._cut, self._after = cut, after
        self.folders = [root / str(rank) for rank in range(members)]
        self.seen: dict[tuple[int, int], list[int]] = {}
        self.bytes = bytearray()
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        for folder in self.folders:
            folder.mkdir()
        for low in range(members):
            for high in range(low + 1, members):
                server = socket.socket(socket.AF_UNIX)
                server.bind(str(self.folders[low] / socket_name("psi", members, high, low)))
                server.listen(1)
                there = self.folders[high] / socket_name("psi", members, high, low)
                self._start(self._pair, server, there, low, high)

    def _start(self, work, *arguments) -> None:
        thread = threading.Thread(target=work, args=arguments)
        thread.start()
        self._threads.append(thread)

    def _pair(self, server: socket.socket, there: Path, low: int, high: int) -> None:
        with server:
            near, _address = server.accept()
        far = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 60
        while far.connect_ex(str(there)):
            assert time.monotonic() < end
            time.sleep(0.005)
        self._open += [near, far]
        self._start(self._carry, near, far, (low, high))
        self._start(self._carry, far, near, (high, low))

    def _carry(self, one: socket.socket, other: socket.socket, way: tuple[int, int]) -> None:
        sizes = self.seen.setdefault(way, [])
        # A member that goes with something unread resets its link.
        with contextlib.suppress(ConnectionError):
            while head := one.recv(8, socket.MSG_WAITALL):
                if way == self._cut and len(sizes) == self._after:
                    one.shutdown(socket.SHUT_RDWR)
                    break
                if head == FAREWELL:
                    head += one.recv(2, socket.MSG_WAITALL)
                size = int.from_bytes(head[-2:] if head.startswith(FAREWELL) else head, "big")
                data = one.recv(size, socket.MSG_WAITALL)
                other.sendall(head + data)
                sizes.append(size)
                self.bytes += data
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR if way == self._cut else socket.SHUT_WR)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        for link in self._open:
            link.close()


def transcript(operation: str, tables: list[pa.Table], receivers: tuple[int, ...], **parameters) -> Wire:
    """All that honest members say to one another."""
    count = len(tables)
    step = steps(operation, count, receivers, **parameters)
    with tempfile.TemporaryDirectory(prefix="fm-") as name:
        wire = Wire(Path(name), count)
        work = [
            threading.Thread(target=run, args=(job, {"data": one}, folder, folder))
            for job, one, folder in zip(step, tables, wire.folders, strict=True)
        ]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        wire.join()
    return wire


def ended(job: Job, data: pa.Table, place: Path) -> Outcome | EngineStopped:
    """How an honest member ends."""
    try:
        return run(job, {"data": data}, place, place)
    except EngineStopped as fault:
        return fault


def with_a_stranger(operation: str, rank: int, behave, receivers: tuple[int, ...] = (0,), seconds: int = 20) -> list:
    """How the two others end where member `rank` of three does as it likes once it has agreed."""
    step = steps(operation, 3, receivers, seconds)
    agreed = gathering.hashlib.sha256(gathering.encode([*sorted(receivers), step[0].parameters])).digest()
    ends: dict[int, Outcome | EngineStopped] = {}
    with tempfile.TemporaryDirectory(prefix="fm-") as name:
        place = Path(name)

        def honest(one: int) -> None:
            ends[one] = ended(step[one], pa.table({"k": list(range(40))}), place)

        threads = [threading.Thread(target=honest, args=(one,)) for one in range(3) if one != rank]
        for thread in threads:
            thread.start()
        # The stranger has time: what ends is the others' patience.
        with connect_all(dataclasses.replace(step[rank], timeout_seconds=60), place) as channels:
            gathering.agree(step[rank], channels, agreed)
            with contextlib.suppress(EngineStopped):
                behave(channels)
        for thread in threads:
            thread.join()
    return [ends[one] for one in sorted(ends)]


def even(values: np.ndarray) -> bool:
    """Whether bits are even alike, as those of noise are, within six deviations."""
    bits = np.unpackbits(np.ascontiguousarray(values).view(np.uint8))
    return abs(bits.mean() - 0.5) < 3 / np.sqrt(len(bits))


def saying(*told: bytes):
    """What a stranger does that says these things to the first member, and then listens for ever."""

    def behave(channels) -> None:
        for data in told:
            channels[0].send(data)
        while True:
            channels[0].receive(1 << 24)

    return behave
