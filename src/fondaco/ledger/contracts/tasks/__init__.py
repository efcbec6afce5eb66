"""Tasks: a workflow pinned by its hash, who takes part, how far it is, and what it pays.

Expects of grants: check, take and return a use; of settlement: divide what is owed; of certificates: certify each use;
of points: pay for what was used without a result; of catalog and identity: who and what.
Invariants: no step touches another organisation's dataset without an active grant of the proposer's key for it; each
grant of a task is used once, whatever the number of attempts; what a task pays comes from the escrow of its grants.

Status: proposed -> running -> finished -> settled; running -> failed -> running (again, at most five attempts);
proposed or failed -> abandoned; any of proposed, running, failed -> expired after the deadline.
A use comes back from an abandoned or expired task only if no party ever reported an outcome of it.
"""
