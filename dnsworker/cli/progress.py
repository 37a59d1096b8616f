"""One line on a terminal that says how far a command is; nothing where nobody would see it.

Separate from the commands, so that what they do reads without it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from dnsworker.cli import output

WIDTH = 20
INTERVAL_S = 0.2
MAX_LINE = 100
CLEAR = "\r\x1b[K"


def bar(share: float) -> str:
    """`[########------------]`."""
    filled = int(WIDTH * min(max(share, 0.0), 1.0))
    return f"[{'#' * filled}{'-' * (WIDTH - filled)}]"


class Progress:
    """A context manager around the work. Its line is on standard error, and gone at the end."""

    def __init__(self, subject: str, *, is_shown: bool) -> None:
        self._subject, self._is_shown = subject, is_shown
        self._begun = time.monotonic()
        self._drawn_at = float("-inf")
        self._what = ""

    @classmethod
    def on_terminal(cls, subject: str, *, as_json: bool) -> Progress:
        """Shown to people at a terminal only."""
        return cls(subject, is_shown=not as_json and sys.stderr.isatty())

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_shown:
            click.echo(CLEAR, err=True, nl=False)

    def tell(self, what: str, share: float | None = None) -> None:
        """What is being done, and which share of it is done where that is known. May be called often."""
        self._what = f"{bar(share)}  {what}" if share is not None else what
        self._draw()

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """For work that says little or nothing itself: the line shows that it goes on."""
        self.tell(what)
        if not self._is_shown:
            yield
            return
        is_over = threading.Event()

        def draw() -> None:
            while not is_over.wait(INTERVAL_S):
                self._draw()

        thread = threading.Thread(target=draw, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _draw(self) -> None:
        if not self._is_shown or time.monotonic() - self._drawn_at < INTERVAL_S:
            return
        self._drawn_at = time.monotonic()
        line = f"{self._subject}  {self._what}  {output.duration(time.monotonic() - self._begun)}"
        click.echo(f"{CLEAR}{line[:MAX_LINE]}", err=True, nl=False)
