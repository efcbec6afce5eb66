"""What the application needs of the contracts, and no more. Implementations are deterministic; nothing here leaks."""

from __future__ import annotations

from typing import Any, Protocol

from fondaco.core.codec import Value
from fondaco.ledger.contracts.kit import Context
from fondaco.ledger.state import ReadStore


class Rules(Protocol):
    """Which version of the rules holds from a height on, and the SHA-256 of the package that has it."""

    @property
    def height(self) -> int:
        """The first height of these rules."""

    @property
    def version(self) -> int:
        """Their version; contracts see it as `Context.version`."""

    @property
    def package(self) -> bytes:
        """The SHA-256 of the package; empty for the first rules."""


class Registry(Protocol):
    """The contracts, as the application needs them."""

    def message_of(self, kind: str) -> type | None:
        """The class of a kind's messages; None where there is no such kind, or none has a class."""

    def execute(self, ctx: Context, kind: str, payload: Any) -> None:
        """Run a message, of its class or as it was decoded; ContractError refuses it."""

    def init_genesis(self, ctx: Context, document: Value) -> None:
        """Make the founding state."""

    def end_block(self, ctx: Context) -> None:
        """Do what is due at the end of a block; `ctx.updates` takes what changes of the validator set."""

    def rules(self, store: ReadStore, height: int) -> Rules:
        """The rules that hold at a height."""

    def admits(self, store: ReadStore, signers: tuple[bytes, ...], kind: str) -> bool:
        """Whether these keys, the author's first, may send a transaction of this kind at all."""

    def expelled(self, store: ReadStore, key: bytes) -> str:
        """The expelled institution whose this key is; empty where there is none."""

    def quota(self, store: ReadStore, key: bytes) -> tuple[str, int]:
        """Whose transactions a signer's are, and how many of them a block may hold."""

    def waiting(self, store: ReadStore) -> tuple[int | None, int | None]:
        """The next height and time (unix seconds) at which `end_block` has work; None where nothing waits."""

    def query(self, store: ReadStore, path: str, data: dict[str, Value]) -> Value:
        """Answer a read."""
