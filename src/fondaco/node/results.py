"""Results: sealed by HPKE to who may read them, kept as files, committed to on the ledger by hash.

A result of a task that this institution asked for is sealed to the key of the user who asked; one that it
received as a party is sealed to the institution's own key. The commitment is over the sealed bytes, which hold
fresh randomness, so a result of few possible values cannot be guessed from the ledger.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

import pyarrow as pa

from fondaco.core.codec import encode
from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.core.sealed import SealSecret, seal, unseal
from fondaco.errors import NodeError, SealError
from fondaco.flow.chain import Chain, TaskView
from fondaco.flow.model import Step

_LIMIT = 1 << 30
_DOMAIN = b"fondaco/outcome\x00"


@message("result.sealed/1")
class Sealed:
    """A kept result: for which place, to which key, the box."""

    task: str
    attempt: int
    step: str
    party: str
    to: bytes
    box: bytes


@message("result.tables/1")
class _Tables:
    """What is inside the box: Arrow IPC streams by name."""

    tables: dict[str, bytes]


def place(chain: str, task: str, attempt: int, step: str, party: str) -> bytes:
    """The HPKE info: the one place that a result opens in."""
    return b"fondaco/result\x00" + encode([chain, task, attempt, step, party])


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


class ResultStore:
    """Keeps and opens results of one institution."""

    def __init__(self, folder: Path, *, org: str, chain_id: str, chain: Chain, own_key: bytes) -> None:
        self._folder = folder
        self._org = org
        self._chain_id = chain_id
        self._chain = chain
        self._own_key = own_key

    def _path(self, task: str, attempt: int, step: str) -> Path:
        named = hashlib.sha256(encode([task, attempt, step])).hexdigest()
        return self._folder / f"{named}.sealed"

    def keep(self, task: TaskView, step: Step, tables: dict[str, pa.Table]) -> bytes:
        """Seal, keep (mode 0600, whole or not at all) and commit."""
        plain = to_bytes(_Tables(tables={name: _ipc(table) for name, table in sorted(tables.items())}))
        mine = task.workflow.initiator == self._org
        to = self._chain.seal_key_of(task.initiator_key) if mine else self._own_key
        info = place(self._chain_id, task.id, task.attempt, step.id, self._org)
        sealed = to_bytes(
            Sealed(
                task=task.id,
                attempt=task.attempt,
                step=step.id,
                party=self._org,
                to=to,
                box=seal(to, info, plain),
            )
        )
        path = self._path(task.id, task.attempt, step.id)
        fresh = path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        return hashlib.sha256(_DOMAIN + sealed).digest()

    def nothing(self, task: TaskView, step: Step) -> bytes:
        """What a party commits to that learned nothing: a hash of the place alone."""
        where = place(self._chain_id, task.id, task.attempt, step.id, self._org)
        return hashlib.sha256(b"fondaco/no-outcome\x00" + where).digest()

    def sealed(self, task: str, attempt: int, step: str) -> bytes | None:
        """The kept bytes, or None."""
        path = self._path(task, attempt, step)
        return path.read_bytes() if path.exists() else None

    def commitment(self, sealed: bytes) -> bytes:
        """What the ledger should hold of these bytes."""
        return hashlib.sha256(_DOMAIN + sealed).digest()

    def open(
        self, task: str, attempt: int, step: str, secret: SealSecret, *, committed: bytes | None
    ) -> dict[str, pa.Table]:
        """The tables of a result, if it is the one that this institution committed to on the ledger.

        Raises:
            NodeError: there is no such result here, or none was reported.
            SealError: it is not the one that was reported, or was sealed to another key.
        """
        data = self.sealed(task, attempt, step)
        if data is None:
            raise NodeError(
                "no result of this step is kept here",
                remedy="ask for a step that this institution received",
                step=step,
            )
        if committed is None:
            raise NodeError("this step was not reported", remedy="wait for it, or run the task again", step=step)
        if not hmac.compare_digest(self.commitment(data), committed):
            raise SealError(
                "the kept result is not the one that the ledger has a hash of",
                remedy="restore the node's folder, or run the task again",
                step=step,
            )
        kept = from_bytes(Sealed, data, limit=_LIMIT)
        plain = unseal(secret, place(self._chain_id, task, attempt, step, self._org), kept.box)
        opened = from_bytes(_Tables, plain, limit=_LIMIT)
        return {name: pa.ipc.open_stream(blob).read_all() for name, blob in opened.tables.items()}
