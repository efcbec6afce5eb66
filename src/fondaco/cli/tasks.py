"""Verbs about tasks: explain, run, tasks, result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fondaco.cli.base import HERE, AsJson, Dir, ask, group
from fondaco.errors import TaskFailed, UsageError

app = group()
_DAY = 86400.0


def _workflow(path: Path) -> dict[str, Any]:
    from fondaco.flow.planner import read_document

    return read_document(path)


@app.command()
def explain(
    workflow: Annotated[Path, typer.Argument(help="TOML file of the workflow.")],
    dir_: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Before anything runs: missing grants, price, who learns what, time and memory."""
    ask(dir_, "explain", {"workflow": _workflow(workflow)}, as_json=as_json)


def _ended(task: dict[str, Any]) -> None:
    """Say so, by the exit code too, when a task that was waited for has ended without a result."""
    if task["status"] not in ("failed", "abandoned", "expired"):
        return
    failure = task["failure"]
    raise TaskFailed(
        failure.get("cause") or f"the task is {task['status']}",
        remedy="mend what the cause names; then the coordinator starts it again: fondaco run --again TASK",
        task=task["task"],
        step=failure.get("step"),
        party=failure.get("party"),
        reason=failure.get("reason"),
    )


@app.command()
def run(
    workflow: Annotated[Path | None, typer.Argument(help="TOML file of the workflow.")] = None,
    dir_: Dir = HERE,
    again: Annotated[str, typer.Option(help="Start this failed task again (on its coordinator's node).")] = "",
    seconds: Annotated[int, typer.Option(help="The task's deadline from now.", min=1)] = 3600,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end.")] = True,
    as_json: AsJson = False,
) -> None:
    """Run a workflow with those who granted it."""
    if again:
        _ended(ask(dir_, "again", {"task": again}, as_json=as_json, deadline=_DAY))
        return
    if workflow is None:
        raise UsageError("name a workflow or --again TASK", remedy="see `fondaco run --help`")
    arguments = {"workflow": _workflow(workflow), "seconds": seconds, "wait": wait}
    _ended(ask(dir_, "run", arguments, as_json=as_json, deadline=seconds + 600.0))


@app.command()
def tasks(dir_: Dir = HERE, as_json: AsJson = False) -> None:
    """List the tasks that this institution has a part in; a regulator sees all."""
    ask(dir_, "tasks", {}, as_json=as_json)


@app.command()
def result(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    step: Annotated[str, typer.Argument(help="The step; none shows how far the task is.")] = "",
    dir_: Dir = HERE,
    limit: Annotated[int, typer.Option(help="At most so many rows.", min=0)] = 1000,
    as_json: AsJson = False,
) -> None:
    """Show how far a task is, or open what this institution received of a step."""
    if not step:
        ask(dir_, "task", {"task": task}, as_json=as_json)
        return
    ask(dir_, "result", {"task": task, "step": step, "limit": limit}, as_json=as_json)
