"""The kernel's checks for the ledger answer as libsodium, as cbor2 with libipld, and as hashlib do, on every edge."""

from __future__ import annotations

import hashlib
import itertools
import json
import struct
from pathlib import Path

import cbor2
import libipld
import nacl.bindings
import nacl.exceptions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco import _kernel
from fondaco.core.keys import SecretKey

MANY = settings(max_examples=400, deadline=None)
SEEN_OFTEN = 18  # more than the kernel's `OFTEN`


def flat(items: list[bytes]) -> tuple[bytes, bytes]:
    """Data and offsets of items."""
    ends = itertools.accumulate((len(item) for item in items), initial=0)
    return b"".join(items), b"".join(struct.pack("<q", end) for end in ends)


# -- Ed25519 ----------------------------------------------------------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
Point = tuple[int, int]


def plus(one: Point, other: Point) -> Point:
    """The sum of two points (RFC 8032 section 5.1.4, affine)."""
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, P - 2, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, P - 2, P)
    return x % P, y % P


def times(number: int, point: Point) -> Point:
    """A multiple of a point."""
    found = (0, 1)
    while number:
        if number & 1:
            found = plus(found, point)
        point, number = plus(point, point), number >> 1
    return found


def lift(y: int) -> Point | None:
    """The point with this y and an even x."""
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P:
        return None
    return (P - x if x & 1 else x), y


def wire(point: Point, *, above: int = 0) -> bytes:
    """A point's encoding; `above` adds the field's order to y: the same point, another encoding."""
    return ((point[1] + above * P) | (point[0] & 1) << 255).to_bytes(32, "little")


BASE = lift(4 * pow(5, P - 2, P) % P)
assert BASE is not None


def _eighth() -> Point:
    """A point of order 8."""
    for y in itertools.count(2):
        point = lift(y)
        if point is not None:
            found = times(L, point)
            if times(4, found) != (0, 1):
                return found
    raise AssertionError


EIGHTH = _eighth()
SMALL = [times(number, EIGHTH) for number in range(8)]


def challenge(*parts: bytes) -> int:
    """The scalar of RFC 8032 section 5.1.6."""
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


def sodium(key: bytes, signature: bytes, message: bytes) -> bool:
    """What libsodium says."""
    try:
        nacl.bindings.crypto_sign_open(signature + message, key)
    except nacl.exceptions.BadSignatureError:
        return False
    return True


def edge_cases() -> list[tuple[bytes, bytes, bytes]]:
    """Keys and nonces off by every point of small order, of small order themselves, in other encodings, S too large."""
    cases: list[tuple[bytes, bytes, bytes]] = []
    secret, nonce = 12345, 777
    a, r = times(secret, BASE), times(nonce, BASE)
    for off_key, off_nonce, salt in itertools.product(range(8), range(8), range(3)):
        key, point = wire(plus(a, SMALL[off_key])), wire(plus(r, SMALL[off_nonce]))
        message = bytes((salt,))
        s = (nonce + challenge(point, key, message) * secret) % L
        cases.append((key, point + s.to_bytes(32, "little"), message))
        cases.append((key, point + (s + L).to_bytes(32, "little"), message))
    odd = [0, 1, 2, P - 1, P - 2]
    encodings = [wire(point, above=above) for point in SMALL for above in (0, 1) if point[1] + above * P < 2**255]
    encodings += [((y + above * P) | sign << 255).to_bytes(32, "little")
                  for y in odd for above in (0, 1) for sign in (0, 1) if y + above * P < 2**255]  # fmt: skip
    for key, point, s in itertools.product(encodings, [*encodings, wire(r)], [0, 1, nonce, L - 1, L, 2**255 - 1]):
        cases.append((key, point + s.to_bytes(32, "little"), b"small"))
    for point in encodings:
        key = wire(a)
        s = challenge(point, key, b"r") * secret % L  # R as the neutral element, in whatever encoding
        cases.append((key, point + s.to_bytes(32, "little"), b"r"))
    return cases


def judged(cases: list[tuple[bytes, bytes, bytes]]) -> list[bool]:
    """What the kernel says of many at once."""
    keys, signatures, messages = zip(*cases, strict=True)
    found = _kernel.ed25519_verify_many(b"".join(keys), b"".join(signatures), *flat(list(messages)))
    return [bool(one) for one in found]


