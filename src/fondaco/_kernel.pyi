"""The native kernel: batch hashing over Arrow's binary layout, and the ledger's checks. ValueError for what misfits."""

def blake3_many(data: bytes, offsets: bytes) -> bytes:
    """BLAKE3 of each of n items; `offsets` holds n + 1 little-endian 64-bit integers. 32 * n bytes."""

def sha256_many(data: bytes, offsets: bytes) -> bytes:
    """SHA-256 of each of n items. 32 * n bytes."""

def keyed_ids(key: bytes, data: bytes, offsets: bytes) -> bytes:
    """Keyed BLAKE3 of each of n items, cut to 128 bits, under a 32-byte key. 16 * n bytes."""

def ed25519_verify_many(keys: bytes, signatures: bytes, data: bytes, offsets: bytes) -> bytes:
    """One byte for each of n messages: 1 when libsodium would accept; 32 * n bytes of keys, 64 * n of signatures."""

def check_canonical(data: bytes, depth: int, items: int) -> None:
    """Raise ValueError, with the reason, unless `data` is canonical (fondaco.core.codec), in depth and items too."""

def merkle_root(data: bytes, offsets: bytes) -> bytes:
    """The RFC 6962 root of n items. 32 bytes."""
