"""The pinned genesis hash binds the chain: no vote, header, transaction or proof of one chain is any of another's."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_world import VALIDATOR, World, consortium_genesis, key, transfer

from fondaco.core.messages import to_bytes
from fondaco.errors import LedgerError, ProofError
from fondaco.ledger.audit.bundle import export
from fondaco.ledger.audit.format import DOMAIN, Bundle, open_bundle
from fondaco.ledger.audit.verify import verify
from fondaco.ledger.contracts import registry as contracts
from fondaco.ledger.embedded import EmbeddedLedger
from fondaco.ledger.follower import FollowerLedger
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.light import trust_genesis, verify_proof
from fondaco.ledger.transactions import BadTransaction


def twin() -> Genesis:
    """The same name, time and validator, and another founding state."""
    genesis = consortium_genesis()
    assert isinstance(genesis.state, dict)
    state = genesis.state | {"allotments": {"airline": 7, "weather": 0, "authority": 0}}
    return dataclasses.replace(genesis, state=state)


def test_nothing_of_one_chain_counts_on_its_twin() -> None:
    world = World()
    task = world.story()
    with pytest.raises(ProofError):
        verify_proof(trust_genesis(twin()), world.ledger.prove([b"points/balance/airline"]))
    _file, content = open_bundle(export(world.ledger, key("weather/node"), task=task))
    body = to_bytes(dataclasses.replace(content, genesis=twin()))
    forged = to_bytes(Bundle(content=body, signature=key("weather/node").sign(DOMAIN, body)))
    with pytest.raises(ProofError) as caught:
        verify(forged, trust_root=twin().hash.hex())
    assert caught.value.check == "header-chain"
    other = EmbeddedLedger(None, twin(), contracts, key(VALIDATOR))
    with pytest.raises(BadTransaction, match="another chain"):
        other.submit(transfer(1))
    follower = FollowerLedger(None, twin(), contracts)
    with pytest.raises(ProofError):
        follower.apply(world.ledger.blocks(1, 1)[0])
    assert follower.evidence is None
    follower.close()
    other.stop()
    world.ledger.stop()


@given(st.text(min_size=1, max_size=50).filter(lambda name: len(name.encode()) <= 50))
def test_the_chain_id_is_plain_short_and_ends_with_the_trust_root(name: str) -> None:
    genesis = dataclasses.replace(consortium_genesis(), chain=name)
    genesis.check()
    shown, _dash, root = genesis.chain_id.rpartition("-")
    assert len(genesis.chain_id) <= 50
    assert genesis.chain_id.isascii()
    assert all(c.isalnum() or c in "._-" for c in shown)
    assert root == genesis.hash.hex()[:32]


def test_a_chain_id_shows_the_name() -> None:
    genesis = consortium_genesis()
    assert genesis.chain_id == f"test-chain-{genesis.hash.hex()[:32]}"
    unnamed = dataclasses.replace(genesis, chain="Ω Ω")
    assert unnamed.chain_id == f"chain-{unnamed.hash.hex()[:32]}"
    with pytest.raises(LedgerError):
        dataclasses.replace(genesis, chain="x" * 51).check()
