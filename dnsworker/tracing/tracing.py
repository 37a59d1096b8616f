"""What a worker notes as it goes, for a thread of its own to make spans of.

To note something is to put it into a queue: nothing waits for the rows that are read for it, nor for whoever
collects the spans. Where nobody exports, `is_on` is all that is ever looked at.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import sqlalchemy as sa

from dnsworker.database import AWAY, reading
from dnsworker.tracing.notes import Note

if TYPE_CHECKING:
    from dnsworker.tracing.spans import Spans
    from dnsworker.tracing.trails import Trails

log = logging.getLogger(__name__)

#: Notes that wait; what comes when there are so many has no spans.
WAITING = 10_000
#: Notes whose rows are read together.
AT_ONCE = 200
#: How long a worker that ends goes on sending.
END_S = 3.0


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's variables name somewhere to send traces to."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if exporter := environ.get("OTEL_TRACES_EXPORTER", "").strip():
        return exporter != "none"
    return any(
        environ.get(name) for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    )


def of_environment() -> Spans | None:
    if not is_wanted(os.environ):
        return None
    try:
        from dnsworker.tracing import spans
    except ModuleNotFoundError as exc:
        # No ConfigError: the variables may be there for everything on the machine, and DNS goes on.
        log.warning(
            "no traces are sent, though OTEL_… says where to: %s is missing; pip install 'dnsworker[otel]'",
            exc.name,
        )
        return None
    return spans.of_environment(os.environ)


class Tracing:
    """Of one process. Off until it is started, and for ever where nobody exports. Safe for threads."""

    def __init__(self, make_spans: Callable[[], Spans | None] = of_environment) -> None:
        self.is_on = False
        self._make_spans = make_spans
        self._spans: Spans | None = None
        self._notes: queue.Queue[Note | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._is_full = False

    def start(self, engine: sa.Engine) -> None:
        self._spans = self._make_spans()
        if self._spans is None:
            return
        from dnsworker.tracing.trails import Trails

        trails = Trails(reading(engine), self._spans)
        self._thread = threading.Thread(target=self._run, args=(trails,), name="tracing", daemon=True)
        self._thread.start()
        self.is_on = True

    def stop(self) -> None:
        """Send what was noted; a few seconds at most."""
        self.is_on = False
        thread, self._thread = self._thread, None
        if thread is None or self._spans is None:
            return
        try:
            self._notes.put(None, timeout=END_S)
        except queue.Full:
            log.warning("%d notes have no spans: the database is too slow", self._notes.qsize())
        else:
            thread.join(END_S)
        self._spans.shutdown(END_S)

    def note(self, note: Note) -> None:
        try:
            self._notes.put_nowait(note)
        except queue.Full:
            if not self._is_full:
                log.warning("more happens than spans can be made of: some operations' traces have gaps")
            self._is_full = True
        else:
            self._is_full = False

    def _run(self, trails: Trails) -> None:
        is_last = False
        while not is_last:
            notes = [self._notes.get()]
            while len(notes) < AT_ONCE and not self._notes.empty():
                notes.append(self._notes.get())
            is_last = None in notes
            try:
                trails.follow([one for one in notes if one is not None])
            except AWAY as exc:
                log.warning(
                    "%d notes have no spans: the database is away (%s)", len(notes), type(exc).__name__
                )
            except Exception:  # whatever it is, the next ones have theirs
                log.exception("%d notes have no spans", len(notes))
