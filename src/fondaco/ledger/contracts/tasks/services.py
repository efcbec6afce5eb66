"""The voted prices of services, and the consortium's list of programs, as a task meets them.

The initiator sets the price of all steps aside when it proposes. The coordinator, who schedules them, is paid it with
the settlement of the task, or when it ends after a provider's data were used; else it goes back.
"""

from __future__ import annotations

from fondaco.ledger.contracts.governance import parameters
from fondaco.ledger.contracts.kit import Context
from fondaco.ledger.contracts.points import accounts
from fondaco.ledger.contracts.tasks.errors import Denied
from fondaco.ledger.contracts.tasks.messages import StepHead, Task
from fondaco.ledger.state import ReadStore


def check_listed(store: ReadStore, step: StepHead) -> None:
    """Raise Denied where only listed programs may run and this one is not listed for its operation."""
    if not parameters.parameters(store).listed_programs_only:
        return
    found = parameters.program(store, step.program)
    if found is None or found.operation != step.operation:
        raise Denied(
            f"the program of step {step.id} is not on the consortium's list for {step.operation}",
            remedy="propose to admit the program, or use one of the list",
        )


def lock(ctx: Context, record: Task) -> None:
    """Set the price of a task's steps aside, as it is now; nothing where all are free."""
    price = sum(parameters.price(ctx.store, step.operation) for step in record.steps)
    if price:
        accounts.lock(ctx, record.id, record.initiator, price)


def close(ctx: Context, record: Task) -> None:
    """End what was set aside for a task that comes to no settlement."""
    held = accounts.held(ctx.store, record.id)
    if held and record.begun:
        accounts.release(ctx, record.id, record.coordinator, held)
    elif held:
        accounts.refund(ctx, record.id, held)
