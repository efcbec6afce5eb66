"""A certificate that somebody without a node verifies: what it says, its status then, and every forgery by name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_world import World, key

from fondaco.core.codec import Value, decode, encode
from fondaco.core.messages import from_bytes
from fondaco.errors import LedgerError, ProofError
from fondaco.ledger.audit.certificate import CHECKS, MAX_FILE, CertificateFile, export, verify
from fondaco.ledger.contracts.certificates.keys import certificate_id
from fondaco.ledger.contracts.certificates.messages import RevokeCertificate
from fondaco.ledger.light import trust_genesis, verify_proof


@pytest.fixture(scope="module")
def story() -> Iterator[tuple[World, bytes, bytes, bytes]]:
    """A settled task; its certificate's id; the file while it was valid, and after it was revoked."""
    world = World()
    task = world.story()
    (record,) = [row for row in world.ledger.query("certificates/certificates") if row["task"] == task]
    valid = export(world.ledger, record["id"])
    world.must(RevokeCertificate(certificate=record["id"], cause="used for another study"), "weather/user")
    world.ledger.wait_provable(10)
    yield world, record["id"], valid, export(world.ledger, record["id"])
    world.ledger.stop()


def failed(data: bytes, **arguments) -> str:
    with pytest.raises(ProofError) as caught:
        verify(data, **arguments)
    assert caught.value.check in CHECKS
    return caught.value.check


def test_a_certificate_says_who_used_what_for_what_and_its_status_then(story) -> None:
    world, made, valid, revoked = story
    root = world.genesis.hash.hex()
    found = verify(valid, trust_root=root)
    shown = found.certificate
    assert (found.valid, found.pinned, found.trust_root) == (True, True, root)
    assert (shown.holder, shown.provider, shown.path, shown.cost) == ("airline", "weather", "/weather/data/rain", 100)
    assert shown.holder_key == key("airline/user").public.raw
    assert shown.id == made == certificate_id(shown.task, shown.grant)
    later = verify(revoked, trust_root=root)
    assert (later.valid, later.certificate.by) == (False, "weather")
    assert later.certificate.revoked < later.height
    assert later.height > found.height
    assert not verify(valid).pinned


def test_an_old_proof_is_refused_where_a_fresh_one_is_asked_for(story) -> None:
    _world, _made, valid, _revoked = story
    time = verify(valid).time
    assert verify(valid, now=time + 60, max_age=60).valid
    assert failed(valid, now=time + 61, max_age=60) == "freshness"


def test_validators_are_believed_no_longer_than_the_reader_says(story) -> None:
    world, _made, valid, revoked = story
    began, found = world.genesis.time // 10**9, verify(valid)
    assert verify(valid, now=found.time, trusting_period=found.time - began + 60).valid
    assert verify(valid, now=found.time + 10**9).valid, "who says no period has none"
    assert failed(valid, now=found.time, trusting_period=found.time - began - 60) == "trusting-period"
    assert failed(valid, now=began - 60, trusting_period=3600) == "header-time"
    file = from_bytes(CertificateFile, valid)
    since = verify_proof(trust_genesis(world.genesis), file.proof)
    later = verify(revoked)
    assert not verify(revoked, since=since, now=later.time, trusting_period=later.time - found.time + 60).valid
    assert failed(valid, since=since) == "header-chain", "what is known already is older"


def test_a_certificate_that_is_not_there_cannot_be_exported(story) -> None:
    with pytest.raises(LedgerError, match="no such certificate"):
        export(story[0].ledger, bytes(32))


def places(value: Value, place: tuple = ()) -> Iterator[tuple[tuple, Value]]:
    match value:
        case dict():
            for name, item in value.items():
                yield from places(item, (*place, name))
        case list():
            for index, item in enumerate(value):
                yield from places(item, (*place, index))
        case _:
            yield place, value


def replaced(value: Value, place: tuple, new: Value) -> Value:
    if not place:
        return new
    head, *rest = place
    if isinstance(value, dict):
        return value | {head: replaced(value[head], tuple(rest), new)}
    assert isinstance(value, list)
    return [*value[:head], replaced(value[head], tuple(rest), new), *value[head + 1 :]]


def changed(value: Value) -> Value:
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case bytes():
            return value[:-1] + bytes((value[-1] ^ 1,)) if value else b"x"
        case str():
            return value[:-1] + chr(ord(value[-1]) ^ 1) if value else "x"
    return 0


def test_every_changed_field_is_refused_by_name(story) -> None:
    world, _made, valid, _revoked = story
    tree = decode(valid, limit=MAX_FILE)
    tried = 0
    for place, value in places(tree):
        assert failed(encode(replaced(tree, place, changed(value))), trust_root=world.genesis.hash.hex()), place
        tried += 1
    assert tried > 60


def test_the_status_cannot_be_turned_back(story) -> None:
    """The old record under the new header, and the new header's proof of another key."""
    world, _made, valid, revoked = story
    old, new = decode(valid, limit=MAX_FILE), decode(revoked, limit=MAX_FILE)
    root = world.genesis.hash.hex()
    assert failed(encode(replaced(new, ("proof", "states"), old["proof"]["states"])), trust_root=root) == "state-proof"
    other = world.ledger.prove([b"points/supply"])
    from fondaco.core.messages import to_value

    assert failed(encode(new | {"proof": to_value(other)}), trust_root=root) == "certificate"
    nothing = world.ledger.prove([b"certificates/certificate/" + bytes(32)])
    assert failed(encode(new | {"proof": to_value(nothing)}), trust_root=root) == "certificate"


def test_another_chain_is_refused(story) -> None:
    assert failed(story[2], trust_root="00" * 32) == "trust-root"


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_by_name(data) -> None:
    assert failed(data) == "format"


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7), cut=st.integers(0, 10**6))
def test_flipped_and_cut_files_are_refused(story, at, bit, cut) -> None:
    world, _made, valid, _revoked = story
    at %= len(valid)
    root = world.genesis.hash.hex()
    failed(valid[:at] + bytes((valid[at] ^ 1 << bit,)) + valid[at + 1 :], trust_root=root)
    failed(valid[: cut % len(valid)], trust_root=root)


def test_the_command_verifies_and_says_what_it_saw(story, tmp_path: Path) -> None:
    world, _made, valid, revoked = story
    root = world.genesis.hash.hex()
    for data, status in ((valid, "valid"), (revoked, "revoked")):
        file = tmp_path / status
        file.write_bytes(data)
        command = [sys.executable, "-m", "fondaco.cli.main", "certificate", "verify", str(file), "--trust-root", root]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ))
        assert done.returncode == 0, done.stderr
        assert f"status          {status}" in done.stdout
    (tmp_path / "bad").write_bytes(valid[:-1])
    command[5] = str(tmp_path / "bad")
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 5
