"""Plans as RFC 2136 updates, and what a server's answer to one means.

Shared by the backends that are updated over DNS. An update here always requires what the plan starts from,
the complete SOA or each RRset that changes, so it can be sent twice and a stale writer is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import dns.opcode
import dns.rcode

from dnsworker.backend import Receipt
from dnsworker.errors import (
    AuthenticationFailed,
    BackendError,
    RecordRejected,
    ServerFailure,
    Unsupported,
    ZoneChanged,
    ZoneMissing,
)
from dnsworker.names import Name
from dnsworker.plan import Plan, RRsetChange
from dnsworker.records import SOA, RRset
from dnsworker.wire import ANY, IN, NONE, SOA_TYPE, encode, record, request, soa_octets, type_number

if TYPE_CHECKING:
    from backends.dns_connection import DNSConnection

#: A nameserver that is in a zone only within one update (RFC 2606).
_NOWHERE = "ns.invalid."


def send_plan(connection: DNSConnection, plan: Plan) -> None:
    """Have the plan carried out. Raises what `dnsworker.backend.Backend.apply` says."""
    answer = connection.exchange(update_message(plan), changes_something=True)
    if answer.rcode == dns.rcode.REFUSED and may_update(connection, plan.zone, plan.current_soa):
        raise RecordRejected(
            f"{connection.host} takes our updates of {plan.zone} but refuses this one: an MX or apex NS in "
            "the zone that has no address there (yet), a name below a DNAME, a record of its signer, or a "
            "name or type that its update policy keeps from us; its log says which",
            rrset=plan.changes[0].key if len(plan.changes) == 1 else None,
        )
    raise_for_update(answer.rcode, connection, plan.zone)


def send_plans(connection: DNSConnection, plans: Sequence[Plan]) -> list[Receipt | BackendError]:
    """Have plans of different zones carried out, all under way at once: what `send_plan` would have raised,
    by and large, in place of what hasn't been."""
    results: list[Receipt | BackendError] = [Receipt(soa=plan.desired_soa) for plan in plans]
    messages: dict[int, bytes] = {}
    for index, plan in enumerate(plans):
        try:
            messages[index] = update_message(plan)
        except BackendError as exc:
            results[index] = exc
    answers = connection.exchange_all(list(messages.values()))
    for index, answer in zip(messages, answers, strict=True):
        try:
            if isinstance(answer, BackendError):
                raise answer
            raise_for_update(answer.rcode, connection, plans[index].zone)
        except BackendError as exc:
            results[index] = exc
    return results


def update_message(plan: Plan) -> bytes:
    """The plan as one unsigned message: per owner all deletions before all additions, the SOA last.

    A server works through an update record by record and ignores in silence what can't be at that moment
    (a CNAME beside other data), hence the order.
    """
    records: list[bytes] = []
    for changes in _by_owner(plan.changes):
        additions: list[bytes] = []
        for change in changes:
            if change.key == (plan.zone, "NS"):
                records += _replace_apex_ns(change)
            else:
                removed, added = _replace(change)
                records += removed
                additions += added
        records += additions
    records.append(record(plan.zone, SOA_TYPE, IN, plan.desired_soa.ttl, soa_octets(plan.desired_soa)))
    fence = _fence(plan.zone, plan.current_soa) if plan.fence == "soa" else _fence_rrsets(plan.changes)
    counts = (len(fence), len(records), 0)
    return request(dns.opcode.UPDATE, plan.zone, SOA_TYPE, counts, b"".join(fence + records))


def may_update(connection: DNSConnection, zone: Name, soa: SOA) -> bool:
    """Whether the server takes updates of the zone from our key at all: one that changes nothing tells."""
    nothing = request(dns.opcode.UPDATE, zone, SOA_TYPE, (1, 0, 0), b"".join(_fence(zone, soa)))
    return connection.exchange(nothing).rcode in (dns.rcode.NOERROR, dns.rcode.NXRRSET)


