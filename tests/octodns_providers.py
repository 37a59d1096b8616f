"""octoDNS providers for tests, named in options by their path: a third party's, in memory, and others."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from octodns.provider import ProviderException
from octodns.provider.base import BaseProvider
from octodns.record import Delete, Record, Rrset
from octodns.source.base import BaseSource
from octodns_route53 import Route53Provider

MEMORY = f"{__name__}.MemoryProvider"
ROUTE53 = f"{__name__}.Route53OnMoto"


class MemoryUnauthorized(ProviderException):
    """Many providers have errors of their own, with nothing of HTTP in them."""


class MemoryProvider(BaseProvider):
    """Keeps zones in `accounts[account]`, as rrsets by (name, type). Reads once and remembers, as many do."""

    SUPPORTS_GEO = False
    SUPPORTS_DYNAMIC = False
    SUPPORTS_ROOT_NS = False
    SUPPORTS_MULTIVALUE_PTR = False
    SUPPORTS: ClassVar[set[str]] = {"A", "AAAA", "ALIAS", "CNAME", "MX", "NS", "PTR", "TXT"}

    accounts: ClassVar[dict[str, dict[str, dict[tuple[str, str], Any]]]] = {}
    #: What the next `_apply` raises.
    failure: ClassVar[Exception | None] = None
    made: ClassVar[list[Any]] = []
    applied: ClassVar[list[Any]] = []

    def __init__(self, id: str, account: str, token: str, *args: Any, **kwargs: Any) -> None:
        self.log = logging.getLogger(f"MemoryProvider[{id}]")
        super().__init__(id, *args, **kwargs)
        self._zones = self.accounts.setdefault(account, {})
        self._token = token
        self._seen: dict[str, Any] = {}
        self.made.append(self)

    def populate(self, zone: Any, target: bool = False, lenient: bool = False) -> bool:
        if self._token.startswith("wrong"):
            raise MemoryUnauthorized(f"the token {self._token} is not known")
        if zone.name not in self._seen:
            self._seen[zone.name] = dict(self._zones[zone.name]) if zone.name in self._zones else None
        seen = self._seen[zone.name]
        for rrset in (seen or {}).values():
            zone.add_record(Record.from_rrset(zone, rrset, lenient=lenient), lenient=lenient)
        return seen is not None

    def _apply(self, plan: Any) -> None:
        if self.failure is not None:
            raise self.failure
        self.applied.append(plan)
        apex = {(plan.desired.name, "NS"): Rrset(plan.desired.name, "NS", 60, ["ns.memory.example."])}
        stored = self._zones.setdefault(plan.desired.name, apex)
        for change in plan.changes:
            key = (change.record.fqdn, change.record._type)
            if isinstance(change, Delete):
                del stored[key]  # as an API answers 404
            else:
                stored[key] = change.new.to_rrset()


class ReadOnlySource(BaseSource):
    SUPPORTS_GEO = False
    SUPPORTS: ClassVar[set[str]] = {"A"}


class WritesNothing(BaseProvider):
    SUPPORTS_GEO = False
    SUPPORTS: ClassVar[set[str]] = {"A"}


class Route53OnMoto(Route53Provider):
    """moto's ListHealthChecks lacks `IsTruncated`, for which octodns-route53 looks (moto 5.2, 2026-11)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._health_checks = {}
