"""Zones in named's configuration: added, found and removed over the control channel.

Separate from what is done with them: primaries that are written to (`birth`, `primary`), secondaries
(`secondary`), zones that named signs (`signing`).
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable

from backends.bind9.options import Bind9Options
from backends.bind9.rndc import CommandFailed, ControlChannel
from dnsworker.errors import (
    BackendError,
    Busy,
    RecordRejected,
    ServerFailure,
    Unsupported,
    ZoneMissing,
)
from dnsworker.names import Name

#: How often to look whether named has got on with a new zone.
LOOK_AGAIN_S = 0.01
#: How many time-outs named may take to come for a zone: it asks for SOAs at `serial-query-rate`, 20 a second.
PATIENCE = 3
#: How named says that it has a zone and no contents for it.
NOT_LOADED = "zone not loaded"

_OUR_FILE = re.compile(r'file "[^"]*\.dnsworker-[0-9a-f]{8}\.db"')
_LONGEST_STEM = 100


class ConfiguredZones:
    """What `rndc` can do for zones, in the words of `dnsworker.errors`."""

    def __init__(
        self,
        control: ControlChannel,
        options: Bind9Options,
        checkpoint: Callable[[], None],
        timeout_s: float,
    ) -> None:
        """`checkpoint` renews the claim; the requests are announced by `control`."""
        self._control = control
        self._options = options
        self._checkpoint = checkpoint
        self._timeout_s = timeout_s

    def find(self, zone: Name) -> str | None:
        """The zone's statement in named's configuration; None where it has none."""
        try:
            return self.run("showzone", zone)
        except ZoneMissing:
            return None

    def is_unfinished(self, zone: Name) -> bool:
        """Whether the zone is one that its birth began with and did not end: still a secondary."""
        statement = self.find(zone)
        return statement is not None and is_unfinished(statement)

    def status(self, zone: Name) -> str:
        """What `rndc zonestatus` says. Raises `ZoneMissing`, `ServerFailure` for a zone that didn't load."""
        return self.run("zonestatus", zone)

    def sync(self, zone: Name) -> None:
        """Have the zone's file written. Raises `Busy` when it doesn't come to that within the time-out.

        Never with `-clean`: that removes the journal before the file is there, and a crash between the two
        loses what the journal held (BIND 9.18.49).
        """
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                self.run("sync", zone)
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
            self.run("delzone -clean", zone)
        except ZoneMissing:
            return
        if self.find(zone) is not None:
            raise Busy(f"named still has {zone} after deleting it", zone=zone)

    def path(self, file: str) -> str:
        """A file in the folder for zone files, as named sees it."""
        directory = self._options.zone_directory.rstrip("/")
        return file if directory in ("", ".") else f"{directory}/{file}"

    def run(self, command: str, zone: Name, statements: str = "") -> str:
        """What named says to a command about a zone."""
        try:
            return self.send(command, zone, statements)
        except CommandFailed as exc:
            raise translate_failure(exc, command, zone) from exc

    def send(self, command: str, zone: Name, statements: str = "") -> str:
        """As `run`, but raises `CommandFailed`."""
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
    """Whether a zone's statement is one that `NewZones.add` began with."""
    return "type secondary;" in statement and _OUR_FILE.search(statement) is not None


def file_name(zone: Name) -> str:
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
