"""What an operator says about a PowerDNS target in pools.yaml; apart because the documentation lists it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from dnsworker.backend import Options


class PowerDNSOptions(Options):
    """Options of a `powerdns` target."""

    #: Address of the API: `http://host:8081`, with or without the final `/api/v1`.
    api_url: str
    #: `api-key` of pdns.conf.
    api_key: SecretStr
    #: PowerDNS itself knows only `localhost`; a proxy in front may know others.
    server_id: str = Field(default="localhost", pattern=r"^[A-Za-z0-9._-]+$")
    #: Of zones that we create. A zone that is there keeps its own.
    kind: Literal["Native", "Master"] = "Native"
    #: `auto` rectifies when a change can make or unmake an empty non-terminal, and always when the zone is
    #: signed; `never` leaves it to somebody else.
    rectify: Literal["auto", "always", "never"] = "auto"
    #: Check the certificate of an https address. Off only for a test.
    verify_tls: bool = True
    #: PEM file of the authorities to trust instead of the system's.
    ca_file: Path | None = None
    #: Whole-zone reads and large writes get at least this much time; keep it below the worker's `lease_s`.
    bulk_timeout_s: float = Field(default=30.0, gt=0)

    @field_validator("api_url")
    @classmethod
    def _is_base_url(cls, value: str) -> str:
        base = value.rstrip("/").removesuffix("/api/v1")
        if not base.startswith(("http://", "https://")) or "?" in base or "#" in base or "@" in base:
            raise ValueError("must be http://host:port or https://host:port, without a user or a query")
        return base
