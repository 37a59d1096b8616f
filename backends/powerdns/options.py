"""What an operator says about a PowerDNS target in pools.yaml; apart because the documentation lists it."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from dnsworker.backend import Options


class PowerDNSOptions(Options):
    """Options of a `powerdns` target."""

    #: Address of the API: `http://host:8081`, with or without the final `/api/v1`.
    api_url: str
    #: `api-key` of pdns.conf.
    api_key: SecretStr
    #: PowerDNS itself knows only `localhost`; a proxy in front may know others.
    server_id: str = Field(default="localhost", pattern=r"^[A-Za-z0-9._-]+$")
    #: `primary`: we write to PowerDNS. `secondary`: it transfers the zones from the target's `masters`.
    mode: Literal["primary", "secondary"] = "primary"
    #: A secondary's: ids of TSIG keys in PowerDNS, for transfers from the `masters`.
    masters_tsig_key_ids: tuple[str, ...] = ()
    #: Of zones that we create. A zone that is there keeps its own.
    kind: Literal["Native", "Master"] = "Native"
    #: `auto` rectifies when a change can make or unmake an empty non-terminal, and always when the zone is
    #: signed; `never` leaves it to somebody else.
    rectify: Literal["auto", "always", "never"] = "auto"
    #: Who counts: "", our serials are kept; else PowerDNS makes its own with each change, by this rule.
    soa_edit_api: Literal["", "DEFAULT", "INCREASE", "EPOCH", "SOA-EDIT", "SOA-EDIT-INCREASE"] = ""
    #: true: PowerDNS signs the zones, with keys that it makes. false: those keys are removed. None: as it is.
    dnssec: bool | None = None
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

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.mode == "primary":
            if self.masters_tsig_key_ids:
                raise ValueError("masters_tsig_key_ids go with mode: secondary")
            return self
        if self.soa_edit_api:
            raise ValueError("soa_edit_api goes with mode: primary; a secondary has its masters' serials")
        if not self.masters:
            raise ValueError("mode: secondary needs the target's `masters`, which PowerDNS transfers from")
        for master in self.masters:
            try:
                ipaddress.ip_address(master.host)
            except ValueError as exc:
                raise ValueError(f"{master.host!r} is no IP address; PowerDNS takes no names there") from exc
        return self
