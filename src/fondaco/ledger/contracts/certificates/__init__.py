"""Data-use certificates: one for each use that was settled, provable to anyone with a light proof.

Expects of identity: who may revoke; of tasks and grants: what was used. Invariants: a certificate is issued once, by a
settlement; nothing of it but its status changes; a revoked certificate never becomes valid again.
"""
