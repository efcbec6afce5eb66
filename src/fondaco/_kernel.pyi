"""The native kernel: batch hashing over Arrow's binary layout. ValueError for offsets or keys that do not fit."""

def blake3_many(data: bytes, offsets: bytes) -> bytes:
    """BLAKE3 of each of n items; `offsets` holds n + 1 little-endian 64-bit integers. 32 * n bytes."""

def sha256_many(data: bytes, offsets: bytes) -> bytes:
    """SHA-256 of each of n items. 32 * n bytes."""

def keyed_ids(key: bytes, data: bytes, offsets: bytes) -> bytes:
    """Keyed BLAKE3 of each of n items, cut to 128 bits, under a 32-byte key. 16 * n bytes."""
