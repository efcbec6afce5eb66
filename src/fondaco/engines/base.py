"""What an engine is given and gives back, what each operation tells whom, and what it costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pyarrow as pa

from fondaco.core.codec import Value
from fondaco.core.messages import message
from fondaco.core.models import Column
from fondaco.errors import EngineError, PartyFailed

OPERATIONS: dict[str, tuple[str, ...]] = {
    "psi": ("intersection", "difference", "cardinality", "threshold", "union", "unbalanced"),
    "mpc": ("statistics", "pooled-statistics", "arithmetic", "intersection-sum", "circuit-statistics"),
    "pir": ("lookup", "two-server-lookup"),
}
HIDDEN = ("intersection-sum", "circuit-statistics")
"""Operations of `mpc` that match rows themselves, in a circuit: nobody learns which."""
OPENING = (("psi", "union"),)
"""Operations that tell a receiver keys which it does not have itself."""
LANES = {(engine, operation): ("",) for engine, found in OPERATIONS.items() for operation in found} | {
    ("mpc", operation): ("", "spu") for operation in HIDDEN
}
"""The folders, within that of a step's sockets, in which its members meet: "" is the folder itself.

Where there are more than one, members with data meet alone in the first, and all in the others.
"""


MEMORY_MIB = 1024
"""The memory that a hidden query may take its asker by its provider's description, unless the node's settings say."""
PREPARED = "prepared"
"""The table of an outcome that is not a result: what the engine prepared of this party's dataset, for its vault."""


Told = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and how much there is."""


def untold(_what: str, _done: int, _whole: int) -> None:
    """Nobody waits to hear how far the work is."""


class BadJob(EngineError):
    """A job that no engine can do: wrong parameters, columns or parties."""

    code = "engine.bad_job"


class OutOfRange(EngineError):
    """An input outside its declared range, found before anything was shared."""

    code = "engine.out_of_range"


class EngineStopped(EngineError):
    """The protocol broke off; this party cannot tell whose fault it was."""

    code = "engine.stopped"


class Excessive(EngineStopped):
    """A peer's description of its data comes to more records or memory than this party allows; none was taken."""

    code = "engine.excessive"


class WorkerDied(PartyFailed):
    """The worker ended without a word: killed, or broken off when a peer went away."""


@message("engine.job/1")
class Job:
    """One party's share of one computation.

    `parties` are all members in rank order, the helper last if there is one; `receivers` the ranks that learn the
    output; `columns` the declarations of this party's own columns, `peer_columns` those of the others, and
    `peer_ranks` whose each of them is. `rows` are, by rank, how many rows the ledger says that a member's dataset has,
    None where it does not say (or none, where nobody looked); `memory_mib` is the memory that a peer's description of
    its data may make a hidden query take here.
    """

    task: str
    step: str
    attempt: int
    engine: str
    operation: str
    parameters: Value
    parties: tuple[str, ...]
    rank: int
    helper: int | None
    receivers: tuple[int, ...]
    columns: tuple[Column, ...]
    peer_columns: tuple[Column, ...]
    peer_ranks: tuple[int, ...]
    timeout_seconds: int
    rows: tuple[int | None, ...] = ()
    memory_mib: int = MEMORY_MIB

    def rows_of(self, rank: int) -> int | None:
        """How many rows the ledger says that a member's dataset has; None where nothing is known of it."""
        return self.rows[rank] if rank < len(self.rows) else None

    @property
    def learns(self) -> bool:
        """Whether this party receives the output."""
        return self.rank in self.receivers


@message("engine.report/1")
class Report:
    """How a run went: configuration, rows, microseconds of linking and of the whole."""

    configuration: str
    rows_in: int
    rows_out: int
    link_micros: int
    total_micros: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Tables by name (empty for a party that learns nothing) and the report."""

    tables: dict[str, pa.Table]
    report: Report


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a step is expected to cost one party on two cores."""

    seconds: float
    memory_mib: int
    network_mib: float


