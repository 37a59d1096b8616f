"""The tasks that services submit: `dnsworker.create_zone`, …; each is one intake.

What is small doesn't come here: `tasks.batches` takes it in together with others.
"""

from __future__ import annotations

from typing import Any

from celery import shared_task

from dnsworker.errors import InvalidRequest, OperationFailed
from dnsworker.operations import Status
from dnsworker.requests.kinds import OPERATIONS
from dnsworker.requests.request import POSITIONAL, PREFIX
from dnsworker.tracing.context import readable
from tasks.batches import told
from tasks.patience import KeptTask, patiently

#: These read or write a whole zone, which may take seconds.
ALONE = ("import_zone", "restore_zone", "delete_zone")


def _submission(kind: str) -> Any:
    # Arguments are validated inside: what Celery finds wrong itself, it acknowledges and forgets.
    @shared_task(
        bind=True, name=PREFIX + kind, base=KeptTask, typing=False, ignore_result=True,
        Strategy="celery.worker.strategy:default" if kind in ALONE else "tasks.batches:strategy",
    )  # fmt: skip
    def submission(self: Any, /, *args: Any, **kwargs: Any) -> str:
        arguments = {POSITIONAL: len(args)} if args else kwargs
        user = (self.request.properties or {}).get("user_id")
        traceparent = readable(self.request.get("traceparent"))
        try:
            outcome = patiently(
                lambda: self.app.runtime.receive(self.request.id, kind, arguments, user, traceparent)
            )
        except InvalidRequest as exc:
            # The id is another operation's, whose outcome stands.
            raise OperationFailed(exc.code, exc.message) from None
        if outcome.status is Status.ERROR:
            # The runtime has told whoever waits; this is for Flower.
            raise OperationFailed(outcome.code or "Error", outcome.message or "no reason given")
        return told(outcome)

    return submission


TASKS = {kind: _submission(kind) for kind in OPERATIONS}
