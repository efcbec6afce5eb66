"""The gate: the only place where a grant, the vault and an engine meet."""
