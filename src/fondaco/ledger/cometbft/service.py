"""What each ABCI request means to the ledger: from requests to the driver's methods and back, with no socket in it.

One `Connection` answers one of CometBFT's connections. A transaction or a proposal that is unsound is a refusal with
its code and cause; what the application cannot go on from is raised, and stops CometBFT. Votes are never extended.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from fondaco.core.codec import Value, decode, encode
from fondaco.errors import FondacoError, LedgerError
from fondaco.ledger.application import Finalized
from fondaco.ledger.cometbft import abci, parts

NAME = "fondaco"
QUERY_REFUSED = 1
_RECHECK = 1


@functools.lru_cache(maxsize=256)
def _result(code: int) -> parts.ExecTxResult:
    """A transaction's result as CometBFT is told it: most of a block's are the same."""
    return parts.ExecTxResult(code=code)


class Driver(Protocol):
    """The ledger, as ABCI needs it."""

    def info(self) -> tuple[int, bytes]:
        """Last committed height and app hash."""

    def begin(self, request: abci.RequestInitChain) -> bytes:
        """Compare the chain's beginning with ours; the first app hash."""

    def check_many(self, txs: list[bytes], *, again: bool) -> list[tuple[int, str]]:
        """Code and cause for each transaction; code 0 may wait for a block."""

    def forget_mempool(self) -> None:
        """CometBFT's mempool begins anew."""

    def propose(self, txs: list[bytes], limit: int) -> list[bytes]:
        """The block to propose: transactions that take, each with its protobuf head, at most `limit` bytes."""

    def accept(self, txs: list[bytes]) -> None:
        """Raise FondacoError unless the proposed block is sound."""

    def ahead(self, proposal: abci.RequestProcessProposal) -> None:
        """Execute an accepted proposal before it is decided."""

    def version(self) -> int:
        """The version of the next block's rules."""

    def execute(self, request: abci.RequestFinalizeBlock) -> Finalized:
        """Execute a decided block."""

    def persist(self) -> None:
        """Commit the executed block."""

    def read(self, path: str, data: dict[str, Value]) -> tuple[Value, int]:
        """A query's answer and the height that it is of."""

    def snapshots(self) -> list[parts.Snapshot]:
        """Snapshots that are here."""

    def chunk(self, height: int, kind: int, index: int) -> bytes:
        """A chunk of a snapshot; empty when it is not here."""

    def offer(self, snapshot: parts.Snapshot, app_hash: bytes) -> int:
        """Begin to restore a snapshot, or not: ABCI's result."""

    def restore(self, index: int, chunk: bytes) -> int:
        """Take a chunk: ABCI's result."""


