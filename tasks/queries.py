"""The questions that services ask: `dnsworker.show_zone`, …; the answer is the task's result."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from dnsworker.database import AWAY
from dnsworker.errors import DNSWorkerError, InvalidRequest, NoAnswer
from dnsworker.requests.questions import QUERIES
from dnsworker.requests.request import POSITIONAL, PREFIX


def _query(kind: str) -> Any:
    # A refusal is raised as it is: its class is the code, its text the message, and no trace is logged.
    @shared_task(bind=True, name=PREFIX + kind, typing=False, ignore_result=False, throws=(DNSWorkerError,))
    def query(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        user = (self.request.properties or {}).get("user_id")
        try:
            return self.app.runtime.ask(kind, {POSITIONAL: len(args)} if args else kwargs, user)
        except InvalidRequest as exc:
            raise exc.with_traceback(None) from None
        except AWAY as exc:
            raise NoAnswer("the database is away; ask again") from exc

    return query


TASKS = {kind: _query(kind) for kind in QUERIES}
