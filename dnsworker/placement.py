"""What may stand beside, above and below what within one zone: pure rules of values.

Separate from `records`, which judges an RRset alone; here a change is judged by the zone as it would be
with the change. What lies below a delegation is not refused: servers take it, and it is merely not seen
(occluded, RFC 2136, section 7.18).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from dnsworker import names
from dnsworker.errors import InvalidRecord
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import Key, RRset

#: A signer puts these beside a CNAME (RFC 4034, sections 3 and 4).
BESIDE_CNAME = frozenset({"CNAME", "RRSIG", "NSEC"})


class ZoneView(Protocol):
    """As much of a zone, after the change, as the rules look at. `ZoneContents` is one."""

    @property
    def apex(self) -> Name:
        """The zone's own name."""

    def types_at(self, name: Name) -> Collection[str]:
        """The types of the RRsets at `name`; whether SOA is among them doesn't matter.

        Asked only about `names_needed`.
        """

    def has_descendants(self, name: Name) -> bool:
        """Whether there are RRsets below `name`. Asked only about the owner of a DNAME that is added."""


def names_needed(keys: Iterable[Key], zone: Name) -> set[Name]:
    """The names whose types the checks of changes to `keys` look at: owners and all that is above them."""
    needed = {zone}
    for name, _ in keys:
        while name not in needed and names.is_within(name, zone):
            needed.add(name)
            name = names.parent(name)
    return needed


def check_placement(changes: Iterable[RRsetChange], view: ZoneView) -> None:
    """Whether the zone can be as the changes leave it. Raises `InvalidRecord`.

    Looks only at what the changes touch: what stood wrongly before stays as it is.
    """
    for change in changes:
        name, type_ = change.key
        if not names.is_within(name, view.apex):
            raise InvalidRecord(f"{name} {type_}: not in the zone {view.apex}")
        if change.after is None:
            _check_removal(name, type_, view)
        else:
            _check_company(change.after, view)
            if change.before is None:
                _check_above_and_below(change.after, view)


def _check_removal(name: Name, type_: str, view: ZoneView) -> None:
    if type_ != "NS":
        return
    if name == view.apex:
        raise InvalidRecord(f"{name} NS: a zone needs its NS records; update them instead")
    if "DS" in view.types_at(name):
        raise InvalidRecord(f"{name} NS: the DS would be left without a delegation; delete it as well")


def _check_company(rrset: RRset, view: ZoneView) -> None:
    types = set(view.types_at(rrset.name)) | {rrset.type}
    is_apex = rrset.name == view.apex
    if is_apex and rrset.type == "CNAME":
        raise InvalidRecord(
            f"{rrset.name} CNAME: not at a zone's apex, beside SOA and NS (RFC 1034, section 3.6.2)"
        )
    if "CNAME" in types and (others := types - BESIDE_CNAME):
        shown = ", ".join(sorted(others))
        raise InvalidRecord(
            f"{rrset.name} {rrset.type}: a CNAME stands alone at its name (RFC 1034, section 3.6.2), "
            f"and here would also be {shown}; delete one or the other in the same change"
        )
    if {"DNAME", "NS"} <= types and not is_apex:
        raise InvalidRecord(
            f"{rrset.name} {rrset.type}: DNAME and NS can't share a name below the apex "
            "(RFC 6672, section 2.3)"
        )
    if rrset.type == "DS" and is_apex:
        raise InvalidRecord(f"{rrset.name} DS: it belongs in the parent zone (RFC 4035, section 2.4)")
    if rrset.type == "DS" and "NS" not in types:
        raise InvalidRecord(f"{rrset.name} DS: it needs NS records at the same name (RFC 4035, section 2.4)")


def _check_above_and_below(rrset: RRset, view: ZoneView) -> None:
    for above in names.ancestors(rrset.name, view.apex):
        if "DNAME" in view.types_at(above):
            raise InvalidRecord(
                f"{rrset.name} {rrset.type}: nothing can stand below the DNAME at {above} "
                "(RFC 6672, section 2.4)"
            )
    if rrset.type == "DNAME" and view.has_descendants(rrset.name):
        raise InvalidRecord(
            f"{rrset.name} DNAME: there are records below this name, which a DNAME forbids "
            "(RFC 6672, section 2.4)"
        )
