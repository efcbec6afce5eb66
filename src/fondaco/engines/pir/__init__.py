"""Hidden query: an asker takes records of a provider's dataset by their keys, and the provider does not learn which.

Keyword retrieval from one server, without a hint: YPIR's framework (Menon and Wu, eprint 2024/270) with InspiRING
packing (InsPIRe, eprint 2025/1352) over binary fuse tables (ChalametPIR, eprint 2024/092); batch codes for many keys
at once (SealPIR, eprint 2017/1142); every record sealed under a key of the verifiable oblivious pseudorandom function
of RFC 9497 over ristretto255, which is evaluated once for each key that the step allows. Parameters are in the
kernel (`crates/kernel/src/pir`) and reachable by no setting: ring of degree 2048, modulus of 56 bits, Gaussian of
standard deviation 6.4, put at 128 bits by both papers.

Adversary: semi-honest asker and provider; a provider that deviates still learns nothing of the keys, but may make
records look absent. Learned: see `base.LEAKAGE`. Rounds: two, and one for each batch of keys. Bytes: for a million
records of 256 bytes 0.3 MB a key; sizes depend on the dataset and on `most_keys` alone, and an
asker looks at what they come to before it takes memory (`crates/kernel/src/pir/bound.rs`). The prepared index is the
provider's secret: it leaves the worker only to be kept encrypted in the vault.
"""
