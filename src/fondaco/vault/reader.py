"""Rows out of the vault: the only module that gives any. The import rules let the gate alone use it.

Every chunk is opened, checked against its CID, and cut to the columns that were asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from fondaco.core.cid import Cid
from fondaco.errors import NamingError
from fondaco.vault import crypto
from fondaco.vault.store import Vault, boxes, chunk_place


def read_table(vault: Vault, cid: Cid, *, columns: Sequence[str]) -> pa.Table:
    """The named columns of a dataset, all rows.

    Raises:
        VaultError: no such dataset. Damaged: a chunk is not what the manifest says. NamingError: no such column.
    """
    entry = vault.entry(cid)
    for name in columns:
        entry.manifest.schema.column(name)
    tables: list[pa.Table] = []
    for index, rows, chunk, box in boxes(entry):
        data = crypto.unlock(entry.key, chunk_place(index, rows), box)
        try:
            chunk.check(data)
        except NamingError as fault:
            raise crypto.Damaged("a chunk is not the one that was imported", remedy="restore the vault") from fault
        tables.append(pa.ipc.open_stream(data).read_all().select(list(columns)))
    return pa.concat_tables(tables)
