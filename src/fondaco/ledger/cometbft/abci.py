"""ABCI as CometBFT v0.39 speaks it over a socket: the requests and responses, each with its published numbers.

Field names and numbers are those of CometBFT's proto/tendermint/abci/types.proto, types/params.proto and
crypto/keys.proto (Apache-2.0, the CometBFT and Tendermint authors). We speak for ourselves only in the docstrings.
`read_request` refuses what is not exactly one request (see protobuf.py); it trusts nothing and leaks nothing.
"""

from __future__ import annotations

import functools
from typing import TypeAlias

from fondaco.errors import CodecError
from fondaco.ledger.cometbft.parts import (
    CommitInfo,
    ConsensusParams,
    ExecTxResult,
    ExtendedCommitInfo,
    Misbehavior,
    Snapshot,
    ValidatorUpdate,
)
from fondaco.ledger.cometbft.protobuf import (
    DELIMITED,
    decode,
    encode,
    frame,
    moment,
    nested,
    octets,
    parted,
    shape,
    signed,
    text,
    unsigned,
)
from fondaco.ledger.wire import field_message

_SHORT = 8  # bytes of a request that says nothing but its kind: Flush comes after every other one
MAX_FRAME = 24 << 20  # a snapshot's chunk is CometBFT's largest message: 16 MB


# -- requests -----------------------------------------------------------------------------------------------------


@shape
class Echo:
    """Both ways: say the same again."""

    message: str = text(1)


@shape
class Flush:
    """Both ways: all that came before is answered."""


@shape
class RequestInfo:
    """Who the application is, and where."""

    version: str = text(1)
    block_version: int = unsigned(2)
    p2p_version: int = unsigned(3)
    abci_version: str = text(4)


@shape
class RequestInitChain:
    """The chain begins."""

    time: int = moment(1)
    chain_id: str = text(2)
    consensus_params: ConsensusParams | None = nested(3, ConsensusParams)
    validators: tuple[ValidatorUpdate, ...] = nested(4, ValidatorUpdate, many=True)
    app_state_bytes: bytes = octets(5)
    initial_height: int = signed(6)


@shape
class RequestQuery:
    """A read."""

    data: bytes = octets(1)
    path: str = text(2)
    height: int = signed(3)
    prove: int = unsigned(4)


@shape
class RequestCheckTx:
    """May this transaction wait for a block? `type` 1 asks again after a block."""

    tx: bytes = octets(1)
    type: int = unsigned(2)


@shape
class RequestCommit:
    """Persist the finalised block."""


@shape
class RequestListSnapshots:
    """Which snapshots are here."""


@shape
class RequestOfferSnapshot:
    """A peer has this snapshot; the light client believes this app hash at its height."""

    snapshot: Snapshot | None = nested(1, Snapshot)
    app_hash: bytes = octets(2)


@shape
class RequestLoadSnapshotChunk:
    """A chunk for a peer."""

    height: int = unsigned(1)
    format: int = unsigned(2)
    chunk: int = unsigned(3)


@shape
class RequestApplySnapshotChunk:
    """A chunk from a peer."""

    index: int = unsigned(1)
    chunk: bytes = octets(2)
    sender: str = text(3)


@shape
class RequestPrepareProposal:
    """Propose a block out of these transactions."""

    max_tx_bytes: int = signed(1)
    txs: tuple[bytes, ...] = octets(2, many=True)
    local_last_commit: ExtendedCommitInfo | None = nested(3, ExtendedCommitInfo)
    misbehavior: tuple[Misbehavior, ...] = nested(4, Misbehavior, many=True)
    height: int = signed(5)
    time: int = moment(6)
    next_validators_hash: bytes = octets(7)
    proposer_address: bytes = octets(8)


@shape
class RequestProcessProposal:
    """Is this proposed block sound?"""

    txs: tuple[bytes, ...] = octets(1, many=True)
    proposed_last_commit: CommitInfo | None = nested(2, CommitInfo)
    misbehavior: tuple[Misbehavior, ...] = nested(3, Misbehavior, many=True)
    hash: bytes = octets(4)
    height: int = signed(5)
    time: int = moment(6)
    next_validators_hash: bytes = octets(7)
    proposer_address: bytes = octets(8)


