"""How a primary zone comes into being: `rndc addzone` wants its file on named's side, and can't write one.

Separate, because it is the longest way here for the shortest result: a zone that is there, complete, at once.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from backends.bind9 import signing
from backends.bind9.first_transfer import FirstTransfer
from backends.bind9.options import Bind9Options
from backends.bind9.rndc import CommandFailed, ControlChannel
from backends.bind9.zones import LOOK_AGAIN_S, PATIENCE, ConfiguredZones, file_name, translate_failure
from backends.dns_tsig import TsigKey
from dnsworker.contents import ZoneContents
from dnsworker.errors import BackendError, Busy, RecordRejected, ServerFailure, Unreachable, Unsupported
from dnsworker.names import Name
from dnsworker.records import SOA


class NewZones:
    """Adds primary zones to one named."""

    def __init__(
        self,
        zones: ConfiguredZones,
        control: ControlChannel,
        options: Bind9Options,
        key: TsigKey,
        checkpoint: Callable[[], None],
        timeout_s: float,
    ) -> None:
        self._zones = zones
        self._control = control
        self._options = options
        self._key = key
        self._checkpoint = checkpoint
        self._timeout_s = timeout_s

    def add(self, contents: ZoneContents) -> None:
        """Add a zone that isn't there, complete and open to queries at once."""
        if self._options.local_zone_directory is not None:
            file = file_name(contents.name)
            _write_file(self._options.local_zone_directory / file, contents)
            self._add_primary(contents.name, file)
            return
        file = file_name(contents.name)
        try:
            self._fetch(contents, file)
            self._wait_for_file(contents.name, file)
            # A zone can't be turned from secondary into primary, but its file can be that of the next zone.
            self._checkpoint()
            self._zones.run("delzone", contents.name)
        except BackendError:
            self._forget(contents.name)
            raise
        self._checkpoint()
        self._add_primary(contents.name, file)

    def _fetch(self, contents: ZoneContents, file: str) -> None:
        """Add the zone as a hidden secondary of ours, and let named fetch it."""
        zone, options = contents.name, self._options
        address = options.transfer_host or self._control.local_address
        # Where an address is given it may be a NAT's, which we can't listen at.
        listen_at = address if options.transfer_host is None else "::" if ":" in address else "0.0.0.0"  # noqa: S104
        with FirstTransfer(contents, self._key, listen_at, options.transfer_port, self._checkpoint) as source:
            self._zones.run(
                "addzone",
                zone,
                f'type secondary; file "{self._zones.path(file)}"; masterfile-format text; request-ixfr no; '
                f'primaries {{ {address} port {source.port} key "{self._key.name}"; }}; notify no; '
                "allow-query { none; }; allow-transfer { none; };",
            )
            deadline = time.monotonic() + PATIENCE * self._timeout_s
            while not self._has_loaded(zone, contents.soa) if source.is_served else True:
                if source.serve(LOOK_AGAIN_S):
                    patience = 1 if source.is_served else PATIENCE
                    deadline = time.monotonic() + patience * self._timeout_s
                self._checkpoint()
                if time.monotonic() > deadline:
                    if source.is_served:
                        raise RecordRejected(
                            f"named fetched {zone} and did not take it; its log says why (an RRset of more "
                            "than 100 records needs `max-records-per-type` in named.conf)"
                        )
                    raise Unreachable(
                        f"named did not come to fetch {zone} from {address} port {source.port}, TCP and UDP: "
                        "let it through, or set transfer_host, transfer_port or local_zone_directory"
                    )

    def _wait_for_file(self, zone: Name, file: str) -> None:
        """Have the zone's file written and wait for it; deleting the zone earlier would call that off.

        The order is repeated: after a write that failed (a full disk, a directory that wasn't there), and
        where it saw nothing to write yet, named tries of itself only a quarter of an hour later.
        """
        deadline = time.monotonic() + PATIENCE * self._timeout_s
        while True:
            self._checkpoint()
            with contextlib.suppress(Busy):  # it is being written
                self._zones.run("sync", zone)
            if self._has_file(file):
                return
            if time.monotonic() > deadline:
                raise Busy(
                    f"named fetched {zone} but has written no {self._zones.path(file)!r} yet: see its log"
                )
            time.sleep(LOOK_AGAIN_S)

    def _has_file(self, file: str) -> bool:
        """Whether the file is there and whole (named gives it its name when it has written all of it).

        No command tells. So a zone is added that this file can't be the file of: named says either that the
        file isn't there or, at its first octets, that its format is wrong, and forgets about the zone.
        """
        probe = Name(f"{secrets.token_hex(4)}.dnsworker-probe.invalid.")
        statements = (
            f'type primary; file "{self._zones.path(file)}"; masterfile-format raw; allow-query {{ none; }};'
        )
        try:
            self._zones.send("addzone", probe, statements)
        except CommandFailed as exc:
            if exc.error == "file not found":
                return False
            if "dns_zone_loadnew failed" in exc.text:
                return True
            raise translate_failure(exc, "addzone", probe) from exc
        raise ServerFailure(f"named took a text file for a raw one: {self._zones.path(file)}")

    def _has_loaded(self, zone: Name, soa: SOA) -> bool:
        try:
            return f"\nserial: {soa.serial}\n" in self._zones.status(zone)
        except ServerFailure:
            return False

    def _forget(self, zone: Name) -> None:
        """Take an unfinished zone away, if that can be done; the next attempt does it otherwise."""
        try:
            if self._zones.is_unfinished(zone):
                self._zones.run("delzone -clean", zone)
        except BackendError:
            return

    def _add_primary(self, zone: Name, file: str) -> None:
        transfer = "".join(f" {element};" for element in self._options.allow_transfer)
        statements = self._options.zone_statements
        # What comes here was judged already; named would refuse a zone for `a_b.example.org. A`.
        check_names = "" if "check-names" in statements else "check-names ignore; "
        # A large part of a small zone would be sent as all of it, and not tell what somebody changed there.
        ratio = "" if "max-ixfr-ratio" in statements else "max-ixfr-ratio unlimited; "
        says_who_updates = "allow-update" in statements or "update-policy" in statements
        update = "" if says_who_updates else f'allow-update {{ key "{self._key.name}"; }}; '
        if self._options.dnssec_policy is not None:
            statements = (
                signing.statements(self._options.dnssec_policy, self._options.inline_signing, statements)
                + statements
            )
        self._zones.run(
            "addzone",
            zone,
            f'type primary; file "{self._zones.path(file)}"; {check_names}{ratio}allow-query {{ any; }}; '
            f'allow-transfer {{ key "{self._key.name}";{transfer} }}; '
            f"{update}{statements}",
        )


def _write_file(path: Path, contents: ZoneContents) -> None:
    """A complete zone file, there as a whole or not at all."""
    soa = contents.soa
    lines = [f"{contents.name} {soa.ttl} IN SOA {soa.rdata}\n"]
    for rrset in contents.rrsets.values():
        lines += [f"{rrset.name} {rrset.ttl} IN {rrset.type} {text}\n" for text in rrset.data]
    temporary = path.with_suffix(".part")
    try:
        with temporary.open("w", encoding="ascii") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(
            0o644
        )  # named runs under another account; it replaces the file when it writes it anew
        temporary.replace(path)
    except OSError as exc:
        raise Unsupported(f"can't write {path}: {exc.strerror}; compare local_zone_directory") from exc
