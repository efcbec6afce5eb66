"""Secure computation on secret shares by SPU: statistics, pooled statistics, arithmetic.

Adversary: semi-honest. ABY3 with an independent helper without data: secure against any one member, not against two
together. Cheetah between two parties: secure against either, with no third. What each learns: `base.LEAKAGE`.
What one party can compute alone it computes in the clear; only products across parties happen on shares, in the
integer ring, exactly. Division of revealed sums happens in the clear.
"""
