"""NSD as a target: a secondary that is given zones, told to transfer them, and looked at until it has."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Collection, Mapping
from typing import ClassVar

import dns.opcode

from backends import dns_transfer
from backends.dns_connection import DNSConnection
from backends.dns_lookup import look_up
from backends.dns_tsig import TsigKey
from backends.dns_unsigned import UnsignedConnection
from backends.dns_wire import SOA_TYPE, request
from backends.nsd.control import CommandFailed, ControlChannel, ZoneStatus
from backends.nsd.options import NsdOptions
from dnsworker import names, serials
from dnsworker.backend import Backend, Capabilities, Health, Options, Receipt
from dnsworker.contents import ZoneContents
from dnsworker.errors import BackendError, Behind, Busy, ServerFailure, Unsupported, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.records import SOA, Key, RRset

#: RRsets that are asked for one by one; for more a transfer is cheaper.
MAX_LOOKUPS = 16
#: NSD transfers and loads a zone after it has answered a command: looked for at once, then less often.
_FIRST_LOOK_S, _LAST_LOOK_S = 0.01, 0.2
#: The order to transfer is repeated, since a primary that was asked too early had nothing new.
_ORDER_AGAIN_S = 1.0


class NsdBackend(Backend):
    """One nsd, with `remote-control` and a pattern that names its primaries."""

    capabilities = Capabilities(
        atomic="message", creates_zones=True, hides_new_zones=True, reads_back=True, fencing="none", pull=True
    )
    options_model: ClassVar[type[Options]] = NsdOptions

    def __init__(self, target: str, options: Options, *, timeout_s: float = 5.0) -> None:
        super().__init__(target, options, timeout_s=timeout_s)
        assert isinstance(options, NsdOptions)
        self._pattern = options.pattern
        self._dns = _connection(options, timeout_s)
        self._control = ControlChannel(
            options.control_host or options.host,
            options.control_port,
            server_cert=options.server_cert_file,
            control_cert=options.control_cert_file,
            control_key=options.control_key_file,
            timeout_s=timeout_s,
        )

    def read_zone(self, zone: Name) -> ZoneContents | None:
        self._dns.close()  # a process of before the last reload may be at the other end, with old contents
        try:
            return dns_transfer.read_zone(self._dns, zone)
        except ZoneMissing:
            # NOTAUTH is also its answer for a zone that it has been given and not transferred yet.
            self._raise_if_given(zone)
            return None

    def read_soa(self, zone: Name) -> SOA | None:
        soa = self._served_soa(zone)
        if soa is None:
            self._raise_if_given(zone)
        return soa

    def read_rrsets(self, zone: Name, keys: Collection[Key]) -> Mapping[Key, RRset]:
        if len(keys) <= MAX_LOOKUPS:
            self._dns.close()
            found = look_up(self._dns, zone, keys, self.checkpoint)
            if found is not None:
                return found
            self.checkpoint()
        return super().read_rrsets(zone, keys)

    def create_zone(self, zone: ZoneContents) -> None:
        status = self._control.zone_status(zone.name)
        if status is None:
            self.checkpoint()
            self._order("addzone", zone.name, self._pattern)
        elif status.pattern != self._pattern:
            raise Unsupported(
                f"NSD has {zone.name} already, with the pattern {status.pattern or '(none)'!r} and not "
                f"{self._pattern!r}: remove it there, or compare `pattern`",
                zone=zone.name,
            )
        self._transfer(zone.name, zone.soa, zone)

    def apply(self, plan: Plan) -> Receipt:
        self._transfer(plan.zone, plan.desired_soa, None)
        return Receipt(soa=plan.desired_soa)

    def delete_zone(self, zone: Name) -> None:
        if self._control.zone_status(zone) is not None:
            self.checkpoint()
            self._order("delzone", zone)
            self.checkpoint()
            if self._control.zone_status(zone) is not None:
                raise Busy(f"NSD still has {zone} after deleting it", zone=zone)
        # Its processes let go of it a moment later.
        self._wait(
            lambda: self._served_soa(zone) is None, lambda: Busy(f"NSD still serves {zone}", zone=zone)
        )

    def check(self) -> Health:
        try:
            status = self._control.command("status", changes_something=False)
            # Whatever it says, a key has to be accepted first.
            self._dns.close()
            self._dns.exchange(request(dns.opcode.QUERY, names.ROOT, SOA_TYPE))
        except BackendError as exc:
            return Health(False, str(exc))
        except CommandFailed as exc:
            return Health(False, f"NSD refuses `status`: {exc}")
        version = status.partition("\n")[0].removeprefix("version:").strip()
        return Health(True, f"NSD {version} at {self._dns.address}")

    def close(self) -> None:
        self._dns.close()

    def _transfer(self, zone: Name, soa: SOA, contents: ZoneContents | None) -> None:
        """Have NSD transfer the zone until it serves `soa`, and exactly `contents` if given; else `Behind`."""
        seen: SOA | None = None
        ordered_at: float | None = None

        def has_arrived() -> bool:
            nonlocal seen, ordered_at
            seen = self._served_soa(zone)
            if seen is not None and seen.rdata == soa.rdata:
                if contents is None:
                    return True
                self.checkpoint()
                if self.read_zone(zone) == contents:
                    return True
            if ordered_at is None or time.monotonic() > ordered_at + _ORDER_AGAIN_S:
                # Of itself NSD takes no serial that isn't a rise. A new zone may have begun with an old file.
                is_rise = seen is None or serials.is_ahead(soa.serial, seen.serial)
                self.checkpoint()
                self._order("transfer" if is_rise or contents is None else "force_transfer", zone)
                ordered_at = time.monotonic()
            return False

        self._wait(has_arrived, lambda: self._behind(zone, soa, seen))

    def _behind(self, zone: Name, soa: SOA, seen: SOA | None) -> BackendError:
        has = "has not got it from its primary" if seen is None else f"is at serial {seen.serial}"
        return Behind(
            f"NSD {has}, and not at {soa.serial}, after {self.timeout_s:g} s: does its primary have it, and "
            f"does it let NSD transfer? Compare `request-xfr` of the pattern {self._pattern!r}; NSD's log says more",
            zone=zone,
        )

    def _wait(self, is_done: Callable[[], bool], failure: Callable[[], BackendError]) -> None:
        deadline = time.monotonic() + self.timeout_s
        pause_s = _FIRST_LOOK_S
        while not is_done():
            if time.monotonic() > deadline:
                raise failure()
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LAST_LOOK_S)
            self.checkpoint()

    def _served_soa(self, zone: Name) -> SOA | None:
        """What it answers with; None where that isn't the zone's SOA, for whatever reason."""
        self._dns.close()
        return dns_transfer.read_soa(self._dns, zone)

    def _raise_if_given(self, zone: Name) -> None:
        """Where NSD doesn't serve a zone: nothing if it hasn't been given it, else an error."""
        self.checkpoint()
        status = self._control.zone_status(zone)
        if status is not None:
            raise _not_served(zone, status)

    def _order(self, command: str, zone: Name, *arguments: str) -> None:
        try:
            self._control.zone_command(command, zone, *arguments)
        except CommandFailed as exc:
            raise translate_failure(exc, command, zone) from exc


def translate_failure(failure: CommandFailed, command: str, zone: Name) -> BackendError:
    """What it means that NSD refused a command."""
    text = str(failure)
    words = f"NSD refuses `{command} {zone}`: {text}"
    if text.startswith("error zone") and text.endswith("not configured"):
        return ZoneMissing(f"NSD has no zone {zone}", zone=zone)
    if "pattern" in text:
        return Unsupported(f"{words}; compare `pattern` in pools.yaml", zone=zone)
    if "nsd.conf" in text or "cannot parse" in text:
        return Unsupported(words, zone=zone)
    return ServerFailure(words, zone=zone)


def _not_served(zone: Name, status: ZoneStatus) -> BackendError:
    if status.state == "expired":
        return ServerFailure(f"{zone} has expired in NSD: it can't reach its primary", zone=zone)
    return Behind(
        f"NSD has been given {zone} (pattern {status.pattern!r}, state {status.state!r}) and doesn't serve it: "
        "it has not transferred it yet",
        zone=zone,
    )


def _connection(options: NsdOptions, timeout_s: float) -> DNSConnection:
    if options.tsig_key is None:
        return UnsignedConnection(options.host, options.port, timeout_s=timeout_s)
    key = options.tsig_key.to_dnspython()
    secret = base64.b64encode(key.secret).decode()
    return DNSConnection(
        options.host,
        options.port,
        TsigKey(key.name.to_text(), secret, key.algorithm.to_text()),
        timeout_s=timeout_s,
    )