@shape
class RequestExtendVote:
    """Never asked: votes are not extended on our chains."""

    hash: bytes = octets(1)
    height: int = signed(2)
    time: int = moment(3)
    txs: tuple[bytes, ...] = octets(4, many=True)
    proposed_last_commit: CommitInfo | None = nested(5, CommitInfo)
    misbehavior: tuple[Misbehavior, ...] = nested(6, Misbehavior, many=True)
    next_validators_hash: bytes = octets(7)
    proposer_address: bytes = octets(8)


@shape
class RequestVerifyVoteExtension:
    """Never asked: votes are not extended on our chains."""

    hash: bytes = octets(1)
    validator_address: bytes = octets(2)
    height: int = signed(3)
    vote_extension: bytes = octets(4)


@shape
class RequestFinalizeBlock:
    """Execute a decided block."""

    txs: tuple[bytes, ...] = octets(1, many=True)
    decided_last_commit: CommitInfo | None = nested(2, CommitInfo)
    misbehavior: tuple[Misbehavior, ...] = nested(3, Misbehavior, many=True)
    hash: bytes = octets(4)
    height: int = signed(5)
    time: int = moment(6)
    next_validators_hash: bytes = octets(7)
    proposer_address: bytes = octets(8)


@shape
class RequestInsertTx:
    """Never asked: the mempool is CometBFT's."""

    tx: bytes = octets(1)


@shape
class RequestReapTxs:
    """Never asked: the mempool is CometBFT's."""

    max_bytes: int = unsigned(1)
    max_gas: int = unsigned(2)


Request: TypeAlias = (
    "Echo | Flush | RequestInfo | RequestInitChain | RequestQuery | RequestCheckTx | RequestCommit"
    " | RequestListSnapshots | RequestOfferSnapshot | RequestLoadSnapshotChunk | RequestApplySnapshotChunk"
    " | RequestPrepareProposal | RequestProcessProposal | RequestExtendVote | RequestVerifyVoteExtension"
    " | RequestFinalizeBlock | RequestInsertTx | RequestReapTxs"
)
REQUESTS: dict[int, type] = {
    1: Echo,
    2: Flush,
    3: RequestInfo,
    5: RequestInitChain,
    6: RequestQuery,
    8: RequestCheckTx,
    11: RequestCommit,
    12: RequestListSnapshots,
    13: RequestOfferSnapshot,
    14: RequestLoadSnapshotChunk,
    15: RequestApplySnapshotChunk,
    16: RequestPrepareProposal,
    17: RequestProcessProposal,
    18: RequestExtendVote,
    19: RequestVerifyVoteExtension,
    20: RequestFinalizeBlock,
    21: RequestInsertTx,
    22: RequestReapTxs,
}


# -- responses ----------------------------------------------------------------------------------------------------


@shape
class ResponseException:
    """The application cannot go on, and why; CometBFT stops."""

    error: str = text(1)


@shape
class ResponseInfo:
    """Who the application is, and what it committed last."""

    data: str = text(1)
    version: str = text(2)
    app_version: int = unsigned(3)
    last_block_height: int = signed(4)
    last_block_app_hash: bytes = octets(5)


@shape
class ResponseInitChain:
    """The first app hash; parameters and validators stay those of the request."""

    consensus_params: ConsensusParams | None = nested(1, ConsensusParams)
    validators: tuple[ValidatorUpdate, ...] = nested(2, ValidatorUpdate, many=True)
    app_hash: bytes = octets(3)


@shape
class ResponseQuery:
    """What was read; code 0, or a refusal."""

    code: int = unsigned(1)
    log: str = text(3)
    info: str = text(4)
    index: int = signed(5)
    key: bytes = octets(6)
    value: bytes = octets(7)
    height: int = signed(9)
    codespace: str = text(10)


