"""Blocks, headers, commits and validator sets as CometBFT v0.38 and v0.39 hash and sign them.

Source: CometBFT's spec/core/data_structures.md and spec/core/encoding.md. On our own wire and disk the same data are
canonical messages; only hashes and signed bytes are CometBFT's, so that one light verifier serves both drivers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from fondaco.core.messages import message
from fondaco.errors import LedgerError
from fondaco.ledger.log import merkle_root
from fondaco.ledger.wire import (
    delimited,
    field_bytes,
    field_message,
    field_sfixed64,
    field_varint,
    timestamp,
)

BLOCK_PROTOCOL = 11
MAX_BLOCK_BYTES = 2 << 20
MAX_WIRE_BYTES = MAX_BLOCK_BYTES + (64 << 10)
PART_BYTES = 65536
PRECOMMIT = 2
FLAG_ABSENT, FLAG_COMMIT, FLAG_NIL = 1, 2, 3
ZERO_TIME = -62135596800 * 1_000_000_000  # year 1, what Go calls the zero time
END_OF_TIME = 253402300800 * 1_000_000_000  # year 10000, from which on protobuf has no timestamps
ADDRESS_BYTES = 20
_FAR = 1 << 62  # nanoseconds from 1970 that a vote's `time` does not hold
_WIDE_BYTES = 12
EMPTY_HASH = hashlib.sha256(b"").digest()
# HashedParams{block_max_bytes, block_max_gas = -1}
CONSENSUS_HASH = hashlib.sha256(field_varint(1, MAX_BLOCK_BYTES) + field_varint(2, -1)).digest()


@message("ledger.block-id/1")
class BlockId:
    """A header's hash, and the root and number of the 64 KiB parts of the block."""

    hash: bytes
    parts_total: int
    parts_hash: bytes

    @property
    def proto(self) -> bytes:
        """tendermint.types.BlockID."""
        parts = field_varint(1, self.parts_total) + field_bytes(2, self.parts_hash)
        return field_bytes(1, self.hash) + field_message(2, parts)


NO_BLOCK = BlockId(hash=b"", parts_total=0, parts_hash=b"")


@message("ledger.header/1")
class Header:
    """A block's header; `time` in unix nanoseconds; `app_hash` is that after the block before."""

    block_version: int
    app_version: int
    chain: str
    height: int
    time: int
    last_block: BlockId
    last_commit_hash: bytes
    data_hash: bytes
    validators_hash: bytes
    next_validators_hash: bytes
    consensus_hash: bytes
    app_hash: bytes
    last_results_hash: bytes
    evidence_hash: bytes
    proposer: bytes

    @property
    def hash(self) -> bytes:
        """The Merkle root over the encoded fields, as Header.Hash."""
        return merkle_root(
            [
                self._version,
                field_bytes(1, self.chain.encode()),
                field_varint(1, self.height),
                timestamp(self.time),
                self.last_block.proto,
                field_bytes(1, self.last_commit_hash),
                field_bytes(1, self.data_hash),
                field_bytes(1, self.validators_hash),
                field_bytes(1, self.next_validators_hash),
                field_bytes(1, self.consensus_hash),
                field_bytes(1, self.app_hash),
                field_bytes(1, self.last_results_hash),
                field_bytes(1, self.evidence_hash),
                field_bytes(1, self.proposer),
            ]
        )

    @property
    def _version(self) -> bytes:
        return field_varint(1, self.block_version) + field_varint(2, self.app_version)

    @property
    def proto(self) -> bytes:
        """tendermint.types.Header."""
        return b"".join(
            (
                field_message(1, self._version),
                field_bytes(2, self.chain.encode()),
                field_varint(3, self.height),
                field_message(4, timestamp(self.time)),
                field_message(5, self.last_block.proto),
                field_bytes(6, self.last_commit_hash),
                field_bytes(7, self.data_hash),
                field_bytes(8, self.validators_hash),
                field_bytes(9, self.next_validators_hash),
                field_bytes(10, self.consensus_hash),
                field_bytes(11, self.app_hash),
                field_bytes(12, self.last_results_hash),
                field_bytes(13, self.evidence_hash),
                field_bytes(14, self.proposer),
            )
        )


@message("ledger.commit-sig/1")
class CommitSig:
    """One validator's place in a commit: for the block, for nil, or absent. Make it by `signed`; ask `validator`, `at`.

    CometBFT takes a vote of any time from year 1 to 9999, whose nanoseconds 63 bits may not hold: such a time is the
    last 12 bytes of `address`, and `time` is 0. An absent one has neither address nor signature, and time 0 here (Go's
    zero time in what is hashed).
    """

    flag: int
    address: bytes
    time: int
    signature: bytes

    @classmethod
    def signed(cls, flag: int, validator: bytes, at: int, signature: bytes) -> CommitSig:
        """A vote by its validator's address of 20 bytes and its time in unix nanoseconds."""
        if abs(at) < _FAR:
            return cls(flag=flag, address=validator, time=at, signature=signature)
        wide = validator + at.to_bytes(_WIDE_BYTES, "big", signed=True)
        return cls(flag=flag, address=wide, time=0, signature=signature)

    @property
    def validator(self) -> bytes:
        """The address of who voted; empty: absent."""
        return self.address[:ADDRESS_BYTES]

    @property
    def at(self) -> int:
        """The vote's time in unix nanoseconds."""
        wide = self.address[ADDRESS_BYTES:]
        return int.from_bytes(wide, "big", signed=True) if len(wide) == _WIDE_BYTES else self.time

    @property
    def proto(self) -> bytes:
        """tendermint.types.CommitSig."""
        time = ZERO_TIME if self.flag == FLAG_ABSENT else self.at
        return (
            field_varint(1, self.flag)
            + field_bytes(2, self.validator)
            + field_message(3, timestamp(time))
            + field_bytes(4, self.signature)
        )


