"""Which targets are one copy of a zone under two names, as far as their options tell: `Backend.writes_to`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dnsworker.pools import Target, writes_to

KEY = {"host": "192.0.2.53", "tsig_key_name": "dnsworker", "tsig_key_secret": "c2VjcmV0IQ=="}
BIND = {**KEY, "rndc_key_name": "rndc", "rndc_key_secret": "c2VjcmV0IQ=="}
NSD = {
    "host": "192.0.2.53",
    "pattern": "dnsworker",
    **dict.fromkeys(("server_cert_file", "control_cert_file", "control_key_file"), "/etc/nsd"),
}
ROUTE53 = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "secret"}
IN_VPC = {"private": True, "vpc_id": "vpc-1", "vpc_region": "eu-west-1"}
PDNS = {"class": "octodns_powerdns.PowerDnsProvider"}
OCTODNS_BIND = {"class": "octodns_bind.Rfc2136Provider"}
OTHER = {"class": "tests.octodns_providers.MemoryProvider", "kwargs": {"account": "a", "token": "secret"}}


def place(type: str, options: dict[str, Any]) -> tuple[str, ...] | None:
    return writes_to(Target(name="one", type=type, options=options))


@pytest.mark.parametrize("type", ["knot", "rfc2136"])
def test_a_server_that_is_changed_by_dns_is_its_address_whatever_the_backend(type: str) -> None:
    assert place(type, KEY) == place("bind9", BIND) == place("nsd", NSD) == ("dns", "192.0.2.53:53", "")
    assert place(type, {**KEY, "tsig_key_name": "another"}) == place(type, KEY)
    assert place(type, {**KEY, "port": 5353}) == ("dns", "192.0.2.53:5353", "")


def test_a_view_is_another_copy() -> None:
    assert place("rfc2136", {**KEY, "view": "inside"}) == place("bind9", {**BIND, "view": "inside"})
    assert place("rfc2136", {**KEY, "view": "inside"}) != place("rfc2136", KEY)


def test_a_folder_is_the_same_by_whatever_path(tmp_path: Path) -> None:
    (tmp_path / "zones").mkdir()
    (tmp_path / "link").symlink_to("zones")
    zones = place("zonefile", {"folder": str(tmp_path / "zones")})
    assert zones == ("zonefile", str(tmp_path.resolve() / "zones"), ".zone")
    assert place("zonefile", {"folder": str(tmp_path / "link" / ".." / "zones")}) == zones
    assert place("zonefile", {"folder": str(tmp_path / "link")}) == zones
    assert place("zonefile", {"folder": str(tmp_path / "zones"), "suffix": ".db"}) != zones


@pytest.mark.parametrize(
    ("options", "is_same"),
    [
        ({**ROUTE53, "secret_access_key": {"env": "SECRET"}}, True),
        ({**ROUTE53, "access_key_id": "AKIAANOTHER"}, False),
        ({**ROUTE53, "access_key_id": {"env": "ID"}}, False),
        ({"profile": "work"}, False),
        ({**ROUTE53, **IN_VPC}, False),
        ({**ROUTE53, "zone_ids": {"example.org.": "Z1"}}, False),
        ({**ROUTE53, "endpoint_url": "https://192.0.2.1"}, False),
    ],
)
def test_an_account_at_aws_is_its_key(options: dict[str, Any], is_same: bool) -> None:
    assert (place("route53", options) == place("route53", ROUTE53)) == is_same


def test_one_reference_is_one_secret_and_another_may_be_another() -> None:
    named = [{**ROUTE53, "access_key_id": {"env": name}} for name in ("ID", "ID", "OTHER")]
    places = [place("route53", options) for options in named]
    assert places[0] == places[1] != places[2]


def test_a_machines_own_role_is_anybodys() -> None:
    assert place("route53", {}) is None


def test_octodns_providers_are_where_their_own_backends_are() -> None:
    given = {"host": "192.0.2.53", "api_key": "secret"}
    own = {"api_url": "http://192.0.2.53:8081", "api_key": "secret"}
    assert place("octodns", {**PDNS, "kwargs": given}) == place("powerdns", own)
    kwargs = {"host": "192.0.2.53", "key_name": "dnsworker", "key_secret": {"env": "KEY"}}
    assert place("octodns", {**OCTODNS_BIND, "kwargs": kwargs}) == ("dns", "192.0.2.53:53", "dnsworker")
    assert place("octodns", OTHER) is None, "nothing is known of it"
