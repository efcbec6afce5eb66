"""Headers, votes, commits and sets hash and sign as CometBFT does: its published vectors."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from pathlib import Path

import pytest

from fondaco.errors import ProofError
from fondaco.ledger import blocks
from fondaco.ledger.blocks import (
    EMPTY_HASH,
    FLAG_ABSENT,
    FLAG_COMMIT,
    NO_COMMIT,
    PART_BYTES,
    ZERO_TIME,
    BlockId,
    Commit,
    CommitSig,
    Header,
    Validator,
)
from fondaco.ledger.light import Trusted, verify_header
from fondaco.ledger.log import merkle_root
from fondaco.ledger.wire import timestamp, varint

SECOND = 10**9


def digest(text: str) -> bytes:
    """CometBFT's tmhash.Sum of a text."""
    return hashlib.sha256(text.encode()).digest()


def test_the_header_of_cometbfts_own_test_has_its_hash() -> None:
    """types/block_test.go, TestHeaderHash."""
    header = Header(
        block_version=1,
        app_version=2,
        chain="chainId",
        height=3,
        time=1570983284 * SECOND,
        last_block=BlockId(hash=bytes(32), parts_total=6, parts_hash=bytes(32)),
        last_commit_hash=digest("last_commit_hash"),
        data_hash=digest("data_hash"),
        validators_hash=digest("validators_hash"),
        next_validators_hash=digest("next_validators_hash"),
        consensus_hash=digest("consensus_hash"),
        app_hash=digest("app_hash"),
        last_results_hash=digest("last_results_hash"),
        evidence_hash=digest("evidence_hash"),
        proposer=digest("proposer_address")[:20],
    )
    assert header.hash.hex().upper() == "F740121F553B5418C3EFBD343C2DBFE9E007BB67B0D020A0741374BAB65242A4"


def test_the_bytes_that_a_precommit_signs_are_cometbfts() -> None:
    """types/vote_test.go, TestVoteSignBytesTestVectors: the precommit of height 1, round 1."""
    commit = dataclasses.replace(NO_COMMIT, height=1, round=1)
    expected = "2108021101000000000000001901000000000000002a0b088092b8c398feffffff01"
    assert blocks.vote_bytes("", commit, ZERO_TIME).hex() == expected
    named = blocks.vote_bytes("test_chain_id", commit, ZERO_TIME)
    assert named == bytes((0x21 + 15,)) + bytes.fromhex(expected)[1:] + b"\x32\x0dtest_chain_id"


# A header, its commit and its validator as an IBC relayer carried them (devnet-1 of the Crypto.org chain, height 12,
# block protocol 11), and a whole block of the chain that it carried them to (devnet-2, height 13).
DEVNET_VALIDATOR = Validator(key=base64.b64decode("K6qw+gcFNPxONvd3yRkIXL8mvQ3AYkfmF+Yw4JkQyPk="), power=10_000_000_000)
DEVNET_SET = base64.b64decode("w75mTPtFXEQFPN/ft94qZIO2wZYkVFW/RT04eMWAk0s=")
DEVNET_HEADER = Header(
    block_version=11,
    app_version=0,
    chain="devnet-1",
    height=12,
    time=1625391315_603663000,
    last_block=BlockId(
        hash=base64.b64decode("wB0tN18Xu1lx+K1HfQqIPyaMS3NoW2hmZ5t8rSmNfbc="),
        parts_total=1,
        parts_hash=base64.b64decode("NRjnpluZlMcurWMyvZlGyBwoVr1iX1eEVlOkIktFHK4="),
    ),
    last_commit_hash=base64.b64decode("lf0zPESXXPgKrpm2JwnpOP+6Gu3vS8aW7tjM/WMKJzA="),
    data_hash=EMPTY_HASH,
    validators_hash=DEVNET_SET,
    next_validators_hash=DEVNET_SET,
    consensus_hash=bytes.fromhex("048091BC7DDC283F77BFBF91D73C44DA58C3DF8A9CBC867405D8B7F3DAADA22F"),
    app_hash=base64.b64decode("S1Ra6CfoodzFvrmX9vjCoOw7H5SjRq22kI3eP3UygXc="),
    last_results_hash=base64.b64decode("mVYSH/b93SqE67d42e6/44EjNufVFPsfJdzZBFYZUT8="),
    evidence_hash=EMPTY_HASH,
    proposer=DEVNET_VALIDATOR.address,
)
DEVNET_COMMIT = Commit(
    height=12,
    round=0,
    block=BlockId(
        hash=base64.b64decode("MLsZnNUA6jSqkzgXzdfo4/oSDdhhVchM0XKxo0tS6bY="),
        parts_total=1,
        parts_hash=base64.b64decode("YKuHD43XW11PeW8OfeqxyuCdEim/lQvrR9vgdP8aMac="),
    ),
    signatures=(
        CommitSig(
            flag=FLAG_COMMIT,
            address=base64.b64decode("/bfKyQYz/ewpZKlBzIFbWjuE8PU="),
            time=1625391320_712774000,
            signature=base64.b64decode(
                "8evFeQ80fqJztW1GBL13J9NaWyfNeMrkKmZktMpqcrSfKVmI8Dcc0TjTc/w9W3+dLvm3Ho3Jp2CH3HQIp+WTCQ=="
            ),
        ),
    ),
)
BEFORE = BlockId(
    hash=bytes.fromhex("DD0DE6BA18A9E4EA227BCED989D6B9A69FAD9C124EF52E4BF285606D6780C6CB"),
    parts_total=1,
    parts_hash=bytes.fromhex("7A61DA3157838FFA8892C348F73BE0CA82FD634884FE0FEFA4DBB9986BE34585"),
)
BEFORE_COMMIT = Commit(
    height=12,
    round=0,
    block=BEFORE,
    signatures=(
        CommitSig(
            flag=FLAG_COMMIT,
            address=bytes.fromhex("0BBBEE47989725C8D25C5A7087A782C7F65A5874"),
            time=1625391320_511816000,
            signature=base64.b64decode(
                "kDwZhdZSysj/gV8MGH6IIUPUkJa98rkInmpxk3QgXDP2DoEk4Mx2Ya1nhfWsMBPaIiExWt8Y7bTOtAK5EHOPDw=="
            ),
        ),
    ),
)
WHOLE = Header(
    block_version=11,
    app_version=0,
    chain="devnet-2",
    height=13,
    time=1625391320_511816000,
    last_block=BEFORE,
    last_commit_hash=bytes.fromhex("AC29B521F4EEA4114E471D46ACC319CC95E82B4AEA689D798D7004F1BC93BBF0"),
    data_hash=bytes.fromhex("1BC862A3AD1D84110A6F471D36A56B2BA71C9B1F5161561D1A5F40E9E37F9AA3"),
    validators_hash=bytes.fromhex("3275B04CA9C4CF5F20E5F9B4E1EB6B5C2202B4716DFE068E6CC90FB97CF1BBED"),
    next_validators_hash=bytes.fromhex("3275B04CA9C4CF5F20E5F9B4E1EB6B5C2202B4716DFE068E6CC90FB97CF1BBED"),
    consensus_hash=bytes.fromhex("048091BC7DDC283F77BFBF91D73C44DA58C3DF8A9CBC867405D8B7F3DAADA22F"),
    app_hash=bytes.fromhex("E37B6360483256AE1EFD4129E77FFBD5FBA28BCF53DCD8F35AFA28CC00891B02"),
    last_results_hash=EMPTY_HASH,
    evidence_hash=EMPTY_HASH,
    proposer=bytes.fromhex("0BBBEE47989725C8D25C5A7087A782C7F65A5874"),
)


