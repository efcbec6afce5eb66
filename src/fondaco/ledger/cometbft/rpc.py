"""CometBFT's JSON-RPC over its unix socket: what the driver asks of its own CometBFT process, and nothing more.

Answers are of our own process, but every field is checked on the way in and every block is verified by whoever uses
it (driver.py): a hash, a signature or a number that does not fit is a named error. One connection, one caller at a
time. Each call has a deadline.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import datetime
import http.client
import itertools
import json
import re
import socket
import threading
from pathlib import Path
from typing import Any

from fondaco.errors import LedgerError
from fondaco.ledger.blocks import (
    FLAG_ABSENT,
    Block,
    BlockId,
    Commit,
    CommitSig,
    Header,
    Validator,
)
from fondaco.ledger.light import SignedHeader

_SECONDS = 10.0
_MAX_ANSWER = 64 << 20
_NANOS = 1_000_000_000
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")
_REMEDY = "look at CometBFT's log in the ledger's folder"
_STEP = re.compile(r"(\d{1,19})/(\d{1,10})/(\d{1,2})")
_BITS = re.compile(r"BA\{(\d{1,5}):([x_]{1,10000})\} (\d{1,19})/(\d{1,19}) = \d\.\d\d")


class RpcError(LedgerError):
    """CometBFT does not answer, or not as it should."""

    code = "ledger.cometbft"


@dataclasses.dataclass(frozen=True, slots=True)
class Tally:
    """Whose votes came, in the validators' order, their power and that of all."""

    came: tuple[bool, ...]
    power: int
    total: int


@dataclasses.dataclass(frozen=True, slots=True)
class RoundVotes:
    """The votes of one round."""

    round: int
    prevotes: Tally
    precommits: Tally


@dataclasses.dataclass(frozen=True, slots=True)
class RoundState:
    """Which height, round and step (CometBFT's RoundStepType) consensus is at, and the votes of its rounds."""

    height: int
    round: int
    step: int
    votes: tuple[RoundVotes, ...]


class _Unix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


