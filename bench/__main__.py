"""All measurements, one after the other, and the table of the goals: `python -m bench`, or `make bench`.

Each runs as a process of its own, on servers of its own, the longest last. One that fails leaves its rows
open and doesn't stop the others; what was found is written after each. Exit status: 0 all goals are met, 1
some aren't, 2 something couldn't be measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.command import say
from bench.goals import GOALS, number
from bench.machine import describe, one_line
from dev.program import ROOT
from dev.stack import stop_in_order

MET, NOT_MET, NOTHING_MEASURED = 0, 1, 2
#: For a measurement that was interrupted to end what it has started.
STOP_S = 90.0
HEADER = (
    "figure", "goal", "Designate 23.0.0 as it comes", "tuned", "ours", "raw", "ours ÷ raw", "",
)  # fmt: skip
ABOUT_DESIGNATE = "Designate's figures were measured on another day, on a machine like this one."


@dataclass(frozen=True)
class Part:
    """One measurement."""

    name: str
    arguments: tuple[str, ...] = ()
    #: For a look at whether all of it works: the figures then mean nothing.
    toy: tuple[str, ...] = ()
    #: Where it isn't named like its module.
    module: str = ""

    def command(self, file: Path, *, as_toy: bool) -> list[str]:
        arguments = self.toy if as_toy else self.arguments
        return [sys.executable, "-m", f"bench.{self.module or self.name}", *arguments, "--json", str(file)]


FEW = ("--unfinished", "50")
TOY_BULK = ("--rrsets", "200", "--records", "500", "--rounds", "1")
POWERDNS = ("--server", "powerdns")
PARTS = (
    Part("latency", toy=("--changes", "3", "--zones", "2")),
    Part("rates", toy=("--seconds", "2", "--zones", "4", *FEW)),
    Part("bulk", toy=TOY_BULK),
    Part("bulk-powerdns", POWERDNS, toy=(*POWERDNS, *TOY_BULK), module="bulk"),
    Part("dead", toy=("--seconds", "2", "--rounds", "1", *FEW)),
    Part("second", toy=("--seconds", "2", "--rounds", "1", *FEW)),
    Part("memory", ("--changes", "100000"), toy=("--changes", "160", *FEW)),
    Part("hybrid", toy=("--rounds", "1", "--changes", "2")),
    Part("refill", ("--zones", "1000"), toy=("--zones", "100", "--changes", "5")),
    Part("outage", ("--zones", "1000"), toy=("--zones", "20", "--changes", "3")),
    Part("scale", toy=("--zones", "100", "--rounds", "2")),
    Part("growth", toy=("--records", "10", "--zones", "100", "--changes", "5", "--rounds", "1")),
)


@dataclass
class Results:
    """What all parts found: their documents by name, and why others have none."""

    machine: dict[str, Any]
    at: str
    documents: dict[str, dict[str, Any]]
    failures: dict[str, str]
    is_toy: bool

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """As measured, by key."""
        return {row["key"]: row for document in self.documents.values() for row in document["rows"]}

    @property
    def status(self) -> int:
        if self.failures:
            return NOTHING_MEASURED
        return MET if all(document["is_met"] for document in self.documents.values()) else NOT_MET

    def table(self) -> list[tuple[str, ...]]:
        """In the order of the goals; what wasn't measured is there too."""
        rows = self.rows
        return [HEADER, *(_cells(key, rows.get(key)) for key in GOALS)]

    def notes(self) -> Iterator[str]:
        """What figures mean nothing without."""
        if self.is_toy:
            yield "Toy sizes: no figure here means anything."
        yield f"{self.at}, {one_line(self.machine)}"
        yield ABOUT_DESIGNATE
        yield from self._cores_needed()
        for name, document in self.documents.items():
            if settings := document.get("settings"):
                yield f"`bench.{name}`: {', '.join(f'{key}: {value}' for key, value in settings.items())}."
        for name, reason in self.failures.items():
            yield f"`bench.{name}` measured nothing: {reason}."

    def _cores_needed(self) -> Iterator[str]:
        """Which part would need how much, if there were many times as many changes."""
        details = self.documents.get("rates", {}).get("details", {})
        cost_s = details.get("changes.zones: CPU for 1,000 changes, s", {})
        for times in (10, 100) if cost_s else ():
            rate = int(GOALS["changes.zones"].at_least or 0) * times
            cores = ", ".join(f"{name} {used * rate / 1000:.1f}" for name, used in cost_s.items())
            yield f"Cores for {rate:,} changes a second round 50 zones, by what this run's took: {cores}."

    def to_text(self) -> str:
        cells = self.table()
        widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in cells
        ]
        return "\n".join([*lines, "", *self.notes()])

    def to_markdown(self) -> str:
        header, *rows = self.table()
        lines = [header, ("---",) * len(header), *rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        notes = "\n".join(f"- {note}" for note in self.notes())
        return f"<!-- written by `make bench` -->\n\n# Figures\n\n{table}\n\n{notes}\n"

    def to_json(self) -> dict[str, Any]:
        return {
            "at": self.at,
            "machine": self.machine,
            "is_toy": self.is_toy,
            "rows": list(self.rows.values()),
            "failures": self.failures,
            "parts": self.documents,
        }


def _cells(key: str, row: Mapping[str, Any] | None) -> tuple[str, ...]:
    goal = GOALS[key]
    designate = [number(figure, goal.unit) for figure in goal.designate or ()] or ["", ""]
    if row is None:
        return goal.words, str(goal), *designate, "", "", "", "not measured"
    words = goal.words + (f" ({row['remark']})" if row["remark"] else "")
    raw = f"{number(row['raw'], goal.unit)} ({row['raw_words']})" if row["raw"] else ""
    ratio = f"{row['ratio']:.2f}" if row["ratio"] else ""
    return words, str(goal), *designate, number(row["figure"], goal.unit), raw, ratio, row["verdict"]


def measure(
    parts: Sequence[Part], *, as_toy: bool, keep: Callable[[Results], None] = lambda results: None
) -> Results:
    """Run them all; `keep` is called with what there is after each."""
    results = Results(describe(), datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), {}, {}, as_toy)
    with tempfile.TemporaryDirectory(prefix="dnsworker-bench-") as folder:
        for part in parts:
            say(f"\n=== bench.{part.name}")
            begun, file = time.monotonic(), Path(folder) / f"{part.name}.json"
            failure = _run(part.command(file, as_toy=as_toy))
            if failure:
                results.failures[part.name] = failure
            else:
                results.documents[part.name] = json.loads(file.read_text())
            say(f"=== bench.{part.name} took {time.monotonic() - begun:.0f} s")
            keep(results)
    return results


