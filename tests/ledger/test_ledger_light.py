"""The light verifier believes a header when enough of those it trusts signed it, and nothing else."""

from __future__ import annotations

import dataclasses

import pytest
from changes_world import changes, places, replaced
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from ledger_world import CHAIN, START, adding, counter_genesis, counter_ledger, key

from fondaco.core.codec import decode, encode
from fondaco.core.keys import SecretKey
from fondaco.core.messages import from_bytes, to_bytes
from fondaco.errors import CodecError, ProofError
from fondaco.ledger.blocks import (
    CONSENSUS_HASH,
    EMPTY_HASH,
    FLAG_ABSENT,
    FLAG_COMMIT,
    FLAG_NIL,
    NO_BLOCK,
    BlockId,
    Commit,
    CommitSig,
    Header,
    Validator,
    app_hash,
    validators_hash,
    vote_bytes,
)
from fondaco.ledger.light import (
    Anchor,
    Link,
    Proof,
    SignedHeader,
    Trusted,
    Trusting,
    trust_genesis,
    trust_header,
    verify_anchor,
    verify_header,
    verify_proof,
)

KEYS = [key(f"validator/{n}") for n in range(8)]
ABSENT = CommitSig(flag=FLAG_ABSENT, address=b"", time=0, signature=b"")


def members(*numbers: int, power: int = 10) -> tuple[Validator, ...]:
    """A set of equal validators."""
    return tuple(Validator(key=KEYS[n].public.raw, power=power) for n in numbers)


def header(height: int, now: tuple[Validator, ...], after: tuple[Validator, ...], last: bytes = b"") -> Header:
    """A header of these validators."""
    return Header(
        block_version=11,
        app_version=1,
        chain=CHAIN,
        height=height,
        time=START * 10**9 + height,
        last_block=dataclasses.replace(NO_BLOCK, hash=last),
        last_commit_hash=EMPTY_HASH,
        data_hash=EMPTY_HASH,
        validators_hash=validators_hash(now),
        next_validators_hash=validators_hash(after),
        consensus_hash=CONSENSUS_HASH,
        app_hash=bytes(32),
        last_results_hash=EMPTY_HASH,
        evidence_hash=EMPTY_HASH,
        proposer=now[0].address,
    )


def commit(of: Header, now: tuple[Validator, ...], votes: str) -> Commit:
    """A commit with a place for each validator: c for the block, n for nil, - absent, x a false signature."""
    block = BlockId(hash=of.hash, parts_total=1, parts_hash=bytes(32))
    empty = Commit(height=of.height, round=0, block=block, signatures=())
    places: list[CommitSig] = []
    by_key = {secret.public.raw: secret for secret in KEYS}
    for validator, vote in zip(now, votes, strict=True):
        if vote == "-":
            places.append(ABSENT)
            continue
        flag = FLAG_NIL if vote == "n" else FLAG_COMMIT
        signed = vote_bytes(CHAIN, empty, 5, nil=vote == "n")
        signature = bytes(64) if vote == "x" else by_key[validator.key].sign_raw(signed)
        places.append(CommitSig(flag=flag, address=validator.address, time=5, signature=signature))
    return dataclasses.replace(empty, signatures=tuple(places))


def root(known: tuple[Validator, ...]) -> Trusted:
    """The genesis of these validators."""
    return Trusted(
        chain=CHAIN,
        height=0,
        time=START * 10**9,
        header_hash=b"",
        validators=known,
        next_validators_hash=validators_hash(known),
    )


def refused(trusted: Trusted, of: Header, signed: Commit, now: tuple[Validator, ...]) -> str:
    """The check that fails."""
    with pytest.raises(ProofError) as caught:
        verify_header(trusted, of, signed, now)
    return caught.value.check


FOUR = members(0, 1, 2, 3)


@pytest.mark.parametrize(
    ("votes", "enough"),
    [("cccc", True), ("ccc-", True), ("cccn", True), ("cc--", False), ("ccnn", False), ("cccx", False)],
)
def test_more_than_two_thirds_of_the_set_must_sign(votes: str, *, enough: bool) -> None:
    of = header(1, FOUR, FOUR)
    signed = commit(of, FOUR, votes)
    if enough:
        assert verify_header(root(FOUR), of, signed, FOUR).height == 1
    else:
        assert refused(root(FOUR), of, signed, FOUR) == "commit-signature"


def test_exactly_two_thirds_are_not_enough() -> None:
    three = members(0, 1, 2)
    of = header(1, three, three)
    assert refused(root(three), of, commit(of, three, "cc-"), three) == "commit-signature"


