"""ristretto255 (RFC 9496) and the oblivious function of RFC 9497, mode 0, in whole numbers: slow, and by itself.

For tests alone: nothing here is constant-time. It shares no line with the kernel, so what both say alike is the standard.
"""

from __future__ import annotations

import hashlib

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
DOMAIN = b"HashToGroup-OPRFV1-\x00-ristretto255-SHA512"
Point = tuple[int, int, int, int]
IDENTITY: Point = (0, 1, 1, 0)


def _absolute(x: int) -> int:
    return P - x if x & 1 else x


def _sqrt_ratio(u: int, v: int) -> tuple[bool, int]:
    """Section 4.2."""
    root = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    check = v * root * root % P
    if check in (-u % P, -u * SQRT_M1 % P):
        root = root * SQRT_M1 % P
    return check in (u % P, -u % P), _absolute(root)


INVSQRT_A_MINUS_D = _sqrt_ratio(1, (-1 - D) % P)[1]


def decode(data: bytes) -> Point:
    """Section 4.3.1."""
    s = int.from_bytes(data, "little")
    assert len(data) == 32
    assert s < P
    assert not s & 1
    ss = s * s % P
    u1, u2 = (1 - ss) % P, (1 + ss) % P
    u2_sqr = u2 * u2 % P
    v = (-(D * u1 * u1) - u2_sqr) % P
    square, inverse = _sqrt_ratio(1, v * u2_sqr % P)
    den_x = inverse * u2 % P
    den_y = inverse * den_x * v % P
    x = _absolute(2 * s * den_x % P)
    y = u1 * den_y % P
    t = x * y % P
    assert square
    assert not t & 1
    assert y
    return x, y, 1, t


def encode(point: Point) -> bytes:
    """Section 4.3.2."""
    x, y, z, t = point
    u1, u2 = (z + y) * (z - y) % P, x * y % P
    _square, inverse = _sqrt_ratio(1, u1 * u2 * u2 % P)
    den1, den2 = inverse * u1 % P, inverse * u2 % P
    z_inv = den1 * den2 * t % P
    if t * z_inv % P & 1:
        x, y, den = y * SQRT_M1 % P, x * SQRT_M1 % P, den1 * INVSQRT_A_MINUS_D % P
    else:
        den = den2
    if x * z_inv % P & 1:
        y = -y % P
    return _absolute(den * (z - y) % P).to_bytes(32, "little")


def add(a: Point, b: Point) -> Point:
    """Twisted Edwards addition, a = -1 (Hisil and others, 2008, section 3.1), complete."""
    x1, y1, z1, t1 = a
    x2, y2, z2, t2 = b
    m, n = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * D * t1 * t2 % P, 2 * z1 * z2 % P
    e, f, g, h = n - m, d - c, d + c, n + m
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(scalar: int, point: Point) -> Point:
    """A point added to itself."""
    total = IDENTITY
    for bit in f"{scalar % ORDER:b}":
        total = add(total, total)
        total = add(total, point) if bit == "1" else total
    return total


def _mapped(data: bytes) -> Point:
    """MAP of section 4.3.4."""
    t = (int.from_bytes(data, "little") & ((1 << 255) - 1)) % P
    r = SQRT_M1 * t * t % P
    u = (r + 1) * (1 - D * D) % P
    c, v = P - 1, (-1 - r * D) * (r + D) % P
    square, s = _sqrt_ratio(u, v)
    if not square:
        s, c = -_absolute(s * t % P) % P, r
    n = (c * (r - 1) * (D - 1) * (D - 1) - v) % P
    w0, w1 = 2 * s * v % P, n * SQRT_AD_MINUS_ONE % P
    w2, w3 = (1 - s * s) % P, (1 + s * s) % P
    return w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P


def expanded(text: bytes, domain: bytes) -> bytes:
    """64 bytes of `expand_message_xmd` (RFC 9380, section 5.3.1) with SHA-512."""
    tail = domain + bytes([len(domain)])
    first = hashlib.sha512(bytes(128) + text + b"\x00\x40\x00" + tail).digest()
    return hashlib.sha512(first + b"\x01" + tail).digest()


def of_uniform(uniform: bytes) -> Point:
    """The element of 64 uniform bytes (RFC 9496, section 4.3.4)."""
    return add(_mapped(uniform[:32]), _mapped(uniform[32:]))


def hash_to_group(text: bytes, domain: bytes = DOMAIN) -> Point:
    """RFC 9497, section 4.1."""
    return of_uniform(expanded(text, domain))


def output(text: bytes, element: bytes) -> bytes:
    """RFC 9497, section 3.3.1, the last step: 64 bytes."""
    sized = len(text).to_bytes(2, "big") + text + len(element).to_bytes(2, "big") + element
    return hashlib.sha512(sized + b"Finalize").digest()


def function(key: int, text: bytes, domain: bytes = DOMAIN) -> bytes:
    """The function itself: 64 bytes; in mode 0 or, by its domain, in another."""
    return output(text, encode(times(key, hash_to_group(text, domain))))
