"""Points: integer minor units that organisations pay each other in.

Expects of identity: who may sign for an organisation. Invariants: minted by genesis or vote only; the balances and
the escrows add up to the supply at every height; no balance is negative.
"""
