"""Python's collector of cycles, for a process that runs for long: it looks seldom.

What a node makes for each transaction holds no cycle, so there is nothing to be found after each 700 new objects, as
Python looks unless told. A look at all is a pause that grows with what is kept in memory. Trusts and leaks nothing.
"""

from __future__ import annotations

import gc

NEW, YOUNG, OLD = 50_000, 20, 100  # new objects a look; looks at them a look at those before, and so on


def collect_seldom() -> None:
    """To be called once. Nothing is frozen: that would not be freed at the end, and libraries tell of such as leaks."""
    gc.set_threshold(NEW, YOUNG, OLD)
