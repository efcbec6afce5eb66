"""The contracts: deterministic rules over the state, and nothing else.

They import `core`, `errors` and `ledger.state` alone. No clock, float, randomness, input or output, iteration over
sets, hash() or locale. The only time they know is the block's.
"""
