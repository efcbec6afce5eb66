"""The parts that ABCI's messages share, each with its published field numbers.

Source: CometBFT's proto/tendermint/abci/types.proto, types/params.proto and crypto/keys.proto (Apache-2.0, the
CometBFT and Tendermint authors), v0.39. Shapes alone: protobuf.py reads and writes them.
"""

from __future__ import annotations

from fondaco.ledger.cometbft.protobuf import moment, nested, octets, shape, signed, text, unsigned


@shape
class BlockParams:
    """Limits of a block."""

    max_bytes: int = signed(1)
    max_gas: int = signed(2)


@shape
class Duration:
    """google.protobuf.Duration."""

    seconds: int = signed(1)
    nanos: int = signed(2)


@shape
class EvidenceParams:
    """How long evidence of a validator's lie counts, and how much of it a block may hold."""

    max_age_num_blocks: int = signed(1)
    max_age_duration: Duration | None = nested(2, Duration)
    max_bytes: int = signed(3)


@shape
class ValidatorParams:
    """Kinds of validators' keys."""

    pub_key_types: tuple[str, ...] = text(1, many=True)


@shape
class VersionParams:
    """The application's version."""

    app: int = unsigned(1)


@shape
class AbciParams:
    """From which height on votes are extended; 0 never."""

    vote_extensions_enable_height: int = signed(1)


@shape
class AuthorityParams:
    """CometBFT carries it for applications that use it; ours does not."""

    authority: str = text(1)


@shape
class ConsensusParams:
    """The parameters that all validators share."""

    block: BlockParams | None = nested(1, BlockParams)
    evidence: EvidenceParams | None = nested(2, EvidenceParams)
    validator: ValidatorParams | None = nested(3, ValidatorParams)
    version: VersionParams | None = nested(4, VersionParams)
    abci: AbciParams | None = nested(5, AbciParams)
    authority: AuthorityParams | None = nested(6, AuthorityParams)


@shape
class KeyOfValidator:
    """tendermint.crypto.PublicKey: one of three kinds; ours is Ed25519."""

    ed25519: bytes = octets(1)
    secp256k1: bytes = octets(2)
    bls12381: bytes = octets(3)


@shape
class ValidatorUpdate:
    """A validator's new power; 0 removes it."""

    pub_key: KeyOfValidator | None = nested(1, KeyOfValidator)
    power: int = signed(2)


@shape
class Voter:
    """abci.Validator: address and power."""

    address: bytes = octets(1)
    power: int = signed(3)


@shape
class VoteInfo:
    """Whether a validator's vote is in the last commit."""

    validator: Voter | None = nested(1, Voter)
    block_id_flag: int = unsigned(3)


@shape
class CommitInfo:
    """The last commit as the application sees it."""

    round: int = signed(1)
    votes: tuple[VoteInfo, ...] = nested(2, VoteInfo, many=True)


@shape
class ExtendedVoteInfo:
    """As VoteInfo, with a vote's extension; we make none."""

    validator: Voter | None = nested(1, Voter)
    vote_extension: bytes = octets(3)
    extension_signature: bytes = octets(4)
    block_id_flag: int = unsigned(5)


@shape
class ExtendedCommitInfo:
    """The last commit as its proposer sees it."""

    round: int = signed(1)
    votes: tuple[ExtendedVoteInfo, ...] = nested(2, ExtendedVoteInfo, many=True)


@shape
class Misbehavior:
    """Proven evidence against a validator: 1 two votes in one round, 2 an attack on light clients."""

    type: int = unsigned(1)
    validator: Voter | None = nested(2, Voter)
    height: int = signed(3)
    time: int = moment(4)
    total_voting_power: int = signed(5)


@shape
class Snapshot:
    """A snapshot on offer."""

    height: int = unsigned(1)
    format: int = unsigned(2)
    chunks: int = unsigned(3)
    hash: bytes = octets(4)
    metadata: bytes = octets(5)


@shape
class ExecTxResult:
    """A transaction's result; `code` alone is hashed into the next header besides data and gas, which we leave 0."""

    code: int = unsigned(1)
    data: bytes = octets(2)
    log: str = text(3)
    info: str = text(4)
    gas_wanted: int = signed(5)
    gas_used: int = signed(6)
    codespace: str = text(8)
