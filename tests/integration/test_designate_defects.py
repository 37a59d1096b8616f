"""Where designate-worker fails, and what happens here: one test for each defect, by its number.

W1 to W3, W5 to W7, W13 and W16: what it believes and what it writes. What it loses, and what it waits for, is
in `test_designate_outages`; other tests elsewhere have a defect's number in their name, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.servers import Bind, PowerDNS
from dnsworker.backend import load_backend
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.pools import build_options
from dnsworker.requests.kinds import parse_request
from tests.stubserver import StubNameserver, failing, showing
from tests.world import World, a_world

ZONE = Name("example.org.")
NSD = {
    "host": "127.0.0.1",
    "control_host": "127.0.0.1",
    "server_cert_file": "server.pem",
    "control_cert_file": "control.pem",
    "control_key_file": "control.key",
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one") as world:
        world.create()
        yield world


def watched_by(server: StubNameserver) -> dict[str, Any]:
    return {"nameservers": [{"host": "127.0.0.1", "port": server.port, "target": "one"}]}


def test_w1_a_deletion_that_fails_on_the_target_is_not_recorded_as_done(world: World) -> None:
    world.servers["one"].is_down = True
    operation = world.submit("delete_zone")
    world.deliver()
    world.until(lambda: world.show(operation).targets[0].attempts > 1, "the deletion is not tried again")
    assert world.show(operation).status is Status.ACCEPTED
    assert world.row("SELECT status FROM zone").status == "PENDING"
    world.servers["one"].is_down = False
    assert world.end_of(operation).status is Status.ACTIVE
    assert world.servers["one"].zones == {}
    assert world.row("SELECT status FROM zone").status == "DELETED"


def test_w2_a_zone_missing_on_the_server_is_created_again_by_an_update(world: World) -> None:
    world.end_of(world.put("www", "192.0.2.1"))
    world.servers["one"].zones.clear()
    assert world.do("update_zone", ttl=60).status is Status.ACTIVE
    assert world.served("one") == {("www.example.org.", "A"): ("192.0.2.1",)}


def test_w3_a_serial_never_falls_below_an_imported_one(tmp_path: Path) -> None:
    with a_world(tmp_path, "one") as world:
        world.succeed("import_zone", text="@ 60 IN SOA a.x. b.x. 2026081401 2 3 4 5\nwww A 192.0.2.1\n")
        imported = world.servers["one"].zones[ZONE].soa.serial
        assert imported > 2_026_081_401
        world.end_of(world.put("www", "192.0.2.2"))
        assert world.servers["one"].zones[ZONE].soa.serial > imported


def test_w3_serials_rise_on_their_circle_in_steps_that_every_server_takes(tmp_path: Path) -> None:
    with a_world(tmp_path, "one") as world:
        world.create()
        world.succeed("import_zone", text="@ 60 IN SOA a.x. b.x. 3500000000 2 3 4 5\nwww A 192.0.2.1\n")
        served = world.servers["one"].serials[ZONE]
        assert served[-1] == 3_500_000_001
        assert len(served) == 3, "a jump of 2^30 or more is walked"
        assert all(0 < (after - before) % 2**32 < 2**30 for before, after in itertools.pairwise(served))


def test_w3_a_higher_serial_over_old_contents_is_not_taken_for_success(tmp_path: Path) -> None:
    stale = showing(4_000_000_000, www="192.0.2.1")
    with StubNameserver(stale) as server, a_world(tmp_path, "one", pool=watched_by(server)) as world:
        world.submit("create_zone", email="hostmaster@example.net")
        operation = world.put("www", "192.0.2.2")
        world.until(lambda: bool(world.zone()["nameservers"][0]["error"]), "the nameserver was not asked")
        assert world.show(operation).status is Status.ACCEPTED
        assert "shows serial 4000000000" in (world.show(operation).message or "")


def test_w3_the_right_serial_over_old_contents_is_not_taken_for_success(tmp_path: Path) -> None:
    with StubNameserver(failing) as server, a_world(tmp_path, "one", pool=watched_by(server)) as world:
        world.submit("create_zone", email="hostmaster@example.net")
        operation = world.put("www", "192.0.2.2")
        serial = world.show(operation).serial
        assert serial is not None
        server.reply = showing(serial, www="192.0.2.1")
        world.until(
            lambda: "www" in (world.zone()["nameservers"][0]["error"] or ""),
            "the contents were not asked for",
        )
        assert world.show(operation).status is Status.ACCEPTED
        server.reply = showing(serial, www="192.0.2.2")
        assert world.end_of(operation).status is Status.ACTIVE


def test_w5_servfail_is_not_taken_for_a_zone_that_is_gone(tmp_path: Path) -> None:
    with StubNameserver(failing) as server, a_world(tmp_path, "one", pool=watched_by(server)) as world:
        created = world.submit("create_zone", email="hostmaster@example.net")
        serial = world.show(created).serial
        assert serial is not None
        server.reply = showing(serial)
        world.end_of(created)
        server.reply = failing
        operation = world.submit("delete_zone")
        world.until(
            lambda: "SERVFAIL" in (world.show(operation).message or ""),
            "the nameserver's answer is not shown",
        )
        assert world.show(operation).status is Status.ACCEPTED
        assert world.servers["one"].zones == {}


@pytest.mark.parametrize("serial", [2**31, 2**32 - 2])
def test_w6_serials_are_32_bits_without_a_sign(tmp_path: Path, database_url: str, serial: int) -> None:
    with a_world(tmp_path, "one", url=database_url) as world:
        world.succeed("import_zone", text=f"@ 60 IN SOA a.x. b.x. {serial} 2 3 4 5\nwww A 192.0.2.1\n")
        assert world.servers["one"].zones[ZONE].soa.serial == serial + 1
        world.succeed("put_record", name="www", type="A", data=["192.0.2.2"])
        assert world.zone()["serial"] == world.servers["one"].zones[ZONE].soa.serial != serial + 1


def test_w6_a_primary_may_have_an_address_of_any_length(database_url: str, tmp_path: Path) -> None:
    address = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff"
    target = {"name": "one", "type": "nsd", "masters": [{"host": address}], "options": NSD}
    nameserver = {"host": "2001:0DB8:AAAA:BBBB:CCCC:DDDD:EEEE:FFFE", "verify": "none"}
    pool = {"targets": [target], "nameservers": [nameserver]}
    with a_world(tmp_path, "one", url=database_url, pool=pool) as world:
        (known,) = world.runtime._directory.all()
        assert known.pool.targets[0].masters[0].address == f"[{address}]:53"
        assert known.pool.nameservers[0].address == f"[{address[:-1]}e]:53"


def test_w7_a_line_break_in_a_text_is_refused_and_no_zone_stands_still_for_it(
    tmp_path: Path, bind: Bind
) -> None:
    zone = "w7.example.org."
    target = {"name": "one", "type": "bind9", "options": bind.target_options()}
    with a_world(tmp_path, "one", pool={"targets": [target]}) as world:
        world.create(zone)
        text = {"zone": zone, "name": "text", "type": "TXT"}
        refused = world.do("put_record", **text, data=['"two\nlines"'])
        assert refused.code == "InvalidRecord"
        assert "\\010" in (refused.message or ""), "what would be right"
        world.succeed("put_record", **text, data=[r'"two\010lines"'])
        world.succeed("put_record", zone=zone, name="www", type="A", data=["192.0.2.1"])
        known = world.runtime._directory.default().pool.target("one")
        backend = load_backend("bind9")("one", build_options(known))
        transferred = backend.read_zone(Name(zone))
        backend.close()
        assert transferred is not None
        assert transferred.rrsets[Name(f"text.{zone}"), "TXT"].data == (r'"two\010lines"',)
        assert (Name(f"www.{zone}"), "A") in transferred.rrsets


def test_w13_wrong_credentials_are_not_taken_for_an_absent_zone(tmp_path: Path, powerdns: PowerDNS) -> None:
    zone = "w13.example.org."
    options = powerdns.target_options()
    target = {"name": "one", "type": "powerdns", "options": options}
    with a_world(tmp_path, "one", pool={"targets": [target]}) as world:
        world.create(zone)
    folder = tmp_path / "later"
    folder.mkdir()
    wrong = {**target, "options": {**options, "api_key": "not the key"}}
    with a_world(folder, "one", url=f"sqlite:///{tmp_path / 'world.db'}", pool={"targets": [wrong]}) as world:
        operation = world.submit("delete_zone", zone=zone)
        world.deliver()
        world.until(lambda: world.show(operation).targets[0].last_error is not None, "no attempt was made")
        found = world.show(operation)
        assert found.status is Status.ACCEPTED
        assert world.row("SELECT last_code FROM delivery").last_code == "AuthenticationFailed"
        assert zone in [one["name"] for one in powerdns.api("GET", "/zones")]


def test_w16_several_rrsets_change_at_once_or_not_at_all(world: World) -> None:
    world.end_of(world.put("a", "192.0.2.1"))
    serial = world.zone()["serial"]
    wishes = [
        {"action": "put", "name": "a", "type": "A", "data": ["192.0.2.2"]},
        {"action": "create", "name": "b", "type": "A", "data": ["192.0.2.3"]},
        {"action": "delete", "name": "missing", "type": "A"},
    ]
    assert world.do("change_zone", changes=wishes).code == "RecordNotFound"
    assert world.served("one") == {("a.example.org.", "A"): ("192.0.2.1",)}
    assert world.zone()["serial"] == serial
    world.succeed("change_zone", changes=wishes[:2])
    assert world.served("one") == world.records()
    assert len(world.served("one")) == 2


def test_w16_an_upsert_needs_no_knowledge_of_what_is_there(world: World) -> None:
    for value in ("192.0.2.1", "192.0.2.2"):
        world.succeed("put_record", name="www", type="A", data=[value])
    assert parse_request(
        "put_record", {"zone": "example.org", "name": "www", "type": "A", "data": ["192.0.2.1"]}
    )
    assert world.served("one") == {("www.example.org.", "A"): ("192.0.2.2",)}
