"""Contents changed by a transaction of the control socket: all at once, of whatever size.

Separate from the configuration of zones. A transaction outlives its connection, so that of a worker that died
must be told from an operator's: ours hold a marker record until just before they are committed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from backends.knot.control import MAX_ITEM_BYTES, CommandFailed, Session
from dnsworker.contents import ZoneContents
from dnsworker.errors import BackendError, Busy, RecordRejected, ServerFailure, ZoneChanged, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.records import SOA, Key, RRset
from dnsworker.wire import encode, name_octets, type_number

#: Commands between two looks at the claim.
STRETCH = 2048
_MARKER = "_dnsworker-transaction"
_FIXED = struct.Struct(">HHIH")

#: What knot_strerror() says, 3.2 to 3.5.
_ENDED = ("no active transaction",)
_BAD_CONTENTS = ("semantic check", "zone size exceeded")
_EXISTS = ("such record already exists in zone",)

Command = Mapping[str, str]


def fill(session: Session, zone: ZoneContents, renew: Callable[[], None]) -> None:
    """Give an empty zone its contents. Raises `RecordRejected`, `Busy` and the rest."""
    with _transaction(session, zone.name, renew):
        if _soa(session, zone.name) is not None:
            raise Busy(f"somebody has filled {zone.name} meanwhile", zone=zone.name)
        rrsets = [_soa_rrset(zone.name, zone.soa), *zone.rrsets.values()]
        _carry_out(session, _additions(zone.name, rrsets), renew)


def apply(session: Session, plan: Plan, renew: Callable[[], None]) -> None:
    """Carry out a plan, if the zone is at its `current_soa`. Raises what `Backend.apply` says."""
    with _transaction(session, plan.zone, renew):
        soa = _soa(session, plan.zone)
        if soa is None or soa.rdata != plan.current_soa.rdata:
            raise ZoneChanged(f"{plan.zone} is not at the SOA that the change starts from", zone=plan.zone)
        _carry_out(session, _changes(plan), renew)


@contextmanager
def _transaction(session: Session, zone: Name, renew: Callable[[], None]) -> Iterator[None]:
    marker: Command = {"zone": zone, "owner": f"{_MARKER}.{zone}", "type": "TXT"}
    _begin(session, zone, marker)
    try:
        session.run("zone-set", ttl="0", data='"not committed yet"', **marker)
        yield
        session.run("zone-unset", **marker)
        renew()
        session.commit("zone-commit", zone=zone)
    except CommandFailed as exc:
        _abort(session, zone)
        raise _refusal(exc, zone) from exc
    except BaseException:
        _abort(session, zone)
        raise


def _begin(session: Session, zone: Name, marker: Command) -> None:
    try:
        session.run("zone-begin", zone=zone)
    except CommandFailed as exc:
        if exc.text == "no such zone found":
            raise ZoneMissing(f"knotd has no zone {zone}", zone=zone) from exc
        if exc.text != "too many transactions":
            raise ServerFailure(f"knotd begins no transaction of {zone}: {exc}", zone=zone) from exc
        if not _is_left_over(session, marker):
            raise Busy(
                f"somebody else has a transaction of {zone} open: `knotc zone-commit {zone}` or zone-abort",
                zone=zone,
            ) from exc
        session.run("zone-abort", zone=zone)
        session.run("zone-begin", zone=zone)


def _refusal(exc: CommandFailed, zone: Name) -> BackendError:
    """What a transaction that isn't carried out as a whole means."""
    if exc.text in _ENDED:
        return Busy(f"knotd ended our transaction of {zone}: its configuration changed", zone=zone)
    if exc.text in _BAD_CONTENTS:
        return RecordRejected(
            f"knotd refuses the changes of {zone} as a whole ({exc}); its log says which", zone=zone
        )
    return ServerFailure(f"knotd failed to change {zone}: {exc}; its log says why", zone=zone)


def _is_left_over(session: Session, marker: Command) -> bool:
    """Whether the open transaction is a dead worker's, or has nothing in it: no other connection is being
    served now."""
    with suppress(CommandFailed):
        if session.run("zone-get", **marker):
            return True
    with suppress(CommandFailed):
        return not session.run("zone-diff", zone=marker["zone"])
    return False


def _abort(session: Session, zone: Name) -> None:
    """If it can be done; else the next attempt does it."""
    with suppress(BackendError, CommandFailed):
        session.run("zone-abort", zone=zone)


def _soa(session: Session, zone: Name) -> SOA | None:
    """The SOA within the transaction, which nobody else can change."""
    try:
        units = session.run("zone-get", zone=zone, owner=zone, type="SOA")
        return SOA.from_rdata(units[0]["data"], int(units[0]["ttl"])) if units else None
    except CommandFailed:  # there is no such node in an empty zone
        return None


def _carry_out(session: Session, commands: Iterable[tuple[Key, Command]], renew: Callable[[], None]) -> None:
    batch = list(commands)
    for start in range(0, len(batch), STRETCH):
        renew()
        stretch = batch[start : start + STRETCH]
        try:
            session.run_all([command for _, command in stretch])
        except CommandFailed as exc:
            key, command = stretch[exc.number]
            if command["command"] == "zone-unset" or exc.text in _EXISTS:
                raise ZoneChanged(
                    f"{key[0]} {key[1]} is not as the change expects, at the SOA that it expects ({exc})"
                ) from exc
            if exc.text in _ENDED:
                raise
            raise RecordRejected(f"knotd refuses {key[0]} {key[1]}: {exc}", rrset=key) from exc


def _changes(plan: Plan) -> Iterator[tuple[Key, Command]]:
    """Whole RRsets in exchange, so that the TTL is exchanged too; all removals first."""
    for change in plan.changes:
        if change.before is not None:
            name, kind = change.key
            yield change.key, {
                "command": "zone-unset", "zone": plan.zone, "owner": name, "type": f"TYPE{type_number(kind)}",
            }  # fmt: skip
    after = [change.after for change in plan.changes if change.after is not None]
    yield from _additions(plan.zone, [*after, _soa_rrset(plan.zone, plan.desired_soa)])


def _additions(zone: Name, rrsets: Iterable[RRset]) -> Iterator[tuple[Key, Command]]:
    """Each record in the generic form (RFC 3597): no word of it depends on what Knot's parser knows."""
    for rrset in rrsets:
        start_of_data = len(name_octets(rrset.name)) + _FIXED.size
        for octets in encode(rrset):
            data = octets[start_of_data:]
            text = f"\\# {len(data)} {data.hex()}" if data else "\\# 0"
            if len(text) > MAX_ITEM_BYTES:
                raise RecordRejected(
                    f"a record of {len(data)} bytes is too long for Knot's control socket", rrset=rrset.key
                )
            yield rrset.key, {
                "command": "zone-set", "zone": zone, "owner": rrset.name, "ttl": str(rrset.ttl),
                "type": f"TYPE{type_number(rrset.type)}", "data": text,
            }  # fmt: skip


def _soa_rrset(zone: Name, soa: SOA) -> RRset:
    return RRset.trusted(zone, "SOA", soa.ttl, (soa.rdata,))
