"""A folder of zone files as a target: each change writes a zone's file anew, whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import ClassVar

from backends.requests_made import RequestsMade
from backends.zonefile.command import Command, Refused
from backends.zonefile.folder import Lock, ZoneFolder
from backends.zonefile.options import ZonefileOptions
from dnsworker.backend import Backend, Capabilities, Health, Options, Receipt
from dnsworker.contents import ZoneContents
from dnsworker.errors import (
    BackendError,
    InvalidRecord,
    InvalidZoneFile,
    RecordRejected,
    ServerFailure,
    ZoneChanged,
    ZoneMissing,
)
from dnsworker.names import Name
from dnsworker.placement import check_placement
from dnsworker.plan import Plan
from dnsworker.zonefile import parse_zone, zone_text

#: Types that BIND 9.18, NSD 4.6 and Knot 3.2 all read by name, and to the same octets; the others are written
#: as RFC 3597 has them, which every server reads. Tried with each of them by tests/integration.
PLAIN_TYPES = frozenset(
    (
        *("A", "AAAA", "AFSDB", "APL", "CAA", "CDNSKEY", "CDS", "CERT", "CNAME", "CSYNC", "DHCID", "DNAME"),
        *("DNSKEY", "DS", "EUI48", "EUI64", "HINFO", "HTTPS", "IPSECKEY", "KEY", "KX", "L32", "L64", "LOC"),
        *("LP", "MX", "NAPTR", "NID", "NS", "OPENPGPKEY", "PTR", "RP", "RT", "SMIMEA", "SPF", "SRV", "SSHFP"),
        *("SVCB", "TLSA", "TXT", "URI", "ZONEMD"),
    )
)


class ZonefileBackend(Backend):
    """One folder. Whoever writes a zone holds its lock from reading the file to the end of the reload.

    The requests that count are the runs of the operator's commands: there a server is asked for something.
    """

    capabilities = Capabilities(
        atomic="message", creates_zones=True, hides_new_zones=True, reads_back=True, fencing="server"
    )
    options_model: ClassVar[type[Options]] = ZonefileOptions

    def __init__(self, target: str, options: Options, *, timeout_s: float = 5.0) -> None:
        super().__init__(target, options, timeout_s=timeout_s)
        assert isinstance(options, ZonefileOptions)
        limit_s = options.command_timeout_s
        self._folder = ZoneFolder(options.folder, options.suffix, timeout_s=timeout_s)
        # The checkpoint is set later, and anew for each delivery.
        self._requests = RequestsMade(lambda: self.checkpoint())
        announce = self._requests.announce
        self._reload = Command("reload_command", options.reload_command, timeout_s=limit_s, announce=announce)
        self._check = Command("check_command", options.check_command, timeout_s=limit_s, announce=announce)
        #: The last zone read: its file's digest and contents, since reading text is what takes time here.
        self._last: tuple[Name, bytes, ZoneContents] | None = None

    @classmethod
    def writes_to(cls, options: Options) -> tuple[str, ...]:
        """The folder as it is called here, links resolved: other machines may have it elsewhere."""
        assert isinstance(options, ZonefileOptions)
        return ("zonefile", os.path.realpath(options.folder), options.suffix)

    def read_zone(self, zone: Name) -> ZoneContents | None:
        self._requests.begin()
        if self._folder.is_reload_due(zone):
            # What the server was never told to load isn't "there"; this also ends what a crash broke off.
            self._reload.raise_if_unsafe(zone)
            with self._folder.locked(zone) as lock:
                self._finish(zone, lock)
        return self._contents(zone)

    def create_zone(self, zone: ZoneContents) -> None:
        self._requests.begin()
        self._raise_if_unsafe(zone.name)
        octets = _octets(zone)
        with self._folder.locked(zone.name) as lock:
            if self._folder.read(zone.name) != octets:
                self._write(zone.name, octets, lock)
            self._finish(zone.name, lock)

    def apply(self, plan: Plan) -> Receipt:
        self._requests.begin()
        zone = plan.zone
        self._raise_if_unsafe(zone)
        with self._folder.locked(zone) as lock:
            current = self._contents(zone)
            if current is None:
                raise ZoneMissing(f"there is no file {self._folder.file(zone)}", zone=zone)
            if current.soa.rdata != plan.current_soa.rdata:
                raise ZoneChanged(
                    f"{self._folder.file(zone)} is at serial {current.soa.serial} ({current.soa.mname} "
                    f"{current.soa.rname}), and not, as the plan expects, at {plan.current_soa.serial}",
                    zone=zone,
                )
            self._write(zone, _octets(_after(plan, current)), lock)
            self._finish(zone, lock)
        return Receipt(soa=plan.desired_soa)

    def delete_zone(self, zone: Name) -> None:
        self._requests.begin()
        if self._folder.is_untouched(zone):
            return
        self._reload.raise_if_unsafe(zone)
        with self._folder.locked(zone) as lock:
            if self._folder.read(zone) is not None:
                self._note(lock)
                self.renew()
                self._folder.remove(zone)
            self._finish(zone, lock)

    def check(self) -> Health:
        try:
            self._folder.raise_if_closed()
            self._reload.raise_if_missing()
            self._check.raise_if_missing()
        except BackendError as exc:
            return Health(False, str(exc))
        return Health(True, f"writes zone files to {self._folder.path}")

    def _raise_if_unsafe(self, zone: Name) -> None:
        self._reload.raise_if_unsafe(zone)
        self._check.raise_if_unsafe(zone)

    def _contents(self, zone: Name) -> ZoneContents | None:
        octets = self._folder.read(zone)
        if octets is None:
            return None
        digest = hashlib.sha256(octets).digest()
        if self._last is None or self._last[:2] != (zone, digest):
            self._last = (zone, digest, _parsed(zone, octets, self._folder.file(zone)))
        return self._last[2]

    def _write(self, zone: Name, octets: bytes, lock: Lock) -> None:
        file = self._folder.prepare(zone, octets)
        try:
            if self._check:
                try:
                    self._check.run(zone, file)
                except Refused as exc:
                    raise RecordRejected(str(exc), zone=zone) from exc
            self._note(lock)
            self.renew()
            self._folder.put_in_place(zone)
        except BaseException:
            self._folder.discard(zone)
            raise

    def _note(self, lock: Lock) -> None:
        if self._reload:
            lock.note_reload()

    def _finish(self, zone: Name, lock: Lock) -> None:
        """Run the reload command if it is due; without one nothing is, whatever an earlier worker noted."""
        if not lock.is_reload_due:
            return
        if self._reload:
            try:
                self._reload.run(zone, self._folder.file(zone))
            except Refused as exc:
                raise ServerFailure(str(exc), zone=zone) from exc
        lock.clear_reload()


def _octets(contents: ZoneContents) -> bytes:
    return zone_text(contents, plain_types=PLAIN_TYPES).encode("ascii")


def _after(plan: Plan, current: ZoneContents) -> ZoneContents:
    """The zone as the plan leaves it. Raises `RecordRejected` for what no server would load."""
    rrsets = dict(current.rrsets)
    for change in plan.changes:
        rrsets.pop(change.key, None)
    rrsets.update({change.key: change.after for change in plan.changes if change.after is not None})
    contents = ZoneContents(soa=plan.desired_soa, rrsets=rrsets, name=plan.zone)
    for change in plan.changes:
        try:
            check_placement([change], contents)
        except InvalidRecord as exc:
            raise RecordRejected(str(exc), rrset=change.key, zone=plan.zone) from exc
    return contents


def _parsed(zone: Name, octets: bytes, file: Path) -> ZoneContents:
    """Raises `ServerFailure`, naming file and lines: somebody's hand was in it."""
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = octets.count(b"\n", 0, exc.start) + 1
        raise ServerFailure(f"{file} can't be read: line {line}: it is not UTF-8", zone=zone) from exc
    try:
        parsed = parse_zone(text, zone, default_ttl=3600)
    except InvalidZoneFile as exc:
        raise ServerFailure(f"{file} can't be read: {exc}", zone=zone) from exc
    if parsed.soa is None:
        raise ServerFailure(f"{file} can't be read: it has no SOA for {zone}", zone=zone)
    return ZoneContents.of(zone, parsed.soa, parsed.rrsets)
