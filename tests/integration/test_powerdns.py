"""The PowerDNS backend against a real PowerDNS: what the conformance suite can't know of."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from backends.powerdns import BACKEND
from dev.servers import PowerDNS
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.errors import (
    ClaimLost,
    RecordRejected,
    ServerFailure,
    Transient,
    Unsupported,
    ZoneChanged,
    ZoneMissing,
)
from dnsworker.names import Name
from dnsworker.plan import Plan, RRsetChange, make_plan, split
from dnsworker.records import SOA, RRset

_numbers = itertools.count(1)


def backend_for(server: PowerDNS, **options: object) -> Backend:
    model = BACKEND.options_model.model_validate({**server.target_options(), **options})
    return BACKEND("test", model)


@pytest.fixture
def backend(powerdns: PowerDNS) -> Iterator[Backend]:
    backend = backend_for(powerdns)
    yield backend
    backend.close()


@pytest.fixture
def name() -> Name:
    return Name(f"p{next(_numbers)}.powerdns.test.")


def rrset(zone: Name, owner: str, type: str, *data: str, ttl: int = 300) -> RRset:
    return RRset(f"{owner}.{zone}" if owner != "@" else zone, type, ttl, data)


def contents(name: Name, *rrsets: RRset, serial: int = 1) -> ZoneContents:
    soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), serial)
    return ZoneContents.of(name, soa, [rrset(name, "@", "NS", "ns1.example.net."), *rrsets])


def adding(zone: ZoneContents, *rrsets: RRset) -> Plan:
    """From the zone's SOA to the next serial."""
    changes = [RRsetChange(zone.rrsets.get(each.key), each) for each in rrsets]
    return make_plan(zone.name, zone.soa, zone.soa.with_serial(zone.soa.serial + 1), changes)


def ask(server: PowerDNS, name: str, type: str) -> dns.message.Message:
    query = dns.message.make_query(name, type, flags=0, want_dnssec=True)
    return dns.query.tcp(query, server.address, port=server.port, timeout=5)


def served_serial(server: PowerDNS, zone: Name) -> int:
    answer = ask(server, zone, "SOA").answer[0]
    return SOA.from_rdataset(answer).serial


def create_by_hand(server: PowerDNS, name: Name, **settings: object) -> None:
    soa = {"name": name, "type": "SOA", "ttl": 3600, "records": [{"content": "a.test. b.test. 7 1 1 1 1"}]}
    server.api("POST", "/zones", {"name": name, "kind": "Native", "rrsets": [soa], **settings})


def put_by_hand(server: PowerDNS, zone: Name, owner: str, type: str, *records: tuple[str, bool]) -> None:
    """`records`: (content, disabled)."""
    contents = [{"content": content, "disabled": is_disabled} for content, is_disabled in records]
    rrset = {"name": owner, "type": type, "ttl": 60, "changetype": "REPLACE", "records": contents}
    server.api("PATCH", f"/zones/{zone}", {"rrsets": [rrset]})


def test_a_zone_made_by_hand_takes_our_serials_from_the_first_change_on(
    powerdns: PowerDNS, backend: Backend, name: Name
) -> None:
    create_by_hand(powerdns, name, soa_edit_api="DEFAULT", soa_edit="INCEPTION-INCREMENT")
    zone = backend.read_zone(name)
    assert zone is not None
    for _ in range(3):
        plan = adding(zone, rrset(name, "www", "A", f"192.0.2.{zone.soa.serial % 256}"))
        backend.apply(plan)
        assert backend.read_soa(name) == plan.desired_soa
        assert served_serial(powerdns, name) == plan.desired_soa.serial
        zone = replace(zone, soa=plan.desired_soa)
    assert powerdns.api("GET", f"/zones/{name}?rrsets=false")["soa_edit_api"] == ""


