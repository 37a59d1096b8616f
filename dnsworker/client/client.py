"""The client: one method per task, the same names and arguments, validated here before anything is sent."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dnsworker.client.ids import new_id
from dnsworker.client.operation import DryRun, Operation
from dnsworker.client.way import way_in
from dnsworker.operations import Change, Outcome, Preview
from dnsworker.requests.kinds import parse_request
from dnsworker.requests.questions import parse_query
from dnsworker.settings import Settings, load_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

DEFAULT_TIMEOUT_S = 5.0


class Client:
    """Submits changes and follows them. Safe to share between threads; a forked process becomes another.

    Operations of one client on one zone take effect in the order in which they were submitted.

    With `dry_run=True` a method asks what would happen now, and nothing does: what it returns has a
    `preview`, and its `wait()` returns at once, or raises `OperationFailed` with the refusal. That takes a
    worker that answers (else `NoAnswer`), as questions do, and no number of the client's.

    `broker_url` and `result_url` are DNSWORKER_BROKER_URL and DNSWORKER_RESULT_URL by default. With
    `database` (a URL or an engine) or `connection` (the caller's own: the submission is part of its
    transaction), operations go straight into the database. `timeout_s` bounds every call but `wait`.
    Raises `ConfigError`.
    """

    def __init__(
        self,
        broker_url: str | None = None,
        result_url: str | None = None,
        *,
        database: str | Engine | None = None,
        connection: Connection | None = None,
        pool: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        is_ordered: bool = True,
        settings: Settings | None = None,
    ) -> None:
        self._pool = pool
        self._way = way_in(
            broker_url,
            result_url,
            database=database,
            connection=connection,
            timeout_s=timeout_s,
            is_ordered=is_ordered,
            settings=settings or load_settings(),
        )
        _clients.add(self)

    def create_zone(
        self,
        zone: str,
        *,
        email: str,
        ttl: int = 3600,
        pool: str | None = None,
        force: bool = False,
        comment: str | None = None,
        operation_id: str | None = None,
        dry_run: bool = False,
    ) -> Operation:
        """A new zone with the pool's NS records. `ttl`, in seconds, is the default of its RRsets."""
        return self._submit("create_zone", locals())

    def update_zone(
        self,
        zone: str,
        *,
        email: str | None = None,
        ttl: int | None = None,
        refresh: int | None = None,
        retry: int | None = None,
        expire: int | None = None,
        minimum: int | None = None,
        pool: str | None = None,
        force: bool = False,
        comment: str | None = None,
        operation_id: str | None = None,
        dry_run: bool = False,
    ) -> Operation:
        """Other values in the SOA; `ttl` concerns RRsets that are created later."""
        return self._submit("update_zone", locals())

    def delete_zone(
        self,
        zone: str,
        *,
        pool: str | None = None,
        force: bool = False,
        comment: str | None = None,
        operation_id: str | None = None,
        dry_run: bool = False,
    ) -> Operation:
        """Remove the zone from all targets."""
        return self._submit("delete_zone", locals())

    def create_record(
        self,
        zone: str,
        name: str,
        type: str,
        data: Iterable[str],
        *,
        ttl: int | None = None,
        pool: str | None = None,
        force: bool = False,
        comment: str | None = None,
        operation_id: str | None = None,
        dry_run: bool = False,
    ) -> Operation:
        """A new RRset; fails if it exists. `ttl=None` takes the zone's default."""
        return self._submit("create_record", locals())

    def update_record(
        self,
        zone: str,
        name: str,
        type: str,
        data: Iterable[str],
        *,
        ttl: int | None = None,
        pool: str | None = None,
        force: bool = False,
        comment: str | None = None,
        operation_id: str | None = None,
        dry_run: bool = False,
    ) -> Operation:
        """Other data for an RRset; fails if it doesn't exist. `ttl=None` keeps its TTL."""
        return self._submit("update_record", locals())

    def put_record(
        self,
        zone: str,
        name: str,
        type: str,
        data: Iterable[str],
        *,
        ttl: int | None = None,
        pool: str | None = None,
        force: bool = False,
        comment: str | None = None,
        operation_id: str | None = None,
        dry_run: bool = False,
    ) -> Operation:
        """The RRset as given, whether or not it existed (upsert)."""
        return self._submit("put_record", locals())

    def delete_record(
        self,
        zone: str,
        name: str,
        type: str,
        *,
        pool: str | None = None,
        force: bool = False,
        comment: str | None = None,
        operation_id: str | None = None,
        dry_run: bool = False,
    ) -> Operation:
        """Remove an RRset; fails if it doesn't exist."""
        return self._submit("delete_record", locals())

    def change_zone(
        self,
        zone: str,
        changes: Iterable[Change | Mapping[str, Any]],
        *,
        pool: str | None = None,
        force: bool = False,
        comment: str | None = None,
        operation_id: str | None = None,
        dry_run: bool = False,
    ) -> Operation:
        """Several RRsets of one zone, all or nothing."""
        changes = [wish.to_json() if isinstance(wish, Change) else dict(wish) for wish in changes]
        return self._submit("change_zone", locals())

    def import_zone(
        self,
        zone: str,
        *,
        text: str,
        email: str | None = None,
        adopt: bool = False,
        pool: str | None = None,
        force: bool = False,
        comment: str | None = None,
        operation_id: str | None = None,
        dry_run: bool = False,
    ) -> Operation:
        """Make the zone's contents those of a zone file; creates the zone if there is none.

        The apex NS and the SOA's names are the pool's; with `adopt` they, and the serial, are the file's, so
        that servers which have the zone already go on serving it unchanged.
        """
        return self._submit("import_zone", locals())

    def restore_zone(
        self,
        zone: str,
        *,
        serial: int | None = None,
        to: datetime | str | None = None,
        pool: str | None = None,
        force: bool = False,
        comment: str | None = None,
        operation_id: str | None = None,
        dry_run: bool = False,
    ) -> Operation:
        """Bring back what the zone was at a serial or at a time, as a new change under a new serial.

        `to` has an offset from UTC: an aware `datetime`, or ISO 8601. What others changed since goes, too. A
        zone that was deleted is created again.
        """
        to = to.isoformat() if isinstance(to, datetime) else to
        return self._submit("restore_zone", locals())

    def move_zone(
        self,
        zone: str,
        *,
        to: str,
        pool: str | None = None,
        force: bool = False,
        comment: str | None = None,
        operation_id: str | None = None,
        dry_run: bool = False,
    ) -> Operation:
        """Take the zone from its pool to another; its apex NS become that pool's.

        It is removed from the old pool when enough nameservers of the new one answer with it. Until then
        changes go to the old one, and with the zone to the new one.
        """
        return self._submit("move_zone", locals())

    def show_zone(self, zone: str, *, pool: str | None = None) -> dict[str, Any]:
        """The zone as it stands, with each target's and nameserver's state. Raises `ZoneNotFound`."""
        answer: dict[str, Any] = self._ask("show_zone", locals())
        return answer

    def list_records(
        self, zone: str, *, name: str | None = None, type: str | None = None, pool: str | None = None
    ) -> list[dict[str, Any]]:
        """The zone's RRsets: `name`, `type`, `ttl`, `data`. Raises `ZoneNotFound`."""
        answer: list[dict[str, Any]] = self._ask("list_records", locals())
        return answer

    def export_zone(self, zone: str, *, pool: str | None = None) -> str:
        """The zone as a zone file. Raises `ZoneNotFound`."""
        answer: str = self._ask("export_zone", locals())
        return answer

    def show_history(
        self,
        zone: str,
        *,
        name: str | None = None,
        serial: int | None = None,
        before: int | None = None,
        limit: int = 20,
        pool: str | None = None,
    ) -> dict[str, Any]:
        """What was changed in the zone, newest first, with who did it; deleted zones included.

        Each of `changes` has its `serial`, `at`, `who`, `kind`, `operation`, and the `rrsets` before and
        after: the first fifty, or with `serial` that change alone and all of them. `older`, where it isn't
        None, is what to pass as `before` for the next ones. Raises `ZoneNotFound`.
        """
        answer: dict[str, Any] = self._ask("show_history", locals())
        return answer

    def show_operation(self, operation_id: str) -> Outcome:
        """All that is known of an operation. Raises `OperationNotFound`."""
        return self._way.show(operation_id)

    def operation(self, operation_id: str) -> Operation:
        """A handle on an operation that was submitted before, by whomever."""
        return Operation(self._way, operation_id)

    def close(self) -> None:
        """Close all connections. Submissions are safe without it."""
        self._way.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} by {type(self._way).__name__.lower()} way>"  # no URLs: passwords

    def _submit(self, kind: str, given: dict[str, Any]) -> Operation:
        arguments = self._arguments(given)
        operation_id = arguments.pop("operation_id", None) or new_id()
        if isinstance(arguments.get("data"), str):
            arguments["data"] = [arguments["data"]]
        elif "data" in arguments:
            arguments["data"] = list(arguments["data"])
        dry_run = arguments.pop("dry_run")
        request = parse_request(kind, arguments)
        if dry_run:
            asked = {"task": kind, "arguments": request.payload(), "id": operation_id}
            preview = Preview.model_validate(self._way.ask("dry_run", asked))
            return DryRun(self._way, operation_id, preview)
        self._way.submit(operation_id, request)
        return Operation(self._way, operation_id, kind, request.zone, request.digest)

    def _ask(self, kind: str, given: dict[str, Any]) -> Any:
        query = parse_query(kind, self._arguments(given))
        return self._way.ask(kind, query.model_dump(exclude_none=True))

    def _arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        arguments = {name: value for name, value in given.items() if name != "self" and value is not None}
        if self._pool is not None:
            arguments.setdefault("pool", self._pool)
        return arguments


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _after_fork() -> None:
    for client in list(_clients):
        client._way.after_fork()


os.register_at_fork(after_in_child=_after_fork)
