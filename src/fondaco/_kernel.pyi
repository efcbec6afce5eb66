"""The native kernel: batch hashing over Arrow's layout, the ledger's checks, protocols of two parties, turn by turn.

ValueError for input of ours that does not fit. A `ProtocolFault` ends a protocol: its party is of no use any more.
"""

from collections.abc import Callable, Sequence
from typing import Generic, Literal, TypeVar

_T = TypeVar("_T")

class ProtocolFault(Exception):
    """A protocol ended before its end; the text says at which message, never a secret."""

class Malformed(ProtocolFault):
    """A message of the peer's has not the length or form that it must have."""

class Cheated(ProtocolFault):
    """A check failed that only a cheating peer fails."""

class OutOfTurn(ProtocolFault):
    """The driver gave bytes where none were due, or none where some were."""

class Unlucky(ProtocolFault):
    """Both are honest and it did not come out, which has probability at most 2**-40 a run."""

def blake3_many(data: bytes, offsets: bytes) -> bytes:
    """BLAKE3 of each of n items; `offsets` holds n + 1 little-endian 64-bit integers. 32 * n bytes."""

def sha256_many(data: bytes, offsets: bytes) -> bytes:
    """SHA-256 of each of n items. 32 * n bytes."""

def keyed_ids(key: bytes, data: bytes, offsets: bytes) -> bytes:
    """Keyed BLAKE3 of each of n items, cut to 128 bits, under a 32-byte key. 16 * n bytes."""

def read_transaction(data: bytes, body: MessageReader[_T]) -> tuple[bytes, tuple[bytes, ...], _T, bytes, bytes] | None:
    """What is signed, signatures, the body as `body` makes it, SHA-256 of all and mark (empty without a signer).

    None for bytes of another form.
    """

def ed25519_verify_many(keys: bytes, signatures: bytes, data: bytes, offsets: bytes) -> bytes:
    """One byte for each of n messages: 1 when libsodium would accept; 32 * n bytes of keys, 64 * n of signatures."""

