"""The hidden query's seals, and how two servers compare records, beside vectors that Rust reads too.

Everything here is worked out without the kernel: ristretto255 in whole numbers, BLAKE3 and ChaCha20-Poly1305 by the
libraries of others. `crates/kernel/tests/pir_vectors.rs` holds the kernel to the same file.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import ristretto_numbers as ristretto
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

VECTORS = json.loads((Path(__file__).parents[2] / "crates/kernel/vectors/pir.json").read_text("utf-8"))
VERIFIABLE = b"HashToGroup-OPRFV1-\x01-ristretto255-SHA512"
DERIVE = b"DeriveKeyPairOPRFV1-\x01-ristretto255-SHA512"
INFO = b"fondaco hidden query"


def derived(context: str, *parts: bytes) -> bytes:
    return blake3(b"".join(parts), derive_key_context=context).digest()


def secret_of(seed: bytes) -> int:
    """`DeriveKeyPair` of RFC 9497, section 3.2.1."""
    text = seed + len(INFO).to_bytes(2, "big") + INFO + b"\x00"
    return int.from_bytes(ristretto.expanded(text, DERIVE), "little") % ristretto.ORDER


def output_of(function: bytes) -> tuple[bytes, bytes]:
    """Location and seal of what the function says of a key."""
    return (
        derived("fondaco 2026-11-24 hidden query: location of a record", function),
        derived("fondaco 2026-11-24 hidden query: key of a record", function),
    )


def part_of(output: tuple[bytes, bytes], part: int) -> tuple[bytes, bytes]:
    """The same of a part of a wide record."""
    number = part.to_bytes(4, "little")
    return output if not part else tuple(blake3(number, key=half).digest() for half in output)


def sealed(seal: bytes, nonce: bytes, payload: bytes, width: int) -> bytes:
    """Nonce, then the payload's length, the payload and zeros under the cipher, in `width` bytes of all."""
    text = len(payload).to_bytes(4, "little") + payload
    text += bytes(width - 12 - 16 - len(text))
    return nonce + ChaCha20Poly1305(seal).encrypt(nonce, text, None)


def sized(*parts: bytes) -> bytes:
    """The draft's `lv_cat`, for parts of less than 16,384 bytes."""
    out = b""
    for part in parts:
        length = len(part)
        out += bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
        out += part
    return out


def exchange(
    content: bytes, between: bytes, run: bytes, secrets: list[int], claims: list[bytes]
) -> dict[str, list[str]]:
    """CPACE-RISTR255-SHA512, the first as initiator: points and tags of both."""
    domain = b"CPaceRistretto255"
    zeros = bytes(max(0, 128 - 1 - len(sized(content)) - len(sized(domain))))
    generator = ristretto.of_uniform(hashlib.sha512(sized(domain, content, zeros, between, run)).digest())
    points = [ristretto.encode(ristretto.times(secret, generator)) for secret in secrets]
    shared = ristretto.encode(ristretto.times(secrets[0], ristretto.decode(points[1])))
    assert shared == ristretto.encode(ristretto.times(secrets[1], ristretto.decode(points[0])))
    said = [sized(point, claim) for point, claim in zip(points, claims, strict=True)]
    key = hashlib.sha512(sized(b"CPaceRistretto255_ISK", run, shared) + b"".join(said)).digest()
    confirming = derived("fondaco 2026-11-29 hidden query of two servers: key confirmation of CPace", key)
    sides = (sized(b"first"), sized(b"second"))
    tags = [blake3(side + one, key=confirming).hexdigest() for side, one in zip(sides, said, strict=True)]
    return {"points": [point.hex() for point in points], "tags": tags}


@pytest.mark.parametrize("known", VECTORS["records"])
def test_a_sealed_record_is_the_known_one(known) -> None:
    secret = secret_of(bytes.fromhex(known["seed"]))
    function = ristretto.function(secret, bytes.fromhex(known["key"]), VERIFIABLE)
    location, seal = part_of(output_of(function), known["part"])
    assert (location.hex(), seal.hex()) == (known["location"], known["seal"])
    payload, nonce = bytes.fromhex(known["payload"]), bytes.fromhex(known["nonce"])
    assert sealed(seal, nonce, payload, known["width"]).hex() == known["sealed"]
    assert known["width"] % 4 == 0


@pytest.mark.parametrize("known", VECTORS["records"])
def test_a_known_record_opens_under_its_key_alone(known) -> None:
    whole = bytes.fromhex(known["sealed"])
    text = ChaCha20Poly1305(bytes.fromhex(known["seal"])).decrypt(whole[:12], whole[12:], None)
    payload = bytes.fromhex(known["payload"])
    assert text[:4] + text[4 : 4 + len(payload)] == len(payload).to_bytes(4, "little") + payload
    assert not any(text[4 + len(payload) :])
    with pytest.raises(InvalidTag):
        ChaCha20Poly1305(bytes.fromhex(known["location"])).decrypt(whole[:12], whole[12:], None)


def test_two_servers_shares_come_to_the_known_place_and_key() -> None:
    known = VECTORS["two"]
    outputs = []
    for seed in known["seeds"]:
        function = ristretto.function(secret_of(bytes.fromhex(seed)), bytes.fromhex(known["key"]), VERIFIABLE)
        outputs.append(output_of(function))
    shares = [derived("fondaco 2026-11-25 hidden query of two servers: share", *output) for output in outputs]
    assert [share.hex() for share in shares] == known["shares"]
    location = derived("fondaco 2026-11-25 hidden query of two servers: location of a record", *shares)
    seal = derived("fondaco 2026-11-25 hidden query of two servers: key of a record", *shares)
    assert (location.hex(), seal.hex()) == (known["location"], known["seal"])


@pytest.mark.parametrize("known", VECTORS["equal"])
def test_what_two_servers_say_to_compare_their_records_is_known(known) -> None:
    content, sides, run = (bytes.fromhex(known[name]) for name in ("content", "sides", "run"))
    secrets = [int.from_bytes(bytes.fromhex(secret), "little") for secret in known["secrets"]]
    said = exchange(content, sides, run, secrets, [bytes.fromhex(claim) for claim in known["claims"]])
    assert said == {"points": known["points"], "tags": known["tags"]}