def test_a_default_soa_edit_in_pdns_conf_doesnt_change_what_is_served(name: Name) -> None:
    with PowerDNS(default_soa_edit="INCEPTION-INCREMENT") as server:
        backend = backend_for(server)
        zone = contents(name, serial=5)
        backend.create_zone(zone)
        assert served_serial(server, name) == 5
        backend.apply(adding(zone, rrset(name, "www", "A", "192.0.2.1")))
        assert served_serial(server, name) == 6
        by_hand = Name(f"hand.{name}")
        create_by_hand(server, by_hand, soa_edit="")
        assert served_serial(server, by_hand) != 7
        found = backend.read_zone(by_hand)
        assert found is not None
        backend.apply(adding(found, rrset(by_hand, "www", "A", "192.0.2.1")))
        assert served_serial(server, by_hand) == found.soa.serial + 1
        backend.close()


def test_a_stale_plan_writes_nothing(backend: Backend, name: Name) -> None:
    """There is no fence in the API, but this much is looked at just before."""
    zone = contents(name, serial=10)
    backend.create_zone(zone)
    stale = adding(zone, rrset(name, "late", "A", "192.0.2.1"))
    now = adding(zone, rrset(name, "www", "A", "192.0.2.1"))
    backend.apply(now)
    for old in (stale, replace(stale, current_soa=replace(now.desired_soa, refresh=9))):
        with pytest.raises(ZoneChanged):
            backend.apply(old)
    assert backend.read_zone(name) == contents(name, rrset(name, "www", "A", "192.0.2.1"), serial=11)


def test_a_lost_claim_stops_a_change_between_the_look_and_the_write(backend: Backend, name: Name) -> None:
    zone = contents(name)
    backend.create_zone(zone)

    def lose() -> None:
        raise ClaimLost

    backend.checkpoint = lose
    with pytest.raises(ClaimLost):
        backend.apply(adding(zone, rrset(name, "late", "A", "192.0.2.1")))
    with pytest.raises(ClaimLost):
        backend.read_rrsets(name, [(name, "NS")])
    assert backend.read_zone(name) == zone


def test_a_wrong_server_id_is_never_an_absent_zone(powerdns: PowerDNS, backend: Backend, name: Name) -> None:
    """PowerDNS answers 404 to it, with the very words that it has for an absent zone."""
    zone = contents(name)
    backend.create_zone(zone)
    stranger = backend_for(powerdns, server_id="elsewhere")
    calls = (
        lambda: stranger.read_zone(name),
        lambda: stranger.read_soa(name),
        lambda: stranger.read_rrsets(name, [(name, "NS")]),
        lambda: stranger.create_zone(zone),
        lambda: stranger.apply(adding(zone, rrset(name, "www", "A", "192.0.2.1"))),
        lambda: stranger.delete_zone(name),
    )
    for call in calls:
        with pytest.raises(ServerFailure, match="server_id"):
            call()
    assert not stranger.check().ok
    stranger.close()
    assert backend.read_zone(name) == zone


def test_disabled_records_are_absent_and_overwritten(
    powerdns: PowerDNS, backend: Backend, name: Name
) -> None:
    zone = contents(name)
    backend.create_zone(zone)
    www = rrset(name, "www", "A", "192.0.2.1")
    put_by_hand(powerdns, name, www.name, "A", ("192.0.2.9", True), ("192.0.2.8", False))
    assert backend.read_rrsets(name, [www.key]) == {www.key: rrset(name, "www", "A", "192.0.2.8", ttl=60)}
    put_by_hand(powerdns, name, www.name, "A", ("192.0.2.9", True))
    assert backend.read_zone(name) == zone
    alias = rrset(name, "www", "CNAME", "elsewhere.example.net.")
    backend.apply(adding(zone, alias))
    assert backend.read_rrsets(name, [www.key, alias.key]) == {alias.key: alias}


