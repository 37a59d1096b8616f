"""Zones that named signs by a `dnssec-policy`: which records are its own, and whose serial it is.

Separate, because a signer is a second writer in a zone that is otherwise ours alone. Its records are none of
ours, and it raises the serial by itself: once or twice for a new zone, and later whenever it signs anew.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import dns.dnssec
import dns.exception
import dns.message
import dns.opcode
import dns.rdataclass
import dns.rdatatype

from backends import dns_transfer, dns_update
from backends.bind9.zones import LOOK_AGAIN_S, PATIENCE, ConfiguredZones
from backends.dns_connection import DNSConnection
from dnsworker import names, serials
from dnsworker.backend import ZoneDelta
from dnsworker.comparison import SIGNER_TYPES
from dnsworker.contents import ZoneContents
from dnsworker.errors import Busy, OutcomeUnknown, RecordRejected, ServerFailure, ZoneChanged
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.records import SOA, Key
from dnsworker.wire import request

#: Records in which named keeps how far it has signed (`sig-signing-type`): algorithm, key (2), removal, done.
STATE_TYPE = dns.rdatatype.RdataType.make(65534)
#: named signs a new zone in steps, each of which raises the serial; 10 signatures a step by default.
STEPS = {"sig-signing-nodes": 1000, "sig-signing-signatures": 1000}

_KSK, _REVOKED = 0x0001, 0x0080  # flags of a DNSKEY: RFC 4034, section 2.1.1, and RFC 5011, section 3
_SERIALS = re.compile(r"^(signed )?serial: (\d+)$", re.MULTILINE)


def statements(policy: str, is_inline: bool, given: str) -> str:
    """What makes named sign a zone; what the operator has `given` for it goes before."""
    steps = "".join(f"{name} {count}; " for name, count in STEPS.items() if name not in given)
    return f'dnssec-policy "{policy}"; inline-signing {"yes" if is_inline else "no"}; {steps}'


class Signer:
    """named as the signer of the zones of one target."""

    def __init__(
        self,
        zones: ConfiguredZones,
        connection: DNSConnection,
        checkpoint: Callable[[], None],
        timeout_s: float,
        *,
        is_inline: bool,
    ) -> None:
        self._zones = zones
        self._dns = connection
        self._checkpoint = checkpoint
        self._timeout_s = timeout_s
        self._is_inline = is_inline

    # --- what is whose -------------------------------------------------------------------------------

    def without_its_own(self, contents: ZoneContents) -> ZoneContents:
        own = [key for key in contents.rrsets if key[1] in SIGNER_TYPES]
        if not own:
            return contents
        kept = {key: rrset for key, rrset in contents.rrsets.items() if key[1] not in SIGNER_TYPES}
        return replace(contents, rrsets=kept)

    def delta_without_its_own(self, delta: ZoneDelta) -> ZoneDelta:
        return replace(
            delta,
            removed={key: pairs for key, pairs in delta.removed.items() if key[1] not in SIGNER_TYPES},
            added={key: pairs for key, pairs in delta.added.items() if key[1] not in SIGNER_TYPES},
        )

    def refuse_its_own(self, zone: Name, keys: Iterable[Key]) -> None:
        """named refuses an update that touches its keys as a whole, and takes other records of these types
        away again. Raises `RecordRejected`."""
        for key in keys:
            if key[1] in SIGNER_TYPES:
                raise RecordRejected(
                    f"named signs {zone} by itself: its {key[1]} records can't be set", rrset=key, zone=zone
                )

    # --- what it is doing ----------------------------------------------------------------------------

    def send(self, plan: Plan) -> None:
        """Have the plan carried out, from where the signer has taken the zone since. See `apply`."""
        self.refuse_its_own(plan.zone, [change.key for change in plan.changes])
        if self._is_inline:
            raw, signed = self._serials(plan.zone)
            self._checkpoint()
            if signed is not None:
                self._send_beside(plan, raw, signed)
                return
        try:
            dns_update.send_plan(self._dns, plan)
        except ZoneChanged:
            if plan.fence == "rrsets":  # the signer doesn't touch those
                raise
            self._checkpoint()
            moved = replace(plan, current_soa=self._moved_on_to(plan))
            self._checkpoint()
            dns_update.send_plan(self._dns, moved)

    def wait_until_up_to_date(self, zone: Name) -> None:
        """Until what was written to the zone is in the signed one beside it, which alone is to be seen.

        Raises `Busy`.
        """
        if self._is_inline and not self._has_signed(zone, None):
            raise Busy(f"named has not signed the last changes of {zone} yet", zone=zone)

    def wait_until_signed(self, zone: Name) -> None:
        """After its creation: until the keys are there, and for a while until all is signed.

        So the serial has settled before anybody plans from it; of a very large zone it has not. Raises
        `ServerFailure` when no key appears.
        """
        deadline = time.monotonic() + PATIENCE * self._timeout_s
        while True:
            states = self._ask(zone, STATE_TYPE)
            if states and all(_is_done(state.to_generic().data) for state in states):
                return
            if time.monotonic() > deadline:
                break
            time.sleep(LOOK_AGAIN_S)
            self._checkpoint()
        if not states and not self._ask(zone, dns.rdatatype.DNSKEY):
            raise ServerFailure(
                f"named has {zone} and doesn't sign it: can it write keys to its directory (key-directory)? "
                "Its log says more",
                zone=zone,
            )

    def ds_records(self, zone: Name) -> list[str]:
        """The DS records, by SHA-256, for the key-signing keys that the zone has now."""
        apex = names.to_dnspython(zone)
        return sorted(
            str(dns.dnssec.make_ds(apex, key, "SHA256"))
            for key in self._ask(zone, dns.rdatatype.DNSKEY)
            if key.flags & _KSK and not key.flags & _REVOKED
        )

    def _send_beside(self, plan: Plan, raw: int, signed: int) -> None:
        """Into the raw zone: the fence is its serial, while the plan begins and ends at those of the signed.

        The signed zone takes the serial of the raw one only where that is ahead of its own: then, and only
        then, its serial tells when the change has got there.
        """
        if not serials.is_ahead(plan.desired_soa.serial, signed):
            raise ZoneChanged(f"the signed {plan.zone} is at serial {signed} by now", zone=plan.zone)
        if signed != plan.current_soa.serial:
            self._moved_on_to(plan)
            self._checkpoint()
        dns_update.send_plan(self._dns, replace(plan, current_soa=plan.current_soa.with_serial(raw)))
        self._checkpoint()
        if not self._has_signed(plan.zone, plan.desired_soa.serial):
            raise OutcomeUnknown(f"named has taken a change of {plan.zone} and not signed it yet")

    def _moved_on_to(self, plan: Plan) -> SOA:
        """The SOA that the zone has now, if since the plan's beginning only the signer was at work.

        Raises `ZoneChanged`.
        """
        delta = dns_transfer.read_changes(self._dns, plan.zone, plan.current_soa)
        if delta is None or self.delta_without_its_own(delta).keys:
            raise ZoneChanged(f"{plan.zone} is not at the SOA that the change starts from", zone=plan.zone)
        if replace(delta.soa, serial=0, ttl=0) != replace(plan.current_soa, serial=0, ttl=0):
            raise ZoneChanged(f"{plan.zone} has another SOA than the change starts from", zone=plan.zone)
        if not serials.is_ahead(plan.desired_soa.serial, delta.soa.serial):
            raise ZoneChanged(
                f"named has signed {plan.zone} anew and is at serial {delta.soa.serial} by now",
                zone=plan.zone,
            )
        return delta.soa

    def _has_signed(self, zone: Name, serial: int | None) -> bool:
        """Whether the signed zone gets to the serial (None: to the raw zone's) within the time-out."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            raw, signed = self._serials(zone)
            wanted = raw if serial is None else serial
            if signed is None or signed == wanted or serials.is_ahead(signed, wanted):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_AGAIN_S)
            self._checkpoint()

    def _serials(self, zone: Name) -> tuple[int, int | None]:
        """Of the zone that is written to, and of the signed one where there is one beside it."""
        status = self._zones.status(zone)
        found = {kind: int(serial) for kind, serial in _SERIALS.findall(status)}
        if "" not in found:
            raise ServerFailure(f"named says no serial of {zone}: {' '.join(status.split())}", zone=zone)
        return found[""], found.get("signed ")

    def _ask(self, zone: Name, kind: dns.rdatatype.RdataType) -> list[Any]:
        message = self._dns.exchange(request(dns.opcode.QUERY, zone, kind))
        try:
            answer = dns.message.from_wire(message.wire, keyring=False)  # its signature was verified
        except dns.exception.DNSException as exc:
            raise ServerFailure(f"{self._dns.address} sent an answer that can't be read: {exc}") from exc
        apex = names.to_dnspython(zone)
        return list(answer.get_rrset(answer.answer, apex, dns.rdataclass.IN, kind) or ())


def _is_done(state: bytes) -> bool:
    """Whether a state record says that its key has signed everything; others are of chains being built."""
    return len(state) == 5 and state[4] != 0