def test_a_jump_needs_more_than_a_third_of_those_trusted() -> None:
    trusted = root(members(0, 1, 2))
    for now, enough in ((members(0, 1, 5, 6), True), (members(0, 4, 5, 6), False), (members(4, 5, 6, 7), False)):
        of = header(9, now, now)
        if enough:
            assert verify_header(trusted, of, commit(of, now, "cccc"), now).validators == now
        else:
            assert refused(trusted, of, commit(of, now, "cccc"), now) == "commit-signature"


def test_a_nil_vote_of_a_trusted_validator_does_not_carry_a_jump() -> None:
    now = members(0, 4, 5, 6, 7)
    of = header(9, now, now)
    assert refused(root(members(0)), of, commit(of, now, "ncccc"), now) == "commit-signature"


def test_the_next_header_must_link_by_hash_and_by_set() -> None:
    first = header(1, FOUR, FOUR)
    trusted = verify_header(root(FOUR), first, commit(first, FOUR, "cccc"), FOUR)
    good = header(2, FOUR, FOUR, last=first.hash)
    assert verify_header(trusted, good, commit(good, FOUR, "cccc"), FOUR).height == 2
    other = header(2, FOUR, FOUR, last=bytes(32))
    assert refused(trusted, other, commit(other, FOUR, "cccc"), FOUR) == "header-chain"
    five = members(0, 1, 2, 3, 4)
    changed = header(2, five, five, last=first.hash)
    assert refused(trusted, changed, commit(changed, five, "ccccc"), five) == "validators"


def test_time_and_height_only_grow_and_the_chain_stays() -> None:
    of = header(1, FOUR, FOUR)
    signed = commit(of, FOUR, "cccc")
    for trusted in (
        dataclasses.replace(root(FOUR), height=1),
        dataclasses.replace(root(FOUR), time=of.time + 1),
        dataclasses.replace(root(FOUR), chain="another"),
    ):
        assert refused(trusted, of, signed, FOUR) == "header-chain"
    second = dataclasses.replace(header(2, FOUR, FOUR), time=of.time)
    after = dataclasses.replace(root(FOUR), height=1, time=of.time)
    assert refused(after, second, commit(second, FOUR, "cccc"), FOUR) == "header-chain"


# -- the trusting period ------------------------------------------------------------------------------------------------

DAY = 86_400 * 10**9


def at(height: int, time: int, now: tuple[Validator, ...], after: tuple[Validator, ...], last: bytes = b"") -> Header:
    """A header of this time, in nanoseconds after the genesis."""
    return dataclasses.replace(header(height, now, after, last), time=START * 10**9 + time)


def clock(time: int, period: int = 7 * DAY) -> Trusting:
    """A reader's clock, in nanoseconds after the genesis."""
    return Trusting(now=START * 10**9 + time, period=period)


@pytest.mark.parametrize("height", [1, 9])
def test_validators_are_believed_for_the_trusting_period_and_no_longer(height: int) -> None:
    """To the next header and over a jump alike, however good the signatures: who left may have signed another history."""
    of = at(height, DAY, FOUR, FOUR)
    signed = commit(of, FOUR, "cccc")
    for now, check in ((DAY, ""), (7 * DAY - 1, ""), (7 * DAY, "trusting-period"), (900 * DAY, "trusting-period")):
        if not check:
            assert verify_header(root(FOUR), of, signed, FOUR, clock(now)).height == height
            continue
        with pytest.raises(ProofError, match="older than the trusting period") as caught:
            verify_header(root(FOUR), of, signed, FOUR, clock(now))
        assert (caught.value.check, caught.value.details["height"]) == (check, 0)
        assert "newer header" in caught.value.remedy
        assert verify_header(root(FOUR), of, signed, FOUR).height == height, "a reader without a period has none"
    with pytest.raises(ProofError) as caught:
        verify_header(root(FOUR), of, signed, FOUR, clock(0, period=0))
    assert caught.value.check == "trusting-period"


def test_a_header_of_the_future_is_refused_beyond_the_drift_of_clocks() -> None:
    drift = clock(0).drift
    for time, good in ((drift - 1, True), (drift, False), (3 * DAY, False)):
        of = at(5, time, FOUR, FOUR)
        if good:
            assert verify_header(root(FOUR), of, commit(of, FOUR, "cccc"), FOUR, clock(0)).height == 5
            continue
        with pytest.raises(ProofError, match="future") as caught:
            verify_header(root(FOUR), of, commit(of, FOUR, "cccc"), FOUR, clock(0))
        assert caught.value.check == "header-time"


