"""Zones in named's configuration: added, found and removed over the control channel.

Separate from the backend because this is the part that no other server shares: `rndc addzone` wants the file
of a primary zone to exist on named's side, and can't write one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from backends.bind9.first_transfer import FirstTransfer
from backends.bind9.options import Bind9Options
from backends.bind9.rndc import CommandFailed, ControlChannel
from backends.dns_tsig import TsigKey
from dnsworker.contents import ZoneContents
from dnsworker.errors import (
    BackendError,
    Busy,
    RecordRejected,
    ServerFailure,
    Unreachable,
    Unsupported,
    ZoneMissing,
)
from dnsworker.names import Name
from dnsworker.records import SOA

#: How often to look whether named has got on with a new zone.
LOOK_AGAIN_S = 0.01
#: How many time-outs named may take to come for a zone: it asks for SOAs at `serial-query-rate`, 20 a second.
PATIENCE = 3

_OUR_FILE = re.compile(r'file "[^"]*\.dnsworker-[0-9a-f]{8}\.db"')
_LONGEST_STEM = 100


class ConfiguredZones:
    """What `rndc` can do for zones, in the words of `dnsworker.errors`."""

    def __init__(
        self,
        control: ControlChannel,
        options: Bind9Options,
        key: TsigKey,
        checkpoint: Callable[[], None],
        timeout_s: float,
    ) -> None:
        """`checkpoint` renews the claim; the requests are announced by `control`."""
        self._control = control
        self._options = options
        self._key = key
        self._checkpoint = checkpoint
        self._timeout_s = timeout_s

    def find(self, zone: Name) -> str | None:
        """The zone's statement in named's configuration; None where it has none."""
        try:
            return self._run("showzone", zone)
        except ZoneMissing:
            return None

    def is_unfinished(self, zone: Name) -> bool:
        """Whether the zone is one that `add` began with and did not end: hidden, and still a secondary."""
        statement = self.find(zone)
        return statement is not None and is_unfinished(statement)

    def status(self, zone: Name) -> str:
        """What `rndc zonestatus` says. Raises `ZoneMissing`, `ServerFailure` for a zone that didn't load."""
        return self._run("zonestatus", zone)

    def sync(self, zone: Name) -> None:
        """Have the zone's file written. Raises `Busy` when it doesn't come to that within the time-out.

        Never with `-clean`: that removes the journal before the file is there, and a crash between the two
        loses what the journal held (BIND 9.18.49).
        """
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                self._run("sync", zone)
            except Busy:  # it is writing what was there before the last change
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK_AGAIN_S)
                self._checkpoint()
                continue
            return

    def remove(self, zone: Name) -> None:
        """Remove the zone and its files; no error when it is absent."""
        try:
            if "reconfigurable via modzone: no" in self.status(zone):
                raise Unsupported(f"{zone} stands in named.conf itself: remove it there", zone=zone)
        except ZoneMissing:
            return
        except ServerFailure:
            pass  # it didn't load: all the more reason
        try:
            self._run("delzone -clean", zone)
        except ZoneMissing:
            return
        if self.find(zone) is not None:
            raise Busy(f"named still has {zone} after deleting it", zone=zone)

    def add(self, contents: ZoneContents) -> None:
        """Add a zone that isn't there, complete and open to queries at once."""
        if self._options.local_zone_directory is not None:
            file = _file_name(contents.name)
            _write_file(self._options.local_zone_directory / file, contents)
            self._add_primary(contents.name, file)
            return
        file = _file_name(contents.name)
        try:
            self._fetch(contents, file)
            self._wait_for_file(contents.name, file)
            # A zone can't be turned from secondary into primary, but its file can be that of the next zone.
            self._checkpoint()
            self._run("delzone", contents.name)
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
            self._run(
                "addzone",
                zone,
                f'type secondary; file "{self._path(file)}"; masterfile-format text; request-ixfr no; '
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
                self._run("sync", zone)
            if self._has_file(file):
                return
            if time.monotonic() > deadline:
                raise Busy(f"named fetched {zone} but has written no {self._path(file)!r} yet: see its log")
            time.sleep(LOOK_AGAIN_S)

    def _has_file(self, file: str) -> bool:
        """Whether the file is there and whole (named gives it its name when it has written all of it).

        No command tells. So a zone is added that this file can't be the file of: named says either that the
        file isn't there or, at its first octets, that its format is wrong, and forgets about the zone.
        """
        probe = Name(f"{secrets.token_hex(4)}.dnsworker-probe.invalid.")
        statements = (
            f'type primary; file "{self._path(file)}"; masterfile-format raw; allow-query {{ none; }};'
        )
        try:
            self._send("addzone", probe, statements)
        except CommandFailed as exc:
            if exc.error == "file not found":
                return False
            if "dns_zone_loadnew failed" in exc.text:
                return True
            raise translate_failure(exc, "addzone", probe) from exc
        raise ServerFailure(f"named took a text file for a raw one: {self._path(file)}")

    def _has_loaded(self, zone: Name, soa: SOA) -> bool:
        try:
            return f"\nserial: {soa.serial}\n" in self.status(zone)
        except ServerFailure:
            return False

    def _forget(self, zone: Name) -> None:
        """Take an unfinished zone away, if that can be done; the next attempt does it otherwise."""
        try:
            if self.is_unfinished(zone):
                self._run("delzone -clean", zone)
        except BackendError:
            return

    def _add_primary(self, zone: Name, file: str) -> None:
        transfer = "".join(f" {element};" for element in self._options.allow_transfer)
        statements = self._options.zone_statements
        # What comes here was judged already; named would refuse a zone for `a_b.example.org. A`.
        check_names = "" if "check-names" in statements else "check-names ignore; "
        self._run(
            "addzone",
            zone,
            f'type primary; file "{self._path(file)}"; {check_names}allow-query {{ any; }}; '
            f'allow-transfer {{ key "{self._key.name}";{transfer} }}; '
            f'allow-update {{ key "{self._key.name}"; }}; {statements}',
        )

    def _path(self, file: str) -> str:
        directory = self._options.zone_directory.rstrip("/")
        return file if directory in ("", ".") else f"{directory}/{file}"

    def _run(self, command: str, zone: Name, statements: str = "") -> str:
        try:
            return self._send(command, zone, statements)
        except CommandFailed as exc:
            raise translate_failure(exc, command, zone) from exc

    def _send(self, command: str, zone: Name, statements: str = "") -> str:
        where = f" IN {self._options.view}" if self._options.view else ""
        body = f" {{ {statements} }};" if statements else ""
        return self._control.command(f'{command} "{zone.removesuffix(".") or "."}"{where}{body}')


def translate_failure(failure: CommandFailed, command: str, zone: Name) -> BackendError:
    """What it means that named refused a command."""
    error, words = failure.error, f"named refuses `{command} {zone}`: {failure}"
    if "no matching view" in failure.text:
        return Unsupported(f"{words}; compare `view` in pools.yaml", zone=zone)
    if "no matching zone" in failure.text:
        return ZoneMissing(f"named has no zone {zone}", zone=zone)
    if error in ("already exists", "already running"):
        return Busy(words, zone=zone)
    if error in ("permission denied", "not implemented") or "allow-new-zones" in failure.text:
        return Unsupported(f"{words}; does named.conf say `allow-new-zones yes;`?", zone=zone)
    if command == "addzone" and (error.startswith("bad ") or error == "too many records"):
        return RecordRejected(f"{words}; its log says which record", zone=zone)
    if command == "addzone" and error == "failure":
        words += "; is the statement right (zone_statements, allow_transfer)? Its log says more"
    return ServerFailure(words, zone=zone)


def is_unfinished(statement: str) -> bool:
    """Whether a zone's statement is one that `ConfiguredZones.add` began with."""
    return "type secondary;" in statement and _OUR_FILE.search(statement) is not None


def _file_name(zone: Name) -> str:
    """A name for one zone and one attempt, so that no file or journal is ever met again by another.

    A zone is `example.org.dnsworker-1f00c3d2.db`; what can't stand in a file name is %XX, and a long name
    ends in a hash.
    """
    stem = "".join(
        char if char in "abcdefghijklmnopqrstuvwxyz0123456789-_." else f"%{ord(char):02x}"
        for char in zone.removesuffix(".")
    )
    if len(stem) > _LONGEST_STEM:
        stem = stem[: _LONGEST_STEM - 17] + "-" + hashlib.sha256(zone.encode()).hexdigest()[:16]
    return f"{stem}.dnsworker-{secrets.token_hex(4)}.db"


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
