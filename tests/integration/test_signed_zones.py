"""Zones that a target signs, up to ACTIVE: whose serial, whose records, what the parent needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rdatatype
import dns.tsig
import dns.update
import pytest

from dev.servers import Bind, PowerDNS
from dnsworker.names import Name
from dnsworker.operations import Status
from tests.world import World, a_world

ZONE = Name("signed.example.")
SIGNERS = ("dynamic", "inline")


@pytest.fixture(scope="module")
def named() -> Iterator[Bind]:
    with Bind() as server:
        yield server


@contextmanager
def a_signed_world(folder: Path, server: Any, kind: str, **options: Any) -> Iterator[World]:
    target = {"name": "ns1", "type": kind, "options": {**server.target_options(), **options}}
    with a_world(folder, pool={"targets": [target], "nameservers": [server.nameserver()]}) as world:
        yield world
        world.succeed("delete_zone", zone=ZONE)


@pytest.fixture(params=SIGNERS)
def world(request: pytest.FixtureRequest, named: Bind, tmp_path: Path) -> Iterator[World]:
    options = {"dnssec_policy": "default", "inline_signing": request.param == "inline"}
    with a_signed_world(tmp_path, named, "bind9", **options) as world:
        world.create(ZONE)
        yield world


def ask(server: Any, name: str, type: str) -> dns.message.Message:
    query = dns.message.make_query(name, type, want_dnssec=True, flags=0)
    return dns.query.tcp(query, server.address, port=server.port, timeout=5)


def serial(server: Any) -> int:
    return int(ask(server, ZONE, "SOA").answer[0][0].serial)


def nsupdate(server: Bind, *records: tuple[str, str, str]) -> None:
    """What somebody does by hand."""
    key = dns.tsig.Key(server.key_name, server.key_secret)
    update = dns.update.UpdateMessage(ZONE, keyring={key.name: key})
    for name, type, data in records:
        update.replace(f"{name}.{ZONE}", 300, type, data)
    assert dns.query.tcp(update, server.address, port=server.port, timeout=5).rcode() == 0


def put(world: World, name: str, value: str) -> str:
    return world.put(name, value, zone=ZONE)


def texts(server: Any, name: str, type: str) -> set[str]:
    found = ask(server, f"{name}.{ZONE}", type).answer
    wanted = dns.rdatatype.from_text(type)
    return {str(one) for rrset in found if rrset.rdtype == wanted for one in rrset}


def test_changes_of_a_signed_zone_become_active_and_are_signed(world: World, named: Bind) -> None:
    assert world.end_of(put(world, "www", "192.0.2.1")).status is Status.ACTIVE
    types = {rrset.rdtype for rrset in ask(named, f"www.{ZONE}", "A").answer}
    assert types == {dns.rdatatype.A, dns.rdatatype.RRSIG}
    assert world.zone(ZONE)["status"] == "ACTIVE"


def test_the_serial_follows_the_changes_and_doesnt_run_away(world: World, named: Bind) -> None:
    assert world.end_of(put(world, "www", "192.0.2.1")).status is Status.ACTIVE
    before = world.row("SELECT revision FROM zone").revision
    for number in range(10):
        assert world.end_of(put(world, "www", f"192.0.2.{number + 10}")).status is Status.ACTIVE
        assert serial(named) == world.zone(ZONE)["serial"]
    # Lifting the serial above the signer's is a revision too: there was nothing to lift.
    assert world.row("SELECT revision FROM zone").revision == before + 10


def test_what_the_signer_does_later_is_nobodys_edit(world: World, named: Bind) -> None:
    assert world.end_of(put(world, "www", "192.0.2.1")).status is Status.ACTIVE
    before = serial(named)
    named.rndc("sign", ZONE)
    world.until(lambda: serial(named) != before, "named did not sign anew")
    assert world.end_of(put(world, "www", "192.0.2.2")).status is Status.ACTIVE
    assert world.zone(ZONE)["targets"][0]["last_repair"] is None
    assert texts(named, "www", "A") == {"192.0.2.2"}


def test_a_hand_edit_of_a_signed_zone_is_noticed_and_repaired(world: World, named: Bind) -> None:
    assert world.end_of(put(world, "www", "192.0.2.1")).status is Status.ACTIVE
    keys = {str(one) for one in ask(named, ZONE, "DNSKEY").answer[0]}
    nsupdate(named, ("www", "A", "192.0.2.66"), ("hand", "TXT", '"made"'))
    assert world.end_of(put(world, "new", "192.0.2.2")).status is Status.ACTIVE
    world.until(lambda: texts(named, "www", "A") == {"192.0.2.1"}, "www was not repaired")
    assert not texts(named, "hand", "TXT")
    repair = world.zone(ZONE)["targets"][0]["last_repair"]
    assert "hand" in repair
    assert "DNSKEY" not in repair
    assert {str(one) for one in ask(named, ZONE, "DNSKEY").answer[0]} == keys


def test_the_parents_ds_records_are_shown(world: World, named: Bind) -> None:
    (shown,) = world.zone(ZONE)["targets"][0]["ds_records"]
    tag, algorithm, digest_type, digest = shown.split()
    assert (algorithm, digest_type, len(digest)) == ("13", "2", 64)
    signatures = ask(named, ZONE, "DNSKEY").answer[1]
    assert int(tag) in {one.key_tag for one in signatures}


def test_records_of_the_signer_are_refused_by_name(world: World) -> None:
    outcome = world.do("put_record", zone=ZONE, name="@", type="CDS", data=["0 0 0 00"])
    assert outcome.status is Status.ERROR
    assert "signs signed.example. by itself: its CDS records can't be set" in (outcome.message or "")


def test_a_zone_that_powerdns_signs_shows_its_ds_records(tmp_path: Path) -> None:
    with (
        PowerDNS(gsqlite3_dnssec="yes") as server,
        a_signed_world(tmp_path, server, "powerdns", dnssec=True) as world,
    ):
        world.create(ZONE)
        assert world.end_of(put(world, "a.b", "192.0.2.1")).status is Status.ACTIVE
        (key,) = server.api("GET", f"/zones/{ZONE}/cryptokeys")
        shown = world.zone(ZONE)["targets"][0]["ds_records"]
        assert shown == sorted(one for one in key["ds"] if one.split()[2] != "1")
        assert dns.rdatatype.RRSIG in {rrset.rdtype for rrset in ask(server, f"a.b.{ZONE}", "A").answer}