@shape
class ResponseCheckTx:
    """Code 0: it may wait for a block."""

    code: int = unsigned(1)
    data: bytes = octets(2)
    log: str = text(3)
    info: str = text(4)
    gas_wanted: int = signed(5)
    gas_used: int = signed(6)
    codespace: str = text(8)


@shape
class ResponseCommit:
    """Below `retain_height` CometBFT may forget blocks; 0 keeps all."""

    retain_height: int = signed(3)


@shape
class ResponseListSnapshots:
    """The snapshots that are here."""

    snapshots: tuple[Snapshot, ...] = nested(1, Snapshot, many=True)


@shape
class ResponseOfferSnapshot:
    """1 accept, 2 abort, 3 reject this one, 4 reject the format, 5 reject the sender."""

    result: int = unsigned(1)


@shape
class ResponseLoadSnapshotChunk:
    """The chunk; empty when there is none."""

    chunk: bytes = octets(1)


@shape
class ResponseApplySnapshotChunk:
    """1 accept, 2 abort, 3 retry the chunk, 4 retry the snapshot, 5 reject it."""

    result: int = unsigned(1)
    reject_senders: tuple[str, ...] = text(3, many=True)


@shape
class ResponsePrepareProposal:
    """The block's transactions."""

    txs: tuple[bytes, ...] = octets(1, many=True)


@shape
class ResponseProcessProposal:
    """1 accept, 2 reject."""

    status: int = unsigned(1)


@shape
class ResponseExtendVote:
    """No extension."""

    vote_extension: bytes = octets(1)


@shape
class ResponseVerifyVoteExtension:
    """1 accept, 2 reject."""

    status: int = unsigned(1)


@shape
class ResponseFinalizeBlock:
    """Results, changes of validators, and the new app hash."""

    tx_results: tuple[ExecTxResult, ...] = nested(2, ExecTxResult, many=True)
    validator_updates: tuple[ValidatorUpdate, ...] = nested(3, ValidatorUpdate, many=True)
    consensus_param_updates: ConsensusParams | None = nested(4, ConsensusParams)
    app_hash: bytes = octets(5)


RESPONSES: dict[type, int] = {
    ResponseException: 1,
    Echo: 2,
    Flush: 3,
    ResponseInfo: 4,
    ResponseInitChain: 6,
    ResponseQuery: 7,
    ResponseCheckTx: 9,
    ResponseCommit: 12,
    ResponseListSnapshots: 13,
    ResponseOfferSnapshot: 14,
    ResponseLoadSnapshotChunk: 15,
    ResponseApplySnapshotChunk: 16,
    ResponsePrepareProposal: 17,
    ResponseProcessProposal: 18,
    ResponseExtendVote: 19,
    ResponseVerifyVoteExtension: 20,
    ResponseFinalizeBlock: 21,
}
ACCEPT, REJECT = 1, 2


@functools.lru_cache(maxsize=64)
def _said_often(data: bytes) -> Request:
    return _read_request(data)


def read_request(data: bytes) -> Request:
    """The one request in a frame.

    Raises:
        CodecError: none, more than one, or not one of this ABCI.
    """
    return _said_often(data) if len(data) <= _SHORT else _read_request(data)


def _read_request(data: bytes) -> Request:
    fields = parted(data, "request")
    if len(fields) != 1:
        raise CodecError("a frame holds one request", remedy="restart CometBFT; report it if it comes again")
    number, wire, body = fields[0]
    cls = REQUESTS.get(number)
    if cls is None or wire != DELIMITED:
        raise CodecError(
            f"there is no request {number} in this ABCI",
            remedy="run the CometBFT that this version of Fondaco was built for",
        )
    request: Request = decode(cls, body)
    return request


def write_response(response: object) -> bytes:
    """A response as a frame."""
    return _written_often(response) if isinstance(response, Flush | ResponseCheckTx) else _written(response)


@functools.lru_cache(maxsize=64)
def _written_often(response: object) -> bytes:
    return _written(response)


def _written(response: object) -> bytes:
    return frame(field_message(RESPONSES[type(response)], encode(response)))
