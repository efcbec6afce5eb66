"""A curve as a picture: seconds against a number on logarithmic axes, as one SVG that any browser shows."""

from __future__ import annotations

import math
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP = 640, 400, 70, 30
COLOURS = ("#1f6f8b", "#c0562f", "#5b7f3a", "#7a4f9a")
Points = list[tuple[float, float]]


def _decades(values: list[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def draw(path: Path, title: str, lines: dict[str, Points], across: str = "keys of each side") -> None:
    """Write the picture of some named lines, each of (number, seconds); `across` says what the numbers are."""
    columns, seconds = (_decades([p[axis] for points in lines.values() for p in points]) for axis in (0, 1))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = (math.log10(point[0]) - columns[0]) / (columns[1] - columns[0])
        up = (math.log10(point[1]) - seconds[0]) / (seconds[1] - seconds[0])
        return LEFT + across * (WIDTH - LEFT - 20), HEIGHT - 40 - up * (HEIGHT - 40 - TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-size="14">{title}</text>',
    ]
    for power in range(columns[0], columns[1] + 1):
        x, _y = place((10.0**power, 10.0 ** seconds[0]))
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - 40}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 22}" text-anchor="middle">10^{power}</text>')
    for power in range(seconds[0], seconds[1] + 1):
        _x, y = place((10.0 ** columns[0], 10.0**power))
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - 20}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>')
    for index, (name, points) in enumerate(lines.items()):
        colour = COLOURS[index % len(COLOURS)]
        placed = [place(point) for point in sorted(points)]
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        parts.append(f'<text x="{LEFT + 12}" y="{TOP + 18 + 16 * index}" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">{across}</text></svg>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