def test_records_that_only_powerdns_knows_are_seen_and_can_be_removed(
    powerdns: PowerDNS, backend: Backend, name: Name
) -> None:
    zone = contents(name)
    backend.create_zone(zone)
    # MB is a type that dnspython has no parser for, the others are PowerDNS' own.
    foreign = {"ALIAS": "elsewhere.example.net.", "LUA": 'A "return 1"', "MB": "mail.example.net."}
    for type, content in foreign.items():
        put_by_hand(powerdns, name, f"x.{name}", type, (content, False))
    found = backend.read_zone(name)
    assert found is not None
    assert {key[1] for key in found.rrsets} == {"NS", *foreign}
    desired = zone.soa.with_serial(2)
    backend.apply(make_plan(name, zone.soa, desired, found.changes_to(zone)))
    assert backend.read_zone(name) == replace(zone, soa=desired)


@pytest.mark.parametrize(("type", "data"), [("CDS", "0 0 0 00"), ("CDNSKEY", "0 3 0 AA==")])
def test_a_type_that_powerdns_would_store_and_not_serve_is_refused(
    backend: Backend, name: Name, type: str, data: str
) -> None:
    zone = contents(name)
    backend.create_zone(zone)
    with pytest.raises(RecordRejected, match="direct-dnskey=yes") as caught:
        backend.apply(adding(zone, RRset(name, type, 300, [data])))
    assert caught.value.rrset == (name, type)
    assert backend.read_zone(name) == zone


@pytest.mark.parametrize(
    ("owner", "type", "data"),
    [
        ("www", "CNAME", ["elsewhere.example.net."]),
        ("bad", "MX", ["10 not\\;a\\;host.example.net."]),
        ("a\\.b", "A", ["192.0.2.1"]),
        ("b\\032lank", "TXT", ['"x"']),
    ],
)
def test_a_refusal_names_our_rrset_and_leaves_the_rest_undone(
    backend: Backend, name: Name, owner: str, type: str, data: list[str]
) -> None:
    zone = contents(name, rrset(name, "www", "A", "192.0.2.1"))
    backend.create_zone(zone)
    bad = RRset(f"{owner}.{name}", type, 300, data)
    with pytest.raises(RecordRejected) as caught:
        backend.apply(adding(zone, rrset(name, "good", "A", "192.0.2.2"), bad))
    assert caught.value.rrset == bad.key
    assert caught.value.code == "RecordRejected"
    assert backend.read_zone(name) == zone


def test_a_bad_record_in_a_new_zone_is_named_and_the_zone_stays_invisible(
    powerdns: PowerDNS, backend: Backend, name: Name
) -> None:
    bad = rrset(name, "bad", "MX", "10 not\\;a\\;host.example.net.")
    with pytest.raises(RecordRejected) as caught:
        backend.create_zone(contents(name, rrset(name, "www", "A", "192.0.2.1"), bad))
    assert caught.value.rrset == bad.key
    assert ask(powerdns, name, "SOA").rcode() == dns.rcode.REFUSED
    assert backend.read_zone(name) is None
    good = contents(name, rrset(name, "www", "A", "192.0.2.1"))
    backend.create_zone(good)
    assert backend.read_zone(name) == good
    assert ask(powerdns, name, "SOA").rcode() == dns.rcode.NOERROR


def test_a_zone_name_that_powerdns_cant_hold_is_unsupported(backend: Backend) -> None:
    with pytest.raises(Unsupported):
        backend.create_zone(contents(Name("a\\032b.powerdns.test.")))


def test_a_zone_that_powerdns_transfers_from_elsewhere_is_left_alone(
    powerdns: PowerDNS, backend: Backend, name: Name
) -> None:
    create_by_hand(powerdns, name)
    powerdns.api("PUT", f"/zones/{name}", {"kind": "Slave", "masters": ["127.0.0.9"]})
    found = backend.read_zone(name)
    assert found is not None
    with pytest.raises(ServerFailure, match="Slave"):
        backend.apply(adding(found, rrset(name, "www", "A", "192.0.2.1")))
    assert backend.read_zone(name) == found


def test_a_zone_of_many_bodies_is_exact(powerdns: PowerDNS, backend: Backend, name: Name) -> None:
    many = [RRset.trusted(Name(f"h{n}.{name}"), "TXT", 300, (f'"{n} {"x" * 150}"',)) for n in range(20_000)]
    zone = contents(name, *many)
    backend.create_zone(zone)
    assert backend.read_zone(name) == zone


