"""Rows out of the vault: the only module that gives any. The import rules let the gate alone use it.

Keys and boxes pass through here and nowhere else. Every chunk is opened, checked against its CID, and cut to the
columns that were asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from fondaco.core.cid import Cid
from fondaco.errors import NamingError
from fondaco.vault import crypto
from fondaco.vault.store import Entry, Vault, chunk_place, read_file


def read_table(vault: Vault, cid: Cid, *, columns: Sequence[str]) -> pa.Table:
    """The named columns of a dataset, all rows.

    Raises:
        VaultError: no such dataset. Damaged: a chunk is not what the manifest says. NamingError: no such column.
    """
    entry = vault._entry(cid)  # noqa: SLF001 - private to all but this reader; a house rule refuses it elsewhere
    for name in columns:
        entry.manifest.schema.column(name)
    tables = [pa.ipc.open_stream(chunk).read_all().select(list(columns)) for chunk in _chunks(entry)]
    return pa.concat_tables(tables)


def _chunks(entry: Entry) -> Iterator[bytes]:
    """Each chunk, opened and checked, in order."""
    for index, (raw, rows) in enumerate(zip(entry.manifest.chunks, entry.manifest.rows, strict=True)):
        box = read_file(entry.folder / f"{index:08d}")
        data = crypto.unlock(entry.key, chunk_place(index, rows), box)
        try:
            Cid.from_raw(raw).check(data)
        except NamingError as fault:
            raise crypto.Damaged("a chunk is not the one that was imported", remedy="restore the vault") from fault
        yield data