class Rpc:
    """Calls to one CometBFT process, at a socket's path or at `(host, port)`."""

    def __init__(self, address: Path | tuple[str, int], seconds: float = _SECONDS) -> None:
        self._address = address
        self._seconds = seconds
        self._lock = threading.Lock()
        self._http: http.client.HTTPConnection | None = None
        self._ids = itertools.count(1)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    def _connection(self) -> http.client.HTTPConnection:
        if self._http is None:
            address = self._address
            if isinstance(address, Path):
                self._http = _Unix(address, self._seconds)
            else:
                self._http = http.client.HTTPConnection(*address, timeout=self._seconds)
        return self._http

    def _post(self, body: object) -> Any:
        data = json.dumps(body).encode()
        with self._lock:
            used = self._http is not None
            try:
                text = self._exchange(data)
            except (OSError, http.client.HTTPException) as fault:
                self._drop()
                if not used:
                    raise _silent(fault) from fault
                try:  # CometBFT ends a link that was silent for long: once more on a new one
                    text = self._exchange(data)
                except (OSError, http.client.HTTPException) as again:
                    self._drop()
                    raise _silent(again) from again
        if len(text) > _MAX_ANSWER:
            raise RpcError("CometBFT's answer is far too large", remedy=_REMEDY)
        try:
            return json.loads(text)
        except ValueError as fault:
            raise RpcError("CometBFT's answer is not JSON", remedy=_REMEDY) from fault

    def _exchange(self, data: bytes) -> bytes:
        link = self._connection()
        link.request("POST", "/", data, {"Content-Type": "application/json"})
        return link.getresponse().read(_MAX_ANSWER + 1)

    def _call(self, method: str, **params: object) -> Any:
        answer = self._post({"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params})
        return _result(method, answer)

    def status(self) -> dict[str, Any]:
        """Its own view of itself: `sync_info`, `node_info`, `validator_info`."""
        return _map(self._call("status"), "status")

    def peers(self) -> int:
        """How many peers it is linked to."""
        return _int(_map(self._call("net_info"), "net_info").get("n_peers"), "n_peers")

    def round_state(self) -> RoundState:
        """Where consensus stands.

        Raises:
            RpcError: no answer, or none that can be read.
        """
        return round_state_of(_at(self._call("consensus_state"), "round_state"))

    def header_hash(self, height: int) -> bytes:
        """The hash of a header."""
        return self.signed_header(height).commit.block.hash

    def signed_header(self, height: int) -> SignedHeader:
        """A header with a commit for it: the one in the next block, if there is one; the caller verifies both.

        Raises:
            RpcError: it is not there, or not a header.
        """
        signed = _map(_at(self._call("commit", height=str(height)), "signed_header"), "signed_header")
        return SignedHeader(header=header_of(signed.get("header")), commit=commit_of(signed.get("commit")))

    def block(self, height: int) -> Block:
        """A block with a commit for it; the caller verifies both.

        Raises:
            RpcError: it is not there, or not a block.
        """
        block = _map(_at(self._call("block", height=str(height)), "block"), "block")
        commit = self.signed_header(height).commit
        data = _map(block.get("data"), "data").get("txs") or []
        last = commit_of(block.get("last_commit"))
        return Block(
            header=header_of(block.get("header")),
            txs=tuple(_base64(tx, "a transaction") for tx in _list(data, "txs")),
            last_commit=last,
            commit=commit,
        )

    def validators(self, height: int) -> tuple[Validator, ...]:
        """The validators of a height, in the set's order."""
        found = _map(self._call("validators", height=str(height), per_page="100"), "validators")
        return tuple(_validator(item) for item in _list(found.get("validators"), "validators"))

    def broadcast(self, txs: list[bytes]) -> list[str]:
        """Hand transactions over, in one request, without waiting for their check; a cause for each refused, or ""."""
        calls = [
            {
                "jsonrpc": "2.0",
                "id": next(self._ids),
                "method": "broadcast_tx_async",
                "params": {"tx": base64.b64encode(tx).decode()},
            }
            for tx in txs
        ]
        answers = self._post(calls)
        if isinstance(answers, dict):
            answers = [answers]
        by_id = {item.get("id"): item for item in _list(answers, "broadcast") if isinstance(item, dict)}
        return [_refusal(by_id.get(call["id"])) for call in calls]


def _silent(fault: Exception) -> RpcError:
    return RpcError(f"CometBFT does not answer ({fault or type(fault).__name__})", remedy=_REMEDY)


def _refusal(answer: dict[str, Any] | None) -> str:
    if answer is None:
        return "no answer came"
    error = answer.get("error")
    if error is None:
        return ""
    found = error if isinstance(error, dict) else {}
    return f"{found.get('message', 'refused')}: {found.get('data', '')}"[:300]


def _result(method: str, answer: object) -> Any:
    found = _map(answer, method)
    if found.get("error") is not None:
        raise RpcError(f"CometBFT refused {method}: {_refusal(found)}", remedy=_REMEDY)
    return found.get("result")


# -- fields of answers --------------------------------------------------------------------------------------------


def _wrong(what: str) -> RpcError:
    return RpcError(f"CometBFT's answer has no sound {what}", remedy=_REMEDY)


def _map(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(what)
    return value


def _at(value: object, what: str) -> Any:
    return _map(value, what).get(what)


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(what)
    return value


def _int(value: object, what: str) -> int:
    text = value if isinstance(value, str) else str(value) if type(value) is int else ""
    if not re.fullmatch(r"-?\d{1,19}", text):
        raise _wrong(what)
    return int(text)


def _hex(value: object, what: str) -> bytes:
    if not isinstance(value, str):
        raise _wrong(what)
    try:
        return bytes.fromhex(value)
    except ValueError as fault:
        raise _wrong(what) from fault


def _base64(value: object, what: str) -> bytes:
    if not isinstance(value, str):
        raise _wrong(what)
    with contextlib.suppress(binascii.Error, ValueError):
        return base64.b64decode(value, validate=True)
    raise _wrong(what)


def time_of(value: object) -> int:
    """Unix nanoseconds of an RFC 3339 time in UTC."""
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise _wrong("time")
    try:
        whole = datetime.datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=datetime.UTC)
    except ValueError as fault:
        raise _wrong("time") from fault
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (whole - epoch) // datetime.timedelta(seconds=1) * _NANOS + int((found[2] or "").ljust(9, "0"))


def block_id_of(value: object) -> BlockId:
    """A block's id."""
    found = _map(value, "block_id")
    parts = _map(found.get("parts"), "parts")
    return BlockId(
        hash=_hex(found.get("hash"), "hash"),
        parts_total=_int(parts.get("total"), "total"),
        parts_hash=_hex(parts.get("hash"), "hash"),
    )


def header_of(value: object) -> Header:
    """A header."""
    found = _map(value, "header")
    version = _map(found.get("version"), "version")
    chain = found.get("chain_id")
    if not isinstance(chain, str):
        raise _wrong("chain_id")
    return Header(
        block_version=_int(version.get("block"), "version"),
        app_version=_int(version.get("app") or "0", "version"),
        chain=chain,
        height=_int(found.get("height"), "height"),
        time=time_of(found.get("time")),
        last_block=block_id_of(found.get("last_block_id")),
        last_commit_hash=_hex(found.get("last_commit_hash"), "last_commit_hash"),
        data_hash=_hex(found.get("data_hash"), "data_hash"),
        validators_hash=_hex(found.get("validators_hash"), "validators_hash"),
        next_validators_hash=_hex(found.get("next_validators_hash"), "next_validators_hash"),
        consensus_hash=_hex(found.get("consensus_hash"), "consensus_hash"),
        app_hash=_hex(found.get("app_hash"), "app_hash"),
        last_results_hash=_hex(found.get("last_results_hash"), "last_results_hash"),
        evidence_hash=_hex(found.get("evidence_hash"), "evidence_hash"),
        proposer=_hex(found.get("proposer_address"), "proposer_address"),
    )


def commit_of(value: object) -> Commit:
    """A commit."""
    found = _map(value, "commit")
    return Commit(
        height=_int(found.get("height"), "height"),
        round=_int(found.get("round"), "round"),
        block=block_id_of(found.get("block_id")),
        signatures=tuple(_signature(item) for item in _list(found.get("signatures") or [], "signatures")),
    )


def _signature(value: object) -> CommitSig:
    found = _map(value, "signature")
    flag = _int(found.get("block_id_flag"), "block_id_flag")
    if flag == FLAG_ABSENT:
        return CommitSig(flag=flag, address=b"", time=0, signature=b"")
    return CommitSig.signed(
        flag,
        _hex(found.get("validator_address"), "validator_address"),
        time_of(found.get("timestamp")),
        _base64(found.get("signature"), "signature"),
    )


def _validator(value: object) -> Validator:
    found = _map(value, "validator")
    key = _map(found.get("pub_key"), "pub_key")
    if key.get("type") != "tendermint/PubKeyEd25519":
        raise _wrong("pub_key")
    return Validator(key=_base64(key.get("value"), "pub_key"), power=_int(found.get("voting_power"), "voting_power"))


def round_state_of(value: object) -> RoundState:
    """Where consensus stands."""
    found = _map(value, "round_state")
    step = found.get("height/round/step")
    read = _STEP.fullmatch(step) if isinstance(step, str) else None
    if read is None:
        raise _wrong("height/round/step")
    height, number, at = map(int, read.groups())
    votes = tuple(_votes(item) for item in _list(found.get("height_vote_set"), "height_vote_set"))
    return RoundState(height, number, at, votes)


def _votes(value: object) -> RoundVotes:
    found = _map(value, "height_vote_set")
    tallies = (_tally(found.get(f"{name}_bit_array"), name) for name in ("prevotes", "precommits"))
    return RoundVotes(_int(found.get("round"), "round"), *tallies)


def _tally(value: object, what: str) -> Tally:
    read = _BITS.fullmatch(value) if isinstance(value, str) else None
    if read is None or len(read[2]) != int(read[1]):
        raise _wrong(what)
    return Tally(tuple(bit == "x" for bit in read[2]), int(read[3]), int(read[4]))
