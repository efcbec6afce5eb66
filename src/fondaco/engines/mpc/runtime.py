"""The secure configurations, and sharing, running and opening under one of them.

Two configurations exist here and no setting reaches another: ABY3 with three members, Cheetah with two. Anything
that CRYPTO.md calls insecure or wrong cannot be named.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import spu
from numpy.typing import NDArray
from spu import libspu

from fondaco.engines.base import BadJob
from fondaco.errors import EngineError

Array = NDArray[Any]


class Ring(enum.Enum):
    """How wide shares are."""

    WIDE64 = 64
    WIDE128 = 128


_FRACTION = {Ring.WIDE64: 18, Ring.WIDE128: 26}
_FIELD = {Ring.WIDE64: libspu.FieldType.FM64, Ring.WIDE128: libspu.FieldType.FM128}
_PROTOCOL = {3: libspu.ProtocolKind.ABY3, 2: libspu.ProtocolKind.CHEETAH}


def make_config(members: int, ring: Ring) -> libspu.RuntimeConfig:
    """The configuration for so many members.

    Raises:
        BadJob: neither two nor three.
    """
    if members not in _PROTOCOL:
        raise BadJob(
            "secret computation runs between two parties, or two and a helper",
            remedy="name two parties with data",
        )
    config = libspu.RuntimeConfig()
    config.protocol = _PROTOCOL[members]
    config.field = _FIELD[ring]
    config.fxp_fraction_bits = _FRACTION[ring]
    return config


class Session:
    """One run on secret shares between linked members."""

    def __init__(self, link: libspu.link.Context, ring: Ring) -> None:
        self._link = link
        self.members = link.world_size
        self.rank = link.rank
        config = make_config(self.members, ring)
        self.name = f"{'aby3' if self.members == 3 else 'cheetah'}-fm{ring.value}"
        self._io = spu.Io(self.members, config)
        self._runtime = spu.Runtime(link, config)
        self._inputs: dict[str, Array] = {}

    def share(self, owner: int, name: str, array: Array | None, like: Array) -> None:
        """Share `owner`'s array; others give None. `like` has its public shape and dtype."""
        self._inputs[name] = like
        if self.rank != owner:
            share = libspu.Share()
            share.meta = bytes(self._link.recv(owner))
            count = int.from_bytes(self._link.recv(owner), "big")
            share.share_chunks = [bytes(self._link.recv(owner)) for _ in range(count)]
            self._runtime.set_var(name, share)
            return
        if array is None or array.shape != like.shape or array.dtype != like.dtype:
            raise BadJob("an input has not its declared shape", remedy="see that all parties matched the same rows")
        shares = self._io.make_shares(np.ascontiguousarray(array), spu.Visibility.VIS_SECRET)
        for rank, share in enumerate(shares):
            if rank != owner:
                self._send(rank, share)
        self._runtime.set_var(name, shares[owner])

    def _send(self, rank: int, share: libspu.Share) -> None:
        self._link.send_async(rank, share.meta)
        self._link.send_async(rank, len(share.share_chunks).to_bytes(4, "big"))
        for chunk in share.share_chunks:
            self._link.send_async(rank, chunk)

    def run(self, program: Callable[..., Any], names: Sequence[str]) -> list[str]:
        """Run a JAX function of the named inputs; the names of its outputs, still secret."""
        import jax
        from spu.utils import frontend

        jax.config.update("jax_enable_x64", True)
        inputs = [self._inputs[name] for name in names]
        executable, _shape = frontend.compile(
            frontend.Kind.JAX,
            program,
            inputs,
            {},
            list(names),
            [libspu.Visibility.VIS_SECRET] * len(inputs),
            lambda outputs: [f"out{index}" for index in range(len(outputs))],
        )
        self._runtime.run(executable)
        return list(executable.output_names)

    def open(self, name: str, receivers: Sequence[int]) -> Array | None:
        """Open an output to the receivers alone; None for the others."""
        mine = self._runtime.get_var(name)
        for receiver in receivers:
            if receiver != self.rank:
                self._send(receiver, mine)
        if self.rank not in receivers:
            return None
        shares: list[libspu.Share] = []
        for rank in range(self.members):
            if rank == self.rank:
                shares.append(mine)
                continue
            share = libspu.Share()
            share.meta = bytes(self._link.recv(rank))
            count = int.from_bytes(self._link.recv(rank), "big")
            share.share_chunks = [bytes(self._link.recv(rank)) for _ in range(count)]
            shares.append(share)
        return np.asarray(self._io.reconstruct(shares))

    def agree(self, number: int, what: str) -> None:
        """All members must hold the same public number.

        Raises:
            EngineError: they do not.
        """
        mine = number.to_bytes(8, "big", signed=True)
        for rank in range(self.members):
            if rank != self.rank:
                self._link.send_async(rank, mine)
        for rank in range(self.members):
            if rank != self.rank and bytes(self._link.recv(rank)) != mine:
                raise EngineError(
                    f"the members do not agree on {what}",
                    remedy="see that all run the same step on the same match",
                )

    def announce(self, owner: int, number: int) -> int:
        """A public number of `owner`'s (others' argument is not looked at)."""
        if self.rank == owner:
            for rank in range(self.members):
                if rank != owner:
                    self._link.send_async(rank, number.to_bytes(8, "big", signed=True))
            return number
        return int.from_bytes(self._link.recv(owner), "big", signed=True)

    def close(self) -> None:
        """Wait for all, then end the link."""
        self._link.barrier()
        self._link.stop_link()
