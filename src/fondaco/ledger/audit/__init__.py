"""The audit bundle: one file that shows what happened on a ledger, and a verifier that needs nothing else."""
