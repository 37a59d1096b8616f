"""PowerDNS as a secondary of given primaries, and the settings of zones that pools.yaml may give."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from pydantic import ValidationError

from backends.powerdns import BACKEND
from dev.servers import PowerDNS
from dnsworker.addresses import Address
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.errors import Behind, Permanent
from dnsworker.names import Name
from dnsworker.plan import Plan, RRsetChange, make_plan
from dnsworker.records import SOA, RRset
from dnsworker.testing import Primary

_numbers = itertools.count(1)
Make = Callable[..., Backend]


@pytest.fixture(scope="module")
def server() -> Iterator[PowerDNS]:
    with PowerDNS(secondary="yes", gsqlite3_dnssec="yes") as server:
        yield server


@pytest.fixture
def primary() -> Iterator[Primary]:
    with Primary() as primary:
        yield primary


@pytest.fixture
def make(server: PowerDNS) -> Iterator[Make]:
    made: list[Backend] = []

    def make(*primaries: Primary, timeout_s: float = 5.0, **options: object) -> Backend:
        masters = tuple(Address(host=one.host, port=one.port) for one in primaries)
        mode = {"mode": "secondary"} if masters else {}
        model = BACKEND.options_model.model_validate(
            {**server.target_options(), **mode, **options}, context={"masters": masters}
        )
        made.append(BACKEND("ns1", model, timeout_s=timeout_s))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def contents(serial: int = 1, name: Name | None = None, **hosts: str) -> ZoneContents:
    name = name or Name(f"z{next(_numbers)}.example.")
    soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), serial)
    records = [RRset(f"{host}.{name}", "A", 60, [value]) for host, value in hosts.items()]
    return ZoneContents.of(name, soa, [RRset(name, "NS", 60, ["ns1.example.net."]), *records])


def look(zone: ZoneContents) -> Plan:
    """What a pull target is told: only where it ends counts."""
    return make_plan(zone.name, zone.soa.with_serial(0), zone.soa, [])


def change(zone: ZoneContents, host: str, value: str) -> Plan:
    after = RRset(f"{host}.{zone.name}", "A", 60, [value])
    next_soa = zone.soa.with_serial(zone.soa.serial + 1)
    return make_plan(zone.name, zone.soa, next_soa, [RRsetChange(zone.rrsets.get(after.key), after)])


def transfers(server: PowerDNS, zone: Name) -> int:
    return server.log_path.read_text().count(f"AXFR-in zone: '{zone.removesuffix('.')}'")


def test_nothing_is_fetched_when_powerdns_has_the_wanted_soa(
    server: PowerDNS, primary: Primary, make: Make
) -> None:
    backend, zone = make(primary), contents()
    primary.hold(zone)
    backend.create_zone(zone)
    before = transfers(server, zone.name)
    assert before == 1
    for _ in range(5):
        backend.apply(look(zone))
    newer = contents(serial=2, name=zone.name, www="192.0.2.1")
    primary.hold(newer)
    backend.apply(look(newer))
    assert transfers(server, zone.name) == before + 1
    assert backend.read_zone(zone.name) == newer


def test_a_primary_that_is_late_is_behind_and_then_caught_up_with(primary: Primary, make: Make) -> None:
    backend, zone = make(primary, timeout_s=2.0, bulk_timeout_s=2.0), contents()
    with pytest.raises(Behind, match=f"hasn't got it and did not fetch serial 1 of {zone.name}"):
        backend.create_zone(zone)
    assert backend.read_zone(zone.name) is None  # configured, and empty
    primary.hold(zone)
    make(primary).create_zone(zone)
    newer = contents(serial=5, name=zone.name, www="192.0.2.1")
    with pytest.raises(Behind, match="is at serial 1 and did not fetch serial 5"):
        backend.apply(look(newer))
    primary.hold(newer)
    make(primary).apply(look(newer))
    assert backend.read_zone(zone.name) == newer


def test_a_zone_that_was_written_to_becomes_a_secondary_of_our_primaries(
    server: PowerDNS, primary: Primary, make: Make
) -> None:
    zone = contents(www="192.0.2.1")
    make().create_zone(zone)
    newer = contents(serial=2, name=zone.name, www="192.0.2.2")
    primary.hold(newer)
    make(primary).apply(look(newer))
    assert make(primary).read_zone(zone.name) == newer
    assert server.api("GET", f"/zones/{zone.name}?rrsets=false")["kind"] in ("Slave", "Secondary")
    with Primary() as other:
        newest = contents(serial=3, name=zone.name, www="192.0.2.3")
        other.hold(newest)
        make(other).apply(look(newest))
        masters = server.api("GET", f"/zones/{zone.name}?rrsets=false")["masters"]
        assert masters == [f"{other.host}:{other.port}"]


def test_keys_for_transfers_are_named_in_the_zone(server: PowerDNS, primary: Primary, make: Make) -> None:
    server.api("POST", "/tsigkeys", {"name": "transfers", "algorithm": "hmac-sha256"})
    zone = contents()
    primary.hold(zone)
    hasty = make(primary, timeout_s=2.0, bulk_timeout_s=2.0, masters_tsig_key_ids=["transfers."])
    with pytest.raises(Behind):  # this primary knows no keys
        hasty.create_zone(zone)
    assert server.api("GET", f"/zones/{zone.name}?rrsets=false")["slave_tsig_key_ids"] == ["transfers."]


def test_a_powerdns_that_transfers_nothing_is_said_by_the_check(primary: Primary, make: Make) -> None:
    assert make(primary).check().ok
    with PowerDNS() as other:
        backend = make(primary, **other.target_options())
        health = backend.check()
        assert not health.ok
        assert "secondary=yes" in health.message


def test_keys_are_made_with_the_zone_or_with_its_next_change(server: PowerDNS, make: Make) -> None:
    new, old = contents(www="192.0.2.1"), contents(www="192.0.2.1")
    signing = make(dnssec=True)
    signing.create_zone(new)
    assert len(signing.ds_records(new.name)) == 2  # SHA-256 and SHA-384
    make().create_zone(old)
    assert signing.ds_records(old.name) == []
    signing.apply(change(old, "www", "192.0.2.2"))
    assert len(signing.ds_records(old.name)) == 2


def test_keys_are_removed_only_when_that_is_asked_for(server: PowerDNS, make: Make) -> None:
    zone = contents(www="192.0.2.1")
    make(dnssec=True).create_zone(zone)
    keys = server.api("GET", f"/zones/{zone.name}/cryptokeys")
    plan = change(zone, "www", "192.0.2.2")
    untouched = make()
    untouched.apply(plan)
    assert server.api("GET", f"/zones/{zone.name}/cryptokeys") == keys
    assert len(untouched.ds_records(zone.name)) == 2
    zone = untouched.read_zone(zone.name) or zone
    unsigning = make(dnssec=False)
    unsigning.apply(change(zone, "www", "192.0.2.3"))
    assert server.api("GET", f"/zones/{zone.name}/cryptokeys") == []
    assert unsigning.ds_records(zone.name) == []


def test_a_powerdns_without_dnssec_says_so(make: Make) -> None:
    with PowerDNS() as other:
        backend, zone = make(dnssec=True, **other.target_options()), contents()
        with pytest.raises(Permanent, match="dnssec=yes"):
            backend.create_zone(zone)
        assert backend.read_zone(zone.name) is None


def test_where_powerdns_counts_its_serial_is_told(make: Make) -> None:
    backend, zone = make(soa_edit_api="INCREASE"), contents(serial=100)
    assert backend.capabilities.sets_serial
    backend.create_zone(zone)
    receipt = backend.apply(change(zone, "www", "192.0.2.1"))
    found = backend.read_soa(zone.name)
    assert receipt.soa == found
    assert found is not None
    assert found.serial > 100


@pytest.mark.parametrize(
    ("options", "masters", "words"),
    [
        ({"mode": "secondary"}, (), "needs the target's `masters`"),
        ({"mode": "secondary"}, (Address(host="ns.example.net"),), "is no IP address"),
        (
            {"mode": "secondary", "soa_edit_api": "EPOCH"},
            (Address(host="192.0.2.1"),),
            "its masters' serials",
        ),
        ({"masters_tsig_key_ids": ["x."]}, (), "go with mode: secondary"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: dict[str, object], masters: tuple[Address, ...], words: str
) -> None:
    given = {"api_url": "http://192.0.2.1:8081", "api_key": "x", **options}
    with pytest.raises(ValidationError, match=words):
        BACKEND.options_model.model_validate(given, context={"masters": masters})
