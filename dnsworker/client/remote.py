"""The way in over the broker: submissions to `dns.intake`, questions to `dns.query`, results from Redis.

Separate from the database way, so that a client that only submits needs no SQLAlchemy.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnsworker.broker import Publisher
from dnsworker.client.ids import new_id
from dnsworker.client.numbering import Numbering
from dnsworker.errors import (
    ConfigError,
    DNSWorkerError,
    InvalidRequest,
    NoAnswer,
    OperationFailed,
    SubmissionFailed,
)
from dnsworker.messages import Message
from dnsworker.operations import Outcome
from dnsworker.queues import INTAKE_KEY, QUERY_KEY, SUBMIT
from dnsworker.requests.request import PREFIX, Request
from dnsworker.tracing import submitting

if TYPE_CHECKING:
    from dnsworker.client.mailbox import Mailbox, Watch

log = logging.getLogger(__name__)

#: The outcome is pushed; asking is for the case that the push was lost.
FIRST_QUESTION_S, LAST_QUESTION_S = 3.0, 15.0
WAY = submitting.over_rabbitmq(SUBMIT.name, INTAKE_KEY)


class Remote:
    """Publishes within `timeout_s`, numbers what it publishes (`is_ordered`), and waits by push."""

    def __init__(
        self,
        broker_url: str,
        result_url: str | None,
        *,
        ca_bundle: Path | None,
        timeout_s: float,
        is_ordered: bool,
    ) -> None:
        self._result_url = result_url
        self._timeout_s = timeout_s
        self._is_ordered = is_ordered
        self._publisher = Publisher(broker_url, ca_bundle=ca_bundle)
        self._mailbox: Mailbox | None = None
        self._numbering = Numbering()

    def submit(self, operation_id: str, request: Request) -> None:
        """Raises `SubmissionFailed` unless the broker has confirmed it."""
        if not self._is_ordered:
            self._publish(operation_id, request, None, self._timeout_s)
            return
        deadline = time.monotonic() + self._timeout_s
        with self._numbering.place(request.zone, self._timeout_s) as order:
            self._publish(operation_id, request, order.model_dump(), deadline - time.monotonic())

    def _publish(
        self, operation_id: str, request: Request, order: dict[str, Any] | None, timeout_s: float
    ) -> None:
        with submitting.sending(WAY, operation_id, request.kind, request.zone) as traceparent:
            message = Message(
                PREFIX + request.kind,
                operation_id,
                request.payload() | ({"order": order} if order else {}),
                SUBMIT.name,
                INTAKE_KEY,
                summary=request.summary(),
                traceparent=traceparent,
            )
            try:
                self._publisher.publish(message, max(0.001, timeout_s))
            except SubmissionFailed as exc:
                exc.operation_id = operation_id
                raise

    def ask(self, kind: str, arguments: dict[str, Any]) -> Any:
        """A worker's answer. Raises `InvalidRequest`, or `NoAnswer` when none came within `timeout_s`."""
        from dnsworker.client import mailbox

        deadline = time.monotonic() + self._timeout_s
        results, question = self._results(), new_id()
        try:
            with results.watch(question) as watch:
                self._publish_question(question, kind, arguments, self._timeout_s)
                record = watch.next(deadline - time.monotonic())
            if record is None:
                raise NoAnswer(f"no worker answered {kind} within {self._timeout_s:g} s")
            results.discard(question)
        except mailbox.ERRORS as exc:
            said = str(exc).partition("\n")[0] or type(exc).__name__
            raise NoAnswer(f"Redis, which carries the answers, failed: {said}") from exc
        return mailbox.value_of(record)

    def show(self, operation_id: str) -> Outcome:
        return Outcome.model_validate(self.ask("show_operation", {"id": operation_id}))

    def wait(self, operation_id: str, timeout_s: float) -> Outcome | None:
        """The outcome, final or the last that was known; None if nothing was heard."""
        from dnsworker.client import mailbox

        waiting = _Waiting(self, operation_id, timeout_s)
        results = self._results()
        while not waiting.is_over:
            try:
                with results.watch(operation_id) as watch:
                    waiting.listen(watch)
            except mailbox.ERRORS as exc:
                log.warning(
                    "waiting for %s: Redis failed (%s); trying again", operation_id, type(exc).__name__
                )
                time.sleep(min(0.5, waiting.left_s))
        return waiting.outcome

    def ask_later(self, watch: Watch, operation_id: str, timeout_s: float) -> str | None:
        """Ask how the operation stands; the answer comes to `watch` under the returned id."""
        question = new_id()
        watch.add(question)
        try:
            self._publish_question(question, "show_operation", {"id": operation_id}, timeout_s)
        except SubmissionFailed as exc:
            log.info("waiting for %s: can't ask how it stands: %s", operation_id, exc)
            return None
        return question

    def _publish_question(
        self, question: str, kind: str, arguments: dict[str, Any], timeout_s: float
    ) -> None:
        message = Message(
            PREFIX + kind,
            question,
            {key: value for key, value in arguments.items() if value is not None},
            SUBMIT.name,
            QUERY_KEY,
            summary=_summary(kind, arguments),
            is_durable=False,
            wants_result=True,
        )
        self._publisher.publish(message, max(0.001, timeout_s))

    def _results(self) -> Mailbox:
        if self._result_url is None:
            raise ConfigError(
                "without DNSWORKER_RESULT_URL (or result_url=) operations can be submitted, "
                "but nothing can be asked or waited for"
            )
        if self._mailbox is None:
            # Celery's result backends take longer to import than all of ours; submitting needs none.
            from dnsworker.client.mailbox import Mailbox

            self._mailbox = Mailbox(self._result_url)
        return self._mailbox

    def close(self) -> None:
        self._publisher.close()
        if self._mailbox is not None:
            self._mailbox.close()

    def after_fork(self) -> None:
        """A forked process is another client: other numbers, other connections."""
        self._publisher.abandon()
        self._mailbox = None
        self._numbering = Numbering()


