"""What every contract stands on: the context of a transaction, typed records, checks of text and numbers."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeVar

from fondaco.core.messages import from_bytes, is_frozen, to_bytes
from fondaco.core.names import is_plain
from fondaco.errors import ContractError
from fondaco.ledger.state import ReadStore, Store

T = TypeVar("T")
Attribute = int | str | bytes
_SHARED, _WIDE = 16_384, 64  # records of up to _NARROW bytes, and larger ones, whose decoded form is kept
_NARROW = 2048
VERSION = 2  # the newest rules, with which a new chain begins
MAX_AMOUNT = (1 << 62) - 1
VALIDATORS = b"validators/"  # the voted set: key -> power of 8 bytes; it signs two heights after it stands here
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_WORD = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,127}")


class Event(NamedTuple):
    """Something that happened: contract and kind, and what it happened to."""

    contract: str
    kind: str
    attributes: dict[str, Attribute]


@dataclasses.dataclass(frozen=True, slots=True)
class ValidatorUpdate:
    """A validator's raw Ed25519 key and its new power; 0 removes it."""

    key: bytes
    power: int


@dataclasses.dataclass(slots=True, kw_only=True, eq=False)
class Context:
    """One transaction being executed, or a block being ended.

    `time` is the block's, in unix seconds; `signers` are raw Ed25519 keys whose signatures were verified, the author
    first; `tx` is the transaction's hash; `entropy` is 32 bytes of the block that were not known when the block
    before it was made (previous app hash, height, the header's time in nanoseconds). At the end of a block there are
    no signers, `tx` is what names the block, and `updates` are what the block changes of the validator set, two
    heights on; a transaction's are dropped.
    `version` is that of the rules that hold at this height: old rules stay for the heights that they were made for.
    """

    # Final and not frozen: one is made for each transaction, and a frozen one takes three times as long to make.
    store: Final[Store]
    chain: Final[str]
    height: Final[int]
    time: Final[int]
    signers: Final[tuple[bytes, ...]]
    tx: Final[bytes]
    entropy: Final[bytes]
    events: Final[list[Event]]
    updates: Final[list[ValidatorUpdate]] = dataclasses.field(default_factory=list)
    version: Final[int] = 1

    def emit(self, contract: str, kind: str, /, **attributes: Attribute) -> None:
        """Add an event to the log, in order."""
        self.events.append(Event(contract, kind, attributes))


class Refused(ContractError):
    """A contract's refusal; each contract has its own subclasses with its codespace."""

    remedy_text = "see docs/reference/contracts.md for what this transaction needs"

    def __init__(self, cause: str, *, remedy: str = "") -> None:
        super().__init__(f"{self.codespace}: {cause}", remedy=remedy or self.remedy_text)


def validators(ctx: Context) -> dict[bytes, int]:
    """The voted validator set, with what this block has changed of it so far: key -> power."""
    found = {key[len(VALIDATORS) :]: int.from_bytes(power, "big") for key, power in ctx.store.items(VALIDATORS)}
    found |= {update.key: update.power for update in ctx.updates}
    return {key: power for key, power in found.items() if power}


def _read(cls: type, data: bytes) -> object:
    return from_bytes(cls, data)


_decoded: Callable[[type, bytes], object] = functools.lru_cache(maxsize=_SHARED)(_read)
_decoded_wide: Callable[[type, bytes], object] = functools.lru_cache(maxsize=_WIDE)(_read)


def load(store: ReadStore, cls: type[T], key: bytes) -> T | None:
    """The record at a key, or None. The same bytes are decoded once, where nobody can change what is shared."""
    data = store.get(key)
    if data is None:
        return None
    if not is_frozen(cls):
        return from_bytes(cls, data)
    found = (_decoded if len(data) <= _NARROW else _decoded_wide)(cls, data)
    assert isinstance(found, cls)
    return found


def save(store: Store, key: bytes, record: object) -> None:
    """Put a record at a key."""
    store.set(key, to_bytes(record))


def records(store: ReadStore, cls: type[T], prefix: bytes) -> Iterator[T]:
    """All records under a prefix, in order of key."""
    for _key, data in store.items(prefix):
        yield from_bytes(cls, data)


def derive(kind: str, *parts: bytes) -> bytes:
    """A 32-byte id from a kind and parts, each with its length, so that no two lists run together."""
    state = hashlib.sha256(b"fondaco/id\x00" + kind.encode() + b"\x00")
    for part in parts:
        state.update(len(part).to_bytes(4, "big"))
        state.update(part)
    return state.digest()


def is_name(text: str) -> bool:
    """Whether text can name an organisation or a part of a path."""
    return _NAME.fullmatch(text) is not None


def is_word(text: str) -> bool:
    """Whether text can be an operation or a purpose: a short lower-case identifier."""
    return _WORD.fullmatch(text) is not None


def is_text(text: str, limit: int) -> bool:
    """Whether text is of bounded length, in bytes of UTF-8, and holds nothing that a reader would not see."""
    return len(text.encode("utf-8")) <= limit and is_plain(text)


def distinct(items: tuple[object, ...]) -> bool:
    """Whether no item stands twice."""
    return len(dict.fromkeys(items)) == len(items)


def is_amount(amount: int) -> bool:
    """Whether a number can be an amount of points or a count."""
    return 0 <= amount <= MAX_AMOUNT