class Connection:
    """Answers one connection, in order."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._checks = False
        self._accepted: abci.RequestProcessProposal | None = None  # and CometBFT's flush is not answered yet
        self._due: abci.RequestProcessProposal | None = None
        self._answers: dict[type, Callable[[Any], object]] = {
            abci.Echo: lambda request: request,
            abci.Flush: self._flush,
            abci.RequestInfo: self._info,
            abci.RequestInitChain: self._init_chain,
            abci.RequestQuery: self._query,
            abci.RequestPrepareProposal: self._prepare,
            abci.RequestProcessProposal: self._process,
            abci.RequestFinalizeBlock: self._finalize,
            abci.RequestCommit: self._commit,
            abci.RequestExtendVote: lambda _request: abci.ResponseExtendVote(),
            abci.RequestVerifyVoteExtension: self._verify_extension,
            abci.RequestListSnapshots: lambda _r: abci.ResponseListSnapshots(snapshots=tuple(driver.snapshots())),
            abci.RequestOfferSnapshot: self._offer,
            abci.RequestLoadSnapshotChunk: self._load_chunk,
            abci.RequestApplySnapshotChunk: self._apply_chunk,
        }

    def close(self) -> None:
        """The connection has ended; with the mempool's, what waited in CometBFT is gone."""
        if self._checks:
            self._driver.forget_mempool()

    def after(self) -> None:
        """The answers are on their way: while the validators vote on a proposal, it is executed."""
        due, self._due = self._due, None
        if due is not None:
            self._driver.ahead(due)

    def handle(self, requests: list[abci.Request]) -> list[object]:
        """The responses; neighbouring checks of transactions are one batch."""
        responses: list[object] = []
        for check, group in itertools.groupby(requests, key=_is_check):
            together = list(group)
            responses += self._check(together) if check else map(self._answer, together)
        return responses

    def _answer(self, request: abci.Request) -> object:
        answer = self._answers.get(type(request))
        if answer is None:
            raise LedgerError(
                f"{type(request).__name__} has no place here: the mempool is CometBFT's own",
                remedy="set mempool.type to flood",
            )
        return answer(request)

    def _check(self, requests: list[abci.Request]) -> Iterator[object]:
        self._checks = True
        checks = [request for request in requests if isinstance(request, abci.RequestCheckTx)]
        for again, group in itertools.groupby(checks, key=lambda request: request.type == _RECHECK):
            for code, cause in self._driver.check_many([request.tx for request in group], again=again):
                yield abci.ResponseCheckTx(code=code, log=cause, codespace="ledger" if code else "")

    def _flush(self, request: abci.Flush) -> object:
        """CometBFT goes on when its flush is answered, which may come apart from what it asked before."""
        self._due, self._accepted = self._accepted, None
        return request

    def _info(self, _request: abci.RequestInfo) -> object:
        height, app_hash = self._driver.info()
        return abci.ResponseInfo(
            data=NAME, app_version=self._driver.version(), last_block_height=height, last_block_app_hash=app_hash
        )

    def _init_chain(self, request: abci.RequestInitChain) -> object:
        return abci.ResponseInitChain(app_hash=self._driver.begin(request))

    def _query(self, request: abci.RequestQuery) -> object:
        try:
            data = decode(request.data) if request.data else {}
            if not isinstance(data, dict):
                raise LedgerError("a query's data is a map", remedy="send a map")
            value, height = self._driver.read(request.path, data)
        except FondacoError as fault:
            return abci.ResponseQuery(code=QUERY_REFUSED, log=fault.cause, codespace="ledger")
        return abci.ResponseQuery(value=encode(value), height=height)

    def _prepare(self, request: abci.RequestPrepareProposal) -> object:
        return abci.ResponsePrepareProposal(txs=tuple(self._driver.propose(list(request.txs), request.max_tx_bytes)))

    def _process(self, request: abci.RequestProcessProposal) -> object:
        try:
            self._driver.accept(list(request.txs))
        except FondacoError:
            return abci.ResponseProcessProposal(status=abci.REJECT)
        self._accepted = request
        return abci.ResponseProcessProposal(status=abci.ACCEPT)

    def _finalize(self, request: abci.RequestFinalizeBlock) -> object:
        self._accepted = self._due = None
        version = self._driver.version()
        done = self._driver.execute(request)
        changed = parts.VersionParams(app=done.next_version) if done.next_version != version else None
        return abci.ResponseFinalizeBlock(
            tx_results=tuple(_result(one.code) for one in done.results),
            validator_updates=tuple(
                parts.ValidatorUpdate(pub_key=parts.KeyOfValidator(ed25519=one.key), power=one.power)
                for one in done.validator_updates
            ),
            consensus_param_updates=None if changed is None else parts.ConsensusParams(version=changed),
            app_hash=done.app_hash,
        )

    def _commit(self, _request: abci.RequestCommit) -> object:
        self._driver.persist()
        return abci.ResponseCommit()

    @staticmethod
    def _verify_extension(request: abci.RequestVerifyVoteExtension) -> object:
        status = abci.REJECT if request.vote_extension else abci.ACCEPT
        return abci.ResponseVerifyVoteExtension(status=status)

    def _offer(self, request: abci.RequestOfferSnapshot) -> object:
        snapshot = request.snapshot or parts.Snapshot()
        return abci.ResponseOfferSnapshot(result=self._driver.offer(snapshot, request.app_hash))

    def _load_chunk(self, request: abci.RequestLoadSnapshotChunk) -> object:
        chunk = self._driver.chunk(request.height, request.format, request.chunk)
        return abci.ResponseLoadSnapshotChunk(chunk=chunk)

    def _apply_chunk(self, request: abci.RequestApplySnapshotChunk) -> object:
        result = self._driver.restore(request.index, request.chunk)
        senders = (request.sender,) if result == RETRY and request.sender else ()
        return abci.ResponseApplySnapshotChunk(result=result, reject_senders=senders)


def _is_check(request: object) -> bool:
    return isinstance(request, abci.RequestCheckTx)


SNAPSHOT_ACCEPT, SNAPSHOT_ABORT, SNAPSHOT_REJECT, SNAPSHOT_REJECT_FORMAT = 1, 2, 3, 4  # OfferSnapshot
RETRY, CHUNK_REJECT = 3, 5  # ApplySnapshotChunk: get this chunk again; give this snapshot up
