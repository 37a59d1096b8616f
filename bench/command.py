"""What the commands of `bench` have in common: their arguments, and how they end."""

from __future__ import annotations

import argparse
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa

from bench.goals import Row, to_text
from bench.machine import describe
from bench.serving import NotServed
from dev.servers import ServerError
from dev.stack import Stack, stop_in_order
from dnsworker import Client, database
from dnsworker.errors import DNSWorkerError


class NothingMeasured(Exception):
    """What was to be measured did not take place."""


class Report(ABC):
    """What a run found: rows of the table, and more for people and for a file."""

    @property
    @abstractmethod
    def rows(self) -> list[Row]: ...

    @abstractmethod
    def to_text(self) -> str:
        """For people."""

    @property
    def is_met(self) -> bool:
        return all(row.is_met for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        return {"rows": [row.to_json() for row in self.rows], "is_met": self.is_met}


@dataclass(frozen=True)
class Found(Report):
    """Two medians of the same thing, and how many times the one may be the other."""

    goal: ClassVar[float]
    #: In `bench.goals`; "": no row of the table.
    key: ClassVar[str] = ""

    @property
    @abstractmethod
    def ratio(self) -> float: ...

    @property
    def rows(self) -> list[Row]:
        return [Row(self.key, self.ratio)] if self.key else []

    @property
    def is_met(self) -> bool:
        return self.ratio <= self.goal

    @property
    def verdict(self) -> str:
        """The last line of `to_text`."""
        return f"{self.ratio:.2f}, goal {self.goal:g}: {'met' if self.is_met else 'not met'}"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "goal": self.goal, **super().to_json()}


@dataclass
class Measured(Report):
    """Several figures from one run of one system."""

    settings: dict[str, Any]
    found: list[Row] = field(default_factory=list)
    #: What else was seen, by name.
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        return self.found

    def to_text(self) -> str:
        lines = [to_text(self.rows)]
        lines += [f"{name}: {_words(seen)}" for name, seen in self.details.items()]
        lines += [f"settings: {_words(self.settings)}"] if self.settings else []
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "settings": self.settings, "details": self.details}


def _words(seen: Any) -> str:
    if isinstance(seen, float):
        return f"{seen:,.4g}"
    if isinstance(seen, dict):
        return ", ".join(f"{name} {_words(value)}" for name, value in seen.items())
    return ", ".join(map(_words, seen)) if isinstance(seen, (list, tuple)) else str(seen)


def run(measure: Callable[[], Report], file: Path | None) -> int:
    """Measure and tell; `file` gets the figures as JSON. Returns the exit status."""
    stop_in_order()
    machine = describe()
    try:
        found = measure()
    except NotServed as exc:
        print(f"{exc}: not met")
        return 1
    except (NothingMeasured, ServerError, DNSWorkerError) as exc:
        print(exc, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(found.to_text())
    if file:
        document = {"machine": machine, **found.to_json()}
        file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return 0 if found.is_met else 1


def new_parser(module: str, about: str) -> argparse.ArgumentParser:
    """With the options of all measurements that start a `bench.system`."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{module}", description=about.splitlines()[0])
    parser.add_argument("--no-fsync", action="store_true", help="PostgreSQL may lose data in a power cut")
    parser.add_argument("--json", type=writable, metavar="FILE", help="the figures")
    return parser


@contextmanager
def reached(stack: Stack) -> Iterator[tuple[Client, sa.Engine]]:
    """A client of the system, and its database."""
    engine = database.connect(stack.env["DNSWORKER_DATABASE_URL"])
    try:
        with Client(stack.env["DNSWORKER_BROKER_URL"], stack.env["DNSWORKER_RESULT_URL"]) as client:
            yield client, engine
    finally:
        engine.dispose()


def count(limit: int) -> Callable[[str], int]:
    """An argument that is a whole number up to `limit`; more is a slip of the finger."""

    def checked(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= limit:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {limit}")
        return int(text)

    return checked


def writable(text: str) -> Path:
    """A file, refused before the minutes that it takes to have something to write."""
    path = Path(text)
    try:
        path.open("a").close()
    except OSError as exc:
        raise argparse.ArgumentTypeError(f"can't write {text}: {exc.strerror}") from exc
    return path


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
