"""Whether a process lives, and whether it can do its work now: two questions with two answers.

A supervisor restarts what doesn't live, and only that: a worker whose database is away lives, since another
start wouldn't help it. Whoever spreads work, or waits for a start, asks whether it is ready.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

#: Returns why something isn't as it should be, in one line; None where it is.
Check = Callable[[], str | None]
#: How long whoever asks waits for a check; a container's health check has a few seconds in all.
WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Health:
    """What a process has to say about itself."""

    #: What it is: `worker`, `beat`, `exporter`.
    role: str
    #: By name: without one of these it has to be restarted.
    live: Mapping[str, Check] = field(default_factory=dict)
    #: By name: without one of these it can't work, and may be able to in a moment.
    ready: Mapping[str, Check] = field(default_factory=dict)

    def troubles(self, *, is_ready: bool) -> dict[str, str]:
        """Why it isn't live, or (with `is_ready`) not ready; empty where it is."""
        checks = {**self.live, **self.ready} if is_ready else self.live
        return {name: said for name, check in checks.items() if (said := check()) is not None}


class Pulse:
    """The beat of a loop that must go round: safe for threads.

    It rests while its loop has a reason not to go round, such as a broker that is away.
    """

    def __init__(self, longest_s: float) -> None:
        """`longest_s`: a loop that hasn't come round for so long is stuck."""
        self._longest_s = longest_s
        self._last: float | None = None

    @property
    def is_beating(self) -> bool:
        return self._last is not None

    def beat(self) -> None:
        self._last = time.monotonic()

    def beat_unseen(self) -> None:
        """It goes round, and nobody can see it do so: taken for granted until it rests."""
        self._last = float("inf")

    def rest(self) -> None:
        self._last = None

    def check(self) -> str | None:
        last = self._last
        age_s = 0.0 if last is None else time.monotonic() - last
        return f"has been stuck for {age_s:.0f} s" if age_s > self._longest_s else None


class Probe:
    """A check that may hang, run in a thread of its own, so that nobody who asks hangs with it.

    There is one run at a time, however many ask: each may take `patience_s` before it counts as an answer.
    """

    def __init__(self, check: Check, patience_s: float) -> None:
        self._check, self._patience_s = check, patience_s
        self._guard = threading.Lock()
        self._begun: float | None = None
        self._done = threading.Event()
        self._last: str | None = None

    def __call__(self) -> str | None:
        with self._guard:
            if self._begun is None:
                self._begun, self._done = time.monotonic(), threading.Event()
                threading.Thread(target=self._run, args=(self._done,), name="probe", daemon=True).start()
            done = self._done
        if done.wait(min(WAIT_S, self._patience_s)):
            return self._last
        with self._guard:
            took = 0.0 if self._begun is None else time.monotonic() - self._begun
        return f"no answer for {took:.0f} s" if took >= self._patience_s else self._last

    def _run(self, done: threading.Event) -> None:
        try:
            said = self._check()
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is the answer
            said = f"{type(exc).__name__}: {(str(exc).splitlines() or [''])[0]}"
        with self._guard:
            self._last, self._begun = said, None
        done.set()
