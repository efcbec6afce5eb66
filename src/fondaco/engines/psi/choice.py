"""Which protocol an intersection takes, from sizes and the link's width alone, and the reason in words.

Both members decide by themselves and must find the same, so the model is one of whole numbers. Its constants are what
was measured on two cores with AVX2: the function of RR22 has a price of its own (0.65 MB, 30 ms) and then costs next to
nothing a key; Diffie-Hellman has none and costs 53 microseconds of a core and some 36 bytes for each key of either
side.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from fondaco.core.codec import Value

LINK_MBIT = 1000
MAX_LINK_MBIT = 1_000_000
UNBALANCED_FROM = 50
"""How many times as many keys the larger side has before a prepared set is worth a word."""
Protocol = Literal["rr22", "ecdh"]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a run takes: microseconds of work, bytes on the wire of both."""

    micros: int
    wire: int

    def micros_over(self, link_mbit: int) -> int:
        """Microseconds in all over a link of so many megabits a second."""
        return self.micros + self.wire * 8 // link_mbit


@dataclasses.dataclass(frozen=True)
class Choice:
    """The protocol, and why."""

    protocol: Protocol
    reason: str


def rr22_cost(comparing: int, sending: int) -> Cost:
    """Of the function of RR22, for so many keys of the side that compares and of the other."""
    keys = comparing + sending
    return Cost(30_000 + keys * 35 // 100, 650_000 + 21 * comparing + 9 * sending)


def ecdh_cost(comparing: int, sending: int) -> Cost:
    """Of Diffie-Hellman."""
    return Cost(53 * (comparing + sending), 64 * comparing + 9 * sending)


def choose(comparing: int, sending: int, *, malicious: bool, link_mbit: int) -> Choice:
    """The faster one over that link; against malicious members there is one alone."""
    if malicious:
        return Choice("rr22", "RR22: the only one here against malicious members")
    rr22, ecdh = rr22_cost(comparing, sending), ecdh_cost(comparing, sending)
    first, second = rr22.micros_over(link_mbit), ecdh.micros_over(link_mbit)
    protocol: Protocol = "ecdh" if second < first else "rr22"
    name = "ECDH" if protocol == "ecdh" else "RR22"
    told = (
        f"{name}: {comparing} and {sending} keys over {link_mbit} Mbit/s take about {second / 1e6:.3g} s and "
        f"{ecdh.wire / 1e6:.3g} MB by ECDH, {first / 1e6:.3g} s and {rr22.wire / 1e6:.3g} MB by RR22"
    )
    return Choice(protocol, told)


def unbalanced_cost(asked: int) -> Cost:
    """Of one run with a prepared set, whatever its size, for so many keys of the client; the table is there."""
    return Cost(15_000 + 90 * asked, 64 * asked)


def _prepared(asked: int, held: int) -> str:
    """What a prepared set of so many keys costs, in words."""
    run, table = unbalanced_cost(asked), 81 * held / 1e7
    return (
        f"{27 * held / 1e6:.3g} s once to prepare {held} keys (the first run, or `fondaco prepare` ahead) "
        f"and {table:.3g} MB once for their table, "
        f"then about {run.micros / 1e6:.3g} s and {run.wire / 1e6:.3g} MB a run of {asked}"
    )


def explain_choice(operation: str, parameters: Value, fewer: int, more: int) -> str:
    """Why a set operation of so many keys a side takes its protocol, in words."""
    if operation in {"cardinality", "threshold"}:
        return "ECDH: the protocol here that tells a number and not which keys"
    if operation == "union":
        return "ECDH: the membership test here that tells the receiver what it lacks and not which keys are shared"
    if operation == "unbalanced":
        return f"VOPRF, prepared: {_prepared(fewer, more)}"
    asked = parameters if isinstance(parameters, dict) else {}
    link = asked.get("link_mbit", LINK_MBIT)
    width = link if isinstance(link, int) and 1 <= link <= MAX_LINK_MBIT else LINK_MBIT
    malicious = asked.get("security") == "malicious"
    told = choose(fewer, more, malicious=malicious, link_mbit=width).reason
    if operation == "intersection" and not malicious and more >= UNBALANCED_FROM * max(fewer, 1):
        told += f". If this is asked often, psi.unbalanced takes {_prepared(fewer, more)}"
    return told
