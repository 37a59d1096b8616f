"""A plan of ours as plans of octoDNS, carried out.

Where it is known that a provider needs the changes alone, it gets them without reading the zone. Others get
what octoDNS' own `plan` would have made: the zone as it is, as it should be, and what leads there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from octodns.provider.plan import Plan as OctoPlan
from octodns.record import Create, Delete, Update

from backends.octodns import convert
from backends.octodns.session import Session
from dnsworker.errors import RecordRejected, ZoneMissing
from dnsworker.plan import Plan, RRsetChange
from dnsworker.records import RRset


def carry_out(session: Session, plan: Plan, *, is_new: bool) -> None:
    """Raises `ZoneMissing` where the zone isn't there, unless it is new: then the provider makes it."""
    zone = convert.empty_zone(plan.zone)
    wanted = {change.key: _checked(session, zone, change.after) for change in plan.changes if change.after}
    if is_new:
        creations = [Create(record) for record in wanted.values()]
        session.provider.apply(OctoPlan(None, _zone_of(plan, wanted.values()), creations, False))
    elif session.traits.is_incremental and plan.changes:
        _send_changes(session, plan, wanted)
    else:
        _send_difference(session, plan, wanted)


def _send_changes(session: Session, plan: Plan, wanted: dict[Any, Any]) -> None:
    # A provider takes a zone that isn't there for one to be made, and it would have these changes only.
    if session.traits.has_zone is not None and not session.has(plan.zone):
        raise _missing(session, plan)
    changes: list[Any] = []
    later: list[Any] = []
    zone = convert.empty_zone(plan.zone)
    for change in plan.changes:
        record = wanted.get(change.key)
        if record is None:
            assert change.before is not None, "a change has a before or an after"
            changes.append(Delete(convert.to_record(zone, change.before)))
        elif change.key == (plan.zone, "NS") and session.traits.adds_apex_ns_first:
            changes.append(Create(record))
            if gone := _gone(change):
                later.append(Delete(convert.to_record(zone, gone)))
        else:
            # Also for what is new: an update replaces, so it may be repeated, whatever is there.
            changes.append(Update(record, record))
    for each in (changes, later):
        if each:
            session.provider.apply(OctoPlan(None, _zone_of(plan, wanted.values()), each, True))


def _send_difference(session: Session, plan: Plan, wanted: dict[Any, Any]) -> None:
    provider = session.provider
    existing = session.read(plan.zone)
    if existing is None:
        raise _missing(session, plan)
    present = {(record.fqdn, record._type): record for record in existing.records}
    contents = session.contents(existing)
    changes: list[Any] = []
    for change in plan.changes:
        found = present.get(change.key)
        if found is not None and not convert.is_plain(found):
            raise RecordRejected(
                f"{found.fqdn} {found._type} at the provider has health checks or geography: left alone",
                rrset=change.key,
            )
        # As the provider would have to spell it: what it has read may be spelled otherwise.
        current = session.traits.respell(found) if found is not None else None
        record = wanted.get(change.key)
        if record is None:
            changes += [Delete(current)] if current is not None else []
        elif current is None:
            changes.append(Create(record))
        elif contents.get(change.key) != change.after:
            changes.append(Update(current, record))
    # From here on as octoDNS' own `plan` goes, but for `_extra_changes`, which concern what we didn't plan.
    desired = existing.copy()
    desired.apply(changes)
    if not provider.SUPPORTS_ROOT_NS and desired.root_ns:
        desired.remove_record(desired.root_ns)
    desired = provider._process_desired_zone(desired)
    existing = provider._process_existing_zone(existing, desired)
    changes = [change for change in changes if provider._include_change(change)]
    if changes:
        provider.apply(OctoPlan(existing, desired, changes, True))


def _checked(session: Session, zone: Any, rrset: RRset) -> Any:
    """The RRset as octoDNS' record, which the provider takes and sends as what it is."""
    record = convert.to_record(zone, rrset)
    if not session.provider.supports(record):
        raise RecordRejected(f"{_name(session)} can't hold records of type {rrset.type}", rrset=rrset.key)
    if session.traits.spelling is not None:
        convert.raise_if_garbled(rrset, session.traits.spelling(session.provider, record), _name(session))
    return record


def _gone(change: RRsetChange) -> RRset | None:
    """The values that an RRset loses."""
    assert change.before is not None, "an apex NS RRset is there as long as its zone"
    assert change.after is not None, "an apex NS RRset is there as long as its zone"
    gone = tuple(value for value in change.before.data if value not in change.after.data)
    return RRset.trusted(change.before.name, change.before.type, change.after.ttl, gone) if gone else None


def _zone_of(plan: Plan, records: Iterable[Any]) -> Any:
    zone = convert.empty_zone(plan.zone)
    for record in records:
        zone.add_record(record, lenient=True)
    return zone


def _missing(session: Session, plan: Plan) -> ZoneMissing:
    return ZoneMissing(f"{_name(session)} says that there is no zone {plan.zone}", zone=plan.zone)


def _name(session: Session) -> str:
    return type(session.provider).__name__
