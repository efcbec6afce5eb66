"""A kept result opens only if it is the one that the ledger has a hash of."""

from __future__ import annotations

from types import SimpleNamespace

import pyarrow as pa
import pytest

from fondaco.core.sealed import SealSecret
from fondaco.errors import NodeError, SealError
from fondaco.node.results import ResultStore


def test_a_result_put_in_place_of_the_reported_one_does_not_open(tmp_path) -> None:
    """The box alone would not tell: everybody can seal to a public key."""
    secret = SealSecret.generate()
    store = ResultStore(tmp_path, org="asker", chain_id="c", chain=None, own_key=secret.public)
    task = SimpleNamespace(id="aa", attempt=1, workflow=SimpleNamespace(initiator="other"))
    step = SimpleNamespace(id="one")
    reported = store.keep(task, step, {"result": pa.table({"mean": [1.0]})})
    assert store.open("aa", 1, "one", secret, committed=reported)["result"].to_pylist() == [{"mean": 1.0}]
    store.keep(task, step, {"result": pa.table({"mean": [99.0]})})
    with pytest.raises(SealError, match="not the one that the ledger has a hash of"):
        store.open("aa", 1, "one", secret, committed=reported)
    with pytest.raises(NodeError, match="was not reported"):
        store.open("aa", 1, "one", secret, committed=None)
