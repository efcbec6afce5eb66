"""Every small change of a decoded value, for tests that each of them is refused."""

from __future__ import annotations

from collections.abc import Iterator

from fondaco.core.codec import Value, encode

Place = tuple[int | str, ...]


def places(value: Value, place: Place = ()) -> Iterator[tuple[Place, Value]]:
    """Each list and each plain value in a tree, with the way to it."""
    match value:
        case dict():
            for name, item in value.items():
                yield from places(item, (*place, name))
        case list():
            yield place, value
            for index, item in enumerate(value):
                yield from places(item, (*place, index))
        case _:
            yield place, value


def changes(value: Value) -> list[Value]:
    """What a field is changed to: a bit flipped, a number moved, an element dropped, doubled, or moved."""
    found: list[Value] = []
    match value:
        case bool():
            found = [not value]
        case int():
            found = [value + 1]
        case None:
            found = [0, b"x"]
        case bytes():
            at = len(value) // 2
            found = [value[:at] + bytes((value[at] ^ 1,)) + value[at + 1 :] if value else b"x"]
        case str():
            found = [value[:-1] + chr(ord(value[-1]) ^ 1) if value else "x"]
        case list():
            turned = [*value[1:], *value[:1]]
            found = [[*value, value[-1] if value else b"x"], value[1:], turned]
    return [new for new in found if encode(new) != encode(value)]


def replaced(value: Value, place: Place, new: Value) -> Value:
    """A copy of a tree with one place changed."""
    if not place:
        return new
    head, *rest = place
    if isinstance(value, dict):
        return value | {str(head): replaced(value[str(head)], tuple(rest), new)}
    assert isinstance(value, list)
    assert isinstance(head, int)
    return [*value[:head], replaced(value[head], tuple(rest), new), *value[head + 1 :]]
