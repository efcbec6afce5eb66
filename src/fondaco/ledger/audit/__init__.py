"""Audit bundles: one file that proves, offline, what happened on a ledger, and the verifier that needs nothing else.

`format` says what is in one, `bundle` makes one from a node's ledger, `receipts` derives who asked, who allowed, what
ran, what came out and who was paid, `verify` checks it all. `python -m fondaco.ledger.audit FILE` verifies. No module
here imports a driver or a database.
"""
