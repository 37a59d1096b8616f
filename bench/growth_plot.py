"""Curves over sizes as a picture (SVG): one panel for each thing that is measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT = 560, 300, 60, 185, 60, 40
HEAD, COLUMNS = 50, 2
INK, FAINT, GRID, PAPER, APART = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff", "#9aa5b1"
COLOURS = ("#2f6fb5", "#d9822b", "#2a8c82", "#8e5bb5")
#: Labels of curves that end close together are kept so far apart.
LABEL = 15


@dataclass(frozen=True)
class Curve:
    name: str
    values: Sequence[float]
    #: Not ours: shown beside.
    is_apart: bool = False


@dataclass(frozen=True)
class Panel:
    title: str
    sizes: Sequence[int]
    curves: Sequence[Curve]


def svg(title: str, panels: Sequence[Panel]) -> str:
    """The picture as a file's text."""
    rows = math.ceil(len(panels) / COLUMNS)
    width, height = WIDTH * COLUMNS, HEAD + HEIGHT * rows
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" font-family="system-ui, Helvetica, Arial, sans-serif" font-size="12">'
        ),
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
        f'<text x="20" y="32" fill="{INK}" font-size="18" font-weight="600">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        column, row = number // rows, number % rows
        lines.append(f'<g transform="translate({WIDTH * column} {HEAD + HEIGHT * row})">')
        lines += _panel(panel)
        lines.append("</g>")
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(panel: Panel) -> Iterator[str]:
    most = _round_up(max(max(curve.values) for curve in panel.curves))
    first, last = math.log10(min(panel.sizes)), math.log10(max(panel.sizes))
    floor = HEIGHT - FOOT

    def x(size: int) -> float:
        share = (math.log10(size) - first) / (last - first) if last > first else 0.0
        return LEFT + (WIDTH - LEFT - RIGHT) * share

    def y(value: float) -> float:
        return floor - (floor - TOP) * max(value, 0.0) / most

    yield _text(20, TOP - 24, panel.title, INK, weight=600)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        line = y(most * share)
        yield _line(LEFT, line, WIDTH - RIGHT, line)
        yield _text(LEFT - 8, line + 4, f"{most * share:g}", FAINT, anchor="end")
    for size in panel.sizes:
        yield _line(x(size), TOP, x(size), floor)
        yield _text(x(size), floor + 18, f"{size:,}", FAINT, anchor="middle")
    label = float("inf")
    for number, curve in sorted(enumerate(panel.curves), key=lambda one: one[1].values[-1]):
        colour = APART if curve.is_apart else COLOURS[number % len(COLOURS)]
        dashes = ' stroke-dasharray="5 4"' if curve.is_apart else ""
        places = [(x(size), y(value)) for size, value in zip(panel.sizes, curve.values, strict=True)]
        points = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
        for left, top in places:
            yield f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{colour}"/>'
        label = min(places[-1][1] + 4, label - LABEL)
        yield _text(WIDTH - RIGHT + 8, label, f"{curve.name} {curve.values[-1]:.3g}", colour)


def _round_up(value: float) -> float:
    """The next number that is easily read: 1, 2, 4 or 8 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(power * step for step in (1, 2, 4, 8, 10) if power * step >= value)


def _text(x: float, y: float, words: str, colour: str, *, weight: int = 400, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-weight="{weight}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{GRID}"/>'
