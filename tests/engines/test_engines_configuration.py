"""The configuration of SPU is its default in all but what is set on purpose: no switch can be added unnoticed."""

from __future__ import annotations

from typing import Any

import pytest
from spu import libspu

from fondaco.engines.mpc.runtime import Ring, make_config


def attributes(config: Any) -> dict[str, Any]:
    """Every plain attribute by name; what is made of parts shows in the serialised form."""
    values = {name: getattr(config, name) for name in dir(config) if not name.startswith("_")}
    return {name: value for name, value in values.items() if not callable(value) and not name.endswith("_config")}


@pytest.mark.parametrize("ring", list(Ring))
@pytest.mark.parametrize("members", [2, 3])
def test_nothing_of_the_configuration_is_set_but_protocol_ring_and_fraction(members, ring) -> None:
    config, default = make_config(members, ring), libspu.RuntimeConfig()
    ours, theirs = attributes(config), attributes(default)
    assert len(theirs) > 40
    changed = {name for name in theirs if ours[name] != theirs[name]}
    assert {"protocol", "field"} <= changed <= {"protocol", "field", "fxp_fraction_bits"}
    for name in ("protocol", "field", "fxp_fraction_bits"):
        setattr(default, name, getattr(config, name))
    assert config.SerializeToString() == default.SerializeToString()
