"""Grants: who may use which columns of which dataset, for what, with whom, how often and until when.

The grant on the ledger is the token: bound to the holder's key, proven by its place in the state, useless to a thief.
Expects of catalog: datasets and their terms; of points: escrow; of identity: who may ask and review. The tasks
contract alone uses a grant up; no transaction does it directly. Invariants: uses never fall below zero; what is
escrowed for a grant is its price times its unspent uses; an ended grant never becomes active again.
"""
