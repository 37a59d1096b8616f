"""What the commands of `bench` have in common: their arguments, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path


class NothingMeasured(Exception):
    """What was to be measured did not take place."""


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
