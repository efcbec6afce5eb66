"""What becomes of a transaction. Only a result's code is consensus; its words are for people, bounded and printable."""

from __future__ import annotations

import dataclasses

from fondaco.errors import FondacoError

MAX_SAID = 300  # bytes of a refusal's cause, and of its remedy


@dataclasses.dataclass(frozen=True, slots=True)
class TxResult:
    """What became of a transaction: code 0, or a refusal with codespace, cause and remedy."""

    code: int
    codespace: str
    error: str
    cause: str
    remedy: str
    events: tuple[int, ...]


def refusal_result(code: int, codespace: str, fault: FondacoError) -> TxResult:
    """A refused transaction's result: its words are bounded and printable, since the sender may have chosen them."""
    cause, remedy = (
        "".join(c if c.isprintable() else "?" for c in text[:MAX_SAID]).encode()[:MAX_SAID].decode("utf-8", "ignore")
        for text in (fault.cause, fault.remedy)
    )
    return TxResult(code, codespace, fault.code, cause, remedy, ())
