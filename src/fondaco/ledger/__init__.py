"""The ledger: one deterministic application, its drivers, and the verifier that needs neither."""
