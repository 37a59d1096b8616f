"""Zones that named transfers from primaries: added with them, and told to look when something has changed.

Separate from the zones that are written to: here the contents come from somewhere else, and all that can be
done about them is to ask named to fetch them and to look whether it has.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from backends import dns_transfer
from backends.bind9.options import Bind9Options
from backends.bind9.zones import LOOK_AGAIN_S, NOT_LOADED, PATIENCE, ConfiguredZones, file_name
from backends.dns_connection import DNSConnection
from dnsworker import serials
from dnsworker.contents import ZoneContents
from dnsworker.errors import Behind, ServerFailure, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.records import SOA

#: named forgets about an order to refresh that comes while it is refreshing, so it is repeated.
ORDER_AGAIN_S = 1.0

_PRIMARIES = re.compile(r"(?:primaries|masters) *\{ *([^}]*?) *\}")
_FILE = re.compile(r'file "([^"]*)"')
_OF_THE_SECONDARY = ("type secondary;", "type slave;")


class SecondaryZones:
    """The zones of one named in `mode: secondary`."""

    def __init__(
        self,
        zones: ConfiguredZones,
        connection: DNSConnection,
        options: Bind9Options,
        checkpoint: Callable[[], None],
        timeout_s: float,
    ) -> None:
        self._zones = zones
        self._dns = connection
        self._options = options
        self._checkpoint = checkpoint
        self._timeout_s = timeout_s
        key = f' key "{options.masters_key_name}"' if options.masters_key_name else ""
        self._primaries = [f"{master.host} port {master.port}{key}" for master in options.masters]

    def create(self, contents: ZoneContents) -> None:
        """Have the zone, with the SOA of `contents`. Raises `Behind`."""
        is_new = self._prepare(contents.name)
        self._fetch(contents.name, contents.soa, is_asked=is_new, patience_s=PATIENCE * self._timeout_s)

    def apply(self, plan: Plan) -> None:
        """Have `plan.desired_soa`; nothing is said to named where it has it already. Raises `Behind`."""
        if self._soa(plan.zone) == plan.desired_soa:
            return
        self._checkpoint()
        if self._zones.find(plan.zone) is None:
            raise ZoneMissing(f"named has no zone {plan.zone}", zone=plan.zone)
        self._checkpoint()
        is_new = self._prepare(plan.zone)
        if plan.current_soa == plan.desired_soa:  # all of it anew, whatever the serial says
            self._zones.run("retransfer", plan.zone)
        self._fetch(plan.zone, plan.desired_soa, is_asked=is_new, patience_s=self._timeout_s)

    def is_unfilled(self, zone: Name) -> bool:
        """Whether named has the zone and, so far (or by now: it expired), no contents for it."""
        try:
            self._zones.status(zone)
        except ServerFailure as exc:
            if NOT_LOADED in str(exc):
                return True
            raise
        return False

    def _prepare(self, zone: Name) -> bool:
        """Make the zone a secondary of our primaries, whatever it was; whether it was added just now."""
        statement = self._zones.find(zone)
        if statement is not None and any(kind in statement for kind in _OF_THE_SECONDARY):
            if self._is_of_our_primaries(statement):
                return False
            self._checkpoint()
            file = _FILE.search(statement)  # another one would begin empty
            self._zones.run("modzone", zone, self._statements(file[1] if file else file_name(zone)))
            return False
        self._checkpoint()
        if statement is not None:
            # What was a primary can't be turned into a secondary by `modzone`.
            self._zones.remove(zone)
            self._checkpoint()
        self._zones.run("addzone", zone, self._statements(self._zones.path(file_name(zone))))
        return True

    def _is_of_our_primaries(self, statement: str) -> bool:
        found = _PRIMARIES.search(statement)
        return (
            found is not None
            and [" ".join(one.split()) for one in found[1].split(";") if one.strip()] == self._primaries
        )

    def _statements(self, file: str) -> str:
        primaries = "".join(f" {one};" for one in self._primaries)
        transfer = "".join(f" {element};" for element in self._options.allow_transfer)
        return (
            f'type secondary; file "{file}"; primaries {{{primaries} }}; allow-query {{ any; }}; '
            f'allow-transfer {{ key "{self._dns.key.name}";{transfer} }}; {self._options.zone_statements}'
        )

    def _fetch(self, zone: Name, soa: SOA, *, is_asked: bool, patience_s: float) -> None:
        """Wait until named has exactly this SOA, asking it to fetch it where that hasn't been done.

        A serial that isn't behind the wanted one (another primary, or one that began anew) is no reason for
        named to fetch anything: there it is told to (`retransfer`).
        """
        deadline = time.monotonic() + patience_s
        order_at = time.monotonic() + (ORDER_AGAIN_S if is_asked else 0.0)
        while (current := self._soa(zone)) != soa:
            if time.monotonic() > deadline:
                at = f"is at serial {current.serial}" if current is not None else "hasn't got it"
                raise Behind(
                    f"named {at} and did not fetch serial {soa.serial} of {zone} from "
                    f"{', '.join(master.address for master in self._options.masters)} within "
                    f"{patience_s:g} s: does the primary have it, and let named transfer it? "
                    "named's log says why not",
                    zone=zone,
                )
            self._checkpoint()
            if time.monotonic() >= order_at:
                is_behind = current is None or serials.is_ahead(soa.serial, current.serial)
                self._zones.run("refresh" if is_behind else "retransfer", zone)
                order_at = time.monotonic() + ORDER_AGAIN_S
                self._checkpoint()
            else:
                time.sleep(LOOK_AGAIN_S)

    def _soa(self, zone: Name) -> SOA | None:
        return dns_transfer.read_soa(self._dns, zone)
