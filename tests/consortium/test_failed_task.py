"""A task that fails by its data: the party that cannot go on is named with its own cause, and the command says so."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from consortium_world import workflow

from fondaco.cli.demo.cast import AIRLINE, WEATHER
from fondaco.node.control import ControlError


def written(value) -> str:
    """A workflow as a person writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {written(item)}" for name, item in value.items()) + " }"
    return json.dumps(value)


@pytest.mark.timeout(120)
def test_the_engine_that_cannot_go_on_is_named_with_its_own_cause(world, tmp_path) -> None:
    """A slot has many delays, so it does not decide a group; only the airline's engine can see that."""
    cast, _sources = world
    document = workflow()
    document["steps"][1]["parameters"] |= {"group": {"party": AIRLINE, "column": "dep_delay"}, "groups": ["1"]}
    file = tmp_path / "delay.toml"
    lines = [f"purpose = {json.dumps(document['purpose'])}"]
    lines += ["[[steps]]\n" + "\n".join(f"{k} = {written(v)}" for k, v in step.items()) for step in document["steps"]]
    file.write_text("\n".join(lines))
    command = [sys.executable, "-m", "fondaco.cli.main", "run", str(file), "--dir", str(cast[WEATHER].folder)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 7, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["status"] == "failed"
    assert answer["failure"]["party"] == AIRLINE
    assert answer["failure"]["cause"].startswith("a key has rows of more than one group")
    assert '"code": "flow.task_failed"' in done.stderr
    with pytest.raises(ControlError, match="the task has no step matchh") as caught:
        cast[WEATHER].ask("result", task=answer["task"], step="matchh")
    assert "match, statistics" in caught.value.remedy
    with pytest.raises(ControlError, match="regulator coordinates this task") as caught:
        cast[WEATHER].ask("again", task=answer["task"])
    assert f"fondaco run --again {answer['task']}" in caught.value.remedy
