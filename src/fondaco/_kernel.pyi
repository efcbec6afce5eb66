"""The native kernel: batch hashing over Arrow's binary layout. ValueError for offsets or keys that do not fit."""

def blake3_many(data: bytes, offsets: bytes) -> bytes:
    """BLAKE3 of each of n items; `offsets` holds n + 1 little-endian 64-bit integers. 32 * n bytes."""

def sha256_many(data: bytes, offsets: bytes) -> bytes:
    """SHA-256 of each of n items. 32 * n bytes."""

def keyed_ids(key: bytes, data: bytes, offsets: bytes) -> bytes:
    """Keyed BLAKE3 of each of n items, cut to 128 bits, under a 32-byte key. 16 * n bytes."""

class PirFault(Exception):
    """A hidden query that cannot go on; `args` are its kind (malformed, cheated, unlucky, out of turn) and a text."""

class PirIndex:
    """A provider's prepared index for hidden queries: a secret, all of it."""

    @staticmethod
    def build(keys: tuple[bytes, bytes], payloads: tuple[bytes, bytes], batch: int) -> PirIndex:
        """Of n records: keys and payloads, each as data with n + 1 offsets; for batches of `batch` keys (0: none).

        ValueError: a key stands twice, is empty or over 65,535 bytes; a payload over 1 MiB; a batch over 1,024.
        """

    def update(self, keys: tuple[bytes, bytes], payloads: tuple[bytes, bytes]) -> PirIndex:
        """Of other records: what is unchanged is kept."""

    def parts(self) -> list[bytes]:
        """What it is kept as, in this order."""

    @staticmethod
    def from_parts(parts: list[bytes]) -> PirIndex:
        """The index that was kept. ValueError: these are not the parts of one."""

    @property
    def records(self) -> int:
        """How many records it has."""

    @property
    def batch(self) -> int:
        """For how many keys one batch query is; 0 for none."""

    @property
    def generations(self) -> int:
        """One, and one for each update since it was built; 8 at most."""

    @property
    def fresh(self) -> int:
        """Records that the last build or update sealed."""

    @property
    def scanned(self) -> int:
        """Bytes that a single query passes over."""

    def pass_seconds(self, queries: int) -> tuple[float, float]:
        """Seconds of one pass for so many queries, and of merely reading the same bytes."""

class PirProvider:
    """The side of a lookup that has the index; it serves exactly `keys` keys."""

    def __init__(self, index: PirIndex, keys: int) -> None: ...
    @property
    def limit(self) -> int:
        """The most bytes that the peer's next message may have."""

    def next(self, incoming: bytes | None = None) -> tuple[str, bytes | None]:
        """What to do: `send` the message and ask again, `receive` one and bring it, or `finished`."""

class PirAsker:
    """The side of a lookup that has the keys; it fills up to `keys` with keys that do not exist."""

    def __init__(self, wanted: list[bytes], keys: int) -> None: ...
    @property
    def limit(self) -> int:
        """The most bytes that the peer's next message may have."""

    def next(self, incoming: bytes | None = None) -> tuple[str, bytes | None]:
        """As for PirProvider."""

    def payloads(self) -> list[bytes | None]:
        """The payloads of the wanted keys in their order, None for an absent one; once it has finished."""
