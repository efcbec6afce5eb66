"""What is done for many transactions at once is what would be done for each: quotas, hashes, messages, merges."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_world import CONSORTIUM, START, adding, consortium_genesis, key, nonce

from fondaco.core.codec import encode
from fondaco.core.messages import kind_of, to_bytes
from fondaco.ledger.application import Application
from fondaco.ledger.contracts import registry as contracts
from fondaco.ledger.contracts.identity.messages import Move
from fondaco.ledger.quotas import QuotaExceeded, Quotas
from fondaco.ledger.state import Overlay
from fondaco.ledger.storage import Storage
from fondaco.ledger.transactions import DOMAIN, Body, Envelope, Transaction, open_transaction

NOW = START * 10**9
SIGNERS = [bytes([n]) * 32 for n in range(6)]
ORGANISATIONS = {signer: f"org-{n // 2}" for n, signer in enumerate(SIGNERS)}


def by(signer: bytes) -> Transaction:
    body = Body(chain="c", kind="k", payload=b"", nonce=bytes(16), expires=1, signers=(signer,))
    return Transaction(b"", body, body.signers, b"")


@settings(max_examples=200)
@given(
    batches=st.lists(st.lists(st.sampled_from(SIGNERS), max_size=8), max_size=5),
    most=st.integers(0, 9),
    waits=st.integers(0, 4),
)
def test_a_batch_is_counted_as_one_by_one_or_not_at_all(batches: list[list[bytes]], most: int, waits: int) -> None:
    together = Quotas(lambda signer: (ORGANISATIONS[signer], most))
    counted: dict[str, int] = {}
    for batch in batches:
        wanted = dict(counted)
        for signer in batch:
            wanted[ORGANISATIONS[signer]] = wanted.get(ORGANISATIONS[signer], 0) + 1
        new = {name: wanted[name] - counted.get(name, 0) for name in wanted}
        fits = all(wanted[name] <= most and waits + new[name] <= most for name in new if new[name])
        if fits:
            names = together.count_all(map(by, batch), lambda _name: waits)
            assert names == {signer: ORGANISATIONS[signer] for signer in batch}
            counted = wanted
        else:
            with pytest.raises(QuotaExceeded):
                together.count_all(map(by, batch), lambda _name: waits)
    for name, number in counted.items():  # nothing of a refused batch was counted
        signer = next(one for one in SIGNERS if ORGANISATIONS[one] == name)
        for _left in range(most - number):
            together.count(by(signer))
        with pytest.raises(QuotaExceeded):
            together.count(by(signer))


class Plain:
    """The contracts, which are given every message as it was decoded."""

    def __getattr__(self, name: str) -> Any:
        return getattr(contracts, name)

    def message_of(self, _kind: str) -> None:
        """None has a class."""


@pytest.fixture
def both() -> Iterator[list[Application]]:
    founding = consortium_genesis()
    stores = [Storage(None), Storage(None)]
    made = [Application(stores[0], contracts), Application(stores[1], Plain())]
    for app in made:
        app.init_chain(CONSORTIUM, NOW, founding.state)
    yield made
    for store in stores:
        store.close()


def signed(kind: str, payload: bytes) -> bytes:
    secret = key("weather/node")
    body = to_bytes(
        Body(chain=CONSORTIUM, kind=kind, payload=payload, nonce=nonce(), expires=900, signers=(secret.public.raw,))
    )
    return to_bytes(Envelope(body=body, signatures=(secret.sign(DOMAIN, body),)))


MOVE = kind_of(Move)
GOOD = to_bytes(Move(address="localhost:2"))
PAYLOADS = [
    GOOD,
    encode({"address": "nowhere"}),
    encode({"address": 1}),
    encode({"address": "localhost:3", "more": 1}),
    encode({}),
    encode([]),
    encode("localhost:3"),
    encode(None),
    b"",
    GOOD + b"\x00",
    GOOD[:-1],
    b"\xbf" + GOOD[1:] + b"\xff",
    b"\xa1\x78\x07address\x6blocalhost:2",
    encode({"address": ["x"] * 20_000}),
]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("kind", [*sorted(contracts.HANDLERS)[:3], MOVE, "nobody.knows/1", ""])
def test_a_message_read_at_once_ends_as_one_that_was_decoded_first(
    both: list[Application], kind: str, payload: bytes
) -> None:
    tx, height = signed(kind, payload), both[0].height + 1
    done = [app.finalize_block(height, NOW + height, [tx]) for app in both]
    for app in both:
        app.commit(None)
    assert done[0] == done[1]


def test_a_move_is_read_at_once_and_holds(both: list[Application]) -> None:
    tx, height = signed(MOVE, GOOD), both[0].height + 1
    opened = open_transaction(tx, CONSORTIUM)
    assert opened.message(Move) == Move(address="localhost:2")
    assert opened.message(None) == {"address": "localhost:2"}
    for app in both:
        assert app.finalize_block(height, NOW + height, [tx]).results[0].code == 0
        app.commit(None)


def test_the_hashes_of_a_block_are_those_of_its_transactions(both: list[Application]) -> None:
    txs = [signed(MOVE, GOOD), b"\x00 no transaction", adding("n", 1)]
    height = both[0].height + 1
    for app in both:
        done = app.finalize_block(height, NOW + height, txs)
        assert done.hashes == tuple(hashlib.sha256(tx).digest() for tx in txs)
        app.commit(None)


@given(
    below=st.dictionaries(st.binary(max_size=2), st.binary(max_size=2)),
    changes=st.dictionaries(st.binary(max_size=2), st.none() | st.binary(max_size=2)),
)
def test_an_overlay_merges_as_its_changes_one_by_one(
    below: dict[bytes, bytes], changes: dict[bytes, bytes | None]
) -> None:
    merged, stepped = Overlay(Storage(None)), Overlay(Storage(None))
    for store in (merged, stepped):
        for name, value in below.items():
            store.set(name, value)
    branch = Overlay(merged)
    for name, change in changes.items():
        for store in (branch, stepped):
            if change is None:
                store.delete(name)
            else:
                store.set(name, change)
    branch.merge_into(merged)
    assert merged.changes == stepped.changes
    assert list(merged.items(b"")) == list(stepped.items(b""))
