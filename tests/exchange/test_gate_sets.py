"""Set operations at the gate: what tells more than an intersection does is bound by the same terms."""

from __future__ import annotations

import pytest
from gate_world import PATHS, GateWorld

from fondaco.core.messages import from_bytes
from fondaco.errors import GateRefused
from fondaco.ledger.contracts.grants import keys as grant_keys
from fondaco.ledger.contracts.grants.messages import Grant, Item

KEYS_ALONE = (Item(path=PATHS["holder"], version=1, keys=("k",), columns=()),)


def judged(world, step, check: str, *, allowed: bool) -> None:
    task = world.running(world.workflow(step))
    if allowed:
        assert world.gate.open(world.chain.task(task), step, None).table.num_rows == 200
        return
    with pytest.raises(GateRefused) as caught:
        world.gate.open(world.chain.task(task), step, None)
    assert caught.value.check == check, caught.value.diagnostics()


@pytest.mark.parametrize(("at_least", "allowed"), [(None, False), (1, False), (49, False), (True, False), (50, True)])
def test_a_threshold_below_the_smallest_number_of_rows_is_refused(tmp_path, at_least, allowed) -> None:
    world = GateWorld(tmp_path / "w", minimum_rows=50)
    parameters = {"keys": ["k"]} | ({} if at_least is None else {"at_least": at_least})
    judged(world, world.step(world.grant(), operation="threshold", parameters=parameters), "at-least", allowed=allowed)
    world.close()


@pytest.mark.parametrize(
    ("terms", "basis", "receivers", "allowed"),
    [
        ("*", "rule 1", ("asker",), False),
        ("*", "rule 1", ("asker", "holder"), False),
        ("*", "rule 1", ("holder",), True),
        ("*", "review", ("asker",), True),
        ("*", "offer", ("asker",), True),
        ("psi.union", "rule 1", ("asker",), True),
    ],
)
def test_no_permission_for_any_operation_opens_our_keys_to_others(tmp_path, terms, basis, receivers, allowed) -> None:
    world = GateWorld(tmp_path / "w", operations=(terms,))
    grant = world.grant(items=KEYS_ALONE, operations=("psi.union",))
    where = grant_keys.grant(bytes.fromhex(grant))
    world.ledger.wait_provable(5.0)
    given = from_bytes(Grant, world.ledger.prove([where]).states[0].value)
    assert given.basis == "rule 1"
    if basis != given.basis:
        world.forge(where, given, basis=basis)
    judged(world, world.step(grant, operation="union", receivers=receivers), "operation", allowed=allowed)
    world.close()
