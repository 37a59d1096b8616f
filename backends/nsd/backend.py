"""NSD as a target: a secondary that is given zones, told to transfer them, and looked at until it has."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import ClassVar, TypeVar

import dns.opcode

from backends import dns_transfer
from backends.dns_lookup import look_up
from backends.nsd.connection import connect
from backends.nsd.control import CommandFailed, ControlChannel, ZoneStatus
from backends.nsd.options import NsdOptions
from backends.requests_made import RequestsMade
from dnsworker import names, serials
from dnsworker.backend import Backend, Capabilities, Health, Options, Receipt
from dnsworker.contents import ZoneContents
from dnsworker.errors import (
    BackendError,
    Behind,
    Busy,
    OutcomeUnknown,
    ServerFailure,
    Unreachable,
    Unsupported,
    ZoneMissing,
)
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.records import SOA, Key, RRset
from dnsworker.wire import SOA_TYPE, request

#: RRsets that are asked for one by one; for more a transfer is cheaper.
MAX_LOOKUPS = 16
#: NSD transfers and loads a zone after it has answered a command: looked for at once, then less often.
_FIRST_LOOK_S, _LAST_LOOK_S = 0.005, 0.1
#: The order to transfer is repeated, since a primary that was asked too early had nothing new.
_ORDER_AGAIN_S = 1.0
#: Connections in a row that a loading NSD may cut.
_CUTS = 3

#: Looks in a row that must say the same: while one set of its processes takes over from another, both answer.
_LOOKS = 3

T = TypeVar("T")


class NsdBackend(Backend):
    """One nsd, with `remote-control` and a pattern that names its primaries."""

    capabilities = Capabilities(
        atomic="message",
        creates_zones=True,
        hides_new_zones=True,
        reads_back=True,
        fencing="none",
        pull=True,
        notifies=True,
    )
    options_model: ClassVar[type[Options]] = NsdOptions

    def __init__(self, target: str, options: Options, *, timeout_s: float = 5.0) -> None:
        super().__init__(target, options, timeout_s=timeout_s)
        assert isinstance(options, NsdOptions)
        self._pattern = options.pattern
        #: How long `checkpoint` has held us up: a change takes several looks, and a budget may be slow.
        self._held_up_s = 0.0
        self._requests = RequestsMade(self._before_a_request)
        announce = self._requests.announce
        self._dns = connect(options, timeout_s, announce)
        self._control = ControlChannel(
            options.control_host or options.host,
            options.control_port,
            server_cert=options.server_cert_file,
            control_cert=options.control_cert_file,
            control_key=options.control_key_file,
            timeout_s=timeout_s,
            announce=announce,
        )

    @classmethod
    def writes_to(cls, options: Options) -> tuple[str, ...]:
        assert isinstance(options, NsdOptions)
        return ("dns", f"{options.host}:{options.port}", "")  # NSD has no views

    def read_zone(self, zone: Name) -> ZoneContents | None:
        self._requests.begin()
        return self._served(zone, lambda: self._transferred(zone))

    def read_soa(self, zone: Name) -> SOA | None:
        self._requests.begin()
        return self._served(zone, lambda: self._served_soa(zone))

    def read_rrsets(self, zone: Name, keys: Collection[Key]) -> Mapping[Key, RRset]:
        self._requests.begin()
        if len(keys) <= MAX_LOOKUPS:
            found = self._asked(lambda: look_up(self._dns, zone, keys))
            if found is not None:
                return found
            self.checkpoint()
        return super().read_rrsets(zone, keys)

    def create_zone(self, zone: ZoneContents) -> None:
        self._requests.begin()
        status = self._control.zone_status(zone.name)
        is_new = status is None
        if status is None:
            self._order("addzone", zone.name, self._pattern)
        elif status.pattern != self._pattern:
            raise Unsupported(
                f"NSD has {zone.name} already, with the pattern {status.pattern or '(none)'!r} and not "
                f"{self._pattern!r}: remove it there, or compare `pattern`",
                zone=zone.name,
            )
        self._transfer(zone.name, zone.soa, zone, has_begun=is_new)

    def apply(self, plan: Plan) -> Receipt:
        self._requests.begin()
        self._transfer(plan.zone, plan.desired_soa, None)
        return Receipt(soa=plan.desired_soa)

    def delete_zone(self, zone: Name) -> None:
        self._requests.begin()
        if self._control.zone_status(zone) is not None:
            self._order("delzone", zone)
            if self._control.zone_status(zone) is not None:
                raise Busy(f"NSD still has {zone} after deleting it", zone=zone)
        looks = 0

        def has_gone() -> bool:
            nonlocal looks
            looks = looks + 1 if self._served_soa(zone) is None else 0
            return looks >= _LOOKS

        self._wait(has_gone, lambda: Busy(f"NSD still serves {zone}", zone=zone))

    def notify(self, zone: Name) -> None:
        self._requests.begin()
        self._order("transfer", zone)

    def check(self) -> Health:
        self._requests.begin()
        try:
            status = self._control.command("status", changes_something=False)
            # Whatever it says, a key has to be accepted first.
            self._asked(lambda: self._dns.exchange(request(dns.opcode.QUERY, names.ROOT, SOA_TYPE)))
        except BackendError as exc:
            return Health(False, str(exc))
        except CommandFailed as exc:
            return Health(False, f"NSD refuses `status`: {exc}")
        version = status.partition("\n")[0].removeprefix("version:").strip()
        return Health(True, f"NSD {version} at {self._dns.address}")

    def close(self) -> None:
        self._dns.close()

    def _transfer(
        self, zone: Name, soa: SOA, contents: ZoneContents | None, *, has_begun: bool = False
    ) -> None:
        """Have NSD transfer the zone until it serves `soa`, and exactly `contents` if given.

        `has_begun`: it was added just now, which begins a transfer. A second order at that moment has left
        NSD 4.6.1 waiting for an answer to a question that it never sent, until the primary hung up.

        Raises `Behind` when it doesn't arrive within the time-out.
        """
        seen: SOA | None = None
        looks = 0
        ordered_at = self._now_s() if has_begun else None

        def has_arrived() -> bool:
            nonlocal seen, looks, ordered_at
            seen = self._served_soa(zone)
            looks = looks + 1 if seen is not None and seen.rdata == soa.rdata else 0
            if 0 < looks < _LOOKS:
                return False
            if looks:
                status = self._control.zone_status(zone)
                if status is None or status.served_serial != soa.serial:
                    return False  # the processes of before are still there
                if contents is None or self._transferred(zone) == contents:
                    return True
            if ordered_at is None or self._now_s() > ordered_at + _ORDER_AGAIN_S:
                order = self._next_order(zone, soa, seen, may_go_back=contents is not None)
                if order == "transfer" or ordered_at is not None:
                    self._order(order, zone)
                ordered_at = self._now_s()
            return False

        try:
            self._wait(has_arrived, lambda: self._behind(zone, soa, seen))
        except Unreachable as exc:
            if ordered_at is None:
                raise
            raise OutcomeUnknown(f"NSD was told to transfer {zone}, and then: {exc}", zone=zone) from exc

    def _next_order(self, zone: Name, soa: SOA, seen: SOA | None, *, may_go_back: bool) -> str:
        """Of itself NSD takes no serial that isn't a rise over what it serves, or thinks that it has.

        After a restart with an old file it may remember (`commit-serial`) to have had `soa`, and serve the
        old one for as long as nobody forces it (4.6.1).
        """
        status = self._control.zone_status(zone)
        if status is None:
            raise ZoneMissing(f"NSD has no zone {zone}", zone=zone)
        known = status.commit_serial
        has_had_it = known is not None and not serials.is_ahead(soa.serial, known)
        if seen is not None and not serials.is_ahead(soa.serial, seen.serial):
            return "force_transfer" if may_go_back else "transfer"
        return "force_transfer" if has_had_it else "transfer"

    def _behind(self, zone: Name, soa: SOA, seen: SOA | None) -> BackendError:
        has = "has not got it from its primary" if seen is None else f"is at serial {seen.serial}"
        return Behind(
            f"NSD {has}, and not at {soa.serial}, after {self.timeout_s:g} s: does its primary have it, and "
            f"let NSD transfer it? Compare `request-xfr` of the pattern {self._pattern!r}, and see NSD's log",
            zone=zone,
        )

    def _wait(self, is_done: Callable[[], bool], failure: Callable[[], BackendError]) -> None:
        deadline = self._now_s() + self.timeout_s
        pause_s = _FIRST_LOOK_S
        while not is_done():
            if self._now_s() > deadline:
                raise failure()
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.2, _LAST_LOOK_S)

    def _before_a_request(self) -> None:
        began = time.monotonic()
        self.checkpoint()
        self._held_up_s += time.monotonic() - began

    def _now_s(self) -> float:
        """A clock that stands still while we are held up: NSD isn't late then."""
        return time.monotonic() - self._held_up_s

    def _served(self, zone: Name, read: Callable[[], T | None]) -> T | None:
        """What `read` finds; None only when NSD says that it hasn't been given the zone."""
        found: T | None = None
        status: ZoneStatus | None = None

        def is_known() -> bool:
            nonlocal found, status
            found = read()
            if found is None:
                status = self._control.zone_status(zone)
                if status is not None and status.served_serial is None:
                    raise _not_served(zone, status)
            # A process of before may have answered, which has not got it yet.
            return found is not None or status is None

        self._wait(is_known, lambda: ServerFailure(f"NSD says that it serves {zone}, and doesn't", zone=zone))
        return found

    def _served_soa(self, zone: Name) -> SOA | None:
        """What it answers with; None where that isn't the zone's SOA, for whatever reason."""
        return self._asked(lambda: dns_transfer.read_soa(self._dns, zone))

    def _transferred(self, zone: Name) -> ZoneContents | None:
        """The whole zone; None where it isn't served."""
        try:
            return self._asked(lambda: dns_transfer.read_zone(self._dns, zone))
        except ZoneMissing:
            return None

    def _asked(self, question: Callable[[], T]) -> T:
        """The answer of the process that serves now.

        When NSD loads a zone it replaces its processes. The old one may still hold a kept connection, with
        old contents; and a connection that it takes just then is cut, and made again.
        """
        for _ in range(_CUTS):
            self._dns.close()
            try:
                return question()
            except Unreachable as exc:
                if not isinstance(exc.__cause__, EOFError | ConnectionResetError | BrokenPipeError):
                    raise
        self._dns.close()
        return question()

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
        f"NSD has been given {zone} (pattern {status.pattern!r}, state {status.state!r}) and doesn't serve "
        "it yet: it has not transferred it",
        zone=zone,
    )
