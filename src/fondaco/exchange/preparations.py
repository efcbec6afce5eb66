"""What is prepared of a dataset for lookups and sets, found and kept in the vault: a part of the gate, for it alone."""

from __future__ import annotations

import dataclasses

import pyarrow as pa

from fondaco.core.cid import Cid
from fondaco.core.codec import Value
from fondaco.core.models import Column
from fondaco.core.names import DatasetName
from fondaco.engines.base import PREPARED, Job
from fondaco.engines.pir.label import index_label, two_server_label
from fondaco.engines.pir.parts import BEFORE, as_table, views
from fondaco.engines.psi.unbalanced import set_label
from fondaco.flow.model import Input, Step
from fondaco.vault import prepared
from fondaco.vault.store import Vault

TWO_SERVERS = "two-server-lookup"
LOOKUP = "pir.lookup"
SET = "psi.unbalanced"
AHEAD = (LOOKUP, SET)
"""The operations that a provider can prepare a dataset for before anyone asks."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
    """What a provider wants prepared: for which operation, which columns of which version, by which keys.

    `columns` are as steps will name them, in that order, the keys among them: what is prepared is for these alone.
    `most_keys` is how many keys lookups ask at once; a set is for any number.
    """

    operation: str
    dataset: DatasetName
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    most_keys: int

    @property
    def label(self) -> str:
        """The label that steps will look for."""
        if self.operation == SET:
            return set_label(self.columns, self.keys)
        return index_label(self.columns, self.keys, self.most_keys)

    def job(self, org: str, columns: tuple[Column, ...], seconds: int) -> Job:
        """What a worker is given: a job of one party, with no peer."""
        parameters: dict[str, Value] = {"keys": list(self.keys)}
        if self.operation == LOOKUP:
            parameters["most_keys"] = self.most_keys
        return Job(
            task="",
            step=f"prepare {self.dataset}",
            attempt=0,
            engine=self.operation.partition(".")[0],
            operation="prepare",
            parameters=parameters,
            parties=(org,),
            rank=0,
            helper=None,
            receivers=(),
            columns=columns,
            peer_columns=(),
            peer_ranks=(),
            timeout_seconds=seconds,
        )


def label(step: Step, item: Input) -> str | None:
    """The label of what a step needs prepared of what a party brings, or None."""
    if not isinstance(step.parameters, dict):
        return None
    if (step.engine, step.operation) == ("psi", "unbalanced"):
        named = step.parameters.get("keys")
        return set_label(item.columns, [str(key) for key in named]) if isinstance(named, list) else None
    if step.engine != "pir":
        return None
    keys, most = step.parameters.get("keys"), step.parameters.get("most_keys", 1)
    if not isinstance(keys, list) or not isinstance(most, int):
        return None
    if step.operation == TWO_SERVERS:
        return two_server_label(item.columns, [str(key) for key in keys], step.parties[1:])
    return index_label(item.columns, [str(key) for key in keys], most)


def find(vault: Vault, cid: Cid, step: Step, item: Input) -> dict[str, pa.Table]:
    """What was prepared of the dataset, or of an earlier version of it, under the names that the engine knows."""
    wanted = label(step, item)
    if wanted is None:
        return {}
    return _find_labelled(vault, cid, DatasetName.parse(item.dataset), wanted, renewed=step.engine == "pir")


def find_own(vault: Vault, cid: Cid, wanted: Preparation) -> dict[str, pa.Table]:
    """The same of what a provider wants prepared."""
    return _find_labelled(vault, cid, wanted.dataset, wanted.label, renewed=wanted.operation == LOOKUP)


def _find_labelled(vault: Vault, cid: Cid, name: DatasetName, label: str, *, renewed: bool) -> dict[str, pa.Table]:
    """For a label: `prepared` of this version, else, if it can be renewed, `before` of the newest one that has it.

    An index is made new from an older one, of which it takes the first part alone, which says what an update keeps;
    another version of a set is another set under another key.
    """
    parts = prepared.find(vault, cid, label)
    if parts is not None:
        return {PREPARED: as_table(parts)}
    if not renewed:
        return {}
    parts = prepared.find_before(vault, name, label, most=1)
    return {} if parts is None else {BEFORE: as_table(parts)}


def keep(vault: Vault, step: Step, item: Input, table: pa.Table) -> bool:
    """Keep what was prepared; whether the step prepares anything."""
    wanted = label(step, item)
    if wanted is None:
        return False
    keep_labelled(vault, DatasetName.parse(item.dataset), wanted, table)
    return True


def keep_labelled(vault: Vault, name: DatasetName, label: str, table: pa.Table) -> None:
    """Keep what was prepared of a name under a label."""
    prepared.keep(vault, vault.resolve(name), label, views(table))
