"""What nodes say to each other while a task runs: small canonical messages, bounded."""

from __future__ import annotations

from fondaco.core.messages import message

STEP = "task.step"
CANCEL = "task.cancel"
ENGINE = "engine"
MAX_BYTES = 4096


@message("flow.order/1")
class Order:
    """The coordinator asks a party to run its share of a step, at a height that it must have seen."""

    task: str
    attempt: int
    step: str
    height: int
    seconds: int


@message("flow.cancel/1")
class Cancel:
    """The coordinator ends an attempt: which party failed and why, as every party shall see it."""

    task: str
    attempt: int
    step: str
    party: str
    cause: str


@message("flow.link/1")
class Link:
    """The head of a stream that carries one engine link from one rank to another; in a lane of `engines.base.LANES`."""

    task: str
    attempt: int
    step: str
    sender: int
    receiver: int
    lane: str
