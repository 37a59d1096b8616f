"""A look at a target: whether a zone in which nothing changes is still as it was left there.

Separate from the turns: a look costs one question and never writes to the target. What isn't as it was left
becomes due, and is read, compared and repaired as a delivery.
"""

from __future__ import annotations

import logging
import random

import sqlalchemy as sa

from dnsworker import serials
from dnsworker.backend import Backend
from dnsworker.capabilities import Capabilities
from dnsworker.database import reading
from dnsworker.errors import ServerFailure
from dnsworker.logs import also_about
from dnsworker.records import SOA
from dnsworker.settings import Settings
from dnsworker.store import claims, comparisons, zones
from dnsworker.store.claims import Claim

log = logging.getLogger(__name__)

#: Around the time between two looks, so that what was created together isn't looked at together for ever.
JITTER = 0.25


def tells_by_serial(kind: type[Backend], capabilities: Capabilities) -> bool:
    """Whether a serial says something about contents there, and costs less than reading them."""
    return kind.read_soa is not Backend.read_soa and not capabilities.sets_serial


def next_look_s(settings: Settings, *, by_serial: bool) -> float:
    """In how many seconds to look again."""
    usual_s = settings.compare_serial_s if by_serial else settings.compare_full_s
    return usual_s * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - jitter, not a secret


def look(engine: sa.Engine, claim: Claim, backend: Backend, settings: Settings) -> bool:
    """Whether the target is as it was left; if not, it is due now.

    Raises `BackendError` when that couldn't be told, and `ClaimLost`.
    """
    with reading(engine).connect() as connection:
        row = claims.read(connection, claim)
        zone = zones.get(connection, claim.zone_id)
    also_about(zone=zone.name)

    def renew() -> None:
        with engine.begin() as connection:
            claims.renew(connection, claim, settings.lease_s)

    backend.checkpoint = backend.renew = renew
    try:
        soa = backend.read_soa(zone.name)
    except ServerFailure as exc:  # such as SERVFAIL for a zone that it could not load
        log.info("%s: %s: %s", claim.target, zone.name, exc)
        soa = None
    left = SOA.from_rdata(row.soa, zone.ttl) if row.soa else None
    is_as_left = soa is not None and left is not None and _is_as_left(soa, left, backend.capabilities)
    next_s = next_look_s(settings, by_serial=True)
    with engine.begin() as connection:
        if is_as_left:
            comparisons.looked(connection, claim, next_s)
        else:
            log.info("%s: %s isn't as it was left there; it is read", claim.target, zone.name)
            comparisons.suspect(connection, claim, next_s)
    return is_as_left


def _is_as_left(soa: SOA, left: SOA, capabilities: Capabilities) -> bool:
    if soa.rdata == left.rdata:
        return True
    is_signers = capabilities.signer_counts and serials.is_ahead(soa.serial, left.serial)
    return is_signers and soa.with_serial(left.serial).rdata == left.rdata