def _run(command: Sequence[str]) -> str:
    """Let it print; why it measured nothing, in the words that it ended with, or ""."""
    last = ""
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            for line in process.stderr:
                print(line, end="", file=sys.stderr, flush=True)
                last = line.strip() or last
            status = process.wait()
        except BaseException:
            process.terminate()
            process.wait(STOP_S)
            raise
    return "" if status in (MET, NOT_MET) else last or f"exit status {status}"


def main() -> int:
    options = _options()
    stop_in_order()
    try:
        results = measure(options.parts, as_toy=options.toy, keep=lambda found: _write(found, options.to))
    except KeyboardInterrupt:
        return 130
    print(results.to_text())
    return results.status


def _write(results: Results, folder: Path | None) -> None:
    if folder:
        (folder / "table.md").write_text(results.to_markdown())
        document = json.dumps(results.to_json(), indent=2, ensure_ascii=False)
        (folder / "figures.json").write_text(document + "\n")


def _options() -> argparse.Namespace:
    assert __doc__
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts", nargs="*", type=_part, default=PARTS, metavar="PART", help=f"({', '.join(names)})"
    )
    parser.add_argument("--toy", action="store_true", help="sizes that only show whether it works")
    parser.add_argument("--to", type=_folder, metavar="FOLDER", help="for table.md and figures.json")
    return parser.parse_args()


def _part(name: str) -> Part:
    for part in PARTS:
        if part.name == name:
            return part
    raise argparse.ArgumentTypeError(f"there is no measurement {name}")


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return path


if __name__ == "__main__":
    sys.exit(main())
