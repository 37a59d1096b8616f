"""Everything that the environment decides, read once into one frozen object and passed on.

`DNSWORKER_<NAME>` sets a value; `DNSWORKER_<NAME>_FILE` names a file that holds it (for secrets).
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from dnsworker import tls
from dnsworker.errors import ConfigError

ENV_PREFIX = "DNSWORKER_"
#: Wake-ups over files: see `dnsworker.wakeup_files`.
EMBEDDED_BROKER = "dnsworker-files://"


class Settings(BaseSettings):
    """The settings of one process. URLs are secrets: they carry passwords."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="ignore", env_ignore_empty=True
    )

    #: RabbitMQ; unset means embedded: wake-ups over files in `data_dir`.
    broker_url: SecretStr | None = None
    #: Redis, where outcomes are pushed to waiters and queries answered.
    result_url: SecretStr | None = None
    #: PostgreSQL, MariaDB or SQLite; unset means SQLite in `data_dir`.
    database_url: SecretStr | None = None
    #: Redis for what workers share (rate budgets).
    redis_url: SecretStr | None = None
    #: Authorities (PEM) for TLS to broker, Redis and database; unset means the system's.
    ca_bundle: Path | None = None
    #: Path of pools.yaml, for `pool apply` and for the embedded system's first start.
    pools: Path | None = None
    #: Path of permissions.yaml; unset means that every submitter may do everything.
    permissions: Path | None = None
    #: State of the embedded system.
    data_dir: Path = Field(default_factory=lambda: Path.home() / ".local" / "share" / "dnsworker")

    #: How long an operation waits for a missing earlier one of its client.
    ordering_grace_s: float = Field(default=30.0, gt=0)
    #: How long a worker may hold a delivery without renewing its claim.
    lease_s: float = Field(default=60.0, gt=5)
    #: How often the sweep looks for what is due.
    sweep_interval_s: float = Field(default=2.0, gt=0)
    #: How long, at most, a busy target's changes are gathered before they go together; 0: never.
    gather_s: float = Field(default=0.2, ge=0)
    #: Back-off of a failed delivery: full jitter, from `retry_base_s` doubling up to `retry_cap_s`.
    retry_base_s: float = Field(default=0.5, gt=0)
    retry_cap_s: float = Field(default=300.0, gt=0)
    #: Failures in a row after which a target is probed with one delivery at a time.
    breaker_failures: int = Field(default=3, ge=1)
    #: A change may remove this share of a zone's RRsets without `force`, counted from `guard_minimum` on.
    guard_share: float = Field(default=0.3, gt=0, le=1)
    guard_minimum: int = Field(default=10, ge=1)
    #: How often a zone in which nothing changes is looked at, at each target: by its serial; in full.
    compare_serial_s: float = Field(default=3600.0, gt=0)
    compare_full_s: float = Field(default=86400.0, gt=0)
    #: Looks at one target a minute, over all workers.
    compare_per_minute: float = Field(default=1200.0, gt=0)
    #: So long, and at least so many serials of a zone, the journal is kept; and operations, from their end.
    #: Within this time a repeated message is known, and changes nothing.
    keep_days: float = Field(default=90.0, ge=7)
    keep_serials: int = Field(default=1000, ge=1)
    #: How long a nameserver has to answer one question.
    query_timeout_s: float = Field(default=1.0, gt=0)
    #: The built-in nameserver of `dnsworker up`.
    nameserver_host: str = "127.0.0.1"
    nameserver_port: int = Field(default=5300, ge=0, le=65535)
    #: How long a worker that is told to stop may finish what it runs; then the process ends hard, and
    #: the broker delivers again what it held.
    shutdown_grace_s: float = Field(default=30.0, gt=0)
    #: Threads of a worker process.
    concurrency: int = Field(default=16, ge=1)
    #: Where a process answers for its metrics and health; without a port it doesn't.
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    #: The status page of `dnsworker dashboard`, and who may see it: `user:password`.
    dashboard_host: str = "127.0.0.1"
    dashboard_port: int = Field(default=8053, ge=0, le=65535)
    dashboard_auth: SecretStr | None = None
    #: Where people reach Flower: the status page links an operation to its task there.
    flower_url: str | None = None
    log_level: str = "INFO"
    log_format: str = Field(default="console", pattern="^(console|json)$")

    @property
    def is_embedded(self) -> bool:
        """Whether there is no broker to talk to."""
        return self.broker_url is None

    @field_validator("ca_bundle")
    @classmethod
    def _ca_bundle(cls, value: Path | None) -> Path | None:
        try:
            if value is not None:
                ssl.create_default_context(cafile=value)
        except ssl.SSLError as exc:
            raise ValueError(f"{value} holds no certificates in PEM") from exc
        except OSError as exc:
            raise ValueError(f"can't read {value}: {exc.strerror}") from exc
        return value

    def database(self) -> str:
        """The database URL, password included."""
        if self.database_url is not None:
            return tls.database_url(self.database_url.get_secret_value(), self.ca_bundle)
        return f"sqlite:///{self.data_dir.expanduser() / 'dnsworker.db'}"

    def broker(self) -> str:
        """The broker URL for Celery, password included."""
        return EMBEDDED_BROKER if self.broker_url is None else self.broker_url.get_secret_value()

    def result(self) -> str | None:
        """The result URL for Celery, password included; None where nobody can be told."""
        return self._redis(self.result_url)

    def redis(self) -> str | None:
        """The URL of the Redis that workers share, password included; None where there is none."""
        return self._redis(self.redis_url)

    def _redis(self, url: SecretStr | None) -> str | None:
        return None if url is None else tls.redis_url(url.get_secret_value(), self.ca_bundle)

    @field_validator("flower_url")
    @classmethod
    def _flower_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is no address of a web page, such as https://flower.example.net")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("must be the plain address, without a login, ? or #: it is shown to people")
        return value.rstrip("/")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, _FileSource(settings_cls))


class _FileSource(PydanticBaseSettingsSource):
    """`DNSWORKER_X_FILE=/run/secrets/x` reads the value of `DNSWORKER_X` from that file."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        variable = f"{ENV_PREFIX}{field_name.upper()}_FILE"
        path = os.environ.get(variable)
        if not path:
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except OSError as exc:
            raise ConfigError(f"{variable}: can't read {path}: {exc.strerror}") from exc

    def __call__(self) -> dict[str, Any]:
        found = {
            name: self.get_field_value(info, name)[0] for name, info in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in found.items() if value is not None}


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process from its environment. Raises `ConfigError` in one line."""
    try:
        return Settings(**overrides)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        variable = ENV_PREFIX + "_".join(str(step) for step in first["loc"]).upper()
        raise ConfigError(f"{variable}: {first['msg'].removeprefix('Value error, ')}") from exc