def chained(*times: int) -> Anchor:
    """An anchor that links lead to from the genesis, one at each time; half of the set changes with each."""
    signed = []
    for number, time in enumerate(times, 1):
        now = members(*(n % 8 for n in range(2 * number, 2 * number + 4)))
        of = at(10 * number, time, now, now)
        of = dataclasses.replace(of, app_hash=app_hash(bytes(32), bytes(32), 0))
        signed.append(Link(header=of, commit=commit(of, now, "cccc"), validators=now))
    *links, last = signed
    return Anchor(
        header=last.header,
        commit=last.commit,
        validators=last.validators,
        links=tuple(links),
        state_root=bytes(32),
        log_root=bytes(32),
        log_size=0,
    )


def test_each_link_is_believed_from_its_own_time_on() -> None:
    anchor = chained(5 * DAY, 10 * DAY, 15 * DAY)
    verify_anchor(root(FOUR), anchor)
    verify_anchor(root(FOUR), anchor, Trusting(now=START * 10**9 + 15 * DAY, period=16 * DAY))
    with pytest.raises(ProofError) as caught:
        verify_anchor(root(FOUR), anchor, clock(15 * DAY))
    assert (caught.value.check, caught.value.details["height"]) == ("trusting-period", 0)
    middle = anchor.links[1]
    since = trust_header(
        CHAIN, SignedHeader(header=middle.header, commit=middle.commit), middle.validators, middle.header.hash
    )
    assert verify_anchor(since, anchor, clock(15 * DAY)).height == 30
    with pytest.raises(ProofError) as caught:
        verify_anchor(since, anchor, clock(17 * DAY))
    assert (caught.value.check, caught.value.details["height"]) == ("trusting-period", 20)


def test_a_reader_begins_with_a_newer_header_by_its_hash_alone() -> None:
    of = at(40, DAY, FOUR, FOUR)
    good = SignedHeader(header=of, commit=commit(of, FOUR, "ccc-"))
    assert trust_header(CHAIN, good, FOUR, of.hash).height == 40
    lies = (
        ("trust-root", CHAIN, good, FOUR, bytes(32)),
        ("header-chain", "another", good, FOUR, of.hash),
        ("validators", CHAIN, good, members(0, 1, 2), of.hash),
        ("commit-signature", CHAIN, dataclasses.replace(good, commit=commit(of, FOUR, "cc--")), FOUR, of.hash),
    )
    for check, chain, signed, known, digest in lies:
        with pytest.raises(ProofError) as caught:
            trust_header(chain, signed, known, digest)
        assert caught.value.check == check


def test_the_first_block_may_have_the_time_of_the_genesis() -> None:
    of = header(1, FOUR, FOUR)
    trusted = dataclasses.replace(root(FOUR), time=of.time)
    assert verify_header(trusted, of, commit(of, FOUR, "cccc"), FOUR).time == of.time


def test_a_commit_for_something_else_is_refused() -> None:
    of = header(1, FOUR, FOUR)
    signed = commit(of, FOUR, "cccc")
    other = header(2, FOUR, FOUR)
    assert refused(root(FOUR), other, signed, FOUR) == "header-chain"
    assert refused(root(FOUR), of, signed, members(0, 1, 2)) == "validators"
    assert refused(root(()), dataclasses.replace(of, validators_hash=EMPTY_HASH), signed, ()) == "validators"
    changed = dataclasses.replace(of, app_hash=b"\x01" * 32)
    assert refused(root(FOUR), changed, signed, FOUR) == "header-chain"


def test_a_place_of_a_commit_belongs_to_one_validator() -> None:
    of = header(1, FOUR, FOUR)
    good = commit(of, FOUR, "cccc")
    a, b, c, d = good.signatures
    for chosen in (
        (a, b, c),
        (a, b, c, d, d),
        (a, a, b, c),
        (b, a, c, d),
        (a, b, c, dataclasses.replace(d, flag=7)),
        (a, b, c, dataclasses.replace(ABSENT, time=1)),
        (a, b, c, dataclasses.replace(d, flag=FLAG_NIL)),
        (a, b, c, dataclasses.replace(d, time=d.time + 1)),
    ):
        assert refused(root(FOUR), of, dataclasses.replace(good, signatures=chosen), FOUR) == "commit-signature"


def test_numbers_out_of_range_are_refused_and_never_crash() -> None:
    of = header(1, FOUR, FOUR)
    good = commit(of, FOUR, "cccc")
    big = (1 << 63) - 1
    for changed in (
        dataclasses.replace(good, round=big),
        dataclasses.replace(good, round=-1),
        dataclasses.replace(good, block=dataclasses.replace(good.block, parts_total=big)),
        dataclasses.replace(good, signatures=(dataclasses.replace(good.signatures[0], time=big),) * 4),
    ):
        assert refused(root(FOUR), of, changed, FOUR) == "commit-signature"
    assert refused(root(FOUR), dataclasses.replace(of, time=big), good, FOUR) == "header-chain"
    weak = (dataclasses.replace(FOUR[0], power=0), *FOUR[1:])
    assert refused(root(FOUR), of, good, weak) == "validators"