LEAKAGE: dict[tuple[str, str], tuple[str, ...]] = {
    ("psi", "intersection"): (
        "each receiver learns which of its keys the other has too, and how many keys the other has",
        "a party that does not receive learns how many keys the other has",
        "nobody learns a key that it does not have itself",
    ),
    ("psi", "difference"): (
        "each receiver learns which of its keys the other has and has not, and how many keys the other has",
        "a party that does not receive learns how many keys the other has",
        "nobody learns a key that it does not have itself",
    ),
    ("psi", "cardinality"): (
        "each receiver learns how many keys both have and how many the other has, and not which are shared",
        "a party that does not receive learns how many keys the other has",
    ),
    ("psi", "threshold"): (
        "each receiver learns how many keys both have, even if they are too few, and how many the other has",
        "where they are enough, each receiver learns which of its keys the other has too",
        "a party that does not receive learns whether they were enough, and how many keys the other has",
        "nobody learns a key that it does not have itself",
    ),
    ("psi", "union"): (
        "each receiver learns every key that either has, and so how many both have, but not which those are",
        "a party that does not receive learns how many keys the other has",
        "a receiver that breaks off midway knows how many keys both have, and none of the other's",
        "a receiver that cheats learns all keys of the other, and so which are shared",
        "a step that ends because a key has more text than key_bytes tells that there is one",
    ),
    ("psi", "unbalanced"): (
        "the client, who alone receives, learns which of its keys the provider has, and how many the provider has",
        "the provider learns how many keys the client asks, and whether it had the provider's table already",
        "with the table alone nothing can be tested: every key that is tested is one that a run asks",
        "a provider that cheats can make the result wrong; it learns nothing of the client's keys",
        "a run that the terms' minimum_rows end tells the provider that the client's match was smaller",
    ),
    ("mpc", "statistics"): (
        "each receiver learns count, sum, mean and variance of each group, and nothing of any row",
        "a group of fewer keys than the smallest count is not opened, nor one more where the rest would tell it",
        "all members learn the number of matched rows; the helper learns nothing else",
    ),
    ("mpc", "pooled-statistics"): (
        "each receiver learns count, sum, mean and variance over all parties together",
        "nothing is opened unless every party brings the smallest count",
        "no part is opened alone, but with two parties the receiver can subtract its own",
    ),
    ("mpc", "arithmetic"): (
        "each receiver learns the result of every row, from which it can work back the other's value with its own",
        "all members learn the number of rows; the helper learns nothing else",
    ),
    ("mpc", "intersection-sum"): (
        "each receiver learns how many keys both have, and the sum of each value over them, and not which keys",
        "neither is opened about fewer keys than the smallest count; that there are fewer is learned",
        "each party learns how many different keys the other has; the helper learns about how many one party has",
        "an owner of values can choose them so that a sum over a large group tells who is in it",
    ),
    ("mpc", "circuit-statistics"): (
        "each receiver learns count, sum, mean and variance of each group, and nothing of any row or key",
        "a group of fewer keys than the smallest count is not opened, nor one more where the rest would tell it",
        "nobody learns which keys match, nor how many; each party learns how many different keys the other has",
        "the helper learns about how many keys one party has, and nothing else",
        "an owner of values can choose them so that a sum over a large group tells who is in it",
    ),
    ("pir", "lookup"): (
        "the provider learns that a lookup of most_keys keys took place, and nothing of the keys",
        "the provider does not learn how many keys there were, which were found, or whether they were asked before",
        "the asker learns the records of the keys that it brings, and that its other keys are not there",
        "the asker learns the number of records, the widest record, and how often the index was updated",
        "a provider that cheats can make a record look absent; the asker cannot tell",
    ),
    ("pir", "two-server-lookup"): (
        "each of the two servers learns that a lookup of most_keys keys took place, and nothing of the keys",
        "the two servers together could tell which records were asked for: they must not collude",
        "a server does not learn how many keys there were, which were found, or whether they were asked before",
        "the asker learns the records of the keys that it brings, and that its other keys are not there",
        "the asker learns the number of records and the widest record",
        "a server that answers falsely is caught; one that lied when the index was made can make records look absent",
        "each server learns whether the other holds the same records, and no hash of them that it could guess at",
        "a server that knows all records of the other but a little can try one guess of that little with each run",
    ),
}


LEAKAGE_OF_MANY: dict[tuple[str, str], tuple[str, ...]] = {
    ("psi", "intersection"): (
        "the first receiver leads: it learns which of its keys all the others have, and how many keys each has",
        "each other receiver learns which of its keys all have, and how many keys the leader has",
        "a party that does not receive learns how many keys the leader has",
        "nobody learns a key that it does not have itself, and nobody alone what two parties share that a third lacks",
        "a leader that shows others what it saw learns with them which of its keys all the rest have",
    ),
    ("psi", "difference"): (
        "each receiver learns which of its keys nobody else has, and how many keys each has",
        "of a key that somebody has a receiver does not learn who has it",
        "a party that does not receive learns how many keys each receiver has",
        "nobody learns a key that it does not have itself",
        "a receiver that shows others what it saw learns with them which of its keys all the rest lack",
    ),
    ("psi", "union"): (
        "each receiver learns every key that any has, once, but neither who has it nor how many do",
        "each party learns how many keys each has",
        "a key comes in the spelling of one that has it, which can tell who that is",
        "a receiver and another that show each other what they saw learn who gave which key that both lack",
        "these two learn also which of the other's keys those before it have, and how many of each one's were not new",
        "all others together, if they show each other what they saw, learn which of their keys a receiver has",
        "a step that ends because a key has more text than key_bytes tells that there is one",
    ),
}
"""What is told otherwise among three and more parties."""


