"""What is to be sent to a target: changes of RRsets between two SOAs, ordered and cut into messages.

Pure functions of values: collapsing, ordering, splitting and guarding are decided here and tested without
any I/O; a backend only translates a `Plan`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dnsworker import serials
from dnsworker.capabilities import Capabilities
from dnsworker.errors import UnsafeChange
from dnsworker.names import Name, sort_key
from dnsworker.records import SOA, Key, RRset

#: What one message is assumed to hold where nobody says otherwise (a DNS message has 65,535 bytes, some
#: of which the header, the zone, the prerequisite, the SOA and the TSIG take).
MESSAGE_BYTES = 60_000
RR_OVERHEAD_BYTES = 12  # type, class, TTL and length (RFC 1035, section 4.1.3), and a name's last octet

#: What a server must find, or refuse the plan: `soa`: exactly the SOA that the plan starts from, so that
#: nobody has written since; `rrsets`: each RRset that changes as it is `before`, whatever else was written.
Fence = Literal["soa", "rrsets"]


@dataclass(frozen=True, slots=True)
class RRsetChange:
    """One RRset before and after; None where it doesn't exist."""

    before: RRset | None
    after: RRset | None

    @property
    def key(self) -> Key:
        """(owner name, type)."""
        rrset = self.after or self.before
        assert rrset is not None, "a change has a before or an after"
        return rrset.name, rrset.type

    @property
    def is_removal(self) -> bool:
        return self.after is None


@dataclass(frozen=True, slots=True)
class Plan:
    """The way of one zone at one target from exactly `current_soa` to `desired_soa`.

    With the fence `rrsets` others are writing, too: the zone was at `current_soa` and may be further on. It
    ends at `desired_soa` or, if that isn't ahead any more, at a serial up to which the server counts itself.

    Invariants: per owner name all removals come before all additions, so a server that evaluates
    record by record (BIND, Knot) never sees CNAME beside other data; the SOA is not among `changes`;
    one key occurs once.
    """

    zone: Name
    current_soa: SOA
    desired_soa: SOA
    changes: tuple[RRsetChange, ...]
    fence: Fence = "soa"


class SerialsTooClose(Exception):
    """The plan needs more messages than there are serials between its two SOAs: lift the zone's serial."""

    def __init__(self, parts: int) -> None:
        super().__init__(f"{parts} messages need as many serials")
        self.parts = parts


def collapse_changes(journal: Iterable[RRsetChange]) -> list[RRsetChange]:
    """What a run of changes, in the order in which they were made, comes to: one change per RRset.

    Ten edits of one RRset are one change; one that ends where it began is none.
    """
    collapsed: dict[Key, RRsetChange] = {}
    for change in journal:
        earlier = collapsed.get(change.key)
        collapsed[change.key] = RRsetChange(earlier.before, change.after) if earlier else change
    return [change for change in collapsed.values() if change.before != change.after]


def make_plan(zone: Name, current_soa: SOA, desired_soa: SOA, changes: Iterable[RRsetChange]) -> Plan:
    """The changes in the order in which every server takes them.

    Owners that only lose records come first (what lay below a new DNAME, RFC 6672 section 2.4), then the
    others; within an owner removals come before additions. Otherwise by name, so that the same changes
    always give the same plan.
    """
    in_order: list[RRsetChange] = []
    for _, group in sorted(_by_owner(changes).items(), key=_place_of_owner):
        in_order += group if len(group) == 1 else sorted(group, key=_place_at_owner)
    return Plan(zone, current_soa, desired_soa, tuple(in_order))


def _place_of_owner(owner: tuple[Name, list[RRsetChange]]) -> tuple[bool, str]:
    name, group = owner
    return any(change.after is not None for change in group), sort_key(name)


def _place_at_owner(change: RRsetChange) -> tuple[bool, str]:
    return not change.is_removal, change.key[1]


def split(plan: Plan, capabilities: Capabilities) -> list[Plan]:
    """The plan as the messages that the target takes, each from one serial to the next.

    Every part has a serial of its own (part i requires from+i and sets from+i+1), so that after a crash
    the server's serial says how far it got; all changes of one owner are in one part. A jump of 2³⁰ or
    more is walked in parts without changes. Raises `SerialsTooClose`.
    """
    if plan.fence == "rrsets":
        return _split_beside_others(plan, capabilities)
    current, desired = plan.current_soa.serial, plan.desired_soa.serial
    jumps = serials.steps_between(current, desired)[:-1]
    if jumps and capabilities.sets_serial:
        jumps = []
    batches = _pack(plan.changes, capabilities)
    start = jumps[-1] if jumps else current
    if len(batches) > 1 and not capabilities.sets_serial and serials.distance(start, desired) < len(batches):
        raise SerialsTooClose(len(batches))
    steps = [*jumps, *(serials.add(start, i + 1) for i in range(len(batches) - 1)), desired]
    contents: list[tuple[RRsetChange, ...]] = [() for _ in jumps] + [tuple(batch) for batch in batches]
    parts, soa = [], plan.current_soa
    for serial, changes in zip(steps, contents, strict=True):
        next_soa = replace(plan.desired_soa, serial=serial)
        parts.append(Plan(plan.zone, soa, next_soa, changes))
        soa = next_soa
    return parts