def ed25519_vote_holds(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether CometBFT would accept a signature (ZIP 215); False for a key or a signature of another length."""

class MessageReader(Generic[_T]):
    """Reads messages of one class, a frozen dataclass with slots, from canonical bytes (fondaco.core.messages)."""

    def __init__(self, cls: type[_T], fields: tuple[tuple[str, object], ...]) -> None:
        """`fields` are (name, shape) in canonical order.

        A shape is "int", "bool", "bytes", "str", "any"; ("optional" | "tuple" | "dict", shape); (class, fields).
        """

    def read(self, data: bytes, depth: int, items: int) -> _T | None:
        """The message, nested at most `depth` and of at most `items` items; None for bytes that are none."""

    def altered(self, message: _T, changes: dict[str, object]) -> _T:
        """A message of the class with other values in some fields, whose types nobody looks at; TypeError: no field."""

def check_canonical(data: bytes, depth: int, items: int) -> None:
    """Raise ValueError, with the reason, unless `data` is canonical (fondaco.core.codec), in depth and items too."""

def merkle_root(data: bytes, offsets: bytes) -> bytes:
    """The RFC 6962 root of n items. 32 bytes."""

def encode_canonical(value: object, deepest: int, messages: dict[type, tuple[str, ...]] | None = None) -> bytes:
    """The canonical bytes of a value (fondaco.core.codec); with `messages`, of messages and tuples too.

    `messages` has the names of a class's fields in canonical order. ValueError says what has no canonical form.
    """

def log_append(size: int, edge: list[bytes], data: bytes, offsets: bytes) -> dict[tuple[int, int], bytes]:
    """The perfect subtrees of an RFC 6962 log that more entries complete: (level, number on it) -> hash.

    `edge` are those of its first `size` entries, from the widest on. Level 0 is the new entries.
    """

def state_update(
    changes: dict[bytes, bytes | None], load: Callable[[bytes], bytes | None]
) -> tuple[bytes, dict[bytes, bytes | None], dict[bytes, bytes | None]]:
    """Apply changes of values to the tree (fondaco.ledger.state) whose pages `load` gives by name.

    Returns the new root, and by name the pages to write (None: remove) and those that stood there.
    """

def proto_fields(data: bytes) -> list[tuple[int, Literal[0], int] | tuple[int, Literal[1, 2], bytes]]:
    """A protobuf message's fields in their order: number, wire type, value; ValueError unless it is one."""

def proto_frames(data: bytes, limit: int) -> tuple[list[bytes], int]:
    """The whole length-delimited messages at the front, and how many bytes they take; ValueError over the limit."""

def proto_repeated(number: int, items: tuple[bytes, ...]) -> bytes:
    """A repeated length-delimited field."""

def identify(
    key: bytes, columns: Sequence[tuple[str, bytes | memoryview, bytes | memoryview | None]]
) -> tuple[bytes, bytes]:
    """Identifiers of the different rows of key columns, under a 32-byte key.

    A column is its type's letter, its data, and n + 1 little-endian 64-bit offsets into it; without offsets the data
    are little-endian 64-bit integers. Returns 16 bytes for each different row, in the order of first appearance, and
    that row's number as a little-endian 32-bit integer.
    """

def identify_rows(
    key: bytes, columns: Sequence[tuple[str, bytes | memoryview, bytes | memoryview | None]]
) -> tuple[bytes, bytes]:
    """As `identify`, but the second are for each row the number of its identifier among the different ones."""

def identify_records(
    key: bytes, columns: Sequence[tuple[str, bytes | memoryview, bytes | memoryview | None]], first: int
) -> tuple[bytes, bytes]:
    """Records of all rows of key columns, doubled ones too, ordered by the identifier's first byte.

    A record is 16 bytes of identifier and the row's number, counted from `first`, as a little-endian 32-bit integer.
    With them how many records each of the 256 first bytes has, as such integers. Arguments as for `identify`.
    """

def distinct_records(records: bytes) -> bytes | None:
    """The records whose identifier stands for the first time, in order; None where all do."""

def distinct_places(ids: bytes) -> bytes:
    """Where each different 16-byte identifier first stands, in order, as little-endian 32-bit integers."""

class PsiParty:
    """One party of an intersection by the function of RR22; see `crates/kernel/src/psi.rs`.

    Args:
        ids: this party's n different 16-byte identifiers, 1 <= n <= 2**26.
        compares: whether this party compares (and so learns) or sends its tags; the other does the opposite.
        peer_keys: how many identifiers the other has, at least 1.
        both: whether the party that sends its tags learns the intersection too; the other must say the same.
        malicious: whether a peer that does as it likes is withstood; the other must say the same.
    """

    def __init__(self, ids: bytes, *, compares: bool, peer_keys: int, both: bool, malicious: bool) -> None: ...
    def next(self, incoming: bytes | None = None) -> tuple[Literal["send", "receive", "finished"], bytes]:
        """Go on, without the GIL: with the peer's message after "receive", with None otherwise.

        After "send" the bytes are to be carried to the peer. Raises a `ProtocolFault`.
        """

    def matched(self) -> bytes | None:
        """Places in `ids` of the shared ones, little-endian 32-bit integers; None before the end or for no learner.

        Where both learn they are in one order for both, that of the tags on the wire.
        """

class DhParty:
    """One party of an intersection by Diffie-Hellman over ristretto255; see `crates/kernel/src/ecdh.rs`.

    Semi-honest. The arguments are those of `PsiParty`.
    """

    def __init__(self, ids: bytes, *, compares: bool, peer_keys: int, both: bool) -> None: ...
    def next(self, incoming: bytes | None = None) -> tuple[Literal["send", "receive", "finished"], bytes]:
        """As `PsiParty.next`."""

    def matched(self) -> bytes | None:
        """As `PsiParty.matched`."""

class CircuitParty:
    """One party of a meeting whose result goes into a circuit; see `crates/kernel/src/opprf/mod.rs`. Semi-honest.

    Args:
        ids: this party's n different 16-byte identifiers.
        places: whether this party has the table of bins; the other programs its payload, and says the opposite.
        peer_keys: how many identifiers the other has, at least 1.
        words: payload words of each key of the party that programs.
        payload: those words, key by key, little-endian 64-bit integers; empty for the party that places.
    """

    bins: int

    def __init__(self, ids: bytes, *, places: bool, peer_keys: int, words: int, payload: bytes) -> None: ...
    def next(self, incoming: bytes | None = None) -> tuple[Literal["send", "receive", "finished"], bytes]:
        """As `PsiParty.next`."""

    def words(self) -> bytes | None:
        """Words of all bins as little-endian 64-bit integers: comparison words, then each payload word's shares.

        Comparison words of a bin are equal where its key is shared; then the two shares of a payload word add up to it
        modulo 2**64. None before the end.
        """

    def table(self) -> bytes | None:
        """For each bin the place of its key in `ids`, little-endian 32-bit, or 2**32 - 1; None for who has no table."""

def prepare_set(ids: bytes, progress: Callable[[str, int, int], None] | None = None) -> tuple[bytes, bytes]:
    """A new secret key of 32 bytes for n different 16-byte identifiers, and their table under it.

    See `crates/kernel/src/unbalanced.rs`; about 50 microseconds of a core an identifier, without the GIL. `progress`
    hears what is being done, how much of it is done, and how much there is; what it raises is raised here.
    """

def prepared_table_size(keys: int) -> int:
    """Bytes of the table of so many identifiers."""

class PreparedServer:
    """The side of an unbalanced intersection that has a prepared key; it is asked `asked` identifiers, up to 2**20."""

    def __init__(self, key: bytes, *, asked: int) -> None: ...
    def next(self, incoming: bytes | None = None) -> tuple[Literal["send", "receive", "finished"], bytes]:
        """As `PsiParty.next`."""

class PreparedClient:
    """The side that asks, with the table of `table_keys` identifiers. `Malformed`: it is not as long as theirs is."""

    def __init__(self, ids: bytes, *, table: bytes, table_keys: int) -> None: ...
    def next(self, incoming: bytes | None = None) -> tuple[Literal["send", "receive", "finished"], bytes]:
        """As `PsiParty.next`."""

    def matched(self) -> bytes | None:
        """Places in `ids` of those that the server has, little-endian 32-bit integers; None before the end."""

class CountParty:
    """One party that learns how many identifiers are shared, or helps the other to; see `crates/kernel/src/ecdh.rs`.

    Semi-honest. Args: as `PsiParty`; `counts`: whether this party counts (and so learns) or helps; the other does the
    opposite. `both`: whether the one that counts tells the other.
    """

    def __init__(self, ids: bytes, *, counts: bool, peer_keys: int, both: bool) -> None: ...
    def next(self, incoming: bytes | None = None) -> tuple[Literal["send", "receive", "finished"], bytes]:
        """As `PsiParty.next`."""

    def count(self) -> int | None:
        """How many are shared; None before the end, or for no learner."""

class UnionSender:
    """The party of a union whose keys are given; see `crates/kernel/src/union.rs`. Semi-honest.

    Args:
        ids: this party's n different 16-byte identifiers, 1 <= n <= 2**26.
        payloads: n times `width` bytes, what is given of each key; 1 <= width <= 65536.
        peer_keys: how many identifiers the receiver has, at least 1.
    """

    def __init__(self, ids: bytes, payloads: bytes, *, peer_keys: int, width: int) -> None: ...
    def next(self, incoming: bytes | None = None) -> tuple[Literal["send", "receive", "finished"], bytes]:
        """As `PsiParty.next`."""

class UnionReceiver:
    """The party of a union that gets the payloads of the keys that it lacks. The arguments are as `UnionSender`'s."""

    def __init__(self, ids: bytes, *, peer_keys: int, width: int) -> None: ...
    def next(self, incoming: bytes | None = None) -> tuple[Literal["send", "receive", "finished"], bytes]:
        """As `PsiParty.next`."""

    def received(self) -> bytes | None:
        """The payloads, one after the other, in no order; None before the end."""

def zero_shares(ids: bytes, secrets: bytes) -> bytes:
    """This party's share of zero for each 16-byte identifier, 16 bytes each; see `crates/kernel/src/star.rs`.

    `secrets`: 16 bytes for each other party, known to the two alone. The shares of all parties for one identifier add
    up (by exclusive or) to zero.
    """

class StarMember:
    """The party of a programmable oblivious function that has values; see `crates/kernel/src/star.rs`. Semi-honest.

    Args:
        ids: this party's n different 16-byte identifiers, 1 <= n <= 2**26.
        values: n pseudorandom values of 16 bytes.
        peer_keys: how many identifiers the receiver has, at least 1.
    """

    def __init__(self, ids: bytes, values: bytes, *, peer_keys: int) -> None: ...
    def next(self, incoming: bytes | None = None) -> tuple[Literal["send", "receive", "finished"], bytes]:
        """As `PsiParty.next`."""

class StarLeader:
    """The party of a programmable oblivious function that asks. The arguments are as `StarMember`'s."""

    def __init__(self, ids: bytes, *, peer_keys: int) -> None: ...
    def next(self, incoming: bytes | None = None) -> tuple[Literal["send", "receive", "finished"], bytes]:
        """As `PsiParty.next`."""

    def values(self) -> bytes | None:
        """For each identifier in order the sender's value, or noise where it has none; None before the end."""

def lack_bins(keys: int) -> int:
    """How many bins the `LackTable` of so many keys has; ValueError for none or too many."""

class LackTable:
    """A holder's keys in the bins of a cuckoo table: one for its membership tests with all others.

    Args:
        ids: n different 16-byte identifiers, n at least 1, in at most 2**22 bins (about 1.306 a key).
    """

    def __init__(self, ids: bytes) -> None: ...
    @property
    def bins(self) -> int:
        """How many bins there are; it follows from n."""

    def places(self) -> bytes:
        """For each bin the place of its key among `ids` as a little-endian 32-bit integer; its largest for none."""

class LackHolder:
    """The party of a membership test whose keys are asked about; see `crates/kernel/src/lack/mod.rs`. Semi-honest.

    Args:
        table: this party's keys in their bins.
        peer_keys: how many identifiers the tester has, at least 1.
        width: bytes of a string, 1 to 8192; two independent ones are equal with probability 2**(-8 width).
        gives: whether this party knows both strings of each bin; of the two exactly one does.
    """

    def __init__(self, table: LackTable, *, peer_keys: int, width: int, gives: bool = False) -> None: ...
    def next(self, incoming: bytes | None = None) -> tuple[Literal["send", "receive", "finished"], bytes]:
        """As `PsiParty.next`."""

    def shares(self) -> bytes | None:
        """For each bin a string of `width` bytes, the tester's where it lacks the bin's key; None before the end."""

class LackTester:
    """The party of a membership test that has the holder's keys or lacks them.

    Args:
        ids: this party's n different 16-byte identifiers, n at least 1.
        peer_keys: how many identifiers the holder has, at least 1.
        width, gives: as `LackHolder`'s.
    """

    def __init__(self, ids: bytes, *, peer_keys: int, width: int, gives: bool = True) -> None: ...
    @property
    def bins(self) -> int:
        """How many bins the holder's table has."""

    def next(self, incoming: bytes | None = None) -> tuple[Literal["send", "receive", "finished"], bytes]:
        """As `PsiParty.next`."""

    def shares(self) -> bytes | None:
        """For each of the holder's bins a string of `width` bytes, in its order; None before the end."""

class PirFault(Exception):
    """A hidden query that cannot go on; `args`: its kind, then a text.

    Kinds: malformed, cheated, excessive, differ, unlucky, out of turn.
    """

class PirHead:
    """The head of a prepared index: all that an update needs of it. ValueError: `part` is not the first part of one."""

    def __init__(self, part: bytes) -> None: ...

class PirIndex:
    """A provider's prepared index for hidden queries: a secret, all of it."""

    @staticmethod
    def build(
        keys: tuple[bytes, bytes],
        payloads: tuple[bytes, bytes],
        batch: int,
        progress: Callable[[str, int, int], object] | None = None,
    ) -> PirIndex:
        """Of n records: keys and payloads, each as data with n + 1 offsets; for batches of `batch` keys (0: none).

        `progress` is told, from the kernel's threads, what is being done, how much of it is, and how much there is.

        ValueError: a key stands twice, is empty or over 65,535 bytes; a payload over 1 MiB; a batch over 1,024.
        """

    def update(
        self,
        keys: tuple[bytes, bytes],
        payloads: tuple[bytes, bytes],
        progress: Callable[[str, int, int], object] | None = None,
    ) -> PirIndex:
        """Of other records: what is unchanged is kept; progress as for `build`."""

    @staticmethod
    def renew(
        head: PirHead,
        keys: tuple[bytes, bytes],
        payloads: tuple[bytes, bytes],
        progress: Callable[[str, int, int], None] | None = None,
    ) -> PirIndex:
        """As `update`, from the head of the index before."""

    def parts(self) -> list[bytes]:
        """What it is kept as, in this order."""

    @staticmethod
    def from_parts(parts: list[bytes]) -> PirIndex:
        """The index that was kept, which holds on to these bytes. ValueError: these are not the parts of one."""

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
    """The side of a lookup that has the keys; it fills up to `keys` with keys that do not exist.

    `records` are the most that the dataset has, if that is known from elsewhere than its provider's description;
    `memory` the most bytes that the lookup may take here (by default 1 GiB). PirFault of the kind
    `excessive`: the description comes to more, and nothing was taken for it.
    """

    def __init__(
        self, wanted: list[bytes], keys: int, *, records: int | None = None, memory: int = 1073741824
    ) -> None: ...
    @property
    def limit(self) -> int:
        """The most bytes that the peer's next message may have."""

    def next(self, incoming: bytes | None = None) -> tuple[str, bytes | None]:
        """As for PirProvider."""

    def payloads(self) -> list[bytes | None]:
        """The payloads of the wanted keys in their order, None for an absent one; once it has finished."""

class PirTwoIndex:
    """What one of two servers has prepared together with the other: a secret, all of it."""

    def parts(self) -> list[bytes]:
        """What it is kept as, in this order."""

    @staticmethod
    def from_parts(parts: list[bytes]) -> PirTwoIndex:
        """The index that was kept. ValueError: these are not the parts of one."""

    @property
    def records(self) -> int:
        """How many records it has."""

    @property
    def scanned(self) -> int:
        """Bytes that one pass reads."""

    def pass_seconds(self, selections: int) -> tuple[float, float]:
        """Seconds of one pass for so many selections of rows (a key has three), and of merely reading the same."""

class PirTwoPreparation:
    """One of two servers that make their index; turns as for PirProvider.

    `run` names the run, to both alike and no other. ValueError, here or later: a key that stands twice or is empty.
    PirFault of the kind `differ`: the two servers do not hold the same records.
    """

    def __init__(
        self,
        first: bool,
        keys: tuple[bytes, bytes],
        payloads: tuple[bytes, bytes],
        kept: PirTwoIndex | None,
        run: bytes,
    ) -> None: ...
    @property
    def limit(self) -> int:
        """The most bytes that the peer's next message may have."""

    def next(self, incoming: bytes | None = None) -> tuple[str, bytes | None]:
        """As for PirProvider."""

    def index(self) -> tuple[PirTwoIndex, bool]:
        """The index, and whether it is new; once it has finished."""

class PirTwoServer:
    """Server 0 or 1 of a lookup of exactly `keys` keys; turns as for PirProvider."""

    def __init__(self, number: int, index: PirTwoIndex, keys: int) -> None: ...
    @property
    def limit(self) -> int:
        """The most bytes that the peer's next message may have."""

    def next(self, incoming: bytes | None = None) -> tuple[str, bytes | None]:
        """As for PirProvider."""

class PirTwoAsker:
    """The side that has the keys, with two servers; a PirFault's third argument is whose fault it was, if known.

    `records` and `memory` as for PirAsker.
    """

    def __init__(
        self, wanted: list[bytes], keys: int, *, records: int | None = None, memory: int = 1073741824
    ) -> None: ...
    @property
    def limits(self) -> tuple[int, int]:
        """The most bytes that the next message of either server may have."""

    def next(self, incoming: tuple[bytes, bytes] | None = None) -> tuple[str, tuple[bytes, bytes] | None]:
        """What to do: `send` a message to each, `receive` one of each and bring both, or `finished`."""

    def payloads(self) -> list[bytes | None]:
        """As for PirAsker."""
