"""Where a change's CPU time goes in the workers, by stage, from the flame graphs that py-spy draws.

A stage is what goes on below some functions of ours, less what other stages have of it. The shares are of the
samples in which a thread held the interpreter; by them the CPU time of the process is shared out, that of
system calls included.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.goals import GOALS

#: "function (file:line) (samples, share)" of one frame.
_FRAME = re.compile(r"<title>([^<]+) \([^()<]*\) \(([\d,]+) samples?, [\d.]+%\)</title>")
_ALL = re.compile(r"<title>all \(([\d,]+) samples?, 100%\)</title>")
TELL = "Runtime._settled.<locals>.tell"
REST = "the rest: commits, threads, what is in no stage"


@dataclass(frozen=True)
class Stage:
    """What is done below `functions`, without what is done below those that are left out."""

    words: str
    functions: tuple[str, ...]
    without: tuple[str, ...] = ()


#: In the order in which a change comes to them. A function stands in one place only.
STAGES = (
    Stage("broker: read messages", ("asynloop",), ("QueueConsumer._receive_callback",)),
    Stage("broker: decode and judge a message", ("QueueConsumer._receive_callback",)),
    Stage("intake: validate the request", ("Intake._judged",)),
    Stage("intake: lock and read", (
        "Batch._lock_zones", "Batch._lock_positions", "Desired.make_missing", "Desired.prepare",
    )),
    Stage("intake: apply", ("Batch._take_new", "Batch._take_known")),
    Stage("intake: write", ("Batch._finish",)),
    Stage("intake: wake, acknowledge, tell Flower", ("Runtime._spread", "SmallSubmission.done")),
    Stage("delivery: claim and read", ("Claiming.gather",)),
    Stage("delivery: send the updates", ("PrimaryZones.apply_together",)),
    Stage("delivery: read them back", ("Convoy._confirmed",)),
    Stage("delivery: write down", ("Convoy._note",)),
    Stage("verification: what to ask whom", ("Examiner.prepare",)),
    Stage("verification: ask the nameservers", ("Verifier._run",)),
    Stage("verification: write down, end operations", ("Examiner.record",), (TELL,)),
    Stage("outcomes: log, Redis, count", (TELL,)),
)  # fmt: skip


def samples(picture: Path) -> tuple[int, Counter[str]]:
    """How often the process was seen at work; and by function, how often it or what it calls was."""
    text = picture.read_text(encoding="utf-8")
    by_function: Counter[str] = Counter()
    for function, count in _FRAME.findall(text):
        by_function[html.unescape(function)] += _number(count)
    return sum(map(_number, _ALL.findall(text))), by_function


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def times_us(pictures: Mapping[Path, float], changes: int) -> dict[str, float]:
    """CPU microseconds of one change by stage. `pictures`: flame graph → CPU seconds of its process."""
    found: Counter[str] = Counter()
    for picture, used_s in pictures.items():
        total, by_function = samples(picture)
        left = total
        for stage in STAGES:
            at_work = sum(by_function[name] for name in stage.functions)
            at_work -= sum(by_function[name] for name in stage.without)
            left -= at_work
            found[stage.words] += at_work / max(total, 1) * used_s * 1e6 / changes
        found[REST] += left / max(total, 1) * used_s * 1e6 / changes
    return dict(found)


def to_markdown(times: Mapping[str, Mapping[str, float]], measured_on: str) -> str:
    """A page with a table of what `times_us` gave, by key of the goal."""
    words = [GOALS[key].words for key in times]
    lines = [["µs of CPU time", *words], ["---", *("---:" for _ in words)]]
    stages = [*(stage.words for stage in STAGES), REST]
    lines += [[stage, *(f"{found[stage]:.0f}" for found in times.values())] for stage in stages]
    lines += [["all of it", *(f"{sum(found.values()):.0f}" for found in times.values())]]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        "<!-- written by `python -m bench.rates --profile` -->\n\n"
        f"# A change in the workers, stage by stage\n\n{table}\n\n{measured_on}\n"
    )
