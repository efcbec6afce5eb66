"""What is prepared of a dataset for a step: found in the vault and kept there. A part of the gate, for it alone."""

from __future__ import annotations

import pyarrow as pa

from fondaco.core.cid import Cid
from fondaco.core.names import DatasetName
from fondaco.engines.base import PREPARED
from fondaco.engines.pir.label import index_label
from fondaco.engines.pir.parts import BEFORE, as_table, from_table
from fondaco.engines.psi.unbalanced import set_label
from fondaco.flow.model import Input, Step
from fondaco.vault import prepared
from fondaco.vault.store import Vault


def label(step: Step, item: Input) -> str | None:
    """The label of what a step needs prepared of what a party brings, or None."""
    if not isinstance(step.parameters, dict):
        return None
    if (step.engine, step.operation) == ("psi", "unbalanced"):
        named = step.parameters.get("keys")
        return set_label(item.columns, [str(key) for key in named]) if isinstance(named, list) else None
    if (step.engine, step.operation) != ("pir", "lookup"):
        return None
    keys, most = step.parameters.get("keys"), step.parameters.get("most_keys", 1)
    if not isinstance(keys, list) or not isinstance(most, int):
        return None
    return index_label(item.columns, [str(key) for key in keys], most)


def find(vault: Vault, cid: Cid, step: Step, item: Input) -> dict[str, pa.Table]:
    """What was prepared of the dataset, or of an earlier version of it, under the names that the engine knows."""
    wanted = label(step, item)
    if wanted is None:
        return {}
    parts = prepared.find(vault, cid, wanted)
    if parts is not None:
        return {PREPARED: as_table(parts)}
    if step.engine != "pir":
        # Another version is another set under another key.
        return {}
    parts = prepared.find_before(vault, DatasetName.parse(item.dataset), wanted)
    return {} if parts is None else {BEFORE: as_table(parts)}


def keep(vault: Vault, step: Step, item: Input, table: pa.Table) -> bool:
    """Keep what was prepared; whether the step prepares anything."""
    wanted = label(step, item)
    if wanted is None:
        return False
    prepared.keep(vault, vault.resolve(DatasetName.parse(item.dataset)), wanted, from_table(table))
    return True