def test_every_edge_case_is_judged_as_libsodium_judges_it() -> None:
    cases = edge_cases()
    theirs = [sodium(*case) for case in cases]
    for _time in range(SEEN_OFTEN):  # first by the general multiplication, then by the keys' kept multiples
        assert judged(cases) == theirs
    assert 0 < sum(theirs) < len(theirs)


def test_the_published_edge_cases_are_judged_as_libsodium_judges_them() -> None:
    """ "Taming the many EdDSAs": implementations differ on these; ours may not differ from libsodium."""
    listed = json.loads((Path(__file__).parent / "taming_eddsa.json").read_text())["cases"]
    cases = [(bytes.fromhex(key), bytes.fromhex(sig), bytes.fromhex(message)) for message, key, sig in listed]
    for _time in range(SEEN_OFTEN):
        assert judged(cases) == [sodium(*case) for case in cases]
    assert any(judged(cases))
    assert not all(judged(cases))


@MANY
@given(data=st.data())
def test_a_sound_signature_is_taken_and_a_changed_one_judged_as_libsodium_does(data: st.DataObject) -> None:
    secret = SecretKey.from_seed(data.draw(st.binary(min_size=32, max_size=32)))
    message = data.draw(st.binary(max_size=100))
    case = bytearray(secret.public.raw + secret.sign_raw(message) + message)
    assert judged([(bytes(case[:32]), bytes(case[32:96]), bytes(case[96:]))]) == [True]
    case[data.draw(st.integers(0, len(case) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed = (bytes(case[:32]), bytes(case[32:96]), bytes(case[96:]))
    assert judged([changed]) == [sodium(*changed)]


@MANY
@given(junk=st.binary(min_size=96, max_size=128))
def test_random_bytes_are_judged_as_libsodium_does(junk: bytes) -> None:
    case = (junk[:32], junk[32:96], junk[96:])
    assert judged([case]) == [sodium(*case)]


def test_each_of_many_is_judged_by_itself() -> None:
    secrets = [SecretKey.generate() for _n in range(3)]
    cases = []
    for number in range(200):
        secret, message = secrets[number % 3], bytes(number)
        signature = secret.sign_raw(message if number % 7 else message + b"x")
        cases.append((secret.public.raw, signature, message))
    assert judged(cases) == [bool(number % 7) for number in range(200)]


def test_more_keys_than_are_remembered_are_judged_all_the_same() -> None:
    """Twice, so that those that are remembered and those that are not take turns; many in one call, on two threads."""
    secrets = [SecretKey.generate() for _n in range(700)]
    sound = [(secret.public.raw, secret.sign_raw(b"m"), b"m") for secret in secrets]
    others = [(hashlib.sha256(bytes((n & 255, n >> 8))).digest(), sound[n % 700][1], b"m") for n in range(4000)]
    for _time in range(2):
        assert judged([*sound, *others[:2000]]) == [True] * 700 + [False] * 2000
        assert judged([*others[2000:], *sound]) == [False] * 2000 + [True] * 700


def test_more_keys_than_have_their_multiples_kept_are_judged_all_the_same() -> None:
    """The kernel keeps multiples of 256 keys that were seen 16 times: here are more, each seen oftener."""
    secrets = [SecretKey.generate() for _n in range(300)]
    sound = [(secret.public.raw, secret.sign_raw(b"m"), b"m") for secret in secrets]
    wrong = [(key, signature, b"n") for key, signature, _message in sound]
    for _time in range(SEEN_OFTEN):
        assert judged([*sound, *wrong]) == [True] * 300 + [False] * 300


def test_buffers_that_do_not_fit_are_refused() -> None:
    data, offsets = flat([b"one"])
    for keys, signatures in ((bytes(31), bytes(64)), (bytes(32), bytes(63)), (b"", b""), (bytes(64), bytes(128))):
        with pytest.raises(ValueError, match="32 bytes"):
            _kernel.ed25519_verify_many(keys, signatures, data, offsets)
    with pytest.raises(ValueError, match="offset"):
        _kernel.ed25519_verify_many(bytes(32), bytes(64), data, b"\x00")


# -- the canonical form -------------------------------------------------------------------------------------------------

MAX_DEPTH = 32
DEFAULT_ITEMS = 1 << 14
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.binary(max_size=40)
    | st.text(max_size=20)
    | st.floats(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
    max_leaves=20,
)


def nested_deeper(value: object, depth: int = 0) -> bool:
    """Whether a value is nested deeper than the codec allows."""
    if depth >= MAX_DEPTH and isinstance(value, list | dict):
        return True
    inner = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return any(nested_deeper(item, depth + 1) for item in inner)


def sound(value: object) -> bool:
    """Whether a decoded value is of the kinds and ranges that have a canonical form."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and sound(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(sound, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return -(2**63) <= value < 2**63
    return value is None or isinstance(value, bool | bytes | str)


def by_libraries(data: bytes) -> bool:
    """Whether libipld reads bytes, and cbor2 writes them again, the same."""
    try:
        value = libipld.decode_dag_cbor(data)
    except (ValueError, TypeError, RecursionError):
        return False
    if nested_deeper(value) or not sound(value):
        return False
    return bool(cbor2.dumps(value, canonical=True) == data)


def by_kernel(data: bytes) -> bool:
    """What the kernel says."""
    try:
        _kernel.check_canonical(data, MAX_DEPTH, DEFAULT_ITEMS)
    except ValueError:
        return False
    return True


@MANY
@given(value=VALUES)
def test_what_is_canonical_is_taken(value: object) -> None:
    for data in (cbor2.dumps(value, canonical=True), cbor2.dumps(value)):
        assert by_kernel(data) == by_libraries(data)


@settings(max_examples=1500, deadline=None)
@given(value=VALUES, data=st.data())
def test_changed_bytes_are_canonical_for_the_kernel_when_they_are_for_the_libraries(
    value: object, data: st.DataObject
) -> None:
    made = bytearray(cbor2.dumps(value, canonical=True))
    for _n in range(data.draw(st.integers(1, 3))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    assert by_kernel(bytes(made)) == by_libraries(bytes(made))


@settings(max_examples=1500, deadline=None)
@given(junk=st.binary(max_size=60))
def test_random_bytes_are_canonical_for_the_kernel_when_they_are_for_the_libraries(junk: bytes) -> None:
    assert by_kernel(junk) == by_libraries(junk)


@pytest.mark.parametrize("depth", range(30, 36))
@pytest.mark.parametrize("inner", [b"\x80", b"\xa0", b"\x00", b"\x81\x00", b"\xa1\x61a\x00"])
@pytest.mark.parametrize("layer", [(b"\x81", b""), (b"\xa1\x61a", b""), (b"\x82\x00", b"")])
def test_depth_is_bounded_where_the_libraries_bound_it(depth: int, inner: bytes, layer: tuple[bytes, bytes]) -> None:
    data = layer[0] * depth + inner
    assert by_kernel(data) == by_libraries(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "end in the middle"),
        (b"\x43ab", "end in the middle"),
        (b"\x00\x00", "after the value"),
        (b"\x18\x17", "shortest"),
        (b"\x9f\xff", "shortest"),
        (b"\xfb" + bytes(8), "floats and tags"),
        (b"\xf7", "floats and tags"),
        (b"\xc0\x00", "floats and tags"),
        (b"\xf8\x14", "floats and tags"),
        (b"\x1b" + b"\xff" * 8, "64 signed bits"),
        (b"\x61\xff", "UTF-8"),
        (b"\xa1\x00\x00", "keys"),
        (b"\xa2\x61b\x00\x61a\x00", "keys"),
        (b"\xa2\x61a\x00\x61a\x00", "keys"),
        (b"\x9b" + b"\xff" * 8, "more items"),
        (b"\xbb" + b"\xff" * 8, "more items"),
        (b"\x81" * 40 + b"\x00", "deep"),
        (b"\x99\x40\x01" + b"\x00" * 16385, "more items than are allowed"),
    ],
)
def test_what_is_not_canonical_is_refused_by_name(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        _kernel.check_canonical(data, MAX_DEPTH, DEFAULT_ITEMS)


# -- Merkle roots ---------------------------------------------------------------------------------------------------------


def slow_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, as it is written."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + slow_root(leaves[:split]) + slow_root(leaves[split:])).digest()


@MANY
@given(leaves=st.lists(st.binary(max_size=40), max_size=70))
def test_a_merkle_root_is_that_of_rfc_6962(leaves: list[bytes]) -> None:
    assert _kernel.merkle_root(*flat(leaves)) == slow_root(leaves)
