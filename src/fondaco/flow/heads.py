"""What the ledger is told of a workflow, derived from its bytes: both must say the same, and every node checks."""

from __future__ import annotations

from fondaco.core.names import DatasetName
from fondaco.flow.model import Workflow
from fondaco.ledger.contracts.tasks.messages import InputHead, StepHead


def operation_name(engine: str, operation: str) -> str:
    """How the ledger names an operation: `psi.intersection`."""
    return f"{engine}.{operation}"


def heads(workflow: Workflow) -> tuple[StepHead, ...]:
    """The heads of a workflow's steps."""
    made: list[StepHead] = []
    for step in workflow.steps:
        inputs: list[InputHead] = []
        for item in step.inputs:
            name = DatasetName.parse(item.dataset)
            inputs.append(
                InputHead(
                    organisation=item.party,
                    path=name.path,
                    version=name.version or 0,
                    columns=item.columns,
                    grant=None if item.grant is None else bytes.fromhex(item.grant),
                )
            )
        made.append(
            StepHead(
                id=step.id,
                program=step.program(),
                operation=operation_name(step.engine, step.operation),
                members=step.members,
                receivers=step.receivers,
                inputs=tuple(inputs),
            )
        )
    return tuple(made)
