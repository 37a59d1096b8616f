"""What every command has: `--json`, the settings, and the way to the workers or the database.

Separate so that a command names what it needs, and pays for nothing else.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dnsworker.errors import ConfigError, SubmissionFailed

if TYPE_CHECKING:
    from dnsworker.client import Client
    from dnsworker.settings import Settings

R = TypeVar("R")

#: The sweep repeats a wake-up: nobody waits long for a broker.
WAKE_TIMEOUT_S = 3.0


class Session:
    """One run of one command."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        #: How long the client may take for a submission or an answer; None: as it is used to.
        self.answer_timeout_s: float | None = None

    @functools.cached_property
    def settings(self) -> Settings:
        from dnsworker.settings import load_settings

        return load_settings()

    @functools.cached_property
    def client(self) -> Client:
        """To the workers: over the broker, or through the database where there is none."""
        from dnsworker.client import Client
        from dnsworker.client.client import DEFAULT_TIMEOUT_S

        timeout_s = self.answer_timeout_s or DEFAULT_TIMEOUT_S
        if not self.settings.is_embedded:
            return Client(timeout_s=timeout_s)
        self.check_started()
        return Client(database=self.settings.database(), timeout_s=timeout_s)

    def close(self) -> None:
        """End the client's connections; a wake-up that was due is sent first."""
        client = self.__dict__.pop("client", None)
        if client is not None:
            client.close()

    @contextmanager
    def engine(self) -> Iterator[Any]:
        """The database, for what needs several transactions."""
        from dnsworker import database

        self.check_started()
        engine = database.connect(self.settings.database(), pool_size=1)
        try:
            database.check_version(engine)
            yield engine
        finally:
            engine.dispose()

    @contextmanager
    def connection(self, *, writes: bool = False) -> Iterator[Any]:
        """A database connection in one transaction (committed at the end, rolled back by an error)."""
        from dnsworker import database

        with (
            self.engine() as engine,
            (engine if writes else database.reading(engine)).begin() as connection,
        ):
            yield connection

    def wake(self, targets: Iterable[str]) -> bool:
        """Have workers look at these targets now. False when that couldn't be said: the sweep does it."""
        from dnsworker import broker
        from dnsworker.client.waker import delivery_wake_up

        options = broker.folder_options(self.data_dir) if self.settings.is_embedded else None
        publisher = broker.Publisher(
            self.settings.broker(), ca_bundle=self.settings.ca_bundle, options=options
        )
        try:
            for target in targets:
                publisher.publish(delivery_wake_up(target), WAKE_TIMEOUT_S)
        except (SubmissionFailed, ConfigError):
            return False
        finally:
            publisher.close()
        return True

    def check_started(self) -> None:
        if self.settings.database_url is None and not (self.data_dir / "dnsworker.db").exists():
            raise ConfigError(
                f"no dnsworker in {self.data_dir} yet: start one with `dnsworker up`, "
                "or set DNSWORKER_BROKER_URL and DNSWORKER_DATABASE_URL"
            )

    @property
    def data_dir(self) -> Path:
        return self.settings.data_dir.expanduser()


def with_session(function: Callable[..., R]) -> Callable[..., R]:
    """Give the command `--json` and pass it a `Session` first."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> R:
        session = Session(bool(kwargs.pop("as_json")))
        try:
            return function(session, *args, **kwargs)
        finally:
            session.close()

    return run


def need_checkout(command: str) -> None:
    """Raises `ConfigError` where only the wheel is installed, which has neither backends nor tasks."""
    missing = [name for name in ("backends", "migrations", "tasks") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"`dnsworker {command}` runs from a checkout or the image: the wheel is for submitting "
            f"(it has no {', '.join(missing)})"
        )
