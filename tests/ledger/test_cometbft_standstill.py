"""A chain that makes no block though one is due says so, and why: by CometBFT's own peers, height, round and votes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from comet_world import comet_ledger
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco.errors import LedgerError
from fondaco.ledger.cometbft import driver, standstill
from fondaco.ledger.cometbft.driver import CometLedger
from fondaco.ledger.cometbft.rpc import Rpc, RpcError, round_state_of
from fondaco.ledger.cometbft.standstill import look


def votes(number: int, prevotes: str, precommits: str) -> dict[str, Any]:
    """A round, as CometBFT v0.39 has it: a letter for each validator of power 10."""

    def bits(text: str) -> str:
        have, total = 10 * text.count("x"), 10 * len(text)
        return f"BA{{{len(text)}:{text}}} {have}/{total} = {have / total:.2f}"

    return {"round": number, "prevotes_bit_array": bits(prevotes), "precommits_bit_array": bits(precommits)}


def state(step: str, *rounds: dict[str, Any]) -> dict[str, Any]:
    return {"height/round/step": step, "height_vote_set": list(rounds)}


class Said(Rpc):
    """A CometBFT that answers this."""

    def __init__(self, said: object, peers: int = 1) -> None:
        super().__init__(Path("/nowhere"))
        self._said = {"consensus_state": {"round_state": said}, "net_info": {"n_peers": str(peers)}}

    def _call(self, method: str, **_params: object) -> Any:
        return self._said[method]


@pytest.mark.parametrize(
    ("said", "heard", "unheard"),
    [
        (state("8/0/4", votes(0, "_x_x", "____"), votes(1, "____", "____")), 20, (0, 2)),
        (state("8/0/6", votes(0, "xxxx", "x__x")), 20, (1, 2)),  # who prevoted has gone since
        (state("8/2/3", votes(1, "xxxx", "xx__"), votes(2, "____", "____")), 20, (2, 3)),
        (state("8/0/4", votes(0, "xxx_", "____")), 30, (3,)),
        (state("8/0/2", votes(0, "____", "____")), None, ()),
        (state("8/0/4"), None, ()),
    ],
)
def test_who_is_not_heard_in_the_step_that_consensus_is_in(said: object, heard: int | None, unheard: tuple) -> None:
    found = look(Said(said), 31.7)
    assert (found.seconds, found.height, found.peers) == (31, 8, 1)
    assert (found.heard, found.unheard) == (heard, unheard)
    assert found.lacks_votes is (heard == 20)


@pytest.mark.parametrize(
    "said",
    [
        None,
        {},
        state("8/0"),
        state("8/-1/4"),
        state("8/0/4", {"round": 0}),
        state("8/0/4", {**votes(0, "xx", "xx"), "prevotes_bit_array": "BA{3:xx} 20/20 = 1.00"}),
        state("8/0/4", {**votes(0, "xx", "xx"), "precommits_bit_array": "nil-BitArray"}),
        {"height/round/step": "8/0/4", "height_vote_set": {}},
    ],
)
def test_what_cannot_be_read_is_a_named_fault(said: object) -> None:
    assert "CometBFT's answer has no sound" in look(Said(said), 30).fault


@settings(max_examples=200, deadline=None)
@given(
    value=st.dictionaries(
        st.sampled_from(["height/round/step", "height_vote_set"]),
        st.text(max_size=12) | st.lists(st.none() | st.dictionaries(st.sampled_from(["round"]), st.integers())),
    )
)
def test_any_round_state_is_one_or_a_named_error(value: object) -> None:
    try:
        found = round_state_of(value)
    except RpcError:
        return
    assert found.height >= 0


# -- when it is asked ---------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[CometLedger]:
    """A ledger whose CometBFT does not run."""
    made = comet_ledger(tmp_path, start=False, program=Path("/nowhere"))
    yield made
    made.stop()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds pass for the ledger."""

    def pass_(seconds: float) -> None:
        real = time.monotonic
        monkeypatch.setattr(driver.time, "monotonic", lambda: real() + seconds)

    return pass_


def test_a_silence_within_the_pause_of_empty_blocks_is_none(
    ledger: CometLedger, later: Callable[[float], None]
) -> None:
    assert ledger._home.longest_pause() == 10.0
    later(9 + standstill.PATIENCE)
    assert ledger.standstill() is None
    later(2)
    found = ledger.standstill()
    assert found is not None
    assert "CometBFT does not answer" in found.fault


def configure(ledger: CometLedger, old: str, new: str) -> None:
    file = ledger._home.config / "config.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_where_there_are_no_empty_blocks_a_chain_may_be_silent(
    ledger: CometLedger, later: Callable[[float], None]
) -> None:
    configure(ledger, "create_empty_blocks = true", "create_empty_blocks = false")
    later(1e9)
    assert ledger.standstill() is None


@pytest.mark.parametrize(
    ("written", "seconds"), [("0s", 0.0), ("0", 0.0), ("1m30s", 90.0), ("1.5s", 1.5), ("250ms", 0.25), ("1h", 3600.0)]
)
def test_the_pause_is_read_as_cometbft_reads_it(ledger: CometLedger, written: str, seconds: float) -> None:
    configure(ledger, '"10000ms"', f'"{written}"')
    assert ledger._home.longest_pause() == seconds


@pytest.mark.parametrize("written", ['"10"', '"s"', '"-5s"', "10", '"1s" junk'])
def test_a_pause_that_cannot_be_read_is_named(ledger: CometLedger, written: str) -> None:
    configure(ledger, '"10000ms"', written)
    with pytest.raises(LedgerError, match="configuration cannot be read"):
        ledger._home.longest_pause()
