"""named as a secondary of given primaries: BIND behind BIND, with a key for the transfers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from backends.bind9 import BACKEND
from dev.servers import Bind
from dnsworker.addresses import Address
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.errors import AuthenticationFailed, Behind, Unsupported
from dnsworker.names import Name
from dnsworker.plan import Plan, RRsetChange, make_plan
from dnsworker.records import SOA, RRset
from dnsworker.testing import Primary

_numbers = itertools.count(1)


#: Both know this key; the one that each is driven with is its own.
TRANSFERS = (
    'key "transfers" { algorithm hmac-sha256; secret "b25lIHNlY3JldCBmb3IgYm90aCBvZiB0aGVtIGhlcmU="; };'
)


@pytest.fixture(scope="module")
def named() -> Iterator[Bind]:
    with Bind(statements=TRANSFERS) as server:
        yield server


def secondary_of(server: Bind, *masters: Address, timeout_s: float = 5.0, **options: object) -> Backend:
    options = {**server.target_options(), "mode": "secondary", **options}
    model = BACKEND.options_model.model_validate(options, context={"masters": masters})
    return BACKEND("ns1", model, timeout_s=timeout_s)


def address(server: Bind | Primary) -> Address:
    return Address(host=server.host if isinstance(server, Primary) else server.address, port=server.port)


def contents(serial: int = 1, name: Name | None = None, **hosts: str) -> ZoneContents:
    name = name or Name(f"z{next(_numbers)}.example.")
    soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), serial)
    records = [RRset(f"{host}.{name}", "A", 60, [value]) for host, value in hosts.items()]
    return ZoneContents.of(name, soa, [RRset(name, "NS", 60, ["ns1.example.net."]), *records])


def look(zone: ZoneContents) -> Plan:
    """What a pull target is told: only where it ends counts."""
    return make_plan(zone.name, zone.soa.with_serial(0), zone.soa, [])


@pytest.fixture
def primary() -> Iterator[Primary]:
    with Primary() as primary:
        yield primary


@pytest.fixture
def backend(named: Bind, primary: Primary) -> Iterator[Backend]:
    backend = secondary_of(named, address(primary))
    yield backend
    backend.close()


def commands(server: Bind, zone: Name) -> list[str]:
    """What named was told about a zone over its control channel."""
    lines = server.log_path.read_text().splitlines()
    return [
        line.split("received control channel command '")[1].split()[0]
        for line in lines
        if "received control channel command" in line and zone.removesuffix(".") in line
    ]


def test_w4_named_follows_a_primary_that_wants_transfers_signed(named: Bind) -> None:
    with Bind(statements=TRANSFERS) as hidden:
        options = hidden.target_options() | {"allow_transfer": ['key "transfers"']}
        primary = BACKEND("primary", BACKEND.options_model.model_validate(options))
        secondary = secondary_of(named, address(hidden), masters_key_name="transfers")
        zone = contents(www="192.0.2.1")
        primary.create_zone(zone)
        secondary.create_zone(zone)
        assert secondary.read_zone(zone.name) == zone
        after = RRset(f"www.{zone.name}", "A", 60, ["192.0.2.2"])
        plan = make_plan(
            zone.name, zone.soa, zone.soa.with_serial(2), [RRsetChange(zone.rrsets[after.key], after)]
        )
        primary.apply(plan)
        assert secondary.apply(plan).soa == plan.desired_soa
        assert secondary.read_rrsets(zone.name, [after.key]) == {after.key: after}
        unsigned = secondary_of(named, address(hidden), timeout_s=1.0)
        other = contents(www="192.0.2.1")
        primary.create_zone(other)
        with pytest.raises(Behind, match="let named transfer it"):
            unsigned.create_zone(other)
        for backend in (primary, secondary, unsigned):
            backend.close()


def test_w20_nothing_is_said_to_named_when_it_has_the_wanted_soa(
    named: Bind, primary: Primary, backend: Backend
) -> None:
    """Designate's worker makes two rndc calls for each change (W20)."""
    zone = contents()
    primary.hold(zone)
    backend.create_zone(zone)
    told = commands(named, zone.name)
    for _ in range(5):
        backend.apply(look(zone))
    assert commands(named, zone.name) == told


