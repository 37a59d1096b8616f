"""A run as a picture (SVG): what was submitted and what ended, over the faults that were at work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, TOP = 1200, 110, 30, 84
CHART, GAP, LANE, BAR, FOOT = 190, 34, 22, 12, 44
INK, FAINT, GRID, PAPER, HEALING = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff", "#e3f4e8"
SUBMITTED, ENDED = "#2f6fb5", "#d9822b"
#: By the part of the system that a fault concerns.
COLOURS = {
    "worker": "#c0392b", "broker": "#8e5bb5", "database": "#2f6fb5", "redis": "#b5529a",
    "target": "#2a8c82", "beat": "#52606d",
}  # fmt: skip
STEPS_S = (5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)


@dataclass(frozen=True)
class Bar:
    """A fault that was at work."""

    lane: str
    part: str
    label: str
    begun: float
    ended: float


@dataclass(frozen=True)
class Timeline:
    """Moments in seconds since the run's beginning."""

    title: str
    subtitle: str
    submitted: Sequence[float]
    ended: Sequence[float]
    bars: Sequence[Bar]
    #: From the end of the last fault until all was at rest.
    healing: tuple[float, float]


def svg(timeline: Timeline) -> str:
    """The picture as a file's text."""
    return "\n".join(_Drawing(timeline).lines()) + "\n"


class _Drawing:
    def __init__(self, timeline: Timeline) -> None:
        self._of = timeline
        by_part = sorted(timeline.bars, key=lambda bar: (list(COLOURS).index(bar.part), bar.lane))
        self._lanes = list(dict.fromkeys(bar.lane for bar in by_part))
        self._end = max(timeline.healing[1], 1.0)
        self._floor = TOP + CHART
        self._lanes_at = self._floor + GAP
        self._bottom = self._lanes_at + LANE * len(self._lanes)
        self._series = {"submitted": _per_second(timeline.submitted), "ended": _per_second(timeline.ended)}
        self._most = max((count for one in self._series.values() for count in one.values()), default=1)

    def lines(self) -> Iterator[str]:
        height = self._bottom + FOOT
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" font-family="system-ui, Helvetica, Arial, sans-serif" font-size="12">'
        )
        yield f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>'
        yield _text(LEFT, 32, self._of.title, INK, size=18, weight=600)
        yield _text(LEFT, 52, self._of.subtitle, FAINT)
        yield from self._healing()
        yield from self._axes()
        yield from self._area("submitted", SUBMITTED)
        yield from self._area("ended", ENDED)
        yield from self._faults()
        yield "</svg>"

    def _x(self, moment: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(moment, 0.0), self._end) / self._end

    def _y(self, count: float) -> float:
        return self._floor - CHART * count / self._most

    def _healing(self) -> Iterator[str]:
        left, right = (self._x(moment) for moment in self._of.healing)
        yield _rect(left, TOP, max(right - left, 1.0), self._bottom - TOP, HEALING)
        seconds = self._of.healing[1] - self._of.healing[0]
        yield _text(min(left + 6, WIDTH - RIGHT - 90), self._floor + 20, f"heals: {seconds:.0f} s", "#3c7a4e")

    def _axes(self) -> Iterator[str]:
        step = next((one for one in STEPS_S if self._end / one <= 12), STEPS_S[-1])
        for moment in range(0, int(self._end) + 1, step):
            x = self._x(moment)
            yield _line(x, TOP, x, self._bottom, GRID)
            yield _text(x, self._bottom + 18, f"{moment} s", FAINT, anchor="middle")
        for share in (0.0, 0.5, 1.0):
            height = self._most * share
            line = self._y(height)
            yield _line(LEFT, line, WIDTH - RIGHT, line, GRID)
            yield _text(LEFT - 8, line + 4, f"{height:g}", FAINT, anchor="end")
        for number, (name, colour) in enumerate((("submitted", SUBMITTED), ("ended", ENDED))):
            left = WIDTH - RIGHT - 190 + 100 * number
            yield _rect(left, 42, 10, 10, colour)
            yield _text(left + 15, 52, name, INK)
        yield _text(LEFT, TOP - 10, "operations per second", FAINT)

    def _area(self, name: str, colour: str) -> Iterator[str]:
        counts = self._series[name]
        points = " ".join(
            f"{self._x(second + 0.5):.1f},{self._y(counts.get(second, 0)):.1f}"
            for second in range(int(self._end) + 1)
        )
        first, last = self._x(0.5), self._x(int(self._end) + 0.5)
        yield (
            f'<polygon points="{first:.1f},{self._floor} {points} {last:.1f},{self._floor}" '
            f'fill="{colour}" fill-opacity="0.13"/>'
        )
        yield (
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6" '
            'stroke-linejoin="round"/>'
        )

    def _faults(self) -> Iterator[str]:
        for number, lane in enumerate(self._lanes):
            middle = self._lanes_at + LANE * (number + 0.5)
            yield _line(LEFT, middle, WIDTH - RIGHT, middle, GRID)
            yield _text(LEFT - 8, middle + 4, lane, INK, anchor="end")
        for bar in self._of.bars:
            y = self._lanes_at + LANE * self._lanes.index(bar.lane) + (LANE - BAR) / 2
            width = max(self._x(bar.ended) - self._x(bar.begun), 3.0)
            yield (
                f'<rect x="{self._x(bar.begun):.1f}" y="{y:.1f}" width="{width:.1f}" height="{BAR}" rx="3" '
                f'fill="{COLOURS[bar.part]}"><title>{escape(bar.label)}</title></rect>'
            )


def _per_second(moments: Sequence[float]) -> Mapping[int, int]:
    return Counter(int(moment) for moment in moments)


def _text(
    x: float, y: float, words: str, colour: str, *, size: int = 12, weight: int = 400, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
