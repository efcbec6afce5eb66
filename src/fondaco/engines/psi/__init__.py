"""Private set intersection of two parties' keys, by SPU's RR22 (Raghuraman and Rindal, CCS 2022).

Adversary: semi-honest, one of the two; computational security 128 bits, statistical 40. Learned: see
`base.LEAKAGE`. Rounds: constant. Bytes: about 33 a key. Keys become 128-bit keyed identifiers under a key that
the two agree on for this run, so no file that the protocol needs holds a clear key.
"""
