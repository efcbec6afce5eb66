"""Base58 in Bitcoin's alphabet, as multibase `z` writes it (draft-msporny-base58-03). Bounded input only."""

from __future__ import annotations

from fondaco.errors import NamingError

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_MAX = 256


def base58_encode(data: bytes) -> str:
    """The text of `data`; each leading zero byte becomes a leading `1`."""
    number = int.from_bytes(data, "big")
    letters: list[str] = []
    while number:
        number, rest = divmod(number, 58)
        letters.append(_ALPHABET[rest])
    zeros = len(data) - len(data.lstrip(b"\x00"))
    return "1" * zeros + "".join(reversed(letters))


def base58_decode(text: str) -> bytes:
    """The bytes of base58 `text` of at most 256 letters.

    Raises:
        NamingError: too long, or a letter outside the alphabet.
    """
    if len(text) > _MAX:
        raise NamingError("base58 text is too long", remedy="give at most 256 letters")
    number = 0
    for letter in text:
        value = _VALUES.get(letter)
        if value is None:
            raise NamingError("not a base58 letter", remedy="copy the identifier again, whole", letter=letter)
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip("1"))
    return b"\x00" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