def raise_for_update(rcode: int, connection: DNSConnection, zone: Name) -> None:
    """Translates the rcode of an answer to an update (RFC 2136, section 2.2)."""
    server = f"{connection.address}"
    if rcode == dns.rcode.NOERROR:
        return
    if rcode in (dns.rcode.NXRRSET, dns.rcode.YXRRSET):
        raise ZoneChanged(f"{zone} on {server} is not as the change expects it: somebody else wrote there")
    if rcode == dns.rcode.NOTAUTH:
        raise ZoneMissing(f"{server} has no zone {zone} of its own (NOTAUTH)")
    if rcode == dns.rcode.REFUSED:
        raise AuthenticationFailed(
            f"{server} refuses updates of {zone} signed with the key {connection.key.name!r}: "
            "compare allow-update or update-policy (REFUSED)"
        )
    if rcode == dns.rcode.SERVFAIL:
        raise ServerFailure(f"{server} failed to update {zone} (SERVFAIL); its log says why")
    words = dns.rcode.to_text(dns.rcode.Rcode(rcode))
    if rcode == dns.rcode.NOTIMP:
        raise Unsupported(f"{server} does no dynamic updates ({words})")
    raise RecordRejected(f"{server} rejects the update of {zone}: {words}")


def _fence(zone: Name, soa: SOA) -> list[bytes]:
    """The prerequisite: all of the SOA, not just its serial, since RFC 2136, section 2.4.2 compares so."""
    return [record(zone, SOA_TYPE, IN, 0, soa_octets(soa))]


def _fence_rrsets(changes: Iterable[RRsetChange]) -> list[bytes]:
    """Prerequisites: each RRset has exactly these values (RFC 2136, section 2.4.2), or isn't there (2.4.3).

    A SOA in such an update that isn't ahead of the zone's is ignored, and the server counts (3.4.2.2, 3.6; so
    do BIND 9.18.49 and Knot 3.2.6, 2026-11-25): the serial rises whatever others have done.
    """
    required: list[bytes] = []
    for change in changes:
        if change.before is None:
            required.append(record(change.key[0], type_number(change.key[1]), NONE, 0, b""))
        else:
            required += encode(change.before, ttl=0)
    return required


def _by_owner(changes: Iterable[RRsetChange]) -> Iterable[list[RRsetChange]]:
    groups: dict[Name, list[RRsetChange]] = {}
    for change in changes:
        groups.setdefault(change.key[0], []).append(change)
    return groups.values()


def _replace(change: RRsetChange) -> tuple[list[bytes], list[bytes]]:
    """What is to be deleted for a change, and what then to be added."""
    before, after = change.before, change.after
    if before is not None and after is not None and before.ttl == after.ttl:
        removed, added = _difference(before.data, after.data), _difference(after.data, before.data)
        # Value by value only while that is smaller: the planner counts on no more than all of `after`.
        if _size(removed) + _size(added) <= _size(after.data):
            gone = RRset.trusted(before.name, before.type, before.ttl, removed)
            new = RRset.trusted(after.name, after.type, after.ttl, added)
            return encode(gone, rdclass=NONE, ttl=0), encode(new)
    # A new TTL goes this way too: servers disagree on what an addition does to the TTL of the others.
    deletion = [record(before.name, type_number(before.type), ANY, 0, b"")] if before is not None else []
    return deletion, encode(after) if after is not None else []


def _replace_apex_ns(change: RRsetChange) -> list[bytes]:
    """New ones first, then the old ones singly: servers ignore the deletion of all (RFC 2136, 3.4.2.3)."""
    after = change.after
    if after is None:
        raise RecordRejected("a zone must keep an NS record", rrset=change.key)
    before = change.before.data if change.before is not None else ()
    removed = _difference(before, after.data)
    if change.before is not None and change.before.ttl != after.ttl and not _difference(after.data, before):
        # Knot ignores the addition of records that are there, with whatever TTL; a new one brings its own to
        # the others.
        visitor = RRset.trusted(after.name, after.type, after.ttl, (_NOWHERE,))
        return encode(visitor) + encode(after) + _deletions(after.name, (*removed, _NOWHERE))
    return encode(after) + _deletions(after.name, removed)


def _deletions(owner: Name, values: tuple[str, ...]) -> list[bytes]:
    return encode(RRset.trusted(owner, "NS", 0, values), rdclass=NONE, ttl=0)


def _size(values: tuple[str, ...]) -> int:
    return sum(16 + len(value) for value in values)


def _difference(values: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    known = frozenset(others)
    return tuple([value for value in values if value not in known])
