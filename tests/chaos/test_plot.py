"""The picture of a run."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from chaos.plot import COLOURS, Bar, Timeline, svg

SVG = "{http://www.w3.org/2000/svg}"
RUN = Timeline(
    title="seed 7",
    subtitle="no violations <yet>",
    submitted=[0.1, 0.2, 5.5],
    ended=[1.0, 6.0],
    bars=[
        Bar("kill", "worker", "kill: kill -9 worker-1, 2 s", 1.0, 3.0),
        Bar("kill", "worker", "kill: kill -9 worker-2, 1 s", 4.0, 5.0),
        Bar("cut", "target", "cut: bind", 2.0, 6.0),
    ],
    healing=(8.0, 10.0),
)


def test_each_fault_is_a_bar_in_its_lane_and_as_long_as_it_lasted() -> None:
    bars = {bar[0].text: bar for bar in ET.fromstring(svg(RUN)).iter(f"{SVG}rect") if bar.get("rx")}
    assert set(bars) == {bar.label for bar in RUN.bars}
    first, second, cut = (bars[bar.label] for bar in RUN.bars)
    assert first.get("y") == second.get("y") != cut.get("y")
    assert float(first.get("width", 0)) == 2 * float(second.get("width", 0))
    assert (first.get("fill"), cut.get("fill")) == (COLOURS["worker"], COLOURS["target"])


def test_the_words_are_in_it_as_they_are() -> None:
    texts = {text.text for text in ET.fromstring(svg(RUN)).iter(f"{SVG}text")}
    assert {"seed 7", "no violations <yet>", "kill", "cut", "heals: 2 s"} <= texts


def test_a_run_in_which_nothing_happened_has_a_picture_too() -> None:
    assert ET.fromstring(svg(Timeline("t", "s", [], [], [], (0.0, 0.0)))) is not None
