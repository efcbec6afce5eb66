"""Which handshake gives way when too many are under way, so that a crowd of strangers keeps no member out.

Nothing is known of who connects but the address, which costs little to have many of (IPv6: a whole /64). So the
addresses of members give way last; among the others one of the address with the most handshakes does, drawn at
random: a flood from few addresses pushes out its own, and one from very many meets each newcomer with no certainty.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections import Counter
from collections.abc import Callable


def origin_of(address: str) -> str:
    """What one sender is told apart by: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


class Handshakes:
    """The handshakes under way, at most `most`; `is_member` says whether an origin is one of a member."""

    def __init__(self, most: int, is_member: Callable[[str], bool]) -> None:
        self._most = most
        self._is_member = is_member
        self._running: dict[asyncio.Task[None], str] = {}

    def make_room(self) -> None:
        """End one if there are as many as may be."""
        if len(self._running) >= self._most:
            one = self._weakest()
            del self._running[one]
            one.cancel()

    def add(self, task: asyncio.Task[None], address: str) -> None:
        """Count a handshake until it is over."""
        self._running[task] = origin_of(address)
        task.add_done_callback(lambda done: self._running.pop(done, None))

    def _weakest(self) -> asyncio.Task[None]:
        strangers = {task: origin for task, origin in self._running.items() if not self._is_member(origin)}
        if not strangers:
            return next(iter(self._running))  # members alone: the oldest is the likeliest to have failed
        counts = Counter(strangers.values())
        most = max(counts.values())
        return secrets.choice([task for task, origin in strangers.items() if counts[origin] == most])
