"""The light verifier: headers, commits, keys and events, from a pinned trust root, offline.

Follows CometBFT's light client (spec/light-client/verification): adjacent headers must link by hash and validator
set; a jump is trusted when validators that hold more than a third of the trusted power signed it, and more than two
thirds of its own set. Validators that have left the set have nothing to lose by signing another history: a reader that
says a trusting period believes no set longer than that, by its own clock. A single validator that turns bad can sign
two faces: an embedded ledger is tamper-evident, not Byzantine fault tolerant. Every function raises ProofError that
names the check; none returns a verdict.
"""

from __future__ import annotations

import dataclasses

from fondaco.core.keys import vote_holds
from fondaco.core.messages import message
from fondaco.errors import ProofError
from fondaco.ledger.blocks import (
    EMPTY_HASH,
    END_OF_TIME,
    FLAG_ABSENT,
    FLAG_COMMIT,
    FLAG_NIL,
    ZERO_TIME,
    Commit,
    CommitSig,
    Header,
    Validator,
    app_hash,
    ordered,
    validators_hash,
    vote_bytes,
)
from fondaco.ledger.genesis import Genesis
from fondaco.ledger.log import EventProof, verify_event
from fondaco.ledger.state import StateProof, verify_state

MAX_VALIDATORS = 256
MAX_LINKS = 1024
MAX_SIZE = 1 << 62
MAX_ROUND = 1 << 31