_REASONS_OF_MANY = {
    "intersection": "star: the first receiver meets each other party in turn; nothing is opened of any two of them",
    "difference": "tests on shares: each receiver's keys are tested at every other party; only what all say is opened",
    "union": "tests on shares: each key is tested at every party before its own, then all are shuffled and opened",
}


def leakage(engine: str, operation: str, *, members: int = 2) -> tuple[str, ...]:
    """Who learns what in a step of so many members, in sentences.

    Raises:
        BadJob: no such operation.
    """
    found = LEAKAGE.get((engine, operation))
    if members > 2:
        found = LEAKAGE_OF_MANY.get((engine, operation), found)
    if found is None:
        raise BadJob("no such operation", remedy="see docs/concepts/engines.md", operation=f"{engine}.{operation}")
    return found


def estimate(engine: str, operation: str, rows: int, *, members: int = 2, receivers: int = 1) -> Estimate:
    """A rough linear model of what was measured on two cores over loopback, for so many members and receivers.

    Operations on sets and hidden matches are fitted to `bench/results/psi.json`, at 2^20 rows of each party, on cores
    with AVX2 and no more (with AVX-512 they take a third to two thirds of the time). Before its clock starts a worker
    is launched and an engine loaded, which is in the constants here. Secret shares between two members alone (Cheetah)
    cost about twelve times the time of three (ABY3).
    """
    leakage(engine, operation)
    millions = rows / 1e6
    if operation == "two-server-lookup":
        # The first lookup's, which makes the index; later ones take a tenth of the time.
        return Estimate(0.5 + 30.0 * millions, 150 + int(3000 * millions), 0.1 + 31.0 * millions)
    if engine == "pir":
        return Estimate(0.5 + 1.5 * millions, 150 + int(1200 * millions), 0.4 + 0.3 * millions)
    if engine == "psi" and operation == "unbalanced":
        # The first run, which prepares the larger side; every other one grows with the smaller side alone.
        return Estimate(1.0 + 28.5 * millions, 150 + int(250 * millions), 0.1 + 8.1 * millions)
    if engine == "psi" and operation in {"cardinality", "threshold"}:
        # A threshold that is reached intersects after counting.
        seconds, network = (105.0, 69.0) if operation == "cardinality" else (106.5, 97.0)
        return Estimate(0.8 + seconds * millions, 150 + int(700 * millions), 0.1 + network * millions)
    if engine == "psi" and operation in {"difference", "union"} and members > 2:
        return _tested(operation, millions, members)
    if engine == "psi" and operation == "union":
        # A run of its own for each receiver.
        runs = receivers * millions
        return Estimate(0.8 + 107.0 * runs, 150 + int(700 * millions), 0.1 + 81.0 * runs)
    if engine == "psi":
        # Sets above a million keys are met in parts, so memory grows by the rows themselves and no more.
        memory = 150 + int(250 * min(millions, 1)) + int(90 * millions)
        if members == 2:
            return Estimate(0.8 + 0.9 * millions, memory, 0.7 + 30.0 * millions)
        # One meeting after the other, each with a second store.
        others = members - 1
        return Estimate(0.8 + 1.4 * others * millions, memory + int(100 * millions), others * (0.7 + 45.0 * millions))
    slower = 12.0 if members == 2 else 1.0
    if operation in HIDDEN:
        # Of the whole of three members' traffic a party has two thirds.
        sums = operation == "intersection-sum"
        return Estimate(
            3.5 + (10.0 if sums else 17.5) * slower * millions,
            400 + int((1120 if sums else 1900) * millions),
            1.4 + (520.0 if sums else 950.0) * millions,
        )
    if operation == "arithmetic":
        return Estimate(3.5 + 12.0 * slower * millions, 400 + int(1200 * millions), 0.2 + 300.0 * millions)
    return Estimate(3.5 + 2.0 * slower * millions, 400 + int(600 * millions), 0.2 + 120.0 * millions)


def _tested(operation: str, millions: float, members: int) -> Estimate:
    """For one receiver: a test with each other member, then shares of each bin, of a union with rows of 80 bytes."""
    others = members - 1
    seconds, memory, network = 0.8 + 10.5 * others * millions, 150 + int(750 * millions), 550.0 * others * millions
    if operation == "difference":
        return Estimate(seconds, memory, 0.7 * others + network)
    slots = others * millions
    return Estimate(seconds + 5.0 * slots, memory + int(40 * slots), 0.7 * others + network + 100.0 * members * slots)


def reason(engine: str, operation: str, parameters: Value, rows: Sequence[int]) -> str:
    """Why a step of so many rows a party runs as it does, where it could run otherwise; else nothing.

    The members decide when they know how many different keys they have; this is the decision for the rows.
    """
    if engine != "psi":
        return ""
    if len(rows) > 2:
        return _REASONS_OF_MANY[operation]
    from fondaco.engines.psi.choice import explain_choice

    return explain_choice(operation, parameters, min(rows), max(rows))
