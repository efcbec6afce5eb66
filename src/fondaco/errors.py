"""The one tree of errors: every error has a code, a cause and a remedy.

A *code* is stable and dotted (`vault.import.ragged`), for machines and for the reference pages.
A *cause* says what happened, in a person's words. A *remedy* says what to do about it.
*Details* name the things involved (party, file, row, step); they must never hold a key or a cell of data
that belongs to another party.

Exit codes of the command line: 2 usage, 3 input, 4 refused by rule, 5 proof failed, 6 peer or network,
7 engine, 8 deadline, 9 damaged or misconfigured node.
"""

from __future__ import annotations

from typing import ClassVar

Detail = str | int | bytes | None

_MAX_TEXT = 4096


class FondacoError(Exception):
    """Base of all errors that this software raises on purpose.

    Args:
        cause: what happened.
        remedy: what the reader can do about it.
        details: names of the things involved; shown and sent to peers, so never secrets.
    """

    code: ClassVar[str] = "fondaco.error"
    exit_code: ClassVar[int] = 1

    def __init__(self, cause: str, *, remedy: str, **details: Detail) -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy
        self.details: dict[str, Detail] = details

    def diagnostics(self) -> str:
        """Several lines for a person: code and cause, the details, the remedy."""
        lines = [f"{self.code}: {self.cause}"]
        for name, value in self.details.items():
            if value is None:
                continue
            shown = value.hex() if isinstance(value, bytes) else value
            lines.append(f"  {name}: {shown}")
        lines.append(f"  remedy: {self.remedy}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """The same for machines (JSON-ready: bytes are hex)."""
        details = {k: v.hex() if isinstance(v, bytes) else v for k, v in self.details.items()}
        return {"code": self.code, "cause": self.cause, "remedy": self.remedy, "details": details}


class RemoteError(FondacoError):
    """An error that a peer reported; it keeps the peer's own code."""

    exit_code = 6

    def __init__(self, cause: str, *, remedy: str, remote_code: str, **details: Detail) -> None:
        super().__init__(cause, remedy=remedy, **details)
        self.remote_code = remote_code

    def to_dict(self) -> dict[str, object]:
        """As the peer would have shown it, with its code."""
        return super().to_dict() | {"code": self.remote_code}

    def diagnostics(self) -> str:
        """As the peer would have shown it, with its code."""
        return super().diagnostics().replace(self.code, self.remote_code, 1)

    code = "remote.error"


def error_from_dict(value: dict[str, object]) -> RemoteError:
    """Rebuild what a peer sent by `to_dict`. Wrong shapes become bounded text, never an exception."""

    def text(name: str, fallback: str) -> str:
        found = value.get(name)
        return found[:_MAX_TEXT] if isinstance(found, str) else fallback

    raw = value.get("details")
    details: dict[str, Detail] = {}
    if isinstance(raw, dict):
        for key, item in list(raw.items())[:32]:
            if isinstance(key, str) and key.isidentifier() and isinstance(item, str | int):
                details[key] = item[:_MAX_TEXT] if isinstance(item, str) else item
    for reserved in ("cause", "remedy", "remote_code", "self"):
        details.pop(reserved, None)
    return RemoteError(
        text("cause", "the peer gave no cause"),
        remedy=text("remedy", "ask the peer's operator"),
        remote_code=text("code", "remote.error"),
        **details,
    )


class CodecError(FondacoError):
    """Bytes or values outside the canonical form."""

    code = "core.codec"
    exit_code = 3


class NamingError(FondacoError):
    """A name, CID or DID that is not well formed."""

    code = "core.name"
    exit_code = 3


class KeyMaterialError(FondacoError):
    """A key or signature that is not valid."""

    code = "core.key"
    exit_code = 5


class SealError(FondacoError):
    """A sealed box that does not open with this key and context."""

    code = "core.seal"
    exit_code = 5


class LedgerError(FondacoError):
    """The ledger refused, halted or is damaged."""

    code = "ledger.error"
    exit_code = 4


class ContractError(LedgerError):
    """A contract refused a transaction. `codespace` and `number` are consensus data."""

    code = "ledger.contract"
    codespace: ClassVar[str] = "contract"
    number: ClassVar[int] = 1


class ProofError(FondacoError):
    """A proof failed; `check` names which check."""

    code = "ledger.proof"
    exit_code = 5

    def __init__(self, cause: str, *, check: str, remedy: str, **details: Detail) -> None:
        super().__init__(cause, remedy=remedy, check=check, **details)
        self.check = check


class VaultError(FondacoError):
    """The vault refused, or what it holds is damaged."""

    code = "vault.error"
    exit_code = 9


class ImportRefused(VaultError):
    """Input that cannot be imported as declared; nothing of it was kept.

    Args:
        file: the file or table as the person named it.
        row: 1-based row of data, None where the whole file is meant.
        column: the column's name, None where the whole row is meant.
    """

    code = "vault.import"
    exit_code = 3

    def __init__(
        self,
        cause: str,
        *,
        remedy: str,
        file: str,
        row: int | None = None,
        column: str | None = None,
        **details: Detail,
    ) -> None:
        super().__init__(cause, remedy=remedy, file=file, row=row, column=column, **details)
        self.file = file
        self.row = row
        self.column = column


class TransportError(FondacoError):
    """A peer link could not do what was asked."""

    code = "transport.error"
    exit_code = 6


class PeerLost(TransportError):
    """A peer went silent or its link broke; `peer` names it."""

    code = "transport.peer_lost"

    def __init__(self, cause: str, *, peer: str, remedy: str, **details: Detail) -> None:
        super().__init__(cause, remedy=remedy, peer=peer, **details)
        self.peer = peer


class PeerRefused(TransportError):
    """A peer is not who it should be, or refused us."""

    code = "transport.peer_refused"


class EngineError(FondacoError):
    """A computation could not be done."""

    code = "engine.error"
    exit_code = 7


class PartyFailed(EngineError):
    """A party of a computation failed; `party` and `step` name where."""

    code = "engine.party_failed"

    def __init__(self, cause: str, *, party: str, step: str, remedy: str, **details: Detail) -> None:
        super().__init__(cause, remedy=remedy, party=party, step=step, **details)
        self.party = party
        self.step = step


class GateRefused(FondacoError):
    """The gate refused the use of data; `check` names which check."""

    code = "gate.refused"
    exit_code = 4

    def __init__(self, cause: str, *, check: str, remedy: str, **details: Detail) -> None:
        super().__init__(cause, remedy=remedy, check=check, **details)
        self.check = check


class FlowError(FondacoError):
    """A workflow that cannot be planned or run."""

    code = "flow.error"
    exit_code = 4


class TaskFailed(FlowError):
    """A task that was waited for ended without a result."""

    code = "flow.task_failed"
    exit_code = 7


class NodeError(FondacoError):
    """The node's own folder, settings or life are not in order."""

    code = "node.error"
    exit_code = 9


class UsageError(NodeError):
    """A verb, its arguments or a field of them is not as it must be; nothing was done."""

    code = "node.usage"
    exit_code = 2


def not_allowed(fault: OSError) -> NodeError:
    """What the operating system refused (a file, a folder, a port), in the form of all errors."""
    named = [str(name) for name in (fault.filename, fault.filename2) if name is not None]
    return NodeError(
        f"this machine refused: {(fault.strerror or str(fault) or type(fault).__name__).lower()}",
        remedy="check that the path exists, is free, and may be used by the user who runs this",
        file=" ".join(named) or None,
    )


class DeadlineExceeded(FondacoError):
    """Something did not answer in time; the details name what and how long."""

    code = "deadline.exceeded"
    exit_code = 8
