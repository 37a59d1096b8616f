"""The ways in, and which of them a client takes.

Separate from the client, which has the same methods whichever it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from dnsworker import tls
from dnsworker.client.remote import Remote
from dnsworker.errors import ConfigError
from dnsworker.operations import Outcome
from dnsworker.requests.request import Request
from dnsworker.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


class Way(Protocol):
    """A way in: over the broker, or straight into the database."""

    def submit(self, operation_id: str, request: Request) -> None: ...
    def ask(self, kind: str, arguments: dict[str, Any]) -> Any: ...
    def show(self, operation_id: str) -> Outcome: ...
    def wait(self, operation_id: str, timeout_s: float) -> Outcome | None: ...
    def close(self) -> None: ...
    def after_fork(self) -> None: ...


def way_in(
    broker_url: str | None,
    result_url: str | None,
    *,
    database: str | Engine | None,
    connection: Connection | None,
    timeout_s: float,
    is_ordered: bool,
    settings: Settings,
) -> Way:
    """The way that the arguments, or else the settings, lead to. Raises `ConfigError`."""
    result_url = tls.redis_url(result_url, settings.ca_bundle) if result_url else settings.result()
    if broker_url is None and not settings.is_embedded:
        broker_url = settings.broker()
    if database is None and connection is None and broker_url is None:
        database = _database_of(settings)
    if database is None and connection is None:
        assert broker_url is not None
        return Remote(
            broker_url,
            result_url,
            ca_bundle=settings.ca_bundle,
            timeout_s=timeout_s,
            is_ordered=is_ordered,
        )
    return _local_way(
        database,
        connection,
        broker_url=broker_url,
        result_url=result_url,
        ca_bundle=settings.ca_bundle,
        timeout_s=timeout_s,
        settings=settings,
    )


def _database_of(settings: Settings) -> str:
    if settings.database_url is None and not (settings.data_dir.expanduser() / "dnsworker.db").exists():
        raise ConfigError(
            "no broker: set DNSWORKER_BROKER_URL (or broker_url=), or start an embedded system: dnsworker up"
        )
    return settings.database()


def _local_way(
    database: str | Engine | None,
    connection: Connection | None,
    **options: Any,
) -> Way:
    try:
        from dnsworker.client.local import Local
    except ModuleNotFoundError as exc:
        raise ConfigError("this needs the database client: pip install 'dnsworker[database]'") from exc
    return Local(database, connection, **options)
