"""Plans as RFC 2136 updates, and what a server's answer to one means.

Shared by the backends that are updated over DNS. An update here always requires the complete SOA that the
plan starts from, so it can be sent twice and a stale writer is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import dns.message
import dns.rcode
import dns.rdataset
import dns.update

from dnsworker import names
from dnsworker.errors import (
    AuthenticationFailed,
    RecordRejected,
    ServerFailure,
    Unsupported,
    ZoneChanged,
    ZoneMissing,
)
from dnsworker.names import Name
from dnsworker.plan import Plan, RRsetChange
from dnsworker.records import SOA

if TYPE_CHECKING:
    from backends.dns_connection import DNSConnection


def send_plan(connection: DNSConnection, plan: Plan) -> None:
    """Have the plan carried out. Raises what `dnsworker.backend.Backend.apply` says."""
    answer = connection.send_update(update_message(plan))
    if answer.rcode() == dns.rcode.REFUSED and may_update(connection, plan.zone, plan.current_soa):
        raise RecordRejected(
            f"{connection.host} takes our updates of {plan.zone} but refuses this one: an apex NS without an "
            "address in the zone, a record of its signer, or a name or type that its update policy keeps "
            "from us; its log says which"
        )
    raise_for_update(answer, connection, plan.zone)


def update_message(plan: Plan) -> dns.update.UpdateMessage:
    """The plan as one message: its order, per owner all deletions before all additions, the SOA last.

    A server works through an update record by record and ignores in silence what can't be at that moment
    (a CNAME beside other data), hence the order.
    """
    update = dns.update.UpdateMessage(names.to_dnspython(plan.zone))
    apex = names.to_dnspython(plan.zone)
    # All of the SOA, not just the serial: that is how RFC 2136, section 2.4.2 compares.
    update.present(apex, *plan.current_soa.to_rdataset())
    for owner, changes in _by_owner(plan.changes):
        parsed = names.to_dnspython(owner)
        additions: list[dns.rdataset.Rdataset] = []
        for change in changes:
            if change.key == (plan.zone, "NS"):
                _replace_apex_ns(update, parsed, change)
            else:
                additions += _remove(update, parsed, change)
        for rdataset in additions:
            update.add(parsed, rdataset)
    update.add(apex, plan.desired_soa.to_rdataset())
    return update


def fence_message(zone: Name, soa: SOA) -> dns.update.UpdateMessage:
    """An update that changes nothing and fails unless the zone is at `soa`."""
    update = dns.update.UpdateMessage(names.to_dnspython(zone))
    update.present(names.to_dnspython(zone), *soa.to_rdataset())
    return update


def may_update(connection: DNSConnection, zone: Name, soa: SOA) -> bool:
    """Whether the server takes updates of the zone from our key at all."""
    answer = connection.ask(fence_message(zone, soa))
    return answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXRRSET)


def raise_for_update(answer: dns.message.Message, connection: DNSConnection, zone: Name) -> None:
    """Translates the rcode of an answer to an update (RFC 2136, section 2.2)."""
    rcode = answer.rcode()
    server = f"{connection.host}:{connection.port}"
    if rcode == dns.rcode.NOERROR:
        return
    if rcode == dns.rcode.NXRRSET:
        raise ZoneChanged(f"{zone} on {server} is not at the SOA that the change starts from")
    if rcode == dns.rcode.NOTAUTH:
        raise ZoneMissing(f"{server} has no zone {zone} of its own (NOTAUTH)")
    if rcode == dns.rcode.REFUSED:
        raise AuthenticationFailed(
            f"{server} refuses updates of {zone} signed with the key {connection.key.name!r}: "
            "compare allow-update or update-policy (REFUSED)"
        )
    if rcode == dns.rcode.SERVFAIL:
        raise ServerFailure(f"{server} failed to update {zone} (SERVFAIL); its log says why")
    if rcode in (dns.rcode.NOTIMP, dns.rcode.BADVERS):
        raise Unsupported(f"{server} does no dynamic updates ({dns.rcode.to_text(rcode)})")
    raise RecordRejected(f"{server} rejects the update of {zone}: {dns.rcode.to_text(rcode)}")


def _by_owner(changes: Iterable[RRsetChange]) -> Iterable[tuple[Name, list[RRsetChange]]]:
    groups: dict[Name, list[RRsetChange]] = {}
    for change in changes:
        groups.setdefault(change.key[0], []).append(change)
    return groups.items()


def _remove(
    update: dns.update.UpdateMessage, owner: dns.name.Name, change: RRsetChange
) -> list[dns.rdataset.Rdataset]:
    """Adds the deletions that a change needs to the message, and gives what is then to be added."""
    before, after = change.before, change.after
    if before is not None and after is not None and before.ttl == after.ttl:
        removed = [text for text in before.data if text not in set(after.data)]
        added = tuple(text for text in after.data if text not in set(before.data))
        # Value by value only while that is smaller: the planner counts on no more than all of `after`.
        if len(removed) + len(added) <= len(after.data):
            if removed:
                gone = type(before).trusted(before.name, before.type, before.ttl, tuple(removed))
                update.delete(owner, gone.to_rdataset())
            new = type(after).trusted(after.name, after.type, after.ttl, added)
            return [new.to_rdataset()] if added else []
    if before is not None:
        # A new TTL goes this way too: servers disagree on what an addition does to the TTL of the others.
        update.delete(owner, before.type)
    return [after.to_rdataset()] if after is not None else []


def _replace_apex_ns(update: dns.update.UpdateMessage, apex: dns.name.Name, change: RRsetChange) -> None:
    """New ones first, then the old ones singly: servers ignore the deletion of all (RFC 2136, 3.4.2.3)."""
    if change.after is None:
        raise RecordRejected("a zone must keep an NS record", rrset=change.key)
    update.add(apex, change.after.to_rdataset())
    removed = [
        text for text in (change.before.data if change.before else ()) if text not in change.after.data
    ]
    if removed:
        gone = type(change.after).trusted(change.after.name, "NS", change.after.ttl, tuple(removed))
        update.delete(apex, gone.to_rdataset())
