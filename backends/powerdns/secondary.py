"""Zones that PowerDNS transfers from primaries: added with them, and fetched when something has changed.

Separate from the zones that are written to: here the contents come from somewhere else, and all that can be
done about them is to have PowerDNS fetch them and to look whether it has.
"""

from __future__ import annotations

import time

from backends.powerdns import settings
from backends.powerdns.options import PowerDNSOptions
from backends.powerdns.zones import Settings, Zones, missing
from dnsworker.errors import Behind
from dnsworker.names import Name
from dnsworker.records import SOA

#: How often to look whether PowerDNS has got on with a transfer.
LOOK_AGAIN_S = 0.02


class SecondaryZones:
    """The zones of one PowerDNS in `mode: secondary`."""

    def __init__(self, zones: Zones, options: PowerDNSOptions, timeout_s: float) -> None:
        self._zones = zones
        self._options = options
        self._timeout_s = timeout_s

    def create(self, zone: Name, soa: SOA) -> None:
        """Have the zone, with this SOA. Raises `Behind`."""
        if self._zones.post_secondary(zone) is None:
            found = self._zones.settings(zone)
            self._put_right(zone, found)
        self._fetch(zone, soa, max(self._timeout_s, self._options.bulk_timeout_s))

    def apply(self, zone: Name, soa: SOA, *, anew: bool = False) -> None:
        """Have this SOA; where PowerDNS has it already, nothing is asked of it, unless all is to be fetched
        `anew`. Raises `Behind`."""
        found = self._zones.settings_and_soa(zone)
        if found is not None and found[1] == soa:
            if anew:
                self._zones.retrieve(zone)
            return
        self._put_right(zone, found[0] if found is not None else self._zones.settings(zone))
        self._fetch(zone, soa, self._timeout_s)

    def _put_right(self, zone: Name, found: Settings) -> None:
        """Make the zone a secondary of our primaries, whatever it was; it keeps its contents till then."""
        self._zones.put(zone, settings.missing_in_secondary(self._options, found))

    def _fetch(self, zone: Name, soa: SOA, patience_s: float) -> None:
        """Order one transfer and wait for its end. It is of the whole zone, whatever the serials, so that
        more orders would only be more work."""
        deadline = time.monotonic() + patience_s
        current = self._soa(zone)
        if current != soa:
            self._zones.retrieve(zone)
        while (current := self._soa(zone)) != soa:
            if time.monotonic() > deadline:
                at = f"is at serial {current.serial}" if current is not None else "hasn't got it"
                raise Behind(
                    f"PowerDNS {at} and did not fetch serial {soa.serial} of {zone} from "
                    f"{', '.join(master.address for master in self._options.masters)} within "
                    f"{patience_s:g} s: does the primary have it, and let PowerDNS transfer it? Does "
                    "pdns.conf say secondary=yes? PowerDNS' log says why not",
                    zone=zone,
                )
            time.sleep(LOOK_AGAIN_S)

    def _soa(self, zone: Name) -> SOA | None:
        found = self._zones.settings_and_soa(zone)
        if found is None and self._zones.get(zone, {"rrsets": "false"}) is None:
            raise missing(zone)
        return found[1] if found is not None else None
