"""How far two sets have met: the parts that both members finished, kept so that the next attempt does the others alone.

What a member keeps, sealed (`engines.keep`): the session key, under which identifiers and so the parts are the same
again; both sizes; and for each finished part the rows that matched and a digest of the part's identifiers and rows.
At the next attempt both name the kept key by a hash in their greeting; where they name the same one it is taken again.
Each then says which parts it has finished *and* whose identifiers it finds unchanged. What both have is not run again;
all else is, with new randomness throughout: the key alone is old, and it was known to both from the start.

**Learned.** Nothing that the first attempt did not tell: a peer sees which parts the other calls finished. A cheat can
call a part unfinished and run it again with other keys, as it can run a whole step again; that costs it an attempt.
A member that has changed its data has no part unchanged, so all parts are run; other terms are another folder.
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from fondaco.core.messages import from_bytes, message, to_bytes
from fondaco.engines.base import EngineStopped
from fondaco.engines.channel import Channel
from fondaco.engines.keep import Keep
from fondaco.engines.psi.keys import Array
from fondaco.engines.psi.store import Part, Store
from fondaco.errors import CodecError

_HEAD = "head"
_LIMIT = 256
_PART_LIMIT = 1 << 30


@message("psi.kept/1")
class Head:
    """The meeting that is kept: its session key, how many keys each side has, into how many parts they are cut."""

    session: bytes = dataclasses.field(repr=False)
    rows: int
    peer_rows: int
    parts: int


@message("psi.kept-part/1")
class KeptPart:
    """A finished part: SHA-256 over its identifiers and rows, and the rows that matched as little-endian uint32."""

    digest: bytes
    places: bytes


@message("psi.finished/1")
class Finished:
    """Which parts a member has finished: bit i of byte i // 8 for part i."""

    parts: bytes


def _name(index: int) -> str:
    return f"part-{index:03d}"


def _digest(part: Part) -> bytes:
    hasher = hashlib.sha256(np.ascontiguousarray(part.ids).data)
    hasher.update(np.ascontiguousarray(part.places, dtype="<u4").data)
    return hasher.digest()


def kept_session(keep: Keep | None) -> bytes | None:
    """The session key of an attempt that was cut, or None."""
    head = None if keep is None else _read_head(keep)
    return None if head is None else head.session


def _read_head(keep: Keep) -> Head | None:
    data = keep.read(_HEAD)
    return None if data is None else from_bytes(Head, data)


@dataclasses.dataclass(frozen=True)
class Progress:
    """The parts of a meeting that are finished; `keep` is None where nothing can be kept, and all parts are run."""

    keep: Keep | None
    head: Head
    store: Store

    def agree(self, channel: Channel) -> frozenset[int]:
        """The parts that both have finished. What is kept of any other part, or of another meeting, is forgotten.

        Raises:
            EngineStopped: the link broke, or the peer sent no such word.
        """
        mine = self._unchanged()
        bits = bytearray(-(-self.head.parts // 8))
        for index in mine:
            bits[index // 8] |= 1 << index % 8
        channel.send(to_bytes(Finished(parts=bytes(bits))))
        both = mine & _parts_of(channel, self.head.parts)
        if self.keep is not None:
            self._forget(both)
            self.keep.write(_HEAD, to_bytes(self.head))
        return both

    def _unchanged(self) -> frozenset[int]:
        if self.keep is None or _read_head(self.keep) != self.head:
            return frozenset()
        found = set()
        for index in range(self.head.parts):
            part = self._read(index)
            if part is not None and part.digest == _digest(self.store.part(index, self.head.parts)):
                found.add(index)
        return frozenset(found)

    def _read(self, index: int) -> KeptPart | None:
        data = None if self.keep is None else self.keep.read(_name(index))
        return None if data is None else from_bytes(KeptPart, data, limit=_PART_LIMIT)

    def _forget(self, both: frozenset[int]) -> None:
        assert self.keep is not None
        wanted = {_HEAD, *map(_name, both)}
        for name in self.keep.names():
            if name not in wanted:
                self.keep.forget(name)

    def places(self, index: int) -> Array:
        """The rows that matched in a finished part, in the order in which they were found."""
        part = self._read(index)
        if part is None:
            raise EngineStopped("what was kept of a finished part is gone", remedy="start the task again")
        found: Array = np.frombuffer(part.places, "<u4")
        return found

    def finish(self, index: int, part: Part, places: Array) -> None:
        """Keep the result of a part."""
        if self.keep is not None:
            raw = np.ascontiguousarray(places, dtype="<u4").tobytes()
            self.keep.write(_name(index), to_bytes(KeptPart(digest=_digest(part), places=raw)))


def _parts_of(channel: Channel, parts: int) -> frozenset[int]:
    try:
        said = from_bytes(Finished, channel.receive(_LIMIT), limit=_LIMIT).parts
    except CodecError as fault:
        raise EngineStopped(f"{channel.peer} did not say what it has", remedy="start the task again") from fault
    number = int.from_bytes(said, "little")
    if len(said) != -(-parts // 8) or number >> parts:
        raise EngineStopped(f"{channel.peer} names parts that are none", remedy="start the task again")
    return frozenset(index for index in range(parts) if number >> index & 1)
