"""Disputes: a party of a task contests it, arbiters that are not party to it decide, and the money waits for them.

Expects of tasks: who took part; of settlement: freeze and resolve; of certificates: revoke; of identity: who may vote.
Invariants: one dispute a task; while it is open nothing of the task is paid; no arbiter is a party; an arbiter votes
once; a dispute ends at its deadline at the latest.

Status: opened -> voting -> ended. The arbiters are drawn at the end of the block after the one that opened it, from
that block's entropy, which nobody knew who signed the opening. Each votes how much goes back to the payer, in basis
points, and whether the certificates are revoked. The *median* decides the first (the lower of the two middle votes),
more than half of the votes cast the second. Silence: when half of the arbiters or fewer have voted by the deadline,
or there was nobody to draw, the task is paid by the formula and its certificates stand. Who did not vote is recorded.
"""