def test_a_plan_as_large_as_the_limits_allow_fits_into_a_body(
    powerdns: PowerDNS, backend: Backend, name: Name
) -> None:
    """Of the changes that grow most from the plan's measure to JSON: short ones, and text full of quotes."""
    zone = contents(name)
    backend.create_zone(zone)
    short = [RRset.trusted(Name(f"{n}.{name}"), "A", 1, ("192.0.2.1",)) for n in range(12_000)]
    quotes = [RRset.trusted(Name(f"q{n}.{name}"), "TXT", 1, ('"' + '\\"' * 200 + '"',)) for n in range(1_200)]
    desired = zone.soa.with_serial(50)
    changes = [RRsetChange(None, each) for each in (*short, *quotes)]
    parts = split(make_plan(name, zone.soa, desired, changes), backend.capabilities)
    assert len(parts) > 2
    for part in parts:
        backend.apply(part)
    assert backend.read_zone(name) == contents(name, *short, *quotes, serial=50)


def test_a_signed_zone_stays_whole(name: Name) -> None:
    """PowerDNS signs as it answers; a name that isn't rectified would be left out of the NSEC chain."""
    with PowerDNS(gsqlite3_dnssec="yes") as server:
        backend = backend_for(server)
        zone = contents(name, rrset(name, "www", "A", "192.0.2.1"))
        backend.create_zone(zone)
        server.api("POST", f"/zones/{name}/cryptokeys", {"keytype": "csk", "active": True})
        plan = adding(zone, rrset(name, "new", "A", "192.0.2.2"))
        backend.apply(plan)
        assert backend.read_soa(name) == plan.desired_soa
        answer = ask(server, f"new.{name}", "A")
        assert {each.rdtype.name for each in answer.answer} == {"A", "RRSIG"}
        denial = ask(server, f"nex.{name}", "A")
        owners = {each.name.to_text() for each in denial.authority if each.rdtype.name == "NSEC"}
        assert f"new.{name}" in owners
        found = backend.read_zone(name)
        assert found is not None
        assert set(found.rrsets) == {*zone.rrsets, (Name(f"new.{name}"), "A")}
        backend.close()


def test_a_database_that_is_locked_is_a_failure_that_passes(name: Name) -> None:
    """PowerDNS keeps "database is locked" to its log and says "Internal Server Error"."""
    with PowerDNS() as server:
        backend = backend_for(server)
        zone = contents(name)
        backend.create_zone(zone)
        plan = adding(zone, rrset(name, "www", "A", "192.0.2.1"))
        connection = sqlite3.connect(server.folder / "pdns.sqlite3", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(Transient):
            backend.apply(plan)
        connection.execute("ROLLBACK")
        connection.close()
        backend.apply(plan)
        backend.close()


def test_a_zone_of_kind_master_notifies_and_takes_changes(powerdns: PowerDNS, name: Name) -> None:
    backend = backend_for(powerdns, kind="Master")
    zone = contents(name)
    backend.create_zone(zone)
    assert powerdns.api("GET", f"/zones/{name}?rrsets=false")["kind"] == "Master"
    assert backend.capabilities.notifies
    backend.notify(name)
    with pytest.raises(ZoneMissing):
        backend.notify(Name("absent.example."))
    backend.apply(adding(zone, rrset(name, "www", "A", "192.0.2.1")))
    assert served_serial(powerdns, name) == 2
    backend.close()


@pytest.mark.parametrize("zone", ["0/26.2.0.192.in-addr.arpa.", "_tcp.powerdns.test."])
def test_zone_names_that_need_care_in_a_path(backend: Backend, zone: str) -> None:
    wanted = contents(Name(zone), rrset(Name(zone), "1", "PTR", "host.example.net."))
    backend.create_zone(wanted)
    assert backend.read_zone(Name(zone)) == wanted
    backend.delete_zone(Name(zone))
    assert backend.read_zone(Name(zone)) is None