def _split_beside_others(plan: Plan, capabilities: Capabilities) -> list[Plan]:
    """Parts that each require their own RRsets. With others counting, no serial says how far it got.

    Where an owner's RRsets don't fit into one message beside what becomes of them, or the serial has far to
    go, the SOA has to be the fence after all.
    """
    limit = capabilities.max_message_bytes or MESSAGE_BYTES
    batches = _pack(plan.changes, replace(capabilities, max_message_bytes=limit), plan.fence)
    is_too_large = any(sum(_size(change, plan.fence) for change in batch) > limit for batch in batches)
    if is_too_large or len(serials.steps_between(plan.current_soa.serial, plan.desired_soa.serial)) > 1:
        return split(replace(plan, fence="soa"), capabilities)
    return [replace(plan, changes=tuple(batch)) for batch in batches]


def messages_needed(changes: Iterable[RRsetChange]) -> int:
    """About how many messages the changes take: what a new serial must leave room for."""
    size = sum(_size(change) for change in changes)
    return 1 if size <= MESSAGE_BYTES // 2 else 2 + 2 * (size // MESSAGE_BYTES)


def raise_if_unsafe(
    changes: Iterable[RRsetChange], *, existing: int, share: float, minimum: int, zone: Name
) -> None:
    """Refuses what would remove more than `share` of a zone's `existing` RRsets, or touch its apex NS.

    Counted from `minimum` removals on. Raises `UnsafeChange` with the numbers.
    """
    removed = 0
    for change in changes:
        if change.key == (zone, "NS"):
            raise UnsafeChange(f"this changes the NS records of {zone} itself; say force=True if it is meant")
        removed += change.is_removal
    if removed >= minimum and removed > share * existing:
        raise UnsafeChange(
            f"this removes {removed} of the {existing} RRsets of {zone}, more than {share:.0%}; "
            "say force=True if it is meant"
        )


def enough_to_be_safe(removed: int, share: float, minimum: int) -> int:
    """With so many RRsets in the zone, or more, `raise_if_unsafe` lets as many go; 0: with any number."""
    return math.ceil(removed / share) + 1 if removed >= minimum else 0


def _by_owner(changes: Iterable[RRsetChange]) -> dict[Name, list[RRsetChange]]:
    groups: dict[Name, list[RRsetChange]] = {}
    for change in changes:
        groups.setdefault(change.key[0], []).append(change)
    return groups


def _pack(
    changes: Iterable[RRsetChange], capabilities: Capabilities, fence: Fence = "soa"
) -> list[list[RRsetChange]]:
    """Whole owners, in order, into as few batches as the limits allow. Always at least one batch."""
    limits = [
        limit or math.inf
        for limit in (
            capabilities.max_batch,
            capabilities.max_message_bytes,
            capabilities.max_records,
            capabilities.max_characters,
        )
    ]
    batches: list[list[RRsetChange]] = [[]]
    used = [0] * len(limits)
    for group in _by_owner(changes).values():
        costs = _costs(group, fence)
        wanted = list(map(operator.add, used, costs))
        if batches[-1] and any(map(operator.gt, wanted, limits)):
            batches.append([])
            wanted = costs
        batches[-1].extend(group)
        used = wanted
    return batches


def _costs(group: Sequence[RRsetChange], fence: Fence) -> list[int]:
    """What changes count for in each limit: changes, bytes, records, characters."""
    octets = records = characters = 0
    for change in group:
        octets += _size(change, fence)
        for rrset in (change.before, change.after):
            if rrset is not None:
                records += len(rrset.data)
                characters += sum(map(len, rrset.data))
    return [len(group), octets, records, characters]


def _size(change: RRsetChange, fence: Fence = "soa") -> int:
    """An upper bound of the bytes that a change takes, without name compression, with what it requires.

    Presentation text is at least as long as wire format for every type but those that hold addresses.
    """
    owner = len(change.key[0]) + RR_OVERHEAD_BYTES
    values = change.after.data if change.after else ()
    removal = owner if change.before else 0
    if fence == "rrsets":
        values += change.before.data if change.before else ()
        removal += 0 if change.before else owner
    return removal + sum([owner + max(16, len(value) + 2) for value in values])
