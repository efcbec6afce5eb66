"""Whatever a signed message of the right types says, and whoever signs it: a result, and no point made or lost."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import pytest
from changes_world import Place, places, replaced
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_world import CONSORTIUM, World, key, transfer

from fondaco.core.codec import Value, encode
from fondaco.core.messages import from_bytes, to_bytes
from fondaco.ledger.blocks import Block
from fondaco.ledger.contracts import registry as contracts
from fondaco.ledger.contracts.grants.messages import WithdrawRequest
from fondaco.ledger.contracts.kit import derive
from fondaco.ledger.contracts.points.handlers import check_conservation
from fondaco.ledger.transactions import Body, Envelope, open_transaction

SIGNERS = [f"{name}/{role}" for name in ("airline", "weather", "authority") for role in ("user", "node", "admin")]
NUMBERS = [-(1 << 63), -1, 0, 1, 2, 3, 100, 1 << 31, 1 << 32, 1 << 62, (1 << 63) - 1]
WORDS = [
    "",
    "*",
    "airline",
    "weather",
    "nobody",
    "/weather/data/rain",
    "/airline/data/flights",
    "mpc.statistics",
    "value",
]


class Real:
    """A consortium with something of everything open, and the messages that made it so."""

    def __init__(self) -> None:
        self.world = World()
        self.world.story()
        theirs = "/weather/data/rain"
        grant = self.world.review(self.world.request(theirs, uses=2), uses=2)
        open_request = self.world.request(theirs)
        done = self.world.propose(theirs, "/airline/data/flights", grant)
        assert done.result.code == 0, done.result
        self.world.ledger.submit(transfer(1)).result(10)
        self.world.must(WithdrawRequest(request=self.world.request(theirs)), "airline/user")
        self.world.ledger.wait_provable(10)
        self.messages = list(self._messages())
        ids = [derive("task", done.tx), grant, open_request, hashlib.sha256(b"").digest()]
        self.pool: dict[type, list[Value]] = {
            int: [*NUMBERS, self.world.ledger.status().time // 10**9 + 60],
            bytes: [b"", bytes(32), *ids, *(key(name).public.raw for name in SIGNERS)],
            str: [*WORDS, "x" * 5_000],
            bool: [True, False],
        }
        for _kind, payload in self.messages:
            for _place, value in places(payload):
                known = self.pool.get(type(value))
                if known is not None and value not in known:
                    known.append(value)

    def _messages(self) -> Iterator[tuple[str, Value]]:
        ledger = self.world.ledger
        for data in ledger.blocks(1, 1_000, 1 << 30):
            for tx in from_bytes(Block, data, limit=1 << 22).txs:
                opened = open_transaction(tx, ledger.chain_id)
                yield opened.body.kind, opened.payload()


@pytest.fixture(scope="module")
def real() -> Iterator[Real]:
    made = Real()
    yield made
    made.world.ledger.stop()


def signed(kind: str, payload: Value, signer: str, expires: int) -> bytes:
    secret = key(signer)
    body = to_bytes(
        Body(
            chain=CONSORTIUM,
            kind=kind,
            payload=encode(payload),
            nonce=os.urandom(16),
            expires=expires,
            signers=(secret.public.raw,),
        )
    )
    return to_bytes(Envelope(body=body, signatures=(secret.sign("tx", body),)))


def changed(payload: Value, data: st.DataObject, pool: dict[type, list[Value]]) -> Value:
    """A payload with some of its values replaced by others of their types, and lists shortened or doubled."""
    for _again in range(data.draw(st.integers(0, 3))):
        found: list[tuple[Place, Value]] = [(place, value) for place, value in places(payload) if place]
        if not found:
            break
        place, value = data.draw(st.sampled_from(found))
        new: Value = None
        if isinstance(value, list):
            new = data.draw(st.sampled_from([[], value[1:], value * 2]))
        elif type(value) in pool:
            new = data.draw(st.sampled_from(pool[type(value)]))
        payload = replaced(payload, place, new)
    return payload


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_typed_messages_of_any_content_get_a_result_and_no_point_is_made_or_lost(
    real: Real, data: st.DataObject
) -> None:
    app = real.world.ledger._app
    txs = []
    for _n in range(data.draw(st.integers(1, 4))):
        kind, payload = data.draw(st.sampled_from(real.messages))
        signer = data.draw(st.sampled_from(SIGNERS))
        txs.append(signed(kind, changed(payload, data, real.pool), signer, app.height + 500))
    with real.world.ledger.lock:
        time = real.world.ledger.status().time + 10**9
        try:
            results = app.finalize_block(app.height + 1, time, txs).results
            balances, escrows, supply = check_conservation(app._changes)
        finally:
            app.roll_back()
    assert len(results) == len(txs)
    assert balances + escrows == supply


def test_the_messages_above_reach_the_contracts(real: Real) -> None:
    """A message that is refused as malformed tests no contract: unchanged ones of the story's kinds all get further."""
    app = real.world.ledger._app
    kinds = {kind for kind, _payload in real.messages}
    assert len(kinds) >= 11
    assert kinds <= set(contracts.kinds())
    with real.world.ledger.lock:
        for kind, payload in real.messages:
            tx = signed(kind, payload, "airline/user", app.height + 500)
            (result,) = app.finalize_block(app.height + 1, real.world.ledger.status().time + 10**9, [tx]).results
            app.roll_back()
            assert result.codespace != "ledger", (kind, result)
