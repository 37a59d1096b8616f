"""Any octoDNS provider as a target: docs/backends/octodns.md.

What octoDNS' interface leaves open (fencing, serials, deleting zones) is said there; what is known of some
providers beyond it is in `traits`.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace
from typing import Any, ClassVar

from backends.octodns.changes import carry_out
from backends.octodns.options import OctoDNSOptions
from backends.octodns.provider_class import holds_apex_ns, load_class, types_of
from backends.octodns.session import Session, Sessions
from backends.octodns.traits import traits_of
from backends.requests_made import RequestsMade
from dnsworker.backend import Backend, Capabilities, Health, Options, Receipt
from dnsworker.contents import ZoneContents
from dnsworker.errors import BackendError, ServerFailure, Unsupported, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import Plan, RRsetChange, make_plan, split
from dnsworker.records import SOA

#: Reserved (RFC 6761, section 6.4): nobody can have this zone, and asking for it takes our credentials.
NOBODYS_ZONE = Name("dnsworker-check.invalid.")


class OctoDNSBackend(Backend):
    """One provider account. Every method makes a provider object of its own."""

    #: Of a provider that nothing is known of; the types are those that hardly any is without.
    capabilities = Capabilities(
        types=frozenset({"A", "AAAA", "CNAME", "MX", "TXT"}), atomic="rrset", max_batch=200, sets_serial=True
    )
    options_model: ClassVar[type[Options]] = OctoDNSOptions

    def __init__(self, target: str, options: Options, *, timeout_s: float = 5.0) -> None:
        super().__init__(target, options, timeout_s=timeout_s)
        assert isinstance(options, OctoDNSOptions), "options are an options_model"
        self._path = options.provider
        # The checkpoint is set later, and anew for each delivery.
        self._requests = RequestsMade(lambda: self.checkpoint())
        self._sessions = Sessions(target, options, timeout_s, self._requests.announce)
        self._traits = self._sessions.traits

    @classmethod
    def capabilities_for(cls, options: Options) -> Capabilities:
        assert isinstance(options, OctoDNSOptions), "options are an options_model"
        provider_class = load_class(options.provider)
        traits = traits_of(provider_class)
        return replace(
            cls.capabilities,
            types=types_of(provider_class),
            atomic=traits.atomic,
            max_batch=options.max_batch or traits.max_batch,
            max_message_bytes=traits.max_message_bytes,
            creates_zones=traits.creates_zones,
            apex_ns=holds_apex_ns(provider_class),
        )

    @classmethod
    def writes_to(cls, options: Options) -> tuple[str, ...] | None:
        assert isinstance(options, OctoDNSOptions), "options are an options_model"
        return traits_of(load_class(options.provider)).writes_to(options.revealed())

    def read_zone(self, zone: Name) -> ZoneContents | None:
        """The SOA is a stand-in: octoDNS has none."""
        self._requests.begin()
        with self._sessions.open() as session:
            return _contents(session, zone)

    def create_zone(self, zone: ZoneContents) -> Receipt | None:
        """The zone comes with the first changes; what the provider puts into a new one is then removed."""
        self._requests.begin()
        with self._sessions.open() as session:
            current = _contents(session, zone.name)
        if current is None:
            if not self._traits.creates_zones:
                raise ZoneMissing(
                    f"there is no zone {zone.name}, and {self._path} can't make one: make it on the server",
                    zone=zone.name,
                )
            first, *_ = self._parts(replace(zone, rrsets={}), zone)
            receipt = self._carry_out(first, is_new=True)
            with self._sessions.open() as session:
                current = _contents(session, zone.name)
            if current is None:
                raise ServerFailure(f"{self._path} took the new zone {zone.name} and hasn't got it")
        else:
            receipt = None
        for part in self._parts(current, zone):
            if part.changes:
                receipt = self._carry_out(part)
        return receipt

    def apply(self, plan: Plan) -> Receipt:
        self._requests.begin()
        return self._carry_out(plan)

    def has_arrived(self, zone: Name, change_id: str) -> bool:
        self._requests.begin()
        with self._sessions.open() as session:
            return self._traits.has_arrived(session.provider, change_id)

    def delete_zone(self, zone: Name) -> None:
        self._requests.begin()
        with self._sessions.open(is_write=True) as session:
            if self._traits.delete_zone is None or self._traits.deletes_empty_zones_only:
                current = _contents(session, zone)
                if current is None:
                    return
            elif not session.has(zone):
                return
            else:
                current = None
            if self._traits.delete_zone is None:
                raise Unsupported(
                    f"octoDNS can't delete zones, and how {self._path} would is not known: "
                    f"delete {zone} at the provider. It was left as it is",
                    zone=zone,
                )
        if current is not None:
            self._empty(current)
        with self._sessions.open(is_write=True) as session:
            self._traits.delete_zone(session.provider, zone)

    def check(self) -> Health:
        try:
            self.read_zone(NOBODYS_ZONE)
        except BackendError as exc:
            return Health(False, f"{self._path}: {exc}")
        return Health(True, f"{self._path} ({_version(self._path)}) answers")

    def _carry_out(self, plan: Plan, *, is_new: bool = False) -> Receipt:
        if not self.capabilities.apex_ns:
            plan = replace(
                plan, changes=tuple(change for change in plan.changes if change.key != (plan.zone, "NS"))
            )
        with self._sessions.open(is_write=True, changes=plan.changes) as session:
            carry_out(session, plan, is_new=is_new)
            return Receipt(soa=plan.desired_soa, change_id=session.change_id)

    def _empty(self, current: ZoneContents) -> None:
        kept = {key: rrset for key, rrset in current.rrsets.items() if key == (current.name, "NS")}
        for part in self._parts(current, replace(current, rrsets=kept)):
            if part.changes:
                self._carry_out(part)

    def _parts(self, current: ZoneContents, desired: ZoneContents) -> list[Plan]:
        """In as many parts as the provider wants them. Their serials mean nothing here."""
        changes: list[RRsetChange] = current.changes_to(desired)
        return split(make_plan(desired.name, desired.soa, desired.soa, changes), self.capabilities)


def _contents(session: Session, name: Name) -> ZoneContents | None:
    found: Any = session.read(name)
    if found is None:
        return None
    return ZoneContents(soa=stand_in_soa(name), rrsets=session.contents(found), name=name)


def stand_in_soa(zone: Name) -> SOA:
    """In place of the provider's own, which octoDNS doesn't show. Its serial is below all that we give."""
    return SOA(mname=zone, rname=zone, serial=1)


def _version(path: str) -> str:
    package = path.partition(".")[0].replace("_", "-")
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return "not from a package"
