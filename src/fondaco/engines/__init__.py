"""Engines: computation on Arrow tables over a link to peers. They know nothing of ledger, grants or vault."""