def _refuse(check: str, cause: str, **details: int | str) -> ProofError:
    return ProofError(
        cause, check=check, remedy="take the proof from another node, and compare the trust root", **details
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """What is believed so far: a header (none at genesis), its validators, and who may follow."""

    chain: str
    height: int
    time: int
    header_hash: bytes
    validators: tuple[Validator, ...]
    next_validators_hash: bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trusting:
    """For how many nanoseconds the validators of a trusted header are believed, from its time to the reader's `now`.

    `now` is unix nanoseconds; a header may be ahead of it by less than `drift`. It is the trusting period of CometBFT's
    light client (spec/light-client/verification, "Trusting Period", and MaxClockDrift there). Take one that is shorter
    than it takes a consortium to hear that validators signed two histories, and to vote them out.
    """

    now: int
    period: int
    drift: int = 10_000_000_000


def trust_genesis(genesis: Genesis) -> Trusted:
    """The trust root: a genesis document that the verifier knows by its hash."""
    known = ordered(genesis.validators)
    return Trusted(
        chain=genesis.chain_id,
        height=0,
        time=genesis.time,
        header_hash=b"",
        validators=known,
        next_validators_hash=validators_hash(known),
    )


def trust_header(chain: str, signed: SignedHeader, validators: tuple[Validator, ...], header_hash: bytes) -> Trusted:
    """What is trusted by a reader that has the hash of a header from a source that it trusts, newer than the genesis.

    Raises:
        ProofError: check `trust-root` where it is another header; else as verify_signed.
    """
    if signed.header.hash != header_hash:
        raise _refuse("trust-root", "the header is not the one that is trusted", height=signed.header.height)
    verify_signed(chain, signed.header, signed.commit, validators)
    return _believed(signed.header, validators)


def _believed(header: Header, validators: tuple[Validator, ...]) -> Trusted:
    return Trusted(
        chain=header.chain,
        height=header.height,
        time=header.time,
        header_hash=header.hash,
        validators=validators,
        next_validators_hash=header.next_validators_hash,
    )


def _check_period(trusted: Trusted, header: Header, within: Trusting) -> None:
    """As CometBFT's HeaderExpired, and its bound on a new header's time (light/verifier.go)."""
    if trusted.time + within.period <= within.now:
        raise ProofError(
            f"what is trusted, of height {trusted.height}, is older than the trusting period",
            check="trusting-period",
            remedy="get the hash of a newer header from a source that you trust, and begin with that",
            height=trusted.height,
            seconds=(within.now - trusted.time) // 1_000_000_000,
        )
    if header.time >= within.now + within.drift:
        raise _refuse("header-time", "the header is of the future, by this clock", height=header.height)


def _signed_power(chain: str, commit: Commit, validators: tuple[Validator, ...]) -> int:
    """The power of those of `validators` who voted for the block; each signature of theirs, for nil too, must hold.

    What CometBFT takes is taken here, by its rules for signatures: or one validator's odd vote would stop all who look.
    """
    known = {validator.address: validator for validator in validators}
    power, seen = 0, dict[bytes, None]()
    for vote in commit.signatures:
        validator = known.get(vote.validator)
        if validator is None:
            continue
        if vote.validator in seen:
            raise _refuse("commit-signature", "a validator signed twice in one commit")
        seen[vote.validator] = None
        signed = vote_bytes(chain, commit, vote.at, nil=vote.flag == FLAG_NIL)
        if not vote_holds(validator.key, signed, vote.signature):
            raise _refuse("commit-signature", "a validator's signature does not hold", height=commit.height)
        if vote.flag == FLAG_COMMIT:
            power += validator.power
    return power


def _check_places(commit: Commit, validators: tuple[Validator, ...]) -> None:
    """A commit has one place for each validator, in their order (CometBFT, ValidatorSet.VerifyCommit)."""
    if len(commit.signatures) != len(validators):
        raise _refuse("commit-signature", "the commit has not one place for each validator", height=commit.height)
    for vote, validator in zip(commit.signatures, validators, strict=True):
        absent = vote.flag == FLAG_ABSENT and (vote.address, vote.time, vote.signature) == (b"", 0, b"")
        present = vote.flag in (FLAG_COMMIT, FLAG_NIL) and vote.validator == validator.address
        if not absent and not present:
            raise _refuse("commit-signature", "a place of the commit is not its validator's", height=commit.height)
        if absent:
            continue
        in_range = ZERO_TIME <= vote.at < END_OF_TIME
        if not in_range or vote != CommitSig.signed(vote.flag, vote.validator, vote.at, vote.signature):
            raise _refuse("commit-signature", "a vote's time is out of range", height=commit.height)


def verify_commit(chain: str, commit: Commit, validators: tuple[Validator, ...]) -> None:
    """Raise ProofError (`commit-signature`) unless more than two thirds of the validators signed for its block."""
    _check_places(commit, validators)
    if 3 * _signed_power(chain, commit, validators) <= 2 * sum(v.power for v in validators):
        raise _refuse("commit-signature", "no more than two thirds of the validators signed", height=commit.height)


def verify_signed(chain: str, header: Header, commit: Commit, validators: tuple[Validator, ...]) -> None:
    """That these validators signed a header of the chain, wherever it stands in it.

    Raises:
        ProofError: checks `header-chain`, `validators` and `commit-signature`.
    """
    if header.chain != chain or not 0 < header.height < MAX_SIZE or not abs(header.time) < MAX_SIZE:
        raise _refuse("header-chain", "the header is of another chain, or a number of it is out of range")
    if not 1 <= len(validators) <= MAX_VALIDATORS or any(v.power <= 0 for v in validators):
        raise _refuse("validators", "not a validator set")
    if validators_hash(validators) != header.validators_hash:
        raise _refuse("validators", "the validators are not those of the header", height=header.height)
    if not 0 <= commit.round < MAX_ROUND or not 0 <= commit.block.parts_total < MAX_ROUND:
        raise _refuse("commit-signature", "the commit's round or number of parts is out of range")
    if commit.height != header.height or commit.block.hash != header.hash:
        raise _refuse("header-chain", "the commit is for another header", height=header.height)
    verify_commit(chain, commit, validators)


def verify_header(
    trusted: Trusted,
    header: Header,
    commit: Commit,
    validators: tuple[Validator, ...],
    within: Trusting | None = None,
) -> Trusted:
    """What is trusted once `header` is verified from `trusted`, `within` its trusting period where the reader has one.

    Raises:
        ProofError: checks `header-chain`, `validators` and `commit-signature`; `trusting-period` and `header-time`.
    """
    if within is not None:
        _check_period(trusted, header, within)
    first = header.height == 1 and header.time == trusted.time  # CometBFT gives the first block the genesis' time
    later = header.height > trusted.height and (header.time > trusted.time or first)
    if header.chain != trusted.chain or not later:
        raise _refuse("header-chain", "the header is not a later one of this chain", height=header.height)
    verify_signed(trusted.chain, header, commit, validators)
    if header.height == trusted.height + 1:
        if header.validators_hash != trusted.next_validators_hash:
            raise _refuse("validators", "the validators are not those that were to follow", height=header.height)
        if header.last_block.hash != trusted.header_hash:
            raise _refuse("header-chain", "the header does not follow the trusted one", height=header.height)
    else:
        before = sum(v.power for v in trusted.validators)
        if 3 * _signed_power(header.chain, commit, trusted.validators) <= before:
            raise _refuse("commit-signature", "no more than a third of the trusted validators signed")
    return _believed(header, validators)


def carries(trusted: tuple[Validator, ...], commit: Commit) -> bool:
    """Whether a verified commit carries a jump: more than a third of the trusted power signed it."""
    signed = {vote.validator: None for vote in commit.signatures if vote.flag == FLAG_COMMIT}
    power = sum(validator.power for validator in trusted if validator.address in signed)
    return 3 * power > sum(validator.power for validator in trusted)


@message("ledger.signed-header/1")
class SignedHeader:
    """A header with the commit that made it final."""

    header: Header
    commit: Commit


@message("ledger.link/1")
class Link:
    """A signed header on the way from what is trusted to what is to be proven, with its validators."""

    header: Header
    commit: Commit
    validators: tuple[Validator, ...]


@message("ledger.anchor/1")
class Anchor:
    """A signed header and what its app hash is made of: the place where proofs are anchored.

    `links` lead to it from the genesis across changes of the validator set; none while the set has hardly changed.
    """

    header: Header
    commit: Commit
    validators: tuple[Validator, ...]
    links: tuple[Link, ...]
    state_root: bytes
    log_root: bytes
    log_size: int


@message("ledger.proof/1")
class Proof:
    """Keys and events proven at one anchor."""

    anchor: Anchor
    states: tuple[StateProof, ...]
    events: tuple[EventProof, ...]


def verify_anchor(trusted: Trusted, anchor: Anchor, within: Trusting | None = None) -> Trusted:
    """Verify a header and that its app hash is made of these roots; each link within the period of the one before.

    Raises:
        ProofError: as verify_header, and `app-hash`.
    """
    if len(anchor.links) > MAX_LINKS:
        raise _refuse("header-chain", "more links than a proof may have")
    for link in anchor.links:
        if link.header.height > trusted.height:  # what a reader trusts already needs no link
            trusted = verify_header(trusted, link.header, link.commit, link.validators, within)
    now = verify_header(trusted, anchor.header, anchor.commit, anchor.validators, within)
    roots = (anchor.state_root, anchor.log_root)
    if (
        not 0 <= anchor.log_size < MAX_SIZE
        or any(len(root) != len(EMPTY_HASH) for root in roots)
        or (app_hash(anchor.state_root, anchor.log_root, anchor.log_size) != anchor.header.app_hash)
    ):
        raise _refuse("app-hash", "the roots are not those of the header", height=anchor.header.height)
    return now


def verify_proof(trusted: Trusted, proof: Proof, within: Trusting | None = None) -> Trusted:
    """Verify an anchor and all that is proven at it.

    Raises:
        ProofError: as verify_anchor, and `state-proof`, `event-inclusion`.
    """
    now = verify_anchor(trusted, proof.anchor, within)
    for state in proof.states:
        verify_state(state, proof.anchor.state_root)
    for event in proof.events:
        if event.size != proof.anchor.log_size:
            raise _refuse("event-inclusion", "the event proof is for a log of another size")
        verify_event(event, proof.anchor.log_root)
    return now
