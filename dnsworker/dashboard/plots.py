"""The plots of the last hour as geometry, which a template draws as SVG.

Pure, and computed here: no script draws anything, so the page is whole without one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from dnsworker.dashboard.hour import Hour, Minute
from dnsworker.durations import duration

#: In units of the drawing, which is stretched to the room that there is.
WIDTH, HEIGHT = 600.0, 120.0
GAP = 0.25
#: Marks on the axis of durations, in seconds: powers of ten, then what clocks have.
MARKS_S = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36_000.0, 86_400.0, 864_000.0)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; `part` says what it shows."""

    part: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """What is drawn of one minute, and said of it."""

    boxes: tuple[Box, ...]
    title: str
    #: Where the pointer finds it.
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across, at this share of the height from above (0 to 100)."""

    percent: float
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """Bars and marks; no bars when there is nothing to show."""

    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    #: What it shows, for who can't see it.
    summary: str
    first: str
    last: str


def ends_plot(hour: Hour) -> Plot:
    """How many operations ended in each minute: failures stand on what succeeded."""
    top = _nice(max((one.succeeded + one.failed for one in hour.minutes), default=0))
    bars = []
    for index, one in enumerate(hour.minutes):
        x, width = _place(index, len(hour.minutes))
        good, bad = HEIGHT * one.succeeded / top, HEIGHT * one.failed / top
        boxes = [Box("good", x, HEIGHT - good, width, good)] if good else []
        boxes += [Box("bad", x, HEIGHT - good - bad, width, bad)] if bad else []
        title = f"{_clock(one)}: {one.succeeded:,} succeeded, {one.failed:,} failed"
        bars.append(Bar(tuple(boxes), title, *_reach(index, len(hour.minutes))))
    summary = (
        f"Operations by minute over the last hour: {hour.succeeded:,} succeeded, {hour.failed:,} failed, "
        f"{max((one.succeeded + one.failed for one in hour.minutes), default=0):,} in the busiest minute."
    )
    marks = tuple(Mark(100 - 100 * share, f"{top * share:g}") for share in (0.0, 0.5, 1.0))
    return _plot(hour, bars if hour.succeeded + hour.failed else [], marks, summary)


def durations_plot(hour: Hour) -> Plot:
    """From submission to ACTIVE, minute by minute: half of the operations took this long, 95 % up to that."""
    known = [one for one in hour.minutes if one.took_s]
    low, high = _decades([value for one in known for value in _quantiles(one)])
    bars = []
    for index, one in enumerate(hour.minutes):
        if not one.took_s:
            continue
        x, width = _place(index, len(hour.minutes))
        median, most = _quantiles(one)
        upper, lower = _height(most, low, high), _height(median, low, high)
        boxes = (Box("range", x, upper, width, lower - upper), Box("median", x, lower - 1.5, width, 3.0))
        title = f"{_clock(one)}: half within {duration(median)}, 95 % within {duration(most)}"
        bars.append(Bar(boxes, title, *_reach(index, len(hour.minutes))))
    marks = tuple(
        Mark(100 * _height(one, low, high) / HEIGHT, duration(one)) for one in MARKS_S if low <= one <= high
    )
    half, nearly_all = hour.quantile(0.5), hour.quantile(0.95)
    summary = "No operation has become ACTIVE within the last hour."
    if half is not None and nearly_all is not None:
        summary = (
            "From submission to ACTIVE over the last hour: half of the operations within "
            f"{duration(half)}, 95 % within {duration(nearly_all)}."
        )
    return _plot(hour, bars, marks, summary)


def shares(counts: Iterable[tuple[str, int]]) -> list[Box]:
    """One bar of full width, cut by counts; what there is some of is at least visible."""
    some = [(part, number) for part, number in counts if number]
    total = sum(number for _, number in some)
    widths = [max(WIDTH * number / total, 4.0) for _, number in some]
    scale = WIDTH / sum(widths) if widths else 1.0
    boxes, x = [], 0.0
    for (part, _), width in zip(some, widths, strict=True):
        boxes.append(Box(part, x, 0.0, width * scale, 10.0))
        x += width * scale
    return boxes


def _plot(hour: Hour, bars: list[Bar], marks: tuple[Mark, ...], summary: str) -> Plot:
    return Plot(tuple(bars), marks, summary, _clock(hour.minutes[0]), _clock(hour.minutes[-1]))


def _place(index: int, count: int) -> tuple[float, float]:
    step = WIDTH / count
    return index * step + step * GAP / 2, step * (1 - GAP)


def _reach(index: int, count: int) -> tuple[float, float]:
    return index * WIDTH / count, WIDTH / count


def _quantiles(one: Minute) -> tuple[float, float]:
    median, most = one.quantile(0.5), one.quantile(0.95)
    assert median is not None, "asked only where something took its time"
    assert most is not None
    return _on_axis(median), _on_axis(most)


def _on_axis(value: float) -> float:
    return min(max(value, MARKS_S[0]), MARKS_S[-1])


def _decades(values: list[float]) -> tuple[float, float]:
    """The marks between which all of the values are."""
    if not values:
        return MARKS_S[2], MARKS_S[4]
    low = max(one for one in MARKS_S[:-1] if one <= min(values))
    return low, min(one for one in MARKS_S if one >= max(values) and one > low)


def _height(value: float, low: float, high: float) -> float:
    """From above, on a logarithmic scale."""
    return HEIGHT * (1 - (math.log(value) - math.log(low)) / (math.log(high) - math.log(low)))


def _nice(highest: int) -> int:
    """An even number to end the axis with: 2, 4, 10, 20, 40, 100, …"""
    scale = 1
    while True:
        for factor in (2, 4, 10):
            if factor * scale >= highest:
                return factor * scale
        scale *= 10


def _clock(one: Minute) -> str:
    return one.at.strftime("%H:%M")
