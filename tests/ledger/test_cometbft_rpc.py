"""CometBFT's JSON: what it answers is read field by field, and anything else is a named error."""

from __future__ import annotations

import http.server
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco.ledger.cometbft.rpc import Rpc, RpcError, block_id_of, commit_of, header_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["height", "block_id", "hash", "parts", "signatures", "x"]), inner, max_size=5
        )
    ),
    max_leaves=15,
)


@settings(max_examples=200, deadline=None)
@given(value=JSON)
@pytest.mark.parametrize("read", [header_of, commit_of, block_id_of])
def test_any_json_is_what_it_should_be_or_a_named_error(read: Callable[[object], object], value: object) -> None:
    with pytest.raises(RpcError, match="sound"):
        read(value)


class Answers(http.server.BaseHTTPRequestHandler):
    """Says what the test wants."""

    protocol_version = "HTTP/1.1"
    said: Callable[[Any], bytes]
    close_after = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        said = type(self).said(json.loads(body))
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
        self.close_connection = type(self).close_after

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def rpc(tmp_path: Path) -> Iterator[tuple[Rpc, type[Answers]]]:
    """A client, and the class whose `said` answers it."""

    class Mine(Answers):
        pass

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    with Server(str(tmp_path / "s"), Mine) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        client = Rpc(tmp_path / "s", seconds=5)
        yield client, Mine
        client.close()
        server.shutdown()
        thread.join(10)


@settings(max_examples=60, deadline=None)
@given(junk=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_answer_is_a_block_or_a_named_error(junk: bytes) -> None:
    client = Rpc(Path("/nowhere"))
    client._exchange = lambda _data: junk  # type: ignore[method-assign]
    for ask in (lambda: client.block(1), lambda: client.validators(1), client.peers, lambda: client.header_hash(1)):
        with pytest.raises(RpcError):
            ask()


def test_a_link_that_was_ended_meanwhile_is_made_anew(rpc: tuple[Rpc, type[Answers]]) -> None:
    client, answers = rpc
    answers.said = staticmethod(lambda asked: json.dumps({"id": asked["id"], "result": {"n_peers": "3"}}).encode())
    answers.close_after = True
    assert [client.peers() for _n in range(5)] == [3] * 5


def test_each_transaction_gets_its_own_answer(rpc: tuple[Rpc, type[Answers]]) -> None:
    client, answers = rpc

    def said(asked: Any) -> bytes:
        first, second, third = asked
        return json.dumps(
            [
                {"id": second["id"], "error": {"message": "Internal error", "data": "mempool is full"}},
                {"id": first["id"], "result": {"code": 0}},
            ]
        ).encode()

    answers.said = staticmethod(said)
    assert client.broadcast([b"one", b"two", b"three"]) == ["", "Internal error: mempool is full", "no answer came"]


def test_nobody_there_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(RpcError, match="does not answer"):
        Rpc(tmp_path / "nothing").status()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        with pytest.raises(RpcError, match="does not answer"):
            Rpc(tmp_path / "silent", seconds=0.2).status()


def test_a_refusal_is_told(rpc: tuple[Rpc, type[Answers]]) -> None:
    client, answers = rpc
    answers.said = staticmethod(lambda _asked: b'{"error": {"message": "no", "data": "such height"}}')
    with pytest.raises(RpcError, match="no: such height"):
        client.block(5)
