"""The wake-ups that workers send each other. Whatever goes wrong here, the rows are due all the same."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from dnsworker.database import AWAY
from dnsworker.queues import DELIVER_TASK, INTAKE_TASK, SWEEP_TASK

DATABASE_AWAY = "the database is away"


@shared_task(bind=True, name=DELIVER_TASK)
def deliver(self: Any, /, target: str, **_: Any) -> str:
    """Handle what is due for one target."""
    try:
        summary: str = self.app.runtime.deliver(target)
    except AWAY:
        return DATABASE_AWAY
    return summary


@shared_task(bind=True, name=INTAKE_TASK)
def intake(self: Any, /, **_: Any) -> str:
    """Take in what was submitted straight into the database."""
    try:
        self.app.runtime.take_in()
    except AWAY:
        return DATABASE_AWAY
    return "done"


# Every two seconds one that had nothing to do: Flower would show nothing else. Logs and metrics tell of them.
@shared_task(bind=True, name=SWEEP_TASK, send_events=False)
def sweep(self: Any, /, **_: Any) -> str:
    """Look for everything that is due and that nobody was woken for."""
    try:
        counts: dict[str, int] = self.app.runtime.sweep()
    except AWAY:
        return DATABASE_AWAY
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "nothing due"