def test_a_real_chains_header_commit_and_validator_verify() -> None:
    assert blocks.validators_hash((DEVNET_VALIDATOR,)) == DEVNET_SET
    assert DEVNET_HEADER.hash == DEVNET_COMMIT.block.hash
    root = Trusted(
        chain="devnet-1",
        height=8,
        time=DEVNET_HEADER.time - 1,
        header_hash=b"",
        validators=(DEVNET_VALIDATOR,),
        next_validators_hash=DEVNET_SET,
    )
    trusted = verify_header(root, DEVNET_HEADER, DEVNET_COMMIT, (DEVNET_VALIDATOR,))
    assert (trusted.height, trusted.header_hash) == (12, DEVNET_HEADER.hash)
    later = dataclasses.replace(DEVNET_COMMIT.signatures[0], time=DEVNET_COMMIT.signatures[0].time + 1)
    with pytest.raises(ProofError, match="signature does not hold"):
        verify_header(root, DEVNET_HEADER, dataclasses.replace(DEVNET_COMMIT, signatures=(later,)), (DEVNET_VALIDATOR,))


def test_a_real_chains_whole_block_has_its_hashes_and_parts() -> None:
    tx = base64.b64decode(Path(__file__).with_name("devnet2_block13_tx.b64").read_text())
    assert blocks.data_hash((tx,)) == WHOLE.data_hash
    assert BEFORE_COMMIT.hash == WHOLE.last_commit_hash
    found = blocks.block_id(WHOLE, (tx,), BEFORE_COMMIT)
    assert found.hash.hex().upper() == "A29DEBB094283B6E59F9860AA98F1BFD5DE25CB34CECA4B274993715293A0551"
    assert found.parts_hash.hex().upper() == "8CE5CA063D0AB9F48654A3E2A30B9195DC767E4108B26FAA60E83E4E38336766"
    assert found.parts_total == 1


def test_an_absent_vote_is_hashed_with_gos_zero_time() -> None:
    absent = CommitSig(flag=FLAG_ABSENT, address=b"", time=0, signature=b"")
    assert absent.proto.hex() == "08011a0b088092b8c398feffffff01"


def test_empty_lists_hash_as_cometbft_says() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert blocks.data_hash(()).hex() == blocks.validators_hash(()).hex() == EMPTY_HASH.hex() == empty
    assert NO_COMMIT.hash == EMPTY_HASH
    assert blocks.results_hash((0,)) == merkle_root([b""])
    assert blocks.results_hash((14,)) == merkle_root([b"\x08\x0e"])


def test_a_large_block_has_a_part_for_each_64_kib() -> None:
    txs = (bytes(60_000),) * 5
    found = blocks.block_id(WHOLE, txs, NO_COMMIT)
    assert found.hash == WHOLE.hash
    assert found.parts_total == -(-(300_000 + 400) // PART_BYTES)
    assert blocks.block_id(WHOLE, txs[:4], NO_COMMIT).parts_hash != found.parts_hash


def test_numbers_are_written_as_protobuf_writes_them() -> None:
    assert varint(300) == b"\xac\x02"
    assert varint(-1) == b"\xff" * 9 + b"\x01"
    assert timestamp(0) == b""
    assert timestamp(-1).hex() == "08ffffffffffffffffff0110ff93ebdc03"
