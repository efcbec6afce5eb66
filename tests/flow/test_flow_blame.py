"""Who is named when a step fails: what this node saw counts, what a peer says of a third does not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fondaco.engines.base import EngineStopped, Excessive, WorkerDied
from fondaco.errors import EngineError, PartyFailed, PeerLost, RemoteError, TransportError
from fondaco.flow.coordinator import named_failure
from fondaco.flow.party import Party

MEMBERS = ("airline", "authority", "regulator")
ORGS = {"did:airline": "airline", "did:authority": "authority", "did:regulator": "regulator"}


class Directory:
    """Who is who; the rest of the ledger is not needed to name a party."""

    def org_of(self, did: str) -> str:
        return ORGS[did]


@pytest.fixture
def party() -> Party:
    return Party(org="airline", chain=Directory(), peering=None, gate=None, results=None, journal=None, step_seconds=1)


def remote(code: str, **details) -> RemoteError:
    return RemoteError("it broke", remedy="look", remote_code=code, **details)


REFUSED = PartyFailed("a value is outside its range", party="airline", step="one", remedy="correct the data")
DIED = WorkerDied("the worker died", party="airline", step="one", remedy="look at the log")
STOPPED = EngineStopped("the secure engine stopped", remedy="look")
CLOSED = TransportError("the local engine closed its link", remedy="look")
LOST = PeerLost("reset", remedy="wait", peer="did:authority")


@pytest.mark.parametrize(
    ("fault", "links", "named"),
    [
        (REFUSED, [CLOSED, LOST], "airline"),  # its links broke because it ended
        (DIED, [CLOSED], "airline"),
        (DIED, [CLOSED, LOST], "authority"),  # it ended because a link broke
        (STOPPED, [None, LOST], "authority"),
        (STOPPED, [CLOSED], ""),
        (STOPPED, [], ""),
    ],
)
def test_the_engines_own_word_comes_first_then_a_peer_that_went_away(party, fault, links, named) -> None:
    active = SimpleNamespace(cause=None)
    tunnels = [SimpleNamespace(failure=failure) for failure in links]
    found = party._by_name(fault, SimpleNamespace(id="one"), active, tunnels)
    assert isinstance(found, PartyFailed)
    assert found.party == named
    if named == "airline":
        assert found.cause == fault.cause


def test_a_description_that_was_refused_here_names_no_peer_and_keeps_its_code(party) -> None:
    fault = Excessive("authority: too many records", remedy="ask for fewer")
    tunnels = [SimpleNamespace(failure=LOST)]
    found = party._by_name(fault, SimpleNamespace(id="one"), SimpleNamespace(cause=None), tunnels)
    assert isinstance(found, PartyFailed)
    assert (found.party, found.cause, found.remedy) == (
        "",
        "authority: too many records [engine.excessive]",
        "ask for fewer",
    )


def test_a_link_that_broke_here_names_its_other_end(party) -> None:
    blamed = party._blame(PeerLost("reset", remedy="wait", peer="did:authority"), "one")
    assert isinstance(blamed, PartyFailed)
    assert (blamed.party, blamed.step) == ("authority", "one")


def test_a_peer_that_ends_a_link_cannot_name_another(party) -> None:
    said = remote("peer.lost", peer="did:regulator", party="regulator", told_by="did:authority")
    blamed = party._blame(said, "one")
    assert isinstance(blamed, PartyFailed)
    assert blamed.party == ""
    assert "authority ended the link" in blamed.cause


def test_the_coordinator_hears_a_member_named_by_another() -> None:
    said = remote(PartyFailed.code, party="authority")
    assert named_failure(said, "airline", "one", MEMBERS).party == "authority"


@pytest.mark.parametrize("party", ["weather", "", 7, None, b"authority"])
def test_the_coordinator_hears_of_no_party_that_is_not_in_the_step(party) -> None:
    named = named_failure(remote(PartyFailed.code, party=party), "airline", "one", MEMBERS).party
    assert named == ("" if party == "" else "airline")


def test_any_other_refusal_is_of_the_one_who_answered() -> None:
    assert named_failure(remote("gate.refused", party="authority"), "airline", "one", MEMBERS).party == "airline"
    assert named_failure(PeerLost("gone", remedy="wait", peer="x"), "airline", "one", MEMBERS).party == "airline"
    assert named_failure(EngineError("odd", remedy="look"), "airline", "one", MEMBERS).party == "airline"