@message("ledger.commit/1")
class Commit:
    """The precommits that made a block final."""

    height: int
    round: int
    block: BlockId
    signatures: tuple[CommitSig, ...]

    @property
    def hash(self) -> bytes:
        """Commit.Hash."""
        return merkle_root([signature.proto for signature in self.signatures])

    @property
    def proto(self) -> bytes:
        """tendermint.types.Commit."""
        return (
            field_varint(1, self.height)
            + field_varint(2, self.round)
            + field_message(3, self.block.proto)
            + b"".join(field_message(4, signature.proto) for signature in self.signatures)
        )


NO_COMMIT = Commit(height=0, round=0, block=NO_BLOCK, signatures=())


def vote_bytes(chain: str, commit: Commit, time: int, *, nil: bool = False) -> bytes:
    """What a validator signs for a precommit, of the block or of nil: the length-delimited CanonicalVote."""
    vote = (
        field_varint(1, PRECOMMIT)
        + field_sfixed64(2, commit.height)
        + field_sfixed64(3, commit.round)
        + (field_message(4, commit.block.proto) if commit.block.hash and not nil else b"")
        + field_message(5, timestamp(time))
        + field_bytes(6, chain.encode())
    )
    return delimited(vote)


@message("ledger.validator/1")
class Validator:
    """A validator's raw Ed25519 key and its power."""

    key: bytes
    power: int

    @property
    def address(self) -> bytes:
        """The first 20 bytes of the key's SHA-256."""
        return hashlib.sha256(self.key).digest()[:20]


@message("ledger.validator-set/1")
class ValidatorSet:
    """The validators of a header, in order."""

    validators: tuple[Validator, ...]


def validators_hash(validators: tuple[Validator, ...]) -> bytes:
    """ValidatorSet.Hash: over SimpleValidator{pub_key, voting_power} in the set's order."""
    return merkle_root([field_message(1, field_bytes(1, v.key)) + field_varint(2, v.power) for v in validators])


def ordered(validators: Iterable[Validator]) -> tuple[Validator, ...]:
    """A validator set in CometBFT's order (ValidatorsByVotingPower): the most power first, then by address."""
    return tuple(sorted(validators, key=lambda validator: (-validator.power, validator.address)))


def updated(validators: tuple[Validator, ...], updates: Iterable[Validator]) -> tuple[Validator, ...]:
    """A set after updates (power 0 removes), in order.

    Raises:
        LedgerError: nobody would be left.
    """
    powers = {validator.key: validator.power for validator in validators}
    powers |= {update.key: update.power for update in updates}
    left = ordered(Validator(key=key, power=power) for key, power in powers.items() if power)
    if not left:
        raise LedgerError("a block removes every validator", remedy="report this: the contracts should refuse it")
    return left


def block_source(chain: str, height: int) -> bytes:
    """What stands in the log for a transaction's hash, in the events that come from the end of a block itself."""
    return hashlib.sha256(b"fondaco/block\x00" + chain.encode() + b"\x00" + height.to_bytes(8, "big")).digest()


def data_hash(txs: tuple[bytes, ...]) -> bytes:
    """Txs.Hash."""
    return merkle_root(data_leaves(txs))


def data_leaves(txs: tuple[bytes, ...]) -> list[bytes]:
    """What Txs.Hash is made over."""
    return [hashlib.sha256(tx).digest() for tx in txs]


def results_hash(codes: tuple[int, ...]) -> bytes:
    """LastResultsHash over the deterministic part of ExecTxResult; we set the code alone."""
    return merkle_root(result_leaves(codes))


def result_leaves(codes: tuple[int, ...]) -> list[bytes]:
    """What LastResultsHash is made over."""
    return [field_varint(1, code) for code in codes]


def app_hash(state_root: bytes, log_root: bytes, log_size: int) -> bytes:
    """What the application answers after a block, and the next header carries."""
    return hashlib.sha256(b"fondaco/app\x00" + state_root + log_root + log_size.to_bytes(8, "big")).digest()


@message("ledger.block/1")
class Block:
    """A block with the commit that made it final."""

    header: Header
    txs: tuple[bytes, ...]
    last_commit: Commit
    commit: Commit


def block_id(header: Header, txs: tuple[bytes, ...], last_commit: Commit) -> BlockId:
    """The id of a block: its header's hash and its part set."""
    data = b"".join(field_message(1, tx) for tx in txs)
    whole = (
        field_message(1, header.proto)
        + field_message(2, data)
        + field_message(3, b"")
        + field_message(4, last_commit.proto)
    )
    parts = [whole[at : at + PART_BYTES] for at in range(0, len(whole), PART_BYTES)]
    return BlockId(hash=header.hash, parts_total=len(parts), parts_hash=merkle_root(parts))
