"""What the commands of `bench` have in common: their arguments, and how they end."""

from __future__ import annotations

import argparse
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import sqlalchemy as sa

from bench.serving import NotServed
from dev.servers import ServerError
from dev.stack import Stack, stop_in_order
from dnsworker import Client, database
from dnsworker.errors import DNSWorkerError


class NothingMeasured(Exception):
    """What was to be measured did not take place."""


@dataclass(frozen=True)
class Found(ABC):
    """What a run found: two medians of the same thing, and how many times the one may be the other."""

    goal: ClassVar[float]

    @property
    @abstractmethod
    def ratio(self) -> float: ...

    @abstractmethod
    def to_text(self) -> str:
        """For people; the last line is the `verdict`."""

    @property
    def is_met(self) -> bool:
        return self.ratio <= self.goal

    @property
    def verdict(self) -> str:
        return f"{self.ratio:.2f}, goal {self.goal:g}: {'met' if self.is_met else 'not met'}"

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "ratio": self.ratio, "goal": self.goal, "is_met": self.is_met}


def run(measure: Callable[[], Found], file: Path | None) -> int:
    """Measure and tell; `file` gets the figures as JSON. Returns the exit status."""
    stop_in_order()
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
        file.write_text(json.dumps(found.to_json(), indent=2) + "\n")
    return 0 if found.is_met else 1


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