def test_keys_and_events_are_proven_offline_from_the_genesis() -> None:
    ledger = counter_ledger()
    for n in range(5):
        ledger.submit(adding(f"name-{n}", n)).result(10)
    ledger.wait_provable(10)
    proof = from_bytes(Proof, to_bytes(ledger.prove([b"counter/name-3", b"counter/nobody"], [0, 3])))
    ledger.stop()
    trusted = trust_genesis(counter_genesis())
    verify_proof(trusted, proof)
    assert [int.from_bytes(s.value or b"", "big") for s in proof.states] == [3, 0]
    lies: list[tuple[str, Proof]] = [
        ("state-proof", dataclasses.replace(proof, states=(dataclasses.replace(proof.states[0], value=None),))),
        ("state-proof", dataclasses.replace(proof, states=(dataclasses.replace(proof.states[1], value=b"1"),))),
        ("event-inclusion", dataclasses.replace(proof, events=(dataclasses.replace(proof.events[0], leaf=b""),))),
        ("event-inclusion", dataclasses.replace(proof, events=(dataclasses.replace(proof.events[0], size=2),))),
    ]
    anchors: list[tuple[str, Anchor]] = [
        ("app-hash", dataclasses.replace(proof.anchor, log_size=1)),
        ("app-hash", dataclasses.replace(proof.anchor, state_root=bytes(32))),
        (
            "app-hash",
            dataclasses.replace(
                proof.anchor,
                state_root=proof.anchor.state_root + proof.anchor.log_root[:1],
                log_root=proof.anchor.log_root[1:],
            ),
        ),
        ("validators", dataclasses.replace(proof.anchor, validators=members(0))),
    ]
    lies += [(check, dataclasses.replace(proof, anchor=anchor)) for check, anchor in anchors]
    for check, lie in lies:
        with pytest.raises(ProofError) as caught:
            verify_proof(trusted, lie)
        assert caught.value.check == check
    stranger: SecretKey = key("stranger")
    with pytest.raises(ProofError):
        verify_proof(trust_genesis(counter_genesis(stranger)), proof)


@pytest.fixture(scope="module")
def real() -> tuple[bytes, Trusted]:
    """A proof of a key, of the absence of one, and of two events, and what it is checked against."""
    ledger = counter_ledger()
    for name in ("a", "b", "c"):
        ledger.submit(adding(name, 1)).result(10)
    ledger.wait_provable(10)
    proof = ledger.prove([b"counter/a", b"counter/none", b"counter/nothing"], [1, 2])
    ledger.stop()
    return to_bytes(proof), trust_genesis(counter_genesis())


def test_no_field_of_a_proof_can_be_another(real: tuple[bytes, Trusted]) -> None:
    """All is covered but which keys and events were asked for: fewer of them, or in another order, prove less or as much."""
    data, trusted = real
    verify_proof(trusted, from_bytes(Proof, data))
    tree, tried = decode(data), 0
    for place, value in places(tree):
        if place in (("states",), ("events",)):
            continue
        for new in changes(value):
            with pytest.raises((CodecError, ProofError)):
                verify_proof(trusted, from_bytes(Proof, encode(replaced(tree, place, new))))
            tried += 1
    assert tried > 80


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_proof_is_refused_by_name(real: tuple[bytes, Trusted], data: st.DataObject) -> None:
    whole, trusted = real
    at, much = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.binary(min_size=1, max_size=4))
    damaged = whole[:at] + much + whole[at + len(much) :]
    assume(damaged != whole)
    try:
        accepted = from_bytes(Proof, damaged)
        verify_proof(trusted, accepted)
    except (CodecError, ProofError):
        return
    _says_that_another_key_is_absent(from_bytes(Proof, whole), accepted)


def _says_that_another_key_is_absent(whole: Proof, accepted: Proof) -> None:
    """The path to the place of an absent key leads to the place of others too, which are as absent: no lie."""
    named = tuple(
        dataclasses.replace(other, key=one.key) if other.value is None else other
        for one, other in zip(whole.states, accepted.states, strict=True)
    )
    assert dataclasses.replace(accepted, states=named) == whole


def test_a_proof_of_absence_serves_the_keys_of_its_place(real: tuple[bytes, Trusted]) -> None:
    data, trusted = real
    proof = from_bytes(Proof, data)
    absent = proof.states[2]
    for number in range(1000):
        moved = dataclasses.replace(proof, states=(dataclasses.replace(absent, key=b"other/%d" % number),))
        try:
            verify_proof(trusted, moved)
        except ProofError:
            continue
        _says_that_another_key_is_absent(dataclasses.replace(proof, states=(absent,)), moved)
        return
    pytest.fail("no other key has its place there")
