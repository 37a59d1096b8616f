"""The way in through the database: an operation is a row from the start, a message only wakes a worker.

Separate because it is the only part of the client that needs SQLAlchemy.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from dnsworker import broker, database, history, intake, preview
from dnsworker.client import mailbox
from dnsworker.client.mailbox import Mailbox
from dnsworker.client.waker import Waker
from dnsworker.errors import ConfigError, OperationNotFound, SubmissionFailed
from dnsworker.operations import Outcome
from dnsworker.permissions import PermissionsFile
from dnsworker.reports.outcomes import show_operation
from dnsworker.reports.zones import export_zone, list_records, show_zone
from dnsworker.requests.questions import parse_query
from dnsworker.requests.request import Request
from dnsworker.settings import EMBEDDED_BROKER, Settings
from dnsworker.store.pools import PoolDirectory
from dnsworker.tracing import submitting

log = logging.getLogger(__name__)

FIRST_POLL_S, LAST_POLL_S = 0.01, 0.25
#: With Redis the outcome is pushed; looking at the row is for the case that the push was lost.
POLL_BESIDE_PUSH_S = 1.0


class Local:
    """Submits in a transaction of its own, or in that of the caller's connection."""

    def __init__(
        self,
        target: str | Engine | None,
        connection: Connection | None,
        *,
        broker_url: str | None,
        result_url: str | None,
        ca_bundle: Path | None,
        timeout_s: float,
        settings: Settings,
    ) -> None:
        self._settings = settings
        if target is not None and connection is not None:
            raise ConfigError("give database= or connection=, not both")
        self._connection = connection
        self._owns_engine = isinstance(target, str)
        if isinstance(target, str):
            self._engine = database.connect(target, pool_size=5)
        else:
            engine = target if connection is None else connection.engine
            assert engine is not None
            self._engine = engine
        self._waker = self._make_waker(broker_url, ca_bundle, timeout_s)
        self._mailbox = Mailbox(result_url) if result_url else None
        self._result_url = result_url
        if connection is not None and self._waker is not None:
            database.on_commit(connection, self._wake_soon)

    def _make_waker(self, broker_url: str | None, ca_bundle: Path | None, timeout_s: float) -> Waker | None:
        if broker_url is not None:
            return Waker(broker.Publisher(broker_url, ca_bundle=ca_bundle), timeout_s)
        url = self._engine.url
        if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
            return None  # the sweep finds the row
        options = broker.folder_options(Path(url.database).parent)
        return Waker(broker.Publisher(EMBEDDED_BROKER, options=options), timeout_s)

    def submit(self, operation_id: str, request: Request) -> None:
        """Raises `SubmissionFailed` when the database is away, or what the caller's connection raises."""
        way = submitting.INTO_DATABASE
        with submitting.sending(way, operation_id, request.kind, request.zone) as traceparent:
            self._insert(operation_id, request, traceparent)
        if self._connection is None and self._waker is not None:
            self._waker.wake()

    def _insert(self, operation_id: str, request: Request, traceparent: str | None) -> None:
        if self._connection is not None:
            intake.submit(self._connection, operation_id, request, traceparent=traceparent)
            return
        try:
            with self._engine.begin() as connection:
                intake.submit(connection, operation_id, request, traceparent=traceparent)
        except database.AWAY as exc:
            # A commit whose answer was lost may have happened.
            raise SubmissionFailed(
                f"the database did not confirm it: {type(exc).__name__}",
                may_have_arrived=True,
                operation_id=operation_id,
            ) from exc

    @cached_property
    def _intake(self) -> intake.Intake:
        """To see what a worker's would do; this process's settings and backends stand for the worker's.

        Whoever has the database is not judged.
        """
        unlimited = PermissionsFile(None)
        return intake.Intake(self._engine, PoolDirectory(self._engine), self._settings, unlimited)

    def _wake_soon(self) -> None:
        # SQLAlchemy tells of a commit just before it happens: wake once soon, and once if it was slow.
        if self._waker is not None:
            self._waker.wake(after_s=0.01)
            self._waker.wake(after_s=0.25)

    def ask(self, kind: str, arguments: dict[str, Any]) -> Any:
        query = parse_query(kind, arguments)
        if kind == "dry_run":
            return preview.foresee(self._intake, query, None, self._connection).model_dump(mode="json")
        with self._reading() as connection:
            if kind == "show_history":
                return history.show_history(connection, query)
            if kind == "show_zone":
                return show_zone(connection, query.zone, query.pool)
            if kind == "export_zone":
                return export_zone(connection, query.zone, query.pool)
            assert kind == "list_records", kind
            return list_records(connection, query.zone, query.pool, query.owner, query.type)

    def show(self, operation_id: str) -> Outcome:
        with self._reading() as connection:
            return show_operation(connection, operation_id)

    def wait(self, operation_id: str, timeout_s: float) -> Outcome | None:
        """The outcome, final or the last that was known; None if there is no such row yet."""
        deadline = time.monotonic() + timeout_s
        outcome: Outcome | None = None
        pause_s = FIRST_POLL_S
        while True:
            try:
                outcome = self._show_apart(operation_id)
            except OperationNotFound:
                pass  # the transaction that submits it may still be open
            except database.AWAY as exc:
                log.warning("waiting for %s: the database is away (%s)", operation_id, type(exc).__name__)
            left_s = deadline - time.monotonic()
            if left_s <= 0 or (outcome is not None and outcome.status.is_final):
                return outcome
            self._pause(operation_id, min(left_s, POLL_BESIDE_PUSH_S if self._mailbox else pause_s))
            pause_s = min(LAST_POLL_S, pause_s * 1.3)

    def _pause(self, operation_id: str, pause_s: float) -> None:
        if self._mailbox is not None:
            try:
                with self._mailbox.watch(operation_id) as watch:
                    if watch.next(pause_s) is None:
                        return
                    pause_s = FIRST_POLL_S  # told, though the row isn't final: don't ask it in a hot loop
            except mailbox.ERRORS as exc:
                log.info("waiting for %s: Redis failed (%s)", operation_id, type(exc).__name__)
        time.sleep(min(pause_s, LAST_POLL_S))

    def _show_apart(self, operation_id: str) -> Outcome:
        # Not on the caller's connection, whose transaction may see an old state for as long as it is open.
        with database.reading(self._engine).connect() as connection:
            return show_operation(connection, operation_id)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        if self._connection is not None:
            yield self._connection  # the caller sees what it has submitted itself
            return
        with database.reading(self._engine).connect() as connection:
            yield connection

    def close(self) -> None:
        if self._waker is not None:
            self._waker.close()
        if self._mailbox is not None:
            self._mailbox.close()
        if self._owns_engine:
            self._engine.dispose()

    def after_fork(self) -> None:
        """Other connections; the parent's stay open for the parent."""
        if self._owns_engine:
            self._engine.dispose(close=False)
        if self._waker is not None:
            self._waker.after_fork()
        if self._result_url is not None:
            self._mailbox = Mailbox(self._result_url)