class _Waiting:
    """One `wait()`: listens for the outcome, and asks now and then."""

    def __init__(self, remote: Remote, operation_id: str, timeout_s: float) -> None:
        self._remote, self._id = remote, operation_id
        self._deadline = time.monotonic() + timeout_s
        # A short wait that ends without an outcome should still say where the operation is.
        self._pause_s = min(FIRST_QUESTION_S, timeout_s / 2)
        self.outcome: Outcome | None = None

    @property
    def left_s(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    @property
    def is_over(self) -> bool:
        return self.left_s <= 0 or (self.outcome is not None and self.outcome.status.is_final)

    def listen(self, watch: Watch) -> None:
        while not self.is_over:
            record = watch.next(min(self._pause_s, self.left_s))
            if record is not None:
                self._hear(record)
            elif self.left_s > 0:
                self._remote.ask_later(watch, self._id, min(2.0, self.left_s))
                self._pause_s = min(LAST_QUESTION_S, self._pause_s * 1.5)

    def _hear(self, record: dict[str, Any]) -> None:
        from dnsworker.client.mailbox import value_of

        try:
            found = value_of(record)
        except OperationFailed as exc:
            found = exc.outcome
        except InvalidRequest:
            return  # no worker has taken it in yet
        except DNSWorkerError as exc:
            log.info("waiting for %s: %s", self._id, exc)
            return
        if isinstance(found, dict):
            outcome = Outcome.model_validate(found)
            if self.outcome is None or not self.outcome.status.is_final:
                self.outcome = outcome


def _summary(kind: str, arguments: dict[str, Any]) -> str:
    """A question in a few words, for people: logs, Flower."""
    if kind == "dry_run":
        return f"dry_run {arguments['task']} {arguments['arguments'].get('zone')}"
    return f"{kind} {arguments.get('zone') or arguments.get('id')}"
