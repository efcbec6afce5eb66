"""The rules that the institutions vote on: members, validators, shares, prices, quotas, points, programs, upgrades.

A proposal has a typed body. The institutions deliberate, then vote, both counted in blocks; the tally and what a passed
proposal does happen at the end of a block. `parameters` is what other contracts read; `tally` is pure; `effects` does
what a body says; `expulsion` ends what an institution leaves behind.

Expects of identity: who may sign; of points, grants, tasks and catalogue: functions that end things. Invariants: each
institution votes once on a proposal, in its own strict sequence; a proposal is decided once and executed once; what
cannot be executed changes nothing; there is always a validator and an institution whose vote has weight.
"""
