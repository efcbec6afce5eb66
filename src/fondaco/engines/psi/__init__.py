"""Private set operations on keys of two parties (some: of up to eight) by this software's own kernel.

Intersection is that of Raghuraman and Rindal (CCS 2022, eprint 2022/320): an oblivious pseudorandom function from a
key-value store and silent VOLE (`crates/kernel/src/psi.rs`). Computational security 128 bits, statistical 40.

Adversary: semi-honest by default, one of the two. With `security = "malicious"` a member may do as it likes: it can
neither learn a key that it did not bring nor make the other believe in a match that is none; it can bring about twice
as many keys as it said (ADR 33), can leave out keys, and the one that compares can hold back matches from the other.
Learned: see `base.LEAKAGE`. Rounds: constant. Bytes: about 30 a key. Keys become 128-bit identifiers under a key that
the members make together for this run. `union`, `many`, `lacking` and `union_of_many` say what they do otherwise.
"""