def test_a_primary_that_is_late_is_behind_and_then_caught_up_with(
    named: Bind, primary: Primary, backend: Backend
) -> None:
    zone = contents()
    hasty = secondary_of(named, address(primary), timeout_s=1.0)
    with pytest.raises(Behind, match=f"hasn't got it and did not fetch serial 1 of {zone.name}"):
        hasty.create_zone(zone)
    assert hasty.read_zone(zone.name) is None  # configured, and empty
    assert hasty.read_soa(zone.name) is None
    primary.hold(zone)
    backend.create_zone(zone)
    newer = contents(serial=5, name=zone.name, www="192.0.2.1")
    with pytest.raises(Behind, match="is at serial 1 and did not fetch serial 5"):
        hasty.apply(look(newer))
    primary.hold(newer)
    assert backend.apply(look(newer)).soa.serial == 5
    hasty.close()


def test_w4_a_primary_that_began_anew_is_followed_to_a_lower_serial(
    primary: Primary, backend: Backend
) -> None:
    zone = contents(serial=100)
    primary.hold(zone)
    backend.create_zone(zone)
    again = contents(serial=3, name=zone.name, www="192.0.2.1")
    primary.hold(again)
    backend.apply(look(again))
    assert backend.read_zone(zone.name) == again


def test_other_primaries_are_put_into_the_zones_that_are_there(
    named: Bind, primary: Primary, backend: Backend
) -> None:
    zone = contents()
    primary.hold(zone)
    backend.create_zone(zone)
    file = named.rndc("showzone", zone.name).split('file "')[1].split('"')[0]
    with Primary() as other:
        moved = secondary_of(named, address(other))
        newer = contents(serial=2, name=zone.name, www="192.0.2.1")
        other.hold(newer)
        moved.apply(look(newer))
        assert moved.read_zone(zone.name) == newer
        statement = named.rndc("showzone", zone.name)
        assert f"port {other.port};" in statement
        assert f"port {primary.port};" not in statement
        assert f'file "{file}"' in statement  # it kept what it had
        moved.close()


def test_a_zone_that_was_a_primary_becomes_a_secondary(
    named: Bind, primary: Primary, backend: Backend
) -> None:
    written = BACKEND("ns1", BACKEND.options_model.model_validate(named.target_options()))
    zone = contents()
    written.create_zone(zone)
    newer = contents(serial=2, name=zone.name, www="192.0.2.1")
    primary.hold(newer)
    backend.apply(look(newer))
    assert backend.read_zone(zone.name) == newer
    assert "type secondary;" in named.rndc("showzone", zone.name)
    written.close()


def test_deleting_takes_the_files_along(named: Bind, primary: Primary, backend: Backend) -> None:
    zone = contents()
    primary.hold(zone)
    backend.create_zone(zone)
    named.rndc("sync", zone.name)
    backend.delete_zone(zone.name)
    assert backend.read_zone(zone.name) is None
    assert not list(named.folder.glob(f"{zone.name}*"))


def test_a_zone_of_named_conf_is_left_as_it_is(primary: Primary) -> None:
    zone = contents(name=Name("fixed.example."))
    statement = 'zone "fixed.example" { type primary; database "_builtin empty . ."; };'
    with Bind(statements=statement) as server:
        backend = secondary_of(server, address(primary))
        primary.hold(zone)
        with pytest.raises(Unsupported, match=r"stands in named\.conf itself"):
            backend.create_zone(zone)
        backend.close()


def test_a_zone_that_we_may_not_transfer_is_not_absent(named: Bind, backend: Backend) -> None:
    named.rndc(
        "addzone",
        "closed.example",
        '{ type primary; database "_builtin empty . ."; allow-transfer { none; }; };',
    )
    with pytest.raises(AuthenticationFailed, match="compare allow-transfer"):
        backend.read_zone(Name("closed.example."))
    named.rndc("delzone", "closed.example")


@pytest.mark.parametrize(
    ("options", "masters", "words"),
    [
        ({"mode": "secondary"}, (), "needs the target's `masters`"),
        ({"mode": "secondary"}, (Address(host="ns.example.net"),), "is no IP address"),
        ({"mode": "secondary", "dnssec_policy": "default"}, (), "what its masters signed"),
        ({"masters_key_name": "x"}, (), "goes with mode: secondary"),
        ({"inline_signing": True}, (), "goes with a dnssec_policy"),
        ({"dnssec_policy": "none"}, (), "leave it out"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    named: Bind, options: dict[str, object], masters: tuple[Address, ...], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        BACKEND.options_model.model_validate(
            {**named.target_options(), **options}, context={"masters": masters}
        )
